"""Whether prices that wander alone stay together: the tests of Engle and Granger and of Johansen.

Statistics are those of statsmodels; what this module adds is the number of lags and when there is no test.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Trend = Literal["c", "ct"]

#: Fewer observations leave too little after the lags.
FEWEST_OBSERVATIONS = 30
#: The levels critical values are given at.
LEVELS = (0.01, 0.05, 0.10)
#: Tables of Johansen's test end here.
MOST_SERIES = 11
#: At 1, 5 and 10 %, of 1 to 11 series less relations: Osterwald-Lenum 1992, unrestricted constant, no drift.
_TRACE = (
    (11.65, 8.18, 6.50),
    (23.52, 17.95, 15.66),
    (37.22, 31.52, 28.71),
    (55.43, 48.28, 45.23),
    (78.87, 70.60, 66.49),
    (104.20, 90.39, 85.18),
    (136.06, 124.25, 118.99),
    (168.92, 157.11, 151.38),
    (204.79, 192.84, 186.54),
    (246.27, 232.49, 226.34),
    (292.65, 277.39, 269.53),
)
_MAXIMUM_EIGENVALUE = (
    (11.65, 8.18, 6.50),
    (19.19, 14.90, 12.91),
    (25.75, 21.07, 18.90),
    (32.14, 27.14, 24.78),
    (38.78, 33.32, 30.84),
    (44.59, 39.43, 36.25),
    (51.30, 44.91, 42.06),
    (57.07, 51.07, 48.43),
    (63.37, 57.00, 54.01),
    (68.61, 62.42, 59.00),
    (74.36, 68.27, 65.07),
)
#: Share of a variance below which rounding is all there is.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class EngleGranger:
    """Small ``p_value``: the residuals of ``y = intercept + hedge_ratio * x`` return to their mean.

    Attributes:
        statistic: t ratio of the unit root test on the residuals; the more negative, the stronger.
        p_value: asymptotic, MacKinnon 1994.
        critical_values: of the statistic at 1, 5 and 10 %, for this many observations, MacKinnon 2010.
        slope: of the linear trend in y, a period; 0 without one.
        lag: differences of the residuals in the unit root regression.
        residuals: in units of ``y``, shape (n,).
    """

    statistic: float
    p_value: float
    critical_values: tuple[float, float, float]
    intercept: float
    hedge_ratio: float
    slope: float
    lag: int
    residuals: NDArray[np.float64]


@dataclass(frozen=True)
class Johansen:
    """Row ``r`` of every table tests for at most ``r`` independent relations among ``k`` series.

    Attributes:
        trace, maximum_eigenvalue: statistics, shape (k,); large ones speak against the row.
        trace_critical_values, maximum_eigenvalue_critical_values: at 1, 5 and 10 %, shape (k, 3).
        eigenvalues: descending, shape (k,).
        rank: of the trace test at 5 %: the first row that is not rejected, ``k`` when all are.
        vectors: columns are relations, strongest first, shape (k, k), each divided by its first entry;
            a column whose first entry is zero is left as it is.
        lag: differences in the model.
    """

    trace: NDArray[np.float64]
    trace_critical_values: NDArray[np.float64]
    maximum_eigenvalue: NDArray[np.float64]
    maximum_eigenvalue_critical_values: NDArray[np.float64]
    eigenvalues: NDArray[np.float64]
    rank: int
    vectors: NDArray[np.float64]
    lag: int


def why_no_cointegration_test(*series: NDArray[np.float64]) -> str | None:
    """The reason neither test can be made of these series of equal length, ``None`` when both can."""
    if len(series) < 2:
        return "cointegration needs two series or more"
    n = len(series[0])
    if any(len(values) != n for values in series):
        return "the series differ in length"
    if n < FEWEST_OBSERVATIONS:
        return f"there are {n} observations: the test needs {FEWEST_OBSERVATIONS}"
    if not all(np.isfinite(values).all() for values in series):
        return "a value is not a finite number"
    return _degenerate(series)


def engle_granger(y: NDArray[np.float64], x: NDArray[np.float64], *, trend: Trend = "c") -> EngleGranger:
    """Regress ``y`` on ``x`` and test the residuals for a unit root.

    The unit root regression has ``schwert_lags(n)`` lags, not a number searched for: that is the rule with
    the nominal size. At 5 %, independent random walks of 500 (1,000) points are rejected in 4.8 (5.1) % of
    1,000 pairs; with AIC up to three times as many lags in 6.6 (6.2) % of 500. Where increments have a moving
    average of -0.3, as prices that bounce between bid and ask do, it is 4.4 %, with that AIC 7.6 %, with BIC
    up to ``schwert_lags(n)`` 10.8 % (500 pairs of 500 points).

    Args:
        y, x: prices or their logarithms, oldest first, shape (n,). The test is not symmetric in them.
        trend: ``c`` a constant, ``ct`` also a linear trend in the regression.

    Raises:
        ValueError: with the reason of :func:`why_no_cointegration_test`.

    Sources: Engle & Granger, "Co-integration and error correction", Econometrica 55(2), 1987; p-values:
    MacKinnon, "Approximate asymptotic distribution functions for unit-root and cointegration tests", Journal
    of Business & Economic Statistics 12(2), 1994; critical values: MacKinnon, "Critical values for
    cointegration tests", Queen's Economics Department working paper 1227, 2010.
    """
    from statsmodels.tsa.adfvalues import mackinnoncrit, mackinnonp
    from statsmodels.tsa.stattools import adfuller

    if (reason := why_no_cointegration_test(y, x)) is not None:
        raise ValueError(reason)
    n = len(y)
    # Where prices are and how large they are has no bearing on the test, only on the rounding.
    place_y, place_x, scale_y, scale_x = y.mean(), x.mean(), y.std(), x.std()
    time = np.arange(n, dtype=np.float64) - (n - 1) / 2
    columns = [(x - place_x) / scale_x] + ([time / n] if trend == "ct" else [])
    design = np.column_stack(columns)
    target = (y - place_y) / scale_y
    solution = np.linalg.lstsq(design, target, rcond=None)[0]
    remainder = target - design @ solution
    if float(remainder.var()) < _ROUNDING:
        raise ValueError("one series is the other times a constant: there is no spread to test")
    lag = schwert_lags(n)
    tested = adfuller(remainder, maxlag=lag, regression="n", autolag=None, result_object=False)
    statistic = float(tested[0])
    hedge_ratio = float(solution[0] * scale_y / scale_x)
    slope = float(solution[1] * scale_y / n) if trend == "ct" else 0.0
    first, second, third = mackinnoncrit(N=2, regression=trend, nobs=n - 1).tolist()
    return EngleGranger(
        statistic=statistic,
        p_value=float(mackinnonp(statistic, regression=trend, N=2)),
        critical_values=(first, second, third),
        intercept=float(place_y - hedge_ratio * place_x - slope * (n - 1) / 2),
        hedge_ratio=hedge_ratio,
        slope=slope,
        lag=lag,
        residuals=remainder * scale_y,
    )


def johansen(prices: NDArray[np.float64], *, lag: int = 1) -> Johansen:
    """Relations among several series at once, whichever is called dependent; with an unrestricted constant.

    Critical values are for series that do not drift. Those that come with statsmodels are for series that do:
    at 5 % they reject 12.2 (13.6) % of 500 pairs of independent random walks of 500 (1,000) points, these
    4.8 (5.4) %. Series with a drift they reject too seldom.

    Args:
        prices: or their logarithms, a column a series, oldest first, shape (n, k), k from 2 to 11.
        lag: differences in the model, one less than the order of the vector autoregression.

    Raises:
        ValueError: with the reason of :func:`why_no_cointegration_test`; for more than 11 series; for a
            negative lag or one the observations are too few for.

    Sources: Johansen, "Statistical analysis of cointegration vectors", Journal of Economic Dynamics and
    Control 12, 1988; Johansen & Juselius, "Maximum likelihood estimation and inference on cointegration",
    Oxford Bulletin of Economics and Statistics 52(2), 1990; critical values: Osterwald-Lenum,
    "A note with quantiles of the asymptotic distribution of the maximum likelihood cointegration rank test
    statistics", Oxford Bulletin of Economics and Statistics 54(3), 1992.
    """
    from statsmodels.tsa.vector_ar.vecm import coint_johansen

    n, count = prices.shape
    if count > MOST_SERIES:
        raise ValueError(f"there are {count} series: the tables have {MOST_SERIES}")
    if (reason := why_no_cointegration_test(*prices.T)) is not None:
        raise ValueError(reason)
    if lag < 0 or n - lag - 1 < FEWEST_OBSERVATIONS - 2 + lag * count:
        raise ValueError(f"{n} observations of {count} series do not carry {lag} lags")
    # Statistics do not depend on units: of one size, the matrices to be inverted are far from singular.
    scale = prices.std(axis=0)
    found = coint_johansen((prices - prices.mean(axis=0)) / scale, 0, lag)
    vectors = np.real(found.evec) / scale[:, None]
    leading = np.where(vectors[0] == 0, 1.0, vectors[0])
    trace, limits = np.asarray(found.lr1), _rows(_TRACE, count)
    accepted = np.flatnonzero(trace <= limits[:, 1])
    return Johansen(
        trace=trace,
        trace_critical_values=limits,
        maximum_eigenvalue=np.asarray(found.lr2),
        maximum_eigenvalue_critical_values=_rows(_MAXIMUM_EIGENVALUE, count),
        eigenvalues=np.asarray(found.eig),
        rank=int(accepted[0]) if len(accepted) else count,
        vectors=vectors / leading,
        lag=lag,
    )


def schwert_lags(n: int) -> int:
    """``floor(4 * (n / 100) ** (1 / 4))`` of ``n`` observations.

    Source: Schwert, "Tests for unit roots: a Monte Carlo investigation", Journal of Business & Economic
    Statistics 7(2), 1989, the smaller of his two rules.
    """
    return math.floor(4 * math.pow(n / 100, 0.25))


def _rows(table: tuple[tuple[float, float, float], ...], count: int) -> NDArray[np.float64]:
    """For no relation among ``count`` series, for one, and so on."""
    return np.array(table[count - 1 :: -1], dtype=np.float64)


def _degenerate(series: Sequence[NDArray[np.float64]]) -> str | None:
    """Series without a movement of their own make the regressions singular."""
    for place, values in enumerate(series):
        # Against the size of the numbers, since the mean of a constant may round away from it.
        if float(np.ptp(values)) <= float(np.abs(values).max()) * _ROUNDING:
            return f"series {place + 1} is constant"
    table = np.column_stack([(values - values.mean()) / values.std() for values in series])
    spectrum = np.linalg.eigvalsh(table.T @ table / len(table))
    if float(spectrum[0]) < _ROUNDING:
        return "one series is the other times a constant: there is no spread to test"
    return None
