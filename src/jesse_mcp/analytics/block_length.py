"""How long the blocks of a bootstrap should be, chosen from the data."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class BlockLength(NamedTuple):
    """Observations in a block; the mean of the geometric lengths for the stationary bootstrap."""

    stationary: float
    circular: float


def optimal_block_length(values: NDArray[np.float64]) -> BlockLength:
    """Block lengths that minimise the mean squared error of the bootstrap variance of the mean.

    The bandwidth is twice the lag with which five insignificant autocorrelations in a row begin, as the
    programs of the authors have it; the autocovariances up to it enter through a flat-top window. Lengths
    are kept between 1 and ``ceil(min(3 sqrt(n), n / 3))``. What does not vary gets blocks of one.

    Args:
        values: a stationary series, oldest first, shape (n,), n >= 1, finite.

    Raises:
        ValueError: for an empty series or one that is not finite.

    Sources: Politis & White, "Automatic block-length selection for the dependent bootstrap", Econometric
    Reviews 23(1), 2004; the constants of the correction by Patton, Politis & White, ibid. 28(4), 2009.
    """
    n = len(values)
    if n == 0 or not np.isfinite(values).all():
        raise ValueError("a block length needs at least one value, all of them finite")
    limit = math.ceil(min(3 * math.sqrt(n), n / 3))
    # Scaled, because squares of very small or very large values leave the range of a float.
    spread = float(np.ptp(values))
    if spread == 0 or not math.isfinite(spread):
        return BlockLength(1.0, 1.0)
    centred = (values - values.mean()) / spread
    in_a_row = max(5, int(math.log10(n)))
    longest = min(math.ceil(math.sqrt(n)) + in_a_row, n - 1)
    covariances = np.array([centred[lag:] @ centred[: n - lag] / n for lag in range(longest + 1)])
    bandwidth = _bandwidth(covariances, n, in_a_row)
    lags = np.arange(1, bandwidth + 1)
    weighted = np.minimum(1.0, 2 * (1 - lags / bandwidth)) * covariances[1 : bandwidth + 1]
    bias = 2 * float((lags * weighted).sum())
    long_run = float(covariances[0] + 2 * weighted.sum())
    return BlockLength(_bounded(bias, long_run, 2.0, n, limit), _bounded(bias, long_run, 4.0 / 3.0, n, limit))


def _bandwidth(covariances: NDArray[np.float64], n: int, in_a_row: int) -> int:
    longest = len(covariances) - 1
    insignificant = np.abs(covariances / covariances[0]) < 2 * math.sqrt(math.log10(n) / n)
    for first in range(1, longest - in_a_row + 1):
        if insignificant[first : first + in_a_row].all():
            return min(2 * first, longest)
    return longest


def _bounded(bias: float, long_run: float, constant: float, n: int, limit: int) -> float:
    variance = constant * long_run**2
    if variance == 0:
        return float(limit)
    return float(min(max(1.0, (2 * bias**2 / variance * n) ** (1 / 3)), limit))
