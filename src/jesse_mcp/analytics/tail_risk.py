"""Value at risk and expected shortfall as a pair of numbers, and the closed forms they have."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

#: Share of an observation that rounding may add to, or take from, ``n * (1 - confidence)``.
_ROUNDING = 1e-9
_CONSTANT = 1e-12

OVERFLOW = "the number leaves the range of a floating point number"
CONSTANT = "the returns do not vary"
NOT_FINITE = "a return is not a finite number"


@dataclass(frozen=True)
class TailRisk:
    """Losses as fractions of what is at risk: positive is a loss, negative a gain.

    ``var`` and ``es`` are ``None`` with the reason in ``undefined`` under the same name; ``es`` is never
    below ``var``. ``var_error`` and ``es_error`` are standard errors of a simulation, ``None`` where nothing
    was simulated.
    """

    var: float | None
    es: float | None
    undefined: dict[str, str] = field(default_factory=dict)
    var_error: float | None = None
    es_error: float | None = None


def nothing(reason: str) -> TailRisk:
    """No number, for ``reason``."""
    return TailRisk(None, None, {"var": reason, "es": reason})


def measured(var: float, es: float) -> TailRisk:
    """The pair, or ``None`` for what is not finite; rounding may have put ``es`` a bit below ``var``."""
    if not math.isfinite(var):
        return nothing(OVERFLOW)
    if not math.isfinite(es):
        return TailRisk(float(var), None, {"es": OVERFLOW})
    return TailRisk(float(var), float(max(es, var)))


def unusable(returns: NDArray[np.float64], least: int = 1) -> str | None:
    """Why nothing can be computed of ``returns`` shape (n,): too few, or one that is not finite."""
    if len(returns) < least:
        needed = "at least one is needed" if least == 1 else f"at least {least} are needed"
        return f"there are {len(returns)} returns, {needed}"
    return None if np.isfinite(returns).all() else NOT_FINITE


def is_constant(returns: NDArray[np.float64]) -> bool:
    """Equal up to rounding; shape (n,), n >= 1."""
    low, high = float(returns.min()), float(returns.max())
    return high - low <= _CONSTANT * max(abs(low), abs(high))


def tail_size(observations: int, confidence: float) -> float:
    """How many observations are the worst ``1 - confidence`` of all; whole when it is so but for rounding."""
    size = observations * (1 - confidence)
    return float(round(size)) if abs(size - round(size)) < _ROUNDING * max(1.0, size) else size


def empirical_tail(returns: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Value at risk and expected shortfall of equally likely ``returns``.

    Args:
        returns: shape (n,), n >= 1, finite; not changed.
        confidence: 0 to 1, both exclusive.

    Returns:
        ``var``, the smallest loss that at least ``confidence`` of all losses do not exceed: an order
        statistic, never interpolated (type 1 of Hyndman & Fan 1996 on the losses), and ``es``, the mean of
        the worst ``n (1 - confidence)`` returns, of which the last counts for the part that is missing.

    Source: McNeil, Frey & Embrechts, "Quantitative Risk Management", 2nd edition, 2015, chapter 2 (value at
    risk); Acerbi & Tasche, "On the coherence of expected shortfall", Journal of Banking & Finance 26(7), 2002
    (expected shortfall and its estimator).
    """
    size = tail_size(len(returns), confidence)
    whole = min(int(size), len(returns) - 1)
    worst = np.partition(returns, whole)[: whole + 1]
    threshold = float(worst[whole])
    # Sums of the differences keep the last digits that sums of the values would lose.
    beyond = float((worst[:whole] - threshold).sum())
    return -threshold, -(threshold + beyond / size)


def normal_tail(mean: float, deviation: float, confidence: float) -> tuple[float, float]:
    """Value at risk and expected shortfall of a normal distribution.

    Source: McNeil, Frey & Embrechts 2015, chapter 2.
    """
    quantile, shortfall = standard_normal_tail(confidence)
    return -(mean + deviation * quantile), -(mean - deviation * shortfall)


def standard_normal_tail(confidence: float) -> tuple[float, float]:
    """The quantile at ``1 - confidence`` and minus the mean below it, of the standard normal distribution."""
    from scipy.special import ndtri

    # Not ndtri(1 - confidence): the difference has fewer digits than the argument.
    quantile = -float(ndtri(confidence))
    return quantile, math.exp(-quantile * quantile / 2) / math.sqrt(2 * math.pi) / (1 - confidence)
