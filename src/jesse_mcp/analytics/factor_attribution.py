"""Where the mean and the variance of a return series come from, by factor, and how exposures moved."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.factor_regression import FactorRegression, why_no_regression
from jesse_mcp.analytics.measures import Floats, dispersion


@dataclass(frozen=True)
class Attribution:
    """Of the mean return a period; ``contributions``, ``alpha`` and ``residual`` add up to ``mean``.

    Attributes:
        means: of each factor.
        contributions: beta times the mean of the factor, shape (k,).
        residual: mean of the residuals: zero but for rounding, since the model has an intercept.
        shares: contributions over the mean; ``None`` when the mean is zero but for rounding.
        alpha_share: alpha over the mean.
    """

    mean: float
    means: tuple[float, ...]
    contributions: tuple[float, ...]
    alpha: float
    residual: float
    shares: tuple[float, ...] | None
    alpha_share: float | None


@dataclass(frozen=True)
class RiskSplit:
    """Standard deviations (ddof=1) a period; the squares of ``systematic`` and ``idiosyncratic`` add up.

    Attributes:
        shares: of the variance, each factor's; they add up to R squared, and one that offsets others is
            negative.
    """

    total: float
    systematic: float
    idiosyncratic: float
    shares: tuple[float, ...]


@dataclass(frozen=True)
class RollingBetas:
    """Exposures in windows.

    Attributes:
        ends: position of the last period of each window, ascending, shape (m,).
        alphas: shape (m,).
        betas: shape (m, k); NaN, as ``alphas``, where a window has no regression.
        every: how many periods lie between two windows at most.
    """

    ends: NDArray[np.int64]
    alphas: Floats
    betas: Floats
    every: int


def attribution(returns: Floats, factors: Floats, found: FactorRegression) -> Attribution:
    """The mean return as alpha plus what each factor paid times the exposure to it.

    Source: Sharpe, "Asset allocation: management style and performance measurement", Journal of Portfolio
    Management 18(2), 1992; with an intercept the means of a least squares fit are exact.
    """
    mean, means = float(returns.mean()), factors.mean(axis=0)
    contributions = np.array([beta.value for beta in found.betas]) * means
    # A mean far below what it is the sum of is rounding, and shares of it are noise.
    defined = abs(mean) > 1e-12 * float(np.abs(returns).max())
    return Attribution(
        mean=mean,
        means=tuple(means.tolist()),
        contributions=tuple(contributions.tolist()),
        alpha=found.alpha.value,
        residual=mean - found.alpha.value - float(contributions.sum()),
        shares=tuple((contributions / mean).tolist()) if defined else None,
        alpha_share=found.alpha.value / mean if defined else None,
    )


def risk_split(returns: Floats, factors: Floats, found: FactorRegression) -> RiskSplit:
    """Variance of what the factors explain, and of the rest, which in sample is uncorrelated with it.

    The share of a factor is its beta times its covariance with the returns, over their variance (Euler's
    allocation of the variance: Meucci, "Risk contributions from generic user-defined factors", Risk 20(6),
    2007; as a measure of importance Pratt, 1987).
    """
    total = dispersion(returns)
    explained = min(max(found.r_squared, 0.0), 1.0)
    size, sizes = float(np.abs(returns).max()), np.abs(factors).max(axis=0)
    scaled, centred = factors / sizes, (returns - returns.mean()) / size
    covariances = (scaled - scaled.mean(axis=0)).T @ centred / (len(returns) - 1)
    betas = np.array([beta.value for beta in found.betas]) * sizes / size
    return RiskSplit(
        total=total,
        systematic=total * explained**0.5,
        idiosyncratic=total * (1.0 - explained) ** 0.5,
        shares=tuple((betas * covariances / (total / size) ** 2).tolist()),
    )


def rolling_betas(
    returns: Floats, factors: Floats, window: int, most: int, pause: Callable[[], None] = lambda: None
) -> RollingBetas:
    """Least squares in windows of ``window`` periods: at most ``most`` of them, evenly spaced, the last one
    included.

    Args:
        window: k + 2 to n periods.
        most: at least 2.
        pause: called before each window; may raise to stop.
    """
    n, k = factors.shape
    every = max(1, -(-(n - window + 1) // most))
    ends = np.arange(n - 1, window - 2, -every, dtype=np.int64)[::-1]
    found = np.full((len(ends), k + 1), np.nan)
    names = [""] * k
    for row, end in enumerate(ends.tolist()):
        pause()
        part = slice(end - window + 1, end + 1)
        y, x = returns[part], factors[part]
        if why_no_regression(y, x, names) is None:
            found[row] = _line(y, x)
    return RollingBetas(ends, found[:, 0], found[:, 1:], every)


def _line(returns: Floats, factors: Floats) -> Floats:
    sizes, size = np.abs(factors).max(axis=0), float(np.abs(returns).max())
    design = np.column_stack((np.ones(len(returns)), factors / sizes))
    values = np.linalg.lstsq(design, returns / size)[0]
    return np.asarray(values * size / np.concatenate(([1.0], sizes)), dtype=np.float64)
