"""Inference on returns: properties that hold of all of them, and what becomes of degenerate ones."""

import dataclasses
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jesse_mcp.analytics.data_snooping import data_snooping, why_no_data_snooping
from jesse_mcp.analytics.multiple_testing import adjusted_p_values, mean_test
from jesse_mcp.analytics.overfitting import probability_of_overfitting, why_no_pbo
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
    minimum_track_record_length,
    probabilistic_sharpe_ratio,
    sharpe_estimate,
    sharpe_standard_error,
    why_no_sharpe,
)

any_float = st.floats(allow_nan=True, allow_infinity=True)
finite = st.floats(allow_nan=False, allow_infinity=False)
sharpes = st.floats(-3, 3)
DEGENERATE: dict[str, list[float]] = {
    "empty": [],
    "one": [0.01],
    "two": [0.01, -0.02],
    "constant": [0.1] * 50,
    "zeros": [0.0] * 50,
    "NaN": [0.01, math.nan, 0.02, 0.03],
    "infinite": [0.01, math.inf, 0.02, 0.03],
    "only winners": [0.01, 0.02, 0.03, 0.02],
    "only losers": [-0.01, -0.02, -0.03, -0.02],
    "ruin": [0.01, 0.02, -1.0],
    "huge": [1e308, -1e308, 1e308, 1e307],
    "tiny": [5e-324, 0.0, 1e-320, 2e-310],
    "two values": [0.01, -0.01] * 30,
    "one outlier": [0.0] * 99 + [1.0],
    "barely varying": [1.0, 1.0 + 2e-16, 1.0, 1.0],
}


