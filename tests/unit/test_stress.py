"""What every stress of numbers must keep, whatever the numbers."""

import math
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jesse_mcp.analytics.correlation_stress import (
    nearest_correlation,
    portfolio_risk,
    problem_of,
    sample_correlation,
    smallest_eigenvalue,
    towards,
)
from jesse_mcp.analytics.crises import CRISES
from jesse_mcp.analytics.liquidation import (
    Side,
    cross_distance,
    isolated_distance,
    isolated_price,
    survivable_leverage,
)
from jesse_mcp.analytics.shocks import (
    DAY_MS,
    Regression,
    closes_at,
    effect,
    largest_fall,
    longest_gap_allowed,
    passage,
    regress,
)
from jesse_mcp.analytics.volatility_stress import scaled_about_mean, summarize

Floats = NDArray[np.float64]
SIDES: tuple[Side, Side] = ("long", "short")

sizes = st.integers(2, 8)
seeds = st.integers(0, 2**31)
returns_lists = st.lists(st.floats(-1.5, 3.0), min_size=0, max_size=40)


def symmetric(size: int, seed: int) -> Floats:
    noise = np.random.default_rng(seed).uniform(-1, 1, (size, size))
    matrix = (noise + noise.T) / 2
    np.fill_diagonal(matrix, 1.0)
    return np.asarray(matrix)


def valid(size: int, seed: int) -> Floats:
    rows = np.random.default_rng(seed).normal(size=(size + 2, size))
    return sample_correlation(rows)


@given(sizes, seeds)
@settings(max_examples=60, deadline=None)
def test_nearest_correlations_are_valid_and_stay(size: int, seed: int) -> None:
    found = nearest_correlation(symmetric(size, seed))
    assert problem_of(found) is None
    assert smallest_eigenvalue(found) >= -1e-10
    np.testing.assert_allclose(nearest_correlation(found), found, atol=1e-9)


@given(sizes, seeds, seeds, st.floats(0, 1))
@settings(deadline=None)
def test_correlations_on_the_way_are_valid(size: int, seed: int, other: int, share: float) -> None:
    found = towards(valid(size, seed), share, valid(size, other))
    assert smallest_eigenvalue(found) >= -1e-12
    np.testing.assert_allclose(np.diag(found), 1.0, atol=1e-12)
    np.testing.assert_allclose(towards(valid(size, seed), 0.0), valid(size, seed))
    np.testing.assert_allclose(towards(valid(size, seed), 1.0), np.ones((size, size)))


@given(sizes, seeds, st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None)
def test_a_long_portfolio_gets_riskier_on_the_way_to_one(size: int, seed: int, a: float, b: float) -> None:
    rng = np.random.default_rng(seed)
    weights, deviations, matrix = rng.random(size), rng.random(size), valid(size, seed)
    low, high = (
        portfolio_risk(weights, deviations, towards(matrix, share), 0.0, 365).volatility
        for share in sorted((a, b))
    )
    assert low <= high + 1e-9
    assert high <= float(weights @ deviations) * math.sqrt(365) * (1 + 1e-9)


@given(sizes, seeds, st.floats(0, 10))
@settings(deadline=None)
def test_risk_scales_with_weights(size: int, seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    weights, deviations, matrix = rng.normal(size=size), rng.random(size), valid(size, seed)
    one = portfolio_risk(weights, deviations, matrix, 0.0, 365)
    many = portfolio_risk(factor * weights, deviations, matrix, 0.0, 365)
    assert many.volatility == pytest.approx(factor * one.volatility, rel=1e-9, abs=1e-12)
    assert many.normal_var["0.99"] == pytest.approx(factor * one.normal_var["0.99"], rel=1e-9, abs=1e-12)


@given(seeds, st.floats(-1, 1), st.floats(-1, 1), st.floats(0, 5))
def test_a_shock_is_linear_and_monotone(seed: int, first: float, second: float, factor: float) -> None:
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, 0.02, (50, 2))
    found = regress(moves @ np.array([0.8, 0.3]) + rng.normal(0, 0.001, 50), moves)
    assert isinstance(found, Regression)
    shocks = np.array([first, second])
    one, scaled = effect(found, shocks), effect(found, factor * shocks)
    assert scaled.value == pytest.approx(factor * one.value, rel=1e-9, abs=1e-12)
    assert scaled.standard_error == pytest.approx(factor * one.standard_error, rel=1e-6, abs=1e-9)
    worse = effect(found, shocks - np.array([0.1, 0.0]))
    assert worse.value < one.value, "a beta above zero loses in a deeper fall"


