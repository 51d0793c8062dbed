"""What is true of every simulation, and what happens at the edges."""

import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jesse_mcp.analytics.block_length import optimal_block_length
from jesse_mcp.analytics.distributions import describe, proportion
from jesse_mcp.analytics.monte_carlo import CHUNK_VALUES, ResamplingMethod, Simulations, simulate
from jesse_mcp.analytics.resamplers import circular_blocks, stationary_blocks

METHODS: tuple[ResamplingMethod, ...] = (
    "trades_shuffle",
    "trades_bootstrap",
    "returns_block",
    "returns_stationary",
)
LEVELS = (0.01, 0.25, 0.5, 0.75, 0.99)

money = st.floats(-1e7, 1e7).map(lambda value: round(value, 4))
profits = st.lists(money, min_size=1, max_size=30).map(np.array)
fractions = st.lists(st.floats(-1.5, 3.0), min_size=1, max_size=30).map(np.array)
seeds = st.integers(0, 2**32)


def run(
    method: ResamplingMethod,
    values: NDArray[np.float64],
    seed: int = 1,
    start: float = 1000.0,
    chunk_values: int = CHUNK_VALUES,
) -> Simulations:
    return simulate(method, values, start, 40, seed, chunk_values=chunk_values)


@given(method=st.sampled_from(METHODS), values=fractions, seed=seeds, chunk=st.integers(1, 200))
def test_neither_the_chunks_nor_the_global_state_change_one_bit(
    method: ResamplingMethod, values: NDArray[np.float64], seed: int, chunk: int
) -> None:
    state, legacy = random.getstate(), np.random.get_state()[1].tobytes()  # type: ignore[index]
    whole, parts = run(method, values, seed), run(method, values, seed, chunk_values=chunk)
    for one, other in zip(whole.paths, parts.paths, strict=True):
        assert one.tobytes() == other.tobytes()
    assert whole.block_length == parts.block_length
    assert random.getstate() == state
    assert np.random.get_state()[1].tobytes() == legacy  # type: ignore[index]


@pytest.mark.parametrize("method", METHODS)
def test_more_simulations_begin_with_the_same_ones(method: ResamplingMethod) -> None:
    values = np.random.default_rng(1).normal(0, 0.02, 50)
    few, many = (simulate(method, values, 100.0, n, 7).paths.max_drawdown for n in (10, 5_000))
    assert (few == many[:10]).all()
    assert (simulate(method, values, 100.0, 10, 8).paths.max_drawdown != few).any()


# Their sum and the last balance of a path differ in the last bit.
@example(method="trades_shuffle", values=np.full(36, -0.7), seed=0)
@given(method=st.sampled_from(METHODS), values=profits | fractions, seed=seeds)
def test_everything_is_finite_and_within_its_bounds(
    method: ResamplingMethod, values: NDArray[np.float64], seed: int
) -> None:
    values = values if method.startswith("trades") else values / 1e7
    found = run(method, values, seed)
    for paths in (found.paths, found.original):
        assert all(np.isfinite(part).all() for part in paths)
        assert ((paths.max_drawdown >= 0) & (paths.max_drawdown <= 1)).all()
        assert ((paths.lowest_balance >= 0) & (paths.lowest_balance <= 1000)).all()
        assert (paths.final_balance >= paths.lowest_balance).all()
        assert (paths.final_balance[paths.lowest_balance == 0] == 0).all()
    for part, original in zip(found.paths, found.original, strict=True):
        shown = describe(part, float(original[0]), LEVELS)
        assert shown is not None
        assert list(shown.quantiles) == sorted(shown.quantiles)
        assert part.min() <= shown.quantiles[0] <= shown.quantiles[-1] <= part.max()
        assert part.min() <= shown.mean <= part.max()
        assert 0 <= shown.percentile_of_original <= 100


@given(values=profits, seed=seeds)
def test_the_order_of_trades_does_not_change_their_total(values: NDArray[np.float64], seed: int) -> None:
    found = run("trades_shuffle", values, seed, start=1e9)
    assert len(np.unique(found.paths.final_balance)) == 1
    assert found.paths.final_balance[0] == found.original.final_balance[0]
    assert found.paths.final_balance[0] == pytest.approx(1e9 + values.sum())


@given(method=st.sampled_from(METHODS), values=fractions, seed=seeds, exponent=st.integers(-8, 8))
def test_money_scales(
    method: ResamplingMethod, values: NDArray[np.float64], seed: int, exponent: int
) -> None:
    """A power of two, so that no rounding differs."""
    factor = 2.0**exponent
    in_money = method.startswith("trades")
    one = run(method, values * 300 if in_money else values, seed)
    other = run(method, values * 300 * factor if in_money else values, seed, start=1000 * factor)
    assert (other.paths.final_balance == one.paths.final_balance * factor).all()
    assert (other.paths.max_drawdown == one.paths.max_drawdown).all()


