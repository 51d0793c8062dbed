"""Tests of forecasts against published regions, scipy and forecasts made one by one."""

import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from jesse_mcp.analytics.conditional_volatility import EWMA_LEAST, Garch, ewma, fit_garch
from jesse_mcp.analytics.filtered_simulation import filtered_tail, volatility_weighted
from jesse_mcp.analytics.rolling_value_at_risk import RiskMethod, rolling_forecasts
from jesse_mcp.analytics.student_t import StudentT, fit_student_t
from jesse_mcp.analytics.tail_risk import TailRisk
from jesse_mcp.analytics.value_at_risk import cornish_fisher, gaussian, historical, moments
from jesse_mcp.analytics.var_backtests import (
    acerbi_szekely,
    conditional_coverage,
    independence,
    kupiec,
    time_until_first_failure,
    traffic_light,
)

Floats = NDArray[np.float64]
Hits = NDArray[np.bool_]
#: Chi-square with one degree of freedom at 95 %.
CRITICAL = 3.841458820694124

#: Kupiec 1995, table of non-rejection regions at a test level of 95 %: (p, T): failures strictly between.
REGIONS = {
    (0.01, 510): (1, 11),
    (0.01, 1000): (4, 17),
    (0.025, 255): (2, 12),
    (0.025, 510): (6, 21),
    (0.025, 1000): (15, 36),
    (0.05, 255): (6, 21),
    (0.05, 510): (16, 36),
    (0.05, 1000): (37, 65),
    (0.075, 255): (11, 28),
    (0.075, 510): (27, 51),
    (0.075, 1000): (59, 92),
    (0.10, 255): (16, 36),
    (0.10, 510): (38, 65),
    (0.10, 1000): (81, 120),
}


def statistic(found: object) -> float:
    value = getattr(found, "statistic", None)
    assert isinstance(value, float)
    return value


def drawn(n: int, seed: int, share: float = 0.06) -> Hits:
    return np.random.default_rng(seed).random(n) < share


@pytest.mark.parametrize(
    ("p", "forecasts", "below", "above"),
    [pytest.param(p, t, *region, id=f"kupiec-1995-{p}-{t}") for (p, t), region in REGIONS.items()],
)
def test_the_regions_of_kupiec(p: float, forecasts: int, below: int, above: int) -> None:
    accepted = [
        failures
        for failures in range(forecasts + 1)
        if statistic(kupiec(failures, forecasts, 1 - p)) < CRITICAL
    ]
    assert accepted == list(range(below + 1, above))


def test_the_region_of_kupiec_of_255_at_one_percent_ends_below_7() -> None:
    assert statistic(kupiec(6, 255, 0.99)) < CRITICAL < statistic(kupiec(7, 255, 0.99))


@pytest.mark.parametrize(("failures", "forecasts"), [(0, 250), (1, 250), (7, 250), (100, 250), (250, 250)])
def test_kupiec_is_the_ratio_of_binomial_likelihoods_of_scipy(failures: int, forecasts: int) -> None:
    found = kupiec(failures, forecasts, 0.99)
    expected = 2 * (
        stats.binom.logpmf(failures, forecasts, failures / forecasts)
        - stats.binom.logpmf(failures, forecasts, 0.01)
    )
    assert found.statistic == pytest.approx(expected, rel=1e-9)
    assert found.p_value == pytest.approx(stats.chi2.sf(expected, 1), rel=1e-9)


@pytest.mark.parametrize("calm", [0, 9, 99, 700])
def test_the_first_failure_is_the_ratio_of_geometric_likelihoods_of_scipy(calm: int) -> None:
    hits = np.array([False] * calm + [True, False, True])
    found = time_until_first_failure(hits, 0.99)
    expected = 2 * (stats.geom.logpmf(calm + 1, 1 / (calm + 1)) - stats.geom.logpmf(calm + 1, 0.01))
    assert found.statistic == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert found.p_value == pytest.approx(stats.chi2.sf(expected, 1), rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_independence_is_the_likelihood_ratio_of_the_table_of_transitions_of_scipy(seed: int) -> None:
    hits = drawn(400, seed, 0.2)
    table = np.zeros((2, 2))
    for before, after in pairwise(hits.tolist()):
        table[int(before), int(after)] += 1
    expected = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
    found = independence(hits)
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-9, abs=1e-12)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)


