"""Limits a record has to keep, which it broke, and since when."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.drawdowns import depths_of, episodes, unusable
from jesse_mcp.domain.timeframes import iso_minute
from jesse_mcp.services.analysis_source import DAYS_A_YEAR
from jesse_mcp.services.risk_measures import UNKNOWN_TRADES, RiskFacts

#: What a limit found: one line of the answer.
LimitRow = dict[str, Any]
#: Positions at which the limit was beyond, of balances or of trades.
Beyond = Callable[[RiskFacts, float], NDArray[np.int64]]


@dataclass(frozen=True)
class Limit:
    """A bound on a measure.

    Attributes:
        measure: its name among the measures.
        most: the largest bound that makes sense.
        least: whether the value must not be below the bound; else it must not be above.
        beyond: where it was, ``None`` for a measure of the whole record.
        of_trades: whether those are positions of trades, else of balances.
    """

    measure: str
    most: float
    least: bool = False
    beyond: Beyond | None = None
    of_trades: bool = False
    negative: bool = False


def checked(facts: RiskFacts, limits: dict[str, float]) -> list[LimitRow]:
    """One row a limit, in the order given: ``breached``, ``kept``, or ``not checked`` with the reason."""
    return [_row(facts, name, bound) for name, bound in limits.items()]


def _row(facts: RiskFacts, name: str, bound: float) -> LimitRow:
    limit = LIMITS[name]
    measure = facts.measures.get(limit.measure)
    if measure is None or measure.value is None:
        reason = UNKNOWN_TRADES if measure is None else measure.reason
        return {"limit": name, "bound": bound, "value": None, "status": "not checked", "reason": reason}
    value = -measure.value if limit.negative else measure.value
    broken = value < bound if limit.least else value > bound
    unknown = _unknown(facts, limit)
    if unknown is not None and not broken:
        return {"limit": name, "bound": bound, "value": value, "status": "not checked", "reason": unknown}
    row: LimitRow = {
        "limit": name,
        "bound": bound,
        "value": value,
        "status": "breached" if broken else "kept",
    }
    return row | _place(facts, limit, bound) if broken else row


def _unknown(facts: RiskFacts, limit: Limit) -> str | None:
    """Why a value that keeps its limit does not speak for all trades, or ``None`` when it does."""
    lacking = int(np.isnan(facts.leverage).sum())
    if limit.measure not in {"leverage_used", "liquidation_distance"} or not lacking:
        return None
    return f"{lacking} trades were opened when there was no balance to compare them with"


def _place(facts: RiskFacts, limit: Limit, bound: float) -> LimitRow:
    """Since when, how often, and whether at the end too."""
    if limit.beyond is None:
        return {"since": None, "where": "of the whole record"}
    found = limit.beyond(facts, bound)
    if not len(found):
        return {"since": None, "where": "of the whole record"}
    first, unit = int(found[0]), "trades" if limit.of_trades else "balances"
    times = _times(facts, limit)
    row: LimitRow = {"since": None if times is None else iso_minute(int(times[first]))}
    row["where"] = f"{unit} from number {first} on, {len(found)} in all"
    if not limit.of_trades:
        row["at_the_end"] = int(found[-1]) == len(facts.series.balances) - 1
    return row


def _times(facts: RiskFacts, limit: Limit) -> NDArray[np.int64] | None:
    if not limit.of_trades:
        return facts.series.timestamps
    if facts.table is None:
        return None
    return facts.table.opened_at if limit.measure == "leverage_used" else facts.table.closed_at


def _depths(facts: RiskFacts, bound: float) -> NDArray[np.int64]:
    return np.flatnonzero(depths_of(facts.series.balances) > bound)


def _current(facts: RiskFacts, bound: float) -> NDArray[np.int64]:
    """Balances beyond the bound since it was last kept."""
    beyond = depths_of(facts.series.balances) > bound
    kept = np.flatnonzero(~beyond)
    return np.arange(int(kept[-1]) + 1 if len(kept) else 0, len(beyond), dtype=np.int64)


def _lengths(facts: RiskFacts, bound: float) -> NDArray[np.int64]:
    """Balances that come later after a peak than the bound allows, in days."""
    balances = facts.series.balances
    if unusable(balances) is not None:
        return np.empty(0, dtype=np.int64)
    found = episodes(balances)
    days = DAYS_A_YEAR / facts.series.periods_per_year
    # A recovery ends a drawdown, and its own balance still took that long.
    ends = np.minimum(found.ends, len(balances) - 1)
    marks = np.zeros(len(balances) + 1, dtype=np.int64)
    late = found.peaks + np.floor(bound / days).astype(np.int64) + 1
    long = late <= ends
    np.add.at(marks, late[long], 1)
    np.add.at(marks, ends[long] + 1, -1)
    return np.flatnonzero(np.cumsum(marks)[:-1] > 0)


def _losses(facts: RiskFacts, bound: float) -> NDArray[np.int64]:
    # A return ends at the balance after it.
    return np.flatnonzero(facts.series.returns < -bound) + 1


def _leveraged(facts: RiskFacts, bound: float) -> NDArray[np.int64]:
    return np.flatnonzero(facts.leverage > bound)


def _streaks(facts: RiskFacts, bound: float) -> NDArray[np.int64]:
    """Trades that made a losing streak longer than the bound."""
    if facts.table is None:
        return np.empty(0, dtype=np.int64)
    lost = facts.table.profits < 0
    places = np.arange(1, len(lost) + 1)
    since = places - np.maximum.accumulate(np.where(lost, 0, places))
    return np.flatnonzero(since > bound)


#: By the name an agent gives.
LIMITS: dict[str, Limit] = {
    "max_drawdown": Limit("max_drawdown", 1, beyond=_depths),
    "current_drawdown": Limit("current_drawdown", 1, beyond=_current),
    "drawdown_days": Limit("longest_drawdown_days", 100_000, beyond=_lengths),
    "period_loss": Limit("worst_period", 1, beyond=_losses, negative=True),
    "var_95": Limit("var_95", 1),
    "var_99": Limit("var_99", 1),
    "es_95": Limit("es_95", 1),
    "es_99": Limit("es_99", 1),
    "volatility": Limit("annual_volatility", 100),
    "leverage": Limit("leverage_used", 1_000, beyond=_leveraged, of_trades=True),
    "loss_streak": Limit("longest_losing_streak", 1_000_000, beyond=_streaks, of_trades=True),
    "best_trades_share": Limit("best_trades_share", 1),
    "min_trades": Limit("trades", 10_000_000, least=True),
    "min_years": Limit("years", 1_000, least=True),
    "min_sharpe_ratio": Limit("sharpe_ratio", 100, least=True),
    "min_deflated_sharpe_ratio": Limit("deflated_sharpe_ratio", 1, least=True),
    "min_liquidation_distance": Limit("liquidation_distance", 10, least=True),
}
