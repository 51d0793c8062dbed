"""Regimes as buckets of the rolling volatility, bounded by its quantiles in the returns of the fit."""

from dataclasses import dataclass

import numpy as np

from jesse_mcp.analytics.regime_fit import (
    LEAST_PERIODS,
    UNKNOWN,
    VOLATILITY_WINDOW,
    Classified,
    Floats,
    Pause,
    moments_by_label,
    rolling_log_volatility,
    transitions_of,
    unusable,
)


@dataclass(frozen=True)
class VolatilityBuckets:
    """``thresholds`` of the logarithm of the volatility, ascending, shape (k - 1,)."""

    thresholds: Floats
    transition: Floats
    means: Floats
    volatilities: Floats
    log_likelihood: None = None

    @property
    def free_parameters(self) -> int:
        return len(self.thresholds)

    def classify(self, returns: Floats) -> Classified:
        """The bucket of the volatility of the last periods; a method without probabilities."""
        return Classified(_buckets(rolling_log_volatility(returns), self.thresholds), None)


def fit_volatility(
    returns: Floats,
    k: int,
    *,
    seed: int = 0,  # noqa: ARG001 - as every method has it; nothing is random here
    before: VolatilityBuckets | None = None,  # noqa: ARG001
    pause: Pause = lambda: None,
) -> VolatilityBuckets | str:
    """Buckets that hold equal shares of the returns of the fit, or the reason why there are none.

    Source: quantiles by linear interpolation, definition 7 of Hyndman & Fan, "Sample Quantiles in Statistical
    Packages", American Statistician 50, 1996.
    """
    pause()
    reason = unusable(returns)
    if reason is not None:
        return reason
    measured = rolling_log_volatility(returns)
    known = measured[VOLATILITY_WINDOW - 1 :]
    if len(known) < k * LEAST_PERIODS:
        return f"{len(known)} windows of {VOLATILITY_WINDOW} periods are too few for {k} regimes"
    if not np.isfinite(known).all():
        return f"the volatility of {VOLATILITY_WINDOW} periods is zero somewhere: it has no logarithm"
    thresholds = np.quantile(known, np.arange(1, k) / k)
    labels = _buckets(measured, thresholds)
    if min(int((labels == regime).sum()) for regime in range(k)) < LEAST_PERIODS:
        return f"the volatility takes too few different values for {k} regimes"
    means, deviations = moments_by_label(returns, labels, k)
    return VolatilityBuckets(thresholds, transitions_of(labels, k), means, deviations)


def _buckets(measured: Floats, thresholds: Floats) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    labels = np.searchsorted(thresholds, measured, side="right")
    return np.asarray(np.where(np.isnan(measured), UNKNOWN, labels), dtype=np.int64)
