"""A return series beside that of a benchmark over the same periods.

Both are simple returns a period, shape (n,), aligned. Arguments otherwise as in ``performance``.
"""

import math

import numpy as np

from jesse_mcp.analytics.measures import (
    NO_SPREAD,
    NOT_FINITE,
    Floats,
    Measure,
    dispersion,
    measured,
    per_period,
)

NO_SPREAD_OF_BENCHMARK = "the returns of the benchmark do not vary"
TOO_FEW = "two returns of both are needed"


def relative_to_benchmark(
    returns: Floats, benchmark: Floats, periods_per_year: float, risk_free_rate: float = 0.0
) -> dict[str, Measure]:
    """Beta, alpha, correlation, tracking error and information ratio.

    - beta: covariance with the benchmark over the variance of the benchmark (both ddof=1);
    - alpha: mean excess return less beta times that of the benchmark, times ``periods_per_year``; not
      compounded (Jensen, "The performance of mutual funds in the period 1945-1964", Journal of Finance 23(2),
      1968);
    - correlation of Pearson;
    - tracking error: standard deviation of the difference of returns (ddof=1), annualised; information
      ratio: mean of that difference, annualised, over it (Grinold & Kahn, "Active Portfolio Management",
      2nd edition, 2000).

    Series of different lengths have no such numbers; nothing is cut to fit.
    """
    names = ("beta", "alpha", "correlation", "tracking_error", "information_ratio")
    if len(returns) != len(benchmark):
        reason = f"{len(returns)} returns cannot be compared with {len(benchmark)} of the benchmark"
        return dict.fromkeys(names, Measure(None, reason))
    if len(returns) and not np.isfinite(benchmark).all():
        return dict.fromkeys(names, Measure(None, NOT_FINITE))
    with np.errstate(all="ignore"):
        active = np.asarray(returns, dtype=np.float64) - benchmark
    return {
        "beta": beta(returns, benchmark),
        "alpha": _alpha(returns, benchmark, periods_per_year, risk_free_rate),
        "correlation": _correlation(returns, benchmark),
        "tracking_error": _tracking_error(active, periods_per_year),
        "information_ratio": _information_ratio(active, periods_per_year),
    }


@measured
def beta(returns: Floats, benchmark: Floats) -> float | str:
    """Slope of the returns on those of the benchmark (finite, as long)."""
    if len(returns) < 2:
        return TOO_FEW
    spread = dispersion(benchmark)
    if spread == 0:
        return NO_SPREAD_OF_BENCHMARK
    scaled = (benchmark - benchmark.mean()) / spread
    return float((returns - returns.mean()) @ scaled) / (len(returns) - 1) / spread


@measured
def _alpha(returns: Floats, benchmark: Floats, periods_per_year: float, risk_free_rate: float) -> float | str:
    slope = beta(returns, benchmark)
    if slope.value is None:
        return slope.reason or TOO_FEW
    free = per_period(risk_free_rate, periods_per_year)
    excess = float(returns.mean()) - free - slope.value * (float(benchmark.mean()) - free)
    return excess * periods_per_year


@measured
def _correlation(returns: Floats, benchmark: Floats) -> float | str:
    slope = beta(returns, benchmark)
    if slope.value is None:
        return slope.reason or TOO_FEW
    spread = dispersion(returns)
    if spread == 0:
        return NO_SPREAD
    return min(1.0, max(-1.0, slope.value * dispersion(benchmark) / spread))


@measured
def _tracking_error(active: Floats, periods_per_year: float) -> float | str:
    return TOO_FEW if len(active) < 2 else dispersion(active) * math.sqrt(periods_per_year)


@measured
def _information_ratio(active: Floats, periods_per_year: float) -> float | str:
    if len(active) < 2:
        return TOO_FEW
    deviation = dispersion(active)
    if deviation == 0:
        return "the returns differ from those of the benchmark by a constant"
    return float(active.mean()) / deviation * math.sqrt(periods_per_year)
