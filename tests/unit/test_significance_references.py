"""Inference on Sharpe ratios and on the best of many, against publications, closed forms and other libraries.

Tolerances of simulations are in standard errors of the simulation; the seeds are fixed.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import statsmodels.api as sm
from arch.bootstrap import StationaryBootstrap
from numpy.typing import NDArray
from scipy import integrate, stats

from jesse_mcp.analytics.data_snooping import data_snooping
from jesse_mcp.analytics.multiple_testing import Correction, adjusted_p_values, mean_test
from jesse_mcp.analytics.overfitting import probability_of_overfitting
from jesse_mcp.analytics.selection_bias import (
    deflated_sharpe_ratio,
    effective_trials,
    expected_maximum,
    expected_maximum_sharpe,
    minimum_backtest_length,
    spread_of_trials,
    variance_of_trials,
    variance_without_skill,
)
from jesse_mcp.analytics.sharpe_inference import (
    confidence_interval,
    hac_standard_error,
    minimum_track_record_length,
    newey_west_lags,
    normal_cdf,
    probabilistic_sharpe_ratio,
    sharpe_estimate,
    sharpe_standard_error,
)

Floats = NDArray[np.float64]
SIGMAS = 5.0
YEAR = 250
DAILY = math.sqrt(1 / YEAR)


def skewed(seed: int = 1, n: int = 400) -> Floats:
    return np.random.default_rng(seed).gamma(2.0, 0.01, n) - 0.018


def autoregressive(n: int, coefficient: float, seed: int) -> Floats:
    noise = np.random.default_rng(seed).normal(size=n)
    values = np.empty(n)
    values[0] = noise[0]
    for place in range(1, n):
        values[place] = coefficient * values[place - 1] + noise[place]
    return values / 100


def minimum_track_record_years(
    periods: int, annual: float, benchmark: float, skewness: float = 0.0, kurtosis: float = 3.0
) -> float | None:
    found = minimum_track_record_length(
        annual / math.sqrt(periods), skewness, kurtosis, benchmark / math.sqrt(periods)
    )
    return None if found is None else found / periods


# The numbers of the papers as printed; each is the outcome of its formula, worked out again beside it.
BLP_2012 = "Bailey & Lopez de Prado 2012"
BLP_2014 = "Bailey & Lopez de Prado 2014"
BBLZ_2014 = "Bailey Borwein Lopez de Prado & Zhu 2014"
DSR_EXAMPLE = (2.5 * DAILY, 1250, -3.0, 10.0)
PUBLISHED: list[tuple[str, Callable[[], float | None], float, int]] = [
    (
        f"{BLP_2014}: SR0 of 100 trials, a day",
        lambda: expected_maximum_sharpe(100, 0.5 / YEAR),
        0.1132,
        4,
    ),
    (
        f"{BLP_2014}: DSR of 100 trials",
        lambda: deflated_sharpe_ratio(*DSR_EXAMPLE, 100, 0.5 / YEAR),
        0.9004,
        4,
    ),
    (
        f"{BLP_2014}: DSR of 46 trials",
        lambda: deflated_sharpe_ratio(*DSR_EXAMPLE, 46, 0.5 / YEAR),
        0.9505,
        4,
    ),
    (f"{BLP_2012}: PSR of 24 normal months", lambda: probabilistic_sharpe_ratio(0.458, 24), 0.982, 3),
    (
        f"{BLP_2012}: PSR of 24 skewed months",
        lambda: probabilistic_sharpe_ratio(0.458, 24, -2.448, 10.164),
        0.913,
        3,
    ),
    (f"{BLP_2012}: MinTRL daily, normal", lambda: minimum_track_record_years(YEAR, 2, 1), 2.73, 2),
    (f"{BLP_2012}: MinTRL monthly, normal", lambda: minimum_track_record_years(12, 2, 1), 3.24, 2),
    (
        f"{BLP_2012}: MinTRL monthly, skewed",
        lambda: minimum_track_record_years(12, 2, 1, -0.72, 5.78),
        4.99,
        2,
    ),
    (f"{BBLZ_2014}: expected maximum of 10", lambda: expected_maximum(10), 1.57, 2),
    (f"{BBLZ_2014}: 45 trials need 5 years for 1", lambda: minimum_backtest_length(45, 1.0), 5.0, 1),
]


@pytest.mark.parametrize(
    ("compute", "printed", "digits"), [p[1:] for p in PUBLISHED], ids=[p[0] for p in PUBLISHED]
)
def test_published_numbers(compute: Callable[[], float | None], printed: float, digits: int) -> None:
    found = compute()
    assert found is not None
    assert round(found, digits) == printed


# The same examples through scipy, written out from the text of the papers.
def by_scipy_psr(sharpe: float, n: int, skewness: float, kurtosis: float, benchmark: float) -> float:
    top = (sharpe - benchmark) * math.sqrt(n - 1)
    return float(stats.norm.cdf(top / math.sqrt(1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2)))


@pytest.mark.parametrize(
    ("sharpe", "n", "skewness", "kurtosis", "benchmark"),
    [
        (0.458, 24, -2.448, 10.164, 0.0),
        (*DSR_EXAMPLE, 0.1132),
        (0.05, 365, 0.4, 8.0, 0.02),
        (-0.1, 60, 0, 3, 0),
    ],
    ids=["PSR paper", "DSR paper", "crypto year", "loser"],
)
def test_the_probabilistic_sharpe_ratio_through_scipy(
    sharpe: float, n: int, skewness: float, kurtosis: float, benchmark: float
) -> None:
    found = probabilistic_sharpe_ratio(sharpe, n, skewness, kurtosis, benchmark)
    assert found == pytest.approx(by_scipy_psr(sharpe, n, skewness, kurtosis, benchmark), rel=1e-12)


# Lo 2002, equation 9: sqrt((1 + SR^2 / 2) / T) for independent normal returns; here T is n - 1.
@pytest.mark.parametrize(
    ("sharpe", "periods", "error"),
    [(0.5, 12, 0.306), (0.5, 60, 0.137), (1.0, 24, 0.250), (3.0, 12, 0.677), (1.5, 500, 0.065)],
    ids=lambda value: f"Lo 2002 {value:g}",
)
def test_the_standard_error_of_lo(sharpe: float, periods: int, error: float) -> None:
    found = sharpe_standard_error(sharpe, periods + 1)
    assert found == pytest.approx(math.sqrt((1 + sharpe**2 / 2) / periods), rel=1e-14)
    assert round(found or 0, 3) == pytest.approx(error, abs=1e-12)


# Mertens 2002 wrote excess kurtosis: 1 + SR^2 / 2 - skew SR + (kurt - 3) / 4 SR^2.
@pytest.mark.parametrize("sharpe", [-0.4, 0.0, 0.1, 0.9], ids=lambda s: f"Mertens 2002 {s:g}")
def test_the_standard_error_of_mertens(sharpe: float) -> None:
    skewness, kurtosis, n = -1.3, 9.0, 250
    variance = 1 + sharpe**2 / 2 - skewness * sharpe + (kurtosis - 3) / 4 * sharpe**2
    found = sharpe_standard_error(sharpe, n, skewness, kurtosis)
    assert found == pytest.approx(math.sqrt(variance / (n - 1)), rel=1e-13)


def test_the_standard_error_is_that_of_simulated_samples() -> None:
    """Gamma returns, whose skewness and kurtosis are known: a sign or an excess kurtosis would show."""
    shape, n, samples = 4.0, 500, 20_000
    drawn = np.random.default_rng(3).gamma(shape, 1.0, (samples, n)) - 2.0
    sharpes = drawn.mean(axis=1) / drawn.std(axis=1, ddof=1)
    true = (shape - 2) / math.sqrt(shape)
    expected = sharpe_standard_error(true, n, 2 / math.sqrt(shape), 3 + 6 / shape)
    assert expected is not None
    # The error of a standard deviation of nearly normal values; beside it, terms of order 1 / n.
    assert sharpes.std() == pytest.approx(expected, rel=SIGMAS / math.sqrt(2 * samples) + 2 / n)
    normal = sharpe_standard_error(true, n)
    assert normal is not None
    assert abs(sharpes.std() / normal - 1) > 0.15, "the example tells the two apart"


# Moments by scipy, the ratio by numpy; ddof 1 in the ratio and raw kurtosis.
@pytest.mark.parametrize("returns", [skewed(), autoregressive(90, 0.3, 2)], ids=["scipy gamma", "scipy ar1"])
def test_the_moments_of_a_sample_through_scipy(returns: Floats) -> None:
    found = sharpe_estimate(returns)
    assert found is not None
    assert found.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1), rel=1e-12)
    assert found.skewness == pytest.approx(stats.skew(returns), rel=1e-10)
    assert found.kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False), rel=1e-10)
    t = stats.ttest_1samp(returns, 0.0).statistic
    assert found.sharpe * math.sqrt(found.n) == pytest.approx(t, rel=1e-12)


# Newey & West 1987 by statsmodels: the long-run variance of the influence function.
@pytest.mark.parametrize("coefficient", [-0.4, 0.0, 0.6], ids=lambda c: f"statsmodels HAC, ar1 {c:g}")
def test_the_hac_error_through_statsmodels(coefficient: float) -> None:
    returns = autoregressive(300, coefficient, 4) + 0.001
    found = sharpe_estimate(returns)
    assert found is not None
    standard = (returns - returns.mean()) / returns.std()
    influence = standard - found.sharpe / 2 * (standard**2 - 1)
    lags = math.floor(4 * 3 ** (2 / 9))
    assert newey_west_lags(300) == lags == 5
    fit = sm.OLS(influence, np.ones(300)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False}
    )
    assert found.hac_standard_error == pytest.approx(float(fit.bse[0]), rel=1e-9)


def test_the_hac_error_without_lags_is_that_of_mertens() -> None:
    """Lo 2002, appendix A. Three returns have a lag of one, so the formula is written out."""
    returns = skewed()
    found = sharpe_estimate(returns)
    assert found is not None
    standard = (returns - returns.mean()) / returns.std()
    influence = standard - found.sharpe / 2 * (standard**2 - 1)
    plain = math.sqrt(float((influence**2).mean()) / (found.n - 1))
    assert found.standard_error == pytest.approx(plain, rel=1e-12)


def test_the_hac_error_is_that_of_simulated_dependent_samples() -> None:
    n, samples = 2_000, 1_000
    sharpes, errors = [], []
    for seed in range(samples):
        noise = np.random.default_rng(seed).normal(size=n + 1)
        moving = noise[1:] + 0.6 * noise[:-1] + 0.1
        found = sharpe_estimate(moving)
        assert found is not None
        sharpes.append(found.sharpe)
        errors.append(found.hac_standard_error)
    spread = float(np.std(sharpes))
    # Bartlett weights with eight lags leave out about a twentieth of the covariance.
    assert float(np.mean(errors)) == pytest.approx(spread, rel=0.08 + SIGMAS / math.sqrt(2 * samples))
    assert spread > 1.2 * math.sqrt(1 / n)


# Bailey & Lopez de Prado 2012: with the minimum track record the PSR is the confidence, by algebra.
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99], ids=lambda c: f"PSR at MinTRL {c:g}")
def test_the_minimum_track_record_is_the_inverse_of_the_psr(confidence: float) -> None:
    length = minimum_track_record_length(0.12, -1.0, 7.0, 0.03, confidence)
    assert length is not None
    assert by_scipy_psr(0.12, length, -1.0, 7.0, 0.03) == pytest.approx(confidence, abs=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999], ids=lambda c: f"scipy norm.interval {c:g}")
def test_the_confidence_interval_through_scipy(confidence: float) -> None:
    assert confidence_interval(0.3, 0.07, confidence) == pytest.approx(
        stats.norm.interval(confidence, loc=0.3, scale=0.07), rel=1e-12
    )


@pytest.mark.parametrize("value", [-37.0, -9.0, -1.5, 0.0, 0.7, 8.0], ids=lambda v: f"scipy norm.cdf {v:g}")
def test_the_normal_distribution_through_scipy(value: float) -> None:
    assert normal_cdf(value) == pytest.approx(float(stats.norm.cdf(value)), rel=1e-11)


# The exact expectation is the integral of x n phi(x) Phi(x)^(n - 1); the formula of the papers is its limit.
@pytest.mark.parametrize(
    ("trials", "within"),
    [(2, 0.09), (5, 0.04), (10, 0.025), (100, 0.011), (1_000, 0.006), (1_000_000, 0.004)],
    ids=lambda value: f"exact integral {value:g}",
)
def test_the_expected_maximum_is_near_the_exact_integral(trials: int, within: float) -> None:
    def density(x: float) -> float:
        return x * trials * float(stats.norm.pdf(x)) * math.exp((trials - 1) * float(stats.norm.logcdf(x)))

    exact = integrate.quad(density, -10, 12, limit=400)[0]
    assert expected_maximum(trials) == pytest.approx(exact, rel=within)
    e, g = math.e, float(np.euler_gamma)
    formula = (1 - g) * stats.norm.isf(1 / trials) + g * stats.norm.isf(1 / (trials * e))
    assert expected_maximum(trials) == pytest.approx(formula, rel=1e-12)


@pytest.mark.parametrize("trials", [20, 300], ids=lambda n: f"simulation of {n} normals")
def test_the_expected_maximum_is_that_of_simulated_normals(trials: int) -> None:
    samples = 20_000
    best = np.random.default_rng(trials).normal(size=(samples, trials)).max(axis=1)
    error = float(best.std()) / math.sqrt(samples)
    assert expected_maximum(trials) == pytest.approx(best.mean(), abs=SIGMAS * error + 0.015 * best.mean())


def test_the_best_of_trials_without_skill_is_rarely_called_significant() -> None:
    """The purpose of the deflated Sharpe ratio: of the best of 50 noises the PSR is deceived, it is not."""
    deflated, plain = [], []
    for seed in range(200):
        noise = np.random.default_rng(seed).normal(size=(50, 250))
        found = [sharpe_estimate(row) for row in noise]
        best = max((one for one in found if one is not None), key=lambda one: one.sharpe)
        variance = spread_of_trials(list(noise), 250).variance
        moments = (best.sharpe, best.n, best.skewness, best.kurtosis)
        deflated.append(deflated_sharpe_ratio(*moments, 50, variance) or 0)
        plain.append(probabilistic_sharpe_ratio(*moments) or 0)
    assert np.mean(np.array(plain) > 0.95) > 0.8
    assert np.mean(np.array(deflated) > 0.95) < 0.05
    # The expectation of the maximum is deducted, so half of the time it was more luck than that.
    assert 0.4 < np.mean(deflated) < 0.6


def test_the_variance_of_equal_trials_is_that_of_numpy() -> None:
    noise = np.random.default_rng(8).normal(0.05, 1, size=(12, 90))
    sharpes = noise.mean(axis=1) / noise.std(axis=1, ddof=1)
    assert variance_of_trials(list(noise), 90) == pytest.approx(float(np.var(sharpes, ddof=1)), rel=1e-11)


@pytest.mark.parametrize("trials", [10, 30, 200], ids=lambda n: f"numpy var of {n} normals")
def test_the_winsorised_variance_of_normal_trials_is_the_plain_one_in_expectation(trials: int) -> None:
    """Sharpe ratios with a spread far above the one without skill, so that the least does not count."""
    n, samples, skill = 20, 1_500, 3.0
    found: list[tuple[float, float]] = []
    generator = np.random.default_rng(trials)
    base = generator.normal(size=(trials, n))
    base = (base - base.mean(axis=1, keepdims=True)) / base.std(axis=1, ddof=1, keepdims=True)
    for _ in range(samples if trials < 100 else 150):
        drawn = skill * generator.normal(size=trials)
        spread = spread_of_trials(list(base + drawn[:, None]), n)
        assert spread.plain == pytest.approx(float(np.var(drawn, ddof=1)), rel=1e-9)
        found.append((spread.variance, spread.plain or 0.0))
    used, plain = np.mean(found, axis=0)
    # E[min(z^2, 9)] is 0.995; of ten trials the median absolute deviation is small now and then.
    assert 0.0 <= 1 - used / plain < (0.06 if trials == 10 else 0.02)


def test_the_winsorised_variance_through_scipy() -> None:
    """The fences by ``scipy.stats.median_abs_deviation``, which scales by the quantile of the normal."""
    generator = np.random.default_rng(3)
    base = generator.normal(size=(25, 60))
    base = (base - base.mean(axis=1, keepdims=True)) / base.std(axis=1, ddof=1, keepdims=True)
    sharpes = np.append(generator.normal(0, 0.5, 23), [4.0, -6.0])
    reach = 3 * float(stats.median_abs_deviation(sharpes, scale="normal"))
    inside = np.clip(sharpes, np.median(sharpes) - reach, np.median(sharpes) + reach)
    found = spread_of_trials(list(base + sharpes[:, None]), 60)
    assert found.variance == pytest.approx(float(np.var(inside, ddof=1)), rel=1e-9)
    assert found.plain == pytest.approx(float(np.var(sharpes, ddof=1)), rel=1e-9)


def test_trials_of_unequal_length_have_the_variance_that_equal_ones_would() -> None:
    """Without skill the scaled variance is 1 / (n - 1) whatever the lengths were (Lo 2002)."""
    generator = np.random.default_rng(9)
    series = [generator.normal(size=length) for length in (60, 120, 365, 730) for _ in range(1_000)]
    found = variance_of_trials(series, 365)
    expected = variance_without_skill(365)
    assert expected == 1 / 364
    # A t distribution of few degrees of freedom spreads a little more than the normal.
    assert found == pytest.approx(expected, rel=SIGMAS * math.sqrt(2 / 4_000) + 0.02)


# Correlation matrices with known answers: average correlation of Bailey & Lopez de Prado 2014, A.3, and
# (sum l)^2 / sum l^2 of Bretherton et al. 1999, both worked out from numpy's own matrix.
@pytest.mark.parametrize(
    ("periods", "trials"), [(200, 12), (30, 80), (50, 2)], ids=["numpy wide", "numpy tall", "numpy pair"]
)
def test_effective_trials_through_the_correlation_matrix(periods: int, trials: int) -> None:
    generator = np.random.default_rng(trials)
    returns = 0.8 * generator.normal(size=(periods, 1)) + generator.normal(size=(periods, trials))
    matrix = np.corrcoef(returns, rowvar=False)
    average = (matrix.sum() - trials) / (trials * (trials - 1))
    eigenvalues = np.linalg.eigvalsh(matrix)
    found = effective_trials(returns)
    assert found is not None
    assert found.trials == trials
    assert found.average_correlation == pytest.approx(average, rel=1e-10)
    assert found.by_average_correlation == pytest.approx(average + (1 - average) * trials, rel=1e-10)
    assert found.by_eigenvalues == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum(), rel=1e-10)


def test_effective_trials_at_their_ends() -> None:
    one = np.random.default_rng(1).normal(size=(64, 1))
    same = effective_trials(np.repeat(one, 5, axis=1))
    assert same is not None
    assert (same.by_average_correlation, same.by_eigenvalues) == pytest.approx((1.0, 1.0))
    orthogonal = np.linalg.qr(np.column_stack((np.ones(64), np.random.default_rng(2).normal(size=(64, 5)))))[
        0
    ]
    apart = effective_trials(orthogonal[:, 1:])
    assert apart is not None
    assert (apart.by_average_correlation, apart.by_eigenvalues) == pytest.approx((5.0, 5.0))


def by_hand_cscv(returns: Floats, splits: int) -> tuple[list[float], list[float], list[float]]:
    """Bailey et al. 2017, section 3, step by step, with scipy's ranks."""
    blocks = np.split(returns, splits)
    logits, inside, outside = [], [], []
    for members in itertools.combinations(range(splits), splits // 2):
        within = np.concatenate([blocks[b] for b in members])
        beyond = np.concatenate([blocks[b] for b in range(splits) if b not in members])
        first = within.mean(axis=0) / within.std(axis=0, ddof=1)
        second = beyond.mean(axis=0) / beyond.std(axis=0, ddof=1)
        best = int(np.argmax(first))
        relative = float(stats.rankdata(second)[best]) / (returns.shape[1] + 1)
        logits.append(math.log(relative / (1 - relative)))
        inside.append(float(first[best]))
        outside.append(float(second[best]))
    return logits, inside, outside


@pytest.mark.parametrize(
    ("splits", "strategies", "skill"),
    [(4, 3, 0.0), (8, 20, 0.0), (8, 7, 0.15), (10, 2, -0.2)],
    ids=lambda value: f"CSCV by hand {value:g}",
)
def test_cross_validation_by_hand(splits: int, strategies: int, skill: float) -> None:
    generator = np.random.default_rng(strategies)
    returns = generator.normal(size=(splits * 11, strategies)) + skill * np.arange(strategies)
    logits, inside, outside = by_hand_cscv(returns, splits)
    found = probability_of_overfitting(returns, splits)
    assert found is not None
    assert found.combinations == math.comb(splits, splits // 2) == len(logits)
    np.testing.assert_allclose(found.logits, logits, atol=1e-12)
    np.testing.assert_allclose(found.chosen_inside, inside, rtol=1e-9)
    np.testing.assert_allclose(found.chosen_outside, outside, rtol=1e-9)
    assert found.pbo == pytest.approx(np.mean(np.array(logits) <= 1e-12))
    assert found.probability_of_loss == pytest.approx(np.mean(np.array(outside) < 0))
    assert found.degradation_slope == pytest.approx(stats.linregress(inside, outside).slope, rel=1e-8)


def test_noise_is_overfit_half_of_the_time() -> None:
    """Bailey et al. 2017, section 6: without skill what is best inside is anywhere outside."""
    pbos = []
    for seed in range(60):
        found = probability_of_overfitting(np.random.default_rng(seed).normal(size=(160, 20)), 8)
        assert found is not None
        pbos.append(found.pbo)
    error = float(np.std(pbos)) / math.sqrt(len(pbos))
    assert np.mean(pbos) == pytest.approx(0.5, abs=SIGMAS * error)
    assert error < 0.04


def test_one_strategy_that_dominates_is_never_overfit() -> None:
    returns = np.random.default_rng(5).normal(0, 0.01, size=(320, 30))
    returns[:, 7] += 0.02
    found = probability_of_overfitting(returns)
    assert found is not None
    assert (found.pbo, found.splits, found.combinations, found.probability_of_loss) == (0.0, 16, 12_870, 0.0)


# Benjamini & Hochberg 1995, section 4.3: fifteen hypotheses; Bonferroni rejects three, their method four.
BH_1995 = (
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
    0.7590, 1.0000,
)  # fmt: skip


@pytest.mark.parametrize(
    ("correction", "rejected"),
    [("bonferroni", 3), ("benjamini_hochberg", 4), ("holm", 3)],
    ids=["BH 1995 bonferroni", "BH 1995 fdr", "Holm 1979 on BH 1995"],
)
def test_the_example_of_benjamini_and_hochberg(correction: Correction, rejected: int) -> None:
    found = adjusted_p_values(BH_1995, correction)
    assert sum(p is not None and p <= 0.05 for p in found) == rejected


@pytest.mark.parametrize("method", ["bh", "by"], ids=lambda m: f"scipy false_discovery_control {m}")
def test_false_discovery_rates_through_scipy(method: str) -> None:
    correction: Correction = "benjamini_hochberg" if method == "bh" else "benjamini_yekutieli"
    order = np.random.default_rng(3).permutation(15)
    values = np.array(BH_1995)[order]
    expected = stats.false_discovery_control(values, method=method)
    np.testing.assert_allclose(
        np.array(adjusted_p_values(values.tolist(), correction), dtype=float), expected
    )


def test_holm_and_bonferroni_by_their_definitions() -> None:
    values = sorted(BH_1995)
    m = len(values)
    bonferroni = [min(1.0, m * p) for p in values]
    holm = [min(1.0, max((m - j) * values[j] for j in range(i + 1))) for i in range(m)]
    assert adjusted_p_values(values, "bonferroni") == pytest.approx(bonferroni)
    assert adjusted_p_values(values, "holm") == pytest.approx(holm)


@pytest.mark.parametrize("drift", [-0.001, 0.0, 0.0004, 0.002], ids=lambda d: f"scipy ttest {d:g}")
def test_the_t_test_of_the_mean_through_scipy(drift: float) -> None:
    returns = autoregressive(250, 0.0, 6) + drift
    expected = stats.ttest_1samp(returns, 0.0, alternative="greater")
    found = mean_test(returns, seed=1, resamples=50)
    assert found is not None
    assert found.t == pytest.approx(float(expected.statistic), rel=1e-10)
    assert found.p_t == pytest.approx(float(expected.pvalue), rel=1e-9)


@pytest.mark.parametrize("coefficient", [0.0, 0.5], ids=lambda c: f"arch StationaryBootstrap, ar1 {c:g}")
def test_the_bootstrap_p_value_through_arch(coefficient: float) -> None:
    returns = autoregressive(250, coefficient, 7)
    returns += 0.0006 - returns.mean()
    resamples = 4_000
    found = mean_test(returns, seed=2, resamples=resamples)
    assert found is not None
    centred = returns - returns.mean()
    bootstrap = StationaryBootstrap(found.block_length, centred, seed=3)  # type: ignore[arg-type]
    means = bootstrap.apply(lambda values: np.atleast_1d(values.mean()), resamples)
    theirs = float((means >= returns.mean()).mean())
    error = math.sqrt(2 * theirs * (1 - theirs) / resamples)
    assert 0.02 < theirs < 0.6
    assert found.p_bootstrap == pytest.approx(theirs, abs=SIGMAS * error + 1 / resamples)


def test_the_reality_check_by_its_definition() -> None:
    """White 2000, section 2: the best mean against bootstrapped best centred means."""
    generator = np.random.default_rng(11)
    returns = generator.normal(0.0, 0.01, size=(250, 6)) + 0.0008 * np.arange(6) / 5
    resamples = 2_000
    found = data_snooping(returns, np.zeros(250), seed=5, resamples=resamples)
    assert found is not None
    bootstrap = StationaryBootstrap(found.block_length, returns, seed=6)
    means = bootstrap.apply(lambda values: values.mean(axis=0), resamples)
    best = (means - returns.mean(axis=0)).max(axis=1)
    expected = float((best > returns.mean(axis=0).max()).mean())
    error = math.sqrt(2 * expected * (1 - expected) / resamples)
    assert 0.02 < expected < 0.9
    assert found.reality_check == pytest.approx(expected, abs=SIGMAS * error)


def test_superior_predictive_ability_by_its_definition() -> None:
    """Hansen 2005, section 3: studentised, with the threshold that drops clearly inferior strategies."""
    generator = np.random.default_rng(12)
    returns = generator.normal(0.0, 0.01, size=(300, 5)) * np.array([1, 2, 1, 5, 3])
    returns += np.array([0.0004, 0.0, -0.0002, -0.01, 0.0014])
    # Extremes, so that no scale but the standard error makes the columns alike.
    for column in range(4):
        returns[[50 + column, 90 + column], column] += np.array([0.12, -0.12]) * [1, 2, 1, 5][column]
    resamples, n = 3_000, 300
    found = data_snooping(returns, np.zeros(n), seed=7, resamples=resamples)
    assert found is not None
    means = StationaryBootstrap(found.block_length, returns, seed=8).apply(
        lambda values: values.mean(axis=0), resamples
    )
    level = returns.mean(axis=0)
    error = means.std(axis=0)
    statistic = max(0.0, float((level / error).max()))
    threshold = -error * math.sqrt(2 * math.log(math.log(n)))
    for kept, value in (
        (np.maximum(level, 0.0), found.spa_lower),
        (np.where(level >= threshold, level, 0.0), found.spa_consistent),
        (level, found.spa_upper),
    ):
        best = np.maximum(0.0, ((means - kept) / error).max(axis=1))
        expected = float((best > statistic).mean())
        margin = SIGMAS * math.sqrt(2 * expected * (1 - expected) / resamples) + 0.01
        assert value == pytest.approx(expected, abs=margin)
    assert found.spa_lower <= found.spa_consistent <= found.spa_upper


def test_stepwise_testing_finds_those_that_earn() -> None:
    """Romano & Wolf 2005: columns with a large mean are found, noise is not."""
    returns = np.random.default_rng(13).normal(0.0, 0.01, size=(400, 8))
    returns[:, [2, 5]] += 0.004
    found = data_snooping(returns, np.zeros(400), seed=9, resamples=500)
    assert found is not None
    assert found.superior == (2, 5)
    # Against a benchmark that earns the same nothing is left.
    level = data_snooping(returns, returns[:, 2], seed=9, resamples=500)
    assert level is not None
    assert level.superior == ()
    assert level.left_out == (2,)


def test_hac_of_three_values() -> None:
    """Newey & West 1987 by hand: one lag, weight one half."""
    standard = np.array([math.sqrt(1.5), -math.sqrt(1.5), 0.0])
    assert newey_west_lags(3) == 1
    influence = standard
    variance = (float(influence @ influence) + 2 * 0.5 * float(influence[1:] @ influence[:-1])) / 3
    assert hac_standard_error(standard, 0.0) == pytest.approx(math.sqrt(variance / 3))
