"""Factor regression: what holds for any data, and what has no answer."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jesse_mcp.analytics.factor_attribution import attribution, risk_split, rolling_betas
from jesse_mcp.analytics.factor_regression import FactorRegression, factor_regression, why_no_regression

Floats = NDArray[np.float64]
NAMES = ["one", "two", "three", "four", "five", "six"]


def drawn(seed: int, n: int = 120, k: int = 3, scale: float = 0.02) -> tuple[Floats, Floats]:
    generator = np.random.default_rng(seed)
    factors = generator.normal(0.001, scale, (n, k))
    return factors @ generator.normal(size=k) + generator.normal(0, scale, n), factors


def assert_numbers(found: Any) -> None:
    """Every number is finite, every ``None`` is meant."""
    for value in dataclasses.asdict(found).values():
        array = np.array(value, dtype=object).ravel()
        for item in array:
            values = item.values() if isinstance(item, dict) else [item]
            for one in values:
                assert one is None or math.isfinite(one)


class TestProperties:
    @settings(max_examples=20)
    @given(st.integers(0, 10_000), st.integers(1, 5), st.integers(10, 200))
    def test_the_parts_add_up_to_the_mean(self, seed: int, k: int, n: int) -> None:
        returns, factors = drawn(seed, n, k)
        found = factor_regression(returns, factors)
        parts = attribution(returns, factors, found)
        total = parts.alpha + sum(parts.contributions) + parts.residual
        assert total == pytest.approx(returns.mean(), rel=1e-12, abs=1e-16)
        assert abs(parts.residual) < 1e-15
        assert parts.shares is not None
        assert parts.alpha_share is not None
        assert sum(parts.shares) + parts.alpha_share == pytest.approx(1, abs=1e-9 / abs(parts.mean))

    @settings(max_examples=20)
    @given(st.integers(0, 10_000), st.integers(1, 5))
    def test_the_risks_add_up_to_the_variance(self, seed: int, k: int) -> None:
        returns, factors = drawn(seed, k=k)
        found = factor_regression(returns, factors)
        split = risk_split(returns, factors, found)
        assert split.systematic**2 + split.idiosyncratic**2 == pytest.approx(split.total**2, rel=1e-12)
        assert sum(split.shares) == pytest.approx(found.r_squared, rel=1e-9, abs=1e-12)
        assert 0 <= found.r_squared <= 1
        assert found.adjusted_r_squared <= found.r_squared

    @settings(max_examples=20)
    @given(st.integers(0, 10_000))
    def test_residuals_are_orthogonal_to_everything(self, seed: int) -> None:
        returns, factors = drawn(seed)
        residuals = factor_regression(returns, factors).residuals
        assert abs(residuals.sum()) < 1e-13
        np.testing.assert_allclose(residuals @ factors, 0, atol=1e-14)

    @settings(max_examples=20)
    @given(st.integers(0, 10_000), st.sampled_from([1e-9, 1e4, 1e150]))
    def test_units_do_not_matter(self, seed: int, unit: float) -> None:
        returns, factors = drawn(seed)
        plain, scaled = factor_regression(returns, factors), factor_regression(returns * unit, factors)
        for one, other in zip(plain.betas, scaled.betas, strict=True):
            assert other.value == pytest.approx(one.value * unit, rel=1e-9)
            assert other.t == pytest.approx(one.t, rel=1e-9)
        assert scaled.r_squared == pytest.approx(plain.r_squared, rel=1e-9, abs=1e-12)
        other_unit = factor_regression(returns, factors * unit)
        assert other_unit.betas[0].value == pytest.approx(plain.betas[0].value / unit, rel=1e-9)
        assert other_unit.f == pytest.approx(plain.f, rel=1e-9)
        assert other_unit.vif == pytest.approx(plain.vif, rel=1e-9)
        assert other_unit.condition_number == pytest.approx(plain.condition_number, rel=1e-9)
        assert risk_split(returns * unit, factors, scaled).shares == pytest.approx(
            risk_split(returns, factors, plain).shares, rel=1e-9, abs=1e-12
        )

    @settings(max_examples=20)
    @given(st.integers(0, 10_000), st.permutations([0, 1, 2]))
    def test_the_order_of_factors_does_not_matter(self, seed: int, order: list[int]) -> None:
        returns, factors = drawn(seed)
        plain, turned = factor_regression(returns, factors), factor_regression(returns, factors[:, order])
        for place, one in enumerate(order):
            assert turned.betas[place].value == pytest.approx(plain.betas[one].value, rel=1e-9, abs=1e-12)
            assert turned.vif[place] == pytest.approx(plain.vif[one], rel=1e-9)
        assert turned.alpha.p == pytest.approx(plain.alpha.p, rel=1e-7)

    @settings(max_examples=20)
    @given(st.integers(0, 10_000), st.floats(-5, 5), st.floats(-0.01, 0.01))
    def test_what_is_added_is_found(self, seed: int, more: float, gain: float) -> None:
        returns, factors = drawn(seed)
        plain = factor_regression(returns, factors)
        added = factor_regression(returns + gain + more * factors[:, 1], factors)
        assert added.betas[1].value == pytest.approx(plain.betas[1].value + more, abs=1e-9)
        assert added.betas[0].value == pytest.approx(plain.betas[0].value, abs=1e-9)
        assert added.alpha.value == pytest.approx(plain.alpha.value + gain, abs=1e-12)
        assert added.alpha.standard_error == pytest.approx(plain.alpha.standard_error, rel=1e-7)

    def test_errors_cover_the_truth_as_often_as_they_say(self) -> None:
        """Residuals with an autocorrelation of a half; errors without lags cover 82 % of these samples."""
        inside = 0
        for seed in range(400):
            generator = np.random.default_rng(seed)
            noise = generator.normal(0, 0.01, 502)
            slow = noise[2:] + 0.5 * noise[1:-1] + 0.25 * noise[:-2]
            factor = generator.normal(0, 0.02, (500, 1))
            alpha = factor_regression(slow + factor[:, 0], factor).alpha
            assert alpha.low is not None
            assert alpha.high is not None
            inside += alpha.low <= 0 <= alpha.high
        assert 0.91 <= inside / 400 <= 0.97


class TestNoAnswer:
    @pytest.mark.parametrize("n", [0, 1, 2, 4])
    def test_too_few(self, n: int) -> None:
        returns, factors = drawn(1)
        assert why_no_regression(returns[:n], factors[:n], NAMES[:3]) == (
            f"{n} periods are too few for 3 factors and an intercept: 5 are the least"
        )

    def test_the_fewest(self) -> None:
        returns, factors = drawn(1, n=5)
        assert why_no_regression(returns, factors, NAMES[:3]) is None
        found = factor_regression(returns, factors)
        assert found.freedom == 1
        assert_numbers(found)

    def test_more_factors_than_periods(self) -> None:
        returns, factors = drawn(1, n=6, k=6)
        assert "too few for 6 factors" in (why_no_regression(returns, factors, NAMES) or "")

    @pytest.mark.parametrize("wrong", [math.nan, math.inf])
    def test_not_a_number(self, wrong: float) -> None:
        returns, factors = drawn(1)
        spoiled = factors.copy()
        spoiled[7, 1] = wrong
        assert why_no_regression(returns, spoiled, NAMES[:3]) == "a return is not a finite number"
        returns[3] = wrong
        assert why_no_regression(returns, factors, NAMES[:3]) == "a return is not a finite number"

    def test_what_does_not_vary(self) -> None:
        returns, factors = drawn(1)
        assert why_no_regression(np.full(120, 0.1), factors, NAMES[:3]) == (
            "the returns do not vary: there is nothing to explain"
        )
        factors[:, 1] = 0.3
        factors[:, 2] = 0
        assert why_no_regression(returns, factors, NAMES[:3]) == "the returns of two, three do not vary"

    @pytest.mark.parametrize("noise", [0, 1e-16, 1e-13])
    def test_factors_that_are_made_of_each_other(self, noise: float) -> None:
        returns, factors = drawn(1, k=4)
        factors[:, 3] = 2 * factors[:, 0] - factors[:, 1] + 0.01
        factors[:, 3] += noise * np.random.default_rng(2).normal(size=120)
        assert why_no_regression(returns, factors, NAMES[:4]) == (
            "one, two, four are linear combinations of each other"
        )

    def test_the_same_factor_twice_in_other_units(self) -> None:
        returns, factors = drawn(1)
        factors[:, 2] = 1e6 * factors[:, 0]
        assert (
            why_no_regression(returns, factors, NAMES[:3])
            == "one, three are linear combinations of each other"
        )

    def test_two_pairs_of_the_same(self) -> None:
        returns, factors = drawn(1, k=5)
        factors[:, 3], factors[:, 4] = factors[:, 0], -factors[:, 1]
        assert why_no_regression(returns, factors, NAMES[:5]) == (
            "one, two, four, five are linear combinations of each other"
        )

    def test_nearly_the_same_is_answered_and_shown(self) -> None:
        returns, factors = drawn(1, k=2)
        factors[:, 1] = factors[:, 0] + 1e-6 * np.random.default_rng(2).normal(size=120)
        assert why_no_regression(returns, factors, NAMES[:2]) is None
        found = factor_regression(returns, factors)
        assert min(found.vif) > 1e6
        assert found.condition_number > 1e3

    def test_one_factor_is_not_inflated(self) -> None:
        assert factor_regression(*drawn(1, k=1)).vif == (1.0,)

    def test_an_exact_fit_has_no_errors(self) -> None:
        _, factors = drawn(1)
        found = factor_regression(factors @ np.array([1.0, -2, 0.5]) + 0.001, factors)
        assert found.r_squared == found.adjusted_r_squared == 1
        assert found.alpha.value == pytest.approx(0.001, rel=1e-9)
        for one in (found.alpha, *found.betas):
            assert (one.standard_error, one.t, one.p, one.low, one.high) == (None,) * 5
        assert found.f is found.f_p is found.durbin_watson is None

    def test_many_lags_of_few_periods_have_no_wrong_f(self) -> None:
        returns, factors = drawn(1, n=7, k=5)
        found: FactorRegression = factor_regression(returns, factors, hac_lags=6)
        assert_numbers(found)
        assert found.f is None or found.f >= 0

    def test_a_mean_of_zero_has_no_shares(self) -> None:
        returns, factors = drawn(1)
        centred = returns - returns.mean()
        parts = attribution(centred, factors, factor_regression(centred, factors))
        assert parts.shares is None
        assert parts.alpha_share is None
        assert parts.alpha + sum(parts.contributions) == pytest.approx(0, abs=1e-16)


class TestRolling:
    def test_one_window_is_the_regression(self) -> None:
        returns, factors = drawn(1)
        found, whole = rolling_betas(returns, factors, 120, most=50), factor_regression(returns, factors)
        assert found.ends.tolist() == [119]
        assert found.betas[0] == pytest.approx([beta.value for beta in whole.betas], rel=1e-9)
        assert found.alphas[0] == pytest.approx(whole.alpha.value, rel=1e-9)

    @settings(max_examples=20)
    @given(st.integers(5, 120), st.integers(2, 200))
    def test_there_are_no_more_than_asked_for_and_the_last_one(self, window: int, most: int) -> None:
        returns, factors = drawn(1)
        found = rolling_betas(returns, factors, window, most)
        assert 1 <= len(found.ends) <= most
        assert found.ends[-1] == 119
        assert found.ends[0] >= window - 1
        assert found.ends[0] - found.every < window - 1
        assert (np.diff(found.ends) == found.every).all()

    def test_a_flat_window_has_none(self) -> None:
        returns, factors = drawn(1)
        factors[:40, 0] = 0
        found = rolling_betas(returns, factors, 30, most=200)
        known = np.isfinite(found.betas).all(axis=1)
        assert known.tolist() == [end >= 40 for end in found.ends.tolist()]
        assert (np.isfinite(found.alphas) == known).all()

    def test_a_change_of_exposure_is_seen(self) -> None:
        _, factors = drawn(1, n=200, k=1)
        betas = np.where(np.arange(200) < 100, 1.0, -1.0)
        noise = np.random.default_rng(4).normal(0, 1e-4, 200)
        found = rolling_betas(betas * factors[:, 0] + noise, factors, 50, most=300)
        assert found.betas[0, 0] == pytest.approx(1, abs=0.01)
        assert found.betas[-1, 0] == pytest.approx(-1, abs=0.01)

    def test_it_stops_when_told(self) -> None:
        def stop() -> None:
            raise InterruptedError

        with pytest.raises(InterruptedError):
            rolling_betas(*drawn(1), 20, 10, stop)
