"""Simulations against closed forms, exact enumeration and other libraries.

Every tolerance is stated in standard errors of the Monte Carlo estimate; the seeds are fixed, so a test that
passes once passes always.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from arch.bootstrap import CircularBlockBootstrap, StationaryBootstrap
from arch.bootstrap import optimal_block_length as arch_block_length
from numpy.typing import NDArray

from jesse_mcp.analytics.block_length import optimal_block_length
from jesse_mcp.analytics.distributions import mid_rank_percentile, proportion
from jesse_mcp.analytics.equity_paths import additive_paths, compounded_paths, path_statistics
from jesse_mcp.analytics.monte_carlo import ResamplingMethod, simulate
from jesse_mcp.analytics.resamplers import bootstrapped, circular_blocks, shuffled, stationary_blocks

Floats = NDArray[np.float64]
SIGMAS = 5.0
TRADES = np.array([120.0, -80.0, 45.0, -150.0, 200.0, -60.0, 15.0])
START = 1_000.0


def drawdown(start: float, profits: tuple[float, ...]) -> float:
    """As a person would compute it: point by point."""
    balance = peak = start
    worst = 0.0
    for profit in profits:
        balance += profit
        peak = max(peak, balance)
        worst = max(worst, 1 - balance / peak)
    return worst


def autoregressive(n: int, coefficient: float, seed: int) -> Floats:
    noise = np.random.default_rng(seed).normal(size=n)
    values = np.empty(n)
    values[0] = noise[0]
    for position in range(1, n):
        values[position] = coefficient * values[position - 1] + noise[position]
    return values


def circular_covariances(values: Floats) -> Floats:
    centred = values - values.mean()
    return np.array([centred @ np.roll(centred, -lag) for lag in range(len(values))]) / len(values)


def assert_variance_near(sample: Floats, expected: float) -> None:
    """The standard error of a variance of nearly normal values is ``variance * sqrt(2 / n)``."""
    assert sample.var() == pytest.approx(expected, abs=SIGMAS * expected * math.sqrt(2 / len(sample)))


# 1. All 7! = 5,040 orders, by brute force.
def test_the_drawdowns_of_shuffles_are_those_of_all_permutations() -> None:
    exact = np.array([drawdown(START, order) for order in itertools.permutations(TRADES)])
    assert len(exact) == 5_040
    simulations = 200_000
    found = simulate("trades_shuffle", TRADES, START, simulations, seed=1).paths.max_drawdown
    # Every simulated drawdown is one that exists, and each as often as it should be.
    steps = np.unique(exact.round(12))
    assert set(np.unique(found.round(12))) == set(steps)
    for step in steps:
        share = float(np.mean(exact.round(12) <= step))
        error = math.sqrt(share * (1 - share) / simulations)
        assert float(np.mean(found.round(12) <= step)) == pytest.approx(share, abs=SIGMAS * error + 1e-15)


# 2. Ruin in all permutations, by brute force.
def test_the_ruin_of_shuffles_is_that_of_all_permutations() -> None:
    threshold = 0.85 * START
    exact = np.mean(
        [
            min(START + sum(order[:k]) for k in range(8)) <= threshold
            for order in itertools.permutations(TRADES)
        ]
    )
    simulations = 100_000
    lowest = simulate("trades_shuffle", TRADES, START, simulations, seed=2).paths.lowest_balance
    found = proportion(int((lowest <= threshold).sum()), simulations)
    assert 0.1 < exact < 0.9
    assert found.value == pytest.approx(float(exact), abs=SIGMAS * found.standard_error)
    assert found.standard_error == pytest.approx(math.sqrt(exact * (1 - exact) / simulations), rel=0.02)


# 3. Every permutation of a shuffle is equally likely (Fisher-Yates; Knuth, TAOCP 2, 3.4.2, algorithm P).
def test_every_order_is_equally_likely() -> None:
    rows = 120_000
    drawn = shuffled(np.arange(4.0), seed=3)(rows)
    codes, counts = np.unique(drawn @ np.array([1_000, 100, 10, 1]), return_counts=True)
    assert len(codes) == 24
    expected = rows / 24
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    # Chi-square with 23 degrees of freedom: mean 23, variance 46.
    assert chi_square < 23 + SIGMAS * math.sqrt(46)


# 4. Efron 1979: the bootstrap mean is the sample mean, its standard error sigma / sqrt(n).
def test_the_bootstrap_of_the_mean_has_its_closed_form() -> None:
    values = np.random.default_rng(4).standard_t(5, size=60) * 30
    simulations = 100_000
    final = simulate("trades_bootstrap", values, 1e6, simulations, seed=4).paths.final_balance
    means = (final - 1e6) / len(values)
    error = values.std() / math.sqrt(len(values))
    assert means.mean() == pytest.approx(values.mean(), abs=SIGMAS * error / math.sqrt(simulations))
    assert_variance_near(means, error**2)


# 5. All 3^3 = 27 bootstrap samples of three trades, by exact enumeration.
def test_the_bootstrap_of_three_trades_is_the_enumeration_of_27() -> None:
    values = np.array([50.0, -30.0, 10.0])
    simulations = 60_000
    paths = simulate("trades_bootstrap", values, 100.0, simulations, seed=5).paths
    samples = list(itertools.product(values, repeat=3))
    for found, exact in (
        (paths.final_balance, [100 + sum(sample) for sample in samples]),
        (paths.max_drawdown, [drawdown(100, sample) for sample in samples]),
    ):
        for step in np.unique(np.round(exact, 9)):
            share = float(np.mean(np.round(exact, 9) <= step))
            error = math.sqrt(share * (1 - share) / simulations)
            shown = float(np.mean(found.round(9) <= step))
            assert shown == pytest.approx(share, abs=SIGMAS * error + 1e-15)


# 6. Gambler's ruin within n fair games, by the reflection principle (Feller, An Introduction to Probability
# Theory and Its Applications I, 3rd edition, III.7): P(min <= -k) = P(S_n <= -k) + P(S_n < -k).
def test_ruin_is_that_of_the_gambler() -> None:
    games, stake = 40, 8
    below = sum(math.comb(games, wins) for wins in range(games + 1) if 2 * wins - games <= -stake)
    strictly = sum(math.comb(games, wins) for wins in range(games + 1) if 2 * wins - games < -stake)
    exact = float(Fraction(below + strictly, 2**games))
    simulations = 100_000
    coins = np.array([1.0, -1.0] * (games // 2))
    paths = simulate("trades_bootstrap", coins, float(stake), simulations, seed=6).paths
    found = proportion(int((paths.lowest_balance <= 0).sum()), simulations)
    assert 0.1 < exact < 0.5
    assert found.value == pytest.approx(exact, abs=SIGMAS * found.standard_error)
    # Who is ruined stays ruined: with nothing left, and a drawdown of everything.
    ruined = paths.lowest_balance <= 0
    assert (paths.final_balance[ruined] == 0).all()
    assert (paths.max_drawdown[ruined] == 1).all()


# 7. Gambler's ruin with a shuffled deck: the ballot theorem (Bertrand 1887; Feller I, III.1). With 12 gains
# and 8 losses the balance stays above its start all the way with probability (12 - 8) / (12 + 8).
def test_shuffles_obey_the_ballot_theorem() -> None:
    votes = np.array([1.0] * 12 + [-1.0] * 8)
    simulations = 100_000
    draw = shuffled(votes, seed=7)
    balances = np.cumsum(draw(simulations), axis=1)
    found = proportion(int((balances > 0).all(axis=1).sum()), simulations)
    assert found.value == pytest.approx(0.2, abs=SIGMAS * found.standard_error)


# 8. Kunsch 1989 in the circular form of Politis & Romano 1992: with n a multiple of the length b the variance
# of the mean is (C(0) + 2 sum_{k<b} (1 - k/b) C(k)) / n, C the circular autocovariances.
@pytest.mark.parametrize("length", [1, 5, 20])
def test_the_block_bootstrap_has_its_closed_variance(length: int) -> None:
    values = autoregressive(100, 0.6, 8)
    rows = 100_000
    means = circular_blocks(values, 8, length)(rows).mean(axis=1)
    covariances = circular_covariances(values)
    lags = np.arange(1, length)
    expected = (covariances[0] + 2 * ((1 - lags / length) * covariances[1:length]).sum()) / len(values)
    assert_variance_near(means, expected)
    assert means.mean() == pytest.approx(values.mean(), abs=SIGMAS * math.sqrt(expected / rows))


# 9. Politis & Romano 1994, lemma 1: the variance of the mean of the stationary bootstrap is
# (C(0) + 2 sum_{k=1}^{n-1} (1 - k/n) (1 - p)^k C(k)) / n.
@pytest.mark.parametrize("length", [1.0, 4.0, 25.0])
def test_the_stationary_bootstrap_has_its_closed_variance(length: float) -> None:
    values = autoregressive(100, 0.6, 9)
    rows = 100_000
    means = stationary_blocks(values, 9, length)(rows).mean(axis=1)
    covariances, n = circular_covariances(values), len(values)
    lags = np.arange(1, n)
    weights = (1 - lags / n) * (1 - 1 / length) ** lags
    expected = (covariances[0] + 2 * (weights * covariances[1:]).sum()) / n
    assert_variance_near(means, expected)
    assert means.mean() == pytest.approx(values.mean(), abs=SIGMAS * math.sqrt(expected / rows))


# 10. Politis & Romano 1994: block lengths are geometric with mean 1/p and variance (1 - p) / p^2.
def test_stationary_blocks_are_geometric() -> None:
    n, mean_length, rows = 5_000, 7.0, 60
    drawn = stationary_blocks(np.arange(float(n)), 10, mean_length)(rows)
    p = 1 / mean_length
    lengths: list[int] = []
    for row in drawn:
        # A new block may go on where the last one ended, one time in n.
        breaks = np.flatnonzero(np.diff(row) % n != 1) + 1
        lengths += np.diff(breaks).tolist()
    found = np.array(lengths)
    seen = p * (1 - 1 / n)
    assert found.mean() == pytest.approx(1 / seen, abs=SIGMAS * math.sqrt((1 - seen) / seen**2 / len(found)))
    assert found.var() == pytest.approx((1 - seen) / seen**2, rel=0.05)
    for length in (1, 2, 5):
        share = seen * (1 - seen) ** (length - 1)
        error = math.sqrt(share * (1 - share) / len(found))
        assert float(np.mean(found == length)) == pytest.approx(share, abs=SIGMAS * error)


# 11. Blocks of the library arch (Sheppard), as an independent implementation.
@pytest.mark.parametrize("method", ["returns_block", "returns_stationary"])
def test_quantiles_agree_with_those_of_arch(method: ResamplingMethod) -> None:
    returns = autoregressive(120, 0.4, 11) / 100
    rows = 4_000
    kind = CircularBlockBootstrap if method == "returns_block" else StationaryBootstrap
    theirs = np.concatenate(
        [data[0][0][None, :] for data in kind(6, returns, seed=11).bootstrap(rows)], axis=0
    )
    expected = path_statistics(compounded_paths(theirs.copy(), 100.0), 100.0)
    found = simulate(method, returns, 100.0, rows, seed=11, block_length=6).paths
    for ours, other in zip(found, expected, strict=True):
        # Two-sample Kolmogorov-Smirnov; 1.95 is its limit at 0.1 %.
        grid = np.sort(np.concatenate([ours, other]))
        gap = np.abs(
            np.searchsorted(np.sort(ours), grid, side="right") / rows
            - np.searchsorted(np.sort(other), grid, side="right") / rows
        ).max()
        assert gap < 1.95 * math.sqrt(2 / rows)


# 12. Automatic block lengths of arch: Politis & White 2004 with the correction of 2009.
def test_block_lengths_agree_with_those_of_arch() -> None:
    agreed = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        values = autoregressive(int(generator.integers(30, 800)), generator.uniform(-0.5, 0.9), seed)
        theirs = arch_block_length(values).iloc[0]
        ours = optimal_block_length(values)
        agreed += np.allclose(ours, np.maximum(1, [theirs["stationary"], theirs["circular"]]), rtol=1e-9)
    # arch divides each autocorrelation by the variances of its own overlap, which now and then moves one of
    # them across the limit of significance.
    assert agreed >= 190


# 13. A drawdown computed by hand: 100, 120, 90, 150, 75, 160. The worst is from 150 to 75.
def test_a_drawdown_computed_by_hand() -> None:
    profits = np.array([[20.0, -30.0, 60.0, -75.0, 85.0]])
    found = path_statistics(additive_paths(profits.copy(), 100.0), 100.0)
    assert [float(part[0]) for part in found] == [160.0, 0.5, 75.0]
    returns = np.array([[0.2, -0.25, 2 / 3, -0.5, 17 / 15]])
    compounded = path_statistics(compounded_paths(returns.copy(), 100.0), 100.0)
    assert [float(part[0]) for part in compounded] == pytest.approx([160.0, 0.5, 75.0])


# 14. Percentile ranks worked out by hand, with the rule of Crocker & Algina 1986.
@pytest.mark.parametrize(
    ("values", "original", "percentile"),
    [
        ([1.0, 2.0, 3.0, 4.0], 2.5, 50.0),
        ([1.0, 2.0, 3.0, 4.0], 3.0, 62.5),
        ([1.0, 2.0, 2.0, 2.0, 5.0], 2.0, 50.0),
        ([7.0, 7.0, 7.0], 7.0, 50.0),
        ([1.0, 2.0], 0.5, 0.0),
        ([1.0, 2.0], 9.0, 100.0),
        ([0.1 + 0.2, 0.3], 0.3, 50.0),
        ([0.0, 0.0, 1.0], 0.0, 100.0 / 3),
    ],
)
def test_percentiles_worked_out_by_hand(values: list[float], original: float, percentile: float) -> None:
    assert mid_rank_percentile(np.array(values), original) == pytest.approx(percentile)


# 15. Wilson's interval: the example of Newcombe, Statistics in Medicine 17, 1998, table I: 81 of 263 has the
# score interval 0.2553 to 0.3662, and 0 of 20 has 0 to 0.1611.
@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_score_interval_is_the_published_one(hits: int, trials: int, low: float, high: float) -> None:
    found = proportion(hits, trials)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


# 16. The expected product of independent returns is the product of the expectations: (1 + mean)^n.
def test_compounding_has_its_closed_expectation() -> None:
    returns = np.array([0.04, -0.03, 0.02, -0.01, 0.05])
    simulations = 100_000
    final = compounded_paths(bootstrapped(returns, 16)(simulations), 1.0)[:, -1]
    second = float(((1 + returns) ** 2).mean())
    expected = (1 + returns.mean()) ** 5
    error = math.sqrt((second**5 - expected**2) / simulations)
    assert final.mean() == pytest.approx(expected, abs=SIGMAS * error)
