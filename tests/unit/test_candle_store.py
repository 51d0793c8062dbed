"""The candle store: nothing lost, nothing half written, nothing outside its root."""

import errno
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import CandleArray, SeriesKey, content_hash
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.timeframes import iso_minute
from jesse_mcp.ports.candle_store import CandleStore

START = 1_672_531_200_000
MINUTE = 60_000
KEY = SeriesKey(exchange="Binance Spot", symbol="BTC-USDT")
OTHER = SeriesKey(exchange="Bybit USDT Perpetual", symbol="ETH-USDT")


def candles(minutes: int, offset: int = 0, seed: int = 1) -> CandleArray:
    return synthetic_candles(START + offset * MINUTE, minutes, seed)


def at(*offsets: int, price: float = 100.0) -> CandleArray:
    """Flat candles at these minutes after START."""
    rows = np.full((len(offsets), 6), price)
    rows[:, 0] = START + np.array(offsets, dtype=np.float64) * MINUTE
    return rows


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "candles"


@pytest.fixture
def store(root: Path) -> ParquetCandleStore:
    return ParquetCandleStore(root)


@contextmanager
def fresh_store() -> Iterator[ParquetCandleStore]:
    """For property tests, whose examples must not share a folder."""
    with tempfile.TemporaryDirectory() as folder:
        yield ParquetCandleStore(Path(folder) / "candles")


@contextmanager
def refused(code: ErrorCode, says: str) -> Iterator[list[ResearchError]]:
    caught: list[ResearchError] = []
    with pytest.raises(ResearchError) as info:
        yield caught
    caught.append(info.value)
    assert info.value.code is code
    assert says in info.value.message
    assert info.value.hint


def leftovers(root: Path) -> list[Path]:
    return list(root.rglob("*.tmp"))


def test_it_is_a_candle_store(store: ParquetCandleStore) -> None:
    port: CandleStore = store
    assert port.summaries() == []


# --- writing and reading ---------------------------------------------------------------------------------


@given(minutes=st.integers(1, 2_000), seed=st.integers(0, 1_000), kept=st.floats(0.1, 1.0))
@settings(deadline=None)
def test_what_is_written_is_read_back_bit_by_bit(minutes: int, seed: int, kept: float) -> None:
    rows = candles(minutes, seed=seed)
    rows = rows[np.random.default_rng(seed).random(minutes) <= kept]
    with fresh_store() as store:
        report = store.write(KEY, rows, "test")
        assert (report.added, report.replaced, report.unchanged) == (len(rows), 0, 0)
        read = store.read(KEY)
        assert read.flags.c_contiguous
        assert read.dtype == np.float64
        np.testing.assert_array_equal(read, rows)


blocks = st.lists(
    st.tuples(
        st.sets(st.integers(0, 60), min_size=1, max_size=25).map(sorted),
        st.sampled_from([1.0, 2.0, 3.0]),
    ),
    min_size=1,
    max_size=5,
)