@given(seeds, st.floats(0.01, 50), st.floats(0.01, 50))
def test_betas_do_not_depend_on_units(seed: int, a: float, b: float) -> None:
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, 0.02, (30, 2))
    returns = moves @ np.array([1.2, -0.4]) + rng.normal(0, 0.01, 30)
    plain, other = regress(returns, moves), regress(returns, moves * np.array([a, b]))
    assert isinstance(plain, Regression)
    assert isinstance(other, Regression)
    np.testing.assert_allclose(other.coefficients * np.array([a, b]), plain.coefficients, rtol=1e-7)


@given(returns_lists, st.floats(0, 20))
def test_wilder_returns_end_in_numbers(values: list[float], multiplier: float) -> None:
    returns = np.array(values, dtype=np.float64)
    wild = scaled_about_mean(returns, multiplier)
    assert len(wild) == len(values)
    assert (wild >= -1).all()
    found = summarize(wild, 365)
    if isinstance(found, str):
        assert found
        return
    numbers = [found.volatility, found.max_drawdown, found.total_return, *found.normal_var.values()]
    assert all(math.isfinite(number) for number in numbers)
    assert 0 <= found.max_drawdown <= 1
    assert found.total_return >= -1


@given(st.lists(st.floats(-0.05, 0.05), min_size=3, max_size=40), st.floats(0, 5), st.floats(0, 5))
def test_a_larger_multiplier_is_never_calmer(values: list[float], a: float, b: float) -> None:
    low, high = (
        summarize(scaled_about_mean(np.array(values), multiplier), 365) for multiplier in sorted((a, b))
    )
    assert not isinstance(low, str)
    assert not isinstance(high, str)
    assert low.volatility <= high.volatility + 1e-12


@given(st.floats(0.1, 200), st.floats(0.1, 200), st.floats(0, 0.05))
def test_more_leverage_leaves_less_room(a: float, b: float, rate: float) -> None:
    low, high = sorted((a, b))
    assert isolated_distance(high, rate) <= isolated_distance(low, rate)
    for side in SIDES:
        assert cross_distance(high, side, rate) <= cross_distance(low, side, rate)
    assert isolated_price(100, high, "long", rate) >= isolated_price(100, low, "long", rate)
    assert isolated_price(100, high, "short", rate) <= isolated_price(100, low, "short", rate)


@given(st.floats(0, 5), st.floats(0, 5))
def test_deeper_moves_leave_less_leverage(a: float, b: float) -> None:
    shallow, deep = (survivable_leverage(move) for move in sorted((a, b)))
    assert shallow is not None
    assert deep is not None
    assert deep <= shallow <= 250


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=50), st.floats(1e-2, 1e2))
def test_a_fall_is_a_share_of_a_price_whatever_its_unit(prices: list[float], unit: float) -> None:
    found, other = largest_fall(np.array(prices)), largest_fall(np.array(prices) * unit)
    assert found is not None
    assert 0 <= found < 1
    assert other == pytest.approx(found, abs=1e-9)
    assert found >= max(1 - prices[-1] / prices[0], 0) - 1e-12


