"""A significance test as an answer: numbers by name, the verdict, and what they say in plain words."""

import math
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from jesse_mcp.analytics.selection_bias import ENOUGH_TRIALS_FOR_VARIANCE, minimum_backtest_length
from jesse_mcp.analytics.sharpe_inference import confidence_interval, minimum_track_record_length
from jesse_mcp.analytics.significance_verdict import THRESHOLDS, significance_verdict
from jesse_mcp.domain.model import Value
from jesse_mcp.services.analysis_source import Sample
from jesse_mcp.services.significance_evidence import SignificanceEvidence
from jesse_mcp.services.significance_findings import findings_of
from jesse_mcp.services.significance_request import SignificanceArguments

CONVENTIONS = (
    "Sharpe ratios are annual, against zero, ddof=1; kurtosis is raw. standard_error: Mertens 2002; "
    "hac_standard_error: Lo 2002, Newey-West. probabilistic_sharpe_ratio (Bailey & Lopez de Prado 2012): "
    "chance that the true one is above benchmark_sharpe. deflated_sharpe_ratio (2014): above "
    "benchmark_sharpe plus luck_sharpe, what the best of the trials shows without skill; trials are all "
    "distinct experiments with this code, under whatever name; their variance is that of their Sharpe ratios "
    "scaled to this number of returns, nearly equal returns once (distinct_trials), outliers "
    "drawn in to 3 robust deviations (plain_variance_of_trials counts all, as the paper), never below the "
    "one without skill, 1 / (n - 1) a "
    f"period, and that one with fewer than {ENOUGH_TRIALS_FOR_VARIANCE}. effective_trials: by average "
    "correlation, not used for the verdict. minimum_backtest_years: on less, luck is expected to show this "
    "Sharpe ratio. p-values are one-sided, of a mean return above zero; bootstrap: stationary blocks. pbo: "
    "combinatorially symmetric cross-validation (Bailey et al. 2017) by Sharpe ratio. spa: Hansen 2005, "
    "reality_check: White 2000, superior: Romano & Wolf 2005, all against earning nothing"
)

Section = dict[str, Any]


class SignificanceResult(Value):
    """Fractions, not percent."""

    source: str
    periods: int
    periods_per_year: float
    verdict: str
    thresholds: str
    sharpe: Section = Field(description="ratio, error, moments, minimum track record")
    selection: Section = Field(description="trials, what luck alone shows, deflated_sharpe_ratio")
    mean_return: Section = Field(description="tests of a mean above zero")
    overfitting: Section = Field(description="pbo, degradation_slope, probability_of_loss")
    comparison: Section = Field(description="of run_ids: spa, reality_check, superior, runs")
    undefined: dict[str, str] = Field(description="why one is null")
    conventions: str
    findings: tuple[str, ...]


def report(
    arguments: SignificanceArguments, samples: Sequence[Sample], found: SignificanceEvidence
) -> SignificanceResult:
    """Describe the evidence."""
    judged, undefined = found.judged, dict(found.undefined)
    sharpe = _sharpe(arguments, found, undefined)
    selection = _selection(found, sharpe, undefined)
    overfitting = _overfitting(found)
    mean = found.mean
    verdict = significance_verdict(
        len(judged.series.returns),
        judged.decisions,
        psr=found.psr,
        p_bootstrap=None if mean is None else mean.p_bootstrap,
        dsr=selection["deflated_sharpe_ratio"],
        pbo=overfitting.get("pbo"),
        strategies=0 if found.overfitting is None else found.overfitting.strategies,
        confidence=arguments.confidence,
    )
    comparison = _comparison(samples, found, undefined)
    if mean is None:
        undefined["mean_return"] = undefined["sharpe"]
    return SignificanceResult(
        source=judged.label if len(samples) == 1 else f"{judged.label}, the best of {len(samples)}",
        periods=len(judged.series.returns),
        periods_per_year=judged.series.periods_per_year,
        verdict=verdict,
        thresholds=THRESHOLDS,
        sharpe=sharpe,
        selection=selection,
        mean_return=_mean_return(found),
        overfitting=overfitting,
        comparison=comparison,
        undefined={name: reason for name, reason in undefined.items() if reason},
        conventions=CONVENTIONS,
        findings=(
            *findings_of(arguments, found, verdict, sharpe, selection),
            *(f"{sample.label}: {remark}" for sample in samples for remark in sample.remarks),
        ),
    )