@given(blocks=blocks)
@settings(deadline=None)
def test_writes_merge_like_a_dictionary(blocks: list[tuple[list[int], float]]) -> None:
    expected: dict[int, float] = {}
    with fresh_store() as store:
        for offsets, price in blocks:
            report = store.write(KEY, at(*offsets, price=price), "test")
            assert report.added == len([o for o in offsets if o not in expected])
            assert report.unchanged == len([o for o in offsets if expected.get(o) == price])
            assert report.added + report.unchanged + report.replaced == len(offsets)
            expected |= dict.fromkeys(offsets, price)
        rows = store.read(KEY)
    assert [(int(r[0] - START) // MINUTE, r[1]) for r in rows] == sorted(expected.items())


@given(order=st.permutations(range(6)))
@settings(deadline=None)
def test_the_order_of_disjoint_writes_does_not_matter(order: list[int]) -> None:
    rows = candles(600)
    with fresh_store() as store:
        for part in order:
            store.write(KEY, rows[part * 100 : part * 100 + 100], "test")
        summary = store.summary(KEY)
    assert summary is not None
    assert summary.content_hash == content_hash(rows)


@given(
    offsets=st.sets(st.integers(0, 200), min_size=1).map(sorted),
    start=st.integers(-20, 220),
    length=st.integers(0, 200),
    max_gaps=st.integers(0, 5),
)
@settings(deadline=None)
def test_coverage_accounts_for_every_minute(
    offsets: list[int], start: int, length: int, max_gaps: int
) -> None:
    wanted = range(start, start + length)
    missing = [minute for minute in wanted if minute not in set(offsets)]
    runs = [minute for minute in missing if minute - 1 not in missing]
    with fresh_store() as store:
        store.write(KEY, at(*offsets), "test")
        low, high = START + start * MINUTE, START + (start + length) * MINUTE
        coverage = store.coverage(KEY, low, high, max_gaps)
        everything = store.coverage(KEY, low, high, 1_000)
    assert coverage.expected == length
    assert coverage.present == length - len(missing)
    assert coverage.gap_count == len(runs) == len(everything.gaps)
    assert sum(gap.minutes for gap in everything.gaps) == len(missing)
    assert coverage.gaps == everything.gaps[:max_gaps]
    lengths = [gap.minutes for gap in everything.gaps]
    assert lengths == sorted(lengths, reverse=True)
    first = iso_minute(START + missing[0] * MINUTE) if missing else None
    assert (coverage.first_missing and coverage.first_missing.start) == first


def test_a_gap_by_hand(store: ParquetCandleStore) -> None:
    store.write(KEY, at(0, 1, 5, 6), "test")
    coverage = store.coverage(KEY, START, START + 10 * MINUTE)
    assert [gap.model_dump() for gap in coverage.gaps] == [
        {"start": "2023-01-01T00:02Z", "end": "2023-01-01T00:04Z", "minutes": 3, "kind": "not_asked"},
        {"start": "2023-01-01T00:07Z", "end": "2023-01-01T00:09Z", "minutes": 3, "kind": "not_asked"},
    ]


def test_the_coverage_of_a_series_that_is_not_there_is_one_gap(store: ParquetCandleStore) -> None:
    coverage = store.coverage(KEY, START, START + 5 * MINUTE)
    assert (coverage.expected, coverage.present, coverage.gap_count) == (5, 0, 1)


@pytest.mark.parametrize(("start", "end"), [(START + 1, START + MINUTE), (START, START - MINUTE)])
def test_coverage_refuses_ranges_that_are_not_whole_minutes(
    store: ParquetCandleStore, start: int, end: int
) -> None:
    with refused(ErrorCode.INVALID_ARGUMENT, "not a range of whole minutes"):
        store.coverage(KEY, start, end)


def test_reading_a_range(store: ParquetCandleStore) -> None:
    store.write(KEY, at(0, 1, 5, 6), "test")
    rows = store.read(KEY, START + MINUTE, START + 6 * MINUTE)
    np.testing.assert_array_equal(rows, at(1, 5))
    assert store.read(KEY, START + 6 * MINUTE, START).shape == (0, 6)
    assert store.read(OTHER).shape == (0, 6)


def test_summaries(store: ParquetCandleStore) -> None:
    assert store.summary(KEY) is None
    store.write(OTHER, at(3), "there")
    store.write(KEY, at(0, 1, 5, 6), "here")
    assert [s.symbol for s in store.summaries()] == ["BTC-USDT", "ETH-USDT"]
    summary = store.summary(KEY)
    assert summary is not None
    assert summary.model_dump() == {
        "exchange": "Binance Spot",
        "symbol": "BTC-USDT",
        "first": "2023-01-01T00:00Z",
        "last": "2023-01-01T00:06Z",
        "rows": 4,
        "missing": 3,
        "gap_count": 1,
        "missing_by_kind": {"not_asked": 3},
        "content_hash": content_hash(at(0, 1, 5, 6)),
        "source": "here",
    }


def test_the_hash_is_that_of_the_rows_in_jesse_order(store: ParquetCandleStore) -> None:
    rows = candles(100)
    store.write(KEY, rows, "test")
    summary = store.summary(KEY)
    assert summary is not None
    assert summary.content_hash == hashlib.sha256(rows.astype("<f8").tobytes()).hexdigest()


def test_the_file_has_the_columns_people_expect(store: ParquetCandleStore, root: Path) -> None:
    rows = candles(10)
    store.write(KEY, rows, "test")
    frame = pl.read_parquet(root / "binance-spot" / "BTC-USDT.parquet")
    assert frame.schema == {"timestamp": pl.Int64} | dict.fromkeys(
        ["open", "high", "low", "close", "volume"], pl.Float64
    )
    np.testing.assert_array_equal(frame["close"].to_numpy(), rows[:, 2])
    np.testing.assert_array_equal(frame["high"].to_numpy(), rows[:, 3])


def test_writing_what_is_there_changes_nothing(store: ParquetCandleStore, root: Path) -> None:
    store.write(KEY, candles(10), "first")
    path = root / "binance-spot" / "BTC-USDT.parquet"
    before = path.stat().st_mtime_ns
    assert store.write(KEY, candles(10), "second").unchanged == 10
    assert path.stat().st_mtime_ns == before
    assert store.write(KEY, np.empty((0, 6)), "third").added == 0


def test_minus_zero_volume_hashes_like_zero(store: ParquetCandleStore) -> None:
    rows = at(0)
    rows[0, 5] = -0.0
    store.write(KEY, rows, "test")
    rows[0, 5] = 0.0
    summary = store.summary(KEY)
    assert summary is not None
    assert summary.content_hash == content_hash(rows)


def bad(column: int, value: float) -> CandleArray:
    rows = at(0, 1, 2)
    rows[1, column] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "kind", "says"),
    [
        (bad(0, START + 1), "timestamp_not_a_minute", f"timestamp {START + 1}.0 is not a multiple"),
        (bad(0, np.nan), "timestamp_not_a_minute", "timestamp nan"),
        (bad(0, -MINUTE), "timestamp_not_a_minute", "timestamp -60000.0"),
        (bad(0, 1e18), "timestamp_not_a_minute", "timestamp 1e+18"),
        (bad(0, START), "duplicate_timestamp", "2023-01-01T00:00Z is there twice"),
        (at(0, 2, 1), "out_of_order", "2023-01-01T00:01Z comes after 2023-01-01T00:02Z"),
        (bad(2, np.nan), "not_a_number", "missing or not finite (open 100.0, close nan"),
        (bad(5, np.inf), "not_a_number", "volume inf"),
        (bad(4, 0.0), "price_not_positive", "low 0.0"),
        (bad(3, 99.0), "high_not_highest", "high 99.0 is below the open 100.0"),
        (bad(4, 101.0), "low_not_lowest", "low 101.0 is above"),
        (bad(5, -1.0), "negative_volume", "volume -1.0 is negative"),
    ],
)
def test_bad_candles_are_refused_and_named(
    store: ParquetCandleStore, rows: CandleArray, kind: str, says: str
) -> None:
    store.write(KEY, at(7), "test")
    with refused(ErrorCode.CANDLES_INVALID, says) as caught:
        store.write(KEY, rows, "test")
    problems = caught[0].details["problems"]
    assert isinstance(problems, dict)
    assert problems[kind] == 1
    np.testing.assert_array_equal(store.read(KEY), at(7))


