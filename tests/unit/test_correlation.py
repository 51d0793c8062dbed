"""What is true of every correlation, and what happens where there is none."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from jesse_mcp.analytics.correlation import (
    METHODS,
    Method,
    average_correlation,
    confidence_interval,
    constant_columns,
    correlations,
    effective_bets,
    lag_one_autocorrelation,
    rolling_correlation,
)
from jesse_mcp.analytics.correlation_clusters import hierarchical_clusters
from jesse_mcp.analytics.covariance_shrinkage import ledoit_wolf_correlation
from jesse_mcp.analytics.multiple_testing import adjusted_p_values
from jesse_mcp.analytics.pair_screening import screened_pairs, unit_root_p_values

Floats = NDArray[np.float64]

tables = st.tuples(st.integers(5, 30), st.integers(2, 6)).flatmap(
    lambda shape: arrays.arrays(np.float64, shape, elements=st.floats(-0.5, 0.5, width=32))
)
methods = st.sampled_from(METHODS)


def walks(seed: int, n: int = 250, k: int = 4) -> Floats:
    return np.random.default_rng(seed).normal(0, 0.02, (n, k)).cumsum(axis=0)


def reverting(seed: int, half_life: float, n: int = 500) -> Floats:
    """A walk, and the same plus a spread that halves in ``half_life``."""
    drawn = np.random.default_rng(seed)
    phi = 0.5 ** (1 / half_life)
    walk, shocks = drawn.normal(0, 0.02, n).cumsum(), drawn.normal(0, 0.02, n)
    spread = np.zeros(n)
    for at in range(1, n):
        spread[at] = phi * spread[at - 1] + shocks[at]
    return np.column_stack([walk + spread, walk])


class TestMatrix:
    @given(tables, methods)
    @settings(deadline=None, max_examples=60)
    def test_it_is_a_correlation_matrix(self, values: Floats, method: Method) -> None:
        found = correlations(values, method)
        still = constant_columns(values)
        np.testing.assert_array_equal(found.matrix, found.matrix.T)
        np.testing.assert_array_equal(np.isnan(np.diag(found.matrix)), still)
        assert np.isnan(found.matrix[still]).all()
        kept = found.matrix[np.ix_(~still, ~still)]
        assert (np.diag(kept) == 1).all()
        assert (np.abs(kept) <= 1).all()
        assert not len(kept) or np.linalg.eigvalsh(kept)[0] > -1e-9
        p_values = found.p_values[np.ix_(~still, ~still)][~np.eye(len(kept), dtype=bool)]
        assert ((p_values >= 0) & (p_values <= 1)).all()

    @given(tables, methods, st.floats(1e-6, 1e6))
    @settings(deadline=None, max_examples=40)
    def test_units_do_not_matter(self, values: Floats, method: Method, unit: float) -> None:
        still = constant_columns(values) | constant_columns(values * unit)
        values = values[:, ~still]
        once, again = correlations(values, method).matrix, correlations(values * unit, method).matrix
        np.testing.assert_allclose(once, again, rtol=0, atol=1e-9)

    @pytest.mark.parametrize("method", ["spearman", "kendall"])
    def test_ranks_know_no_curve(self, method: Method) -> None:
        values = np.random.default_rng(1).normal(size=(100, 3))
        bent = np.exp(values)
        np.testing.assert_allclose(correlations(values, method).matrix, correlations(bent, method).matrix)

    @pytest.mark.parametrize("method", METHODS)
    def test_opposite_and_equal_series_are_exactly_so(self, method: Method) -> None:
        x = np.random.default_rng(2).normal(size=77)
        found = correlations(np.column_stack([x, x, -3 * x]), method)
        assert found.matrix.tolist() == [[1, 1, -1], [1, 1, -1], [-1, -1, 1]]
        assert found.p_values[0, 1] < 1e-20

    @pytest.mark.parametrize("method", METHODS)
    def test_what_does_not_vary_has_no_correlation(self, method: Method) -> None:
        drawn = np.random.default_rng(3)
        prices = 100 * 1.01 ** np.arange(51)
        steady = prices[1:] / prices[:-1] - 1
        found = correlations(np.column_stack([drawn.normal(size=(50, 2)), steady, np.zeros(50)]), method)
        assert constant_columns(np.column_stack([steady, np.zeros(50)])).all()
        assert np.isnan(found.matrix[2:]).all()
        assert np.isfinite(found.matrix[:2, :2]).all()

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("n", [0, 1])
    def test_without_two_periods_there_is_none(self, method: Method, n: int) -> None:
        assert np.isnan(correlations(np.ones((n, 3)), method).matrix).all()

    @pytest.mark.parametrize("method", METHODS)
    def test_two_periods_have_no_p_value(self, method: Method) -> None:
        found = correlations(np.array([[1.0, 5.0], [2.0, 3.0]]), method)
        assert found.matrix[0, 1] == -1
        assert math.isnan(found.p_values[0, 1])

    def test_tiny_and_huge_numbers_are_no_obstacle(self) -> None:
        values = np.random.default_rng(4).normal(size=(40, 2))
        huge = correlations(values * 1e200).matrix[0, 1]
        assert huge == pytest.approx(correlations(values).matrix[0, 1], abs=1e-14)


class TestIntervals:
    @given(st.floats(-0.999, 0.999), st.integers(5, 10_000), methods, st.floats(0.5, 0.9999))
    def test_they_hold_the_correlation_and_stay_within_one(
        self, correlation: float, n: int, method: Method, confidence: float
    ) -> None:
        interval = confidence_interval(correlation, n, method, confidence)
        assert interval is not None
        assert -1 <= interval[0] <= correlation <= interval[1] <= 1

    @pytest.mark.parametrize("method", METHODS)
    def test_where_there_is_none(self, method: Method) -> None:
        assert confidence_interval(1.0, 100, method, 0.95) is None
        assert confidence_interval(-1.0, 100, method, 0.95) is None
        assert confidence_interval(0.5, 3, method, 0.95) is None
        assert (confidence_interval(0.5, 4, method, 0.95) is None) is (method == "kendall")

    @pytest.mark.parametrize("method", METHODS)
    def test_they_hold_the_truth_as_often_as_they_say(self, method: Method) -> None:
        """Of a bivariate normal: 6 asin(rho / 2) / pi is Spearman's, 2 asin(rho) / pi Kendall's truth.

        Kruskal, "Ordinal measures of association", Journal of the American Statistical Association 53, 1958.
        """
        rho, n, repeats = 0.5, 60, 1_000
        truth = {
            "pearson": rho,
            "spearman": 6 / math.pi * math.asin(rho / 2),
            "kendall": 2 / math.pi * math.asin(rho),
        }
        drawn = np.random.default_rng(5).normal(size=(repeats, n, 2))
        drawn[:, :, 1] = rho * drawn[:, :, 0] + math.sqrt(1 - rho**2) * drawn[:, :, 1]
        hits = 0
        for sample in drawn:
            interval = confidence_interval(float(correlations(sample, method).matrix[0, 1]), n, method, 0.95)
            hits += interval is not None and interval[0] <= truth[method] <= interval[1]
        assert hits / repeats == pytest.approx(0.95, abs=0.02)


class TestSummaries:
    def test_no_correlation_and_all(self) -> None:
        assert effective_bets(np.eye(8)) == pytest.approx(8)
        assert effective_bets(np.ones((8, 8))) == pytest.approx(1)
        assert effective_bets(np.empty((0, 0))) is None
        assert average_correlation(np.eye(1)) is None

    @given(tables)
    @settings(deadline=None, max_examples=40)
    def test_bets_are_between_one_and_all(self, values: Floats) -> None:
        kept = values[:, ~constant_columns(values)]
        bets = effective_bets(correlations(kept).matrix)
        assert bets is None if not kept.shape[1] else 1 <= (bets or 0) <= kept.shape[1]

    def test_autocorrelation_of_what_does_not_vary(self) -> None:
        found = lag_one_autocorrelation(np.column_stack([np.ones(20), np.arange(20.0)]))
        assert math.isnan(found[0])
        assert found[1] > 0.8


class TestRolling:
    @pytest.mark.parametrize("method", METHODS)
    def test_the_last_window_is_that_of_the_end_alone(self, method: Method) -> None:
        values = np.random.default_rng(6).normal(size=(70, 2))
        rolled = rolling_correlation(values[:, 0], values[:, 1], 15, method)
        assert len(rolled) == 56
        assert rolled[-1] == pytest.approx(correlations(values[-15:], method).matrix[0, 1], abs=1e-14)

    @pytest.mark.parametrize("method", METHODS)
    def test_later_prices_change_no_window(self, method: Method) -> None:
        values = np.random.default_rng(7).normal(size=(70, 2))
        whole = rolling_correlation(values[:, 0], values[:, 1], 15, method)
        for cut in range(20, 70):
            part = rolling_correlation(values[:cut, 0], values[:cut, 1], 15, method)
            np.testing.assert_array_equal(part, whole[: cut - 14])

    @pytest.mark.parametrize("method", METHODS)
    def test_windows_without_movement_have_none(self, method: Method) -> None:
        values = np.random.default_rng(8).normal(size=(40, 2))
        values[10:25, 1] = 0.0
        rolled = rolling_correlation(values[:, 0], values[:, 1], 10, method)
        assert np.flatnonzero(np.isnan(rolled)).tolist() == list(range(10, 16))

    def test_the_work_can_be_stopped(self) -> None:
        def stop() -> None:
            raise InterruptedError

        with pytest.raises(InterruptedError):
            rolling_correlation(np.arange(9.0), np.arange(9.0), 5, pause=stop)


class TestClusters:
    def test_few_series_are_one_cluster(self) -> None:
        assert hierarchical_clusters(np.eye(2)).labels == (0, 0)
        assert hierarchical_clusters(np.eye(2)).silhouette is None
        assert hierarchical_clusters(np.eye(1)).order == (0,)

    def test_series_that_are_all_the_same_or_all_apart_are_one(self) -> None:
        for matrix in (np.ones((5, 5)), np.eye(5)):
            clustering = hierarchical_clusters(matrix)
            assert clustering.silhouette is None
            assert set(clustering.labels) == {0}

    @given(st.permutations(range(6)))
    @settings(deadline=None, max_examples=20)
    def test_the_order_asked_for_does_not_matter(self, order: list[int]) -> None:
        drawn = np.random.default_rng(9)
        values = np.repeat(drawn.normal(size=(200, 2)), 3, axis=1) + 0.4 * drawn.normal(size=(200, 6))
        clustering = hierarchical_clusters(correlations(values[:, order]).matrix)
        together = {frozenset(order[at] for at in range(6) if clustering.labels[at] == n) for n in (0, 1)}
        assert together == {frozenset({0, 1, 2}), frozenset({3, 4, 5})}
        assert sorted(clustering.order) == list(range(6))


class TestShrinkage:
    @given(tables)
    @settings(deadline=None, max_examples=40)
    def test_it_is_between_the_sample_and_no_correlation(self, values: Floats) -> None:
        kept = values[:, ~constant_columns(values)]
        if kept.shape[1] < 2:
            return
        for ranks in (False, True):
            shrunk = ledoit_wolf_correlation(kept, ranks=ranks)
            sample = correlations(kept, "spearman" if ranks else "pearson").matrix
            assert 0 <= shrunk.intensity <= 1
            assert (np.diag(shrunk.matrix) == 1).all()
            expected = (1 - shrunk.intensity) * sample + shrunk.intensity * np.eye(len(sample))
            np.testing.assert_allclose(shrunk.matrix, expected, rtol=0, atol=1e-9)


class TestScreening:
    def test_taking_the_better_direction_is_paid_for(self) -> None:
        for test in screened_pairs(walks(10)):
            assert test.p_values is not None
            assert test.p_value == min(1.0, 2 * min(test.p_values))

    def test_the_order_of_the_series_changes_no_p_value(self) -> None:
        table = walks(11)
        one = {test.pair: test for test in screened_pairs(table)}
        for test in screened_pairs(table[:, ::-1]):
            other = one[(3 - test.pair[1], 3 - test.pair[0])]
            assert test.p_value == pytest.approx(other.p_value, rel=1e-9)
            assert test.hedge_ratio == pytest.approx(other.hedge_ratio, rel=1e-9)
            assert other.dependent == 3 - (test.dependent or 0)

    def test_units_of_prices_change_nothing_but_the_intercept(self) -> None:
        table = walks(12, k=2)
        (one,), (other,) = screened_pairs(table), screened_pairs(table + np.log([10, 1]))
        for name in ("p_value", "statistic", "hedge_ratio", "half_life"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-6), name

    def test_what_cannot_be_tested_says_why(self) -> None:
        walk = walks(13, k=1)[:, 0]
        table = np.column_stack(
            [walk, walk + 3, np.zeros(250), np.where(np.arange(250) < 249, walk, -np.inf)]
        )
        reasons = {test.pair: test.reason for test in screened_pairs(table)}
        assert "no spread" in (reasons[0, 1] or "")
        assert "constant" in (reasons[0, 2] or "")
        assert "finite" in (reasons[0, 3] or "")
        assert all(test.p_value is None for test in screened_pairs(table[:20]))
        assert unit_root_p_values(table)[2:] == (None, None)

    def test_a_planted_pair_is_found_with_its_half_life(self) -> None:
        """Half-life 5 of 1,000 periods, as if it were one of 435 pairs: 40 of 40 are found."""
        found = [screened_pairs(reverting(seed, 5, 1_000))[0] for seed in range(40)]
        assert sum((test.p_value or 0) * 435 <= 0.05 for test in found) >= 39
        lives = [test.half_life or math.inf for test in found]
        assert np.median(lives) == pytest.approx(5, rel=0.1)

    def test_independent_walks_are_rarely_called_cointegrated(self) -> None:
        """10 families of 28 pairs: with a true rate of 5 %, three or more have a chance of 1.2 %."""
        raw = corrected = 0
        for seed in range(10):
            p_values = [test.p_value for test in screened_pairs(walks(100 + seed, k=8))]
            raw += min(p for p in p_values if p is not None) <= 0.05
            corrected += min(p for p in adjusted_p_values(p_values, "holm") if p is not None) <= 0.05
        assert corrected <= 2
        assert raw > corrected

    def test_the_threads_of_linear_algebra_are_given_back(self) -> None:
        from threadpoolctl import threadpool_info

        def threads() -> list[int]:
            return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

        before, inside = threads(), []
        screened_pairs(walks(14, k=2), lambda _: inside.append(threads()))
        assert threads() == before
        assert inside == [[1] * len(before)]


def test_a_server_starts_without_the_heavy_libraries() -> None:
    code = (
        "import sys, jesse_mcp.server.assembly; "
        "print(sorted({'scipy', 'statsmodels', 'sklearn', 'threadpoolctl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
