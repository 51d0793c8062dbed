"""The shape of a distribution of returns: moments, tails, and whether one return tells of the next."""

import math

import numpy as np

from jesse_mcp.analytics.measures import (
    NO_SPREAD,
    Floats,
    Measure,
    dispersion,
    found_or_reason,
    measured,
)
from jesse_mcp.analytics.sharpe_uncertainty import autocorrelations

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
#: Share of the losses that count as the tail, and the fewest that can tell its index.
TAIL_SHARE = 0.1
FEWEST_IN_TAIL = 10
_FEWEST_FOR_JARQUE_BERA = 30


def distribution_shape(returns: Floats) -> dict[str, Measure]:
    """Everything of this module by its usual name; no argument beyond the returns, shape (n,)."""
    quantiles = {f"quantile_{level:g}": quantile(returns, level) for level in QUANTILES}
    ljung_box = dict(zip(("ljung_box", "ljung_box_p_value"), ljung_box_test(returns), strict=True))
    jarque_bera = dict(zip(("jarque_bera", "jarque_bera_p_value"), jarque_bera_test(returns), strict=True))
    return {
        "mean": mean(returns),
        "standard_deviation": standard_deviation(returns),
        "skewness": skewness(returns),
        "excess_kurtosis": excess_kurtosis(returns),
        **jarque_bera,
        **quantiles,
        "tail_ratio": tail_ratio(returns),
        "tail_index_of_losses": hill_tail_index(returns),
        "autocorrelation": first_autocorrelation(returns),
        **ljung_box,
    }


@measured
def mean(returns: Floats) -> float | str:
    """Arithmetic."""
    return float(returns.mean())


@measured
def standard_deviation(returns: Floats) -> float | str:
    """Of a sample, ddof=1."""
    return "one return has no standard deviation" if len(returns) < 2 else dispersion(returns)


@measured
def skewness(returns: Floats) -> float | str:
    """Third standardised moment, divided by n (biased, as ``scipy.stats.skew`` by default)."""
    return _moment(returns, 3)


@measured
def excess_kurtosis(returns: Floats) -> float | str:
    """Fourth standardised moment less 3, divided by n (biased, as ``scipy.stats.kurtosis`` by default)."""
    found = _moment(returns, 4)
    return found if isinstance(found, str) else found - 3


@measured
def quantile(returns: Floats, level: float) -> float | str:
    """Interpolated linearly: type 7 of Hyndman & Fan, The American Statistician 50(4), 1996."""
    return float(np.quantile(returns, level))


@measured
def tail_ratio(returns: Floats) -> float | str:
    """Absolute 95 % quantile over the absolute 5 % quantile (type 7): above 1, gains reach further."""
    low, high = np.quantile(returns, [0.05, 0.95])
    return "the 5 % quantile is zero" if low == 0 else abs(float(high)) / abs(float(low))


def jarque_bera_test(returns: Floats) -> tuple[Measure, Measure]:
    """Statistic and p-value (chi-square, two degrees of freedom) of normal returns.

    Source: Jarque & Bera, "Efficient tests for normality, homoscedasticity and serial independence of
    regression residuals", Economics Letters 6(3), 1980. It is asymptotic: undefined below 30 returns.
    """
    if len(returns) < _FEWEST_FOR_JARQUE_BERA:
        reason = f"{len(returns)} returns are fewer than {_FEWEST_FOR_JARQUE_BERA}"
        return Measure(None, reason), Measure(None, reason)
    third, fourth = skewness(returns), excess_kurtosis(returns)
    if third.value is None or fourth.value is None:
        return third, fourth
    statistic = len(returns) / 6 * (third.value**2 + fourth.value**2 / 4)
    return found_or_reason(statistic), found_or_reason(math.exp(-statistic / 2))


@measured
def hill_tail_index(returns: Floats) -> float | str:
    """Hill estimator of the tail index of the losses; below 2 the variance would be infinite.

    Over the largest tenth of the losses. Source: Hill, "A simple general approach to inference about the tail
    of a distribution", Annals of Statistics 3(5), 1975.
    """
    losses = np.sort(-returns[returns < 0])[::-1]
    count = int(TAIL_SHARE * len(losses))
    if count < FEWEST_IN_TAIL:
        return f"{len(losses)} losses have fewer than {FEWEST_IN_TAIL} in their largest tenth"
    reach = float(np.log(losses[:count] / losses[count]).mean())
    return "the largest losses are equal" if reach <= 0 else 1 / reach


@measured
def first_autocorrelation(returns: Floats) -> float | str:
    """At lag 1: covariance with the return before, both divided by n."""
    if len(returns) < 3:
        return "three returns are needed"
    found = autocorrelations(returns, 1)
    return NO_SPREAD if found is None else float(found[0])


def ljung_box_lags(n: int) -> int:
    """``min(10, n // 5)``, for returns without a season (Hyndman, "Forecasting", 2021)."""
    return min(10, n // 5)


def ljung_box_test(returns: Floats) -> tuple[Measure, Measure]:
    """Statistic and p-value of no autocorrelation up to :func:`ljung_box_lags`.

    Source: Ljung & Box, "On a measure of lack of fit in time series models", Biometrika 65(2), 1978.
    """
    statistic = _ljung_box(returns)
    if statistic.value is None:
        return statistic, statistic
    from scipy.special import chdtrc

    return statistic, found_or_reason(float(chdtrc(ljung_box_lags(len(returns)), statistic.value)))


@measured
def _ljung_box(returns: Floats) -> float | str:
    n, lags = len(returns), ljung_box_lags(len(returns))
    if lags < 2:
        return f"{n} returns are fewer than 10"
    found = autocorrelations(returns, lags)
    if found is None:
        return NO_SPREAD
    return n * (n + 2) * float((found**2 / (n - np.arange(1, lags + 1))).sum())


def _moment(returns: Floats, order: int) -> float | str:
    if dispersion(returns) == 0:
        return NO_SPREAD
    centred = returns - returns.mean()
    centred /= np.abs(centred).max()
    return float(np.mean(centred**order) / np.mean(centred**2) ** (order / 2))
