"""One-minute candles: what a series is called, what is stored and missing of it, what a write changed."""

import hashlib
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.gaps import ExplainedGap, check_range, explained_runs
from jesse_mcp.domain.intervals import Intervals
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.timeframes import MINUTE_MS

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


class Coverage(Value):
    """How much of a requested range a series holds."""

    expected: int = Field(description="minutes in the range")
    present: int = Field(description="minutes stored")
    gap_count: int
    missing_by_kind: dict[str, int]
    gaps: tuple[ExplainedGap, ...] = Field(description="the longest first, at most the number asked for")
    first_missing: ExplainedGap | None


class SeriesSummary(Value):
    """What the store holds of one series."""

    exchange: str
    symbol: str
    first: str = Field(description="first candle, UTC")
    last: str = Field(description="last candle, UTC")
    rows: int
    missing: int = Field(description="minutes without a candle between first and last")
    gap_count: int
    missing_by_kind: dict[str, int] = Field(description="minutes by kind of gap")
    content_hash: str = Field(description="SHA-256 of the candles")
    source: str = Field(description="where the latest candles came from")


class SeriesSpan(Value):
    """A series of a store that does not count its candles unless it is asked for that series."""

    exchange: str
    symbol: str
    first: str = Field(description="day of the first candle, UTC")
    last: str = Field(description="day of the last candle, UTC")
    source: str
    unread: str = Field(description="why nothing more is known")


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


def measure_coverage(
    exchange: str,
    timestamps: NDArray[np.int64],
    answered: Intervals,
    start_ms: int,
    end_ms: int,
    max_gaps: int = 20,
    *,
    now_ms: int,
) -> Coverage:
    """Coverage of ``[start_ms, end_ms)``; arguments as :func:`jesse_mcp.domain.gaps.explained_runs`.

    Raises:
        ResearchError: ``invalid_argument`` when the range is reversed or not on whole minutes.
    """
    check_range(start_ms, end_ms)
    low, high = np.searchsorted(timestamps, [start_ms, end_ms])
    runs = explained_runs(exchange, timestamps, answered, start_ms, end_ms, now_ms=now_ms)
    longest = np.argsort(-runs.minutes, kind="stable")[: max(0, max_gaps)]
    return Coverage(
        expected=(end_ms - start_ms) // MINUTE_MS,
        present=int(high - low),
        gap_count=len(runs.starts),
        missing_by_kind=runs.by_kind(),
        gaps=tuple(runs.gap(int(position)) for position in longest),
        first_missing=runs.gap(0) if len(runs.starts) else None,
    )
