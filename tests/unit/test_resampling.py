"""Resampling against an independent implementation, and the shape of synthetic candles."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jesse_mcp.analytics.resampling import resample
from jesse_mcp.analytics.synthetic import synthetic_candles, synthetic_source
from jesse_mcp.domain.timeframes import TIMEFRAME_MINUTES

START = 1_672_531_200_000  # 2023-01-01, a Sunday
THURSDAY = 1_672_876_800_000


def candles(minutes: int, start_ms: int = START, seed: int = 1) -> NDArray[np.float64]:
    return synthetic_candles(start_ms, minutes, seed)


def with_polars(rows: NDArray[np.float64], minutes: int) -> NDArray[np.float64]:
    frame = pl.DataFrame(rows, schema=["t", "open", "close", "high", "low", "volume"], orient="row")
    bars = (
        frame.with_columns(pl.col("t").cast(pl.Int64))
        .group_by_dynamic("t", every=f"{minutes * 60_000}i", start_by="window")
        .agg(
            pl.col("open").first(),
            pl.col("close").last(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("volume").sum(),
        )
    )
    return bars.cast(pl.Float64).to_numpy()


@st.composite
def sparse_candles(draw: st.DrawFn) -> NDArray[np.float64]:
    start = draw(st.integers(0, 30_000_000)) * 60_000
    rows = candles(draw(st.integers(1, 3_000)), start, draw(st.integers(0, 50)))
    share = draw(st.floats(0.05, 1.0))
    kept = np.random.default_rng(draw(st.integers(0, 99))).random(len(rows)) < share
    kept[0] = True
    return rows[kept]


@given(rows=sparse_candles(), minutes=st.sampled_from(sorted(TIMEFRAME_MINUTES.values())))
@settings(deadline=None)
def test_agrees_with_polars(rows: NDArray[np.float64], minutes: int) -> None:
    bars = resample(rows, minutes).candles
    expected = with_polars(rows, minutes)
    np.testing.assert_array_equal(bars[:, :5], expected[:, :5])
    np.testing.assert_allclose(bars[:, 5], expected[:, 5], rtol=1e-12)


@given(rows=sparse_candles(), minutes=st.integers(1, 50_000))
@settings(deadline=None)
def test_conserves_what_it_aggregates(rows: NDArray[np.float64], minutes: int) -> None:
    result = resample(rows, minutes)
    bars = result.candles
    assert (bars[:, 0] % (minutes * 60_000) == 0).all()
    assert (np.diff(bars[:, 0]) > 0).all()
    assert bars[:, 5].sum() == pytest.approx(rows[:, 5].sum(), rel=1e-12)
    assert bars[:, 3].max() == rows[:, 3].max()
    assert bars[:, 4].min() == rows[:, 4].min()
    assert bars[0, 1] == rows[0, 1]
    assert bars[-1, 2] == rows[-1, 2]
    complete = resample(rows, minutes, drop_incomplete=True)
    assert complete.incomplete == result.incomplete == len(bars) - len(complete.candles)


@given(rows=sparse_candles(), inner=st.sampled_from([3, 5, 15]), outer=st.sampled_from([2, 4, 96]))
@settings(deadline=None)
def test_resampling_in_two_steps_is_resampling_at_once(
    rows: NDArray[np.float64], inner: int, outer: int
) -> None:
    twice = resample(resample(rows, inner).candles, inner * outer).candles
    np.testing.assert_allclose(twice, resample(rows, inner * outer).candles, rtol=1e-12)


def test_one_bar_by_hand() -> None:
    rows = np.array(
        [
            [START + 60_000, 10.0, 11.0, 12.0, 9.0, 1.0],
            [START + 120_000, 11.0, 10.5, 13.0, 10.0, 2.0],
            [START + 240_000, 10.5, 10.0, 10.6, 8.0, 4.0],
        ]
    )
    result = resample(rows, 5)
    np.testing.assert_array_equal(result.candles, [[START, 10.0, 10.0, 13.0, 8.0, 7.0]])
    assert result.incomplete == 1


def test_a_week_starts_on_the_weekday_of_the_epoch() -> None:
    bars = resample(candles(14 * 1_440), TIMEFRAME_MINUTES["1W"])
    assert THURSDAY in bars.candles[:, 0]
    assert bars.incomplete == 2


def test_dropping_incomplete_bars() -> None:
    rows = np.delete(candles(600), 250, axis=0)[30:]
    result = resample(rows, 60, drop_incomplete=True)
    assert result.incomplete == 2
    np.testing.assert_array_equal((result.candles[:, 0] - START) // 3_600_000, [1, 2, 3, 5, 6, 7, 8, 9])


def test_one_minute_bars_are_the_candles_themselves() -> None:
    rows = candles(50)
    np.testing.assert_array_equal(resample(rows, 1).candles, rows)


def test_nothing_in_nothing_out() -> None:
    result = resample(np.empty((0, 6)), 5)
    assert result.candles.shape == (0, 6)
    assert result.incomplete == 0


@pytest.mark.parametrize(
    ("rows", "minutes", "says"),
    [
        (candles(5), 0, "minutes is 0"),
        (candles(5)[:, :5], 5, r"shape \(5, 5\)"),
        (candles(5)[::-1], 5, "strictly ascending"),
        (np.repeat(candles(5), 2, axis=0), 5, "strictly ascending"),
    ],
)
def test_refuses_what_it_cannot_aggregate(rows: NDArray[np.float64], minutes: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        resample(rows, minutes)


@given(
    seed=st.integers(0, 2**32),
    minutes=st.integers(1, 20_000),
    price=st.floats(1e-6, 1e9),
    volatility=st.floats(0.001, 5),
    trend=st.floats(0, 10),
)
@settings(deadline=None)
def test_synthetic_candles_are_valid(
    seed: int, minutes: int, price: float, volatility: float, trend: float
) -> None:
    rows = synthetic_candles(
        START, minutes, seed, start_price=price, annual_volatility=volatility, trend_strength=trend
    )
    assert rows.shape == (minutes, 6)
    assert np.isfinite(rows).all()
    np.testing.assert_array_equal(np.diff(rows[:, 0]), 60_000)
    assert (rows[:, 1:] > 0).all()
    assert (rows[:, 3] >= rows[:, 1:5].max(axis=1)).all()
    assert (rows[:, 4] <= rows[:, 1:5].min(axis=1)).all()
    np.testing.assert_array_equal(rows[1:, 1], rows[:-1, 2])
    assert rows[0, 1] == pytest.approx(price, rel=1e-4)


def test_synthetic_candles_are_reproducible_and_extend() -> None:
    longer = candles(30_000, seed=7)
    np.testing.assert_array_equal(candles(9_000, seed=7), longer[:9_000])
    assert not np.array_equal(candles(100, seed=8)[:, 2], longer[:100, 2])
    # Recorded once: results shown in the documentation rest on these numbers.
    np.testing.assert_allclose(longer[0], [START, 100.0, 99.956, 100.019, 99.915, 7.1142], atol=0.0011)
    np.testing.assert_allclose(longer[-1, 1:], [119.572, 119.687, 119.722, 119.547, 17.1408], atol=0.0011)
    assert synthetic_source(7) == "synthetic seed=7"


def test_synthetic_volatility_is_as_asked_and_there_are_trends_and_ranges() -> None:
    rows = candles(525_600, seed=3)
    yearly = np.diff(np.log(rows[:, 2])).std() * np.sqrt(525_600)
    assert yearly == pytest.approx(0.6, rel=0.05)
    days = resample(rows, 1_440).candles
    moves = np.abs(np.log(days[5:, 2] / days[:-5, 2]))
    assert np.quantile(moves, 0.9) > 5 * np.quantile(moves, 0.1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"start_ms": START + 1}, "start_ms"),
        ({"minutes": 0}, "minutes"),
        ({"start_price": 0.0}, "start_price"),
        ({"annual_volatility": float("nan")}, "annual_volatility"),
        ({"trend_strength": -1.0}, "trend_strength"),
        ({"mean_volume": float("inf")}, "mean_volume"),
    ],
)
def test_synthetic_candles_refuse_arguments_out_of_range(arguments: dict[str, float], says: str) -> None:
    defaults: dict[str, float] = {"start_ms": START, "minutes": 10, "seed": 1}
    with pytest.raises(ValueError, match=says):
        synthetic_candles(**(defaults | arguments))  # type: ignore[arg-type]
