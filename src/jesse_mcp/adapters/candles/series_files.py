"""The two files of a series: a Parquet file, and a journal of the pages that came after it.

Saving replaces the Parquet file and then removes the journal. Killed in between, the journal is still there,
but the Parquet file says how far it is included, so no page is laid over anything newer than itself.
"""

import errno
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jesse_mcp.adapters.candles.atomic import replace_file, sync_directory
from jesse_mcp.adapters.candles.journal import Entry, Journal, Mark, Page, after, is_full
from jesse_mcp.adapters.candles.merging import flatten, merge, within
from jesse_mcp.adapters.candles.parquet_codec import (
    Description,
    encode,
    read_description,
    read_part,
    read_series,
    summarize,
)
from jesse_mcp.domain.candles import CandleArray, SeriesKey, WriteReport
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.intervals import Interval, Intervals, union, without
from jesse_mcp.domain.timeframes import parse_minute

_NO_SOURCE = ""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True)
class Series:
    """A whole series in memory: candles (n, 6), answered ranges, where the latest candles came from.

    ``included`` is the end of the journal these were read from.
    """

    exchange: str
    candles: CandleArray
    answered: Intervals
    source: str
    included: Mark | None

    @property
    def empty(self) -> bool:
        return not len(self.candles) and not self.answered

    def overlaid(self, candles: CandleArray, source: str) -> "tuple[Series, WriteReport]":
        """With ``candles`` (n, 6, ascending, unique) over those there are."""
        merged, report = merge(self.candles, candles)
        changed = report.added or report.replaced
        return replace(self, candles=merged, source=source if changed else self.source), report

    def cut(self, start_ms: int | None, end_ms: int | None) -> "Series":
        """Without the candles and the answers of ``[start_ms, end_ms)``."""
        return replace(
            self,
            candles=np.delete(self.candles, within(self.candles, start_ms, end_ms), axis=0),
            answered=without(self.answered, start_ms, end_ms),
        )


class SeriesFiles:
    """The files of the series at ``path``, which need not exist. The caller holds the lock of the series.

    Args:
        path: of the Parquet file.
        exchange: as the caller writes it; ``None`` is any.
    """

    def __init__(self, path: Path, exchange: str | None) -> None:
        self._path = path
        self._exchange = exchange
        self._journal = Journal(journal_of(path))

    def load(self) -> Series:
        """The series with every whole page of the journal; an empty one when there are no files.

        Raises:
            ResearchError: ``storage_failed`` when a file is damaged, ``invalid_argument`` when the series is
                of an exchange written in another case.
        """
        description, candles = read_series(self._path) or (Description("", None), np.empty((0, 6)))
        entries = self._journal.entries()
        pages = self._journal.pages(after(entries, description.included))
        summary = description.summary
        series = Series(
            exchange=self._checked([description.exchange, *(page.exchange for page in pages)]),
            candles=candles,
            answered=union((*description.answered, *(page.answered for page in pages))),
            source=_NO_SOURCE if summary is None else summary.source,
            included=entries[-1].mark if entries else None,
        )
        sources = [page.source for page in pages if len(page.candles)]
        if not sources:
            return series
        return series.overlaid(flatten([page.candles for page in pages]), sources[-1])[0]

    def save(self, series: Series) -> None:
        """Make ``series``, which was made of what :meth:`load` returned, the content of the files.

        Raises:
            OSError: nothing has changed for readers.
        """
        if series.empty:
            self.remove()
            return
        replace_file(self._path, encode(series.candles, self.describe(series)))
        self._journal.remove()

    def describe(self, series: Series) -> Description:
        """What the Parquet file of ``series`` would say besides its candles."""
        key = SeriesKey(exchange=series.exchange, symbol=self._path.stem)
        summary = None
        if len(series.candles):
            now_ms = int(time.time() * 1000)
            summary = summarize(key, series.candles, series.answered, series.source, now_ms)
        return Description(series.exchange, summary, series.answered, series.included)

    def settle(self) -> tuple[Description, CandleArray] | None:
        """Merge the journal into the Parquet file.

        Returns:
            What the file should hold, when there is no room for it: then nothing has changed. ``None`` when
            it holds it.

        Raises:
            OSError: for any other trouble; nothing has changed for readers.
        """
        if not self._journal.exists():
            return None
        series = self.load()
        try:
            self.save(series)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            return self.describe(series), series.candles
        return None

    def remove(self) -> None:
        """Remove the journal, then the Parquet file: the other way round, pages would come back to life."""
        for file in (self._journal.path, self._path):
            if file.exists():
                file.unlink()
                sync_directory(file.parent)

    def append(self, page: Page) -> WriteReport:
        """Add a page to the journal, first merging one that is full.

        Raises:
            OSError: the page is not stored, and nothing else is lost.
            ResearchError: as :meth:`load`.
        """
        entries = self._journal.entries()
        if is_full(entries):
            self.save(self.load())
            entries = []
        description = read_description(self._path) or Description("", None)
        self._checked(
            [description.exchange, *(older.exchange for older in self._journal.pages(entries[-1:]))]
        )
        stored = self._stored(page.answered, description, entries)
        report = merge(stored, page.candles)[1]
        self._journal.append(page, entries)
        return report

    def _checked(self, names: list[str]) -> str:
        """The exchange the files are of, that of the caller when there are none.

        Raises:
            ResearchError: ``invalid_argument`` when the two differ, which is in upper and lower case.
        """
        stored = next((name for name in names if name), self._exchange or "")
        if self._exchange is not None:
            check_exchange(self._exchange, stored)
        return stored

    def _stored(self, span: Interval, description: Description, entries: list[Entry]) -> CandleArray:
        """Candles of both files in ``span``, without reading more of either than is needed."""
        start_ms, end_ms = span
        near = [
            entry
            for entry in after(entries, description.included)
            if entry.answered[0] < end_ms and start_ms < entry.answered[1]
        ]
        pages = [page.candles for page in self._journal.pages(near)]
        stored = flatten([self._part(description, start_ms, end_ms), *pages])
        return stored[within(stored, start_ms, end_ms)]

    def _part(self, description: Description, start_ms: int, end_ms: int) -> CandleArray:
        """Stored candles in the range; a page beyond what is stored, the usual case, reads nothing."""
        summary = description.summary
        if summary is None or parse_minute(summary.last) < start_ms or parse_minute(summary.first) >= end_ms:
            return np.empty((0, 6))
        return read_part(self._path, start_ms, end_ms)


def journal_of(path: Path) -> Path:
    """The journal of the series in the Parquet file ``path``."""
    return path.with_suffix(".journal")


def check_exchange(exchange: str, stored: str) -> None:
    """The folder name ignores case, so the name inside a file must be compared.

    Raises:
        ResearchError: ``invalid_argument`` when the series is of an exchange written in another case.
    """
    if stored != exchange:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"exchange is {exchange!r}, but the series is stored as {stored!r}",
            hint=f"use exchange {stored!r}",
        )
