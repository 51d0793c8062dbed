"""One-minute candles: series keys, coverage, gaps and reports about them."""

import re

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value

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
