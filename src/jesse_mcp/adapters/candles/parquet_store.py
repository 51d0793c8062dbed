"""One Parquet file per series, ``<root>/<exchange>/<symbol>.parquet``, and during an import a journal."""

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from jesse_mcp.adapters.candles.atomic import storage_errors
from jesse_mcp.adapters.candles.journal import Page
from jesse_mcp.adapters.candles.mapped_files import MappedFiles
from jesse_mcp.adapters.candles.merging import within
from jesse_mcp.adapters.candles.parquet_codec import (
    Description,
    read_description,
    read_series,
    read_timestamps,
)
from jesse_mcp.adapters.candles.series_files import Series, SeriesFiles, check_exchange, journal_of
from jesse_mcp.adapters.candles.validation import END_OF_TIME_MS, validated
from jesse_mcp.domain.candles import (
    TIMESTAMP,
    CandleArray,
    Coverage,
    MappedSeries,
    SeriesKey,
    SeriesSummary,
    WriteReport,
    measure_coverage,
    parse_symbol,
)
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.gaps import unanswered
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_minute

_EXCHANGE = re.compile(r"[A-Za-z0-9]+( [A-Za-z0-9]+)*")
_MAX_EXCHANGE = 64


class ParquetCandleStore:
    """Implements :class:`jesse_mcp.ports.candle_store.CandleStore` below ``root``.

    Readers take no lock: every file is replaced as a whole, so they see one generation or the next. Only
    after :meth:`append` the next reader takes the lock once, to merge the pages into the series.

    Args:
        root: created at the first write.
        lock_timeout: seconds to wait for another writer of the same series.
        mapped_retention: seconds a superseded mapped file is kept after it was last handed out.
    """

    def __init__(
        self, root: Path, *, lock_timeout: float = 120.0, mapped_retention: float = 86_400.0
    ) -> None:
        self.root = root
        self._lock_timeout = lock_timeout
        self._mapped = MappedFiles(root / ".mapped", mapped_retention, lock_timeout)

    @property
    def fills_gaps(self) -> bool:
        """True: what is imported is what is missing."""
        return True

    def summaries(self) -> list[SeriesSummary]:
        """Every stored series, ordered by exchange then symbol.

        Raises:
            ResearchError: ``storage_failed`` naming a file that cannot be read.
        """
        with storage_errors("list the candle store"):
            journals = self.root.glob("[!.]*/[!.]*.journal")
            paths = [
                path
                for path in (j.with_suffix(".parquet") for j in journals)
                if not self._leads_outside(path)
            ]
            unsaved = {path: self._settle(path) for path in paths}
        return self._settled_summaries({path: kept[0] for path, kept in unsaved.items() if kept})

    def summary(self, key: SeriesKey) -> SeriesSummary | None:
        """One series, or ``None`` when no candle of it is stored.

        Raises:
            ResearchError: ``invalid_argument`` for a key that cannot be a series, ``storage_failed``.
        """
        found = self._description(key)
        return None if found is None else found.summary

    def write(self, key: SeriesKey, candles: CandleArray, source: str) -> WriteReport:
        """Merge candles (n, 6) into a series; rows replace stored ones of the same minute.

        Raises:
            ResearchError: ``candles_invalid`` naming the first bad rows, ``invalid_argument`` for the key,
                ``storage_failed`` when the disk refuses or another writer does not finish. The series is
                then as before.
        """
        path = self._path(key)
        rows = validated(candles, f"candles for {key}")
        if not len(rows):
            return WriteReport(added=0, replaced=0, unchanged=0)
        with storage_errors(f"store {key}"), self._exclusive(path):
            files = SeriesFiles(path, key.exchange)
            series, report = files.load().overlaid(rows, source)
            if report.added or report.replaced:
                files.save(series)
        self._prune()
        return report

    def replace(self, key: SeriesKey, candles: CandleArray, source: str) -> bool:
        """Make these candles (n, 6) the whole series; empty ones remove it. For a copy of another store.

        What exchanges have answered stays known, unless a stored minute vanishes: somebody has deleted then,
        and an empty minute does not mean any more that the exchange has none.

        Returns:
            Whether the series has changed.

        Raises:
            ResearchError: as :meth:`write`. A damaged series is replaced like any other.
        """
        path = self._path(key)
        rows = validated(candles, f"candles for {key}")
        with storage_errors(f"store {key}"), self._exclusive(path):
            files = SeriesFiles(path, key.exchange)
            try:
                series = files.load()
            except ResearchError as error:
                if error.code is not ErrorCode.STORAGE_FAILED:
                    raise
                files.remove()
                series = files.load()
            if np.array_equal(series.candles, rows):
                return False
            kept = np.isin(series.candles[:, TIMESTAMP], rows[:, TIMESTAMP], assume_unique=True).all()
            answered = series.answered if kept else ()
            files.save(replace(series, candles=rows, answered=answered, source=source))
        self._prune()
        return True

    def append(
        self, key: SeriesKey, candles: CandleArray, source: str, answered: tuple[int, int]
    ) -> WriteReport:
        """Add one page of an import: candles (n, 6) and the minutes an exchange answered for with them.

        The page is on disk when this returns. It costs little, since the series is merged with its pages only
        when the next reader comes, or when there are many. Rows replace stored ones of the same minute.

        Raises:
            ResearchError: ``candles_invalid`` naming the first bad rows, ``invalid_argument`` for the key,
                an answer that is no range of whole minutes or candles outside it, ``storage_failed``. The
                page is then not stored, and everything before it is as it was.
        """
        path = self._path(key)
        rows = validated(candles, f"candles for {key}")
        _check_answer(key, rows, answered)
        page = Page(key.exchange, source, answered, rows)
        with storage_errors(f"store {key}"), self._exclusive(path):
            return SeriesFiles(path, key.exchange).append(page)

    def answered(self, key: SeriesKey) -> tuple[tuple[int, int], ...]:
        """Ranges (half-open epoch ms, ascending, not touching) an exchange was asked for and answered.

        Raises:
            ResearchError: ``invalid_argument`` for the key, ``storage_failed``.
        """
        found = self._description(key)
        return () if found is None else found.answered

    def unanswered(self, key: SeriesKey, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
        """The parts of ``[start_ms, end_ms)`` that are neither stored nor answered, ascending.

        Raises:
            ResearchError: ``invalid_argument`` for a range that is not whole minutes, ``storage_failed``.
        """
        description, timestamps = self._timestamps(key)
        return unanswered(timestamps, description.answered, start_ms, end_ms)

    def read(self, key: SeriesKey, start_ms: int | None = None, end_ms: int | None = None) -> CandleArray:
        """Candles in ``[start_ms, end_ms)``, shape (n, 6); empty when there is no such series.

        Raises:
            ResearchError: ``storage_failed`` when the series is damaged.
        """
        with storage_errors(f"read {key}"):
            path = self._path(key)
            stored = self._settle(path) or read_series(path)
        if stored is None:
            return np.empty((0, 6))
        self._of(key, stored[0])
        return stored[1][within(stored[1], start_ms, end_ms)]

    def coverage(self, key: SeriesKey, start_ms: int, end_ms: int, max_gaps: int = 20) -> Coverage:
        """What of ``[start_ms, end_ms)`` is there and what is missing.

        Raises:
            ResearchError: ``invalid_argument`` for a range that is not whole minutes, ``storage_failed``.
        """
        description, timestamps = self._timestamps(key)
        now_ms = int(time.time() * 1000)
        known = description.answered
        return measure_coverage(key.exchange, timestamps, known, start_ms, end_ms, max_gaps, now_ms=now_ms)

    def mapped(self, key: SeriesKey) -> MappedSeries:
        """The memory-mapped form of the whole series, made on first use.

        Raises:
            ResearchError: ``series_not_found``, ``storage_failed``.
        """
        with storage_errors(f"map {key}"):
            path = self._path(key)
            unsaved = self._settle(path)
            found = unsaved[0] if unsaved else read_description(path)
            summary = None if found is None else self._of(key, found).summary
            leased = None if summary is None else self._mapped.lease(summary)
            if leased is not None:
                return leased
            stored = unsaved or read_series(path)
            if stored is None or stored[0].summary is None:
                raise self._not_found(key)
            return self._mapped.make(stored[0].summary, stored[1])

    def delete(self, key: SeriesKey, start_ms: int | None = None, end_ms: int | None = None) -> int:
        """Remove ``[start_ms, end_ms)``, all of it by default, with what is known of it.

        Returns:
            The number of candles removed.

        Raises:
            ResearchError: ``series_not_found``, ``storage_failed``.
        """
        path = self._path(key)
        if not path.exists() and not journal_of(path).exists():
            raise self._not_found(key)
        with storage_errors(f"remove candles of {key}"), self._exclusive(path):
            files = SeriesFiles(path, key.exchange)
            if start_ms is None and end_ms is None:
                removed = self._remove(key, files)
            else:
                series = self._load(key, files)
                kept = series.cut(start_ms, end_ms)
                removed = len(series.candles) - len(kept.candles)
                if removed or kept.answered != series.answered:
                    files.save(kept)
        self._prune()
        return removed

    def _remove(self, key: SeriesKey, files: SeriesFiles) -> int:
        try:
            removed = len(self._load(key, files).candles)
        except ResearchError as error:
            if error.code is not ErrorCode.STORAGE_FAILED:
                raise
            # Removing a damaged series is the way to be rid of it; how many candles it had is lost.
            removed = 0
        files.remove()
        return removed

    def _load(self, key: SeriesKey, files: SeriesFiles) -> Series:
        series = files.load()
        if series.empty:
            raise self._not_found(key)
        return series

    def _timestamps(self, key: SeriesKey) -> tuple[Description, NDArray[np.int64]]:
        """Description and timestamps of one generation; of an empty series when there is none."""
        with storage_errors(f"read {key}"):
            path = self._path(key)
            unsaved = self._settle(path)
            found = read_timestamps(path) if unsaved is None else None
        if unsaved is not None:
            found = unsaved[0], unsaved[1][:, TIMESTAMP].astype(np.int64)
        if found is None:
            return Description(key.exchange, None), np.empty(0, np.int64)
        return self._of(key, found[0]), found[1]

    def _description(self, key: SeriesKey) -> Description | None:
        with storage_errors(f"read {key}"):
            path = self._path(key)
            unsaved = self._settle(path)
            found = unsaved[0] if unsaved else read_description(path)
        return None if found is None else self._of(key, found)

    def _settle(self, path: Path) -> tuple[Description, CandleArray] | None:
        """Merge the journal of a series; what there is no room for on the disk is returned, to be read."""
        if not journal_of(path).exists():
            return None
        with self._exclusive(path):
            return SeriesFiles(path, None).settle()

    def _settled_summaries(self, unsaved: Mapping[Path, Description] | None = None) -> list[SeriesSummary]:
        known = dict(unsaved or {})
        with storage_errors("list the candle store"):
            files = [
                path
                for path in self.root.glob("[!.]*/[!.]*.parquet")
                if path not in known and not self._leads_outside(path)
            ]
            found = [*known.values(), *map(read_description, files)]
        summaries = [one.summary for one in found if one is not None and one.summary is not None]
        return sorted(summaries, key=lambda s: (s.exchange, s.symbol))

    @staticmethod
    def _of(key: SeriesKey, description: Description) -> Description:
        check_exchange(key.exchange, description.exchange)
        return description

    def _prune(self) -> None:
        """Old mapped files cost space only: the data is safe already, so a failure here is not one."""
        try:
            # Pages not yet merged have no mapped file to protect, and merging here would hold two locks.
            self._mapped.prune(lambda: {summary.content_hash for summary in self._settled_summaries()})
        except (OSError, ResearchError):
            return

    def _path(self, key: SeriesKey) -> Path:
        """The file of a series; both parts are checked, so it cannot be outside the root."""
        if not _EXCHANGE.fullmatch(key.exchange) or len(key.exchange) > _MAX_EXCHANGE:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"exchange is {key.exchange!r}",
                hint="use the name of an exchange as Jesse writes it, for example 'Binance Spot'",
            )
        if parse_symbol(key.symbol) != key.symbol:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"symbol is {key.symbol!r}",
                hint=f"write it as {parse_symbol(key.symbol)}",
            )
        path = self.root / key.exchange.lower().replace(" ", "-") / f"{key.symbol}.parquet"
        if self._leads_outside(path):
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"the candles of {key} are a link that leads out of the candle folder",
                hint="put the files themselves there; the candle folder as a whole may be a link",
            )
        return path

    def _leads_outside(self, path: Path) -> bool:
        inside = os.path.join(os.path.realpath(self.root), "")  # noqa: PTH118
        return not all(os.path.realpath(file).startswith(inside) for file in (path, journal_of(path)))

    @contextmanager
    def _exclusive(self, path: Path) -> Iterator[None]:
        """One writer of a series at a time, across threads and processes; lock files are never removed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock")
        try:
            # Never the existence-based lock: it outlives a killed process.
            with FileLock(lock, timeout=self._lock_timeout, poll_interval=0.02, fallback_to_soft=False):
                yield
        except Timeout as error:
            raise ResearchError(
                ErrorCode.STORAGE_FAILED,
                f"{path.parent.name}/{path.stem} was locked by another writer for {self._lock_timeout:g} s",
                hint="wait for the other import to finish, then repeat the call",
            ) from error

    @staticmethod
    def _not_found(key: SeriesKey) -> ResearchError:
        return ResearchError(
            ErrorCode.SERIES_NOT_FOUND,
            f"no candles of {key} are stored",
            hint="list what is stored with candles_available, or import candles with candles_import",
        )


def _check_answer(key: SeriesKey, rows: CandleArray, answered: tuple[int, int]) -> None:
    start_ms, end_ms = answered
    if start_ms % MINUTE_MS or end_ms % MINUTE_MS or not 0 <= start_ms < end_ms <= END_OF_TIME_MS:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"the answer for {key} covers {start_ms} to {end_ms} (epoch ms), not a range of whole minutes",
            hint="give the range that was asked for: a start before its end, both multiples of 60000",
        )
    if len(rows) and (rows[0, TIMESTAMP] < start_ms or rows[-1, TIMESTAMP] >= end_ms):
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"candles for {key} are from {iso_minute(int(rows[0, TIMESTAMP]))} to "
            f"{iso_minute(int(rows[-1, TIMESTAMP]))}, but the answer covers {iso_minute(start_ms)} to "
            f"{iso_minute(end_ms)} (exclusive)",
            hint="drop the candles that were not asked for, or say that they were",
        )
