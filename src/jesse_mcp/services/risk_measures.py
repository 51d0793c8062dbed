"""Everything a risk report is made of, measured once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jesse_mcp.analytics.leverage_used import gross_leverage
from jesse_mcp.analytics.liquidation import Side, cross_distance, isolated_distance
from jesse_mcp.analytics.measures import NO_SPREAD, Floats, Measure, dispersion, found_or_reason
from jesse_mcp.analytics.profit_concentration import best_trades_share
from jesse_mcp.analytics.return_series import ReturnSeries
from jesse_mcp.analytics.risk_score import Circumstances, RiskScore, moving, risk_score
from jesse_mcp.analytics.selection_bias import (
    expected_maximum_sharpe,
    spread_of_trials,
)
from jesse_mcp.analytics.sharpe_inference import (
    probabilistic_sharpe_ratio,
    sharpe_estimate,
    why_no_sharpe,
)
from jesse_mcp.analytics.trade_statistics import NO_TRADE
from jesse_mcp.analytics.trade_table import TradeTable
from jesse_mcp.analytics.value_at_risk import historical
from jesse_mcp.domain.backtests import BacktestRequest
from jesse_mcp.services.analysis_source import DAYS_A_YEAR, Sample, SourceArguments
from jesse_mcp.services.performance_analysis import performance_measures
from jesse_mcp.services.performance_request import PerformanceArguments
from jesse_mcp.services.performance_trades import trade_measures, trade_table
from jesse_mcp.services.trial_history import TrialHistory

UNKNOWN_TRADES = "the source does not know of trades"
UNKNOWN_TRIALS = "the source is no run, so nobody knows how many were tried: say so in trials"
NOTHING_AT_RISK = "the balance never moved: nothing was at risk"
#: Parts of the score that a balance which never moved would get for nothing.
_OF_RETURNS = (
    "max_drawdown",
    "daily_expected_shortfall",
    "volatility_moved",
    "longest_drawdown_days",
    "years_moved",
)
#: Those that returns without any spread say nothing of.
_OF_SPREAD = ("daily_expected_shortfall", "volatility_moved")


@dataclass(frozen=True)
class RiskFacts:
    """What was measured of a sample.

    Attributes:
        returns: measures of the returns by name, in the order they are shown.
        trades: of the closed trades; empty when the source does not know of any.
        table: the trades themselves, ``None`` in that case.
        leverage: gross leverage at the opening of each trade, NaN where it is unknown, shape (n,).
        trials: how many experiments there were, ``None`` when nobody knows.
    """

    sample: Sample
    returns: dict[str, Measure]
    trades: dict[str, Measure]
    table: TradeTable | None
    leverage: Floats
    trials: int | None
    score: RiskScore

    @property
    def series(self) -> ReturnSeries:
        return self.sample.series

    @property
    def measures(self) -> dict[str, Measure]:
        """All of them. No name is in both."""
        return {**self.returns, **self.trades}

    @property
    def ruined(self) -> bool:
        return lost_everything(self.sample)


def lost_everything(sample: Sample) -> bool:
    """By the balances, or by the last one Jesse gives when there are none."""
    if sample.series.ruined:
        return True
    if sample.record is None:
        return False
    last = sample.record.outcome.metrics.get("finishing_balance")
    return isinstance(last, int | float) and last <= 0


def measured(sample: Sample, history: TrialHistory | None, trials: int | None) -> RiskFacts:
    """Measure and score a sample. Blocks.

    Args:
        history: of a run; ``None`` when nobody knows what else was tried.
        trials: how many were tried, as far as the caller says so.
    """
    count = trials if trials is not None else None if history is None else history.count
    table = None if sample.trades is None else trade_table(sample.trades)
    leverage = _leverage(sample, table)
    returns = {**_of_returns(sample), **_evidence(sample, history, count)}
    trade_facts = _of_trades(sample, table, leverage)
    circumstances = Circumstances(
        ruined=lost_everything(sample),
        periods=len(moving(sample.series.returns)),
        trades=sample.decisions,
        total_return=returns["total_return"].value,
    )
    return RiskFacts(
        sample=sample,
        returns=returns,
        trades=trade_facts,
        table=table,
        leverage=leverage,
        trials=count,
        score=risk_score(_scored({**returns, **trade_facts}, sample), circumstances),
    )


def _of_returns(sample: Sample) -> dict[str, Measure]:
    series = sample.series
    found = performance_measures(series, PerformanceArguments(source=SourceArguments()))
    tails: dict[str, Measure] = {}
    for confidence in (0.95, 0.99):
        tail = historical(series.returns, confidence)
        for name, value in (("var", tail.var), ("es", tail.es)):
            tails[f"{name}_{confidence * 100:.0f}"] = Measure(value, tail.undefined.get(name))
    moved, longest = moving(series.returns), found["longest_drawdown"]
    tail = historical(moved, 0.95)
    shortfall = Measure(tail.es, tail.undefined.get("es"))
    scale = math.sqrt(series.periods_per_year / DAYS_A_YEAR)
    found |= {
        **tails,
        "daily_expected_shortfall": _times(shortfall, scale),
        "longest_drawdown_days": _times(longest, DAYS_A_YEAR / series.periods_per_year),
        "volatility_moved": found_or_reason(dispersion(moved) * math.sqrt(series.periods_per_year))
        if len(moved) > 1
        else Measure(None, "fewer than two returns are not zero"),
        "years": found_or_reason(len(series.returns) / series.periods_per_year),
        "years_moved": found_or_reason(len(moved) / series.periods_per_year),
    }
    return found if sample.reason is None else dict.fromkeys(found, Measure(None, sample.reason))


def _times(measure: Measure, factor: float) -> Measure:
    return measure if measure.value is None else found_or_reason(measure.value * factor)


def _evidence(sample: Sample, history: TrialHistory | None, trials: int | None) -> dict[str, Measure]:
    """As ``significance_test`` has them, against a Sharpe ratio of zero; and of the periods that moved."""
    returns = sample.series.returns
    series = () if history is None else history.series
    found = {
        "probabilistic_sharpe_ratio": _deflated(returns, (), 1),
        "deflated_sharpe_ratio": _deflated(returns, series, trials),
        # Every trial likewise: a hurdle of idle trials would be too low for one that is not.
        "deflated_sharpe_moved": _deflated(moving(returns), [moving(one) for one in series], trials),
    }
    return found if sample.reason is None else dict.fromkeys(found, Measure(None, sample.reason))


def _deflated(returns: Floats, series: Sequence[Floats], trials: int | None) -> Measure:
    """Of one trial it is the probability that the true Sharpe ratio is above zero."""
    estimate = sharpe_estimate(returns)
    if estimate is None:
        return Measure(None, why_no_sharpe(returns))
    if trials is None:
        return Measure(None, UNKNOWN_TRIALS)
    hurdle = expected_maximum_sharpe(trials, spread_of_trials(series, estimate.n).variance)
    found = probabilistic_sharpe_ratio(
        estimate.sharpe, estimate.n, estimate.skewness, estimate.kurtosis, hurdle
    )
    return Measure(None, "there is no sampling error") if found is None else Measure(found)


def _of_trades(sample: Sample, table: TradeTable | None, leverage: Floats) -> dict[str, Measure]:
    request = sample.request
    if table is None or request is None:
        none = Measure(None, UNKNOWN_TRADES)
        return dict.fromkeys(("best_trades_share", "leverage_used", "liquidation_distance"), none)
    used = _highest(leverage, sample)
    return {
        **trade_measures(table, request),
        "best_trades_share": best_trades_share(table.profits),
        "leverage_used": used,
        "liquidation_distance": _liquidation(request, table, used),
    }


def _leverage(sample: Sample, table: TradeTable | None) -> Floats:
    """At the opening of each trade, NaN where the balance is not known."""
    series = sample.series
    if table is None or sample.trades is None:
        return np.empty(0)
    if series.timestamps is None or not len(series.timestamps):
        return np.full(len(table), np.nan)
    sizes = np.array([abs(trade.size) for trade in sample.trades], dtype=np.float64)
    found = gross_leverage(
        sizes, table.opened_at, table.closed_at, table.profits, series.timestamps, series.balances
    )
    if series.ruined:
        # What was opened with nothing left has no balance to be compared with.
        found[table.opened_at >= series.timestamps[-1]] = np.nan
    return found


def _highest(leverage: Floats, sample: Sample) -> Measure:
    if not len(leverage):
        return Measure(None, NO_TRADE)
    known = leverage[np.isfinite(leverage)]
    if not len(known):
        return Measure(None, sample.reason or "no balance is known at the opening of a trade")
    return found_or_reason(float(known.max()))


def _liquidation(request: BacktestRequest, table: TradeTable, used: Measure) -> Measure:
    """Of the price, as a fraction; 1 on a spot market, where only a price of zero takes everything."""
    if not len(table):
        return Measure(None, NO_TRADE)
    if request.exchange_type == "spot":
        return Measure(1.0)
    if request.leverage_mode == "isolated":
        return found_or_reason(isolated_distance(float(request.leverage)))
    if used.value is None:
        return used
    if used.value <= 0:
        return Measure(None, "no trade has a size")
    traded: tuple[tuple[Side, bool], ...] = (
        ("long", bool(table.long.any())),
        ("short", not table.long.all()),
    )
    return found_or_reason(min(cross_distance(used.value, side) for side, held in traded if held))


def _scored(measures: dict[str, Measure], sample: Sample) -> dict[str, Measure]:
    """The measures as they count for the score: what risked nothing has not shown that it is safe."""
    if not len(sample.series.returns):
        return measures
    moved = moving(sample.series.returns)
    if not len(moved):
        return {**measures, **dict.fromkeys(_OF_RETURNS, Measure(None, NOTHING_AT_RISK))}
    if dispersion(moved) == 0:
        return {**measures, **dict.fromkeys(_OF_SPREAD, Measure(None, NO_SPREAD))}
    return measures
