"""Value at risk and expected shortfall of returns that are alike at all times: sample, normal, modified.

``confidence`` is that of the loss (0.95, 0.99). Horizons are periods. Order of the returns matters to
overlapping windows only.
"""

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from jesse_mcp.analytics.tail_risk import (
    CONSTANT,
    OVERFLOW,
    TailRisk,
    empirical_tail,
    is_constant,
    measured,
    normal_tail,
    nothing,
    standard_normal_tail,
    tail_size,
    unusable,
)

Number = TypeVar("Number", float, NDArray[np.float64])

#: Floats of the windows compounded at a time: 16 MB.
_CHUNK = 2_000_000
_TOO_FEW_MOMENTS = 4


@dataclass(frozen=True)
class Moments:
    """Of returns: ``deviation`` divided by n - 1, ``skewness`` and ``excess_kurtosis`` by n (g1, g2)."""

    mean: float
    deviation: float
    skewness: float
    excess_kurtosis: float

    def over(self, horizon: int) -> "Moments":
        """Of the sum of ``horizon`` independent returns: cumulants add up."""
        return Moments(
            self.mean * horizon,
            self.deviation * math.sqrt(horizon),
            self.skewness / math.sqrt(horizon),
            self.excess_kurtosis / horizon,
        )


@dataclass(frozen=True)
class ModifiedRisk:
    """``tail`` of the Cornish-Fisher distribution; ``modified_es`` is ``None`` with its ``reason``."""

    tail: TailRisk
    modified_es: float | None
    reason: str | None


def historical(returns: NDArray[np.float64], confidence: float) -> TailRisk:
    """Of the sample itself, by :func:`~jesse_mcp.analytics.tail_risk.empirical_tail`.

    Args:
        returns: shape (n,).

    Returns:
        Nothing when the sample has less than one return beyond the confidence: its worst return would be
        called the quantile of every confidence.
    """
    reason = unusable(returns) or too_short(len(returns), confidence)
    if reason:
        return nothing(reason)
    with np.errstate(over="ignore", invalid="ignore"):
        return measured(*empirical_tail(returns, confidence))


def too_short(observations: int, confidence: float) -> str | None:
    """Why so many observations have no tail at ``confidence``, or ``None``."""
    if tail_size(observations, confidence) >= 1:
        return None
    least = math.ceil(1 / (1 - confidence) - 1e-6)
    return (
        f"{observations} returns have less than one beyond {confidence:.10g}: at least {least} are needed "
        "for a quantile of the sample"
    )


