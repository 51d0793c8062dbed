"""Pages of an import: none lost once it is acknowledged, whatever is killed, full or broken."""

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jesse_mcp.adapters.candles import journal, series_files
from jesse_mcp.adapters.candles.journal import Journal, Mark, Page
from jesse_mcp.adapters.candles.parquet_codec import METADATA_KEY
from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.domain.candles import CandleArray, SeriesKey, WriteReport
from jesse_mcp.domain.errors import ErrorCode, ResearchError

START = 1_672_531_200_000
MINUTE = 60_000
KEY = SeriesKey(exchange="Binance Spot", symbol="BTC-USDT")
Minutes = list[int]


def at(*offsets: int, price: float = 100.0) -> CandleArray:
    """Flat candles at these minutes after START."""
    rows = np.full((len(offsets), 6), price)
    rows[:, 0] = START + np.array(offsets, dtype=np.float64) * MINUTE
    return rows


def span(start: int, end: int) -> tuple[int, int]:
    return START + start * MINUTE, START + end * MINUTE


def add(store: ParquetCandleStore, start: int, end: int, *offsets: int, price: float = 100.0) -> WriteReport:
    return store.append(KEY, at(*offsets, price=price), "exchange", span(start, end))


def minutes(intervals: Any) -> set[int]:
    return {(ms - START) // MINUTE for start, end in intervals for ms in range(start, end, MINUTE)}


def stored(store: ParquetCandleStore) -> dict[int, float]:
    return {int(row[0] - START) // MINUTE: float(row[1]) for row in store.read(KEY)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "candles"


@pytest.fixture
def store(root: Path) -> ParquetCandleStore:
    return ParquetCandleStore(root)


def journal_file(root: Path) -> Path:
    return root / "binance-spot" / "BTC-USDT.journal"


def parquet_file(root: Path) -> Path:
    return root / "binance-spot" / "BTC-USDT.parquet"


def refuses(call: Callable[[], object], code: ErrorCode, says: str) -> ResearchError:
    with pytest.raises(ResearchError) as caught:
        call()
    assert caught.value.code is code
    assert says in caught.value.message
    assert caught.value.hint
    return caught.value


# --- pages and answers -----------------------------------------------------------------------------------

READERS: list[Callable[[ParquetCandleStore], object]] = [
    lambda store: [one.rows for one in store.summaries()] == [3],
    lambda store: (found := store.summary(KEY)) is not None and found.rows == 3,
    lambda store: len(store.read(KEY)) == 3,
    lambda store: store.coverage(KEY, *span(0, 5)).present == 3,
    lambda store: store.mapped(KEY).rows == 3,
    lambda store: store.answered(KEY) == (span(0, 5),),
    lambda store: store.unanswered(KEY, *span(0, 6)) == [span(5, 6)],
    lambda store: store.write(KEY, at(0, 1, 2, 3), "file").unchanged == 3,
    lambda store: store.delete(KEY) == 3,
    lambda store: store.delete(KEY, *span(1, 9)) == 2,
]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("settled", [False, True])
def test_every_reader_sees_every_page(
    store: ParquetCandleStore, root: Path, settled: bool, reader: Callable[[ParquetCandleStore], object]
) -> None:
    add(store, 0, 2, 0)
    if settled:
        store.summary(KEY)
        assert not journal_file(root).exists()
    assert add(store, 2, 5, 2, 3) == WriteReport(added=2, replaced=0, unchanged=0)
    assert journal_file(root).exists()
    assert reader(ParquetCandleStore(root))


def test_a_page_does_not_touch_the_series(store: ParquetCandleStore, root: Path) -> None:
    store.write(KEY, at(*range(100)), "file")
    before = parquet_file(root).read_bytes()
    assert add(store, 98, 102, 99, 100, price=7.0) == WriteReport(added=1, replaced=1, unchanged=0)
    assert add(store, 98, 102, 98, 99, 100, price=7.0) == WriteReport(added=0, replaced=1, unchanged=2)
    assert parquet_file(root).read_bytes() == before
    assert stored(store) == dict.fromkeys(range(98), 100.0) | {98: 7.0, 99: 7.0, 100: 7.0}
    summary = store.summary(KEY)
    assert summary is not None
    assert summary.source == "exchange"


def test_a_page_with_nothing_new_leaves_the_source(store: ParquetCandleStore) -> None:
    store.write(KEY, at(0, 1), "file")
    add(store, 0, 2, 0, 1)
    add(store, 2, 4)
    summary = store.summary(KEY)
    assert summary is not None
    assert (summary.source, store.answered(KEY)) == ("file", (span(0, 4),))


def test_answers_without_candles_are_kept(store: ParquetCandleStore, root: Path) -> None:
    """As for a symbol that was listed later."""
    add(store, 0, 10)
    for look in (store, ParquetCandleStore(root)):
        assert look.summary(KEY) is None
        assert look.summaries() == []
        assert look.read(KEY).shape == (0, 6)
        assert look.answered(KEY) == (span(0, 10),)
        assert look.unanswered(KEY, *span(-2, 12)) == [span(-2, 0), span(10, 12)]
        assert look.coverage(KEY, *span(0, 10)).missing_by_kind == {"before_listing": 10}
        refuses(lambda look=look: look.mapped(KEY), ErrorCode.SERIES_NOT_FOUND, "no candles of BTC-USDT")  # type: ignore[misc]
    add(store, 10, 12, 11)
    assert store.coverage(KEY, *span(0, 12)).missing_by_kind == {"before_listing": 11}
    assert store.delete(KEY, *span(11, 12)) == 1
    assert store.summary(KEY) is None
    assert store.answered(KEY) == (span(0, 11),)
    assert store.delete(KEY) == 0
    assert list(root.glob("binance-spot/[!.]*")) == []
    refuses(lambda: store.delete(KEY), ErrorCode.SERIES_NOT_FOUND, "no candles of BTC-USDT")


def test_a_file_answers_nothing_and_forgets_nothing(store: ParquetCandleStore) -> None:
    store.write(KEY, at(*range(10)), "file")
    assert store.answered(KEY) == ()
    add(store, 20, 30, 25)
    store.write(KEY, at(22), "file")
    assert store.answered(KEY) == (span(20, 30),)
    assert store.unanswered(KEY, *span(5, 35)) == [span(10, 20), span(30, 35)]


def test_deleting_a_range_forgets_its_answers(store: ParquetCandleStore) -> None:
    add(store, 0, 10, *range(10))
    store.delete(KEY, *span(3, 5))
    assert store.answered(KEY) == (span(0, 3), span(5, 10))
    assert store.unanswered(KEY, *span(0, 10)) == [span(3, 5)]


def test_deleting_nothing_writes_nothing(store: ParquetCandleStore, root: Path) -> None:
    store.write(KEY, at(0, 1), "file")
    add(store, 1, 3, 2)
    before = {path: path.stat().st_mtime_ns for path in root.glob("*/[!.]*")}
    assert store.delete(KEY, *span(3, 9)) == 0
    assert {path: path.stat().st_mtime_ns for path in root.glob("*/[!.]*")} == before


def test_a_source_may_be_long(store: ParquetCandleStore) -> None:
    store.append(KEY, at(0), "exchange " * 10_000, span(0, 1))
    summary = store.summary(KEY)
    assert summary is not None
    assert len(summary.source) == 90_000


@pytest.mark.parametrize("answered", [(1, MINUTE), (0, 1), (MINUTE, MINUTE), (MINUTE, 0), (-MINUTE, 0)])
def test_an_answer_is_a_range_of_whole_minutes(store: ParquetCandleStore, answered: tuple[int, int]) -> None:
    refuses(
        lambda: store.append(KEY, np.empty((0, 6)), "exchange", answered),
        ErrorCode.INVALID_ARGUMENT,
        "not a range of whole minutes",
    )
    assert store.answered(KEY) == ()


@pytest.mark.parametrize("offsets", [(0, 1), (4, 5), (1, 5)])
def test_candles_outside_the_answer_are_refused(store: ParquetCandleStore, offsets: tuple[int, ...]) -> None:
    refuses(
        lambda: add(store, 1, 5, *offsets),
        ErrorCode.INVALID_ARGUMENT,
        "but the answer covers 2023-01-01T00:01Z to 2023-01-01T00:05Z (exclusive)",
    )


def test_bad_candles_are_refused(store: ParquetCandleStore) -> None:
    refuses(lambda: add(store, 0, 9, 2, 1), ErrorCode.CANDLES_INVALID, "1 bad row")
    assert store.answered(KEY) == ()


def test_exchanges_that_differ_in_case_only_are_not_mixed(store: ParquetCandleStore) -> None:
    shouted = SeriesKey(exchange="BINANCE SPOT", symbol="BTC-USDT")
    add(store, 0, 2, 0)
    for _ in ("in the journal", "in the Parquet file"):
        for call in (
            lambda: store.append(shouted, at(1), "exchange", span(0, 2)),
            lambda: store.summary(shouted),
            lambda: store.answered(shouted),
            lambda: store.unanswered(shouted, *span(0, 1)),
            lambda: store.delete(shouted),
        ):
            refuses(call, ErrorCode.INVALID_ARGUMENT, "stored as 'Binance Spot'")
        store.summaries()
    assert stored(store) == {0: 100.0}


offsets = st.sets(st.integers(0, 40), max_size=12).map(sorted)
ranges = st.tuples(st.integers(-5, 40), st.integers(1, 20))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), ranges, offsets),
        st.tuples(st.just("write"), ranges, offsets),
        st.tuples(st.just("delete"), ranges, st.just([])),
        st.tuples(st.just("look"), ranges, st.just([])),
    ),
    max_size=12,
)