def test_only_the_first_bad_rows_are_named_but_all_are_counted(store: ParquetCandleStore) -> None:
    rows = candles(100)
    rows[10:, 5] = -1.0
    with refused(ErrorCode.CANDLES_INVALID, "90 bad rows, the first is row 10") as caught:
        store.write(KEY, rows, "test")
    assert caught[0].details["problems"] == {"negative_volume": 90}
    named = caught[0].details["rows"]
    assert isinstance(named, list)
    assert [row["row"] for row in named] == [10, 11, 12, 13, 14]


def test_a_wrong_shape_is_refused(store: ParquetCandleStore) -> None:
    with refused(ErrorCode.CANDLES_INVALID, "shape (3, 5)"):
        store.write(KEY, at(0, 1, 2)[:, :5], "test")


# --- deleting --------------------------------------------------------------------------------------------


@given(low=st.integers(-5, 45) | st.none(), high=st.integers(-5, 45) | st.none())
@settings(deadline=None)
def test_deleting_a_range(low: int | None, high: int | None) -> None:
    rows = candles(40)
    limits = [None if x is None else START + x * MINUTE for x in (low, high)]
    kept = [o for o in range(40) if not ((low is None or o >= low) and (high is None or o < high))]
    with fresh_store() as store:
        store.write(KEY, rows, "test")
        assert store.delete(KEY, *limits) == 40 - len(kept)
        np.testing.assert_array_equal(store.read(KEY), rows[kept])
        assert (store.summary(KEY) is None) == (not kept)


