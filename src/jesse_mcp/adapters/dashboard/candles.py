"""The candles of a running Jesse: its database is the truth, and a local copy is what is read."""

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.dashboard.candle_export import exported
from jesse_mcp.adapters.dashboard.candle_upload import delete_series, is_staging, upload_candles
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.mirror_age import MirrorAge, Reading
from jesse_mcp.domain.candles import (
    TIMESTAMP,
    CandleArray,
    Coverage,
    MappedSeries,
    SeriesKey,
    SeriesSpan,
    SeriesSummary,
    WriteReport,
    parse_symbol,
)
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.timeframes import iso_date

T = TypeVar("T")

#: Seconds a reading of a series is believed, and how many times as long as it took.
TRUSTED_SECONDS = 60.0
PATIENCE = 20.0
#: Seconds; copies of a series that grows all the time would fill the disk otherwise.
_MAPPED_RETENTION = 3600.0
_NOT_COUNTED = "Jesse tells the days only: name exchange and symbol to have the candles counted"
_BROKEN_COPY = (
    "check the disk that holds JESSE_MCP_CACHE, and remove its folder `mirrors`: only copies are in it"
)
_NO_PAIR = "its symbol is not written BASE-QUOTE in capitals, which is all that these tools take"


def open_mirror(folder: Path, url: str) -> ParquetCandleStore:
    """The local copy of the candles of the Jesse at ``url``, below ``folder``; each address has its own."""
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    return ParquetCandleStore(folder / name, mapped_retention=_MAPPED_RETENTION)


