"""What can be lost, with which confidence: the ``var_calculation`` use case."""

import asyncio
from collections.abc import Callable
from typing import Any

from pydantic import Field

from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.model import Value
from jesse_mcp.services.analysis_source import AnalysisSources, Sample
from jesse_mcp.services.jobs import JobReporter, JobService, ProgressListener
from jesse_mcp.services.resumption import awaited
from jesse_mcp.services.stoppable import Checkpoint, stoppable
from jesse_mcp.services.value_at_risk_estimates import Estimates
from jesse_mcp.services.value_at_risk_report import VarResult, report
from jesse_mcp.services.value_at_risk_request import VarArguments, check, check_work
from jesse_mcp.services.value_at_risk_sections import backtests, parts

KIND = "var_calculation"
#: Each holds a thread and some windows of returns.
_AT_ONCE = 2


class VarAnswer(Value):
    """The risks, or the job at work on them."""

    state: JobState
    job_id: str
    progress: float | None
    message: str | None
    result: dict[str, Any] | None = Field(
        description="null until done: risks, backtest, contributions, undefined, findings"
    )


class VarService:
    """Value at risk and expected shortfall of a source."""

    def __init__(self, sources: AnalysisSources, jobs: JobService) -> None:
        self._sources = sources
        self._jobs = jobs
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def calculate(
        self,
        arguments: VarArguments,
        *,
        wait_seconds: float,
        on_progress: ProgressListener | None = None,
    ) -> VarAnswer:
        """Calculate as a job.

        Args:
            wait_seconds: how long to wait for the answer; the job goes on after that.

        Raises:
            ResearchError: ``invalid_argument`` naming the argument; what loading a source raises.
        """
        check(arguments)
        sample = await asyncio.to_thread(self._sources.load, arguments.source)
        check_work(arguments, len(sample.series.returns))

        async def work(reporter: JobReporter) -> None:
            async with self._slots:
                reporter.started()
                result = await _in_thread(arguments, sample, reporter)
            reporter.result(result.model_dump(mode="json"))

        job = await self._jobs.submit(KIND, arguments.recorded(), work)
        job = await awaited(self._jobs, job.job_id, wait_seconds, on_progress)
        return VarAnswer(
            state=job.state,
            job_id=job.job_id,
            progress=job.progress,
            message=job.message,
            result=job.result,
        )


async def _in_thread(arguments: VarArguments, sample: Sample, reporter: JobReporter) -> VarResult:
    """The thread is told to stop when the job is, and does so before its next method."""
    loop = asyncio.get_running_loop()

    def work(checkpoint: Checkpoint) -> VarResult:
        def told(fraction: float, message: str) -> None:
            checkpoint()
            loop.call_soon_threadsafe(reporter.progress, fraction, message)

        return _calculated(arguments, sample, told)

    return await stoppable(work)


def _calculated(arguments: VarArguments, sample: Sample, told: Callable[[float, str], None]) -> VarResult:
    methods, steps = arguments.methods, len(arguments.methods) * (2 if arguments.backtest else 1)
    confidences, horizons = tuple(sorted(arguments.confidences)), tuple(sorted(arguments.horizons))
    estimates, found = Estimates(sample.series.returns, arguments.seed), []
    for at, method in enumerate(methods):
        told(at / steps, method)
        for horizon in horizons:
            found += list(estimates.of(method, confidences, horizon))
    models: dict[str, Any] = {
        name: fitted for name in methods if (fitted := estimates.parameters(name)) is not None
    }
    tests = []
    if arguments.backtest:
        tests = backtests(
            sample,
            methods,
            confidences,
            arguments.wanted_window,
            lambda method: told((len(methods) + methods.index(method)) / steps, f"rolling test of {method}"),
        )
    components = sample.components
    portfolio = (
        parts(components, len(sample.series.returns), confidences)
        if components is not None and len(components.symbols) > 1
        else []
    )
    return report(arguments, sample, found, models, tests, portfolio)