def test_deleting_what_is_not_there(store: ParquetCandleStore) -> None:
    with refused(ErrorCode.SERIES_NOT_FOUND, "no candles of BTC-USDT on Binance Spot are stored"):
        store.delete(KEY)


# --- paths -----------------------------------------------------------------------------------------------

TRICKS = ["../evil", "..", ".", "", "a/b", "/etc", "a\\b", "a\0b", "~", "a\nb", "BTC-USDT/../../x", ".mapped"]


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("part", ["exchange", "symbol"])
def test_keys_cannot_leave_the_root(tmp_path: Path, trick: str, part: str) -> None:
    root = tmp_path / "inner" / "candles"
    store = ParquetCandleStore(root)
    key = KEY.model_copy(update={part: trick})
    for operation in (
        lambda: store.write(key, at(0), "test"),
        lambda: store.append(key, at(0), "test", (START, START + MINUTE)),
        lambda: store.answered(key),
        lambda: store.unanswered(key, START, START + MINUTE),
        lambda: store.read(key),
        lambda: store.summary(key),
        lambda: store.coverage(key, START, START + MINUTE),
        lambda: store.mapped(key),
        lambda: store.delete(key),
    ):
        with pytest.raises(ResearchError) as caught:
            operation()
        assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    "linked", ["binance-spot", "binance-spot/BTC-USDT.parquet", "binance-spot/BTC-USDT.journal"]
)
def test_a_link_out_of_the_root_is_neither_read_nor_written(tmp_path: Path, linked: str) -> None:
    key = KEY.model_copy(update={"exchange": "Binance Spot", "symbol": "BTC-USDT"})
    theirs = ParquetCandleStore(tmp_path / "theirs")
    theirs.write(key, at(0), "test")
    theirs.append(key, at(1), "test", (START + MINUTE, START + 2 * MINUTE))
    before = {path: path.read_bytes() for path in (tmp_path / "theirs").rglob("*") if path.is_file()}
    (tmp_path / "root" / linked).parent.mkdir(parents=True)
    (tmp_path / "root" / linked).symlink_to(tmp_path / "theirs" / linked)
    store = ParquetCandleStore(tmp_path / "root")
    assert store.summaries() == []
    for operation in (
        lambda: store.write(key, at(5), "test"),
        lambda: store.append(key, at(5), "test", (START, START + 9 * MINUTE)),
        lambda: store.read(key),
        lambda: store.mapped(key),
        lambda: store.delete(key),
    ):
        with pytest.raises(ResearchError, match="leads out of the candle folder"):
            operation()
    assert {path: path.read_bytes() for path in before} == before
    assert {path for path in (tmp_path / "theirs").rglob("*") if path.is_file()} == set(before)


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "disk")
    store = ParquetCandleStore(tmp_path / "root")
    store.write(KEY, at(0), "test")
    assert len(store.read(KEY)) == 1
    assert [one.symbol for one in store.summaries()] == [KEY.symbol]


