"""A series of another store, copied into ours."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from pydantic import Field

from jesse_mcp.domain.candles import SeriesKey, SeriesSummary, WriteReport, parse_symbol
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.model import Value
from jesse_mcp.ports.candle_store import CandleStore, SeriesOrigin
from jesse_mcp.services.jobs import JobReporter, JobService, ProgressListener


class CandlesPulled(Value):
    """State of a copy, and what the series is then; null until it is done."""

    state: JobState
    job_id: str
    progress: float | None
    message: str | None
    exchange: str
    symbol: str
    source: str = Field(description="where it is copied from")
    first: str | None = Field(None, description="first candle stored, UTC")
    last: str | None = Field(None, description="last candle stored, UTC")
    rows: int | None = Field(None, description="candles stored")
    added: int | None = Field(None, description="minutes that were not stored before")
    replaced: int | None = Field(None, description="minutes that were stored with other values")
    unchanged: int | None = None


class CandlePullService:
    """Copies whole series; what is stored besides stays.

    Args:
        store: ours.
        origin: the other one; ``None`` when there is none.
        absent: why there is none, and the way out.
        jobs: a copy is one.
        resolve_exchange: a name as people write it to the name Jesse knows; raises ``ResearchError``.
    """

    def __init__(
        self,
        store: CandleStore,
        origin: SeriesOrigin | None,
        absent: str,
        jobs: JobService,
        resolve_exchange: Callable[[str], str],
    ) -> None:
        self._store = store
        self._origin = origin
        self._absent = absent
        self._jobs = jobs
        self._resolve_exchange = resolve_exchange

    async def pull(
        self,
        exchange: str,
        symbol: str,
        *,
        wait_seconds: float,
        on_progress: ProgressListener | None = None,
    ) -> CandlesPulled:
        """Copy a series.

        Raises:
            ResearchError: ``capability_missing`` when there is nowhere to copy from, ``invalid_argument``,
                ``series_not_found``, and what the other store says when it fails in that time.
        """
        if self._origin is None:
            raise ResearchError(
                ErrorCode.CAPABILITY_MISSING, "there is no other store to copy candles from", self._absent
            )
        key = SeriesKey(exchange=self._resolve_exchange(exchange), symbol=parse_symbol(symbol))
        origin = self._origin

        async def work(reporter: JobReporter) -> None:
            await self._copy(origin, key, reporter)

        request = {**key.model_dump(), "source": origin.name}
        job = await self._jobs.submit("candles_import", request, work)
        job = await self._jobs.wait(job.job_id, wait_seconds, on_progress)
        if job.error is not None:
            error = ResearchError.from_dict(job.error)
            error.details.setdefault("job_id", job.job_id)
            raise error
        return CandlesPulled(
            state=job.state,
            job_id=job.job_id,
            progress=job.progress,
            message=job.message,
            **key.model_dump(),
            source=origin.name,
            **(job.result or {}),
        )

    async def _copy(self, origin: SeriesOrigin, key: SeriesKey, reporter: JobReporter) -> None:
        reporter.started()
        loop = asyncio.get_running_loop()
        unwanted = threading.Event()

        def arrived(rows: int) -> None:
            if unwanted.is_set():
                raise _Unwanted
            loop.call_soon_threadsafe(reporter.progress, None, f"{rows:,} candles of {key} so far")

        try:
            candles = await asyncio.to_thread(origin.whole, key, arrived)
        finally:
            # Cancelled, the thread is still reading: what it reads next is its last.
            unwanted.set()
        if not len(candles):
            raise ResearchError(
                ErrorCode.SERIES_NOT_FOUND,
                f"{origin.name} has no candles of {key}",
                hint="look at the names of its series in its dashboard, under candles",
            )
        report = await asyncio.to_thread(self._store.write, key, candles, origin.name)
        summary = await asyncio.to_thread(self._store.summary, key)
        reporter.result(_result(report, summary))
        reporter.progress(1.0, f"{len(candles):,} candles copied")


class _Unwanted(Exception):  # noqa: N818 - nothing went wrong
    """Ends a reading that nobody waits for."""


def _result(report: WriteReport, summary: SeriesSummary | None) -> dict[str, Any]:
    found = {} if summary is None else summary.model_dump(include={"first", "last", "rows"})
    return {**report.model_dump(), **found}