def _sharpe(
    arguments: SignificanceArguments, found: SignificanceEvidence, undefined: dict[str, str]
) -> Section:
    one, per_year = found.estimate, found.judged.series.periods_per_year
    if one is None:
        return {"annual": None, "probabilistic_sharpe_ratio": None}
    root = math.sqrt(per_year)
    low, high = confidence_interval(one.sharpe, one.standard_error, arguments.confidence)
    length = minimum_track_record_length(
        one.sharpe, one.skewness, one.kurtosis, arguments.benchmark_sharpe / root, arguments.confidence
    )
    if length is None:
        undefined["minimum_track_record_years"] = (
            "it is not above benchmark_sharpe: no record would be enough"
        )
    return {
        "annual": one.sharpe * root,
        "low": low * root,
        "high": high * root,
        "standard_error": one.standard_error * root,
        "hac_standard_error": one.hac_standard_error * root,
        "skewness": one.skewness,
        "kurtosis": one.kurtosis,
        "probabilistic_sharpe_ratio": found.psr,
        "minimum_track_record_years": None if length is None else length / per_year,
    }


def _selection(found: SignificanceEvidence, sharpe: Section, undefined: dict[str, str]) -> Section:
    history, deflation = found.history, found.deflation
    section: Section = {"deflated_sharpe_ratio": None}
    if history is not None:
        section |= {
            "ledger_trials": history.count,
            "families": list(history.families),
            "other_trials_on_these_days": history.overlapping,
        }
    if deflation is None:
        return section
    root = math.sqrt(found.judged.series.periods_per_year)
    years = minimum_backtest_length(deflation.trials, sharpe["annual"])
    if years is None:
        undefined["minimum_backtest_years"] = "the Sharpe ratio is not above zero"
    spread = deflation.spread
    if spread.plain is None:
        undefined["plain_variance_of_trials"] = (
            f"fewer than {ENOUGH_TRIALS_FOR_VARIANCE} trials in the ledger have a Sharpe ratio"
        )
    return section | {
        "trials": deflation.trials,
        "effective_trials": deflation.effective,
        "variance_of_trials": spread.variance * root * root,
        "variance_is": "of the trials in the ledger" if spread.observed else "without skill",
        "plain_variance_of_trials": None if spread.plain is None else spread.plain * root * root,
        "distinct_trials": spread.distinct,
        "luck_sharpe": deflation.luck * root,
        "deflated_sharpe_ratio": deflation.dsr,
        "deflated_sharpe_ratio_of_effective_trials": deflation.dsr_effective,
        "minimum_backtest_years": years,
    }


def _mean_return(found: SignificanceEvidence) -> Section:
    mean = found.mean
    if mean is None:
        return {"p_t": None, "p_bootstrap": None}
    return {
        "t": mean.t,
        "p_t": mean.p_t,
        "p_bootstrap": mean.p_bootstrap,
        "block_length": mean.block_length,
        "resamples": found.resamples,
    }


def _overfitting(found: SignificanceEvidence) -> Section:
    pbo = found.overfitting
    if pbo is None:
        return {"pbo": None}
    return {
        "pbo": pbo.pbo,
        "strategies": pbo.strategies,
        "splits": pbo.splits,
        "combinations": pbo.combinations,
        "periods": pbo.periods,
        "degradation_slope": pbo.degradation_slope,
        "probability_of_loss": pbo.probability_of_loss,
    }


def _comparison(samples: Sequence[Sample], found: SignificanceEvidence, undefined: dict[str, str]) -> Section:
    together = found.comparison
    if together is None:
        return {}
    snooping = together.snooping
    if together.why_no_snooping is not None:
        undefined["spa"] = together.why_no_snooping
    runs = []
    for place, sample in enumerate(samples):
        mean = together.means[place]
        runs.append(
            {
                "source": sample.label,
                "periods": len(sample.series.returns),
                "p_bootstrap": None if mean is None else mean.p_bootstrap,
                **{f"p_{name}": adjusted[place] for name, adjusted in together.adjusted.items()},
                "superior": None if snooping is None else place in snooping.superior,
            }
        )
    return {
        "common_periods": together.periods,
        "spa": None if snooping is None else snooping.spa_consistent,
        "spa_bounds": None if snooping is None else [snooping.spa_lower, snooping.spa_upper],
        "reality_check": None if snooping is None else snooping.reality_check,
        "block_length": None if snooping is None else snooping.block_length,
        "runs": runs,
    }