def test_a_symbol_must_be_written_as_it_is_stored(store: ParquetCandleStore) -> None:
    with refused(ErrorCode.INVALID_ARGUMENT, "symbol is 'btc/usdt'") as caught:
        store.write(SeriesKey(exchange="Binance Spot", symbol="btc/usdt"), at(0), "test")
    assert caught[0].hint == "write it as BTC-USDT"


def test_exchanges_that_differ_in_case_only_are_not_mixed(store: ParquetCandleStore) -> None:
    store.write(KEY, at(0), "test")
    shouted = SeriesKey(exchange="BINANCE SPOT", symbol="BTC-USDT")
    for operation in (
        lambda: store.write(shouted, at(1), "test"),
        lambda: store.read(shouted),
        lambda: store.coverage(shouted, START, START + MINUTE),
        lambda: store.mapped(shouted),
        lambda: store.delete(shouted),
        lambda: store.delete(shouted, START, START + MINUTE),
    ):
        with refused(ErrorCode.INVALID_ARGUMENT, "stored as 'Binance Spot'"):
            operation()
    np.testing.assert_array_equal(store.read(KEY), at(0))


# --- the mapped form -------------------------------------------------------------------------------------


def test_the_mapped_form_is_the_rows_themselves(store: ParquetCandleStore, root: Path) -> None:
    rows = candles(500)
    store.write(KEY, rows, "test")
    mapped = store.mapped(KEY)
    assert Path(mapped.path) == root / ".mapped" / f"{mapped.content_hash}.f64"
    assert hashlib.sha256(Path(mapped.path).read_bytes()).hexdigest() == mapped.content_hash
    opened = np.memmap(mapped.path, dtype="<f8", mode="r", shape=(mapped.rows, 6))
    np.testing.assert_array_equal(opened, rows)


def test_the_mapped_form_is_made_once(store: ParquetCandleStore) -> None:
    store.write(KEY, candles(10), "test")
    path = Path(store.mapped(KEY).path)
    inode = path.stat().st_ino
    os.utime(path, (0, 0))
    assert Path(store.mapped(KEY).path).stat().st_ino == inode
    assert path.stat().st_mtime > 0, "handing it out must renew it"


def test_a_mapped_file_of_the_wrong_size_is_made_again(store: ParquetCandleStore) -> None:
    store.write(KEY, candles(10), "test")
    path = Path(store.mapped(KEY).path)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:100])
    assert Path(store.mapped(KEY).path).stat().st_size == 480


def test_a_superseded_mapped_file_stays_for_those_who_were_handed_it(store: ParquetCandleStore) -> None:
    store.write(KEY, candles(10), "test")
    old = Path(store.mapped(KEY).path)
    for offset in range(10, 40, 10):
        store.write(KEY, candles(10, offset), "test")
        assert Path(store.mapped(KEY).path) != old
    assert old.exists()
    os.utime(old, (0, 0))  # as if handed out long ago
    store.write(KEY, candles(10, 50), "test")
    assert not old.exists()


def test_a_mapped_file_shared_by_another_series_stays(root: Path) -> None:
    store = ParquetCandleStore(root, mapped_retention=-1)
    store.write(KEY, candles(10), "test")
    store.write(OTHER, candles(10), "test")
    shared = Path(store.mapped(KEY).path)
    assert Path(store.mapped(OTHER).path) == shared
    store.delete(KEY)
    assert shared.exists()
    store.delete(OTHER)
    assert not shared.exists()