def test_falls_by_hand() -> None:
    assert largest_fall(np.array([100.0, 80.0, 120.0, 60.0, 90.0])) == pytest.approx(0.5)
    assert largest_fall(np.array([1.0, 2.0, 3.0])) == 0
    assert largest_fall(np.array([5.0])) == 0
    for bad in ([], [1.0, 0.0], [1.0, -2.0], [1.0, math.nan], [math.inf, 1.0]):
        assert largest_fall(np.array(bad)) is None


def test_what_no_regression_can_be_made_of_is_said() -> None:
    rng = np.random.default_rng(1)
    moves = rng.normal(0, 0.02, (20, 2))
    returns = rng.normal(0, 0.02, 20)
    assert "too few" in str(regress(returns[:3], moves[:3]))
    assert "too few" in str(regress(np.empty(0), np.empty((0, 1))))
    assert "never moves" in str(regress(returns, np.column_stack((moves[:, 0], np.full(20, 0.01)))))
    assert "follow exactly" in str(regress(returns, np.column_stack((moves[:, 0], 2 * moves[:, 0]))))
    assert "not a finite" in str(regress(np.where(returns > 0, math.nan, returns), moves))
    assert "range of a floating" in str(regress(returns * 1e200, moves))
    still = regress(np.zeros(20), moves)
    assert isinstance(still, Regression)
    assert still.r_squared is None
    assert effect(still, np.array([-0.5, -0.5])).value == 0


def test_correlations_of_a_price_that_never_moves() -> None:
    moves = np.random.default_rng(2).normal(0, 0.02, (30, 3))
    moves[:, 1] = 0.01
    found = sample_correlation(moves)
    assert problem_of(found) is None
    assert found[0, 1] == found[1, 2] == 0
    assert found[0, 2] == pytest.approx(np.corrcoef(moves[:, 0], moves[:, 2])[0, 1])


def test_what_is_no_correlation_matrix_is_said() -> None:
    for bad, why in (
        ([[1.0]], "square"),
        ([[1.0, 0.5]], "square"),
        ([[1.0, 0.5], [0.4, 1.0]], "symmetric"),
        ([[1.0, 0.5], [0.5, 0.9]], "diagonal"),
        ([[1.0, 1.5], [1.5, 1.0]], "outside"),
        ([[1.0, math.nan], [math.nan, 1.0]], "finite"),
    ):
        assert why in str(problem_of(np.array(bad)))
    assert problem_of(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])) is None
    with pytest.raises(ValueError, match=r"share is 1\.5"):
        towards(np.eye(2), 1.5)


def test_degenerate_returns() -> None:
    assert "0 returns" in str(summarize(np.empty(0), 365))
    assert "1 returns" in str(summarize(np.array([0.1]), 365))
    assert len(scaled_about_mean(np.empty(0), 2)) == 0
    constant = summarize(np.full(5, 0.01), 365)
    assert not isinstance(constant, str)
    assert constant.volatility == pytest.approx(0, abs=1e-12)
    assert constant.max_drawdown == 0
    lost = summarize(np.array([0.1, -1.0, 0.5]), 365)
    assert not isinstance(lost, str)
    assert (lost.ruined, lost.max_drawdown, lost.total_return) == (True, 1, -1)
    assert "range" in str(summarize(np.full(10, 1e300), 365))
    assert "range" in str(summarize(np.array([0.1, math.nan]), 365))
    assert not isinstance(summarize(np.tile([0.01, -0.01], 500_000), 365), str)


def test_leverage_at_its_edges() -> None:
    assert isolated_price(100, 1, "long") == pytest.approx(0.4)
    assert isolated_distance(250) == pytest.approx(0)
    assert isolated_distance(1000) < 0, "liquidated when it is opened"
    assert cross_distance(1, "long") == 1, "an unleveraged long reaches it at a price of zero"
    assert cross_distance(0.5, "long") > 1
    assert cross_distance(0.5, "short") == pytest.approx((2 - 0.004) / 1.004)
    assert survivable_leverage(0) == pytest.approx(250)
    for bad in (-0.1, math.nan, math.inf):
        assert survivable_leverage(bad) is None
    for leverage in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="leverage is"):
            isolated_distance(leverage)


