"""One Parquet file per series: ``<root>/<exchange>/<symbol>.parquet``."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from jesse_mcp.adapters.candles.atomic import replace_file, storage_errors, sync_directory
from jesse_mcp.adapters.candles.mapped_files import MappedFiles
from jesse_mcp.adapters.candles.merging import merge
from jesse_mcp.adapters.candles.parquet_codec import (
    encode,
    read_series,
    read_summary,
    read_timestamps,
    summarize,
)
from jesse_mcp.adapters.candles.validation import validated
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

_EXCHANGE = re.compile(r"[A-Za-z0-9]+( [A-Za-z0-9]+)*")
_MAX_EXCHANGE = 64


class ParquetCandleStore:
    """Implements :class:`jesse_mcp.ports.candle_store.CandleStore` below ``root``.

    Readers take no lock: every file is replaced as a whole, so they see one generation or the next.

    Args:
        root: created at the first write.
        lock_timeout: seconds to wait for another writer of the same series.
        mapped_retention: seconds a superseded mapped file is kept after it was last handed out.
    """

    def __init__(
        self, root: Path, *, lock_timeout: float = 120.0, mapped_retention: float = 86_400.0
    ) -> None:
        self._root = root
        self._lock_timeout = lock_timeout
        self._mapped = MappedFiles(root / ".mapped", mapped_retention, lock_timeout)

    def summaries(self) -> list[SeriesSummary]:
        """Every stored series, ordered by exchange then symbol.

        Raises:
            ResearchError: ``storage_failed`` naming a file that cannot be read.
        """
        with storage_errors("list the candle store"):
            found = [read_summary(path) for path in self._root.glob("[!.]*/[!.]*.parquet")]
        return sorted((s for s in found if s is not None), key=lambda s: (s.exchange, s.symbol))

    def summary(self, key: SeriesKey) -> SeriesSummary | None:
        """One series, or ``None`` when nothing of it is stored.

        Raises:
            ResearchError: ``invalid_argument`` for a key that cannot be a series, ``storage_failed``.
        """
        with storage_errors(f"read {key}"):
            return _belonging(key, read_summary(self._path(key)))

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
            stored = read_series(path)
            old = np.empty((0, 6)) if stored is None else stored[1]
            _belonging(key, stored[0] if stored else None)
            merged, report = merge(old, rows)
            if report.added or report.replaced:
                replace_file(path, encode(merged, summarize(key, merged, source)))
        self._prune()
        return report

    def read(self, key: SeriesKey, start_ms: int | None = None, end_ms: int | None = None) -> CandleArray:
        """Candles in ``[start_ms, end_ms)``, shape (n, 6); empty when there is no such series.

        Raises:
            ResearchError: ``storage_failed`` when the series is damaged.
        """
        with storage_errors(f"read {key}"):
            stored = read_series(self._path(key))
        if stored is None or _belonging(key, stored[0]) is None:
            return np.empty((0, 6))
        low, high = _bounds(stored[1], start_ms, end_ms)
        return stored[1][low:high]

    def coverage(self, key: SeriesKey, start_ms: int, end_ms: int, max_gaps: int = 20) -> Coverage:
        """What of ``[start_ms, end_ms)`` is there and what is missing.

        Raises:
            ResearchError: ``invalid_argument`` for a range that is not whole minutes, ``storage_failed``.
        """
        with storage_errors(f"read {key}"):
            path = self._path(key)
            stored = _belonging(key, read_summary(path))
            timestamps = np.empty(0, np.int64) if stored is None else read_timestamps(path)
        return measure_coverage(timestamps, start_ms, end_ms, max_gaps)

    def mapped(self, key: SeriesKey) -> MappedSeries:
        """The memory-mapped form of the whole series, made on first use.

        Raises:
            ResearchError: ``series_not_found``, ``storage_failed``.
        """
        path = self._path(key)
        with storage_errors(f"map {key}"):
            summary = _belonging(key, read_summary(path))
            leased = None if summary is None else self._mapped.lease(summary)
            if leased is not None:
                return leased
            stored = read_series(path)
            if stored is None:
                raise self._not_found(key)
            return self._mapped.make(*stored)

    def delete(self, key: SeriesKey, start_ms: int | None = None, end_ms: int | None = None) -> int:
        """Remove ``[start_ms, end_ms)``, all of it by default; the number of candles removed.

        Raises:
            ResearchError: ``series_not_found``, ``storage_failed``.
        """
        path = self._path(key)
        if not path.exists():
            raise self._not_found(key)
        with storage_errors(f"remove candles of {key}"), self._exclusive(path):
            removed = (
                self._remove(key, path)
                if start_ms is None and end_ms is None
                else self._cut(key, path, start_ms, end_ms)
            )
        self._prune()
        return removed

    def _remove(self, key: SeriesKey, path: Path) -> int:
        try:
            summary = read_summary(path)
        except ResearchError:
            # Removing a damaged series is the way to be rid of it; how many candles it had is lost.
            rows = 0
        else:
            if _belonging(key, summary) is None or summary is None:
                raise self._not_found(key)
            rows = summary.rows
        path.unlink()
        sync_directory(path.parent)
        return rows

    def _cut(self, key: SeriesKey, path: Path, start_ms: int | None, end_ms: int | None) -> int:
        stored = read_series(path)
        if stored is None or _belonging(key, stored[0]) is None:
            raise self._not_found(key)
        summary, candles = stored
        low, high = _bounds(candles, start_ms, end_ms)
        if high - low == len(candles):
            return self._remove(key, path)
        if high > low:
            kept = np.delete(candles, slice(low, high), axis=0)
            replace_file(path, encode(kept, summarize(key, kept, summary.source)))
        return high - low

    def _prune(self) -> None:
        """Old mapped files cost space only: the data is safe already, so a failure here is not one."""
        try:
            self._mapped.prune(lambda: {summary.content_hash for summary in self.summaries()})
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
        return self._root / key.exchange.lower().replace(" ", "-") / f"{key.symbol}.parquet"

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
            hint="list what is stored with candles_available, or import a file with candles_import",
        )


def _bounds(candles: CandleArray, start_ms: int | None, end_ms: int | None) -> tuple[int, int]:
    timestamps = candles[:, TIMESTAMP]
    low = 0 if start_ms is None else int(np.searchsorted(timestamps, start_ms))
    high = len(candles) if end_ms is None else int(np.searchsorted(timestamps, end_ms))
    return low, max(low, high)


def _belonging(key: SeriesKey, summary: SeriesSummary | None) -> SeriesSummary | None:
    """``summary`` unchanged; the folder name ignores case, so the name inside must be compared.

    Raises:
        ResearchError: ``invalid_argument`` when the file is of an exchange written in another case.
    """
    if summary is not None and summary.exchange != key.exchange:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"exchange is {key.exchange!r}, but the series is stored as {summary.exchange!r}",
            hint=f"use exchange {summary.exchange!r}",
        )
    return summary