def test_a_mapping_held_open_outlives_its_file(root: Path) -> None:
    store = ParquetCandleStore(root, mapped_retention=-1)
    store.write(KEY, candles(10), "test")
    mapped = store.mapped(KEY)
    opened = np.memmap(mapped.path, dtype="<f8", mode="r", shape=(10, 6))
    store.delete(KEY)
    assert not Path(mapped.path).exists()
    np.testing.assert_array_equal(opened, candles(10))


def test_mapping_what_is_not_there(store: ParquetCandleStore) -> None:
    with refused(ErrorCode.SERIES_NOT_FOUND, "no candles of BTC-USDT on Binance Spot are stored"):
        store.mapped(KEY)


# --- damage ----------------------------------------------------------------------------------------------


def test_a_changed_candle_is_noticed(store: ParquetCandleStore, root: Path) -> None:
    store.write(KEY, candles(100), "test")
    path = root / "binance-spot" / "BTC-USDT.parquet"
    metadata = pl.read_parquet_metadata(path)
    frame = pl.read_parquet(path).with_columns(volume=pl.col("volume") + 1)
    frame.write_parquet(path, metadata={"jesse_mcp.series": metadata["jesse_mcp.series"]})
    for operation in (
        lambda: store.read(KEY),
        lambda: store.mapped(KEY),
        lambda: store.write(KEY, at(1), "test"),
    ):
        with refused(ErrorCode.STORAGE_FAILED, "do not have the recorded hash"):
            operation()


@pytest.mark.parametrize("content", [b"", b"PAR1", b"timestamp,open\n", b"PAR1" + bytes(500) + b"PAR1"])
def test_a_damaged_file_is_named_and_can_be_deleted(
    store: ParquetCandleStore, root: Path, content: bytes
) -> None:
    store.write(KEY, candles(100), "test")
    (root / "binance-spot" / "BTC-USDT.parquet").write_bytes(content)
    for operation in (store.summaries, lambda: store.summary(KEY), lambda: store.read(KEY)):
        with refused(ErrorCode.STORAGE_FAILED, "binance-spot/BTC-USDT.parquet cannot be read"):
            operation()
    assert store.delete(KEY) == 0
    assert store.summaries() == []


def test_a_parquet_file_of_another_program_is_no_series(store: ParquetCandleStore, root: Path) -> None:
    store.write(KEY, candles(5), "test")
    path = root / "binance-spot" / "BTC-USDT.parquet"
    pl.read_parquet(path).write_parquet(path)
    with refused(ErrorCode.STORAGE_FAILED, "not written by jesse-mcp"):
        store.read(KEY)


# --- a disk that refuses ---------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_series_as_it_was(
    store: ParquetCandleStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(KEY, at(0), "test")
    before = {p: p.read_bytes() for p in root.rglob("*.parquet")}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with refused(ErrorCode.STORAGE_FAILED, "No space left on device") as caught:
            store.write(KEY, at(1), "test")
        assert caught[0].hint == "free some disk space, then repeat the call"
        with refused(ErrorCode.STORAGE_FAILED, "No space left on device"):
            store.mapped(KEY)
    assert {p: p.read_bytes() for p in root.rglob("*.parquet")} == before
    assert leftovers(root) == []
    assert list(root.rglob("*.f64")) == []
    assert store.write(KEY, at(1), "test").added == 1


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "candles").write_text("in the way")
    with refused(ErrorCode.STORAGE_FAILED, "could not store BTC-USDT on Binance Spot"):
        ParquetCandleStore(tmp_path / "candles").write(KEY, at(0), "test")


# --- other processes -------------------------------------------------------------------------------------

PREAMBLE = """
import os, resource, signal, sys
from pathlib import Path
import numpy as np
from jesse_mcp.adapters.candles import atomic
from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.errors import ResearchError
store = ParquetCandleStore(Path(sys.argv[1]))
KEY = SeriesKey(exchange="Binance Spot", symbol="BTC-USDT")
def at(*offsets):
    rows = np.full((len(offsets), 6), 100.0)
    rows[:, 0] = 1672531200000 + np.array(offsets) * 60000.0
    return rows
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def process(root: Path, code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + code, str(root), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(started: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = started.communicate(timeout=120)
    return started.returncode, out + err


def test_two_processes_writing_one_series_lose_nothing(store: ParquetCandleStore, root: Path) -> None:
    code = """
