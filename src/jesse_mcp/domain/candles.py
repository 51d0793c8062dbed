"""One-minute candles: series keys, coverage, gaps and reports about them."""

import hashlib
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.intervals import Interval, Intervals, split
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_minute

#: Rows of float64 ``timestamp_ms, open, close, high, low, volume``: Jesse's own column order,
#: so that a mapped file is handed to the engine without a copy.
CandleArray = NDArray[np.float64]

TIMESTAMP, OPEN, CLOSE, HIGH, LOW, VOLUME = range(6)

_SYMBOL = re.compile(r"[A-Z0-9]{1,20}-[A-Z0-9]{2,10}")


class SeriesKey(Value):
    """Identity of a one-minute series."""

    exchange: str
    symbol: str

    def __str__(self) -> str:
        return f"{self.symbol} on {self.exchange}"


class Gap(Value):
    """A run of missing minutes; both ends are missing themselves."""

    start: str = Field(description="first missing minute, UTC")
    end: str = Field(description="last missing minute, UTC")
    minutes: int


class Coverage(Value):
    """How much of a requested range a series holds."""

    expected: int = Field(description="minutes in the range")
    present: int = Field(description="minutes stored")
    gap_count: int
    gaps: tuple[Gap, ...] = Field(description="the longest first, at most the number asked for")
    first_missing: Gap | None


class SeriesSummary(Value):
    """What the store holds of one series."""

    exchange: str
    symbol: str
    first: str = Field(description="first candle, UTC")
    last: str = Field(description="last candle, UTC")
    rows: int
    missing: int = Field(description="minutes without a candle between first and last")
    gap_count: int
    content_hash: str = Field(description="SHA-256 of the candles")
    source: str = Field(description="where the latest candles came from")


class WriteReport(Value):
    """What a write changed."""

    added: int
    replaced: int = Field(description="minutes that were there with other values")
    unchanged: int


@dataclass(frozen=True)
class ParsedCandles:
    """What a reader made of a candle file.

    ``candles`` is validated and in store order; ``detected`` says how the file was understood (format,
    columns, timestamp unit); ``notes`` what was done that the user may not expect.
    """

    candles: CandleArray
    detected: dict[str, str]
    notes: tuple[str, ...] = ()


class MappedSeries(Value):
    """The memory-mapped form of a series: raw little-endian float64 rows of six columns."""

    path: str
    rows: int
    content_hash: str


def parse_symbol(symbol: str) -> str:
    """``symbol`` in upper case, dashed as Jesse writes it (``BTC-USDT``).

    Raises:
        ResearchError: ``invalid_argument`` when it is not ``BASE-QUOTE``.
    """
    candidate = symbol.strip().upper().replace("/", "-").replace("_", "-")
    if not _SYMBOL.fullmatch(candidate):
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"symbol is {symbol!r}, not a trading pair",
            hint="write it as BASE-QUOTE, for example BTC-USDT",
        )
    return candidate


def content_hash(candles: CandleArray) -> str:
    """SHA-256 of the rows as little-endian float64 in Jesse's column order, whatever file holds them."""
    return hashlib.sha256(np.ascontiguousarray(candles, dtype="<f8").data).hexdigest()


def missing_runs(
    timestamps: NDArray[np.int64], start_ms: int, end_ms: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First missing minute (epoch ms) and length (minutes) of every gap in ``[start_ms, end_ms)``.

    ``timestamps`` are the candles inside that range, ascending; the edges of the range count as gaps too.
    """
    edges = np.concatenate(([start_ms - MINUTE_MS], timestamps, [end_ms]))
    minutes = np.diff(edges) // MINUTE_MS - 1
    gaps = np.flatnonzero(minutes > 0)
    return edges[gaps] + MINUTE_MS, minutes[gaps]


def measure_coverage(
    timestamps: NDArray[np.int64], start_ms: int, end_ms: int, max_gaps: int = 20
) -> Coverage:
    """Coverage of ``[start_ms, end_ms)`` by ascending ``timestamps`` (epoch ms; those outside are ignored).

    Raises:
        ResearchError: ``invalid_argument`` when the range is reversed or not on whole minutes.
    """
    _check_range(start_ms, end_ms)
    low, high = np.searchsorted(timestamps, [start_ms, end_ms])
    starts, minutes = missing_runs(timestamps[low:high], start_ms, end_ms)
    longest = np.argsort(-minutes, kind="stable")[: max(0, max_gaps)]
    return Coverage(
        expected=(end_ms - start_ms) // MINUTE_MS,
        present=int(high - low),
        gap_count=len(starts),
        gaps=tuple(_gap(int(starts[i]), int(minutes[i])) for i in longest),
        first_missing=_gap(int(starts[0]), int(minutes[0])) if len(starts) else None,
    )


def unanswered(
    timestamps: NDArray[np.int64], answered: Intervals, start_ms: int, end_ms: int
) -> list[Interval]:
    """What an import of ``[start_ms, end_ms)`` has to ask for, ascending: neither stored nor answered.

    Raises:
        ResearchError: ``invalid_argument`` when the range is reversed or not on whole minutes.
    """
    _check_range(start_ms, end_ms)
    low, high = np.searchsorted(timestamps, [start_ms, end_ms])
    starts, minutes = missing_runs(timestamps[low:high], start_ms, end_ms)
    begins, ends, known = split((starts, starts + minutes * MINUTE_MS), answered)
    return list(zip(begins[~known].tolist(), ends[~known].tolist(), strict=True))


def _check_range(start_ms: int, end_ms: int) -> None:
    if start_ms % MINUTE_MS or end_ms % MINUTE_MS or end_ms < start_ms:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"the range is {start_ms} to {end_ms} (epoch ms), not a range of whole minutes",
            hint="give a start before the end, both multiples of 60000",
        )


def _gap(start_ms: int, minutes: int) -> Gap:
    last = start_ms + (minutes - 1) * MINUTE_MS
    return Gap(start=iso_minute(start_ms), end=iso_minute(last), minutes=minutes)
