"""Stored candles as minutes of a paper session, as fast as they are taken or at a chosen speed."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.domain.candles import CLOSE, HIGH, LOW, OPEN, TIMESTAMP, VOLUME, CandleArray, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper import Minute, PaperRequest
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_minute
from jesse_mcp.ports.candle_store import CandleStore
from jesse_mcp.ports.paper import FeedBatch
from jesse_mcp.services.candle_slices import import_call
from jesse_mcp.services.clock import Clock

#: Minutes of a batch at most.
BATCH_MINUTES = 1_440
_COLUMNS = 6
#: In the order of a row of :class:`Minute`.
_PRICES = [OPEN, CLOSE, HIGH, LOW, VOLUME]
#: Seconds between batches of a paced replay: shorter ones would only be smaller batches.
_SHORTEST_PAUSE = 0.05


@dataclass(frozen=True)
class _Stored:
    """One series as it is when the replay begins: candles added later are not in it."""

    rows: CandleArray
    timestamps: NDArray[np.int64]

    def between(self, start_ms: int, end_ms: int) -> tuple[list[int], list[list[float]]]:
        first, end = np.searchsorted(self.timestamps, [start_ms, end_ms])
        part = np.asarray(self.rows[first:end])
        return part[:, TIMESTAMP].astype(np.int64).tolist(), part[:, _PRICES].tolist()


class ReplayFeed:
    """Implements :class:`jesse_mcp.ports.paper.PaperFeed`.

    A minute is given when any series has a candle of it. Minutes without one are left out, and cost as much
    time at a chosen speed as others.
    """

    def __init__(self, store: CandleStore, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock or Clock()

    async def batches(self, request: PaperRequest, from_ms: int) -> AsyncGenerator[FeedBatch]:
        """See the port. The end is that of the request, or where the first series has no further candle.

        Raises:
            ResearchError: ``candles_missing`` when the first or the last minute of a series is neither stored
                nor known to be without a candle.
        """
        stored, end_ms = await asyncio.to_thread(self._opened, request)
        pace = _Pace(self._clock, request.speed, from_ms)
        at = from_ms
        while at < end_ms:
            through = await pace.reached(at, min(at + BATCH_MINUTES * MINUTE_MS, end_ms))
            minutes = await asyncio.to_thread(_minutes, stored, at, through)
            at = through
            yield FeedBatch(minutes, (), self._clock.now_ms(), through, ended=at >= end_ms)
        if from_ms >= end_ms:
            yield FeedBatch((), (), self._clock.now_ms(), end_ms, ended=True)

    def _opened(self, request: PaperRequest) -> tuple[tuple[_Stored, ...], int]:
        end_ms = self._common_end(request) if request.end_ms is None else request.end_ms
        return tuple(self._open(key, request.start_ms, end_ms) for key in request.series), end_ms

    def _common_end(self, request: PaperRequest) -> int:
        ends = []
        for key in request.series:
            rows = self._mapped(key, request.start_ms, None)
            ends.append(int(rows[-1, TIMESTAMP]) + MINUTE_MS)
        return min(ends)

    def _open(self, key: SeriesKey, start_ms: int, end_ms: int) -> _Stored:
        rows = self._mapped(key, start_ms, end_ms)
        for moment in (start_ms, end_ms - MINUTE_MS):
            if start_ms < end_ms and self._store.unanswered(key, moment, moment + MINUTE_MS):
                raise _missing(key, f"the minute {iso_minute(moment)} is not stored", start_ms, end_ms)
        timestamps = rows[:, TIMESTAMP].astype(np.int64)
        first, end = np.searchsorted(timestamps, [start_ms, end_ms])
        return _Stored(rows[first:end], timestamps[first:end])

    def _mapped(self, key: SeriesKey, start_ms: int, end_ms: int | None) -> CandleArray:
        if self._store.summary(key) is None:
            raise _missing(key, "nothing is stored", start_ms, end_ms)
        mapped = self._store.mapped(key)
        return np.memmap(mapped.path, dtype="<f8", mode="r", shape=(mapped.rows, _COLUMNS))


class _Pace:
    """How far a replay may have come. Without a speed it may go on at once."""

    def __init__(self, clock: Clock, speed: float | None, from_ms: int) -> None:
        self._clock = clock
        self._speed = speed
        self._from_ms = from_ms
        self._began = clock.now_ms()

    async def reached(self, at: int, furthest: int) -> int:
        """Wait until the minute that begins at ``at`` is over; up to where minutes are over then."""
        if self._speed is None:
            return furthest
        due = self._began + (at + MINUTE_MS - self._from_ms) / self._speed
        while (left := (due - self._clock.now_ms()) / 1000) > 0:
            await self._clock.sleep(max(left, _SHORTEST_PAUSE))
        passed = (self._clock.now_ms() - self._began) * self._speed
        reached = self._from_ms + int(passed // MINUTE_MS) * MINUTE_MS
        # Rounding may be short of the very minute that was waited for.
        return min(max(reached, at + MINUTE_MS), furthest)


def _minutes(stored: tuple[_Stored, ...], start_ms: int, end_ms: int) -> tuple[Minute, ...]:
    """Every minute of the half-open range that any series has, oldest first."""
    found: dict[int, dict[int, tuple[float, float, float, float, float]]] = {}
    for place, series in enumerate(stored):
        for timestamp, (opened, closed, high, low, volume) in zip(
            *series.between(start_ms, end_ms), strict=True
        ):
            found.setdefault(timestamp, {})[place] = (opened, closed, high, low, volume)
    return tuple(Minute(timestamp=timestamp, rows=found[timestamp]) for timestamp in sorted(found))


def _missing(key: SeriesKey, what: str, start_ms: int, end_ms: int | None) -> ResearchError:
    until = "" if end_ms is None else f" to {iso_minute(end_ms)}"
    return ResearchError(
        ErrorCode.CANDLES_MISSING,
        f"the replay needs {key} from {iso_minute(start_ms)}{until}: {what}",
        hint=import_call(key, start_ms, end_ms),
        details={"exchange": key.exchange, "symbol": key.symbol},
    )
