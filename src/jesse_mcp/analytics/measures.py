"""A number that may be undefined, with the reason: what every statistic of a return series answers."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Concatenate, NamedTuple, ParamSpec

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
P = ParamSpec("P")

#: Simple returns come from a division of balances, whose rounding is about 2e-16: a spread below this,
#: absolute or relative to the largest value, is rounding and no dispersion.
ROUNDING = 1e-14
NO_SPREAD = "the returns do not vary"
NO_RETURN = "there is no return"
NOT_FINITE = "a return is not a finite number"
OVERFLOW = "the result leaves the range of a floating point number"


class Measure(NamedTuple):
    """``value`` is finite, or ``None`` with a ``reason``."""

    value: float | None
    reason: str | None = None


def measured(
    function: Callable[Concatenate[Floats, P], float | str],
) -> Callable[Concatenate[Floats, P], Measure]:
    """A statistic of returns that never raises and never answers with NaN or infinity.

    Args:
        function: gets returns, shape (n,), n >= 1, all finite; answers a number, or in words why there is
            none.

    Returns:
        The same for any returns: empty or not finite ones, and results that are not finite, are ``None``.
    """

    def guarded(returns: Floats, /, *args: P.args, **kwargs: P.kwargs) -> Measure:
        values = np.asarray(returns, dtype=np.float64)
        if not len(values):
            return Measure(None, NO_RETURN)
        if not np.isfinite(values).all():
            return Measure(None, NOT_FINITE)
        with np.errstate(all="ignore"):
            found = function(values, *args, **kwargs)
        return found_or_reason(found)

    functools.update_wrapper(guarded, function)
    return guarded


def found_or_reason(found: float | str) -> Measure:
    """A number as a :class:`Measure`, words as the reason of one that is undefined."""
    if isinstance(found, str):
        return Measure(None, found)
    return Measure(float(found)) if math.isfinite(found) else Measure(None, OVERFLOW)


def separated(found: Mapping[str, Measure]) -> tuple[dict[str, float | None], dict[str, str]]:
    """Values by name, and the reasons of those that are ``None``."""
    values = {name: measure.value for name, measure in found.items()}
    undefined = {name: measure.reason for name, measure in found.items() if measure.reason is not None}
    return values, undefined


def dispersion(values: Floats) -> float:
    """Standard deviation (ddof=1) of at least one finite value; zero when it is no more than rounding."""
    if len(values) < 2:
        return 0.0
    largest = float(np.abs(values).max())
    if largest == 0:
        return 0.0
    # Scaled, because squares of very large values leave the range of a float.
    deviation = float(np.std(values / largest, ddof=1)) * largest
    return 0.0 if deviation <= ROUNDING * max(1.0, largest) else deviation


def wealth(returns: Floats) -> Floats:
    """One unit compounded: 1, then its value after each period, shape (n + 1,).

    A return of -1 or less is ruin, after which it stays zero.
    """
    factors = np.maximum(1.0 + returns, 0.0)
    gone = np.flatnonzero(factors == 0)
    if len(gone):
        # Zero times infinity would be NaN.
        factors[gone[0] :] = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        path = np.multiply.accumulate(np.concatenate(([1.0], factors)))
    if len(gone):
        path[gone[0] + 1 :] = 0.0
    return np.asarray(path, dtype=np.float64)


def log_growth(returns: Floats) -> float:
    """Sum of ``log(1 + return)``; minus infinity after ruin."""
    if (returns <= -1).any():
        return -math.inf
    return float(np.log1p(returns).sum())


def per_period(annual_rate: float, periods_per_year: float) -> float:
    """The return a period that compounds to ``annual_rate`` (more than -1) in a year."""
    return math.expm1(math.log1p(annual_rate) / periods_per_year)
