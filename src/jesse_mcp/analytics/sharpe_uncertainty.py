"""How sure an annual Sharpe ratio is, and what it is when returns are autocorrelated."""

import math

import numpy as np

from jesse_mcp.analytics.measures import NO_SPREAD, Floats, Measure, dispersion, measured, per_period
from jesse_mcp.analytics.performance import ONE_RETURN
from jesse_mcp.analytics.sharpe_inference import newey_west_lags, sharpe_estimate, why_no_sharpe

NORMAL_975 = 1.959963984540054
FEWEST_FOR_AN_ERROR = 10


@measured
def annual_sharpe_error(returns: Floats, periods_per_year: float, risk_free_rate: float = 0.0) -> float | str:
    """Standard error of the annual Sharpe ratio of independent returns of any distribution.

    That of :func:`sharpe_inference.sharpe_standard_error` (Mertens 2002) times the root of
    ``periods_per_year``; below :data:`FEWEST_FOR_AN_ERROR` returns the moments it needs say nothing.
    """
    if len(returns) < FEWEST_FOR_AN_ERROR:
        return f"{len(returns)} returns are fewer than {FEWEST_FOR_AN_ERROR}"
    excess = returns - per_period(risk_free_rate, periods_per_year)
    estimate = sharpe_estimate(excess) if dispersion(excess) > 0 else None
    if estimate is None:
        return why_no_sharpe(excess) or NO_SPREAD
    return estimate.standard_error * math.sqrt(periods_per_year)


def autocorrelations(values: Floats, lags: int) -> Floats | None:
    """At lags 1 to ``lags``: autocovariances divided by n over the variance divided by n.

    ``None`` when the values do not vary.
    """
    if dispersion(values) == 0:
        return None
    centred = values - values.mean()
    centred /= np.abs(centred).max()
    variance = float(centred @ centred)
    n = len(centred)
    return np.array([float(centred[lag:] @ centred[: n - lag]) / variance for lag in range(1, lags + 1)])


@measured
def autocorrelation_adjusted_sharpe(
    returns: Floats, periods_per_year: float, risk_free_rate: float = 0.0, lags: int | None = None
) -> float | str:
    """The annual Sharpe ratio without the assumption that returns are uncorrelated.

    ``SR q / sqrt(q + 2 sum_k (q - k) rho_k)`` with ``q = periods_per_year`` and SR a period (ddof=1). Lo sums
    over all ``k < q``, which needs far more than q returns; here over ``lags``, by default those of
    :func:`newey_west_lags`.

    Source: Lo, "The Statistics of Sharpe Ratios", Financial Analysts Journal 58(4), 2002.
    """
    if len(returns) < 2:
        return ONE_RETURN
    q = periods_per_year
    wanted = newey_west_lags(len(returns)) if lags is None else lags
    count = max(0, min(wanted, math.ceil(q) - 1, len(returns) - 1))
    excess = returns - per_period(risk_free_rate, q)
    found = autocorrelations(excess, count)
    if found is None:
        return NO_SPREAD
    variance = q + 2 * float(((q - np.arange(1, count + 1)) * found).sum())
    if variance <= 0:
        return "the autocorrelations make the variance of a year negative"
    return float(excess.mean()) / dispersion(excess) * q / math.sqrt(variance)


def normal_interval(centre: Measure, error: Measure) -> tuple[float, float] | None:
    """The 95 % interval of a normal estimate; ``None`` when either is undefined."""
    if centre.value is None or error.value is None:
        return None
    return centre.value - NORMAL_975 * error.value, centre.value + NORMAL_975 * error.value