@given(steps=steps)
@settings(deadline=None)
def test_like_a_dictionary_and_a_set(steps: list[tuple[str, tuple[int, int], Minutes]]) -> None:
    rows: dict[int, float] = {}
    asked: set[int] = set()
    with tempfile.TemporaryDirectory() as folder:
        store = ParquetCandleStore(Path(folder) / "candles")
        for step, (what, (start, length), wanted) in enumerate(steps):
            inside = [offset for offset in wanted if start <= offset < start + length]
            price = 1.0 + step % 3
            old = dict(rows)
            if what == "look":
                assert stored(store) == rows
            elif what == "delete":
                gone = {offset for offset in rows if start <= offset < start + length}
                if rows or asked:
                    assert store.delete(KEY, *span(start, start + length)) == len(gone)
                rows = {offset: p for offset, p in rows.items() if offset not in gone}
                asked -= set(range(start, start + length))
            else:
                if what == "append":
                    report = add(store, start, start + length, *inside, price=price)
                    asked |= set(range(start, start + length))
                else:
                    report = store.write(KEY, at(*inside, price=price), "file")
                rows |= dict.fromkeys(inside, price)
                assert report.added == len(rows) - len(old)
                assert report.unchanged == len([o for o in inside if old.get(o) == price])
                assert report.added + report.replaced + report.unchanged == len(inside)
        assert minutes(store.answered(KEY)) == asked
        assert stored(store) == rows
        wanted_range = set(range(-10, 70))
        assert minutes(store.unanswered(KEY, *span(-10, 70))) == wanted_range - asked - set(rows)
        assert (store.summary(KEY) is None) == (not rows)


