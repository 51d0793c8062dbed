"""What a correlation matrix computes, before it is put into words."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.correlation import (
    Correlations,
    average_correlation,
    confidence_interval,
    correlations,
    effective_bets,
    lag_one_autocorrelation,
    rolling_correlation,
)
from jesse_mcp.analytics.correlation_clusters import Clustering, hierarchical_clusters
from jesse_mcp.analytics.covariance_shrinkage import (
    ShrunkCorrelation,
    ledoit_wolf_correlation,
    too_few_periods,
)
from jesse_mcp.analytics.multiple_testing import Correction, adjusted_p_values
from jesse_mcp.analytics.pair_screening import PairTest, screened_pairs, unit_root_p_values
from jesse_mcp.services.correlation_request import CorrelationArguments
from jesse_mcp.services.price_panel import PricePanel

Floats = NDArray[np.float64]
Adjusted = dict[Correction, tuple[float | None, ...]]
#: Called with the share done and what is being done; may raise to end the work.
Told = Callable[[float, str], None]

CORRECTIONS: tuple[Correction, ...] = ("holm", "benjamini_hochberg", "benjamini_yekutieli")
#: Share of the work that is done when cointegration begins.
_BEFORE_COINTEGRATION = 0.4


@dataclass(frozen=True)
class PairCorrelation:
    """Of two series by their places; ``interval`` is ``None`` for a correlation of 1 or -1."""

    pair: tuple[int, int]
    correlation: float
    interval: tuple[float, float] | None
    p_value: float | None
    adjusted: dict[Correction, float | None]


@dataclass(frozen=True)
class RollingPair:
    """Correlations of windows by the time of their last price, NaN where there is none, shape (m,)."""

    pair: tuple[int, int]
    times: NDArray[np.int64]
    values: Floats


@dataclass(frozen=True)
class Screening:
    """Every pair tested for cointegration, their corrected p-values, and unit roots of each series."""

    tests: list[PairTest]
    adjusted: Adjusted
    unit_roots: tuple[float | None, ...]


@dataclass(frozen=True)
class CorrelationEvidence:
    """Everything found of a panel.

    Attributes:
        varying: places of the series that vary; ``shrunk``, ``clustering`` and the numbers of all pairs are
            of these, in this order.
        pairs: of series that vary, highest correlation first.
        shown: the highest and the lowest of ``pairs``, highest first.
        average, bets: of the shrunk matrix where there is one.
        lag_one, lag_one_squared: autocorrelations of the returns and of their squares, shape (k,).
    """

    panel: PricePanel
    returns: Floats
    correlations: Correlations
    varying: NDArray[np.int64]
    pairs: list[PairCorrelation]
    shown: list[PairCorrelation]
    shrunk: ShrunkCorrelation | None
    average: float | None
    bets: float | None
    clustering: Clustering | None
    lag_one: Floats
    lag_one_squared: Floats
    rolling: list[RollingPair] = field(default_factory=list)
    screening: Screening | None = None

    @property
    def n(self) -> int:
        return len(self.returns)


def gathered(arguments: CorrelationArguments, panel: PricePanel, told: Told) -> CorrelationEvidence:
    """Compute everything asked for. Takes seconds to minutes.

    Args:
        panel: as ``check_panel`` lets pass.
        told: called now and then; may raise to end the work.
    """
    returns = panel.returns()
    found = correlations(returns, arguments.method, lambda share: told(share * 0.2, arguments.method))
    varying = np.flatnonzero(~np.isnan(np.diag(found.matrix)))
    pairs = _pairs(found, arguments)
    shown = _ends(pairs, arguments.limit)
    shrunk = _shrunk(arguments, returns[:, varying])
    matrix = found.matrix[np.ix_(varying, varying)] if shrunk is None else shrunk.matrix
    told(0.2, "clusters")
    clustering = hierarchical_clusters(matrix) if len(varying) else None
    rolling = _rolling(arguments, panel, returns, shown, told)
    return CorrelationEvidence(
        panel=panel,
        returns=returns,
        correlations=found,
        varying=varying,
        pairs=pairs,
        shown=shown,
        shrunk=shrunk,
        average=average_correlation(matrix),
        bets=effective_bets(matrix),
        clustering=clustering,
        lag_one=lag_one_autocorrelation(returns),
        lag_one_squared=lag_one_autocorrelation((returns - returns.mean(axis=0)) ** 2),
        rolling=rolling,
        screening=_screening(panel, told) if arguments.cointegration else None,
    )


def _pairs(found: Correlations, arguments: CorrelationArguments) -> list[PairCorrelation]:
    rows, columns = np.triu_indices(len(found.matrix), 1)
    values, p_values = found.matrix[rows, columns], found.p_values[rows, columns]
    known = ~np.isnan(values)
    rows, columns, values, p_values = rows[known], columns[known], values[known], p_values[known]
    adjusted = {name: adjusted_p_values(p_values.tolist(), name) for name in CORRECTIONS}
    made = [
        PairCorrelation(
            pair=(int(rows[at]), int(columns[at])),
            correlation=float(values[at]),
            interval=confidence_interval(float(values[at]), found.n, found.method, arguments.confidence),
            p_value=None if np.isnan(p_values[at]) else float(p_values[at]),
            adjusted={name: adjusted[name][at] for name in CORRECTIONS},
        )
        for at in range(len(values))
    ]
    return sorted(made, key=lambda one: (-one.correlation, one.pair))


def _ends(pairs: list[PairCorrelation], limit: int) -> list[PairCorrelation]:
    return pairs if len(pairs) <= 2 * limit else pairs[:limit] + pairs[-limit:]


def _shrunk(arguments: CorrelationArguments, varying: Floats) -> ShrunkCorrelation | None:
    n, k = varying.shape
    if k < 2 or arguments.shrinkage == "none" or arguments.method == "kendall":
        return None
    if arguments.shrinkage == "auto" and not too_few_periods(n, k):
        return None
    return ledoit_wolf_correlation(varying, ranks=arguments.method == "spearman")


def _rolling(
    arguments: CorrelationArguments,
    panel: PricePanel,
    returns: Floats,
    shown: list[PairCorrelation],
    told: Told,
) -> list[RollingPair]:
    window = arguments.rolling_window
    if window is None:
        return []
    found = []
    for at, one in enumerate(shown):
        share = 0.2 + 0.2 * at / len(shown)
        first, second = (returns[:, place] for place in one.pair)
        values = rolling_correlation(
            first,
            second,
            window,
            arguments.method,
            lambda share=share: told(share, "rolling windows"),  # type: ignore[misc]
        )
        found.append(RollingPair(one.pair, panel.timestamps[window:], values))
    return found


def _screening(panel: PricePanel, told: Told) -> Screening:
    with np.errstate(divide="ignore"):
        # A run that lost everything ends at zero: its pairs are refused for the infinite logarithm.
        log_prices = np.log(panel.prices)
    rest = 1 - _BEFORE_COINTEGRATION
    tests = screened_pairs(
        log_prices, lambda share: told(_BEFORE_COINTEGRATION + rest * share, "cointegration")
    )
    p_values = [test.p_value for test in tests]
    return Screening(
        tests=tests,
        adjusted={name: adjusted_p_values(p_values, name) for name in CORRECTIONS},
        unit_roots=unit_root_p_values(log_prices),
    )