def assert_numbers(value: object) -> None:
    """No NaN and no infinity anywhere in a result."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            assert_numbers(getattr(value, field.name))
    elif isinstance(value, np.ndarray):
        assert np.isfinite(value).all()
    elif isinstance(value, float):
        assert math.isfinite(value)


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_returns_have_numbers_or_a_reason(name: str) -> None:
    returns = np.array(DEGENERATE[name])
    estimate, test = sharpe_estimate(returns), mean_test(returns, seed=1, resamples=20)
    assert (estimate is None) == (test is None) == (why_no_sharpe(returns) is not None)
    assert_numbers(estimate)
    assert_numbers(test)
    table = np.repeat(returns[:, None], 12, axis=1)
    assert variance_of_trials(list(table.T), len(returns)) in (None, pytest.approx(0.0, abs=1e-12))
    assert_numbers(spread_of_trials([*table.T, returns / 2, returns[:-1]], len(returns)))
    assert_numbers(effective_trials(table))
    assert probability_of_overfitting(table) is None
    assert why_no_pbo(table) is not None
    assert_numbers(data_snooping(table, np.zeros(len(table)), seed=1, resamples=20))


@settings(max_examples=150, deadline=None)
@given(arrays.arrays(np.float64, st.integers(0, 12), elements=any_float))
def test_any_returns_have_numbers_or_a_reason(returns: Any) -> None:
    estimate, test = sharpe_estimate(returns), mean_test(returns, seed=1, resamples=10)
    assert (estimate is None) == (test is None) == (why_no_sharpe(returns) is not None)
    assert_numbers(estimate)
    assert_numbers(test)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.float64, st.tuples(st.integers(0, 14), st.integers(0, 4)), elements=finite),
    st.integers(-1, 6),
)
def test_any_table_has_numbers_or_a_reason(returns: Any, splits: int) -> None:
    found = probability_of_overfitting(returns, splits)
    assert (found is None) == (why_no_pbo(returns, splits) is not None)
    assert_numbers(found)
    assert_numbers(effective_trials(returns))
    zeros = np.zeros(len(returns))
    snooping = data_snooping(returns, zeros, seed=1, resamples=10)
    assert (snooping is None) == (why_no_data_snooping(returns, zeros) is not None)
    assert_numbers(snooping)


@example(0.0, 2, 0.0, 0.0, math.nan)
@example(0.0, 2, 0.0, 3.0, math.inf)
@settings(max_examples=1_000)
@given(any_float, st.integers(-2, 10**6), any_float, any_float, any_float)
def test_a_probabilistic_sharpe_ratio_is_a_probability(
    sharpe: float, n: int, skewness: float, kurtosis: float, benchmark: float
) -> None:
    found = probabilistic_sharpe_ratio(sharpe, n, skewness, kurtosis, benchmark)
    assert found is None or 0 <= found <= 1
    deflated = deflated_sharpe_ratio(sharpe, n, skewness, kurtosis, 10, 0.01)
    assert deflated is None or 0 <= deflated <= 1
    length = minimum_track_record_length(sharpe, skewness, kurtosis, benchmark)
    assert length is None or (length >= 1 and math.isfinite(length))


@given(sharpes, st.integers(10, 5_000), st.floats(1, 1e9), st.floats(1.01, 100), st.floats(1e-6, 1))
def test_more_trials_never_make_a_result_better(
    sharpe: float, n: int, trials: float, factor: float, variance: float
) -> None:
    few = deflated_sharpe_ratio(sharpe, n, -0.5, 5.0, trials, variance)
    many = deflated_sharpe_ratio(sharpe, n, -0.5, 5.0, trials * factor, variance)
    alone = probabilistic_sharpe_ratio(sharpe, n, -0.5, 5.0)
    assert few is not None
    assert many is not None
    assert alone is not None
    assert many <= few <= alone
    assert expected_maximum(trials) <= expected_maximum(trials * factor)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1_000), st.integers(0, 30), st.integers(0, 60), st.floats(0, 5))
def test_copies_of_trials_never_make_luck_smaller(seed: int, trials: int, copies: int, skill: float) -> None:
    generator = np.random.default_rng(seed)
    series = list(generator.normal(skill * generator.normal(size=(trials, 1)) * 0.1, 1, size=(trials, 40)))
    copied = [series[at] + 1e-13 for at in generator.integers(0, trials, copies if trials else 0)]
    few, many = spread_of_trials(series, 40), spread_of_trials(series + copied, 40)
    assert many.distinct == few.distinct
    assert many.variance == pytest.approx(few.variance)
    luck = expected_maximum_sharpe(trials + len(copied), many.variance)
    assert luck >= expected_maximum_sharpe(trials, few.variance) * (1 - 1e-9)
    assert many.variance >= 1 / 39


def test_a_family_of_copies_owes_to_luck_what_trials_without_skill_do() -> None:
    same = spread_of_trials([np.random.default_rng(1).normal(0.1, 1, 50)] * 10, 50)
    assert (same.variance, same.observed, same.distinct) == (1 / 49, False, 1)
    assert same.plain == pytest.approx(0.0, abs=1e-30)
    near = np.random.default_rng(1).normal(0.1, 1, 50) + np.random.default_rng(2).normal(0, 0.001, (10, 50))
    assert spread_of_trials(list(near), 50).distinct == 1
    assert spread_of_trials([], 50).variance == 1 / 49
    assert spread_of_trials([], 1).variance == 0.0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1_000), st.integers(40, 80), st.floats(-1e6, 1e6), st.floats(0, 5))
def test_one_absurd_trial_moves_luck_by_little(seed: int, trials: int, absurd: float, skill: float) -> None:
    generator = np.random.default_rng(seed)
    series = list(generator.normal(skill * generator.normal(size=(trials, 1)) * 0.1, 1, size=(trials, 40)))
    before = spread_of_trials(series, 40)
    after = spread_of_trials([*series, generator.normal(absurd, 1, 40)], 40)
    # At most the square of the fence, shared by all the trials.
    assert after.variance <= 2 * before.variance
    assert expected_maximum_sharpe(trials + 1, after.variance) <= 1.45 * expected_maximum_sharpe(
        trials, before.variance
    )


def test_more_trials_make_a_result_worse() -> None:
    found = [deflated_sharpe_ratio(0.15, 365, -0.5, 5.0, n, 0.002) or 0 for n in (1, 2, 10, 100, 10_000)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 5


@given(sharpes, st.integers(3, 5_000), sharpes, st.floats(0.001, 2))
def test_a_higher_benchmark_is_harder_to_beat(sharpe: float, n: int, benchmark: float, more: float) -> None:
    easy = probabilistic_sharpe_ratio(sharpe, n, benchmark=benchmark)
    hard = probabilistic_sharpe_ratio(sharpe, n, benchmark=benchmark + more)
    assert easy is not None
    assert hard is not None
    assert hard <= easy


def test_one_trial_is_no_selection() -> None:
    assert expected_maximum(1) == expected_maximum(0) == expected_maximum(math.nan) == 0.0
    assert deflated_sharpe_ratio(0.1, 100, 0.0, 3.0, 1, 0.5) == probabilistic_sharpe_ratio(0.1, 100)


@given(st.floats(1, 1e300))
def test_an_expected_maximum_is_a_number(trials: float) -> None:
    assert 0 <= expected_maximum(trials) < 40


def test_what_has_no_length_says_so() -> None:
    assert minimum_track_record_length(0.1, benchmark=0.1) is None
    assert minimum_track_record_length(0.1, benchmark=0.2) is None
    assert minimum_track_record_length(0.1, confidence=0.5) is None
    assert minimum_backtest_length(10, 0.0) is None
    assert minimum_backtest_length(10, -1.0) is None
    assert minimum_backtest_length(10, 1e-300) is None
    assert variance_without_skill(1) is None
    assert sharpe_standard_error(0.1, 1) is None
    # Skewness squared plus one is the least kurtosis there is.
    assert sharpe_standard_error(1.0, 100, skewness=3.0, kurtosis=2.0) is None


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e6))
def test_a_sharpe_ratio_has_no_unit(seed: int, factor: float) -> None:
    returns = np.random.default_rng(seed).standard_t(4, 60) * 0.01
    one, other = sharpe_estimate(returns), sharpe_estimate(returns * factor)
    assert one is not None
    assert other is not None
    assert dataclasses.astuple(other) == pytest.approx(dataclasses.astuple(one), rel=1e-9, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(1, 5))
def test_copies_of_a_strategy_change_no_probability_of_overfitting(seed: int, n: int, copied: int) -> None:
    returns = np.random.default_rng(seed).normal(size=(40, n))
    alone = probability_of_overfitting(returns, 8)
    padded = probability_of_overfitting(np.column_stack([returns, *[returns[:, 0]] * copied]), 8)
    assert alone is not None
    assert padded is not None
    assert padded.strategies == n
    np.testing.assert_array_equal(padded.logits, alone.logits)


def test_the_chunks_of_combinations_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    returns = np.random.default_rng(4).normal(size=(64, 9))
    whole = probability_of_overfitting(returns)
    monkeypatch.setattr("jesse_mcp.analytics.overfitting._CHUNK", 9 * 7)
    parts = probability_of_overfitting(returns)
    assert whole is not None
    assert parts is not None
    np.testing.assert_array_equal(whole.logits, parts.logits)
    assert whole.pbo == parts.pbo


def test_the_oldest_periods_that_fill_no_block_are_left_out() -> None:
    returns = np.random.default_rng(5).normal(size=(67, 4))
    found, cut = probability_of_overfitting(returns, 8), probability_of_overfitting(returns[3:], 8)
    assert found is not None
    assert cut is not None
    assert found.periods == 64
    np.testing.assert_array_equal(found.logits, cut.logits)


def test_a_strategy_that_stops_trading_is_worth_nothing_there() -> None:
    returns = np.zeros((40, 3))
    generator = np.random.default_rng(6)
    returns[:20, 0] = generator.normal(0.01, 0.01, 20)
    returns[:, 1] = generator.normal(0.0, 0.01, 40)
    found = probability_of_overfitting(returns, 4)
    assert found is not None
    assert found.strategies == 3
    assert_numbers(found)


@given(st.lists(st.none() | st.floats(-0.5, 1.5) | st.just(math.nan)))
def test_adjusted_p_values_are_no_smaller_and_in_their_place(values: list[float | None]) -> None:
    for correction in ("bonferroni", "holm", "benjamini_hochberg", "benjamini_yekutieli"):
        found = adjusted_p_values(values, correction)
        assert len(found) == len(values)
        for before, after in zip(values, found, strict=True):
            known = before is not None and 0 <= before <= 1
            assert (after is not None) == known
            if before is not None and after is not None:
                assert before <= after + 1e-12 <= 1 + 1e-11


def test_a_seed_gives_one_answer() -> None:
    returns = np.random.default_rng(7).normal(0.001, 0.01, (200, 3))
    assert mean_test(returns[:, 0], 5, 200) == mean_test(returns[:, 0], 5, 200)
    assert mean_test(returns[:, 0], 5, 200) != mean_test(returns[:, 0], 6, 200)
    zeros = np.zeros(200)
    assert data_snooping(returns, zeros, 5, 100) == data_snooping(returns, zeros, 5, 100)


def test_every_strategy_may_be_superior() -> None:
    """One stands out, and only after it is set aside the others do."""
    found = []
    for seed in (6, 18, 28, 47):
        generator = np.random.default_rng(seed)
        returns = generator.normal(0.0, 0.01, size=(300, 3)) + np.array([0.02, 0.0015, 0.0013])
        tested = data_snooping(returns, np.zeros(300), seed=1, resamples=300)
        assert tested is not None
        found.append(tested.superior)
    assert (0, 1, 2) in found


def test_only_losers_are_not_superior() -> None:
    returns = np.random.default_rng(15).normal(-0.002, 0.01, size=(300, 4))
    found = data_snooping(returns, np.zeros(300), seed=1, resamples=300)
    assert found is not None
    assert found.superior == ()
    assert found.spa_lower == found.spa_consistent == found.spa_upper == 1
    assert found.reality_check > 0.9


def test_a_long_series_is_described() -> None:
    returns = np.random.default_rng(16).normal(0.0001, 0.01, 1_000_000)
    assert_numbers(sharpe_estimate(returns))
    assert_numbers(mean_test(returns, seed=1, resamples=3))
    assert_numbers(probability_of_overfitting(returns.reshape(-1, 4)))


def test_the_server_starts_without_the_libraries_of_statistics() -> None:
    code = (
        "import sys, jesse_mcp.server.assembly; "
        "print([name for name in ('scipy', 'statsmodels', 'arch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
