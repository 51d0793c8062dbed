"""The ``walk_forward`` use case."""

import asyncio
from dataclasses import replace

import numpy as np

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import Job
from jesse_mcp.domain.ledger import family_of
from jesse_mcp.domain.search import Point
from jesse_mcp.ports.records import RunStore
from jesse_mcp.ports.search import SearchMethods
from jesse_mcp.services.backtest_request import parsed_routes
from jesse_mcp.services.campaign import Campaign, CampaignService, Refused
from jesse_mcp.services.campaign_progress import CampaignProgress
from jesse_mcp.services.jobs import JobReporter, JobService, ProgressListener
from jesse_mcp.services.optimization_search import TrialSearch, ranked
from jesse_mcp.services.resumption import awaited, check_pins, job_of_kind, unchanged
from jesse_mcp.services.trial_evaluation import TrialEvaluator
from jesse_mcp.services.walk_forward_answer import (
    Leg,
    Walked,
    WalkForwardAnswer,
    WalkForwardResult,
    result_of,
)
from jesse_mcp.services.walk_forward_request import (
    Period,
    WalkForwardArguments,
    WalkForwardRequest,
    complete_walk,
    period_of,
)

KIND = "walk_forward"


class WalkForwardService:
    """Trains and tests window after window, and takes up walks that were interrupted."""

    def __init__(
        self, campaigns: CampaignService, methods: SearchMethods, runs: RunStore, jobs: JobService
    ) -> None:
        self._campaigns = campaigns
        self._methods = methods
        self._runs = runs
        self._jobs = jobs

    async def walk(
        self,
        arguments: WalkForwardArguments,
        *,
        wait_seconds: float,
        on_progress: ProgressListener | None = None,
    ) -> WalkForwardAnswer:
        """Walk as a job.

        Raises:
            ResearchError: what is wrong with the request, before anything runs; or how the job ended.
        """
        campaign = self._campaigns.open("trial")
        request = await asyncio.to_thread(complete_walk, arguments, campaign)
        job = await self._submit(request, campaign)
        return await self._answer(job, wait_seconds, on_progress)

    async def resume(
        self, job_id: str, *, wait_seconds: float, on_progress: ProgressListener | None = None
    ) -> WalkForwardAnswer:
        """The answer of a job that is done, the progress of one that is active, or another go at the rest.

        When somebody resumed it before and that goes on, that job is joined.

        Raises:
            ResearchError: ``job_not_found``; ``invalid_argument`` when it is no walk forward or what it rests
                on has changed; or how the job ended.
        """
        job = await job_of_kind(self._jobs, job_id, KIND)
        if not job.state.active and job.result is None:
            request = WalkForwardRequest.model_validate(job.request)
            campaign = self._campaigns.open("trial", request.began_at)
            plan = await asyncio.to_thread(campaign.plan, request.backtest)
            check_pins(request.pinned, plan, f"resume: since {job_id} began")
            job = await self._submit(request, campaign)
        return await self._answer(job, wait_seconds, on_progress)

    async def _submit(self, request: WalkForwardRequest, campaign: Campaign) -> Job:
        async def work(reporter: JobReporter) -> None:
            result = await _Walk(request, campaign, self._methods, self._runs, reporter).run()
            # Once, of the whole period: every trial would say the same of its part.
            said = await campaign.candle_warnings(request.backtest)
            await unchanged(campaign, request.backtest, request.pinned)
            result = result.model_copy(update={"warnings": (*said, *result.warnings)})
            reporter.result(result.model_dump(mode="json"))

        return await self._jobs.submit(KIND, request.model_dump(mode="json"), work, join=True)

    async def _answer(
        self, job: Job, wait_seconds: float, on_progress: ProgressListener | None
    ) -> WalkForwardAnswer:
        job = await awaited(self._jobs, job.job_id, wait_seconds, on_progress)
        result = None if job.result is None else WalkForwardResult.model_validate(job.result)
        return WalkForwardAnswer(
            state=job.state, job_id=job.job_id, progress=job.progress, message=job.message, result=result
        )