def overlapping(returns: NDArray[np.float64], horizon: int) -> NDArray[np.float64]:
    """Compounded returns of all windows of ``horizon`` periods, shape (max(n - horizon + 1, 0),).

    A return of -1 or less loses everything, and a window that has one is -1.
    """
    if horizon == 1:
        return np.maximum(returns, -1.0)
    if len(returns) < horizon:
        return np.empty(0)
    windows = sliding_window_view(np.maximum(1.0 + returns, 0.0), horizon)
    rows = max(1, _CHUNK // horizon)
    with np.errstate(over="ignore", invalid="ignore"):
        parts = [windows[at : at + rows].prod(axis=1) - 1.0 for at in range(0, len(windows), rows)]
    return np.concatenate(parts)


def scaled(tail: TailRisk, horizon: int) -> TailRisk:
    """By the square root of time, which holds for independent returns of mean zero that are normal.

    Source: J.P. Morgan/Reuters, "RiskMetrics - Technical Document", 4th edition, 1996; Diebold,
    Hickman, Inoue & Schuermann, "Scale models", Risk 11, 1998, on how it fails otherwise.
    """
    factor = math.sqrt(horizon)
    if tail.var is None:
        return nothing(tail.undefined["var"])
    return measured(tail.var * factor, math.inf if tail.es is None else tail.es * factor)


def moments(returns: NDArray[np.float64]) -> Moments | str:
    """Mean, standard deviation, skewness and excess kurtosis, or the reason why not.

    Skewness and excess kurtosis are those of the sample without correction (g1, g2), 0 of a normal one.

    Source: Joanes & Gill, "Comparing measures of sample skewness and kurtosis", The Statistician 47(1), 1998.
    """
    reason = unusable(returns, _TOO_FEW_MOMENTS)
    if reason:
        return reason
    if is_constant(returns):
        return f"{CONSTANT}: skewness and kurtosis have no value"
    scale = float(np.abs(returns).max())
    # A largest value of one: powers of four neither overflow nor vanish.
    values = returns / scale
    mean = float(values.mean())
    centred = values - mean
    squares = centred * centred
    variance = float(squares.mean())
    found = Moments(
        mean * scale,
        math.sqrt(variance * len(values) / (len(values) - 1)) * scale,
        float((squares * centred).mean()) / variance**1.5 if variance**1.5 > 0 else math.inf,
        float((squares * squares).mean()) / variance**2 - 3.0 if variance**2 > 0 else math.inf,
    )
    finite = all(math.isfinite(value) for value in (found.deviation, found.skewness, found.excess_kurtosis))
    return found if finite else OVERFLOW


def gaussian(returns: NDArray[np.float64], confidence: float, horizon: int = 1) -> TailRisk:
    """Normal returns of the mean and the standard deviation (divided by n - 1) of the sample.

    The horizon has the mean times ``horizon`` and the deviation times its square root: returns that are
    independent and added up, not compounded.

    Source: Jorion, "Value at Risk", 3rd edition, 2006; McNeil, Frey & Embrechts 2015, chapter 2.
    """
    reason = unusable(returns, 2)
    if reason:
        return nothing(reason)
    with np.errstate(over="ignore", invalid="ignore"):
        constant = is_constant(returns)
        mean = float(returns[0] if constant else returns.mean())
        deviation = 0.0 if constant else float(returns.std(ddof=1))
    return measured(*normal_tail(mean * horizon, deviation * math.sqrt(horizon), confidence))


def cornish_fisher(sample: Moments | str, confidence: float) -> ModifiedRisk:
    """Quantiles of the normal distribution corrected for skewness and kurtosis, where that keeps their order.

    ``tail`` has the quantile ("modified value at risk") and the mean beyond it, both of the Cornish-Fisher
    distribution; ``modified_es`` has the mean beyond the same quantile by the Edgeworth density, and the
    modified value at risk where that is above it.

    Args:
        sample: moments over the horizon, or why there are none.

    Source: Favre & Galeano, "Mean-modified value-at-risk optimization with hedge funds", Journal of
    Alternative Investments 5(2), 2002; Maillard, "A user's guide to the Cornish Fisher expansion", 2012
    (domain, shortfall); Boudt, Peterson & Croux, "Estimation and decomposition of downside risk for
    portfolios with non-normal returns", Journal of Risk 11(2), 2008 (modified expected shortfall and its
    operational form).
    """
    if isinstance(sample, str):
        return ModifiedRisk(nothing(sample), None, sample)
    skewness, kurtosis = sample.skewness, sample.excess_kurtosis
    if not in_domain(skewness, kurtosis):
        reason = (
            f"skewness {skewness:.4g} and excess kurtosis {kurtosis:.4g} are outside the domain of the "
            "Cornish-Fisher expansion: its quantiles would not rise with the probability"
        )
        return ModifiedRisk(nothing(reason), None, reason)
    normal, _ = standard_normal_tail(confidence)
    quantile = cornish_fisher_quantile(normal, skewness, kurtosis)
    shortfall = cornish_fisher_shortfall(confidence, skewness, kurtosis)
    tail = measured(
        -(sample.mean + sample.deviation * quantile), -(sample.mean - sample.deviation * shortfall)
    )
    edgeworth = _edgeworth_mean_below(quantile, skewness, kurtosis, confidence)
    modified = measured(
        -(sample.mean + sample.deviation * quantile), -(sample.mean + sample.deviation * edgeworth)
    )
    return ModifiedRisk(tail, modified.es, modified.undefined.get("es"))


def cornish_fisher_quantile(normal: float, skewness: Number, kurtosis: Number) -> Number:
    """The quantile ``normal`` of the standard normal distribution, corrected; ``kurtosis`` in excess of 3.

    Numbers or arrays of one shape.

    Source: Cornish & Fisher, "Moments and cumulants in the specification of distributions", Review of the
    International Statistical Institute 5(4), 1938.
    """
    return (
        normal
        + (normal**2 - 1) * skewness / 6
        + (normal**3 - 3 * normal) * kurtosis / 24
        - (2 * normal**3 - 5 * normal) * skewness**2 / 36
    )


def cornish_fisher_shortfall(confidence: float, skewness: Number, kurtosis: Number) -> Number:
    """Minus the mean below the corrected quantile at ``1 - confidence``: the integral of the quantiles.

    Source: Maillard 2012, by integrals of Hermite polynomials.
    """
    normal, mean_below = standard_normal_tail(confidence)
    return mean_below * (
        1 + normal * skewness / 6 + (normal**2 - 1) * kurtosis / 24 - (2 * normal**2 - 1) * skewness**2 / 36
    )


def in_domain(skewness: Number, kurtosis: Number) -> Any:
    """Whether corrected quantiles rise everywhere: their derivative, a parabola, is nowhere negative.

    Source: Maillard 2012; it follows that the absolute skewness is at most 6 (sqrt(2) - 1).
    """
    square = kurtosis / 8 - skewness**2 / 6
    constant = 1 - kurtosis / 8 + 5 * skewness**2 / 36
    return (square >= 0) & (constant >= 0) & (skewness**2 / 9 <= 4 * square * constant)


def _edgeworth_mean_below(quantile: float, skewness: float, kurtosis: float, confidence: float) -> float:
    """Mean below ``quantile`` by the second-order Edgeworth density, its integrals written out."""
    square = quantile**2
    density = math.exp(-square / 2) / math.sqrt(2 * math.pi)
    return (-density / (1 - confidence)) * (
        1
        + quantile**3 * skewness / 6
        + (square**2 - 2 * square - 1) * kurtosis / 24
        + (square**3 - 9 * square**2 + 9 * square + 3) * skewness**2 / 72
    )
