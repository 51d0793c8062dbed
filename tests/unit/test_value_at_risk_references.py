"""Value at risk and expected shortfall against other libraries, integrals and definitions."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

import empyrical
import numpy as np
import pandas as pd
import pytest
import quantstats.stats as quantstats
from arch import arch_model
from arch.univariate import EWMAVariance, StudentsT, ZeroMean
from numpy.typing import NDArray
from scipy import integrate, stats

from jesse_mcp.analytics.conditional_volatility import (
    Garch,
    ewma,
    ewma_variances,
    fit_garch,
    garch_variances,
)
from jesse_mcp.analytics.filtered_simulation import (
    filtered_outcomes,
    filtered_tail,
    garch_outcomes,
    normal_outcomes,
    simulated_tail,
    t_outcomes,
    volatility_weighted,
)
from jesse_mcp.analytics.risk_contributions import Contributions, contributions
from jesse_mcp.analytics.student_t import StudentT, fit_student_t, standard_t_tail
from jesse_mcp.analytics.tail_risk import TailRisk, standard_normal_tail
from jesse_mcp.analytics.value_at_risk import (
    Moments,
    cornish_fisher,
    cornish_fisher_quantile,
    gaussian,
    historical,
    in_domain,
    moments,
    overlapping,
    scaled,
)

Floats = NDArray[np.float64]
#: Simulated numbers may be so many standard errors from the truth; the seeds are fixed.
SIGMAS = 4.0


def heavy(n: int, seed: int = 1) -> Floats:
    """Skewed, heavy-tailed returns of about 2 % a period."""
    rng = np.random.default_rng(seed)
    return 0.001 + 0.012 * rng.standard_t(5, n) - 0.004 * (rng.exponential(1.0, n) - 1)


def clustered(n: int = 2_500, seed: int = 3, freedom: float | None = None) -> Floats:
    """A GARCH(1,1) path with omega 1e-5, alpha 0.1, beta 0.8 and mean 0.0005."""
    rng = np.random.default_rng(seed)
    unit = 1.0 if freedom is None else math.sqrt((freedom - 2) / freedom)
    noise = rng.standard_normal(n) if freedom is None else unit * rng.standard_t(freedom, n)
    shocks, variance = np.empty(n), 1e-4
    for at in range(n):
        shocks[at] = math.sqrt(variance) * noise[at]
        variance = 1e-5 + 0.1 * shocks[at] ** 2 + 0.8 * variance
    return 0.0005 + shocks


def both(tail: TailRisk) -> tuple[float, float]:
    assert tail.var is not None
    assert tail.es is not None
    assert tail.undefined == {}
    return tail.var, tail.es


def garch_of(returns: Floats, innovations: Literal["normal", "t"] = "normal") -> Garch:
    model = fit_garch(returns, innovations)
    assert isinstance(model, Garch)
    return model


def sample_moments(returns: Floats) -> Moments:
    found = moments(returns)
    assert isinstance(found, Moments)
    return found


# The sample.
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.975, 0.99])
@pytest.mark.parametrize("n", [100, 101, 250, 1_000])
def test_historical_var_is_the_quantile_type_1_of_numpy(n: int, confidence: float) -> None:
    returns = heavy(n)
    expected = np.quantile(-returns, confidence, method="inverted_cdf")
    assert both(historical(returns, confidence))[0] == expected


@pytest.mark.parametrize(
    ("n", "confidence"),
    [pytest.param(101, 0.95, id="empyrical-101-95"), pytest.param(1_001, 0.99, id="empyrical-1001-99")],
)
def test_historical_var_is_that_of_empyrical_where_it_does_not_interpolate(n: int, confidence: float) -> None:
    returns = heavy(n)
    expected = -float(empyrical.value_at_risk(returns, cutoff=1 - confidence))
    assert both(historical(returns, confidence))[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("n", "confidence"),
    [
        pytest.param(100, 0.95, id="empyrical-100-95"),
        pytest.param(1_000, 0.99, id="empyrical-1000-99"),
        pytest.param(200, 0.975, id="empyrical-200-975"),
    ],
)
def test_historical_es_is_that_of_empyrical_where_the_tail_is_whole(n: int, confidence: float) -> None:
    returns = heavy(n)
    expected = -float(empyrical.conditional_value_at_risk(returns, cutoff=1 - confidence))
    assert both(historical(returns, confidence))[1] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("n", "confidence"),
    [
        pytest.param(37, "0.9", id="acerbi-tasche-37-90"),
        pytest.param(130, "0.99", id="acerbi-tasche-130-99"),
        pytest.param(77, "0.975", id="acerbi-tasche-77-975"),
    ],
)
def test_historical_es_is_the_integral_of_the_quantiles(n: int, confidence: str) -> None:
    returns = np.sort(heavy(n))
    tail = 1 - Fraction(confidence)
    left, total = tail, Fraction(0)
    for value in returns:
        part = min(left, Fraction(1, n))
        total += part * Fraction(float(value))
        left -= part
    assert both(historical(returns, float(confidence)))[1] == pytest.approx(float(-total / tail), rel=1e-12)


@pytest.mark.parametrize("confidence", [pytest.param(c, id=f"rockafellar-uryasev-{c}") for c in (0.93, 0.99)])
def test_historical_es_is_the_minimum_of_rockafellar_and_uryasev(confidence: float) -> None:
    returns = heavy(163)
    bounds = [v + np.maximum(-returns - v, 0).mean() / (1 - confidence) for v in -returns]
    assert both(historical(returns, confidence))[1] == pytest.approx(min(bounds), rel=1e-12)


@pytest.mark.parametrize("horizon", [2, 5, 10])
def test_overlapping_returns_are_products_of_pandas_windows(horizon: int) -> None:
    returns = heavy(60)
    expected = (1 + pd.Series(returns)).rolling(horizon).apply(np.prod, raw=True).dropna() - 1
    np.testing.assert_allclose(overlapping(returns, horizon), expected.to_numpy(), rtol=1e-12, atol=1e-15)


# Normal.
@pytest.mark.parametrize("confidence", [pytest.param(c, id=f"quantstats-{c}") for c in (0.9, 0.95, 0.99)])
def test_gaussian_is_that_of_quantstats(confidence: float) -> None:
    returns = heavy(300)
    series = pd.Series(returns, index=pd.date_range("2024-01-01", periods=300))
    var, es = both(gaussian(returns, confidence))
    assert var == pytest.approx(-float(quantstats.value_at_risk(series, confidence=confidence)), rel=1e-9)
    shortfall = float(quantstats.conditional_value_at_risk(series, confidence=confidence))
    assert es == pytest.approx(-shortfall, rel=1e-9)


@pytest.mark.parametrize("confidence", [pytest.param(c, id=f"scipy-{c}") for c in (0.6, 0.95, 0.999)])
def test_the_normal_tail_is_that_of_scipy(confidence: float) -> None:
    quantile, shortfall = standard_normal_tail(confidence)
    assert quantile == pytest.approx(stats.norm.ppf(1 - confidence), rel=1e-9)
    mean = stats.norm.expect(lambda x: x, ub=quantile, conditional=True)
    assert shortfall == pytest.approx(-mean, rel=1e-7)


@pytest.mark.parametrize("horizon", [1, 5, 10])
def test_a_gaussian_horizon_adds_up_means_and_variances(horizon: int) -> None:
    returns = heavy(300)
    mean, deviation = returns.mean() * horizon, returns.std(ddof=1) * math.sqrt(horizon)
    expected = -stats.norm.ppf(0.01, mean, deviation)
    assert both(gaussian(returns, 0.99, horizon))[0] == pytest.approx(expected, rel=1e-9)


def test_the_square_root_of_time_is_a_factor() -> None:
    var, es = both(historical(heavy(500), 0.99))
    assert both(scaled(historical(heavy(500), 0.99), 9)) == (3 * var, 3 * es)


# Cornish-Fisher.
def test_moments_are_those_of_scipy() -> None:
    returns = heavy(500)
    found = sample_moments(returns)
    assert found.deviation == pytest.approx(np.std(returns, ddof=1), rel=1e-12)
    assert found.skewness == pytest.approx(stats.skew(returns), rel=1e-10)
    assert found.excess_kurtosis == pytest.approx(stats.kurtosis(returns), rel=1e-10)


@pytest.mark.parametrize("periods", [pytest.param(h, id=f"gamma-{h}") for h in (1, 4, 10)])
def test_moments_of_sums_are_those_of_the_gamma_distribution(periods: int) -> None:
    """A sum of exponential variables: scipy knows all its moments."""
    mean, variance, skewness, kurtosis = (
        float(value) for value in stats.gamma.stats(periods, moments="mvsk")
    )
    found = Moments(1.0, 1.0, 2.0, 6.0).over(periods)
    assert found.mean == pytest.approx(mean)
    assert found.deviation**2 == pytest.approx(variance)
    assert found.skewness == pytest.approx(skewness)
    assert found.excess_kurtosis == pytest.approx(kurtosis)


@pytest.mark.parametrize("probability", [0.01, 0.05, 0.95, 0.99])
def test_cornish_fisher_approaches_quantiles_of_the_gamma_distribution(probability: float) -> None:
    shape = 40.0
    exact = (stats.gamma.ppf(probability, shape) - shape) / math.sqrt(shape)
    normal = float(stats.norm.ppf(probability))
    found = cornish_fisher_quantile(normal, 2 / math.sqrt(shape), 6 / shape)
    # The next term of the expansion is of the order shape**-1.5; the normal quantile is 20 times as far.
    assert found == pytest.approx(exact, abs=2e-3)
    assert abs(normal - exact) > 0.03


@pytest.mark.parametrize("confidence", [0.95, 0.99])
@pytest.mark.parametrize("shape", [(0.0, 0.0), (-0.5, 1.0), (0.4, 2.0), (-0.8, 3.0)], ids=str)
def test_cornish_fisher_es_is_the_integral_of_its_quantiles(
    shape: tuple[float, float], confidence: float
) -> None:
    tail = 1 - confidence
    integral, _ = integrate.quad(
        lambda x: cornish_fisher_quantile(x, *shape) * stats.norm.pdf(x),
        -np.inf,
        stats.norm.ppf(tail),
        epsabs=1e-13,
    )
    found = cornish_fisher(Moments(0.0, 1.0, *shape), confidence)
    assert both(found.tail)[1] == pytest.approx(-integral / tail, rel=1e-8)


def power(q: int, g: float) -> float:
    """The integrals of Boudt, Peterson & Croux 2008, appendix, as their sums of products."""
    density, half = stats.norm.pdf(g), q // 2
    if q % 2 == 0:
        whole = math.prod(2 * j for j in range(1, half + 1))
        parts = sum(
            whole / math.prod(2 * j for j in range(1, i + 1)) * g ** (2 * i) for i in range(1, half + 1)
        )
        return float((parts + whole) * density)
    whole = math.prod(2 * j + 1 for j in range(half + 1))
    parts = sum(
        whole / math.prod(2 * j + 1 for j in range(i + 1)) * g ** (2 * i + 1) for i in range(half + 1)
    )
    return float(parts * density - whole * stats.norm.cdf(g))


@pytest.mark.parametrize("confidence", [0.95, 0.99])
@pytest.mark.parametrize("shape", [(0.0, 0.0), (-0.5, 1.0), (0.4, 2.0)], ids=str)
def test_modified_es_is_the_formula_of_boudt_peterson_and_croux(
    shape: tuple[float, float], confidence: float
) -> None:
    skewness, kurtosis = shape
    tail = 1 - confidence
    g = cornish_fisher_quantile(float(stats.norm.ppf(tail)), skewness, kurtosis)
    density = stats.norm.pdf(g)
    expected = (
        density
        + kurtosis / 24 * (power(4, g) - 6 * power(2, g) + 3 * density)
        + skewness / 6 * (power(3, g) - 3 * power(1, g))
        + skewness**2 / 72 * (power(6, g) - 15 * power(4, g) + 45 * power(2, g) - 15 * density)
    ) / tail
    found = cornish_fisher(Moments(0.01, 0.02, skewness, kurtosis), confidence)
    assert found.modified_es == pytest.approx(max(-0.01 + 0.02 * expected, -0.01 - 0.02 * g), rel=1e-9)


def test_modified_es_is_the_mean_by_the_edgeworth_density() -> None:
    skewness, kurtosis, tail = -0.5, 1.0, 0.05
    g = cornish_fisher_quantile(float(stats.norm.ppf(tail)), skewness, kurtosis)

    def weighted(x: float) -> float:
        hermite = 1 + skewness / 6 * (x**3 - 3 * x) + kurtosis / 24 * (x**4 - 6 * x**2 + 3)
        hermite += skewness**2 / 72 * (x**6 - 15 * x**4 + 45 * x**2 - 15)
        return float(x * hermite * stats.norm.pdf(x))

    integral, _ = integrate.quad(weighted, -np.inf, g, epsabs=1e-13)
    found = cornish_fisher(Moments(0.0, 1.0, skewness, kurtosis), 0.95)
    assert found.modified_es == pytest.approx(-integral / tail, rel=1e-8)


@pytest.mark.parametrize("skewness", [-2.4, -1.0, 0.0, 0.5, 2.0])
@pytest.mark.parametrize("kurtosis", [-1.0, 0.1, 1.0, 4.0, 7.9, 8.1, 20.0])
def test_the_domain_is_where_quantiles_rise(skewness: float, kurtosis: float) -> None:
    grid = np.linspace(-60, 60, 24_001)
    quantiles = [cornish_fisher_quantile(float(z), skewness, kurtosis) for z in grid]
    rising = bool((np.diff(quantiles) > 0).all())
    assert bool(in_domain(skewness, kurtosis)) == rising


@pytest.mark.parametrize(
    ("skewness", "inside"),
    [
        pytest.param(6 * (math.sqrt(2) - 1) - 1e-6, True, id="maillard-below-the-largest-skewness"),
        pytest.param(6 * (math.sqrt(2) - 1) + 1e-6, False, id="maillard-above-the-largest-skewness"),
    ],
)
def test_the_largest_skewness_is_that_of_maillard(skewness: float, inside: bool) -> None:
    assert any(in_domain(skewness, float(k)) for k in np.linspace(0, 20, 200_001)) == inside


# Student's t.
@pytest.mark.parametrize("confidence", [0.95, 0.99])
@pytest.mark.parametrize("freedom", [1.5, 3.0, 8.0])
def test_the_t_tail_is_that_of_scipy(freedom: float, confidence: float) -> None:
    quantile, shortfall = standard_t_tail(freedom, confidence)
    assert quantile == pytest.approx(stats.t.ppf(1 - confidence, freedom), rel=1e-9)
    # The integral of the quantiles, after a substitution that spreads their singularity.
    power = freedom / (freedom - 1) * 2
    tail = 1 - confidence
    integral, _ = integrate.quad(
        lambda u: stats.t.ppf(tail * u**power, freedom) * power * u ** (power - 1), 0, 1, limit=200
    )
    assert shortfall == pytest.approx(-integral, rel=1e-6)


@pytest.mark.parametrize("freedom", [2.5, 5.0, 12.0])
def test_the_fitted_t_is_that_of_scipy(freedom: float) -> None:
    returns = 0.001 + 0.02 * np.random.default_rng(8).standard_t(freedom, 2_000)
    model = fit_student_t(returns)
    assert isinstance(model, StudentT)
    expected = stats.t.fit(returns)
    assert (model.freedom, model.location, model.scale) == pytest.approx(expected, rel=2e-3, abs=2e-6)
    likelihood = stats.t.logpdf(returns, model.freedom, model.location, model.scale).sum()
    assert likelihood >= stats.t.logpdf(returns, *expected).sum() - 1e-6


# EWMA and GARCH.
def test_ewma_is_that_of_pandas() -> None:
    returns = heavy(200)
    expected = (pd.Series(returns) ** 2).ewm(alpha=0.06, adjust=True).mean()
    np.testing.assert_allclose(ewma_variances(returns), expected.to_numpy(), rtol=1e-10)


def test_ewma_is_the_forecast_of_arch() -> None:
    returns = 100 * heavy(1_500)
    model = ZeroMean(returns, volatility=EWMAVariance(0.94), rescale=False)
    forecast = model.fix([]).forecast(horizon=1, reindex=False).variance.to_numpy()[-1, 0]
    assert ewma_variances(returns)[-1] == pytest.approx(forecast, rel=1e-9)
    var, es = both(ewma(returns / 100, 0.99))
    assert var == pytest.approx(-stats.norm.ppf(0.01) * math.sqrt(forecast) / 100, rel=1e-9)
    assert es / var == pytest.approx(stats.norm.pdf(stats.norm.ppf(0.01)) / 0.01 / -stats.norm.ppf(0.01))


@pytest.mark.parametrize("innovations", ["normal", "t"])
def test_garch_is_the_forecast_of_arch_in_percent(innovations: Literal["normal", "t"]) -> None:
    returns = clustered(freedom=None if innovations == "normal" else 6.0)
    model = garch_of(returns, innovations)
    result = arch_model(100 * returns, dist=innovations, rescale=False).fit(disp="off")
    ahead = result.forecast(horizon=1, reindex=False)
    variance, mean = ahead.variance.to_numpy()[-1, 0] / 1e4, ahead.mean.to_numpy()[-1, 0] / 100
    assert model.next_variance == pytest.approx(variance, rel=5e-3)
    assert model.mean == pytest.approx(mean, rel=2e-2, abs=2e-6)
    assert model.persistence == pytest.approx(result.params["alpha[1]"] + result.params["beta[1]"], abs=5e-3)
    if innovations == "t":
        assert model.freedom == pytest.approx(result.params["nu"], rel=1e-2)
        quantile = float(StudentsT().ppf(0.01, [model.freedom]))
    else:
        quantile = float(stats.norm.ppf(0.01))
    expected = -(model.mean + math.sqrt(model.next_variance) * quantile)
    assert both(model.tail(0.99))[0] == pytest.approx(expected, rel=1e-9)


def test_the_likelihood_of_garch_is_not_below_that_of_arch_in_percent() -> None:
    returns = clustered()
    model = garch_of(returns)
    deviations = (returns - model.mean) / model.residuals
    reached = stats.norm.logpdf(returns, model.mean, deviations).sum()
    result = arch_model(100 * returns, rescale=False).fit(disp="off")
    assert reached >= result.loglikelihood + len(returns) * math.log(100) - 0.05


def test_garch_variances_are_those_of_a_loop_and_of_the_fit() -> None:
    returns = clustered()
    model = garch_of(returns)
    variances = ((returns - model.mean) / model.residuals) ** 2
    later = garch_variances(model, returns, float(variances[0]))
    np.testing.assert_allclose(later[:-1], variances[1:], rtol=1e-9)
    assert later[-1] == pytest.approx(model.next_variance, rel=1e-9)


@pytest.mark.parametrize("method", ["simulation", "bootstrap"])
def test_paths_of_five_periods_are_those_of_arch(method: Literal["simulation", "bootstrap"]) -> None:
    """``arch`` adds returns up; so small ones compound to the same within the error of the simulation."""
    returns = clustered() / 100
    model = garch_of(returns)
    result = arch_model(1e4 * returns, rescale=False).fix(
        [model.mean * 1e4, model.omega * 1e8, model.alpha, model.beta]
    )
    ahead = result.forecast(
        horizon=5,
        method=method,
        simulations=40_000,
        reindex=False,
        random_state=np.random.RandomState(1),
    )
    paths = ahead.simulations.values
    assert paths is not None
    theirs = simulated_tail(paths[-1].sum(axis=1) / 1e4, 0.99)
    outcomes = garch_outcomes if method == "simulation" else filtered_outcomes
    ours = simulated_tail(outcomes(model, 5, seed=2), 0.99)
    for name in ("var", "es"):
        error = math.hypot(getattr(ours, f"{name}_error"), getattr(theirs, f"{name}_error"))
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=SIGMAS * error)
        assert error < 0.03 * getattr(ours, name)


def test_the_variance_of_garch_paths_is_the_analytic_forecast_of_arch() -> None:
    returns = clustered() / 100
    model = garch_of(returns)
    result = arch_model(1e4 * returns, rescale=False).fix(
        [model.mean * 1e4, model.omega * 1e8, model.alpha, model.beta]
    )
    expected = result.forecast(horizon=10, reindex=False).variance.to_numpy()[-1].sum() / 1e8
    found = garch_outcomes(model, 10, seed=4).var()
    assert found == pytest.approx(expected, rel=SIGMAS * math.sqrt(3 / 100_000))


# Simulations and weighted histories.
@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_normal_simulations_have_the_closed_form(confidence: float) -> None:
    found = simulated_tail(normal_outcomes(0.001, 0.02, 1, seed=3), confidence)
    quantile, shortfall = standard_normal_tail(confidence)
    assert found.var_error is not None
    assert found.es_error is not None
    assert found.var == pytest.approx(-(0.001 + 0.02 * quantile), abs=SIGMAS * found.var_error)
    assert found.es == pytest.approx(-(0.001 - 0.02 * shortfall), abs=SIGMAS * found.es_error)
    # The error of a quantile: sqrt(p (1 - p) / n) over the density there.
    density = stats.norm.pdf(quantile) / 0.02
    expected = math.sqrt(confidence * (1 - confidence) / 100_000) / density
    assert found.var_error == pytest.approx(expected, rel=0.6)


def test_t_simulations_have_the_closed_form() -> None:
    model = StudentT(5.0, 0.001, 0.01, 500)
    found, exact = simulated_tail(t_outcomes(model, 1, seed=5), 0.99), model.tail(0.99)
    assert found.var_error is not None
    assert found.es_error is not None
    assert found.var == pytest.approx(exact.var, abs=SIGMAS * found.var_error)
    assert found.es == pytest.approx(exact.es, abs=SIGMAS * found.es_error)


@pytest.mark.parametrize("freedom", [None, 5.0])
def test_garch_paths_of_one_period_have_the_closed_form(freedom: float | None) -> None:
    model = Garch(0.001, 1e-5, 0.1, 0.8, freedom, 4e-4, np.zeros(1))
    found, exact = simulated_tail(garch_outcomes(model, 1, seed=9), 0.99), model.tail(0.99)
    assert found.var_error is not None
    assert found.es_error is not None
    assert found.var == pytest.approx(exact.var, abs=SIGMAS * found.var_error)
    assert found.es == pytest.approx(exact.es, abs=SIGMAS * found.es_error)


def test_simulated_periods_compound() -> None:
    mean, deviation, periods = 0.02, 0.05, 12
    growth = normal_outcomes(mean, deviation, periods, seed=6) + 1
    error = growth.std() / math.sqrt(len(growth))
    assert growth.mean() == pytest.approx((1 + mean) ** periods, abs=SIGMAS * error)


def test_filtered_simulation_of_one_period_is_its_exact_tail() -> None:
    model = garch_of(clustered())
    found, exact = simulated_tail(filtered_outcomes(model, 1, seed=7), 0.99), filtered_tail(model, 0.99)
    assert found.var == pytest.approx(exact.var, rel=0.02)
    assert found.es_error is not None
    assert found.es == pytest.approx(exact.es, abs=SIGMAS * found.es_error)


def test_volatility_weighting_is_that_of_hull_and_white_by_hand() -> None:
    returns = heavy(200)
    found = volatility_weighted(returns)
    assert not isinstance(found, str)
    weights = 0.94 ** np.arange(200)

    def forecast(known: Floats) -> float:
        return math.sqrt(float(np.average(known[::-1] ** 2, weights=weights[: len(known)])))

    expected = [r * forecast(returns) / forecast(returns[:at]) for at, r in enumerate(returns) if at >= 75]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


# Parts of a portfolio.
def numeric_derivative(risk: Callable[[Floats], float], weights: Floats) -> Floats:
    step = 1e-6
    moves = np.eye(len(weights)) * step
    return np.array([(risk(weights + move) - risk(weights - move)) / (2 * step) for move in moves])


@pytest.mark.parametrize("measure", ["var", "es"])
def test_gaussian_contributions_are_derivatives(measure: str) -> None:
    returns = np.column_stack([heavy(300, seed) for seed in (1, 2, 3)])
    returns[:, 1] += 0.5 * returns[:, 0]
    weights = np.array([0.5, 0.7, -0.2])
    found = contributions(weights, returns, 0.99, "gaussian")
    assert isinstance(found, Contributions)

    def risk(w: Floats) -> float:
        return both(gaussian(returns @ w, 0.99))[measure == "es"]

    np.testing.assert_allclose(
        getattr(found, f"marginal_{measure}"), numeric_derivative(risk, weights), rtol=1e-6
    )
    assert getattr(found, measure).sum() == pytest.approx(risk(weights), rel=1e-12)


@pytest.mark.parametrize("measure", ["var", "es"])
def test_historical_contributions_are_derivatives(measure: str) -> None:
    """Both are piecewise linear in the weights: the difference quotient has no error but rounding."""
    returns = np.column_stack([heavy(230, seed) for seed in (4, 5)])
    weights = np.array([0.6, 0.4])
    found = contributions(weights, returns, 0.975, "historical")
    assert isinstance(found, Contributions)

    def risk(w: Floats) -> float:
        return both(historical(returns @ w, 0.975))[measure == "es"]

    np.testing.assert_allclose(
        getattr(found, f"marginal_{measure}"), numeric_derivative(risk, weights), rtol=1e-6
    )
    assert getattr(found, measure).sum() == pytest.approx(risk(weights), rel=1e-12)
