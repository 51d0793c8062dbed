"""Properties and degenerate samples of value at risk, its simulations, forecasts and tests."""

import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from jesse_mcp.analytics.conditional_volatility import GARCH_LEAST, Garch, ewma, fit_garch
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
from jesse_mcp.analytics.rolling_value_at_risk import RiskMethod, RollingForecasts, rolling_forecasts
from jesse_mcp.analytics.student_t import StudentT, fit_student_t
from jesse_mcp.analytics.tail_risk import TailRisk, nothing
from jesse_mcp.analytics.value_at_risk import (
    cornish_fisher,
    gaussian,
    historical,
    moments,
    overlapping,
    scaled,
)
from jesse_mcp.analytics.var_backtests import (
    acerbi_szekely,
    conditional_coverage,
    forecast_test,
    independence,
    kupiec,
    time_until_first_failure,
)

Floats = NDArray[np.float64]
Estimator = Callable[[Floats, float], TailRisk]

METHODS: tuple[RiskMethod, ...] = (
    "historical",
    "gaussian",
    "cornish_fisher",
    "monte_carlo_normal",
    "monte_carlo_t",
    "ewma",
    "garch_normal",
    "garch_t",
    "filtered_historical",
    "volatility_weighted",
)
FITTED = {"monte_carlo_t", "garch_normal", "garch_t", "filtered_historical"}
ESTIMATORS: dict[str, Estimator] = {
    "historical": historical,
    "gaussian": gaussian,
    "cornish_fisher": lambda r, c: cornish_fisher(moments(r), c).tail,
    "ewma": ewma,
}


def student(returns: Floats, confidence: float) -> TailRisk:
    model = fit_student_t(returns)
    return nothing(model) if isinstance(model, str) else model.tail(confidence)


def garch(returns: Floats, confidence: float) -> TailRisk:
    model = fit_garch(returns, "normal")
    return nothing(model) if isinstance(model, str) else model.tail(confidence)


def weighted(returns: Floats, confidence: float) -> TailRisk:
    found = volatility_weighted(returns)
    return nothing(found) if isinstance(found, str) else historical(found, confidence)


ALL_ESTIMATORS: dict[str, Estimator] = {
    **ESTIMATORS,
    "student_t": student,
    "garch": garch,
    "volatility_weighted": weighted,
}

#: Returns as they come: of strategies that do nothing on most days, too.
plain = hnp.arrays(
    np.float64,
    st.integers(100, 160),
    elements=st.one_of(st.just(0.0), st.floats(-0.9, 2.0, allow_nan=False)),
)
#: Anything at all.
wild = hnp.arrays(
    np.float64,
    st.integers(0, 120),
    elements=st.floats(allow_nan=True, allow_infinity=True, width=64),
)
confidences = st.sampled_from((0.9, 0.95, 0.975, 0.99))


def numbers(value: Any) -> list[float]:
    """Every float in a result; arrays are looked into."""
    if isinstance(value, np.ndarray):
        return [float(v) for v in value.ravel()]
    if isinstance(value, float):
        return [value]
    if isinstance(value, tuple | list):
        return [number for part in value for number in numbers(part)]
    if is_dataclass(value):
        return [number for part in fields(value) for number in numbers(getattr(value, part.name))]
    return []


def assert_answers(tail: TailRisk) -> None:
    """Numbers, or the reason; never neither."""
    assert all(math.isfinite(number) for number in numbers(tail))
    for name in ("var", "es"):
        assert (getattr(tail, name) is None) == (name in tail.undefined)
    if tail.var is not None and tail.es is not None:
        assert tail.es >= tail.var


@pytest.mark.parametrize("name", ESTIMATORS)
@settings(deadline=None, max_examples=60)
@given(returns=plain, confidence=confidences)
def test_es_is_never_below_var(name: str, returns: Floats, confidence: float) -> None:
    assert_answers(ESTIMATORS[name](returns, confidence))


