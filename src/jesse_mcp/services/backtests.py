"""Run a backtest as a job."""

import asyncio

from pydantic import Field

from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.services.backtest_plan import BacktestPlanner, Plan
from jesse_mcp.services.backtest_request import BacktestArguments
from jesse_mcp.services.experiments import ExperimentRunner
from jesse_mcp.services.jobs import JobReporter, JobService, ProgressListener
from jesse_mcp.services.run_view import RunView, view_of


class BacktestAnswer(Value):
    """A finished run, or the job that is still working on it."""

    state: JobState
    job_id: str | None = Field(description="null when the answer was stored already")
    cached: bool = Field(description="true when this exact experiment had been run before")
    progress: float | None = None
    message: str | None = None
    run: RunView | None = None


class BacktestService:
    """The ``backtest`` use case."""

    def __init__(self, planner: BacktestPlanner, experiments: ExperimentRunner, jobs: JobService) -> None:
        self._planner = planner
        self._experiments = experiments
        self._jobs = jobs

    async def backtest(
        self,
        arguments: BacktestArguments,
        *,
        title: str | None = None,
        use_cache: bool = True,
        wait_seconds: float,
        on_progress: ProgressListener | None = None,
    ) -> BacktestAnswer:
        """Run, or find, a backtest.

        Args:
            use_cache: answer from the store when this exact experiment was run before.
            wait_seconds: how long to wait for the answer; the job goes on after that.

        Raises:
            ResearchError: what planning raises, or the error of the run when it fails in that time.
        """
        plan = await asyncio.to_thread(self._planner.plan, arguments)
        if use_cache:
            stored = await self._experiments.find(plan)
            if stored is not None:
                # What was asked for by itself is listed by itself, also when a search had run it before.
                if stored.kind != "backtest" or title not in (None, stored.title):
                    stored = await self._experiments.refiled(stored, "backtest", title)
                return BacktestAnswer(state=JobState.DONE, job_id=None, cached=True, run=view_of(stored))

        finished: list[RunRecord] = []

        async def work(reporter: JobReporter) -> str:
            finished.append(await self._execute(plan, title, reporter))
            return finished[0].run_id

        request = arguments.model_dump(mode="json", exclude_none=True)
        job = await self._jobs.submit("backtest", request, work)
        job = await self._jobs.wait(job.job_id, wait_seconds, on_progress)
        if job.error is not None:
            error = ResearchError.from_dict(job.error)
            error.details.setdefault("job_id", job.job_id)
            raise error
        return BacktestAnswer(
            state=job.state,
            job_id=job.job_id,
            cached=False,
            progress=job.progress,
            message=job.message,
            # The record at hand is what was stored; reading a run with many trades back takes milliseconds.
            run=None if job.run_id is None else view_of(finished[0]),
        )

    async def _execute(self, plan: Plan, title: str | None, reporter: JobReporter) -> RunRecord:
        def progress(fraction: float, message: str) -> None:
            reporter.started()
            reporter.progress(fraction, message)

        record = await self._experiments.run(plan, progress, kind="backtest", title=title)
        reporter.log(record.outcome.log_tail)
        return record
