"""Tests of value-at-risk and expected-shortfall forecasts against what came."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Zone = Literal["green", "yellow", "red"]

BASEL_FORECASTS = 250
BASEL_CONFIDENCE = 0.99
_GREEN, _YELLOW = 4, 9


@dataclass(frozen=True)
class LikelihoodRatio:
    """``statistic`` and ``p_value`` are ``None`` with the ``reason``."""

    statistic: float | None
    p_value: float | None
    reason: str | None = None


@dataclass(frozen=True)
class TrafficLight:
    """``zone`` and ``exceedances`` of the last 250 forecasts; ``None`` with the ``reason``."""

    zone: Zone | None
    exceedances: int | None
    reason: str | None = None


@dataclass(frozen=True)
class ShortfallTest:
    """``z2`` is zero for right forecasts, negative where losses are larger; ``None`` with the ``reason``."""

    z2: float | None
    reason: str | None = None


@dataclass(frozen=True)
class ForecastTest:
    """All tests of one row of forecasts."""

    forecasts: int
    exceedances: int
    expected: float
    kupiec: LikelihoodRatio
    independence: LikelihoodRatio
    conditional_coverage: LikelihoodRatio
    first_failure: LikelihoodRatio
    traffic_light: TrafficLight
    shortfall: ShortfallTest


def forecast_test(
    realised: NDArray[np.float64],
    var: NDArray[np.float64],
    es: NDArray[np.float64],
    confidence: float,
    *,
    daily: bool,
) -> ForecastTest:
    """Every test of forecasts that were made for ``realised`` returns.

    Args:
        realised: shape (n,).
        var: shape (n,), NaN where there was no forecast; those periods are left out.
        es: likewise.
        daily: whether a period is a day, which the traffic light is for.
    """
    made = np.isfinite(var) & np.isfinite(es)
    realised, var, es = realised[made], var[made], es[made]
    hits = -realised > var
    pof, independent = kupiec(int(hits.sum()), len(hits), confidence), independence(hits)
    return ForecastTest(
        forecasts=len(hits),
        exceedances=int(hits.sum()),
        expected=len(hits) * (1 - confidence),
        kupiec=pof,
        independence=independent,
        conditional_coverage=conditional_coverage(pof, independent),
        first_failure=time_until_first_failure(hits, confidence),
        traffic_light=traffic_light(hits, confidence, daily=daily),
        shortfall=acerbi_szekely(realised, var, es, confidence),
    )


def kupiec(exceedances: int, forecasts: int, confidence: float) -> LikelihoodRatio:
    """Proportion of failures: whether losses exceed the forecast as often as they should.

    Chi-square with one degree of freedom.

    Source: Kupiec, "Techniques for verifying the accuracy of risk measurement models", Journal of Derivatives
    3(2), 1995.
    """
    if forecasts == 0:
        return LikelihoodRatio(None, None, "there is no forecast")
    p = 1 - confidence
    observed = _log_likelihood(forecasts - exceedances, exceedances, exceedances / forecasts)
    return _ratio(_log_likelihood(forecasts - exceedances, exceedances, p), observed, 1)


def independence(hits: NDArray[np.bool_]) -> LikelihoodRatio:
    """Whether an exceedance makes another one in the next period more or less likely.

    Chi-square with one degree of freedom, of the n - 1 transitions.

    Args:
        hits: whether the loss exceeded the forecast, in order, shape (n,).

    Source: Christoffersen, "Evaluating interval forecasts", International Economic Review 39(4), 1998.
    """
    before, after = hits[:-1], hits[1:]
    n11 = int((before & after).sum())
    n10, n01 = int((before & ~after).sum()), int((~before & after).sum())
    n00 = len(before) - n11 - n10 - n01
    if n10 + n11 == 0:
        return LikelihoodRatio(None, None, "no forecast follows an exceedance")
    if n00 + n01 == 0:
        return LikelihoodRatio(None, None, "no forecast follows a period without exceedance")
    alike = _log_likelihood(n00 + n10, n01 + n11, (n01 + n11) / len(before))
    calm, struck = n01 / (n00 + n01), n11 / (n10 + n11)
    return _ratio(alike, _log_likelihood(n00, n01, calm) + _log_likelihood(n10, n11, struck), 1)


def conditional_coverage(pof: LikelihoodRatio, independent: LikelihoodRatio) -> LikelihoodRatio:
    """Both at once: the sum of the two ratios, chi-square with two degrees of freedom.

    The failures are those of all forecasts, also of the first, which has no transition.

    Source: Christoffersen 1998.
    """
    if pof.statistic is None or independent.statistic is None:
        return LikelihoodRatio(None, None, pof.reason or independent.reason)
    total = pof.statistic + independent.statistic
    return LikelihoodRatio(total, _survival(total, 2))


def time_until_first_failure(hits: NDArray[np.bool_], confidence: float) -> LikelihoodRatio:
    """Whether the first exceedance came when it should: chi-square with one degree of freedom.

    Source: Kupiec 1995.
    """
    struck = np.flatnonzero(hits)
    if len(struck) == 0:
        return LikelihoodRatio(None, None, f"no exceedance in {len(hits)} forecasts")
    calm = int(struck[0])
    return _ratio(_log_likelihood(calm, 1, 1 - confidence), _log_likelihood(calm, 1, 1 / (calm + 1)), 1)


def traffic_light(hits: NDArray[np.bool_], confidence: float, *, daily: bool) -> TrafficLight:
    """The zone of the Basel Committee: green to 4 exceedances of 250, yellow to 9, red from 10 on.

    Args:
        hits: in order, shape (n,); the last 250 count.
        daily: whether a period is a day.

    Source: Basel Committee on Banking Supervision, "Supervisory framework for the use of 'backtesting' in
    conjunction with the internal models approach to market risk capital requirements", 1996.
    """
    if not math.isclose(confidence, BASEL_CONFIDENCE):
        return TrafficLight(None, None, f"it is for a confidence of 0.99, not of {confidence:.10g}")
    if not daily:
        return TrafficLight(None, None, "it is for daily forecasts")
    if len(hits) < BASEL_FORECASTS:
        return TrafficLight(None, None, f"it is for 250 forecasts, there are {len(hits)}")
    count = int(hits[-BASEL_FORECASTS:].sum())
    return TrafficLight("green" if count <= _GREEN else "yellow" if count <= _YELLOW else "red", count)


def acerbi_szekely(
    realised: NDArray[np.float64],
    var: NDArray[np.float64],
    es: NDArray[np.float64],
    confidence: float,
) -> ShortfallTest:
    """The second statistic: realised losses beyond value at risk over those expected, one minus their ratio.

    No p-value: it takes simulations of every forecast's own distribution.

    Args:
        realised: returns, shape (n,).
        var: forecasts of them, finite, shape (n,).
        es: likewise.

    Source: Acerbi & Szekely, "Backtesting expected shortfall", Risk, December 2014.
    """
    if len(realised) == 0:
        return ShortfallTest(None, "there is no forecast")
    if (es <= 0).any():
        return ShortfallTest(None, "an expected shortfall is not a loss: the ratio to it means nothing")
    hits = -realised > var
    with np.errstate(over="ignore"):
        total = float((realised[hits] / es[hits]).sum())
    z2 = total / (len(realised) * (1 - confidence)) + 1
    return ShortfallTest(z2) if math.isfinite(z2) else ShortfallTest(None, "the ratios overflow")


def _log_likelihood(calm: int, struck: int, p: float) -> float:
    """Of so many failures with probability ``p`` each; zero times the logarithm of zero is zero."""
    return (calm * math.log1p(-p) if calm else 0.0) + (struck * math.log(p) if struck else 0.0)


def _ratio(restricted: float, free: float, degrees: int) -> LikelihoodRatio:
    statistic = max(0.0, 2 * (free - restricted))
    return LikelihoodRatio(statistic, _survival(statistic, degrees))


def _survival(statistic: float, degrees: int) -> float:
    """Of the chi-square distribution with one or two degrees of freedom."""
    return math.erfc(math.sqrt(statistic / 2)) if degrees == 1 else math.exp(-statistic / 2)
