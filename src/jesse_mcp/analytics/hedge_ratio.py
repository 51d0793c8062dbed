"""How much of one series offsets another: ``y = intercept + ratio * x``, once or for every bar."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.cointegration import johansen

HedgeMethod = Literal["ols", "rolling_ols", "total_least_squares", "kalman", "johansen"]

#: Share of a variance below which rounding is all there is.
_ROUNDING = 1e-12
_WINDOWS_AT_ONCE = 2_000


@dataclass(frozen=True)
class Hedge:
    """``y = intercept + ratio * x``."""

    intercept: float
    ratio: float


@dataclass(frozen=True)
class HedgePath:
    """A hedge for every bar, from that bar and earlier ones; shape (n,), NaN where there is none."""

    intercepts: NDArray[np.float64]
    ratios: NDArray[np.float64]


def ordinary_least_squares(y: NDArray[np.float64], x: NDArray[np.float64]) -> Hedge:
    """The line with the least squared distances along ``y``; ``x`` counts as known without error.

    Raises:
        ValueError: when ``x`` does not move, or there are fewer than two points.

    Source: Legendre, "Nouvelles methodes pour la determination des orbites des cometes", 1805.
    """
    _, sxy, sxx = _moments(y, x)
    return _through_means(y, x, sxy / sxx)


def total_least_squares(y: NDArray[np.float64], x: NDArray[np.float64]) -> Hedge:
    """The line with the least squared distances at right angles: neither series counts as free of error.

    It depends on the units, so both series should be in the same: logarithms, or prices relative to a mean.

    Raises:
        ValueError: when ``x`` does not move, there are fewer than two points, or the two do not covary.

    Sources: Deming, "Statistical Adjustment of Data", 1943, with equal variances of the errors; Golub & Van
    Loan, "An analysis of the total least squares problem", SIAM Journal on Numerical Analysis 17(6), 1980.
    """
    syy, sxy, sxx = _moments(y, x)
    if abs(sxy) <= _ROUNDING * math.sqrt(syy * sxx):
        raise ValueError("the series do not covary: total least squares has no slope")
    difference = syy - sxx
    return _through_means(y, x, (difference + math.hypot(difference, 2 * sxy)) / (2 * sxy))


def johansen_hedge(y: NDArray[np.float64], x: NDArray[np.float64]) -> Hedge:
    """Of the strongest relation Johansen's test finds, which is the same whichever series is called ``y``.

    Raises:
        ValueError: as :func:`~jesse_mcp.analytics.cointegration.johansen`; when ``y`` is not in the relation.
    """
    vector = johansen(np.column_stack((y, x))).vectors[:, 0]
    if vector[0] == 0:
        raise ValueError("the strongest relation of Johansen's test leaves y out")
    return _through_means(y, x, float(-vector[1] / vector[0]))


def rolling_least_squares(
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    window: int,
    pause: Callable[[], None] = lambda: None,
) -> HedgePath:
    """Ordinary least squares over the last ``window`` bars, the bar itself included (statsmodels).

    Args:
        window: at least 3; bars before the first whole one have no hedge, nor those of a window in which x
            does not move.
        pause: called now and then; may raise to end the work.

    Raises:
        ValueError: for a window below 3 or above n.
    """
    from statsmodels.regression.rolling import RollingOLS

    if not 3 <= window <= len(y):
        raise ValueError(f"window is {window}: it must be from 3 to the {len(y)} bars there are")
    design = np.column_stack((np.ones(len(x)), x))
    found = np.full((len(y), 2), np.nan)
    for first in range(0, len(y) - window + 1, _WINDOWS_AT_ONCE):
        pause()
        part = slice(first, first + _WINDOWS_AT_ONCE + window - 1)
        # Found anew for each window: sums that are carried along would also carry their rounding.
        fit = RollingOLS(y[part], design[part], window=window).fit(method="lstsq", params_only=True)
        spans = np.lib.stride_tricks.sliding_window_view(x[part], window)
        # Of the many lines through a window in which x stands still, the solver would choose one.
        moves = np.ptp(spans, axis=1) > _ROUNDING * np.abs(spans).max(axis=1)
        found[part][window - 1 :] = np.where(moves[:, None], fit.params[window - 1 :], np.nan)
    return HedgePath(np.ascontiguousarray(found[:, 0]), np.ascontiguousarray(found[:, 1]))


def kalman_hedge(
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    formation: int,
    memory: float,
    pause: Callable[[], None] = lambda: None,
) -> HedgePath:
    """A Kalman filter of intercept and ratio that walk at random.

    It begins with the ordinary least squares of the formation bars and their covariance. What the state may
    move at a bar is set by a discount: its covariance grows by ``1 / (1 - 1 / memory)``, so that what is
    ``memory`` bars old has a weight of about 1/e. So there is no variance to be chosen, and the ratio does
    not depend on units.

    Args:
        formation: bars at the beginning, at least 2, which have no hedge themselves.
        memory: bars, above 1; infinite for coefficients that never change.
        pause: called now and then; may raise to end the work.

    Returns:
        Filtered: each value is from its bar and those before. None from the bar on at which ``x`` has stood
        still for so many times the memory that the ratio is forgotten.

    Raises:
        ValueError: when ``x`` does not move in the formation, or for a memory of 1 or less.

    Sources: Kalman, "A new approach to linear filtering and prediction problems", Journal of Basic
    Engineering 82(1), 1960; the discount: West & Harrison, "Bayesian Forecasting and Dynamic Models", 1997,
    section 6.3; for pairs: Elliott, van der Hoek & Malcolm, "Pairs trading", Quantitative Finance 5(3), 2005.
    """
    if not memory > 1:
        raise ValueError(f"memory is {memory}: it must be above 1")
    start = ordinary_least_squares(y[:formation], x[:formation])
    design = np.column_stack((np.ones(formation), x[:formation]))
    (c00, c01), (_, c11) = np.linalg.inv(design.T @ design).tolist()
    discount = 1 - 1 / memory
    a, b = start.intercept, start.ratio
    intercepts, ratios = np.full(len(y), np.nan), np.full(len(y), np.nan)
    for at in range(formation, len(y)):
        if at % 10_000 == 0:
            pause()
        seen = float(x[at])
        c00, c01, c11 = c00 / discount, c01 / discount, c11 / discount
        p0, p1 = c00 + c01 * seen, c01 + c11 * seen
        variance = p0 + p1 * seen + 1.0
        gain0, gain1 = p0 / variance, p1 / variance
        error = float(y[at]) - a - b * seen
        a, b = a + gain0 * error, b + gain1 * error
        c00, c01, c11 = c00 - gain0 * p0, c01 - gain0 * p1, c11 - gain1 * p1
        # What was known of the ratio is forgotten, and x stands too still to teach it anew: of one number,
        # intercept plus ratio times x, there is no telling the two parts, and soon not one digit.
        if not c00 * c11 - c01 * c01 > _ROUNDING * c00 * c11:
            break
        intercepts[at], ratios[at] = a, b
    return HedgePath(intercepts, ratios)


def hedge_path(
    method: HedgeMethod,
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    formation: int,
    window: int,
    pause: Callable[[], None] = lambda: None,
) -> HedgePath:
    """The hedge of every bar behind the formation, by whichever method.

    Args:
        formation: bars at the beginning; methods with one hedge for all bars estimate it there alone.
        window: bars of ``rolling_ols``, memory of ``kalman``; the others do not use it.

    Raises:
        ValueError: what the method raises.
    """
    if method == "rolling_ols":
        return rolling_least_squares(y, x, window, pause)
    if method == "kalman":
        return kalman_hedge(y, x, formation, window, pause)
    static = {
        "ols": ordinary_least_squares,
        "total_least_squares": total_least_squares,
        "johansen": johansen_hedge,
    }[method](y[:formation], x[:formation])
    ratios, intercepts = np.full(len(y), static.ratio), np.full(len(y), static.intercept)
    ratios[:formation] = intercepts[:formation] = np.nan
    return HedgePath(intercepts, ratios)


def _moments(y: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[float, float, float]:
    """Sums of squares and products around the means."""
    if len(y) < 2:
        raise ValueError(f"there are {len(y)} points: a hedge ratio needs two")
    dy, dx = y - y.mean(), x - x.mean()
    syy, sxy, sxx = float(dy @ dy), float(dx @ dy), float(dx @ dx)
    if sxx <= _ROUNDING**2 * float(x @ x) or sxx == 0:
        raise ValueError("x does not move: there is no hedge ratio")
    return syy, sxy, sxx


def _through_means(y: NDArray[np.float64], x: NDArray[np.float64], ratio: float) -> Hedge:
    return Hedge(float(y.mean() - ratio * x.mean()), ratio)