def test_conditional_coverage_is_christoffersen_by_hand() -> None:
    hits = drawn(500, 9)
    p, n = 0.05, len(hits)
    pairs = list(pairwise(hits.tolist()))
    after_calm = [after for before, after in pairs if not before]
    after_hit = [after for before, after in pairs if before]

    def chance(values: list[bool], q: float) -> float:
        return sum(math.log(q if value else 1 - q) for value in values if 0 < q < 1)

    def share(values: list[bool]) -> float:
        return sum(values) / len(values)

    free = chance(after_calm, share(after_calm)) + chance(after_hit, share(after_hit))
    alike = chance(after_calm + after_hit, share(after_calm + after_hit))
    covered = 2 * (chance(hits.tolist(), share(hits.tolist())) - chance(hits.tolist(), p))
    found = conditional_coverage(kupiec(int(hits.sum()), n, 1 - p), independence(hits))
    assert found.statistic == pytest.approx(2 * (free - alike) + covered, rel=1e-9)
    assert found.p_value == pytest.approx(stats.chi2.sf(found.statistic, 2), rel=1e-9)


@pytest.mark.parametrize(
    ("exceedances", "zone", "cumulative"),
    [
        pytest.param(0, "green", 0.0811, id="basel-1996-0"),
        pytest.param(4, "green", 0.8922, id="basel-1996-4"),
        pytest.param(5, "yellow", 0.9588, id="basel-1996-5"),
        pytest.param(9, "yellow", 0.9997, id="basel-1996-9"),
        pytest.param(10, "red", 0.9999, id="basel-1996-10"),
        pytest.param(250, "red", 1.0, id="basel-1996-all"),
    ],
)
def test_the_zones_of_basel(exceedances: int, zone: str, cumulative: float) -> None:
    """The zones begin where the cumulative probability passes 95 % and 99.99 %."""
    hits = np.arange(250) < exceedances
    assert traffic_light(hits, 0.99, daily=True).zone == zone
    assert stats.binom.cdf(exceedances, 250, 0.01) == pytest.approx(cumulative, abs=6e-5)


@pytest.mark.parametrize(
    ("confidence", "forecasts", "daily", "named"),
    [(0.95, 250, True, "0.95"), (0.99, 249, True, "249"), (0.99, 250, False, "daily")],
)
def test_the_traffic_light_says_where_it_does_not_apply(
    confidence: float, forecasts: int, daily: bool, named: str
) -> None:
    found = traffic_light(np.zeros(forecasts, dtype=bool), confidence, daily=daily)
    assert found.zone is None
    assert found.reason is not None
    assert named in found.reason


def test_the_traffic_light_counts_the_last_250() -> None:
    hits = np.concatenate((np.ones(20, dtype=bool), np.zeros(250, dtype=bool)))
    assert traffic_light(hits, 0.99, daily=True).exceedances == 0


def test_z2_of_right_forecasts_is_zero_and_of_half_the_shortfall_minus_one() -> None:
    n, p = 400_000, 0.025
    realised = np.random.default_rng(2).standard_normal(n)
    var = np.full(n, -stats.norm.ppf(p))
    es = np.full(n, stats.norm.pdf(stats.norm.ppf(p)) / p)
    found = acerbi_szekely(realised, var, es, 1 - p)
    halved = acerbi_szekely(realised, var, es / 2, 1 - p)
    # One exceedance has mean es and a variance below es squared: the error of z2 is below sqrt(2 / (n p)).
    assert found.z2 == pytest.approx(0.0, abs=4 * math.sqrt(2 / (n * p)))
    assert halved.z2 == pytest.approx(-1.0, abs=8 * math.sqrt(2 / (n * p)))


def test_z2_by_hand() -> None:
    realised = np.array([-0.03, 0.01, -0.05, 0.02])
    var, es = np.full(4, 0.02), np.array([0.03, 0.03, 0.04, 0.04])
    expected = (-0.03 / 0.03 - 0.05 / 0.04) / (4 * 0.25) + 1
    assert acerbi_szekely(realised, var, es, 0.75).z2 == pytest.approx(expected, rel=1e-12)


