"""What returns owe to factors: the ``factor_analysis`` use case."""

import asyncio
from typing import Any

from pydantic import Field

from jesse_mcp.analytics.measures import Floats
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.model import Value
from jesse_mcp.services.analysis_source import AnalysisSources, Sample
from jesse_mcp.services.factor_alignment import aligned, given_factor
from jesse_mcp.services.factor_evidence import gathered
from jesse_mcp.services.factor_report import FactorResult, report
from jesse_mcp.services.factor_request import FactorArguments, check, invalid
from jesse_mcp.services.factor_universe import FactorMarket
from jesse_mcp.services.jobs import JobReporter, JobService, ProgressListener
from jesse_mcp.services.resumption import awaited
from jesse_mcp.services.stoppable import Checkpoint, stoppable

KIND = "factor_analysis"
#: Each holds a thread and the prices of its universe.
_AT_ONCE = 2


class FactorAnswer(Value):
    """The analysis, or the job that is still working on it."""

    state: JobState
    job_id: str
    progress: float | None
    message: str | None
    result: dict[str, Any] | None = Field(
        description="null until done: alpha, factors (beta, t, p, vif, contribution, shares), attribution, "
        "fit, risk, rolling, dropped, undefined, conventions, findings"
    )


class FactorService:
    """Regressions on factors made of stored candles or given in the call."""

    def __init__(self, sources: AnalysisSources, market: FactorMarket, jobs: JobService) -> None:
        self._sources = sources
        self._market = market
        self._jobs = jobs
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def analyse(
        self,
        arguments: FactorArguments,
        *,
        wait_seconds: float,
        on_progress: ProgressListener | None = None,
    ) -> FactorAnswer:
        """Analyse as a job.

        Args:
            wait_seconds: how long to wait for the answer; the job goes on after that.

        Raises:
            ResearchError: ``invalid_argument`` naming the argument; what loading a source raises;
                ``candles_missing`` of a symbol of the universe.
        """
        check(arguments)
        sample = await asyncio.to_thread(self._sources.load, arguments.source)
        _check_sample(arguments, sample)

        async def work(reporter: JobReporter) -> None:
            async with self._slots:
                reporter.started()
                result = await stoppable(lambda checkpoint: self._analysed(arguments, sample, checkpoint))
            reporter.result(result.model_dump(mode="json"))

        job = await self._jobs.submit(KIND, arguments.recorded(), work)
        job = await awaited(self._jobs, job.job_id, wait_seconds, on_progress)
        return FactorAnswer(
            state=job.state,
            job_id=job.job_id,
            progress=job.progress,
            message=job.message,
            result=job.result,
        )

    def _analysed(self, arguments: FactorArguments, sample: Sample, checkpoint: Checkpoint) -> FactorResult:
        columns: dict[str, Floats] = {}
        remarks: tuple[str, ...] = ()
        timestamps = sample.series.timestamps
        if arguments.universe is not None and timestamps is not None:
            built = self._market.factors(arguments.universe, arguments.built_in(), timestamps, checkpoint)
            columns, remarks = dict(built.columns), built.remarks
        for name, values in arguments.factor_returns.items():
            columns[name], remark = given_factor(name, values, sample.series)
            remarks += () if remark is None else (remark,)
        data = aligned(sample.series, columns)
        return report(arguments, sample, data, gathered(arguments, data, checkpoint), remarks)


def _check_sample(arguments: FactorArguments, sample: Sample) -> None:
    if not len(sample.series.returns):
        raise invalid(
            f"{sample.label} has no returns: {sample.reason or 'there is none'}", "give another source"
        )
    if arguments.universe is not None and sample.series.timestamps is None:
        raise invalid(
            f"{sample.label} have no times, so that no candles can be put beside them",
            "give balances with times, or factor_returns as lists as long as the returns",
        )
