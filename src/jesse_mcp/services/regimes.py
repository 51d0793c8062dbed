"""Which regime a market is in, by what was known at the time: the ``regime_detector`` use case."""

import asyncio
from typing import Any

from pydantic import Field

from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.model import Value
from jesse_mcp.services.analysis_source import AnalysisSources, Sample, SourceArguments
from jesse_mcp.services.jobs import JobReporter, JobService, ProgressListener
from jesse_mcp.services.regime_evidence import gathered
from jesse_mcp.services.regime_report import RegimeResult, report
from jesse_mcp.services.regime_request import RegimeArguments, check, check_length, invalid
from jesse_mcp.services.resumption import awaited
from jesse_mcp.services.stoppable import Checkpoint, stoppable

KIND = "regime_detector"
#: Each holds a thread.
_AT_ONCE = 2


class RegimeAnswer(Value):
    """The regimes, or the job at work on them."""

    state: JobState
    job_id: str
    progress: float | None
    message: str | None
    result: dict[str, Any] | None = Field(
        description="null until done: current, table, transition_matrix, forecast, spells, bic, last_fit, "
        "schedule, performance, undefined, conventions, findings"
    )


class RegimeService:
    """Regimes of a source, and what a run did in each."""

    def __init__(self, sources: AnalysisSources, jobs: JobService) -> None:
        self._sources = sources
        self._jobs = jobs
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def detect(
        self,
        arguments: RegimeArguments,
        *,
        wait_seconds: float,
        on_progress: ProgressListener | None = None,
    ) -> RegimeAnswer:
        """Detect as a job.

        Args:
            wait_seconds: how long to wait for the answer; the job goes on after that.

        Raises:
            ResearchError: ``invalid_argument`` naming the argument; what loading a source raises.
        """
        check(arguments)
        sample, run = await asyncio.to_thread(self._read, arguments)

        async def work(reporter: JobReporter) -> None:
            async with self._slots:
                reporter.started()
                result = await _in_thread(arguments, sample, run, reporter)
            reporter.result(result.model_dump(mode="json"))

        job = await self._jobs.submit(KIND, arguments.recorded(), work)
        job = await awaited(self._jobs, job.job_id, wait_seconds, on_progress)
        return RegimeAnswer(
            state=job.state,
            job_id=job.job_id,
            progress=job.progress,
            message=job.message,
            result=job.result,
        )

    def _read(self, arguments: RegimeArguments) -> tuple[Sample, Sample | None]:
        sample = self._sources.load(arguments.source)
        if sample.reason is not None:
            raise invalid(f"{sample.label} has no returns: {sample.reason}", "give a source that has")
        check_length(arguments, len(sample.series.returns))
        if arguments.performance_of is None:
            return sample, None
        if sample.series.timestamps is None:
            raise invalid(
                "performance_of is given, and the periods of the source have no times",
                "give run_id, balances with times, or market as the source",
            )
        run = self._sources.load(SourceArguments(run_id=arguments.performance_of))
        if run.reason is not None:
            raise invalid(f"performance_of: {run.label} has no returns: {run.reason}", "give a run that has")
        return sample, run


async def _in_thread(
    arguments: RegimeArguments, sample: Sample, run: Sample | None, reporter: JobReporter
) -> RegimeResult:
    """The thread is told to stop when the job is, and does so at its next step."""
    loop = asyncio.get_running_loop()

    def work(checkpoint: Checkpoint) -> RegimeResult:
        last: tuple[float, str] | None = None

        def told(share: float, message: str) -> None:
            nonlocal last
            checkpoint()
            # Every step of every search ends here: only news are passed on.
            if (share, message) != last:
                last = share, message
                loop.call_soon_threadsafe(reporter.progress, share, message)

        return report(arguments, gathered(arguments, sample, run, told))

    return await stoppable(work)
