"""What a significance test computes, before it is put into words."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.multiple_testing import MeanTest, mean_test
from jesse_mcp.analytics.overfitting import Overfitting, probability_of_overfitting, why_no_pbo
from jesse_mcp.analytics.selection_bias import (
    EffectiveTrials,
    TrialSpread,
    effective_trials,
    expected_maximum_sharpe,
    spread_of_trials,
)
from jesse_mcp.analytics.sharpe_inference import (
    SharpeEstimate,
    probabilistic_sharpe_ratio,
    sharpe_estimate,
    why_no_sharpe,
)
from jesse_mcp.services.analysis_source import Sample
from jesse_mcp.services.run_comparison import RunComparison, aligned, compared
from jesse_mcp.services.significance_request import SignificanceArguments
from jesse_mcp.services.trial_history import TrialHistory

UNKNOWN_TRIALS = "the source is no run, so nobody knows how many were tried: say so in trials"
_RESAMPLES = 2_000
_FEWEST_RESAMPLES = 200
_MOST_DRAWS = 100_000_000
_MOST_CELLS = 300_000_000


@dataclass(frozen=True)
class Deflation:
    """What the best of ``trials`` owes to luck; Sharpe ratios are of one period.

    ``spread``: of the trials in the ledger, or of returns without skill when those say less.
    ``luck``: Sharpe ratio to be expected of the best of the trials, were none of them any good.
    """

    trials: int
    effective: float | None
    spread: TrialSpread
    luck: float
    dsr: float | None
    dsr_effective: float | None


@dataclass(frozen=True)
class SignificanceEvidence:
    """Everything found of the sample that is judged; ``undefined`` says why a part is ``None``."""

    judged: Sample
    history: TrialHistory | None
    estimate: SharpeEstimate | None
    psr: float | None
    mean: MeanTest | None
    resamples: int
    deflation: Deflation | None
    effective: EffectiveTrials | None
    overfitting: Overfitting | None
    comparison: RunComparison | None
    undefined: dict[str, str] = field(default_factory=dict)


def best_of(samples: Sequence[Sample]) -> int:
    """Place of the highest annual Sharpe ratio; of the first when there is none."""

    def annual(place: int) -> float:
        found = sharpe_estimate(samples[place].series.returns)
        year = samples[place].series.periods_per_year
        return -math.inf if found is None else found.sharpe * math.sqrt(year)

    return max(range(len(samples)), key=annual)


def gathered(
    arguments: SignificanceArguments,
    samples: Sequence[Sample],
    history: TrialHistory | None,
    pause: Callable[[], None] = lambda: None,
) -> SignificanceEvidence:
    """Judge the only sample, or the best of several. Takes seconds.

    Args:
        samples: at least one.
        history: ``None`` when the source is no run, so that nobody knows what was tried.
        pause: called now and then; may raise to end the work.
    """
    undefined: dict[str, str] = {}
    judged = samples[best_of(samples)]
    returns = judged.series.returns
    estimate = sharpe_estimate(returns)
    if estimate is None:
        undefined["sharpe"] = judged.reason or why_no_sharpe(returns) or ""
    psr = None if estimate is None else _above(estimate, _benchmark(arguments, judged))
    if psr is None:
        undefined["probabilistic_sharpe_ratio"] = undefined.get("sharpe", "there is no sampling error")
    resamples = max(_FEWEST_RESAMPLES, min(_RESAMPLES, _MOST_DRAWS // max(1, len(returns))))
    several = len(samples) > 1
    table = aligned(samples) if several else None if history is None else history.table
    pool = _pool(table, history)
    effective = None if pool is None else effective_trials(pool)
    return SignificanceEvidence(
        judged=judged,
        history=history,
        estimate=estimate,
        psr=psr,
        mean=mean_test(returns, arguments.seed, resamples, pause),
        resamples=resamples,
        deflation=_deflation(arguments, judged, estimate, history, effective, undefined),
        effective=effective,
        overfitting=_overfitting(pool, arguments, history, undefined, pause),
        comparison=(
            compared(samples, table, arguments, resamples, pause) if several and table is not None else None
        ),
        undefined=undefined,
    )


def _pool(table: NDArray[np.float64] | None, history: TrialHistory | None) -> NDArray[np.float64] | None:
    """Among which the best was chosen: the trials of the same days in the ledger, when they are more."""
    known = None if history is None else history.table
    if known is None or (table is not None and table.shape[1] > known.shape[1]):
        return table
    return known


def _benchmark(arguments: SignificanceArguments, judged: Sample) -> float:
    """Of one period."""
    return arguments.benchmark_sharpe / math.sqrt(judged.series.periods_per_year)


def _above(estimate: SharpeEstimate, hurdle: float) -> float | None:
    found = estimate
    return probabilistic_sharpe_ratio(found.sharpe, found.n, found.skewness, found.kurtosis, hurdle)


def _overfitting(
    table: NDArray[np.float64] | None,
    arguments: SignificanceArguments,
    history: TrialHistory | None,
    undefined: dict[str, str],
    pause: Callable[[], None],
) -> Overfitting | None:
    if table is None:
        reason: str | None = "no trial in the ledger has returns on exactly the days of the run"
        if history is None:
            reason = "the source is no run, so nobody knows what else was tried: compare runs with run_ids"
    else:
        reason = why_no_pbo(table, arguments.splits)
        combinations = math.comb(arguments.splits, arguments.splits // 2)
        if reason is None and combinations * table.shape[1] > _MOST_CELLS:
            reason = f"{table.shape[1]:,} strategies times {combinations:,} combinations: give fewer splits"
    if reason is not None or table is None:
        undefined["pbo"] = reason or ""
        return None
    return probability_of_overfitting(table, arguments.splits, pause)


def _deflation(
    arguments: SignificanceArguments,
    judged: Sample,
    estimate: SharpeEstimate | None,
    history: TrialHistory | None,
    effective: EffectiveTrials | None,
    undefined: dict[str, str],
) -> Deflation | None:
    trials = arguments.trials or (None if history is None else history.count)
    if trials is None or estimate is None:
        undefined["deflated_sharpe_ratio"] = UNKNOWN_TRIALS if trials is None else undefined["sharpe"]
        return None
    spread = spread_of_trials(() if history is None else history.series, estimate.n)
    benchmark = _benchmark(arguments, judged)
    independent = None
    if effective is None:
        undefined["effective_trials"] = "fewer than two trials of the same days have returns that vary"
    else:
        # As if those of other days were alike to the same degree.
        independent = max(1.0, trials * effective.by_average_correlation / effective.trials)

    def deflated(count: float) -> float | None:
        return _above(estimate, benchmark + expected_maximum_sharpe(count, spread.variance))

    return Deflation(
        trials=trials,
        effective=independent,
        spread=spread,
        luck=expected_maximum_sharpe(trials, spread.variance),
        dsr=deflated(trials),
        dsr_effective=None if independent is None else deflated(independent),
    )
