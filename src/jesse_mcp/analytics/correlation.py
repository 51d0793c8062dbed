"""Correlations of several series, what each is worth, and how they move over time."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Method = Literal["pearson", "spearman", "kendall"]
METHODS: tuple[Method, ...] = get_args(Method)

Floats = NDArray[np.float64]

#: Returns of prices are rounded to about 2e-16: what varies by less than this does not vary.
_ROUNDING = 1e-13
#: Nearer to 1 than this, a correlation is 1 but for rounding.
_PERFECT = 1e-12
#: Numbers held at a time by the windows of a rolling correlation.
_CHUNK = 2_000_000


@dataclass(frozen=True)
class Correlations:
    """Of ``k`` series over ``n`` common periods.

    Attributes:
        matrix: symmetric, ones on the diagonal, shape (k, k); NaN where a series does not vary.
        p_values: two-sided, of no correlation, shape (k, k); NaN on the diagonal, where a correlation is,
            and with fewer than 3 periods.
    """

    method: Method
    n: int
    matrix: Floats
    p_values: Floats


def constant_columns(values: Floats) -> NDArray[np.bool_]:
    """Which columns do not vary but for rounding, shape (k,).

    Args:
        values: finite, shape (n, k).
    """
    if not len(values):
        return np.ones(values.shape[1], dtype=bool)
    largest = np.abs(values).max(axis=0)
    size = np.where(largest > 0, largest, 1.0)
    # Divided first, as squares of the raw values may leave the range of a float.
    return np.asarray((values / size).std(axis=0) <= _ROUNDING * np.maximum(1.0, 1 / size), dtype=bool)


def correlations(
    values: Floats, method: Method = "pearson", pause: Callable[[float], None] = lambda _: None
) -> Correlations:
    """Correlation of every pair of columns, with its p-value.

    Pearson and Spearman: ``t = r * sqrt((n - 2) / (1 - r^2))`` with n - 2 degrees of freedom. Kendall: tau-b,
    exact where there are no ties and few periods, else the normal approximation with ties.

    Args:
        values: returns, a column a series, finite, shape (n, k).
        pause: called now and then with the share done; may raise to end the work.

    Sources: Pearson, "Notes on regression and inheritance", Proceedings of the Royal Society 58, 1895;
    Student, "Probable error of a correlation coefficient", Biometrika 6, 1908; Spearman, "The proof and
    measurement of association between two things", American Journal of Psychology 15(1), 1904; Kendall, "The
    treatment of ties in ranking problems", Biometrika 33(3), 1945.
    """
    n, k = values.shape
    varies = np.flatnonzero(~constant_columns(values))
    matrix = np.full((k, k), np.nan)
    p_values = np.full((k, k), np.nan)
    if n >= 2 and len(varies):
        kept = values[:, varies]
        found = _kendall(kept, pause) if method == "kendall" else _linear(kept, method)
        matrix[np.ix_(varies, varies)], p_values[np.ix_(varies, varies)] = found
    return Correlations(method, n, matrix, p_values)


def confidence_interval(
    correlation: float, n: int, method: Method, confidence: float
) -> tuple[float, float] | None:
    """Interval of a correlation by Fisher's z, whose variance depends on the method.

    ``tanh(atanh(r) -+ z * s)`` with ``s^2`` of ``1 / (n - 3)`` for Pearson, ``(1 + r^2 / 2) / (n - 3)`` for
    Spearman and ``0.437 / (n - 4)`` for Kendall. It is for independent observations without ties: where
    returns or their size depend on those before, it is too narrow.

    Args:
        confidence: above 0 and below 1.

    Returns:
        ``None`` for a correlation of 1 or -1, or where the variance has no positive denominator.

    Sources: Fisher, "On the probable error of a coefficient of correlation deduced from a small sample",
    Metron 1, 1921; Bonett & Wright, "Sample size requirements for estimating Pearson, Kendall and Spearman
    correlations", Psychometrika 65(1), 2000, after Fieller, Hartley & Pearson, "Tests for rank correlation
    coefficients. I", Biometrika 44, 1957.
    """
    from scipy.special import ndtri

    free = n - 4 if method == "kendall" else n - 3
    if free <= 0 or not abs(correlation) < 1:
        return None
    numerator = {"pearson": 1.0, "spearman": 1 + correlation**2 / 2, "kendall": 0.437}[method]
    reach = float(ndtri(0.5 + confidence / 2)) * math.sqrt(numerator / free)
    centre = math.atanh(correlation)
    return math.tanh(centre - reach), math.tanh(centre + reach)


def average_correlation(matrix: Floats) -> float | None:
    """Mean over the pairs, ``None`` without a pair.

    Args:
        matrix: symmetric, finite, shape (k, k).
    """
    above = matrix[np.triu_indices(len(matrix), 1)]
    return float(above.mean()) if len(above) else None


def effective_bets(matrix: Floats) -> float | None:
    """How many uncorrelated series spread their variance as these do: 1 when all move together, k when none.

    ``exp(-sum of p ln p)`` with ``p`` the eigenvalues over their sum. Of few periods it comes out too low.

    Args:
        matrix: a correlation matrix, shape (k, k).

    Returns:
        ``None`` for k of 0.

    Sources: Roy & Vetterli, "The effective rank: a measure of effective dimensionality", European Signal
    Processing Conference, 2007; Meucci, "Managing diversification", Risk 22(5), 2009, of a portfolio that
    holds all principal components alike in units of risk.
    """
    if not len(matrix):
        return None
    shares = np.maximum(np.linalg.eigvalsh(matrix), 0.0)
    shares = shares / shares.sum()
    shares = shares[shares > 0]
    bets = math.exp(-float(shares @ np.log(shares)))
    return min(max(bets, 1.0), float(len(matrix)))


def lag_one_autocorrelation(values: Floats) -> Floats:
    """Correlation of each column with itself one period before, shape (k,); NaN where it does not vary.

    ``sum of d[t] d[t-1] / sum of d[t]^2``, d the difference to the mean: Box & Jenkins, "Time Series
    Analysis", 1970. Without dependence it is within ``1.96 / sqrt(n)`` of zero 95 % of the time: Bartlett,
    "On the theoretical specification and sampling properties of autocorrelated time-series", Supplement to
    the Journal of the Royal Statistical Society 8(1), 1946.
    """
    still = constant_columns(values)
    centred = values - values.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (centred[1:] * centred[:-1]).sum(axis=0) / (centred**2).sum(axis=0)
    return np.where(still, np.nan, found)


def rolling_correlation(
    x: Floats, y: Floats, window: int, method: Method = "pearson", pause: Callable[[], None] = lambda: None
) -> Floats:
    """Correlation of every ``window`` consecutive periods, by the last of them, shape (n - window + 1,).

    Args:
        x, y: of equal length, shape (n,), n of ``window`` or more.
        window: 2 or more.
        pause: called now and then; may raise to end the work.

    Returns:
        NaN for a window in which either does not vary.
    """
    found = np.empty(len(x) - window + 1)
    rows = max(1, _CHUNK // window)
    windows = [np.lib.stride_tricks.sliding_window_view(one, window) for one in (x, y)]
    for start in range(0, len(found), rows):
        pause()
        one, other = (view[start : start + rows] for view in windows)
        found[start : start + rows] = _rows(one, other, method, pause)
    return found


def _linear(values: Floats, method: Method) -> tuple[Floats, Floats]:
    from scipy.special import stdtr
    from scipy.stats import rankdata

    n = len(values)
    # Divided by the largest, as squares of the raw values may leave the range of a float.
    table = rankdata(values, axis=0) if method == "spearman" else values / np.abs(values).max(axis=0)
    centred = table - table.mean(axis=0)
    units = centred / np.sqrt((centred**2).sum(axis=0))
    matrix = _rounded(units.T @ units)
    np.fill_diagonal(matrix, 1.0)
    p_values = np.full_like(matrix, np.nan)
    if n >= 3:
        with np.errstate(divide="ignore"):
            size = np.sqrt((n - 2) / ((1 - matrix) * (1 + matrix))) * np.abs(matrix)
        p_values = np.asarray(2 * stdtr(n - 2, -size), dtype=np.float64)
        np.fill_diagonal(p_values, np.nan)
    return matrix, p_values


def _kendall(values: Floats, pause: Callable[[float], None]) -> tuple[Floats, Floats]:
    from scipy.stats import kendalltau

    n, k = values.shape
    matrix, p_values = np.eye(k), np.full((k, k), np.nan)
    rows, columns = np.triu_indices(k, 1)
    for at, (one, other) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        pause(at / len(rows))
        found = kendalltau(values[:, one], values[:, other])
        matrix[one, other] = matrix[other, one] = found.statistic
        if n >= 3:
            p_values[one, other] = p_values[other, one] = found.pvalue
    return _rounded(matrix), p_values


def _rounded(matrix: Floats) -> Floats:
    """Symmetric, and exactly 1 or -1 where only rounding is in between."""
    found = (matrix + matrix.T) / 2
    return np.where(np.abs(found) > 1 - _PERFECT, np.sign(found), found)


def _rows(one: Floats, other: Floats, method: Method, pause: Callable[[], None]) -> Floats:
    """Correlation of row i of ``one`` with row i of ``other``."""
    from scipy.stats import kendalltau, rankdata

    still = constant_columns(one.T) | constant_columns(other.T)
    if method == "kendall":
        found = np.full(len(one), np.nan)
        for at in np.flatnonzero(~still).tolist():
            pause()
            found[at] = kendalltau(one[at], other[at]).statistic
        return _clipped(found)
    if method == "spearman":
        one, other = rankdata(one, axis=1), rankdata(other, axis=1)
    a, b = (table - table.mean(axis=1, keepdims=True) for table in (one, other))
    with np.errstate(invalid="ignore", divide="ignore"):
        products = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return _clipped(np.where(still, np.nan, products))


def _clipped(found: Floats) -> Floats:
    return np.where(np.abs(found) > 1 - _PERFECT, np.sign(found), found)
