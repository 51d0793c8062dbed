"""Between which returns a strategy should end after some days if it goes on as it has done."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.block_length import optimal_block_length
from jesse_mcp.analytics.measures import NO_SPREAD, NOT_FINITE, dispersion
from jesse_mcp.analytics.resamplers import stationary_blocks

#: Fewer returns say too little of what is usual.
FEWEST_RETURNS = 30
DRAWS = 2_000
#: Floats drawn at a time: 16 MB.
_CHUNK = 2_000_000


class DriftBand(NamedTuple):
    """Compounded returns, fractions: so many are below ``low`` as above ``high``."""

    low: float
    high: float


def why_no_band(returns: NDArray[np.float64]) -> str | None:
    """Why ``returns``, shape (n,), have no band; ``None`` when they have one."""
    if len(returns) < FEWEST_RETURNS:
        return f"there are {len(returns)} daily returns, at least {FEWEST_RETURNS} are needed"
    if not np.isfinite(returns).all():
        return NOT_FINITE
    return NO_SPREAD if dispersion(returns) == 0 else None


def drift_band(
    returns: NDArray[np.float64], days: int, confidence: float, seed: int, draws: int = DRAWS
) -> DriftBand:
    """Equal-tailed percentile band of the return over ``days``, by the stationary bootstrap.

    Blocks have the mean length of Politis and White. It is the band of that one horizon: who looks again
    every day is outside on some day more often than ``1 - confidence``. More days than there are returns are
    made of several resampled series, whose blocks end where they meet.

    Args:
        returns: of days, oldest first, shape (n,), such that :func:`why_no_band` has nothing to say.
        days: 1 or more.
        confidence: 0 to 1, both exclusive.
        seed: a non-negative integer; with the same one the same band.
        draws: resampled futures.

    Source: Politis & Romano, "The stationary bootstrap", Journal of the American Statistical Association
    89(428), 1994; percentile intervals: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993,
    chapter 13. Quantiles are of type 7 (Hyndman & Fan 1996).
    """
    series = -(-days // len(returns))
    draw = stationary_blocks(returns, seed, optimal_block_length(returns).stationary)
    rows = max(1, _CHUNK // (series * len(returns)))
    ends = []
    for done in range(0, draws, rows):
        count = min(rows, draws - done)
        future = draw(count * series).reshape(count, -1)[:, :days]
        with np.errstate(over="ignore"):
            ends.append(np.maximum(1.0 + future, 0.0).prod(axis=1) - 1.0)
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(ends), [tail, 1 - tail])
    return DriftBand(float(low), float(high))
