"""Signs that a run of Jesse read other candles than those pinned for it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jesse_mcp.adapters.dashboard.equity import LOGGED, Curve
from jesse_mcp.domain.backtests import BacktestRequest, CandleSlice
from jesse_mcp.domain.candles import HIGH, LOW

_COLUMNS = 6
#: Jesse keeps prices as float4.
_ROUNDING = 1e-6


def contradiction(
    request: BacktestRequest, candles: Sequence[CandleSlice], trades: Sequence[dict[str, Any]], curve: Curve
) -> str | None:
    """What of a run does not fit its pinned candles, in words; ``None`` when nothing stands out.

    Jesse does not tell which candles it read. A run without orders cannot contradict any, and a series that
    was replaced by a similar one may pass.

    Args:
        request: what ran.
        candles: what was pinned for it.
        trades: Jesse's trades with their orders.
        curve: its daily balances. That they do not follow from orders and candles is a sign on futures only.
    """
    for part in candles:
        if part.exchange != request.exchange:
            continue
        prices = [
            float(order["price"])
            for trade in trades
            for order in trade["orders"]
            if order["symbol"] == part.symbol
        ]
        if not prices:
            continue
        rows = np.memmap(part.path, dtype="<f8", mode="r", shape=(part.total_rows, _COLUMNS))
        traded = rows[part.start_row : part.end_row]
        low, high = float(traded[:, LOW].min()), float(traded[:, HIGH].max())
        if min(prices) < low * (1 - _ROUNDING) or max(prices) > high * (1 + _ROUNDING):
            return _told(
                f"orders of {part.symbol} were filled between {min(prices):g} and {max(prices):g}, "
                f"and the candles of the run lie between {low:g} and {high:g}"
            )
    if request.exchange_type == "futures" and curve.how == LOGGED:
        return _told("Jesse's daily balances do not follow from its orders and the candles of the run")
    return None


def _told(what: str) -> str:
    return f"{what}: the series may have been changed in Jesse while the run went on; run it again"