# --- the file --------------------------------------------------------------------------------------------


def page(offset: int, source: str = "exchange") -> Page:
    return Page("Binance Spot", source, span(offset, offset + 2), at(offset))


@pytest.fixture
def pages(tmp_path: Path) -> Journal:
    written = Journal(tmp_path / "X.journal")
    for offset in range(3):
        written.append(page(offset), written.entries())
    return written


def test_a_journal_is_read_as_it_was_written(pages: Journal) -> None:
    entries = pages.entries()
    assert len({entry.identity for entry in entries}) == 1
    for offset, found in enumerate(pages.pages(entries)):
        assert (found.exchange, found.source, found.answered) == (
            "Binance Spot",
            "exchange",
            span(offset, offset + 2),
        )
        np.testing.assert_array_equal(found.candles, at(offset))


def test_a_record_torn_anywhere_is_cut_off(pages: Journal) -> None:
    content = pages.path.read_bytes()
    whole = pages.entries()
    for size in range(whole[1].end, whole[2].end):
        pages.path.write_bytes(content[:size])
        assert pages.entries() == whole[:2]
    for blank in range(whole[1].end, whole[2].end):  # as when the length reached the disk, but not the data
        pages.path.write_bytes(content[:blank] + bytes(len(content) - blank))
        assert pages.entries() == whole[:2]
        pages.append(page(7), pages.entries())
        assert [found.answered for found in pages.pages(pages.entries())][2:] == [span(7, 9)]