first = int(sys.argv[2])
for start in range(first, 240, 6):
    assert store.write(KEY, at(start, start + 1, start + 2), "test").added == 3
"""
    writers = [process(root, code, "0"), process(root, code, "3")]
    assert [finish(writer) for writer in writers] == [(0, "")] * 2
    np.testing.assert_array_equal(store.read(KEY), at(*range(240)))
    assert leftovers(root) == []


def test_threads_writing_one_series_lose_nothing(store: ParquetCandleStore) -> None:
    def write(first: int) -> None:
        for offset in range(first, 80, 4):
            store.write(KEY, at(offset), "test")
            store.mapped(KEY)

    threads = [threading.Thread(target=write, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(store.read(KEY), at(*range(80)))


@pytest.mark.parametrize(
    ("killed", "survives"),
    [
        ("os.fsync = die", False),
        ("os.replace = die", False),
        ("from jesse_mcp.adapters.candles import series_files; series_files.encode = die", False),
        ("atomic.sync_directory = die", True),
        ("store._prune = die", True),
    ],
)
def test_killed_while_writing(store: ParquetCandleStore, root: Path, killed: str, survives: bool) -> None:
    store.write(KEY, at(0), "test")
    code, output = finish(process(root, killed + '\nstore.write(KEY, at(1), "test")'))
    assert code == -9, output
    expected = at(0, 1) if survives else at(0)
    np.testing.assert_array_equal(store.read(KEY), expected)
    summary = store.summary(KEY)
    assert summary is not None
    assert summary.content_hash == content_hash(expected)
    store.write(KEY, at(2), "test")
    assert leftovers(root) == [], "the next writer takes over the temporary file of the dead one"
    assert store.read(KEY)[-1, 0] == START + 2 * MINUTE


def test_killed_while_mapping(store: ParquetCandleStore, root: Path) -> None:
    store.write(KEY, at(0), "test")
    code, output = finish(process(root, "os.replace = die\nstore.mapped(KEY)"))
    assert code == -9, output
    assert len(leftovers(root)) == 1
    store.write(KEY, at(1), "test")
    assert leftovers(root) == []
    assert Path(store.mapped(KEY).path).stat().st_size == 96


def test_a_file_size_limit_of_the_system_is_a_full_disk(store: ParquetCandleStore, root: Path) -> None:
    """The kernel really refuses here, in the middle of the data."""
    store.write(KEY, at(0), "test")
    code = """
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
rng = np.random.default_rng(1)
rows = at(*range(5000))
rows[:, 5] = rng.random(5000)
try:
    store.write(KEY, rows, "test")
except ResearchError as error:
    print(error.code, error.message)
"""
    assert finish(process(root, code)) == (
        0,
        "storage_failed could not store BTC-USDT on Binance Spot: File too large\n",
    )
    assert leftovers(root) == []
    np.testing.assert_array_equal(store.read(KEY), at(0))


def test_a_writer_that_does_not_finish_is_reported(store: ParquetCandleStore, root: Path) -> None:
    holder = process(
        root,
        """
from filelock import FileLock
store.write(KEY, at(0), "test")
with FileLock(Path(sys.argv[1]) / "binance-spot" / ".BTC-USDT.parquet.lock"):
    print("held", flush=True)
    signal.pause()
""",
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        impatient = ParquetCandleStore(root, lock_timeout=0.01)
        with refused(ErrorCode.STORAGE_FAILED, "locked by another writer for 0.01 s"):
            impatient.write(KEY, at(1), "test")
        np.testing.assert_array_equal(store.read(KEY), at(0))
    finally:
        holder.kill()
        finish(holder)
    assert store.write(KEY, at(1), "test").added == 1
