"""Price shocks on what is exposed to prices: sensitivities by regression, and what a shock makes of them."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Regression:
    """Least squares with an intercept.

    Attributes:
        intercept: a period.
        coefficients: of the factors, shape (k,).
        covariance: of the coefficients, shape (k, k); divided by n - k - 1 degrees of freedom.
        r_squared: share of the variance explained, 0 to 1; ``None`` for returns that never change.
        observations: n.
    """

    intercept: float
    coefficients: Floats
    covariance: Floats
    r_squared: float | None
    observations: int

    @property
    def standard_errors(self) -> Floats:
        """Of the coefficients, shape (k,)."""
        return np.asarray(np.sqrt(np.diag(self.covariance)), dtype=np.float64)


@dataclass(frozen=True)
class Effect:
    """Profit or loss as a fraction of equity.

    Attributes:
        standard_error: of the estimated sensitivities alone; 0 where nothing was estimated.
        regression: where the sensitivities are from; ``None`` for weights, which are known.
    """

    value: float
    standard_error: float
    regression: Regression | None = None


def regress(returns: Floats, factors: Floats) -> Regression | str:
    """Sensitivities (betas) of returns to those of several markets at the same time.

    Args:
        returns: fractions, shape (n,).
        factors: fractions of the same periods, shape (n, k).

    Returns:
        The regression, or in words why there is none: too few periods, a number that is not finite, factors
        of which one never moves or follows from the others.

    Source: ordinary least squares with homoscedastic errors, Greene, "Econometric Analysis", 7th ed. 2012,
    chapters 3 and 4; as market model of Sharpe, "A simplified model for portfolio analysis", Management
    Science 9(2), 1963.
    """
    periods, markets = factors.shape
    freedom = periods - markets - 1
    if freedom < 1:
        return f"{periods} common periods are too few for a regression on {markets} markets"
    if not (np.isfinite(returns).all() and np.isfinite(factors).all()):
        return "a return is not a finite number"
    with np.errstate(all="ignore"):
        means, level = factors.mean(axis=0), float(returns.mean())
        scales = (factors - means).std(axis=0)
        if not (scales > 1e-12 * np.maximum(1.0, np.abs(means))).all():
            return "the price of a market never moves in these periods"
        # Scaled, so that the rank is not that of the units.
        design, values = (factors - means) / scales, returns - level
        solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=1e-10)
        if rank < markets:
            return "the returns of one market follow exactly from those of the others"
        residuals = values - design @ solution
        variance = float(residuals @ residuals) / freedom
        covariance = variance * np.linalg.inv(design.T @ design) / np.outer(scales, scales)
        coefficients = solution / scales
        total = float(values @ values)
        intercept = level - float(means @ coefficients)
    if not (np.isfinite(coefficients).all() and np.isfinite(covariance).all() and math.isfinite(intercept)):
        return "the regression leaves the range of a floating point number"
    explained = 1 - float(residuals @ residuals) / total if total > 0 else None
    return Regression(
        intercept=intercept,
        coefficients=coefficients,
        covariance=covariance,
        r_squared=None if explained is None else min(max(explained, 0.0), 1.0),
        observations=periods,
    )


def effect(found: Regression, shocks: Floats) -> Effect:
    """What returns of the markets make of equity: the sum of beta times shock.

    Args:
        found: sensitivities to k markets.
        shocks: their returns, -0.3 for a fall of 30 %, shape (k,).

    Returns:
        The error is ``sqrt(s' V s)``, V being the covariance of the betas (the delta method, exact for a
        linear function).
    """
    variance = float(shocks @ found.covariance @ shocks)
    return Effect(float(found.coefficients @ shocks), math.sqrt(max(variance, 0.0)), found)


def largest_fall(prices: Floats) -> float | None:
    """From the highest price so far to a later one, as a positive fraction; 0 when prices never fall.

    Args:
        prices: positive, oldest first, shape (n,).

    Returns:
        ``None`` without a price, or with one that is not positive and finite.
    """
    if len(prices) == 0 or not (np.isfinite(prices).all() and (prices > 0).all()):
        return None
    return float((1 - prices / np.maximum.accumulate(prices)).max())


@dataclass(frozen=True)
class Passage:
    """What became of equity within a window; times in epoch milliseconds, numbers as fractions.

    ``gap_start_ms`` and ``gap_end_ms`` are the two successive balances that are farthest apart.
    """

    start_ms: int
    end_ms: int
    total_return: float
    largest_fall: float
    gap_start_ms: int
    gap_end_ms: int


def passage(timestamps: NDArray[np.int64], balances: Floats, start_ms: int, end_ms: int) -> Passage | None:
    """The part of an equity within ``[start_ms, end_ms]``.

    Args:
        timestamps: of the balances, epoch milliseconds, ascending, shape (n,).
        balances: positive but for a last one of zero, shape (n,).

    Returns:
        From the balance nearest to the start to the one nearest to the end; ``None`` unless there is one
        within half a median distance of each, since the window is not covered then.
    """
    if len(timestamps) < 2:
        return None
    reach = float(np.median(np.diff(timestamps))) / 2
    first, last = (int(np.abs(timestamps - moment).argmin()) for moment in (start_ms, end_ms))
    missed = max(abs(int(timestamps[first]) - start_ms), abs(int(timestamps[last]) - end_ms))
    if missed > reach or last <= first:
        return None
    part = balances[first : last + 1]
    if not (np.isfinite(part).all() and (part[:-1] > 0).all()):
        return None
    fall = float((1 - np.maximum(part, 0.0) / np.maximum.accumulate(part)).max())
    widest = first + int(np.diff(timestamps[first : last + 1]).argmax())
    return Passage(
        start_ms=int(timestamps[first]),
        end_ms=int(timestamps[last]),
        total_return=max(float(part[-1] / part[0]), 0.0) - 1,
        largest_fall=fall,
        gap_start_ms=int(timestamps[widest]),
        gap_end_ms=int(timestamps[widest + 1]),
    )


def longest_gap_allowed(timestamps: NDArray[np.int64], start_ms: int, end_ms: int) -> float:
    """How far apart two balances may be for a fall between them to be called measured, in milliseconds.

    Args:
        timestamps: of all balances of the source, epoch milliseconds, ascending, shape (n,), n at least 2.
        start_ms: of the window.
        end_ms: of the window.

    Returns:
        Twice the median spacing of the source, but not more than a day and a half or a twentieth of the
        window, whichever of these two is longer: a fall of days is not seen in balances of weeks.
    """
    usual = 2 * float(np.median(np.diff(timestamps)))
    return min(usual, max(1.5 * DAY_MS, (end_ms - start_ms) / 20))


def closes_at(times: NDArray[np.int64], closes: Floats, moments: NDArray[np.int64], within_ms: int) -> Floats:
    """The last close known at each moment.

    Args:
        times: when each close was made, epoch milliseconds, ascending, shape (n,).
        closes: shape (n,).
        moments: shape (m,).
        within_ms: how old a close may be.

    Returns:
        Shape (m,), NaN where there is none young enough.
    """
    found = np.full(len(moments), np.nan)
    if len(times) == 0:
        return found
    positions = np.searchsorted(times, moments, side="right") - 1
    known = positions >= 0
    known[known] = moments[known] - times[positions[known]] <= within_ms
    found[known] = closes[positions[known]]
    return found
