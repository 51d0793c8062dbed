"""What a Sharpe ratio is worth that is the best of many: the deflated Sharpe ratio and what it needs.

Every Sharpe ratio is of one period unless it says annual.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.sharpe_inference import probabilistic_sharpe_ratio, sharpe_estimate

_NORMAL = NormalDist()
_EULER = 0.5772156649015329
#: With fewer trials their variance is itself a guess.
ENOUGH_TRIALS_FOR_VARIANCE = 10
#: Robust deviations from the median beyond which a Sharpe ratio says nothing of luck.
_FENCE = 3.0
#: Standard deviation of a normal in units of its median absolute deviation.
_NORMAL_MAD = 1.4826022185056018
#: Root mean square of the difference of two nearly equal trials, against the spread of their returns.
_SAME = 0.01
#: How many neighbours in the order of Sharpe ratios each trial is compared with.
_NEIGHBOURS = 20


@dataclass(frozen=True)
class TrialSpread:
    """Variance of the Sharpe ratios of trials, of one period, and what it was found from.

    Attributes:
        variance: to deduct luck by.
        observed: it is that of the trials, not the one without skill.
        plain: that of the source, of every trial; ``None`` with too few trials.
        distinct: trials that have a Sharpe ratio, nearly equal ones counted once.
    """

    variance: float
    observed: bool
    plain: float | None
    distinct: int


@dataclass(frozen=True)
class EffectiveTrials:
    """How many independent trials correlated ones amount to, by two methods; 1 to ``trials``."""

    trials: int
    average_correlation: float
    by_average_correlation: float
    by_eigenvalues: float


def expected_maximum(trials: float) -> float:
    """Expected largest of ``trials`` independent standard normal values.

    ``(1 - g) z(1 - 1/N) + g z(1 - 1/(N e))`` with Euler's constant g; exactly 0 for one, and never below it.
    Too low by 8 % for two trials, too high by 1 % for a hundred, and exact in the limit.

    Args:
        trials: 1 or more; an effective number need not be whole.

    Source: Bailey & Lopez de Prado, "The Deflated Sharpe Ratio", Journal of Portfolio Management 40(5), 2014;
    Bailey, Borwein, Lopez de Prado & Zhu, "Pseudo-Mathematics and Financial Charlatanism", Notices of the
    American Mathematical Society 61(5), 2014, proposition 1.
    """
    if not trials > 1:
        return 0.0
    # By symmetry, since one minus a small share loses its digits.
    most, rare = -_NORMAL.inv_cdf(1 / trials), -_NORMAL.inv_cdf(1 / (trials * math.e))
    return max(0.0, (1 - _EULER) * most + _EULER * rare)


def expected_maximum_sharpe(trials: float, variance: float) -> float:
    """Sharpe ratio that the best of ``trials`` without any skill is expected to show.

    Args:
        variance: of the Sharpe ratios of the trials, zero or more, per period.

    Source: Bailey & Lopez de Prado 2014.
    """
    return math.sqrt(variance) * expected_maximum(trials)


def deflated_sharpe_ratio(
    sharpe: float, n: int, skewness: float, kurtosis: float, trials: float, variance: float
) -> float | None:
    """Probability that the true Sharpe ratio is above what the best of the trials owes to luck.

    Args:
        sharpe: of the chosen strategy, of one period.
        n: its observations.
        kurtosis: raw, 3 for the normal.
        trials: how many were tried.
        variance: of the Sharpe ratios of the trials, per period.

    Returns:
        0 to 1; ``None`` where :func:`~jesse_mcp.analytics.sharpe_inference.probabilistic_sharpe_ratio` is.

    Source: Bailey & Lopez de Prado, "The Deflated Sharpe Ratio", Journal of Portfolio Management 40(5), 2014.
    """
    benchmark = expected_maximum_sharpe(trials, variance)
    return probabilistic_sharpe_ratio(sharpe, n, skewness, kurtosis, benchmark)


def variance_of_trials(series: Sequence[NDArray[np.float64]], n: int) -> float | None:
    """Variance (ddof 1) of the Sharpe ratios of trials, as if each had ``n`` returns.

    A Sharpe ratio of a shorter series spreads more: each is scaled by ``sqrt((n_i - 1) / (n - 1))``, the
    ratio of its standard error without skill to that of ``n`` returns. Of equal lengths it is the plain
    variance of the source.

    Args:
        series: returns of each trial, shapes (n_i,); those without a Sharpe ratio do not count.
        n: returns of the one that is judged, at least 2.

    Returns:
        ``None`` with fewer than :data:`ENOUGH_TRIALS_FOR_VARIANCE` Sharpe ratios.

    Source: Bailey & Lopez de Prado 2014, for equal lengths.
    """
    if n < 2:
        return None
    scaled = _sharpes_at(series, n)
    return float(scaled.var(ddof=1)) if len(scaled) >= ENOUGH_TRIALS_FOR_VARIANCE else None


def _sharpes_at(series: Sequence[NDArray[np.float64]], n: int) -> NDArray[np.float64]:
    """Of those that have one, each as if it had ``n`` returns."""
    found = [estimate for returns in series if (estimate := sharpe_estimate(returns)) is not None]
    return np.array([one.sharpe * math.sqrt((one.n - 1) / (n - 1)) for one in found])


def spread_of_trials(series: Sequence[NDArray[np.float64]], n: int) -> TrialSpread:
    """By how much luck alone spreads the Sharpe ratios of trials, such that no further trial hides it.

    Differs from the source in this: trials with nearly equal returns count once, since copies would make the
    variance as small as one likes; their Sharpe ratios are winsorised at :data:`_FENCE` robust deviations
    (1.4826 times the median absolute deviation, at least the standard error without skill) from their
    median, since one absurd trial would make it as large as one likes; and it is never below that of trials
    without skill, which is what luck spreads them by at least. The number of trials is not touched. Of
    normal Sharpe ratios winsorising takes half a percent.

    Args:
        series: as for :func:`variance_of_trials`.
        n: returns of the one that is judged.

    Source: Bailey & Lopez de Prado 2014, for ``plain``; Lo 2002, for the least; Huber & Ronchetti,
    "Robust Statistics", 2nd edition, 2009, for the median absolute deviation and winsorising.
    """
    distinct = _distinct(series)
    least = variance_without_skill(n) or 0.0
    found = None
    if len(distinct) >= ENOUGH_TRIALS_FOR_VARIANCE and n >= 2:
        found = _winsorised_variance(_sharpes_at(distinct, n), math.sqrt(least))
    observed = found is not None and found > least
    return TrialSpread(
        variance=found if found is not None and observed else least,
        observed=observed,
        plain=variance_of_trials(series, n),
        distinct=len(distinct),
    )


def _winsorised_variance(values: NDArray[np.float64], least_deviation: float) -> float:
    """Variance (ddof 1) of values drawn in to the fences; the plain one when none is beyond."""
    centre = float(np.median(values))
    deviation = _NORMAL_MAD * float(np.median(np.abs(values - centre)))
    reach = _FENCE * max(deviation, least_deviation)
    return float(np.clip(values, centre - reach, centre + reach).var(ddof=1))


def _distinct(series: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Those with a Sharpe ratio, one of each that are nearly equal: such have nearly the same ratio."""
    rated = [
        (found.sharpe, at) for at, one in enumerate(series) if (found := sharpe_estimate(one)) is not None
    ]
    kept: list[NDArray[np.float64]] = []
    for _, at in sorted(rated):
        returns = series[at]
        # Divided by the largest, as squares of the raw values may leave the range of a float.
        largest = float(np.abs(returns).max())
        scaled = returns / largest
        allowed = _SAME * float(scaled.std())
        if not any(
            len(other) == len(returns)
            and float(np.sqrt(np.mean(np.clip(scaled - other / largest, -1e9, 1e9) ** 2))) <= allowed
            for other in kept[-_NEIGHBOURS:]
        ):
            kept.append(returns)
    return kept