def test_a_broken_record_that_is_not_the_last_is_damage(pages: Journal) -> None:
    content = pages.path.read_bytes()
    last = pages.entries()[2]
    for position in range(last.offset):
        pages.path.write_bytes(
            content[:position] + bytes([content[position] ^ 0x40]) + content[position + 1 :]
        )
        error = refuses(lambda: pages.pages(pages.entries()), ErrorCode.STORAGE_FAILED, "is damaged at byte")
        assert error.details["offset"] in (0, last.offset // 2)


def test_a_bit_that_flips_in_the_last_record_is_a_torn_page(pages: Journal) -> None:
    content = pages.path.read_bytes()
    whole = pages.entries()
    for position in range(whole[2].offset, len(content)):
        pages.path.write_bytes(
            content[:position] + bytes([content[position] ^ 0x01]) + content[position + 1 :]
        )
        assert pages.entries() == whole[:2]


def test_a_damaged_journal_is_named_and_can_be_deleted(store: ParquetCandleStore, root: Path) -> None:
    store.write(KEY, at(0), "file")
    add(store, 1, 3, 1)
    add(store, 3, 5, 3)
    content = bytearray(journal_file(root).read_bytes())
    content[100] ^= 1
    journal_file(root).write_bytes(content)
    for call in (lambda: store.read(KEY), store.summaries, lambda: store.write(KEY, at(9), "file")):
        error = refuses(call, ErrorCode.STORAGE_FAILED, "binance-spot/BTC-USDT.journal is damaged at byte 0")
        assert error.hint is not None
        assert "only the pages in it" in error.hint
    assert store.delete(KEY) == 0
    assert store.summaries() == []


def test_what_is_before_a_mark_is_left_out(pages: Journal) -> None:
    entries = pages.entries()
    assert journal.after(entries, None) == entries
    assert journal.after(entries, entries[1].mark) == entries[2:]
    assert journal.after(entries, Mark("of another journal", 10**9)) == entries


@pytest.mark.parametrize(("limit", "value"), [("_MAX_PAGES", 3), ("_MAX_BYTES", 400)])
def test_a_journal_stays_small(
    store: ParquetCandleStore, root: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(journal, limit, value)
    for offset in range(20):
        assert add(store, offset, offset + 1, offset).added == 1
        assert journal_file(root).stat().st_size < 700
        assert len(Journal(journal_file(root)).entries()) <= 4
    assert parquet_file(root).exists()
    assert stored(store) == dict.fromkeys(range(20), 100.0)
    assert store.answered(KEY) == (span(0, 20),)


def test_a_file_of_the_first_format_was_never_asked_for(store: ParquetCandleStore, root: Path) -> None:
    store.write(KEY, at(0, 3), "file")
    summary = store.summary(KEY)
    assert summary is not None
    old = summary.model_dump(exclude={"missing_by_kind"})
    described = json.dumps({"format": 1, "summary": old})
    pl.read_parquet(parquet_file(root)).write_parquet(parquet_file(root), metadata={METADATA_KEY: described})
    assert store.summary(KEY) == summary
    assert summary.missing_by_kind == {"not_asked": 2}
    add(store, 1, 3)
    assert stored(store) == {0: 100.0, 3: 100.0}
    assert store.coverage(KEY, *span(0, 4)).missing_by_kind == {"outage": 2}


# --- a disk that refuses ---------------------------------------------------------------------------------


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_loses_only_the_page_that_did_not_fit(
    store: ParquetCandleStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(KEY, at(0), "file")
    add(store, 1, 2, 1)
    before = {path: path.read_bytes() for path in root.glob("*/[!.]*")}
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        error = refuses(lambda: add(store, 2, 3, 2), ErrorCode.STORAGE_FAILED, "No space left on device")
        assert error.hint == "free some disk space, then repeat the call"
        assert {path: path.read_bytes() for path in root.glob("*/[!.]*")} == before
        assert stored(store) == {0: 100.0, 1: 100.0}, "read from memory, since there is no room to merge"
        assert [summary.rows for summary in store.summaries()] == [2]
        assert store.coverage(KEY, *span(0, 3)).present == 2
        assert minutes(store.answered(KEY)) == {1}
        refuses(lambda: store.mapped(KEY), ErrorCode.STORAGE_FAILED, "No space left on device")
        assert {path: path.read_bytes() for path in root.glob("*/[!.]*")} == before
    assert add(store, 2, 3, 2).added == 1
    assert stored(store) == {0: 100.0, 1: 100.0, 2: 100.0}


def test_a_series_can_be_deleted_from_a_full_disk(
    store: ParquetCandleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(KEY, at(0), "file")
    add(store, 1, 2, 1)
    monkeypatch.setattr(series_files, "replace_file", full)
    assert store.delete(KEY) == 2
    assert store.summaries() == []


# --- other processes -------------------------------------------------------------------------------------

PREAMBLE = """
import os, resource, signal, sys
from pathlib import Path
import numpy as np
from jesse_mcp.adapters.candles import atomic, journal, series_files
from jesse_mcp.adapters.candles.parquet_codec import METADATA_KEY
from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.errors import ResearchError
store = ParquetCandleStore(Path(sys.argv[1]))
KEY = SeriesKey(exchange="Binance Spot", symbol="BTC-USDT")
def at(*offsets, price=100.0):
    rows = np.full((len(offsets), 6), price)
    rows[:, 0] = 1672531200000 + np.array(offsets) * 60000.0
    return rows
def add(start, end, *offsets, price=100.0):
    span = 1672531200000 + start * 60000, 1672531200000 + end * 60000
    return store.append(KEY, at(*offsets, price=price), "exchange", span)
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


HALF = """
original = journal._record
def half(identity, page):
    record = original(identity, page)
    with store_journal.open("ab") as file:
        file.write(record[: len(record) // 2])
    die()
store_journal = Path(sys.argv[1]) / "binance-spot" / "BTC-USDT.journal"
journal._record = half
"""


@pytest.mark.parametrize(
    "killed",
    [
        "os.fsync = die",  # the page is written, but not known to be
        "journal._record = die",
        "journal.Journal.append = die",
        HALF,
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_killed_while_appending(store: ParquetCandleStore, root: Path, killed: str, first: bool) -> None:
    if not first:
        store.write(KEY, at(0), "file")
        add(store, 1, 2, 1)
    before = stored(store) if first else {0: 100.0, 1: 100.0}
    code, output = finish(process(root, killed + "\nadd(2, 4, 2)"))
    assert code == -9, output
    assert add(store, 5, 6, 5).added == 1
    with_page = before | {2: 100.0, 5: 100.0}
    assert stored(store) in (before | {5: 100.0}, with_page)
    answered = {5} if first else {1, 5}
    assert minutes(store.answered(KEY)) == answered | ({2, 3} if stored(store) == with_page else set())


MERGING = [
    BEFORE := "os.replace = die",
    "atomic.sync_directory = die",  # the new Parquet file is there, and the journal too
    "journal.Journal.remove = die",
]


@pytest.mark.parametrize("killed", MERGING)
@pytest.mark.parametrize(
    "call",
    ["store.summaries()", "add(4, 5, 4)"],
)
def test_killed_while_merging(store: ParquetCandleStore, root: Path, killed: str, call: str) -> None:
    store.write(KEY, at(0, 1), "file")
    add(store, 1, 3, 1, price=2.0)
    add(store, 3, 4, 3)
    code, output = finish(process(root, f"journal._MAX_PAGES = 2\n{killed}\n{call}"))
    assert code == -9, output
    assert journal_file(root).exists()
    assert stored(store) == {0: 100.0, 1: 2.0, 3: 100.0}
    assert store.answered(KEY) == (span(1, 4),)
    assert not journal_file(root).exists()


@pytest.mark.parametrize("killed", MERGING)
@pytest.mark.parametrize("after", ["write", "append"])
def test_a_page_merged_by_the_dead_is_not_laid_over_newer_candles(
    store: ParquetCandleStore, root: Path, killed: str, after: str
) -> None:
    add(store, 0, 3, 0, 1)
    add(store, 1, 3, 2)
    code, output = finish(process(root, f"{killed}\nstore.write(KEY, at(1, price=2.0), 'file')"))
    assert code == -9, output
    written = killed != BEFORE
    assert ParquetCandleStore(root).answered(KEY) == (span(0, 3),)
    if after == "write":
        store.write(KEY, at(0, price=3.0), "file")
    else:
        add(store, 0, 1, 0, price=3.0)
    assert stored(store) == {0: 3.0, 1: 2.0 if written else 100.0, 2: 100.0}


@pytest.mark.parametrize("killed", MERGING)
def test_pages_appended_to_a_journal_that_was_merged_by_the_dead(
    store: ParquetCandleStore, root: Path, killed: str
) -> None:
    add(store, 0, 3, 0, 1)
    code, output = finish(process(root, f"{killed}\nstore.write(KEY, at(1, price=2.0), 'file')"))
    assert code == -9, output
    written = killed != BEFORE
    # Before any reader: the page goes behind those that are merged already.
    assert add(store, 0, 3, 0, price=3.0).replaced == 1
    assert len(Journal(journal_file(root)).entries()) == 2
    assert stored(store) == {0: 3.0, 1: 2.0 if written else 100.0}


@pytest.mark.parametrize("killed", ["Path.unlink = die", "series_files.sync_directory = die"])
def test_killed_while_deleting(store: ParquetCandleStore, root: Path, killed: str) -> None:
    store.write(KEY, at(0), "file")
    add(store, 1, 2, 1)
    code, output = finish(process(root, f"{killed}\nstore.delete(KEY)"))
    assert code == -9, output
    assert stored(store) in ({0: 100.0}, {0: 100.0, 1: 100.0}), "never the page without the series"
    store.delete(KEY)
    assert stored(store) == {}


def test_every_page_acknowledged_before_a_kill_is_there(root: Path) -> None:
    code = """
journal._MAX_PAGES = 7
for offset in range(10_000):
    add(offset * 2, offset * 2 + 2, offset * 2, price=1.0 + offset)
    print(offset, flush=True)
"""
    importer = process(root, code)
    assert importer.stdout is not None
    seen = [int(importer.stdout.readline()) for _ in range(40)]
    importer.kill()
    rest, errors = importer.communicate(timeout=120)
    acknowledged = seen[-1] if not rest.split() else int(rest.split()[-1])
    assert errors == ""
    store = ParquetCandleStore(root)
    found = stored(store)
    # At most the page in flight is there without having been acknowledged.
    assert len(found) in (acknowledged + 1, acknowledged + 2)
    assert found == {2 * n: 1.0 + n for n in range(len(found))}
    assert minutes(store.answered(KEY)) == set(range(2 * len(found)))


def test_two_importers_and_readers_of_one_series(store: ParquetCandleStore, root: Path) -> None:
    importing = """
journal._MAX_PAGES = 5
first = int(sys.argv[2])
for start in range(first, 100, 4):
    assert add(start, start + 2, start, start + 1).added == 2
"""
    reading = """
known = set()
for _ in range(10):
    rows = {row[0] for row in store.read(KEY)}
    assert known <= rows
    known = rows
    store.summaries()
"""
    processes = [process(root, importing, "0"), process(root, importing, "2"), process(root, reading)]
    assert [finish(one) for one in processes] == [(0, "")] * 3
    assert stored(store) == dict.fromkeys(range(100), 100.0)
    assert store.answered(KEY) == (span(0, 100),)


def test_a_file_size_limit_of_the_system_is_a_full_disk(store: ParquetCandleStore, root: Path) -> None:
    """The kernel really refuses here, in the middle of a page."""
    add(store, 0, 2, 0)
    size = journal_file(root).stat().st_size
    code = f"""
resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 1000}, {size + 1000}))
for start in (2, 102):
    try:
        add(start, start + 100, *range(start, start + 100))
    except ResearchError as error:
        print(error.code, error.message)
add(202, 203, 202)
"""
    said = "storage_failed could not store BTC-USDT on Binance Spot: File too large\n"
    assert finish(process(root, code)) == (0, said * 2)
    assert stored(store) == {0: 100.0, 202: 100.0}
    assert minutes(store.answered(KEY)) == {0, 1, 202}
