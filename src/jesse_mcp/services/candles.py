"""Candles as an agent works with them: import files, see what is stored and what is missing, delete."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from jesse_mcp.domain.candles import (
    TIMESTAMP,
    Coverage,
    SeriesKey,
    SeriesSpan,
    SeriesSummary,
    parse_symbol,
)
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.gaps import Gap, gap_at, missing_runs
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_minute, parse_date
from jesse_mcp.ports.candle_store import CandleFileReader, CandleStore
from jesse_mcp.services.candle_quality import CandleQualityService, SeriesCheck, findings
from jesse_mcp.services.import_folders import ImportFolders

_GAPS_SHOWN = 10
_MAX_SOURCE = 200


class CandleImportResult(Value):
    exchange: str = Field(description="as Jesse names it")
    symbol: str
    first: str = Field(description="first candle of the file, UTC")
    last: str = Field(description="last candle of the file, UTC")
    rows_in_file: int
    added: int = Field(description="minutes that were not stored before")
    replaced: int = Field(description="minutes that were stored with other values")
    unchanged: int
    missing: int = Field(description="minutes between first and last that the file lacks")
    gap_count: int
    longest_gaps: tuple[Gap, ...]
    detected: dict[str, str] = Field(description="how the file was understood: format, columns, time unit")
    notes: tuple[str, ...] = Field(
        description="what was done to the rows, and what is suspicious about them, if anything"
    )


class StoredSeries(Value):
    exchange: str
    symbol: str
    first: str = Field(description="first candle, UTC; its day when unread")
    last: str = Field(description="last candle, UTC; its day when unread")
    rows: int | None = None
    missing: int | None = Field(None, description="minutes without a candle between first and last")
    gap_count: int | None = None
    missing_by_kind: dict[str, int] | None = Field(None, description="minutes by kind of gap")
    content_hash: str | None = Field(None, description="SHA-256 of the candles")
    source: str = Field(description="where the latest candles came from")
    unread: str | None = Field(None, description="why the numbers are null")
    coverage: Coverage | None = Field(description="of the range asked for; null when none was")


class CandlesAvailable(Value):
    series: tuple[StoredSeries, ...]


class CandlesDeleted(Value):
    exchange: str
    symbol: str
    deleted: int = Field(description="candles removed")
    remaining: int = Field(description="candles of this series still stored")


class CandleService:
    """Blocking work is done in threads.

    Attributes:
        quality: the same store, asked whether its candles can be trusted.

    Args:
        store: where candles live.
        reader: reads candle files.
        resolve_exchange: a name as people write it to the name Jesse knows; raises ``ResearchError``
            (``invalid_argument``) when there is none.
        folders: where files may be.
    """

    def __init__(
        self,
        store: CandleStore,
        reader: CandleFileReader,
        resolve_exchange: Callable[[str], str],
        folders: ImportFolders,
    ) -> None:
        self._store = store
        self._reader = reader
        self._resolve_exchange = resolve_exchange
        self._folders = folders
        self.quality = CandleQualityService(store)

    async def import_file(
        self, path: str, exchange: str, symbol: str, timestamp_unit: str | None = None
    ) -> CandleImportResult:
        """Merge the candles of a file, or of a folder of files, into a series.

        Args:
            path: on this machine.
            exchange: a name of it that Jesse or people use.
            symbol: the pair, ``BASE-QUOTE``.
            timestamp_unit: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``; detected when ``None``.

        Raises:
            ResearchError: ``forbidden`` for a path that is not the caller's to import, ``invalid_argument``,
                ``candles_invalid`` naming the first bad rows, ``storage_failed``. Nothing has been stored
                then.
        """
        key = self._key(exchange, symbol)
        if not path.strip():
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                "path is empty",
                hint="give the absolute path of a candle file, or of a folder of them",
            )
        return await asyncio.to_thread(self._import, Path(path), key, timestamp_unit)

    def _import(self, path: Path, key: SeriesKey, timestamp_unit: str | None) -> CandleImportResult:
        parsed = self._reader.read(path, timestamp_unit, self._folders.reachable())
        report = self._store.write(key, parsed.candles, f"file {path.name}"[:_MAX_SOURCE])
        timestamps = parsed.candles[:, TIMESTAMP].astype(np.int64)
        first, last = int(timestamps[0]), int(timestamps[-1])
        starts, minutes = missing_runs(timestamps, first, last + MINUTE_MS)
        longest = np.argsort(-minutes, kind="stable")[:_GAPS_SHOWN]
        return CandleImportResult(
            exchange=key.exchange,
            symbol=key.symbol,
            first=iso_minute(first),
            last=iso_minute(last),
            rows_in_file=len(timestamps),
            added=report.added,
            replaced=report.replaced,
            unchanged=report.unchanged,
            missing=int(minutes.sum()),
            gap_count=len(minutes),
            longest_gaps=tuple(gap_at(int(starts[i]), int(minutes[i])) for i in longest),
            detected=parsed.detected,
            notes=(*parsed.notes, *findings(parsed.candles)),
        )

    async def available(
        self,
        exchange: str | None = None,
        symbol: str | None = None,
        start_date: str | None = None,
        end_date: str | None = None,
    ) -> CandlesAvailable:
        """Stored series, with the coverage of a range of days when both of its ends are given.

        Raises:
            ResearchError: ``invalid_argument``, ``storage_failed``.
        """
        wanted_exchange = None if exchange is None else self._resolve_exchange(exchange)
        wanted_symbol = None if symbol is None else parse_symbol(symbol)
        start, end = _range(start_date, end_date)
        if (start is None) != (end is None):
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"start_date is {start_date!r} and end_date is {end_date!r}",
                hint="give both for the coverage of a range (end_date is exclusive), or neither",
            )

        def look() -> CandlesAvailable:
            found = self._found(wanted_exchange, wanted_symbol)
            return CandlesAvailable(series=tuple(self._described(summary, start, end) for summary in found))

        return await asyncio.to_thread(look)

    def _found(self, exchange: str | None, symbol: str | None) -> Sequence[SeriesSummary | SeriesSpan]:
        if exchange is not None and symbol is not None:
            one = self._store.summary(SeriesKey(exchange=exchange, symbol=symbol))
            return [] if one is None else [one]
        return [
            one
            for one in self._store.summaries()
            if exchange in (None, one.exchange) and symbol in (None, one.symbol)
        ]

    def _described(
        self, summary: SeriesSummary | SeriesSpan, start: int | None, end: int | None
    ) -> StoredSeries:
        coverage = None
        if start is not None and end is not None:
            key = SeriesKey(exchange=summary.exchange, symbol=summary.symbol)
            coverage = self._store.coverage(key, start, end, _GAPS_SHOWN)
        return StoredSeries(**summary.model_dump(), coverage=coverage)

    async def check(
        self, exchange: str, symbol: str, start_date: str | None = None, end_date: str | None = None
    ) -> SeriesCheck:
        """Read a series whole, compare it with its hash, measure its gaps and the quality of its candles.

        Args:
            exchange: a name of it that Jesse or people use.
            symbol: the pair.
            start_date: first day to measure; default: the first candle.
            end_date: day after the last; default: the last candle.

        Raises:
            ResearchError: ``series_not_found``, ``storage_failed`` when the stored file is damaged,
                ``invalid_argument``.
        """
        return await self.quality.check(self._key(exchange, symbol), *_range(start_date, end_date))

    async def delete(
        self, exchange: str, symbol: str, start_date: str | None = None, end_date: str | None = None
    ) -> CandlesDeleted:
        """Remove candles of a series: those of the days in the range, all of them by default.

        Args:
            exchange: a name of it that Jesse or people use.
            symbol: the pair.
            start_date: first day to remove; default: from the first candle.
            end_date: day after the last to remove; default: to the last candle.

        Raises:
            ResearchError: ``series_not_found``, ``invalid_argument``, ``storage_failed``.
        """
        key = self._key(exchange, symbol)
        start, end = _range(start_date, end_date)

        def remove() -> CandlesDeleted:
            deleted = self._store.delete(key, start, end)
            left = self._store.summary(key)
            return CandlesDeleted(
                exchange=key.exchange,
                symbol=key.symbol,
                deleted=deleted,
                remaining=0 if left is None else left.rows,
            )

        return await asyncio.to_thread(remove)

    def _key(self, exchange: str, symbol: str) -> SeriesKey:
        return SeriesKey(exchange=self._resolve_exchange(exchange), symbol=parse_symbol(symbol))


def _range(start_date: str | None, end_date: str | None) -> tuple[int | None, int | None]:
    """Midnights (epoch ms) of a half-open range of days.

    Raises:
        ResearchError: ``invalid_argument`` for what is no date, or an end that is not after the start.
    """
    start = None if start_date is None else parse_date(start_date, "start_date")
    end = None if end_date is None else parse_date(end_date, "end_date")
    if start is not None and end is not None and end <= start:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"end_date {end_date} is not after start_date {start_date}",
            hint="end_date is exclusive: for a single day, give the next day",
        )
    return start, end