def clustered(n: int) -> Floats:
    """A GARCH(1,1) path."""
    rng = np.random.default_rng(1)
    returns, variance = np.empty(n), 1e-4
    for at in range(n):
        returns[at] = math.sqrt(variance) * rng.standard_normal()
        variance = 1e-5 + 0.15 * returns[at] ** 2 + 0.75 * variance
    return returns


def one_by_one(method: RiskMethod, known: Floats, window: int, confidence: float) -> TailRisk:
    """The forecast from what was known, by the function for one sample."""
    last = known[-window:]
    if method == "historical":
        return historical(last, confidence)
    if method in {"gaussian", "monte_carlo_normal"}:
        return gaussian(last, confidence)
    if method == "cornish_fisher":
        return cornish_fisher(moments(last), confidence).tail
    if method == "ewma":
        return ewma(known, confidence)
    weighted = volatility_weighted(known)
    assert not isinstance(weighted, str)
    return historical(weighted[-window:], confidence)


@pytest.mark.parametrize(
    "method",
    ["historical", "gaussian", "monte_carlo_normal", "cornish_fisher", "ewma", "volatility_weighted"],
)
def test_rolling_forecasts_are_those_made_one_by_one(method: RiskMethod) -> None:
    rng = np.random.default_rng(6)
    returns, window, confidences = 0.02 * rng.standard_t(6, 420), 110, (0.9, 0.99)
    found = rolling_forecasts(method, returns, confidences, window)
    assert found.first == window + (EWMA_LEAST if method == "volatility_weighted" else 0)
    assert found.var.shape == (2, len(returns) - found.first)
    for row, confidence in enumerate(confidences):
        for at in (0, 1, 57, found.var.shape[1] - 1):
            tail = one_by_one(method, returns[: found.first + at], window, confidence)
            if tail.var is None:
                assert math.isnan(found.var[row, at])
                continue
            assert found.var[row, at] == pytest.approx(tail.var, rel=1e-9)
            assert found.es[row, at] == pytest.approx(tail.es, rel=1e-9)


@pytest.mark.parametrize("method", ["garch_normal", "garch_t", "filtered_historical"])
def test_rolling_garch_forecasts_follow_the_recursion_of_the_last_fit(method: RiskMethod) -> None:
    returns, window = clustered(640), 560
    found = rolling_forecasts(method, returns, (0.99,), window)
    # 80 forecasts, 25 fits at most: every fourth forecast has a new fit.
    for at in (0, 32):
        model = fit_garch(returns[at : at + window], "t" if method == "garch_t" else "normal")
        assert isinstance(model, Garch)
        later = model.omega + model.alpha * (returns[at + window] - model.mean) ** 2
        later += model.beta * model.next_variance
        for step, variance_then in enumerate((model.next_variance, later)):
            if method == "filtered_historical":
                tail = historical(model.mean + math.sqrt(variance_then) * model.residuals, 0.99)
                assert step or tail == filtered_tail(model, 0.99)
            else:
                tail = model.tail(0.99, variance_then)
            assert found.var[0, at + step] == pytest.approx(tail.var, rel=1e-9)
            assert found.es[0, at + step] == pytest.approx(tail.es, rel=1e-9)


def test_rolling_t_forecasts_are_those_of_the_last_fit() -> None:
    returns = 0.02 * np.random.default_rng(3).standard_t(4, 250)
    found = rolling_forecasts("monte_carlo_t", returns, (0.95,), 200)
    model = fit_student_t(returns[10:210])
    assert isinstance(model, StudentT)
    assert found.var[0, 10] == found.var[0, 11] == model.tail(0.95).var
    assert found.remark is not None
    assert "fitted 25 times" in found.remark


@pytest.mark.parametrize("method", ["historical", "gaussian", "ewma", "volatility_weighted", "garch_normal"])
def test_a_forecast_knows_nothing_of_what_it_forecasts(method: RiskMethod) -> None:
    returns = clustered(700)
    changed = returns.copy()
    changed[650:] *= 7
    before, after = (rolling_forecasts(method, r, (0.95,), 260) for r in (returns, changed))
    known = 650 - before.first + 1
    np.testing.assert_array_equal(before.var[:, :known], after.var[:, :known])
    assert not np.array_equal(before.var[:, known:], after.var[:, known:], equal_nan=True)
