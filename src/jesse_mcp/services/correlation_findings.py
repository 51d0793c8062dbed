"""What correlations say, in plain words."""

import math

import numpy as np

from jesse_mcp.analytics.correlation_clusters import structure
from jesse_mcp.domain.timeframes import iso_minute
from jesse_mcp.services.correlation_evidence import CorrelationEvidence, Screening
from jesse_mcp.services.correlation_request import CorrelationArguments

#: Fewer returns leave an interval of about 0.7 around no correlation.
_FEW = 30
#: Of the series: fewer bets than this share are worth a word.
_LITTLE = 0.5
_LOST = 0.2
_NEVER_MOVES = 0.5
_MOST_NAMES = 5


def findings_of(arguments: CorrelationArguments, found: CorrelationEvidence) -> tuple[str, ...]:
    """The most important first."""
    return tuple(
        finding
        for part in (
            _diversification(found),
            _redundant(found),
            _chance(arguments, found),
            _screened(arguments, found),
            _clusters(found),
            _data(found),
            _dependence(found),
        )
        for finding in part
    )


def _diversification(found: CorrelationEvidence) -> list[str]:
    k = len(found.varying)
    if found.bets is None or found.average is None:
        return []
    text = (
        f"{k} series are worth {found.bets:.1f} independent bets; their average correlation is "
        f"{found.average:.2f}"
    )
    if found.shrunk is not None:
        text += (
            f", both after shrinkage of {found.shrunk.intensity:.2f}, which draws them towards {k} bets and "
            "an average of 0 for want of returns"
        )
    little = found.bets < _LITTLE * k
    return [f"diversification is less than it looks: {text}" if little else text]


def _redundant(found: CorrelationEvidence) -> list[str]:
    names = found.panel.names
    same = [one for one in found.pairs if abs(one.correlation) == 1]
    shown = "; ".join(" and ".join(names[place] for place in one.pair) for one in same[:_MOST_NAMES])
    more = f" and {len(same) - _MOST_NAMES} more pairs" if len(same) > _MOST_NAMES else ""
    return [f"perfectly correlated, so that one is redundant: {shown}{more}"] if same else []


def _chance(arguments: CorrelationArguments, found: CorrelationEvidence) -> list[str]:
    tested = [one for one in found.pairs if one.p_value is not None]
    if len(tested) < 2:
        return []
    below = sum(1 for one in tested if (one.p_value or 0.0) <= arguments.alpha)
    left = sum(1 for one in tested if (one.adjusted["holm"] or 0.0) <= arguments.alpha)
    return [
        f"{len(tested):,} pairs tested: {len(tested) * arguments.alpha:.1f} expected below "
        f"{arguments.alpha:g} by chance alone, {below:,} are, {left:,} after correction (Holm)"
    ]


def _screened(arguments: CorrelationArguments, found: CorrelationEvidence) -> list[str]:
    screening = found.screening
    if screening is None:
        return []
    tested = [at for at, test in enumerate(screening.tests) if test.p_value is not None]
    if not tested:
        return ["no pair could be tested for cointegration: see undefined"]
    alpha, holm = arguments.alpha, screening.adjusted["holm"]
    below = sum(1 for at in tested if (screening.tests[at].p_value or 0.0) <= alpha)
    left = [at for at in tested if (holm[at] or 0.0) <= alpha]
    said = [
        f"cointegration: {len(tested):,} pairs tested, {len(tested) * alpha:.1f} expected below {alpha:g} by "
        f"chance alone, {below:,} are, {len(left):,} after correction (Holm)"
    ]
    if below and not left:
        said.append(
            "no pair is cointegrated once it is counted how many were tested: the best is luck so far"
        )
    return said + _doubts(screening, left, found.panel.names, alpha)


def _doubts(screening: Screening, left: list[int], names: tuple[str, ...], alpha: float) -> list[str]:
    """What speaks against pairs that are significant."""
    said = []
    alone = {
        place
        for at in left
        for place in screening.tests[at].pair
        if (root := screening.unit_roots[place]) is not None and root <= alpha
    }
    if alone:
        shown = ", ".join(names[place] for place in sorted(alone)[:_MOST_NAMES])
        said.append(f"stationary without any partner: {shown}; their cointegration says nothing of a pair")
    opposite = [at for at in left if (screening.tests[at].hedge_ratio or 0.0) < 0]
    if opposite:
        said.append(
            f"{len(opposite)} of the significant pairs have a negative hedge ratio: both are held on "
            "the same side, so the market is not hedged"
        )
    return said


def _clusters(found: CorrelationEvidence) -> list[str]:
    clustering = found.clustering
    if clustering is None or clustering.silhouette is None:
        return []
    return [
        f"{max(clustering.labels) + 1} clusters, structure {structure(clustering.silhouette)} (silhouette "
        f"{clustering.silhouette:.2f})"
    ]


def _data(found: CorrelationEvidence) -> list[str]:
    panel, said = found.panel, []
    if found.n < _FEW:
        width = 1.96 / math.sqrt(max(found.n - 3, 1))
        said.append(
            f"{found.n} returns are few: without any correlation, 95 % of those found are within "
            f"{math.tanh(width):.2f} of zero"
        )
    most = max(count.points for count in panel.counts)
    if len(panel.timestamps) < (1 - _LOST) * most:
        name, short = min(
            zip(panel.names, panel.counts, strict=True), key=lambda one: (one[1].points, one[0])
        )
        said.append(
            f"only {len(panel.timestamps):,} times are common to all, of up to {most:,}; the shortest is "
            f"{name}: {short.points:,} from {iso_minute(short.first)} to {iso_minute(short.last)}"
        )
    if panel.gaps:
        said.append(f"{panel.gaps:,} returns are over more than one period, as times between are missing")
    still = np.flatnonzero((found.returns == 0).mean(axis=0) > _NEVER_MOVES)
    still = still[np.isin(still, found.varying)]
    if len(still):
        shown = ", ".join(panel.names[place] for place in still[:_MOST_NAMES].tolist())
        said.append(
            f"more than half of the returns are exactly zero: {shown}; correlations with it rest on few"
        )
    return said


def _dependence(found: CorrelationEvidence) -> list[str]:
    bound = 1.96 / math.sqrt(found.n)
    counts = [
        int((np.abs(values[found.varying]) > bound).sum())
        for values in (found.lag_one, found.lag_one_squared)
    ]
    total = len(found.varying)
    said = []
    if counts[1] > max(1, 0.1 * total):
        said.append(
            f"volatility comes in clusters in {counts[1]} of {total} series: p-values are too small and "
            "intervals too narrow"
        )
    if counts[0] > max(1, 0.1 * total):
        said.append(
            f"returns depend on those before in {counts[0]} of {total} series: p-values and intervals are "
            "approximate"
        )
    return said