def test_closes_are_those_known_at_the_moment() -> None:
    times = np.array([10, 20, 30], dtype=np.int64)
    closes = np.array([1.0, 2.0, 3.0])
    found = closes_at(times, closes, np.array([5, 10, 19, 20, 35, 99], dtype=np.int64), 10)
    np.testing.assert_array_equal(found, [math.nan, 1, 1, 2, 3, math.nan])
    assert np.isnan(closes_at(np.empty(0, np.int64), np.empty(0), np.array([1], dtype=np.int64), 5)).all()


def test_a_passage_is_the_part_within_the_window() -> None:
    times = np.arange(6, dtype=np.int64) * 100 + 7
    balances = np.array([50.0, 100.0, 120.0, 60.0, 90.0, 500.0])
    found = passage(times, balances, 100, 400)
    assert found is not None
    assert (found.start_ms, found.end_ms) == (107, 407)
    assert found.total_return == pytest.approx(-0.1)
    assert found.largest_fall == pytest.approx(0.5)
    assert (found.gap_start_ms, found.gap_end_ms) == (107, 207)
    holed = np.delete(times, 3)
    gap = passage(holed, np.delete(balances, 3), 100, 400)
    assert gap is not None
    assert (gap.gap_start_ms, gap.gap_end_ms) == (207, 407)
    assert passage(times, balances, 100, 900) is None, "the end is not covered"
    assert passage(times, balances, -300, 400) is None
    assert passage(times, balances, 100, 120) is None, "no time passes"
    assert passage(times[:1], balances[:1], 0, 100) is None
    gone = passage(times[:5], np.array([50.0, 100.0, 40.0, 20.0, 0.0]), 100, 400)
    assert gone is not None
    assert (gone.total_return, gone.largest_fall) == (-1, 1)


@pytest.mark.parametrize(
    ("spacing_hours", "window_days", "allowed_hours"),
    [
        (1, 10, 2),
        (12, 10, 24),
        (24, 10, 36),
        (24, 366, 48),
        (168, 366, 336),
        (744, 366, 439.2),
        (744, 10, 36),
    ],
)
def test_how_far_apart_balances_may_be(spacing_hours: int, window_days: int, allowed_hours: float) -> None:
    times = np.arange(20, dtype=np.int64) * spacing_hours * 3_600_000
    times[-1] += 90 * DAY_MS
    found = longest_gap_allowed(times, 5, 5 + window_days * DAY_MS)
    assert found == pytest.approx(allowed_hours * 3_600_000, rel=1e-12)


def test_windows_are_whole_days_in_order_and_hold_their_table() -> None:
    starts = [crisis.start for crisis in CRISES]
    assert starts == sorted(starts)
    assert len({crisis.name for crisis in CRISES}) == len(CRISES)
    for crisis in CRISES:
        assert crisis.start_ms < crisis.end_ms
        assert crisis.start_ms % 86_400_000 == crisis.end_ms % 86_400_000 == 0
        assert crisis.start_ms // 86_400_000 == (date.fromisoformat(crisis.start) - date(1970, 1, 1)).days
        assert {"BTC", "ETH"} <= set(crisis.falls)
        for entry in crisis.falls.values():
            assert crisis.start <= entry.peak_date < entry.trough_date < crisis.end
            assert 0 < entry.fall < 1


def test_a_table_is_of_prices_in_dollars() -> None:
    crisis = CRISES[0]
    assert crisis.table_fall("BTC-USDT") == crisis.table_fall("BTC-USD") == crisis.falls["BTC"]
    assert crisis.table_fall("ETH-BTC") is None
    assert crisis.table_fall("DOGE-USDT") is None
