"""A series made what another store has, and nothing else."""

from pathlib import Path

import numpy as np
import pytest

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError

START = 1_704_067_200_000
MINUTE = 60_000
KEY = SeriesKey(exchange="Binance Spot", symbol="BTC-USDT")


def candles(seed: int = 1) -> CandleArray:
    return synthetic_candles(START, 100, seed)


@pytest.fixture
def store(tmp_path: Path) -> ParquetCandleStore:
    return ParquetCandleStore(tmp_path)


def test_what_the_other_lacks_is_removed(store: ParquetCandleStore) -> None:
    store.write(KEY, candles(), "before")
    assert store.replace(KEY, candles()[20:50], "there") is True
    np.testing.assert_array_equal(store.read(KEY), candles()[20:50])
    summary = store.summary(KEY)
    assert summary is not None
    assert (summary.rows, summary.source) == (30, "there")


def test_the_same_candles_change_nothing(store: ParquetCandleStore, tmp_path: Path) -> None:
    assert store.replace(KEY, candles(), "there") is True
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert store.replace(KEY, candles(), "there") is False
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}


def test_no_candles_remove_the_series(store: ParquetCandleStore, tmp_path: Path) -> None:
    assert store.replace(KEY, candles()[:0], "there") is False
    store.replace(KEY, candles(), "there")
    store.append(KEY, candles()[:0], "there", (START - MINUTE, START))
    assert store.replace(KEY, candles()[:0], "there") is True
    assert store.summaries() == []
    assert store.answered(KEY) == ()
    assert not list(tmp_path.rglob("*.parquet"))


def test_answers_stay_while_no_minute_vanishes(store: ParquetCandleStore) -> None:
    store.replace(KEY, candles()[:50], "there")
    store.append(KEY, candles()[:0], "there", (START - MINUTE, START))
    store.replace(KEY, candles(2), "there")
    assert store.answered(KEY) == ((START - MINUTE, START),)
    store.replace(KEY, np.delete(candles(2), 7, axis=0), "there")
    assert store.answered(KEY) == ()


def test_pages_of_a_journal_are_replaced_too(store: ParquetCandleStore) -> None:
    store.append(KEY, candles(), "exchange", (START, START + 100 * MINUTE))
    store.replace(KEY, candles(2)[:10], "there")
    np.testing.assert_array_equal(store.read(KEY), candles(2)[:10])


def test_a_damaged_copy_heals(store: ParquetCandleStore, tmp_path: Path) -> None:
    store.replace(KEY, candles(), "there")
    (file,) = tmp_path.rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:200])
    assert store.replace(KEY, candles(), "there") is True
    np.testing.assert_array_equal(store.read(KEY), candles())


def test_rows_that_are_no_candles_leave_the_series_alone(store: ParquetCandleStore) -> None:
    store.replace(KEY, candles(), "there")
    broken = candles(2)
    broken[3, 1] = -1
    with pytest.raises(ResearchError) as caught:
        store.replace(KEY, broken, "there")
    assert caught.value.code is ErrorCode.CANDLES_INVALID
    np.testing.assert_array_equal(store.read(KEY), candles())
