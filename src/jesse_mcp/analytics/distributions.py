"""A simulated distribution in the few numbers that describe it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Values closer than this, relative to the larger, count as equal: the same sum in another order of
#: additions differs in its last bits.
TIE_TOLERANCE = 1e-12
_NORMAL_975 = 1.959963984540054


@dataclass(frozen=True)
class Distribution:
    """Describes simulated values; ``quantiles`` in the order asked for."""

    mean: float
    standard_deviation: float
    quantiles: tuple[float, ...]
    original: float
    percentile_of_original: float


@dataclass(frozen=True)
class Proportion:
    """A probability estimated by counting, with its Monte Carlo error."""

    value: float
    standard_error: float
    low: float
    high: float


def describe(values: NDArray[np.float64], original: float, levels: Sequence[float]) -> Distribution | None:
    """Mean, spread (divided by n), quantiles and where ``original`` stands.

    Args:
        values: simulated, shape (n,).
        original: the value that was observed.
        levels: 0 to 1. Quantiles are interpolated linearly between order statistics: type 7 of Hyndman &
            Fan, "Sample quantiles in statistical packages", The American Statistician 50(4), 1996.

    Returns:
        ``None`` when there is no value, or one of all these numbers is not finite.
    """
    if len(values) == 0 or not np.isfinite(values).all() or not math.isfinite(original):
        return None
    with np.errstate(over="ignore"):
        mean, deviation = float(values.mean()), float(values.std())
        found = np.quantile(values, np.asarray(levels, dtype=np.float64))
    if not (math.isfinite(mean) and math.isfinite(deviation) and np.isfinite(found).all()):
        return None
    # Rounding may turn the interpolated quantiles of near-equal values around, and lift a mean over them.
    low, high = float(values.min()), float(values.max())
    found = np.clip(found, low, high)
    order = np.argsort(levels, kind="stable")
    found[order] = np.maximum.accumulate(found[order])
    return Distribution(
        mean=min(max(mean, low), high),
        standard_deviation=0.0 if low == high else deviation,
        quantiles=tuple(found.tolist()),
        original=original,
        percentile_of_original=mid_rank_percentile(values, original),
    )


def mid_rank_percentile(values: NDArray[np.float64], original: float) -> float:
    """Percent of ``values`` below ``original``, ties counted half; 50 when all are equal to it.

    Args:
        values: shape (n,), n >= 1.
        original: equal to a value when they differ by less than :data:`TIE_TOLERANCE`, relatively.

    Source: percentile rank of Crocker & Algina, "Introduction to Classical and Modern Test Theory", 1986.
    """
    tied = np.abs(values - original) <= TIE_TOLERANCE * np.maximum(np.abs(values), abs(original))
    below = (values < original) & ~tied
    return 100.0 * float(below.sum() + 0.5 * tied.sum()) / len(values)


def proportion(hits: int, trials: int) -> Proportion:
    """``hits`` of ``trials`` as a probability.

    Returns:
        The share, its standard error ``sqrt(p (1 - p) / n)``, and the 95 % score interval, which stays
        meaningful when nothing or everything was a hit.

    Raises:
        ValueError: without trials, or with more hits than those.

    Source of the interval: Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22(158), 1927.
    """
    if not 0 <= hits <= trials or trials == 0:
        raise ValueError(f"{hits} of {trials} is no proportion")
    p, z = hits / trials, _NORMAL_975
    weight = 1 + z**2 / trials
    centre = (p + z**2 / (2 * trials)) / weight
    half = z / weight * math.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    return Proportion(
        value=p,
        standard_error=math.sqrt(p * (1 - p) / trials),
        low=0.0 if hits == 0 else max(0.0, centre - half),
        high=1.0 if hits == trials else min(1.0, centre + half),
    )
