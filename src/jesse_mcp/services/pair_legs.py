"""Legs of a pair put together again: one decision opened them, so their profits are one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.domain.backtests import Trade
from jesse_mcp.domain.runs import RunRecord

SIMULATED = "Jesse did not run: the pair was simulated by pairs_backtest"


def joined_profits(trades: Sequence[Trade]) -> NDArray[np.float64]:
    """Profit of each pair, in the order they were opened, shape (n,); a run has one pair at a time."""
    profits: dict[int, float] = {}
    for trade in trades:
        profits[trade.opened_at] = profits.get(trade.opened_at, 0.0) + trade.pnl
    return np.array([profits[moment] for moment in sorted(profits)], dtype=np.float64)


def made_by_jesse(record: RunRecord) -> bool:
    """Whether the metrics of a run are Jesse's own: a pair is simulated, or executed by Jesse."""
    return record.kind != "pairs" or "jesse" in record.outcome.engine


def decisions(trades: Sequence[Trade], record: RunRecord | None) -> int:
    """Closed trades that were decided by themselves: both legs of a pair are one."""
    if record is None or record.kind != "pairs":
        return len(trades)
    return len({trade.opened_at for trade in trades})
