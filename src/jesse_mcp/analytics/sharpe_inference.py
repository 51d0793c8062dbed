"""How sure a Sharpe ratio is: its standard error, and the probability that the true one is above a benchmark.

Every Sharpe ratio here is of one period, never annualised, and kurtosis is raw (3 for the normal).
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_NORMAL = NormalDist()
#: A spread this small against the largest value is rounding.
_ROUNDING = 1e-13


@dataclass(frozen=True)
class SharpeEstimate:
    """Sharpe ratio of a sample with what its error depends on.

    ``sharpe`` is mean over standard deviation (ddof 1) of one period; ``skewness`` and raw ``kurtosis`` are
    moments divided by n; ``hac_standard_error`` allows for returns that depend on those before.
    """

    n: int
    sharpe: float
    skewness: float
    kurtosis: float
    standard_error: float
    hac_standard_error: float


def why_no_sharpe(returns: NDArray[np.float64]) -> str | None:
    """Why these returns have no Sharpe ratio with an error, or ``None`` when they have."""
    n = len(returns)
    if n < 3:
        return f"{n} returns are too few: three are needed"
    if not np.isfinite(returns).all():
        return "not every return is a finite number"
    largest = float(np.abs(returns).max())
    if largest == 0 or float(np.ptp(returns / largest)) <= _ROUNDING:
        return "the returns do not vary"
    return None


def sharpe_estimate(returns: NDArray[np.float64]) -> SharpeEstimate | None:
    """The Sharpe ratio against zero with its moments and standard errors.

    Args:
        returns: of one period each, in excess of the risk-free rate where there is one, shape (n,).

    Returns:
        ``None`` exactly when :func:`why_no_sharpe` gives a reason.

    Sources: of the errors see :func:`sharpe_standard_error` and :func:`hac_standard_error`.
    """
    if why_no_sharpe(returns) is not None:
        return None
    # The ratio and the moments are free of units; squares of the raw values may leave the range of a float.
    scaled = returns / np.abs(returns).max()
    centred = scaled - scaled.mean()
    spread = float(np.sqrt((centred**2).mean()))
    n = len(returns)
    sharpe = float(scaled.mean()) / (spread * math.sqrt(n / (n - 1)))
    standard = centred / spread
    skewness, kurtosis = float((standard**3).mean()), float((standard**4).mean())
    return SharpeEstimate(
        n=n,
        sharpe=sharpe,
        skewness=skewness,
        kurtosis=kurtosis,
        standard_error=sharpe_standard_error(sharpe, n, skewness, kurtosis) or 0.0,
        hac_standard_error=hac_standard_error(standard, sharpe),
    )


def sharpe_standard_error(
    sharpe: float, n: int, skewness: float = 0.0, kurtosis: float = 3.0
) -> float | None:
    """``sqrt((1 - skewness SR + (kurtosis - 1) / 4 SR^2) / (n - 1))``, of independent returns.

    Args:
        sharpe: of one period.
        n: observations.
        kurtosis: raw, 3 for the normal.

    Returns:
        ``None`` with fewer than two observations, and for a skewness and kurtosis that no distribution has
        together and that make the variance negative.

    Sources: Lo, "The Statistics of Sharpe Ratios", Financial Analysts Journal 58(4), 2002, for the normal;
    Mertens, "Comments on variance of the IID estimator in Lo (2002)", 2002, for any; divided by n - 1 as in
    Bailey & Lopez de Prado, "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2), 2012.
    """
    variance = _variance(sharpe, skewness, kurtosis)
    if n < 2 or variance is None:
        return None
    return math.sqrt(variance / (n - 1))


def hac_standard_error(standard: NDArray[np.float64], sharpe: float) -> float:
    """Standard error of a Sharpe ratio of returns that are serially dependent and not normal.

    The generalised method of moments for mean and variance, with the long-run variance of Newey & West and
    ``floor(4 (n / 100)^(2/9))`` lags. Without lags it is the formula of Mertens, divided by n.

    Args:
        standard: returns less their mean, over their standard deviation (ddof 0), oldest first, shape (n,).
        sharpe: of one period.

    Sources: Lo 2002, appendix A; Newey & West, "A simple, positive semi-definite, heteroskedasticity and
    autocorrelation consistent covariance matrix", Econometrica 55(3), 1987; the lags: "Automatic lag
    selection in covariance matrix estimation", Review of Economic Studies 61(4), 1994.
    """
    n = len(standard)
    influence = standard - sharpe / 2 * (standard**2 - 1)
    lags = newey_west_lags(n)
    long_run = float(influence @ influence) / n
    for lag in range(1, lags + 1):
        weight = 1 - lag / (lags + 1)
        long_run += 2 * weight * float(influence[lag:] @ influence[:-lag]) / n
    return math.sqrt(max(long_run, 0.0) / n)


def newey_west_lags(n: int) -> int:
    """Lags of the long-run variance of ``n`` observations, fewer than ``n``."""
    return min(math.floor(4.0 * math.pow(n / 100, 2 / 9)), n - 1)


def probabilistic_sharpe_ratio(
    sharpe: float, n: int, skewness: float = 0.0, kurtosis: float = 3.0, benchmark: float = 0.0
) -> float | None:
    """Probability that the true Sharpe ratio is above ``benchmark``.

    Args:
        sharpe: estimated, of one period.
        n: observations.
        kurtosis: raw, 3 for the normal.
        benchmark: of one period.

    Returns:
        0 to 1; ``None`` where there is no standard error or it is zero, or the benchmark is no number.

    Source: Bailey & Lopez de Prado, "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2), 2012.
    """
    error = sharpe_standard_error(sharpe, n, skewness, kurtosis)
    if not error or math.isnan(benchmark):
        return None
    return normal_cdf((sharpe - benchmark) / error)


def minimum_track_record_length(
    sharpe: float,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
    benchmark: float = 0.0,
    confidence: float = 0.95,
) -> float | None:
    """Observations with which this Sharpe ratio would be above ``benchmark`` with ``confidence``.

    Args:
        sharpe: estimated, of one period.
        kurtosis: raw, 3 for the normal.
        benchmark: of one period.
        confidence: above 0.5, below 1.

    Returns:
        ``1 + (1 - skewness SR + (kurtosis - 1) / 4 SR^2) (z / (SR - benchmark))^2``; ``None`` for a Sharpe
        ratio that is not above the benchmark, which no length of record would make significant.

    Source: Bailey & Lopez de Prado 2012.
    """
    variance = _variance(sharpe, skewness, kurtosis)
    if variance is None or not sharpe > benchmark or not 0.5 < confidence < 1:
        return None
    # A quotient of a tiny excess may leave the range of a float.
    root = math.sqrt(variance) * _NORMAL.inv_cdf(confidence) / (sharpe - benchmark)
    length = 1 + root * root
    return length if math.isfinite(length) else None


def confidence_interval(sharpe: float, standard_error: float, confidence: float) -> tuple[float, float]:
    """Two-sided interval by the normal approximation, in the units of the arguments.

    Source: Lo 2002.
    """
    half = _NORMAL.inv_cdf((1 + confidence) / 2) * standard_error
    return sharpe - half, sharpe + half


def normal_cdf(value: float) -> float:
    """Of the standard normal, precise in the lower tail as well."""
    return 0.5 * math.erfc(-value / math.sqrt(2))


def _variance(sharpe: float, skewness: float, kurtosis: float) -> float | None:
    """Of the estimate, times the observations; ``None`` when it is negative or not finite."""
    variance = 1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe * sharpe
    if not math.isfinite(variance) or variance < 0:
        return None
    return variance
