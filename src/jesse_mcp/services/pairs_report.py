"""A backtest of a pair in numbers a reader can check."""

from collections import Counter
from typing import Any

import numpy as np
from pydantic import Field

from jesse_mcp.analytics.cointegration import LEVELS
from jesse_mcp.analytics.pairs_simulation import PairTrade
from jesse_mcp.analytics.thinning import thinned
from jesse_mcp.domain.backtests import EngineOutcome
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.timeframes import iso_minute
from jesse_mcp.services.pairs_experiment import PairExperiment, Relation
from jesse_mcp.services.pairs_findings import findings_of
from jesse_mcp.services.pairs_plan import PairsPlan

_EQUITY_SHOWN = 60
_METRICS = ("net_profit_percentage", "annual_return", "max_drawdown", "sharpe_ratio", "sortino_ratio")
CONVENTIONS: dict[str, str] = {
    "timing": "a bar's close decides with prices up to it, the next bar's open fills; a position is not "
    "followed by another at the open it is left; what is open at the end is closed at the last close",
    "hedge": "estimated on the formation bars alone (ols, total_least_squares, johansen), or up to each bar "
    "(rolling_ols, kalman); held from entry to exit as it was at the entry",
    "z": "of y - ratio * x over the last lookback bars, the bar included, with its own ratio; ddof 1",
    "sizing": "notional is the gross value of both legs at the close that decides; quantities are exact, no "
    "exchange's steps or minimum sizes",
    "costs": "fee on every fill of both legs; slippage makes every fill worse by that fraction; no "
    "funding, no borrowing cost, no liquidation before the balance reaches zero at a close",
    "reentry": "behind a stop, a time stop or an entry that could not be made, the deviation must have been "
    "below entry_z before the next entry",
    "ratio": "with log_prices money of x against one of y, else units of x against one of y",
}
_INLINE_TIMING = (
    "a price decides, the next price fills; a position is not followed by another at the price it is left; "
    "what is open at the end is closed at the last price"
)


class PairsResult(Value):
    """Fractions; money in the quote currency; times in epoch milliseconds unless said."""

    run_id: str | None = Field(description="for run_get and the risk tools; null for prices of the call")
    cached: bool = Field(description="this exact experiment had been run before")
    request: dict[str, Any]
    formation: dict[str, Any] = Field(description="cointegration before the start")
    traded: dict[str, Any] = Field(description="the same in hindsight: no trade rests on it")
    hedge_ratio: dict[str, Any]
    performance: dict[str, Any]
    trades: tuple[dict[str, Any], ...] = Field(description="the latest")
    equity: tuple[tuple[int, float], ...] = Field(description="daily, thinned")
    jesse: dict[str, Any] | None
    undefined: dict[str, str]
    conventions: dict[str, str]
    findings: tuple[str, ...]


def report(
    plan: PairsPlan,
    found: PairExperiment,
    outcome: EngineOutcome,
    *,
    run_id: str | None,
    cached: bool,
    trials: int,
    jesse: dict[str, Any] | str | None,
    warnings: tuple[str, ...],
) -> PairsResult:
    """The answer of the tool.

    Args:
        trials: distinct experiments with this pair.
        jesse: the comparison, the reason why there is none, or ``None`` when it was not asked for.
        warnings: about the candles.
    """
    undefined = {name: outcome.undefined[name] for name in _METRICS if name in outcome.undefined}
    undefined |= {f"formation.{name}": reason for name, reason in found.formation.undefined.items()}
    undefined |= {f"traded.{name}": reason for name, reason in found.traded.undefined.items()}
    performance, lacking = _performance(plan, found, outcome)
    undefined |= lacking
    if isinstance(jesse, str):
        undefined["jesse"] = jesse
    if run_id is None:
        undefined["run_id"] = "prices of the call are not stored: give equity as balances to the risk tools"
    balances = np.array([point.balance for point in outcome.equity], dtype=np.float64)
    shown = plan.arguments.trades_shown
    trades = found.simulation.trades[-shown:] if shown else ()
    return PairsResult(
        run_id=run_id,
        cached=cached,
        request=_request(plan),
        formation=_relation(found.formation),
        traded=_relation(found.traded),
        hedge_ratio=_ratios(plan, found, undefined),
        performance=performance,
        trades=tuple(_trade(plan, trade, found.units) for trade in trades),
        equity=tuple(
            (outcome.equity[at].timestamp, outcome.equity[at].balance)
            for at in thinned(balances, _EQUITY_SHOWN).tolist()
        ),
        jesse=None if isinstance(jesse, str) else jesse,
        undefined=undefined,
        conventions=CONVENTIONS if plan.request is not None else {**CONVENTIONS, "timing": _INLINE_TIMING},
        findings=(*findings_of(plan, found, trials), *plan.prices.remarks, *warnings),
    )


