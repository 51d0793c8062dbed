"""A correlation matrix as an answer: numbers by name, bounded in length."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from jesse_mcp.analytics.correlation_clusters import structure
from jesse_mcp.analytics.covariance_shrinkage import PERIODS_A_SERIES
from jesse_mcp.analytics.thinning import thinned
from jesse_mcp.domain.model import Value
from jesse_mcp.services.correlation_evidence import (
    CORRECTIONS,
    CorrelationEvidence,
    PairCorrelation,
    RollingPair,
    Screening,
)
from jesse_mcp.services.correlation_findings import findings_of
from jesse_mcp.services.correlation_request import CorrelationArguments
from jesse_mcp.services.price_panel import PricePanel

#: Series whose whole matrix is short enough to be shown unasked.
_SMALL = 12
_ROLLING_POINTS = 12
#: Reasons of one kind beyond which the rest is counted.
_MOST_REASONS = 20

CONVENTIONS = (
    "simple returns between consecutive common times; nothing is filled in. p: two-sided, of no "
    "correlation; pearson and spearman by Student's t, kendall tau-b. low, high: Fisher's z with the "
    "variances of Bonett & Wright 2000, for independent returns of constant volatility: where they depend "
    "on those before, p is too small and the interval too narrow; Spearman's is good below 0.95, "
    "Kendall's below 0.8 and without ties. p_holm: the chance of one false pair or more among all pairs "
    "is at most this; p_benjamini_hochberg, p_benjamini_yekutieli: the expected share of false ones, the "
    "latter under any dependence. average_correlation, effective_bets (exponential of the entropy of the "
    "eigenvalues: Roy & Vetterli 2007, Meucci 2009) and clusters (average linkage of sqrt((1 - rho) / 2), "
    "Mantegna 1999; cut where the mean silhouette is highest) are of the shrunk matrix when shrinkage is "
    "applied; pairs, p and intervals never are. Rolling windows overlap: their extremes are no tests. "
    "cointegration: Engle-Granger with a constant on log prices in both directions; p is twice the "
    "smaller, as two tests were made; corrected for the pairs. dependent = intercept + hedge_ratio * "
    "independent + spread; half_life in periods. It takes both series for random walks, over the whole "
    "sample: a candidate is to be tried on later data"
)

Section = dict[str, Any]


class CorrelationResult(Value):
    """Fractions, not percent; times in epoch milliseconds."""

    source: str
    method: str
    returns: int = Field(description="periods in common")
    periods_per_year: float
    first: int
    last: int
    gaps: int = Field(description="returns over more than one period")
    series: tuple[Section, ...] = Field(description="points of each, and how many had to be left out")
    summary: Section = Field(
        description="average_correlation, effective_bets, pairs and how many significant"
    )
    shrinkage: Section
    pairs: tuple[Section, ...] = Field(description="highest and lowest correlations, limit of each")
    matrix: Section = Field(description="names, values; of many series only with include")
    clusters: Section
    rolling: tuple[Section, ...] = Field(description="of the pairs shown; points are [time, correlation]")
    cointegration: Section
    undefined: dict[str, str] = Field(description="why one is null or missing")
    conventions: str
    findings: tuple[str, ...]


def report(arguments: CorrelationArguments, found: CorrelationEvidence) -> CorrelationResult:
    """Describe the evidence."""
    panel = found.panel
    undefined = _undefined(found)
    return CorrelationResult(
        source=panel.source,
        method=arguments.method,
        returns=found.n,
        periods_per_year=panel.periods_per_year,
        first=int(panel.timestamps[0]),
        last=int(panel.timestamps[-1]),
        gaps=panel.gaps,
        series=tuple(
            {"name": name, "points": count.points, "left_out": count.left_out}
            for name, count in zip(panel.names, panel.counts, strict=True)
        ),
        summary=_summary(arguments, found, undefined),
        shrinkage=_shrinkage(arguments, found),
        pairs=tuple(_pair(panel, one, undefined) for one in found.shown),
        matrix=_matrix(arguments, found, undefined),
        clusters=_clusters(found, undefined),
        rolling=tuple(_rolling(panel, one, undefined) for one in found.rolling),
        cointegration=_cointegration(arguments, panel, found.screening, undefined),
        undefined=undefined,
        conventions=CONVENTIONS,
        findings=(*findings_of(arguments, found), *_remarks(panel)),
    )


def _remarks(panel: PricePanel) -> tuple[str, ...]:
    more = len(panel.remarks) - _MOST_REASONS
    left = (f"and {more} more remarks of this kind",) if more > 0 else ()
    return (*panel.remarks[:_MOST_REASONS], *left)


def _undefined(found: CorrelationEvidence) -> dict[str, str]:
    varying = set(found.varying.tolist())
    return {
        f"correlations of {name}": "its returns are all the same: they correlate with nothing"
        for place, name in enumerate(found.panel.names)
        if place not in varying
    }


def _summary(
    arguments: CorrelationArguments, found: CorrelationEvidence, undefined: dict[str, str]
) -> Section:
    if found.average is None:
        undefined["average_correlation"] = "fewer than two series vary"
    if found.bets is None:
        undefined["effective_bets"] = "no series varies"
    tested = [one for one in found.pairs if one.p_value is not None]
    return {
        "series_that_vary": len(found.varying),
        "average_correlation": found.average,
        "effective_bets": found.bets,
        "pairs": len(found.pairs),
        "expected_by_chance": len(tested) * arguments.alpha,
        "below_alpha": sum(1 for one in tested if (one.p_value or 0.0) <= arguments.alpha),
        **{
            f"significant_by_{name}": sum(
                1 for one in tested if (one.adjusted[name] or 0.0) <= arguments.alpha
            )
            for name in CORRECTIONS
        },
    }


def _shrinkage(arguments: CorrelationArguments, found: CorrelationEvidence) -> Section:
    few = f"fewer than {PERIODS_A_SERIES} returns for each series"
    if found.shrunk is not None:
        reason = "asked for" if arguments.shrinkage == "ledoit_wolf" else few
        return {
            "applied": True,
            "intensity": found.shrunk.intensity,
            "target": "identity",
            "reason": reason,
        }
    if arguments.shrinkage == "none":
        reason = "shrinkage is none"
    elif len(found.varying) < 2:
        reason = "fewer than two series vary"
    elif arguments.method == "kendall":
        reason = "Kendall's tau is not made of products of deviations"
    else:
        reason = f"not {few}"
    return {"applied": False, "reason": reason}


def _pair(panel: PricePanel, one: PairCorrelation, undefined: dict[str, str]) -> Section:
    first, second = (panel.names[place] for place in one.pair)
    if one.interval is None:
        undefined[f"interval of {first} and {second}"] = (
            "their correlation is 1 or -1: one is redundant, and there is no interval"
        )
    low, high = one.interval or (None, None)
    return {
        "series": [first, second],
        "correlation": one.correlation,
        "low": low,
        "high": high,
        "p": one.p_value,
        **{f"p_{name}": one.adjusted[name] for name in CORRECTIONS},
    }


def _matrix(
    arguments: CorrelationArguments, found: CorrelationEvidence, undefined: dict[str, str]
) -> Section:
    names = found.panel.names
    if len(names) > _SMALL and "matrix" not in arguments.include:
        undefined["matrix"] = f'{len(names)} series: ask with include=["matrix"]'
        return {}
    section: Section = {"names": list(names), "values": _rows(found.correlations.matrix)}
    if found.shrunk is not None:
        section["shrunk_names"] = [names[place] for place in found.varying.tolist()]
        section["shrunk"] = _rows(found.shrunk.matrix)
    return section


def _rows(matrix: NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if math.isnan(value) else value for value in row] for row in matrix.tolist()]


def _clusters(found: CorrelationEvidence, undefined: dict[str, str]) -> Section:
    if found.clustering is None:
        undefined["clusters"] = "no series varies"
        return {}
    names = [found.panel.names[place] for place in found.varying.tolist()]
    order, labels = found.clustering.order, found.clustering.labels
    if found.clustering.silhouette is None:
        undefined["silhouette"] = (
            "clusters need three series that vary" if len(names) < 3 else "no cut separates the series"
        )
    return {
        "members": [
            [names[place] for place in order if labels[place] == label] for label in range(max(labels) + 1)
        ],
        "silhouette": found.clustering.silhouette,
        "structure": structure(found.clustering.silhouette),
    }


def _rolling(panel: PricePanel, one: RollingPair, undefined: dict[str, str]) -> Section:
    names = [panel.names[place] for place in one.pair]
    known = ~np.isnan(one.values)
    times, values = one.times[known], one.values[known]
    blank = int((~known).sum())
    section: Section = {"series": names, "windows": len(one.values), "windows_without_movement": blank}
    if not len(values):
        undefined[f"rolling of {names[0]} and {names[1]}"] = "in every window one of them does not vary"
        return section | {"last": None, "min": None, "max": None}
    low, high = int(values.argmin()), int(values.argmax())
    latest = one.values[-1]
    if math.isnan(latest):
        undefined[f"last rolling of {names[0]} and {names[1]}"] = "in the last window one does not vary"
    chosen = thinned(values, _ROLLING_POINTS).tolist()
    return section | {
        "last": None if math.isnan(latest) else float(latest),
        "min": float(values[low]),
        "min_at": int(times[low]),
        "max": float(values[high]),
        "max_at": int(times[high]),
        "points": [[int(times[at]), float(values[at])] for at in chosen],
    }


def _cointegration(
    arguments: CorrelationArguments,
    panel: PricePanel,
    screening: Screening | None,
    undefined: dict[str, str],
) -> Section:
    if screening is None:
        return {}
    names, alpha = panel.names, arguments.alpha
    refused = [test for test in screening.tests if test.reason is not None]
    for test in refused[:_MOST_REASONS]:
        first, second = (names[place] for place in test.pair)
        undefined[f"cointegration of {first} and {second}"] = str(test.reason)
    if len(refused) > _MOST_REASONS:
        undefined["cointegration of more pairs"] = f"{len(refused) - _MOST_REASONS} others have no test"
    tested = [at for at, test in enumerate(screening.tests) if test.p_value is not None]
    best = sorted(tested, key=lambda at: (screening.tests[at].p_value or 0.0, at))[: arguments.limit]
    holm = screening.adjusted["holm"]
    return {
        "pairs_tested": len(tested),
        "expected_by_chance": len(tested) * alpha,
        "below_alpha": sum(1 for at in tested if (screening.tests[at].p_value or 0.0) <= alpha),
        **{
            f"significant_by_{name}": sum(
                1 for at in tested if (screening.adjusted[name][at] or 0.0) <= alpha
            )
            for name in CORRECTIONS
        },
        "candidates": [
            _candidate(screening, at, names, alpha, undefined) | {"significant": (holm[at] or 0.0) <= alpha}
            for at in best
        ],
    }


def _candidate(
    screening: Screening, at: int, names: tuple[str, ...], alpha: float, undefined: dict[str, str]
) -> Section:
    test = screening.tests[at]
    dependent = test.pair[0] if test.dependent is None else test.dependent
    independent = test.pair[0] if dependent == test.pair[1] else test.pair[1]
    if test.half_life is None:
        undefined[f"half_life of {names[dependent]} and {names[independent]}"] = (
            "the spread does not return to its mean, or within one period"
        )
    roots = screening.unit_roots
    return {
        "dependent": names[dependent],
        "independent": names[independent],
        "p": test.p_value,
        **{f"p_{name}": screening.adjusted[name][at] for name in CORRECTIONS},
        "hedge_ratio": test.hedge_ratio,
        "intercept": test.intercept,
        "half_life": test.half_life,
        # One that is stationary alone needs no partner, which no correction of p-values knows.
        "stationary_alone": [
            names[place] for place in test.pair if (root := roots[place]) is not None and root <= alpha
        ],
    }
