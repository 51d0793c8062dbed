"""Where candles live. Implementations block; services call them in a thread."""

from pathlib import Path
from typing import Protocol

from jesse_mcp.domain.candles import (
    CandleArray,
    Coverage,
    MappedSeries,
    ParsedCandles,
    SeriesKey,
    SeriesSummary,
    WriteReport,
)


class CandleStore(Protocol):
    """A store of one-minute series. All ranges are half-open ``[start_ms, end_ms)``."""

    def summaries(self) -> list[SeriesSummary]:
        """Every stored series, ordered by exchange then symbol."""
        ...

    def summary(self, key: SeriesKey) -> SeriesSummary | None:
        """One series, or ``None`` when nothing of it is stored."""
        ...

    def write(self, key: SeriesKey, candles: CandleArray, source: str) -> WriteReport:
        """Merge sorted, unique, validated candles into a series, all or nothing.

        Two writers of one series take turns; neither loses a row.

        Raises:
            ResearchError: ``candles_invalid`` for a bad array, ``storage_failed`` when the disk refuses;
                the series is then as before.
        """
        ...

    def read(self, key: SeriesKey, start_ms: int | None = None, end_ms: int | None = None) -> CandleArray:
        """Candles in the range, shape (n, 6); empty when the series does not exist."""
        ...

    def coverage(self, key: SeriesKey, start_ms: int, end_ms: int, max_gaps: int = 20) -> Coverage:
        """What of the range is there and what is missing."""
        ...

    def mapped(self, key: SeriesKey) -> MappedSeries:
        """The memory-mapped form of the whole series, made on first use and kept until the series changes.

        Raises:
            ResearchError: ``series_not_found``.
        """
        ...

    def delete(self, key: SeriesKey, start_ms: int | None = None, end_ms: int | None = None) -> int:
        """Remove the range (all of it by default); the number of candles removed.

        Raises:
            ResearchError: ``series_not_found``.
        """
        ...


class CandleFileReader(Protocol):
    """Reads candle files of other tools."""

    def read(self, path: Path, timestamp_unit: str | None = None) -> ParsedCandles:
        """All candles of a CSV, Parquet or Feather file, or of a directory of such, validated.

        Args:
            path: the file or directory.
            timestamp_unit: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"`` for numeric timestamps; detected when
                ``None``.

        Raises:
            ResearchError: ``invalid_argument`` for a path or type that cannot be read,
                ``candles_invalid`` with the first offending rows for bad content.
        """
        ...