def _request(plan: PairsPlan) -> dict[str, Any]:
    prices, terms = plan.prices, plan.terms
    shown: dict[str, Any] = {
        **plan.arguments.parameters(),
        "start": iso_minute(plan.start_ms),
        "end": iso_minute(plan.end_ms),
        "bars": len(prices.begins) - prices.formation,
        "starting_balance": terms.starting_balance,
        "leverage": plan.arguments.leverage,
        "fee": terms.fee,
    }
    if plan.request is not None:
        shown |= {"exchange": plan.request.exchange, "timeframe": plan.request.routes[0].timeframe}
    return shown


def _relation(relation: Relation) -> dict[str, Any]:
    shown: dict[str, Any] = {"bars": relation.bars, "half_life_bars": relation.half_life}
    tested, joint = relation.engle_granger, relation.johansen
    if tested is None or joint is None:
        return {**shown, "engle_granger": None, "johansen": None}
    levels = [f"{level:.0%}" for level in LEVELS]
    return {
        **shown,
        "engle_granger": {
            "statistic": tested.statistic,
            "p_value": tested.p_value,
            "critical_values": dict(zip(levels, tested.critical_values, strict=True)),
            "lag": tested.lag,
        },
        "johansen": {
            "rank": joint.rank,
            "trace": joint.trace.tolist(),
            "trace_critical_5%": joint.trace_critical_values[:, 1].tolist(),
            "maximum_eigenvalue": joint.maximum_eigenvalue.tolist(),
            "maximum_eigenvalue_critical_5%": joint.maximum_eigenvalue_critical_values[:, 1].tolist(),
            "lag": joint.lag,
        },
    }


def _ratios(plan: PairsPlan, found: PairExperiment, undefined: dict[str, str]) -> dict[str, Any]:
    ratios = found.hedge.ratios[plan.prices.formation :] * found.units
    known = ratios[np.isfinite(ratios)]
    if len(known) < len(ratios):
        undefined["hedge_ratio"] = (
            f"{len(ratios) - len(known):,} of {len(ratios):,} bars have none, and nothing is entered at "
            f"them: {plan.arguments.symbol_x} had not moved for too long"
        )
    return {
        "method": plan.arguments.hedge_ratio,
        "first": _finite(ratios[0]),
        "last": _finite(ratios[-1]),
        "lowest": float(known.min()) if len(known) else None,
        "highest": float(known.max()) if len(known) else None,
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _performance(
    plan: PairsPlan, found: PairExperiment, outcome: EngineOutcome
) -> tuple[dict[str, Any], dict[str, str]]:
    """Of pairs, where Jesse's metrics count legs; and why something is missing."""
    trades, equity = found.simulation.trades, outcome.equity
    profits = [trade.pnl for trade in trades]
    legs = [leg for trade in trades for leg in trade.legs]
    undefined = {} if trades else dict.fromkeys(("win_rate", "mean_return_on_notional"), "no pair was traded")
    undefined |= {} if trades else dict.fromkeys(("average_bars_held",), "no pair was traded")
    count = len(trades)
    ruined = found.simulation.ruined is not None
    return {
        # More than everything cannot be lost: what is beyond shows in the balance.
        "total_return": -1.0 if ruined else equity[-1].balance / equity[0].balance - 1,
        "final_balance": equity[-1].balance,
        "ruined": ruined,
        "pairs_traded": count,
        "win_rate": sum(profit > 0 for profit in profits) / count if count else None,
        "mean_return_on_notional": sum(profits) / count / plan.terms.notional if count else None,
        "average_bars_held": sum(_held(trade) for trade in trades) / count if count else None,
        "fees": sum(leg.fee for leg in legs),
        "slippage": sum(leg.slippage for leg in legs),
        "exits": dict(Counter(trade.reason for trade in trades)),
        "entries_skipped": found.simulation.skipped,
        "metrics_by_jesse_conventions": {name: outcome.metrics.get(name) for name in _METRICS},
    }, {f"performance.{name}": reason for name, reason in undefined.items()}


def _held(trade: PairTrade) -> int:
    return trade.closed - trade.opened + (1 if trade.at_close else 0)


def _trade(plan: PairsPlan, trade: PairTrade, units: float) -> dict[str, Any]:
    begins, ends = plan.prices.begins, plan.prices.ends
    return {
        "spread": "bought" if trade.direction > 0 else "sold",
        "decided_at": int(ends[trade.decided]),
        "opened_at": int(begins[trade.opened]),
        "closed_at": int(ends[trade.closed] if trade.at_close else begins[trade.closed]),
        "bars_held": _held(trade),
        "exit": trade.reason,
        "entry_z": trade.entry_z,
        "exit_z": _finite(trade.exit_z),
        "hedge_ratio": trade.ratio * units,
        "quantities": [leg.quantity for leg in trade.legs],
        "entry_prices": [leg.entry_price for leg in trade.legs],
        "exit_prices": [leg.exit_price for leg in trade.legs],
        "fees": sum(leg.fee for leg in trade.legs),
        "pnl": trade.pnl,
    }
