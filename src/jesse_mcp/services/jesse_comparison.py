"""Jesse's own metrics beside ours: where they differ although they mean the same, and why."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jesse_mcp.analytics.jesse_metrics import CONVENTIONS, JesseResults, jesse_metrics
from jesse_mcp.analytics.measures import Measure
from jesse_mcp.domain.backtests import BacktestRequest
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.services.performance_request import PerformanceArguments
from jesse_mcp.services.performance_trades import trade_table

DAYS_A_YEAR = 365
_ROUNDING = 1e-6
_RATES = {
    "sharpe_ratio": "risk_free_rate",
    "sortino_ratio": "target_return",
    "omega_ratio": "target_return",
}
#: Ours by name, Jesse's by name and what turns it into our unit.
_SAME: dict[str, tuple[str, float]] = {
    "total_return": ("net_profit_percentage", 0.01),
    "annual_return": ("annual_return", 0.01),
    "sharpe_ratio": ("sharpe_ratio", 1.0),
    "sortino_ratio": ("sortino_ratio", 1.0),
    "calmar_ratio": ("calmar_ratio", 1.0),
    "omega_ratio": ("omega_ratio", 1.0),
    "max_drawdown": ("max_drawdown", -0.01),
    "longest_drawdown": ("max_underwater_period", 1.0),
    "win_rate": ("win_rate", 1.0),
    "expectancy": ("expectancy", 1.0),
    "payoff_ratio": ("ratio_avg_win_loss", 1.0),
    "net_profit": ("net_profit", 1.0),
    "gross_profit": ("gross_profit", 1.0),
    "gross_loss": ("gross_loss", -1.0),
    "fees": ("fee", 1.0),
    "average_holding": ("average_holding_period", 1.0),
    "longest_winning_streak": ("winning_streak", 1.0),
    "longest_losing_streak": ("losing_streak", 1.0),
}
_ANNUALISED = frozenset({"sharpe_ratio", "sortino_ratio"})
_OF_BALANCES = frozenset(
    {
        "total_return",
        "annual_return",
        "sharpe_ratio",
        "sortino_ratio",
        "calmar_ratio",
        "omega_ratio",
        "max_drawdown",
        "longest_drawdown",
    }
)
_OURS: dict[str, str] = {
    "total_return": "ours is of daily balances, Jesse's the sum of closed trades over the starting balance",
    "annual_return": "ours compounds over n periods of 1/365 year",
    "sortino_ratio": "ours divides by the number of returns",
    "calmar_ratio": "ours looks for the highest balance from the start on",
    "max_drawdown": "ours looks for the highest balance from the start on",
    "longest_drawdown": "ours counts to the recovery, in periods",
    "win_rate": "ours is of all trades",
    "expectancy": "ours is the mean of all trades",
}


def reproduced(record: RunRecord) -> dict[str, float | None]:
    """Jesse's metrics computed again from the stored trades and daily balances."""
    request = BacktestRequest.model_validate(record.request)
    equity = record.outcome.equity
    return jesse_metrics(
        JesseResults(
            trades=trade_table(record.outcome.trades),
            balances=np.array([point.balance for point in equity], dtype=np.float64),
            timestamps=np.array([point.timestamp for point in equity], dtype=np.int64),
            starting_balance=request.starting_balance,
            start_ms=request.start_ms,
            end_ms=request.end_ms,
            annualization=_annualization(record),
        )
    )


def _annualization(record: RunRecord) -> int:
    """Periods a year of Jesse's ratios, which its settings may change."""
    said = record.outcome.metrics.get("annualization")
    return int(said) if isinstance(said, int | float) else DAYS_A_YEAR


def jesse_section(record: RunRecord) -> tuple[dict[str, Any], dict[str, str]]:
    """Which metrics their own trades and balances do not give (and what those give), and the conventions."""
    verbatim, again = record.outcome.metrics, reproduced(record)
    undefined = dict(record.outcome.undefined)
    known = {name: value for name, value in again.items() if name in verbatim}
    if not record.outcome.equity and record.outcome.trades:
        known = {name: value for name, value in known.items() if value is not None}
        undefined["not_reproduced"] = "without daily balances only the metrics of trades were compared"
    section = {
        "not_reproduced": {name: value for name, value in known.items() if not _same(verbatim[name], value)},
        "conventions": CONVENTIONS,
    }
    return section, {f"jesse.{name}": reason for name, reason in undefined.items()}


def disagreements(
    measures: Mapping[str, Measure], record: RunRecord, arguments: PerformanceArguments, *, ruined: bool
) -> tuple[dict[str, Any], ...]:
    """Where both have a number for the same thing and the numbers differ by more than rounding.

    Both numbers are in our unit; ``why`` names the convention.
    """
    verbatim, again = record.outcome.metrics, reproduced(record)
    found = []
    for name, (theirs, unit) in _SAME.items():
        ours, value = measures.get(name, Measure(None)).value, verbatim.get(theirs)
        if ours is None or not isinstance(value, int | float) or _same(value * unit, ours):
            continue
        why = _why(name, theirs, arguments, ruined)
        if name in _ANNUALISED and _annualization(record) != DAYS_A_YEAR:
            why = f"Jesse has {_annualization(record)} periods a year, ours are {DAYS_A_YEAR}; {why}"
        if not _same(value, again.get(theirs)):
            why = f"its own trades and balances give {again.get(theirs)} by Jesse's formula; {why}"
        found.append({"metric": name, "ours": ours, "jesse": value * unit, "why": why})
    return tuple(found)


def _why(name: str, theirs: str, arguments: PerformanceArguments, ruined: bool) -> str:
    reasons = [f"Jesse: {CONVENTIONS[theirs]}"] if theirs in CONVENTIONS else []
    reasons += [_OURS[name]] if name in _OURS else []
    rate = _RATES.get(name)
    if rate is not None and getattr(arguments, rate) != 0:
        reasons.append(f"{rate} is {getattr(arguments, rate):g}, Jesse has none")
    if ruined and name in _OF_BALANCES:
        reasons.insert(0, "ours ends where everything was lost, Jesse goes on with balances below zero")
    return "; ".join(reasons) or "no convention of Jesse's explains it"


def _same(one: object, other: object) -> bool:
    if not isinstance(one, int | float) or not isinstance(other, int | float):
        return one is None and other is None
    return math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=1e-9)
