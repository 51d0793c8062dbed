"""Where candles live. Implementations block; services call them in a thread."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from jesse_mcp.domain.candles import (
    CandleArray,
    Coverage,
    MappedSeries,
    ParsedCandles,
    SeriesKey,
    SeriesSpan,
    SeriesSummary,
    WriteReport,
)


class CandleStore(Protocol):
    """A store of one-minute series. All ranges are half-open ``[start_ms, end_ms)``."""

    @property
    def fills_gaps(self) -> bool:
        """Whether an import asks for minutes that lack between others, and up to any end.

        Otherwise it asks for what comes before the first candle and after the last one, up to the present.
        """
        ...

    def summaries(self) -> Sequence[SeriesSummary | SeriesSpan]:
        """Every stored series, ordered by exchange then symbol; a span where counting would take long."""
        ...

    def summary(self, key: SeriesKey) -> SeriesSummary | None:
        """One series, or ``None`` when no candle of it is stored."""
        ...

    def write(self, key: SeriesKey, candles: CandleArray, source: str) -> WriteReport:
        """Merge sorted, unique, validated candles into a series, all or nothing.

        Two writers of one series take turns; neither loses a row.

        Raises:
            ResearchError: ``candles_invalid`` for a bad array, ``storage_failed`` when the disk refuses;
                the series is then as before.
        """
        ...

    def append(
        self, key: SeriesKey, candles: CandleArray, source: str, answered: tuple[int, int]
    ) -> WriteReport:
        """Add one page of an import: sorted, unique, validated candles, and the minutes answered for.

        Cheap per page, and on disk when it returns: a crash loses at most the page being written. Every other
        method sees the page. Candles replace stored ones of the same minute. Two importers of one series take
        turns page by page.

        Args:
            key: the series.
            candles: shape (n, 6), all of them inside ``answered``; may be empty.
            source: where they come from.
            answered: the half-open range the exchange was asked for and answered, not empty.

        Raises:
            ResearchError: ``candles_invalid`` for a bad array, ``invalid_argument`` for a bad range,
                ``storage_failed`` when the disk refuses; the page is then not stored.
        """
        ...

    def answered(self, key: SeriesKey) -> tuple[tuple[int, int], ...]:
        """Every range an exchange was asked for and answered, with candles or without, that is not deleted.

        Ascending, not touching. A series can have answers and no candle: its summary is ``None`` then.
        """
        ...

    def unanswered(self, key: SeriesKey, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
        """What an import of the range still has to ask for: minutes neither stored nor answered, ascending.

        Raises:
            ResearchError: ``invalid_argument`` when the range is not of whole minutes.
        """
        ...

    def read(self, key: SeriesKey, start_ms: int | None = None, end_ms: int | None = None) -> CandleArray:
        """Candles in the range, shape (n, 6); empty when the series does not exist."""
        ...

    def coverage(self, key: SeriesKey, start_ms: int, end_ms: int, max_gaps: int = 20) -> Coverage:
        """What of the range is there, what is missing, and why."""
        ...

    def mapped(self, key: SeriesKey) -> MappedSeries:
        """The memory-mapped form of the whole series, made on first use and kept until the series changes.

        Raises:
            ResearchError: ``series_not_found``.
        """
        ...

    def delete(self, key: SeriesKey, start_ms: int | None = None, end_ms: int | None = None) -> int:
        """Remove the range (all of it by default) and the answers for it; the number of candles removed.

        Raises:
            ResearchError: ``series_not_found``.
        """
        ...


class SeriesOrigin(Protocol):
    """Another store, from which whole series can be copied."""

    @property
    def name(self) -> str:
        """What it is, for people; becomes the source of what is copied."""
        ...

    def whole(self, key: SeriesKey, arrived: Callable[[int], None]) -> CandleArray:
        """Every candle of a series, shape (n, 6); empty when it has none. Blocks.

        Args:
            key: the series.
            arrived: told the number of candles so far; an exception it raises ends the reading.

        Raises:
            ResearchError: what the other store says.
        """
        ...


class CandleFileReader(Protocol):
    """Reads candle files of other tools."""

    def read(
        self, path: Path, timestamp_unit: str | None = None, within: Sequence[Path] | None = None
    ) -> ParsedCandles:
        """All candles of a CSV, Parquet or Feather file, or of a directory of such, validated.

        Args:
            path: the file or directory.
            timestamp_unit: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"`` for numeric timestamps; detected when
                ``None``.
            within: folders the files must be in, links followed; ``None``: anywhere.

        Raises:
            ResearchError: ``forbidden`` for what is not ``within``, whether it exists or not,
                ``invalid_argument`` for a path or type that cannot be read,
                ``candles_invalid`` with the first offending rows for bad content.
        """
        ...
