"""Several strategies against one benchmark at once: is the best of them better than luck among so many?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.block_length import optimal_block_length

_ROUNDING = 1e-12
_MIN_PERIODS = 10


@dataclass(frozen=True)
class DataSnooping:
    """P-values of "no strategy beats the benchmark", and which do.

    ``spa_*``: Hansen's test; the lower and upper values bound the consistent one. ``reality_check``: White's,
    which is not studentised. ``superior``: columns found better by stepwise tests, with a chance of ``size``
    that any of them is not. ``left_out``: those that differ from the benchmark by a constant at most.
    """

    spa_lower: float
    spa_consistent: float
    spa_upper: float
    reality_check: float
    superior: tuple[int, ...]
    size: float
    block_length: int
    left_out: tuple[int, ...]


def why_no_data_snooping(returns: NDArray[np.float64], benchmark: NDArray[np.float64]) -> str | None:
    """Why the tests cannot be run, or ``None`` when they can."""
    if returns.ndim != 2 or returns.shape[1] < 2:
        return "two strategies at least are compared"
    if len(returns) != len(benchmark):
        return f"the benchmark has {len(benchmark)} periods, the strategies {len(returns)}"
    if len(returns) < _MIN_PERIODS:
        return f"{len(returns)} periods are too few: {_MIN_PERIODS} are needed"
    if not (np.isfinite(returns).all() and np.isfinite(benchmark).all()):
        return "not every return is a finite number"
    if len(_varying(_differences(returns, benchmark)[0])) < 2:
        return "fewer than two strategies differ from the benchmark by more than a constant"
    return None


def data_snooping(
    returns: NDArray[np.float64],
    benchmark: NDArray[np.float64],
    seed: int,
    resamples: int = 1_000,
    size: float = 0.05,
) -> DataSnooping | None:
    """Superior predictive ability, reality check and stepwise tests by the stationary bootstrap.

    Blocks have the length that suits the column that needs the longest ones. Except for the reality check,
    each difference is first divided by the standard error of its mean under that bootstrap, so that the
    widest column does not decide, and the benchmark is among the candidates, so that the statistic is never
    negative: the library leaves both to its caller. Where no strategy earned more than the benchmark, the
    p-values of Hansen's test are 1.

    Args:
        returns: one column a strategy, oldest first, shape (t, k).
        benchmark: over the same periods, shape (t,); zeros are cash.
        size: of the stepwise test.

    Returns:
        ``None`` exactly when :func:`why_no_data_snooping` gives a reason.

    Sources: Hansen, "A test for superior predictive ability", Journal of Business & Economic Statistics
    23(4), 2005; White, "A reality check for data snooping", Econometrica 68(5), 2000; Romano & Wolf,
    "Stepwise multiple testing as formalized data snooping", Econometrica 73(4), 2005, with Hansen's threshold
    by Hsu, Hsu & Kuan, "Testing the predictive ability of technical analysis using a new stepwise test
    without data snooping bias", Journal of Empirical Finance 17(3), 2010; computed by the library arch.
    """
    if why_no_data_snooping(returns, benchmark) is not None:
        return None
    from arch.bootstrap import SPA, StepM

    differences, scale = _differences(returns, benchmark)
    kept = _varying(differences)
    each = differences[:, kept]
    gains = each * (scale[kept] / scale[kept].max())
    block = _block_length(each)
    studentised = each / np.sqrt(stationary_variance(each, block) / len(each))
    none = np.zeros(len(each))

    def p_values(gained: NDArray[np.float64]) -> tuple[float, float, float]:
        test = SPA(none, -gained, block_size=block, reps=resamples, seed=seed)
        test.compute()
        found = test.pvalues
        return float(found["lower"]), float(found["consistent"]), float(found["upper"])

    candidates = np.column_stack((studentised, none))
    lower = consistent = upper = 1.0
    if (studentised.mean(axis=0) > 0).any():
        lower, consistent, upper = p_values(candidates)
    # With the benchmark, which is never found better, a step that finds all that are left has a next one.
    steps = StepM(none, -candidates, size=size, block_size=block, reps=resamples, seed=seed)
    steps.compute()
    better = {int(str(place)) for place in steps.superior_models}
    return DataSnooping(
        spa_lower=lower,
        spa_consistent=consistent,
        spa_upper=upper,
        reality_check=p_values(gains)[2],
        superior=tuple(column for place, column in enumerate(kept) if place in better),
        size=size,
        block_length=block,
        left_out=tuple(sorted(set(range(returns.shape[1])) - set(kept))),
    )


def stationary_variance(values: NDArray[np.float64], mean_length: float) -> NDArray[np.float64]:
    """Variance of the mean under the stationary bootstrap, times the observations.

    ``C(0) + 2 sum_{k=1}^{n-1} (1 - k/n) (1 - 1/mean_length)^k C(k)`` with circular autocovariances C.

    Args:
        values: one column a series, shape (n, k).
        mean_length: of a block.

    Source: Politis & Romano, "The stationary bootstrap", Journal of the American Statistical Association
    89(428), 1994, lemma 1.
    """
    n = len(values)
    spectrum = np.abs(np.fft.rfft(values - values.mean(axis=0), axis=0)) ** 2
    covariances = np.fft.irfft(spectrum, n, axis=0) / n
    lags = np.arange(1, n)
    weights = 2 * (1 - lags / n) * (1 - 1 / mean_length) ** lags
    variances: NDArray[np.float64] = covariances[0] + weights @ covariances[1:]
    # Of what swings back at once the sum may round to nothing.
    bounded: NDArray[np.float64] = np.maximum(variances, _ROUNDING * covariances[0])
    return bounded


def _block_length(gains: NDArray[np.float64]) -> int:
    longest = max(optimal_block_length(np.ascontiguousarray(column)).stationary for column in gains.T)
    return max(1, round(longest))


def _differences(
    returns: NDArray[np.float64], benchmark: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns less the benchmark over the scale of their column, and these: squares must stay in range."""
    largest = np.maximum(np.abs(returns).max(axis=0, initial=0.0), np.abs(benchmark).max(initial=0.0))
    scale = np.where(largest > 0, largest, 1.0)
    return returns / scale - benchmark[:, None] / scale, scale


def _varying(differences: NDArray[np.float64]) -> list[int]:
    """Columns whose scaled differences from the benchmark vary by more than rounding."""
    return np.flatnonzero(np.ptp(differences, axis=0) > _ROUNDING).tolist()