@pytest.mark.parametrize("name", ESTIMATORS)
@settings(deadline=None, max_examples=40)
@given(returns=plain)
def test_risk_rises_with_the_confidence(name: str, returns: Floats) -> None:
    tails = [ESTIMATORS[name](returns, confidence) for confidence in (0.9, 0.95, 0.975, 0.99)]
    for measure in ("var", "es"):
        values = [getattr(tail, measure) for tail in tails if getattr(tail, measure) is not None]
        slack = 1e-12 * max((abs(value) for value in values), default=0.0)
        assert all(later >= earlier - slack for earlier, later in pairwise(values))


@pytest.mark.parametrize("name", ESTIMATORS)
@settings(deadline=None, max_examples=40)
@given(returns=plain, factor=st.floats(1e-3, 1e3), confidence=confidences)
def test_risk_is_homogeneous(name: str, returns: Floats, factor: float, confidence: float) -> None:
    single, scaled_up = (ESTIMATORS[name](values, confidence) for values in (returns, factor * returns))
    for measure in ("var", "es"):
        one, many = getattr(single, measure), getattr(scaled_up, measure)
        if one is None or many is None:
            # Where the expansion ends may be decided by the last bit.
            assert name == "cornish_fisher" or one is many
            continue
        # Of normal numbers that nearly cancel the last digits are rounding.
        assert many == pytest.approx(factor * one, rel=1e-9, abs=1e-9 * factor * float(np.abs(returns).max()))


@pytest.mark.parametrize("name", ["historical", "gaussian", "cornish_fisher"])
@settings(deadline=None, max_examples=40)
@given(returns=plain, confidence=confidences, seed=st.integers(0, 100))
def test_order_does_not_matter_where_returns_are_alike(
    name: str, returns: Floats, confidence: float, seed: int
) -> None:
    other = np.random.default_rng(seed).permutation(returns)
    one, two = (ESTIMATORS[name](values, confidence) for values in (returns, other))
    if one.var is None or two.var is None:
        assert name == "cornish_fisher" or one.var is two.var
        return
    scale = float(np.abs(returns).max())
    assert two.var == pytest.approx(one.var, rel=1e-9, abs=1e-9 * scale)
    assert two.es == pytest.approx(one.es, rel=1e-9, abs=1e-9 * scale)


@pytest.mark.parametrize("name", ALL_ESTIMATORS)
@settings(deadline=None, max_examples=60)
@given(returns=wild, confidence=confidences)
def test_every_input_is_answered(name: str, returns: Floats, confidence: float) -> None:
    assert_answers(ALL_ESTIMATORS[name](returns, confidence))


@settings(deadline=None, max_examples=40)
@given(returns=wild, horizon=st.integers(1, 20), confidence=confidences)
def test_every_horizon_is_answered(returns: Floats, horizon: int, confidence: float) -> None:
    windows = overlapping(returns, horizon)
    assert len(windows) == max(len(returns) - horizon + 1, 0)
    assert_answers(historical(windows, confidence))
    assert_answers(scaled(gaussian(returns, confidence), horizon))
    assert_answers(gaussian(returns, confidence, horizon))
    assert_answers(ewma(returns, confidence, horizon))


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None, max_examples=25)
@given(returns=wild, window=st.integers(1, 100))
def test_every_rolling_input_is_answered(method: RiskMethod, returns: Floats, window: int) -> None:
    found = rolling_forecasts(method, returns, (0.9, 0.99), window)
    assert_forecasts(found, returns)


def assert_forecasts(found: RollingForecasts, returns: Floats) -> None:
    assert found.var.shape == found.es.shape
    made = np.isfinite(found.var)
    np.testing.assert_array_equal(made, np.isfinite(found.es))
    assert not np.isinf(found.var).any()
    assert (found.es[made] >= found.var[made]).all()
    for row, reason in enumerate(found.reasons):
        assert reason is None or not made[row].any()
    if found.var.shape[1]:
        realised = returns[found.first :]
        for row, confidence in enumerate((0.9, 0.99)):
            test = forecast_test(realised, found.var[row], found.es[row], confidence, daily=True)
            assert all(math.isfinite(number) for number in numbers(test))
            assert 0 <= test.exceedances <= test.forecasts <= len(realised)