@pytest.mark.parametrize("method", METHODS)
def test_one_value_has_one_history(method: ResamplingMethod) -> None:
    found = run(method, np.array([0.1]))
    for paths, original in zip(found.paths, found.original, strict=True):
        assert (paths == original[0]).all()
        shown = describe(paths, float(original[0]), LEVELS)
        assert shown is not None
        assert (shown.percentile_of_original, shown.standard_deviation) == (50.0, 0.0)


@pytest.mark.parametrize("method", METHODS)
def test_what_never_varies_has_one_history(method: ResamplingMethod) -> None:
    found = run(method, np.full(20, -0.01))
    assert len(np.unique(found.paths.final_balance)) == 1
    assert len(np.unique(found.paths.max_drawdown)) == 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [[], [0.1, float("nan")], [float("inf"), 0.1]])
def test_nothing_is_made_of_nothing(method: ResamplingMethod, values: list[float]) -> None:
    with pytest.raises(ValueError, match="no values, or from values that are not finite"):
        run(method, np.array(values))


@pytest.mark.parametrize(("simulations", "start"), [(0, 100.0), (10, 0.0), (10, -5.0), (10, float("inf"))])
def test_impossible_arguments_are_refused(simulations: int, start: float) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        simulate("trades_shuffle", np.array([1.0]), start, simulations, 1)


@pytest.mark.parametrize(
    ("method", "length", "says"),
    [
        ("trades_shuffle", 3.0, "no blocks"),
        ("trades_bootstrap", 3.0, "no blocks"),
        ("returns_block", 2.5, "not whole"),
        ("returns_block", 0.0, "do not fit"),
        ("returns_block", 6.0, "do not fit"),
        ("returns_stationary", 0.5, "less than 1"),
        ("returns_stationary", float("inf"), "not finite"),
    ],
)
def test_block_lengths_that_cannot_be_are_refused(method: ResamplingMethod, length: float, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        simulate(method, np.arange(5.0), 100.0, 5, 1, block_length=length)


def test_ruin_is_final_for_both_conventions() -> None:
    lost = simulate("trades_shuffle", np.array([-2000.0, 5000.0]), 1000.0, 200, 1).paths
    assert set(np.unique(lost.final_balance)) == {0.0, 4000.0}
    wiped = simulate("returns_block", np.array([-1.2, 5.0, 5.0]), 1000.0, 200, 1, block_length=1).paths
    assert (wiped.final_balance[wiped.max_drawdown == 1] == 0).all()
    assert (wiped.final_balance[wiped.max_drawdown < 1] == 216_000).all()


def test_what_leaves_the_range_of_a_float_is_not_described() -> None:
    paths = simulate("returns_block", np.full(400, 1e3), 1000.0, 5, 1, block_length=1).paths
    assert describe(paths.final_balance, 1.0, LEVELS) is None
    assert ((paths.max_drawdown >= 0) & (paths.max_drawdown <= 1)).all()
    assert describe(np.array([1e308, -1e308, 1e308]), 0.0, LEVELS) is None
    assert describe(np.array([]), 0.0, LEVELS) is None
    assert describe(np.array([1.0]), float("nan"), LEVELS) is None


def test_blocks_keep_neighbours_together() -> None:
    values = np.arange(12.0)
    for row in circular_blocks(values, 1, 4)(50):
        for block in row.reshape(3, 4):
            assert (np.diff(block) % 12 == 1).all()
    # With blocks that hardly ever end, a row is the circle from somewhere.
    (row,) = stationary_blocks(values, 1, 1e12)(1)
    assert (np.diff(row) % 12 == 1).all()


@settings(max_examples=50)
@given(values=st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=60).map(np.array))
def test_block_lengths_fit_the_series(values: NDArray[np.float64]) -> None:
    for length in optimal_block_length(values):
        assert 1 <= length <= max(1, len(values))


@pytest.mark.parametrize("values", [[], [float("nan")], [1.0, float("inf")]])
def test_no_block_length_without_values(values: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one value"):
        optimal_block_length(np.array(values))


@given(trials=st.integers(1, 10**6), share=st.floats(0, 1))
def test_intervals_hold_their_proportion(trials: int, share: float) -> None:
    hits = round(share * trials)
    found = proportion(hits, trials)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high
    mirrored = proportion(trials - hits, trials)
    assert mirrored.low == pytest.approx(1 - found.high, abs=1e-12)


@pytest.mark.parametrize(("hits", "trials"), [(1, 0), (-1, 5), (6, 5)])
def test_no_proportion_of_nothing(hits: int, trials: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        proportion(hits, trials)


def test_progress_is_told_and_may_end_the_work() -> None:
    seen: list[float] = []
    simulate("trades_shuffle", np.arange(10.0), 100.0, 10, 1, chunk_values=40, progress=seen.append)
    assert seen == [0.4, 0.8, 1.0]

    def stop(fraction: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        simulate("trades_shuffle", np.arange(10.0), 100.0, 10, 1, progress=stop)
