"""The search itself: trials asked for, run several at a time, and told strictly in order.

The answer is a function of the request and of what each trial gives, not of how many run at a time or
which is done first. Run again over the same store, it asks for the same trials and finds those that were
finished.
"""

import asyncio
import statistics
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from jesse_mcp.domain.search import Point, SearchSetup
from jesse_mcp.ports.search import Search, SearchMethods
from jesse_mcp.services.campaign_progress import CampaignProgress
from jesse_mcp.services.objectives import Objective
from jesse_mcp.services.optimization_request import OptimizationRequest
from jesse_mcp.services.ordered_work import Piece, in_order
from jesse_mcp.services.trial_evaluation import Evaluation, TrialEvaluator

#: Values seen on a slice before its median is a hurdle.
_MIN_FOR_HURDLE = 8


@dataclass(frozen=True)
class SearchTrial:
    """A trial that was told."""

    number: int
    point: Point
    evaluation: Evaluation


class TrialSearch:
    """One search over the training period."""

    def __init__(
        self,
        request: OptimizationRequest,
        methods: SearchMethods,
        evaluator: TrialEvaluator,
        progress: CampaignProgress,
    ) -> None:
        self.trials: list[SearchTrial] = []
        #: Why no more trials were asked for.
        self.stopped = ""
        self._request = request
        self._methods = methods
        self._evaluator = evaluator
        self._progress = progress
        self._objectives = request.objectives
        self._points: list[Point] = []
        self._improved = -1
        #: Trials that no other is better than: the best one, or the Pareto front of two metrics.
        self.leaders: list[SearchTrial] = []

    async def run(self) -> None:
        """Until the trials are used up, the space is, or it no longer improves.

        Raises:
            ResearchError: what would be wrong with every trial alike.
        """
        request = self._request
        setup = SearchSetup(
            space=request.space,
            maximize=tuple(objective.maximize for objective in self._objectives),
            sampler=request.sampler,
            seed=request.seed,
            trials=request.trials,
        )
        search = await asyncio.to_thread(self._methods.open, setup)
        async with (
            aclosing(self._pieces(search)) as pieces,
            aclosing(in_order(pieces, request.in_flight)) as evaluations,
        ):
            async for evaluation in evaluations:
                await self._tell(search, evaluation)

    async def _pieces(self, search: Search) -> AsyncGenerator[Piece[Evaluation], None]:
        while not self.stopped:
            number = len(self._points)
            if number == self._request.trials:
                self.stopped = f"all {number} trials were used"
                return
            point = await asyncio.to_thread(search.ask)
            if point is None:
                self.stopped = f"all {number} points of the space were tried"
                return
            self._points.append(point)
            yield self._piece(point)

    def _piece(self, point: Point) -> Piece[Evaluation]:
        # Of the trials told by now, which are the same ones on any machine; later ones would not be.
        hurdles = self._hurdles()

        async def evaluate() -> Evaluation:
            with self._progress.piece() as progress:
                return await self._evaluator.evaluate(point, hurdles, progress)

        return evaluate

    def _hurdles(self) -> dict[float, float]:
        hurdles: dict[float, float] = {}
        for share, _ in self._request.slice_ends:
            values = [
                value
                for trial in self.trials
                for reached, value in trial.evaluation.slices
                if reached == share
            ]
            if len(values) >= _MIN_FOR_HURDLE:
                hurdles[share] = statistics.median(values)
        return hurdles

    async def _tell(self, search: Search, evaluation: Evaluation) -> None:
        number = len(self.trials)
        await asyncio.to_thread(search.tell, number, evaluation.told())
        trial = SearchTrial(number, self._points[number], evaluation)
        self.trials.append(trial)
        if self._leads(trial):
            self._improved = number
        self._progress.say(self._summary())
        patience = self._request.early_stop
        # Trials under way go on and count: which ones would be finished by now depends on the machine.
        if patience is not None and number - self._improved >= patience and not self.stopped:
            self.stopped = f"no improvement in {patience} trials"

    def _leads(self, trial: SearchTrial) -> bool:
        if trial.evaluation.outcome != "complete":
            return False
        # Of equals the first stays, so that luck with the order cannot pass for an improvement.
        if any(_as_good(leader, trial, self._objectives) for leader in self.leaders):
            return False
        kept = [leader for leader in self.leaders if not _as_good(trial, leader, self._objectives)]
        self.leaders = [*kept, trial]
        return True

    def _summary(self) -> str:
        told = f"{len(self.trials)} of {self._request.trials} trials"
        best = self.leaders
        if not best:
            return f"{told}, none feasible yet"
        if len(self._objectives) > 1:
            return f"{told}, {len(best)} on the front"
        return f"{told}, best {self._objectives[0].metric} {best[0].evaluation.values[0]:.4g} in training"


def ranked(trials: list[SearchTrial], objectives: tuple[Objective, ...]) -> list[SearchTrial]:
    """Feasible trials, best value of the first metric first, then in order of number."""
    sign = -1 if objectives[0].maximize else 1
    feasible = [trial for trial in trials if trial.evaluation.outcome == "complete"]
    return sorted(feasible, key=lambda trial: (sign * trial.evaluation.values[0], trial.number))


def _as_good(one: SearchTrial, other: SearchTrial, objectives: tuple[Objective, ...]) -> bool:
    """Whether ``other`` is better in nothing."""
    values = zip(objectives, one.evaluation.values, other.evaluation.values, strict=True)
    return not any(objective.better(b, a) for objective, a, b in values)