SAMPLES: dict[str, Floats] = {
    "empty": np.empty(0),
    "one": np.array([0.01]),
    "constant gain": np.full(400, 0.01),
    "constant loss": np.full(400, -0.01),
    "zero": np.zeros(400),
    "only winners": np.random.default_rng(1).uniform(0.001, 0.02, 400),
    "only losers": -np.random.default_rng(1).uniform(0.001, 0.02, 400),
    "ruin": np.append(np.random.default_rng(1).normal(0, 0.02, 399), -1.0),
    "nan": np.append(np.random.default_rng(1).normal(0, 0.02, 399), np.nan),
    "infinite": np.append(np.random.default_rng(1).normal(0, 0.02, 399), np.inf),
    "mostly flat": np.where(
        np.random.default_rng(2).random(400) < 0.9, 0.0, np.random.default_rng(3).normal(0, 0.01, 400)
    ),
    "two values": np.where(np.random.default_rng(2).random(400) < 0.5, 0.01, -0.01),
    "huge": np.random.default_rng(1).normal(0, 1e200, 400),
    "tiny": np.random.default_rng(1).normal(0, 1e-200, 400),
    "one outlier": np.append(np.full(399, 1e-9), 1e9),
    "nearly constant": 0.01 + 1e-17 * np.arange(400.0),
    "alternating": np.tile(np.array([0.02, -0.02]), 200),
    "trend of volatility": np.random.default_rng(4).normal(0, 1, 400) * np.geomspace(1e-6, 1e-1, 400),
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_degenerate_samples_are_answered(sample: str) -> None:
    returns = SAMPLES[sample]
    for estimator in ALL_ESTIMATORS.values():
        for confidence in (0.95, 0.99):
            assert_answers(estimator(returns, confidence))
    for innovations in ("normal", "t"):
        model = fit_garch(returns, "t" if innovations == "t" else "normal")
        if isinstance(model, Garch):
            for outcomes in (garch_outcomes(model, 5, 1, 2_000), filtered_outcomes(model, 5, 1, 2_000)):
                assert_answers(simulated_tail(outcomes, 0.95))
            assert_answers(filtered_tail(model, 0.95))
    fitted = fit_student_t(returns)
    if isinstance(fitted, StudentT):
        assert_answers(simulated_tail(t_outcomes(fitted, 5, 1, 2_000), 0.95))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sample", SAMPLES)
def test_degenerate_rolling_samples_are_answered(sample: str, method: RiskMethod) -> None:
    # Two forecasts from 398 returns: a model is fitted twice, not forty times.
    for window in (5, 398) if method in FITTED else (5, 120, 300):
        assert_forecasts(rolling_forecasts(method, SAMPLES[sample], (0.9, 0.99), window), SAMPLES[sample])


@pytest.mark.parametrize(
    ("sample", "named"),
    [
        ("empty", "0 returns"),
        ("constant gain", "do not vary"),
        ("nan", "not a finite number"),
        ("huge", ""),
        ("one outlier", ""),
    ],
)
def test_garch_says_why_it_is_refused(sample: str, named: str) -> None:
    found = fit_garch(SAMPLES[sample], "normal")
    if sample == "huge":
        assert isinstance(found, str | Garch)
        return
    assert isinstance(found, str)
    assert named in found


def test_garch_is_refused_below_250_returns() -> None:
    returns = np.random.default_rng(1).normal(0, 0.02, GARCH_LEAST - 1)
    found = fit_garch(returns, "normal")
    assert isinstance(found, str)
    assert "249 returns" in found
    assert "250" in found


def test_an_integrated_garch_is_refused() -> None:
    rng = np.random.default_rng(0)
    returns, variance = np.empty(2_000), 1e-4
    for at in range(len(returns)):
        returns[at] = math.sqrt(variance) * rng.standard_normal()
        variance = 1e-6 + 0.1 * returns[at] ** 2 + 0.9 * variance
    found = fit_garch(returns, "normal")
    assert isinstance(found, str)
    assert "persistence" in found


@pytest.mark.parametrize("seed", range(4))
def test_an_explosive_garch_is_refused(seed: int) -> None:
    """The optimiser says it converged, at another point from every start."""
    rng = np.random.default_rng(seed)
    returns, variance = np.empty(2_000), 1e-4
    for at in range(len(returns)):
        returns[at] = math.sqrt(variance) * rng.standard_normal()
        variance = 1e-6 + 0.4 * returns[at] ** 2 + 0.75 * variance
    assert isinstance(fit_garch(returns, "normal"), str)


def test_garch_without_response_is_refused() -> None:
    found = fit_garch(np.random.default_rng(1).normal(0, 0.01, 1_000), "normal")
    assert isinstance(found, str)
    assert "does not respond" in found


def test_the_t_distribution_is_refused_when_returns_repeat() -> None:
    found = fit_student_t(SAMPLES["mostly flat"])
    assert isinstance(found, str)
    assert "equal" in found


def test_a_constant_sample_is_its_own_tail() -> None:
    returns = SAMPLES["constant gain"]
    assert historical(returns, 0.95) == TailRisk(-0.01, -0.01)
    assert gaussian(returns, 0.95) == TailRisk(-0.01, -0.01)


def test_a_sample_without_tail_has_no_quantile() -> None:
    returns = np.random.default_rng(1).normal(0, 0.02, 99)
    assert historical(returns, 0.95).var is not None
    refused = historical(returns, 0.99)
    assert refused.var is None
    assert "at least 100" in refused.undefined["var"]
    # Of exactly 100 returns one is beyond 99 %.
    assert historical(np.append(returns, -0.5), 0.99).es == 0.5


def test_outside_its_domain_cornish_fisher_says_so() -> None:
    found = cornish_fisher(moments(SAMPLES["one outlier"]), 0.99)
    assert found.tail.var is found.tail.es is found.modified_es is None
    assert found.reason is not None
    assert "domain" in found.reason


def test_simulations_are_functions_of_their_seed() -> None:
    one, same, other = (normal_outcomes(0.0, 0.02, 3, seed, 1_000) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_simulated_loss_is_never_more_than_everything() -> None:
    outcomes = normal_outcomes(-0.5, 2.0, 4, 1, 5_000)
    assert outcomes.min() == -1.0
    assert simulated_tail(outcomes, 0.99).es == 1.0


def test_an_overlapping_window_with_ruin_has_lost_everything() -> None:
    found = overlapping(np.array([0.5, -1.0, 3.0, 0.1]), 2)
    np.testing.assert_allclose(found, [-1.0, -1.0, 3.4])


# Tests of forecasts.
def test_without_an_exceedance_coverage_is_tested_and_independence_is_not() -> None:
    hits = np.zeros(250, dtype=bool)
    assert kupiec(0, 250, 0.99).statistic == pytest.approx(-500 * math.log(0.99))
    assert independence(hits).reason == "no forecast follows an exceedance"
    assert conditional_coverage(kupiec(0, 250, 0.99), independence(hits)).statistic is None
    first = time_until_first_failure(hits, 0.99)
    assert first.statistic is None
    assert first.reason is not None
    assert "250" in first.reason


def test_with_exceedances_only_coverage_is_tested_and_independence_is_not() -> None:
    hits = np.ones(250, dtype=bool)
    found = kupiec(250, 250, 0.99)
    assert found.statistic == pytest.approx(-500 * math.log(0.01))
    assert found.p_value == 0.0 or (found.p_value is not None and found.p_value < 1e-300)
    assert independence(hits).reason == "no forecast follows a period without exceedance"
    assert time_until_first_failure(hits, 0.99).statistic == pytest.approx(-2 * math.log(0.01))


def test_without_a_forecast_nothing_is_tested() -> None:
    nothing = np.empty(0)
    found = forecast_test(nothing, nothing, nothing, 0.99, daily=True)
    assert found.forecasts == found.exceedances == 0
    assert found.kupiec.reason == "there is no forecast"
    assert found.shortfall.reason == "there is no forecast"
    assert all(
        part.statistic is None
        for part in (found.kupiec, found.independence, found.conditional_coverage, found.first_failure)
    )


def test_a_shortfall_that_is_a_gain_has_no_ratio() -> None:
    found = acerbi_szekely(np.array([-0.01]), np.array([-0.02]), np.array([-0.01]), 0.95)
    assert found.z2 is None
    assert found.reason is not None


@settings(deadline=None, max_examples=60)
@given(
    hits=hnp.arrays(np.bool_, st.integers(0, 80)),
    confidence=st.floats(0.5, 0.999),
)
def test_every_pattern_of_exceedances_is_answered(hits: NDArray[np.bool_], confidence: float) -> None:
    pof = kupiec(int(hits.sum()), len(hits), confidence)
    for found in (
        pof,
        independence(hits),
        conditional_coverage(pof, independence(hits)),
        time_until_first_failure(hits, confidence),
    ):
        assert (found.statistic is None) == (found.reason is not None) == (found.p_value is None)
        if found.statistic is not None and found.p_value is not None:
            assert 0 <= found.statistic < math.inf
            assert 0 <= found.p_value <= 1


# Parts of a portfolio.
@settings(deadline=None, max_examples=60)
@example(returns=np.vstack([[1e-90, 0, 0], np.zeros((119, 3))]), weights=np.full(3, 1e-90), basis="gaussian")
@given(
    returns=hnp.arrays(np.float64, (120, 3), elements=st.floats(-0.5, 0.5)),
    weights=hnp.arrays(np.float64, 3, elements=st.floats(-2, 2)),
    basis=st.sampled_from(("historical", "gaussian")),
)
def test_contributions_sum_to_the_total(returns: Floats, weights: Floats, basis: Any) -> None:
    found = contributions(weights, returns, 0.95, basis)
    if isinstance(found, str):
        assert basis == "gaussian"
        return
    single = historical if basis == "historical" else gaussian
    total = single(returns @ weights, 0.95)
    assert found.total.var == pytest.approx(total.var, rel=1e-7, abs=1e-9)
    assert found.total.es == pytest.approx(total.es, rel=1e-7, abs=1e-9)
    assert found.var.sum() == pytest.approx(found.total.var, rel=1e-9, abs=1e-12)
    assert all(math.isfinite(number) for number in numbers(found))


def test_parts_that_tie_share_the_tail_whatever_their_order() -> None:
    returns = np.array([[-0.1, 0.0], [0.0, -0.1], [0.05, 0.05], [0.1, 0.1]] * 10)
    found = contributions(np.array([0.5, 0.5]), returns, 0.9, "historical")
    assert isinstance(found, Contributions)
    np.testing.assert_allclose(found.es, [0.025, 0.025])
    np.testing.assert_allclose(found.var, [0.025, 0.025])


@pytest.mark.parametrize("basis", ["historical", "gaussian"])
def test_degenerate_portfolios_say_why(basis: Any) -> None:
    weights = np.array([0.5, 0.5])
    for returns in (np.empty((0, 2)), np.full((50, 2), np.nan), np.full((1, 2), 0.1)):
        assert isinstance(contributions(weights, returns, 0.95, basis), str)
    assert isinstance(contributions(weights, np.full((50, 2), 1e308), 0.95, basis), str)
