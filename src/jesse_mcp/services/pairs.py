"""Backtest a pair as a job: the ``pairs_backtest`` use case."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import Field

from jesse_mcp.domain.backtests import EngineOutcome
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.ports.records import RunStore, TrialLedger
from jesse_mcp.services.candle_quality import CandleQualityService
from jesse_mcp.services.candle_slices import series_of
from jesse_mcp.services.experiments import ExperimentRunner
from jesse_mcp.services.jobs import JobReporter, JobService, ProgressListener
from jesse_mcp.services.pairs_experiment import PairExperiment, experiment
from jesse_mcp.services.pairs_jesse import compared, jesse_plan, jesse_request
from jesse_mcp.services.pairs_plan import PairsPlan, PairsPlanner
from jesse_mcp.services.pairs_record import outcome_of, record_of, trial_of
from jesse_mcp.services.pairs_report import PairsResult, report
from jesse_mcp.services.pairs_request import PairsArguments, invalid
from jesse_mcp.services.resumption import awaited
from jesse_mcp.services.stoppable import Checkpoint, stoppable

KIND = "pairs_backtest"
#: Each holds a thread and the bars of a pair.
_AT_ONCE = 2


class PairsAnswer(Value):
    """The backtest, or the job that is still working on it."""

    state: JobState
    job_id: str
    progress: float | None
    message: str | None
    result: dict[str, Any] | None = Field(
        description="null until done: run_id, formation and traded (cointegration, half-life), hedge_ratio, "
        "performance, trades, equity, jesse, undefined, conventions, findings"
    )


class PairsService:
    """Simulates pairs, keeps them as runs, counts them as trials.

    Args:
        embedded: identity of the engine the same decisions are executed on when that is asked for.
    """

    def __init__(
        self,
        planner: PairsPlanner,
        experiments: ExperimentRunner,
        runs: RunStore,
        ledger: TrialLedger,
        quality: CandleQualityService,
        jobs: JobService,
        embedded: Callable[[], str],
    ) -> None:
        self._planner = planner
        self._experiments = experiments
        self._runs = runs
        self._ledger = ledger
        self._quality = quality
        self._jobs = jobs
        self._embedded = embedded
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def backtest(
        self,
        arguments: PairsArguments,
        *,
        title: str | None = None,
        wait_seconds: float,
        on_progress: ProgressListener | None = None,
    ) -> PairsAnswer:
        """Simulate as a job; an equal experiment keeps the run it has.

        Args:
            wait_seconds: how long to wait for the answer; the job goes on after that.

        Raises:
            ResearchError: what planning raises, or the error of the job when it fails in that time.
        """
        if title is not None and arguments.prices is not None:
            raise invalid(
                "title is given with prices", "leave it out: prices of the call are not stored as a run"
            )
        plan = await asyncio.to_thread(self._planner.plan, arguments)

        async def work(reporter: JobReporter) -> str | None:
            result = await self._done(plan, title, reporter)
            reporter.result(result.model_dump(mode="json"))
            return result.run_id

        job = await self._jobs.submit(KIND, arguments.recorded(), work)
        job = await awaited(self._jobs, job.job_id, wait_seconds, on_progress)
        return PairsAnswer(
            state=job.state, job_id=job.job_id, progress=job.progress, message=job.message, result=job.result
        )

    async def _done(self, plan: PairsPlan, title: str | None, reporter: JobReporter) -> PairsResult:
        async with self._slots:
            reporter.started()
            reporter.progress(0.0, "simulating")
            found = await _computed(plan)
        warnings = await asyncio.to_thread(self._candle_warnings, plan)
        outcome = await asyncio.to_thread(outcome_of, plan, found)
        record, cached = await asyncio.to_thread(self._filed, plan, outcome, title, warnings)
        jesse: dict[str, Any] | str | None = None
        if plan.arguments.jesse and record is not None:
            jesse = await self._in_jesse(plan, found, record, reporter)
        trials = await asyncio.to_thread(self._ledger.count, plan.family)
        reporter.progress(1.0, "done")
        return await asyncio.to_thread(
            partial(
                report,
                plan,
                found,
                outcome,
                run_id=None if record is None else record.run_id,
                cached=cached,
                trials=trials,
                jesse=jesse,
                warnings=warnings,
            )
        )

    def _candle_warnings(self, plan: PairsPlan) -> tuple[str, ...]:
        request = plan.request
        if request is None:
            return ()
        return tuple(
            warning
            for key in series_of(request)
            for warning in self._quality.warnings_for(key, request.start_ms, request.end_ms)
        )

    def _filed(
        self, plan: PairsPlan, outcome: EngineOutcome, title: str | None, warnings: tuple[str, ...]
    ) -> tuple[RunRecord | None, bool]:
        """The stored run of this experiment, and whether it was there before."""
        if plan.request is None:
            known = self._ledger.count(plan.family)
            self._ledger.record(trial_of(plan, outcome, None))
            return None, self._ledger.count(plan.family) == known
        stored = self._runs.find(plan.fingerprint)
        cached = stored is not None
        if stored is None or title not in (None, stored.title):
            stored = record_of(plan, plan.request, outcome, warnings, title)
            self._runs.add(stored)
        # Also where it was stored before: a server may have died before it counted.
        self._ledger.record(trial_of(plan, outcome, stored.run_id))
        return stored, cached

    async def _in_jesse(
        self, plan: PairsPlan, found: PairExperiment, record: RunRecord, reporter: JobReporter
    ) -> dict[str, Any] | str:
        """The comparison, or why there is none."""
        if plan.request is None or not found.simulation.trades:
            return "no pair was traded, so Jesse has nothing to execute"
        request = jesse_request(plan.request)

        def progress(fraction: float, message: str) -> None:
            reporter.progress(fraction, f"Jesse: {message}")

        try:
            slices = await asyncio.to_thread(self._planner.slices, request)
            engine = await asyncio.to_thread(self._embedded)
            wanted = await asyncio.to_thread(jesse_plan, plan, found, request, slices, engine)
            stored = await self._experiments.find(wanted)
            if stored is None:
                stored = await self._experiments.run(wanted, progress, kind="pairs")
        except ResearchError as error:
            if error.code is ErrorCode.STORAGE_FAILED:
                raise
            return f"{error.code.value}: {error.message}" + (f" ({error.hint})" if error.hint else "")
        return await asyncio.to_thread(compared, plan, found, record, stored, plan.arguments.trades_shown)


async def _computed(plan: PairsPlan) -> PairExperiment:
    """In a thread, which is told to stop when the job is."""

    def work(checkpoint: Checkpoint) -> PairExperiment:
        return experiment(plan, checkpoint)

    return await stoppable(work)