def variance_without_skill(n: int) -> float | None:
    """Variance of the Sharpe ratio of ``n`` independent returns whose true one is zero: ``1 / (n - 1)``.

    Source: Lo, "The Statistics of Sharpe Ratios", Financial Analysts Journal 58(4), 2002.
    """
    return None if n < 2 else 1 / (n - 1)


def minimum_backtest_length(trials: float, annual_sharpe: float) -> float | None:
    """Years below which the best of ``trials`` without skill is expected to reach ``annual_sharpe``.

    Returns:
        ``(E[max] / annual_sharpe)^2``; ``None`` for a Sharpe ratio that is not positive.

    Source: Bailey, Borwein, Lopez de Prado & Zhu 2014, theorem 1.
    """
    if not annual_sharpe > 0:
        return None
    root = expected_maximum(trials) / annual_sharpe
    years = root * root
    return years if math.isfinite(years) else None


def effective_trials(returns: NDArray[np.float64]) -> EffectiveTrials | None:
    """How many independent trials these correlated ones amount to.

    ``by_average_correlation`` interpolates between one trial (all the same) and all of them (none alike):
    ``rho + (1 - rho) N`` with the average correlation of pairs, a negative one counted as zero.
    ``by_eigenvalues`` is ``(sum l)^2 / sum l^2`` of the correlation matrix. Neither needs the matrix itself.

    Args:
        returns: one column a trial over the same periods, shape (t, n); what does not vary does not count.

    Returns:
        ``None`` with fewer than two columns that vary or fewer than three periods.

    Sources: Bailey & Lopez de Prado 2014, appendix A.3; Bretherton et al., "The effective number of spatial
    degrees of freedom of a time-varying field", Journal of Climate 12(7), 1999.
    """
    standard = _standardised(returns)
    if standard is None:
        return None
    periods, n = standard.shape
    together = standard.sum(axis=1)
    average = (float(together @ together) / periods - n) / (n * (n - 1))
    small = standard @ standard.T if periods <= n else standard.T @ standard
    squares = float(np.sum((small / periods) ** 2))
    rho = min(max(average, 0.0), 1.0)
    return EffectiveTrials(
        trials=n,
        average_correlation=min(average, 1.0),
        by_average_correlation=rho + (1 - rho) * n,
        by_eigenvalues=min(max(n * n / squares, 1.0), float(n)),
    )


def _standardised(returns: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Columns that vary, with mean 0 and mean square 1."""
    if returns.ndim != 2 or returns.shape[0] < 3 or not np.isfinite(returns).all():
        return None
    largest = np.abs(returns).max(axis=0, initial=0.0)
    kept = returns[:, largest > 0] / largest[largest > 0]
    kept = kept[:, np.ptp(kept, axis=0) > 1e-13] if kept.shape[1] else kept
    if kept.shape[1] < 2:
        return None
    centred = kept - kept.mean(axis=0)
    standard: NDArray[np.float64] = centred / np.sqrt((centred**2).mean(axis=0))
    return standard
