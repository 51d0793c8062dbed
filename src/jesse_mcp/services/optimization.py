"""The ``optimize`` use case."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from jesse_mcp.domain.jobs import Job
from jesse_mcp.domain.ledger import family_of
from jesse_mcp.ports.search import SearchMethods
from jesse_mcp.services.backtest_request import parsed_routes
from jesse_mcp.services.campaign import Answered, Campaign, CampaignService, Refused
from jesse_mcp.services.campaign_progress import CampaignProgress
from jesse_mcp.services.jobs import JobReporter, JobService, ProgressListener
from jesse_mcp.services.objectives import Objective
from jesse_mcp.services.optimization_answer import (
    Candidate,
    OptimizationAnswer,
    OptimizationResult,
    candidate,
    convergence_of,
    counts_of,
    described,
    failures_of,
    inflation,
    none_feasible,
    periods_of,
    shown_metrics,
    top_lines,
    verdict,
)
from jesse_mcp.services.optimization_request import (
    OptimizationArguments,
    OptimizationRequest,
    complete_request,
)
from jesse_mcp.services.optimization_search import SearchTrial, TrialSearch, ranked
from jesse_mcp.services.ordered_work import Piece, in_order
from jesse_mcp.services.resumption import awaited, check_pins, job_of_kind, unchanged
from jesse_mcp.services.trial_evaluation import TrialEvaluator

KIND = "optimize"
#: So many are run on the test period, after the search has ended.
FINALISTS = 5


class OptimizationService:
    """Searches for hyperparameters, and takes up searches that were interrupted."""

    def __init__(self, campaigns: CampaignService, methods: SearchMethods, jobs: JobService) -> None:
        self._campaigns = campaigns
        self._methods = methods
        self._jobs = jobs

    async def optimize(
        self,
        arguments: OptimizationArguments,
        *,
        wait_seconds: float,
        on_progress: ProgressListener | None = None,
    ) -> OptimizationAnswer:
        """Search as a job.

        Raises:
            ResearchError: what is wrong with the request, before anything runs; or how the job ended.
        """
        campaign = self._campaigns.open("trial")
        request = await asyncio.to_thread(complete_request, arguments, campaign)
        job = await self._submit(request, campaign)
        return await self._answer(job, wait_seconds, on_progress)

    async def resume(
        self, job_id: str, *, wait_seconds: float, on_progress: ProgressListener | None = None
    ) -> OptimizationAnswer:
        """The answer of a job that is done, the progress of one that is active, or another go at the rest.

        When somebody resumed it before and that goes on, that job is joined.

        Raises:
            ResearchError: ``job_not_found``; ``invalid_argument`` when it is no search or what it rests on
                has changed; or how the job ended.
        """
        job = await job_of_kind(self._jobs, job_id, KIND)
        if not job.state.active and job.result is None:
            request = OptimizationRequest.model_validate(job.request)
            campaign = self._campaigns.open("trial", request.began_at)
            plan = await asyncio.to_thread(campaign.plan, request.backtest)
            check_pins(request.pinned, plan, f"resume: since {job_id} began")
            job = await self._submit(request, campaign)
        return await self._answer(job, wait_seconds, on_progress)

    async def _submit(self, request: OptimizationRequest, campaign: Campaign) -> Job:
        async def work(reporter: JobReporter) -> None:
            result = await _Optimization(request, campaign, self._methods, reporter).run()
            # Once, of the whole period: every trial would say the same of its part.
            said = await campaign.candle_warnings(request.backtest)
            await unchanged(campaign, request.backtest, request.pinned)
            result = result.model_copy(update={"warnings": (*said, *result.warnings)})
            reporter.result(result.model_dump(mode="json"))

        return await self._jobs.submit(KIND, request.model_dump(mode="json"), work, join=True)

    async def _answer(
        self, job: Job, wait_seconds: float, on_progress: ProgressListener | None
    ) -> OptimizationAnswer:
        job = await awaited(self._jobs, job.job_id, wait_seconds, on_progress)
        result = None if job.result is None else OptimizationResult.model_validate(job.result)
        return OptimizationAnswer(
            state=job.state, job_id=job.job_id, progress=job.progress, message=job.message, result=result
        )


class _Optimization:
    """The work of one job."""

    def __init__(
        self,
        request: OptimizationRequest,
        campaign: Campaign,
        methods: SearchMethods,
        reporter: JobReporter,
    ) -> None:
        self._request = request
        self._campaign = campaign
        self._methods = methods
        self._objectives = request.objectives
        tests = FINALISTS if request.test_start else 0
        self._progress = CampaignProgress(reporter, request.trials + tests)
        self._evaluator = TrialEvaluator(campaign, request)

    async def run(self) -> OptimizationResult:
        search = TrialSearch(self._request, self._methods, self._evaluator, self._progress)
        await search.run()
        best = await self._tested(self._finalists(search))
        self._progress.say(search.stopped)
        trials, request = search.trials, self._request
        undefined: dict[str, str] = {}
        convergence = None
        if len(self._objectives) == 1:
            convergence = convergence_of(trials, self._objectives[0])
        else:
            undefined["convergence"] = "it is of one metric, two were pursued"
        importance = await asyncio.to_thread(self._importance, trials, undefined)
        family = family_of(route.strategy for route in parsed_routes(request.backtest))
        ledger = await self._campaign.trials_of(family)
        tests = sum(found.test_run_id is not None for found in best)
        return OptimizationResult(
            metrics={o.metric: "max" if o.maximize else "min" for o in self._objectives},
            verdict=verdict(request, best, len(trials)) if best else none_feasible(request, trials),
            best=best,
            top=top_lines(trials, self._objectives),
            periods=periods_of(request),
            space={dimension.name: described(dimension) for dimension in request.space},
            counts=counts_of(trials, tests, ledger),
            stopped=search.stopped,
            convergence=convergence,
            importance=importance,
            undefined=undefined,
            errors=failures_of(trials),
            warnings=(*request.warnings, *([inflation(len(trials), ledger, family)] if best else [])),
        )

    def _finalists(self, search: TrialSearch) -> list[SearchTrial]:
        if len(self._objectives) == 1:
            return ranked(search.trials, self._objectives)[:FINALISTS]
        return ranked(search.leaders, self._objectives)[:FINALISTS]

    async def _tested(self, finalists: list[SearchTrial]) -> tuple[Candidate, ...]:
        shown = shown_metrics(self._objectives)
        test_start = self._request.test_start
        if test_start is None:
            return tuple(candidate(trial, None, shown) for trial in finalists)
        self._progress.say("running the best on the test period")

        async def pieces() -> AsyncGenerator[Piece[Answered | Refused], None]:
            for trial in finalists:
                yield self._test(trial, test_start)

        found: list[Candidate] = []
        async with aclosing(pieces()) as given, aclosing(in_order(given, FINALISTS)) as results:
            async for result in results:
                found.append(candidate(finalists[len(found)], result, shown))
        return tuple(found)

    def _test(self, trial: SearchTrial, test_start: str) -> Piece[Answered | Refused]:
        async def run() -> Answered | Refused:
            with self._progress.piece() as progress:
                return await self._evaluator.run(trial.point, test_start, self._request.end, progress)

        return run

    def _importance(
        self, trials: list[SearchTrial], undefined: dict[str, str]
    ) -> dict[str, dict[str, float]] | None:
        feasible = ranked(sorted(trials, key=lambda trial: trial.number), self._objectives)
        shares: dict[str, dict[str, float]] = {}
        for place, objective in enumerate(self._objectives):
            try:
                shares[objective.metric] = self._shares(feasible, place, objective)
            except ValueError as error:
                undefined[f"importance of {objective.metric}"] = str(error)
        return shares or None

    def _shares(self, trials: list[SearchTrial], place: int, objective: Objective) -> dict[str, float]:
        return self._methods.importance(
            self._request.space,
            [trial.point for trial in trials],
            [trial.evaluation.values[place] for trial in trials],
            maximize=objective.maximize,
        )
