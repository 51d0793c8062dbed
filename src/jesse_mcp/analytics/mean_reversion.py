"""How fast a spread returns to its mean."""

import math

import numpy as np
from numpy.typing import NDArray

_FEWEST = 3
_ROUNDING = 1e-12


def half_life(spread: NDArray[np.float64]) -> float | None:
    """Periods in which half of a deviation from the mean is expected to be gone.

    ``ln 2 / -ln(phi)`` with ``phi`` from the regression ``s[t] = a + phi * s[t - 1]``: the exact discrete
    form of an Ornstein-Uhlenbeck process. The shortcut ``-ln 2 / (phi - 1)`` is its limit for slow reversion.
    In short samples ``phi`` is estimated too low, so the half-life comes out too short.

    Args:
        spread: at equal distances in time, oldest first, shape (n,).

    Returns:
        ``None`` exactly when :func:`why_no_half_life` gives a reason.

    Sources: Uhlenbeck & Ornstein, "On the theory of the Brownian motion", Physical Review 36, 1930; its
    discrete form: Dixit & Pindyck, "Investment under Uncertainty", 1994, chapter 3; the bias of phi: Kendall,
    "Note on bias in the estimation of autocorrelation", Biometrika 41, 1954.
    """
    if why_no_half_life(spread) is not None:
        return None
    return math.log(2) / -math.log(_persistence(spread))


def why_no_half_life(spread: NDArray[np.float64]) -> str | None:
    """The reason there is no half-life, ``None`` when there is one."""
    if len(spread) < _FEWEST:
        return f"there are {len(spread)} values: a half-life needs {_FEWEST}"
    if not np.isfinite(spread).all():
        return "a value is not a finite number"
    before = spread[:-1]
    if float(np.ptp(before)) <= float(np.abs(before).max()) * _ROUNDING:
        return "the spread does not move"
    phi = _persistence(spread)
    if phi >= 1:
        return f"the spread does not return to its mean: each value is {phi:.4g} times the one before"
    if phi <= 0:
        return f"the spread swings to the other side within one period: phi is {phi:.4g}"
    return None


def _persistence(spread: NDArray[np.float64]) -> float:
    scaled = spread / np.abs(spread).max()
    before, after = scaled[:-1], scaled[1:]
    centred = before - before.mean()
    return float(centred @ (after - after.mean()) / (centred @ centred))