class DashboardCandleStore:
    """Implements :class:`jesse_mcp.ports.candle_store.CandleStore`. Safe to use from several processes.

    Jesse tells of a series only its first and last day, which says nothing about a gap that was filled or a
    candle that was replaced. So whoever needs candles gets a copy that was read whole from Jesse, and a copy
    is read again when it is older than a minute or than 20 times what reading took, whichever is longer;
    after every change made through this class; and when a listing shows other days than it has.

    Args:
        client: where Jesse is.
        mirror: holds the copies, and nothing else: what Jesse does not have is removed from it.
        trusted_seconds: how long a copy is believed at least.
        patience: and how many times as long as reading took.
        now: the clock, epoch seconds.
    """

    def __init__(
        self,
        client: DashboardClient,
        mirror: ParquetCandleStore,
        *,
        trusted_seconds: float = TRUSTED_SECONDS,
        patience: float = PATIENCE,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._mirror = mirror
        self._age = MirrorAge(mirror.root / ".readings", trusted_seconds, patience, now)
        self._now = now

    @property
    def fills_gaps(self) -> bool:
        """False: Jesse takes a minute that lacks between others for one the exchange does not have."""
        return False

    def summaries(self) -> Sequence[SeriesSummary | SeriesSpan]:
        """Every series in Jesse; counted where there is a copy to believe, its days only otherwise.

        Raises:
            ResearchError: what :meth:`DashboardClient.call` raises, ``storage_failed``.
        """
        found = [
            self._listed(SeriesKey(exchange=row["exchange"], symbol=row["symbol"]), row)
            for row in self._client.read("/candles/existing")["data"]
        ]
        return sorted((one for one in found if one is not None), key=lambda s: (s.exchange, s.symbol))

    def summary(self, key: SeriesKey) -> SeriesSummary | None:
        """One series, counted; ``None`` when Jesse does not have it. Raises as :meth:`read`."""
        return self._of_copy(key, lambda: self._mirror.summary(key))

    def write(self, key: SeriesKey, candles: CandleArray, source: str) -> WriteReport:  # noqa: ARG002
        """Upload a series that Jesse does not have yet. Jesse has no place for ``source``.

        Raises:
            ResearchError: ``invalid_argument`` when Jesse has the series, ``candles_invalid``, and what
                :meth:`DashboardClient.call` raises.
        """
        if not len(candles):
            return WriteReport(added=0, replaced=0, unchanged=0)
        try:
            added = upload_candles(self._client, key, candles)
        finally:
            self.forget(key)
        return WriteReport(added=added, replaced=0, unchanged=0)

    def append(
        self,
        key: SeriesKey,
        candles: CandleArray,  # noqa: ARG002
        source: str,  # noqa: ARG002
        answered: tuple[int, int],  # noqa: ARG002
    ) -> WriteReport:
        """Raises: ResearchError: ``capability_missing``: Jesse imports by itself."""
        raise ResearchError(
            ErrorCode.CAPABILITY_MISSING,
            f"Jesse takes no page of candles for {key}: it fetches from exchanges by itself",
            hint="import through Jesse with candles_import(exchange, symbol, start_date)",
        )

    def answered(self, key: SeriesKey) -> tuple[tuple[int, int], ...]:
        """What exchanges answered to imports that this program asked Jesse for. Raises as :meth:`read`."""
        return self._of_copy(key, lambda: self._mirror.answered(key))

    def unanswered(self, key: SeriesKey, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
        """Minutes neither in Jesse nor known to be empty. Raises as :meth:`coverage`."""
        return self._of_copy(key, lambda: self._mirror.unanswered(key, start_ms, end_ms))

    def read(self, key: SeriesKey, start_ms: int | None = None, end_ms: int | None = None) -> CandleArray:
        """Candles in ``[start_ms, end_ms)``, shape (n, 6); empty when Jesse has no such series.

        Raises:
            ResearchError: ``invalid_argument`` for a key that cannot be a series, ``candles_invalid`` for
                rows that are no candles, ``storage_failed``, and what
                :func:`jesse_mcp.adapters.dashboard.candle_export.exported` raises. A copy that is too old is
                not read instead.
        """
        return self._of_copy(key, lambda: self._mirror.read(key, start_ms, end_ms))

    def coverage(self, key: SeriesKey, start_ms: int, end_ms: int, max_gaps: int = 20) -> Coverage:
        """What of ``[start_ms, end_ms)`` is there and what is missing.

        Raises:
            ResearchError: ``invalid_argument`` for a range that is not whole minutes, and as :meth:`read`.
        """
        return self._of_copy(key, lambda: self._mirror.coverage(key, start_ms, end_ms, max_gaps))

    def mapped(self, key: SeriesKey) -> MappedSeries:
        """The memory-mapped form of the whole series.

        Raises:
            ResearchError: ``series_not_found``, and as :meth:`read`.
        """
        return self._of_copy(key, lambda: self._mirror.mapped(key))

    def delete(self, key: SeriesKey, start_ms: int | None = None, end_ms: int | None = None) -> int:
        """Remove a whole series from Jesse.

        Returns:
            The number of candles removed.

        Raises:
            ResearchError: ``capability_missing`` for a range, ``series_not_found``, and what
                :meth:`DashboardClient.call` raises.
        """
        if start_ms is not None or end_ms is not None:
            raise ResearchError(
                ErrorCode.CAPABILITY_MISSING,
                f"Jesse can delete {key} as a whole only, and a range was given",
                hint="leave out the dates to delete all of it, then import again what is to stay",
            )
        try:
            removed = delete_series(self._client, key)
        finally:
            self.forget(key)
        if not removed:
            raise ResearchError(
                ErrorCode.SERIES_NOT_FOUND,
                f"Jesse has no candles of {key}",
                hint="list what it has with candles_available",
            )
        return removed

    def forget(self, key: SeriesKey) -> None:
        """Have the series read from Jesse again before it is used; it has changed or may have."""
        self._age.forget(key)

    def note_answer(self, key: SeriesKey, start_ms: int, end_ms: int) -> None:
        """Know that an exchange was asked for ``[start_ms, end_ms)`` of a series: what lacks, it lacks.

        Raises:
            ResearchError: ``invalid_argument`` for a bad range, and as :meth:`read`.
        """
        nothing, span = np.empty((0, 6)), (start_ms, end_ms)
        self._of_copy(key, lambda: self._mirror.append(key, nothing, self._source, span))

    def refresh(self, key: SeriesKey) -> None:
        """Make the copy of a series one to believe. Raises as :meth:`read`."""
        if self._age.trusted(key) is not None:
            return
        with self._age.exclusive(key):
            if self._age.trusted(key) is not None:
                return
            began = self._now()
            candles = exported(self._client, key)
            if self._mirror.replace(key, candles, self._source):
                # Jesse remembers for a week what it has read for a run, also when it has changed since.
                self._client.post("/candles/clear-cache", {})
            self._age.note(key, Reading(began, self._now() - began, *_days(candles)))

    def _of_copy(self, key: SeriesKey, look: Callable[[], T]) -> T:
        """What a look at the copy gives; one that is damaged is made again."""
        self.refresh(key)
        try:
            return look()
        except ResearchError as error:
            if error.code is not ErrorCode.STORAGE_FAILED:
                raise
        self.forget(key)
        self.refresh(key)
        try:
            return look()
        except ResearchError as error:
            # The copy's own hint is about a store of ours: here it would delete what the user has in Jesse.
            raise ResearchError(
                error.code, error.message, hint=_BROKEN_COPY, details=error.details
            ) from error

    @property
    def _source(self) -> str:
        return f"Jesse at {self._client.url}"

    def _listed(self, key: SeriesKey, row: dict[str, str]) -> SeriesSummary | SeriesSpan | None:
        if is_staging(key):
            return None
        reading = self._age.trusted(key)
        if reading is not None:
            if (reading.first_day, reading.last_day) == (row["start_date"], row["end_date"]):
                with suppress(ResearchError):
                    counted = self._mirror.summary(key)
                    if counted is not None:
                        return counted
            self.forget(key)
        return SeriesSpan(
            exchange=key.exchange,
            symbol=key.symbol,
            first=row["start_date"],
            last=row["end_date"],
            source=self._source,
            unread=_NOT_COUNTED if _is_pair(key.symbol) else _NO_PAIR,
        )


def _is_pair(symbol: str) -> bool:
    with suppress(ResearchError):
        return parse_symbol(symbol) == symbol
    return False


def _days(candles: CandleArray) -> tuple[str | None, str | None]:
    if not len(candles):
        return None, None
    return iso_date(int(candles[0, TIMESTAMP])), iso_date(int(candles[-1, TIMESTAMP]))
