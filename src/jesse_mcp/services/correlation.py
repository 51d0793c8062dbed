"""How several series move together: the ``correlation_matrix`` use case."""

import asyncio
from typing import Any

from pydantic import Field

from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.model import Value
from jesse_mcp.services.correlation_evidence import gathered
from jesse_mcp.services.correlation_report import CorrelationResult, report
from jesse_mcp.services.correlation_request import CorrelationArguments, check, check_panel
from jesse_mcp.services.jobs import JobReporter, JobService, ProgressListener
from jesse_mcp.services.price_panel import PricePanel, PricePanels
from jesse_mcp.services.resumption import awaited
from jesse_mcp.services.stoppable import Checkpoint, stoppable

KIND = "correlation_matrix"
#: The screening of pairs limits the threads of the process's linear algebra, one at a time.
_AT_ONCE = 1


class CorrelationAnswer(Value):
    """The correlations, or the job at work on them."""

    state: JobState
    job_id: str
    progress: float | None
    message: str | None
    result: dict[str, Any] | None = Field(
        description="null until done: summary, pairs, matrix, clusters, rolling, cointegration, undefined, "
        "findings"
    )


class CorrelationService:
    """Correlations of stored candles, prices of the call, or runs."""

    def __init__(self, panels: PricePanels, jobs: JobService) -> None:
        self._panels = panels
        self._jobs = jobs
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def calculate(
        self,
        arguments: CorrelationArguments,
        *,
        wait_seconds: float,
        on_progress: ProgressListener | None = None,
    ) -> CorrelationAnswer:
        """Calculate as a job.

        Args:
            wait_seconds: how long to wait for the answer; the job goes on after that.

        Raises:
            ResearchError: ``invalid_argument`` naming the argument; what loading the prices raises.
        """
        check(arguments)
        panel = await asyncio.to_thread(self._panels.load, arguments.panel)
        check_panel(arguments, panel)

        async def work(reporter: JobReporter) -> None:
            async with self._slots:
                reporter.started()
                result = await _in_thread(arguments, panel, reporter)
            reporter.result(result.model_dump(mode="json"))

        job = await self._jobs.submit(KIND, arguments.recorded(), work)
        job = await awaited(self._jobs, job.job_id, wait_seconds, on_progress)
        return CorrelationAnswer(
            state=job.state,
            job_id=job.job_id,
            progress=job.progress,
            message=job.message,
            result=job.result,
        )


async def _in_thread(
    arguments: CorrelationArguments, panel: PricePanel, reporter: JobReporter
) -> CorrelationResult:
    """The thread is told to stop when the job is, and does so before its next pair."""
    loop = asyncio.get_running_loop()

    def work(checkpoint: Checkpoint) -> CorrelationResult:
        told_percent = -1

        def told(fraction: float, message: str) -> None:
            nonlocal told_percent
            checkpoint()
            if int(fraction * 100) != told_percent:
                told_percent = int(fraction * 100)
                loop.call_soon_threadsafe(reporter.progress, fraction, message)

        return report(arguments, gathered(arguments, panel, told))

    return await stoppable(work)