class _WindowProgress(CampaignProgress):
    """Says which window it is."""

    window = ""

    def say(self, message: str) -> None:
        super().say(f"{self.window}: {message}")


class _Walk:
    """The work of one job."""

    def __init__(
        self,
        request: WalkForwardRequest,
        campaign: Campaign,
        methods: SearchMethods,
        runs: RunStore,
        reporter: JobReporter,
    ) -> None:
        self._request = request
        self._campaign = campaign
        self._methods = methods
        self._runs = runs
        trials = 1 if request.search is None else request.search.trials
        self._progress = _WindowProgress(reporter, len(request.windows) * (trials + 1))

    async def run(self) -> WalkForwardResult:
        walked: list[Walked] = []
        for number, window in enumerate(self._request.windows, start=1):
            self._progress.window = f"window {number} of {len(self._request.windows)}"
            fixed = self._request.search is None
            walked.append(await (self._fixed(window) if fixed else self._searched(window)))
        family = family_of(route.strategy for route in parsed_routes(self._request.backtest))
        ledger = await self._campaign.trials_of(family)
        return await asyncio.to_thread(result_of, self._request, walked, ledger)

    async def _searched(self, window: Period) -> Walked:
        request = self._request.search_of(window)
        evaluator = TrialEvaluator(self._campaign, request)
        search = TrialSearch(request, self._methods, evaluator, self._progress)
        await search.run()
        trials = len(search.trials)
        best = ranked(search.trials, request.objectives)[:1]
        if not best:
            reasons = [trial.evaluation.reason for trial in search.trials if trial.evaluation.reason]
            why = f", the first because of {reasons[0]}" if reasons else ""
            return Walked(
                window,
                missing=f"none of {trials} trials was feasible{why}",
                trials=trials,
                seed=request.seed,
            )
        evaluation = best[0].evaluation
        train = await asyncio.to_thread(self._leg, evaluation.run_id or "")
        test = await self._leg_of(window.test_start, window.test_end, best[0].point)
        return replace(_walked(window, best[0].point, train, test, trials), seed=request.seed)

    async def _fixed(self, window: Period) -> Walked:
        self._progress.say("training, with fixed hyperparameters")
        train = await self._leg_of(window.train_start, window.train_end, {})
        test = await self._leg_of(window.test_start, window.test_end, {})
        parameters = dict(self._request.backtest.hyperparameters or {})
        return _walked(window, parameters, train, test, 0)

    async def _leg_of(self, start: str, end: str, point: Point) -> Leg | Refused:
        base = period_of(self._request.backtest, start, end)
        arguments = base.model_copy(update={"hyperparameters": {**(base.hyperparameters or {}), **point}})
        plan = await asyncio.to_thread(self._campaign.plan, arguments)
        with self._progress.piece() as progress:
            answer = await self._campaign.run(plan, progress)
        if isinstance(answer, Refused):
            return answer
        return await asyncio.to_thread(self._leg, answer.run_id)

    def _leg(self, run_id: str) -> Leg | Refused:
        outcome = self._runs.get(run_id).outcome
        balances = np.array([point.balance for point in outcome.equity], dtype=np.float64)
        if len(balances) < 2:
            why = outcome.equity_missing_reason or f"it has {len(balances)} of them"
            return Refused(
                ResearchError(ErrorCode.ENGINE_FAILED, f"{run_id} has no return, for lack of balances: {why}")
            )
        return Leg(run_id, outcome.metrics, balances)


def _walked(
    window: Period, parameters: Point, train: Leg | Refused, test: Leg | Refused, trials: int
) -> Walked:
    missing = [
        f"{name} failed with {leg.error.code.value}: {leg.error.message}"
        for name, leg in (("training", train), ("the test", test))
        if isinstance(leg, Refused)
    ]
    return Walked(
        window,
        parameters,
        train if isinstance(train, Leg) else None,
        test if isinstance(test, Leg) else None,
        "; ".join(missing) or None,
        trials,
    )
