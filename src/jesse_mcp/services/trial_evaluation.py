"""What one point of a search space is worth on the training period."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.search import Point, Told
from jesse_mcp.ports.engine import ProgressCallback
from jesse_mcp.services.campaign import Answered, Campaign, Metrics, Refused
from jesse_mcp.services.optimization_request import OptimizationRequest

Outcome = Literal["complete", "infeasible", "pruned", "failed"]


@dataclass(frozen=True)
class Evaluation:
    """What became of a trial.

    ``values`` are those of the objectives, of a complete trial only. ``slices`` holds share of the training
    period and value for each slice that was run and had one. ``ran`` and ``cached`` count its runs.
    """

    outcome: Outcome
    run_id: str | None = None
    values: tuple[float, ...] = ()
    metrics: Metrics | None = None
    violation: float = 0.0
    slices: tuple[tuple[float, float], ...] = ()
    reason: str | None = None
    error: ResearchError | None = None
    ran: int = 0
    cached: int = 0

    def told(self) -> Told:
        """As a sampler is told of it."""
        match self.outcome:
            case "complete":
                return Told(state="complete", values=self.values)
            case "infeasible":
                return Told(state="complete", violation=self.violation)
            case "pruned":
                return Told(state="pruned", slices=self.slices)
        return Told(state="failed")


class TrialEvaluator:
    """Runs points on the training period alone."""

    def __init__(self, campaign: Campaign, request: OptimizationRequest) -> None:
        self._campaign = campaign
        self._request = request
        self._objectives = request.objectives

    async def evaluate(
        self, point: Point, hurdles: Mapping[float, float], progress: ProgressCallback
    ) -> Evaluation:
        """The worth of ``point``.

        Args:
            hurdles: value by share of the training period that has to be reached there; a slice without one
                is passed by everybody.

        Raises:
            ResearchError: what would be wrong with every trial alike.
        """
        request, seen = self._request, _Seen()
        slices: list[tuple[float, float]] = []
        for share, end in request.slice_ends:
            result = await self.run(point, request.train_start, end, progress)
            seen.count(result)
            if isinstance(result, Refused):
                return seen.failed(result)
            value = number(result.metrics, self._objectives[0].metric)
            if value is None:
                continue
            slices.append((share, value))
            hurdle = hurdles.get(share)
            if hurdle is not None and self._objectives[0].better(hurdle, value):
                return Evaluation(
                    "pruned",
                    result.run_id,
                    metrics=result.metrics,
                    slices=tuple(slices),
                    reason=f"{value:g} after {share:.0%} of the training period, the median is {hurdle:g}",
                    ran=seen.ran,
                    cached=seen.cached,
                )
        result = await self.run(point, request.train_start, request.train_end, progress)
        seen.count(result)
        if isinstance(result, Refused):
            return seen.failed(result)
        return self._judged(result, tuple(slices), seen)

    async def run(self, point: Point, start: str, end: str, progress: ProgressCallback) -> Answered | Refused:
        """One run of ``point`` over a period of ISO dates.

        Raises:
            ResearchError: what would be wrong with every trial alike.
        """
        base = self._request.backtest
        arguments = base.model_copy(
            update={
                "start_date": start,
                "end_date": end,
                "hyperparameters": {**(base.hyperparameters or {}), **point},
            }
        )
        plan = await asyncio.to_thread(self._campaign.plan, arguments)
        result = await self._campaign.run(plan, progress)
        if isinstance(result, Refused) and result.error.code is ErrorCode.RUN_REJECTED:
            # Not of this point: the space names what no strategy has, or gives it a wrong type.
            raise result.error
        return result

    def _judged(self, result: Answered, slices: tuple[tuple[float, float], ...], seen: "_Seen") -> Evaluation:
        values = [number(result.metrics, objective.metric) for objective in self._objectives]
        trades = number(result.metrics, "total") or 0
        missing = self._request.min_trades - trades
        reason: str | None = None
        violation = 0.0
        if missing > 0:
            violation = float(missing)
            reason = f"{trades:g} trades, {self._request.min_trades} are needed"
        elif None in values:
            violation = 1.0
            metric = self._objectives[values.index(None)].metric
            why = result.undefined.get(metric, "Jesse computes none for such a run")
            reason = f"{metric} is not defined: {why}"
        return Evaluation(
            "complete" if reason is None else "infeasible",
            result.run_id,
            values=() if reason else tuple(value for value in values if value is not None),
            metrics=result.metrics,
            violation=violation,
            slices=slices,
            reason=reason,
            ran=seen.ran,
            cached=seen.cached,
        )


@dataclass
class _Seen:
    """Runs of one trial so far."""

    ran: int = 0
    cached: int = 0

    def count(self, result: Answered | Refused) -> None:
        if result.cached:
            self.cached += 1
        else:
            self.ran += 1

    def failed(self, result: Refused) -> Evaluation:
        error = result.error
        return Evaluation("failed", reason=error.message, error=error, ran=self.ran, cached=self.cached)


def number(metrics: Metrics, name: str) -> float | None:
    """A metric as a number; ``None`` when Jesse has none."""
    value = metrics.get(name)
    return None if value is None or isinstance(value, str) else float(value)
