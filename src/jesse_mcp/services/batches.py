"""The ``backtest_batch`` use case."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from pydantic import Field

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import Job, JobState
from jesse_mcp.domain.ledger import family_of
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.timeframes import iso_date
from jesse_mcp.services.backtest_plan import Plan
from jesse_mcp.services.batch_cells import Overrides, arguments_of
from jesse_mcp.services.campaign import Answered, Campaign, CampaignService, Refused
from jesse_mcp.services.campaign_progress import CampaignProgress
from jesse_mcp.services.jobs import JobReporter, JobService, ProgressListener
from jesse_mcp.services.objectives import parse_objectives
from jesse_mcp.services.ordered_work import Piece, in_order
from jesse_mcp.services.resumption import awaited, job_of_kind
from jesse_mcp.services.runs import HEADLINE

KIND = "backtest_batch"
_AHEAD = 16
_REFUSALS_SHOWN = 20
_LONGEST_MESSAGE = 200


class BatchRequest(Value):
    """Every cell in full; ``pinned`` is a hash of what their answers rest on.

    ``began_at`` is when it was first asked for, however often it is resumed.
    """

    base: dict[str, Any]
    cells: tuple[dict[str, Any], ...]
    pinned: str
    began_at: str | None = None


class BatchResult(Value):
    """A row for every cell, in the order of ``columns``; metrics are Jesse's, null where it has none."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    total: int = Field(description="cells in all")
    failed: int
    cached: int = Field(description="cells answered from the store")
    warnings: tuple[str, ...]


class BatchAnswer(Value):
    state: JobState
    job_id: str
    progress: float | None = None
    message: str | None = None
    result: BatchResult | None = Field(description="null until the job is done; rows by page")


class BatchService:
    """Runs many backtests as one job."""

    def __init__(self, campaigns: CampaignService, jobs: JobService) -> None:
        self._campaigns = campaigns
        self._jobs = jobs

    async def run(
        self,
        base: Mapping[str, Any],
        cells: tuple[Overrides, ...],
        *,
        wait_seconds: float,
        on_progress: ProgressListener | None = None,
    ) -> BatchAnswer:
        """Run every cell, whatever becomes of the others.

        Args:
            base: arguments of a backtest that the cells share.
            cells: what each changes of it.

        Raises:
            ResearchError: what is wrong with a cell, before any runs; or how the job ended.
        """
        campaign = self._campaigns.open("batch")
        plans = await asyncio.to_thread(_planned, campaign, base, cells)
        request = BatchRequest(
            base=dict(base),
            # The end of the stored candles moves; that of a batch does not.
            cells=tuple(
                {**cell, "end_date": iso_date(plan.run.request.end_ms)}
                for cell, plan in zip(cells, plans, strict=True)
            ),
            pinned=_pin(plans),
            began_at=campaign.began_at,
        )
        job = await self._submit(request, campaign, plans)
        return await self._answer(job, wait_seconds, on_progress)

    async def resume(
        self, job_id: str, *, wait_seconds: float, on_progress: ProgressListener | None = None
    ) -> BatchAnswer:
        """The answer of a job that is done, the progress of one that is active, or another go at the rest.

        When somebody resumed it before and that goes on, that job is joined.

        Raises:
            ResearchError: ``job_not_found``; ``invalid_argument`` when it is no batch or what it rests on
                has changed; or how the job ended.
        """
        job = await job_of_kind(self._jobs, job_id, KIND)
        if not job.state.active and job.result is None:
            request = BatchRequest.model_validate(job.request)
            campaign = self._campaigns.open("batch", request.began_at)
            plans = await asyncio.to_thread(_planned, campaign, request.base, request.cells)
            if _pin(plans) != request.pinned:
                raise ResearchError(
                    ErrorCode.INVALID_ARGUMENT,
                    f"resume: since {job_id} began, its strategies, its candles or the engine changed",
                    hint="start it anew without resume; cells that did not change are not run again",
                )
            job = await self._submit(request, campaign, plans)
        return await self._answer(job, wait_seconds, on_progress)

    async def _submit(self, request: BatchRequest, campaign: Campaign, plans: list[Plan]) -> Job:
        async def work(reporter: JobReporter) -> None:
            result = await _run_all(request, campaign, plans, reporter)
            reporter.result(result.model_dump(mode="json"))

        return await self._jobs.submit(KIND, request.model_dump(mode="json"), work, join=True)

    async def _answer(
        self, job: Job, wait_seconds: float, on_progress: ProgressListener | None
    ) -> BatchAnswer:
        job = await awaited(self._jobs, job.job_id, wait_seconds, on_progress)
        result = None if job.result is None else BatchResult.model_validate(job.result)
        return BatchAnswer(
            state=job.state, job_id=job.job_id, progress=job.progress, message=job.message, result=result
        )


def paged(answer: BatchAnswer, sort_by: str | None, limit: int, offset: int) -> BatchAnswer:
    """Some rows of a table, sorted by a metric, best first; cells without it come last.

    Raises:
        ResearchError: ``invalid_argument`` for a metric that is no column.
    """
    if answer.result is None:
        return answer
    rows = list(answer.result.rows)
    if sort_by is not None:
        objective = parse_objectives((sort_by,))[0]
        if objective.metric not in answer.result.columns:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"sort_by is {sort_by!r}, which is no column",
                hint=f"columns are: {', '.join(answer.result.columns)}",
            )
        column = answer.result.columns.index(objective.metric)
        sign = -1 if objective.maximize else 1
        rows.sort(key=lambda row: (row[column] is None, sign * (row[column] or 0), row[0]))
    result = answer.result.model_copy(update={"rows": tuple(rows[offset : offset + limit])})
    return answer.model_copy(update={"result": result})


def _planned(campaign: Campaign, base: Mapping[str, Any], cells: tuple[Overrides, ...]) -> list[Plan]:
    """Blocks.

    Raises:
        ResearchError: the first cell's that cannot run, with all of them in the details.
    """
    plans: list[Plan] = []
    refusals: list[tuple[int, ResearchError]] = []
    for number, cell in enumerate(cells):
        try:
            plans.append(campaign.plan(arguments_of(base, cell, number)))
        except ResearchError as error:
            refusals.append((number, error))
    if refusals:
        raise _refusal(refusals, len(cells))
    return plans


def _refusal(refusals: list[tuple[int, ResearchError]], cells: int) -> ResearchError:
    first = refusals[0][1]
    missing = [error for _, error in refusals if error.code is ErrorCode.CANDLES_MISSING]
    symbols = dict.fromkeys(str(error.details.get("symbol")) for error in missing)
    named = f"; without candles: {', '.join(symbols)}" if symbols else ""
    return ResearchError(
        first.code,
        f"{len(refusals)} of {cells} cells cannot run, so none was. Cell {refusals[0][0]}: {first.message}"
        f"{named}",
        hint=first.hint,
        details={
            "cells": [
                {"cell": number, "code": error.code.value, "message": error.message[:_LONGEST_MESSAGE]}
                for number, error in refusals[:_REFUSALS_SHOWN]
            ],
            "cells_refused": len(refusals),
        },
    )


def _pin(plans: list[Plan]) -> str:
    return hashlib.sha256("".join(plan.fingerprint for plan in plans).encode()).hexdigest()


async def _run_all(
    request: BatchRequest, campaign: Campaign, plans: list[Plan], reporter: JobReporter
) -> BatchResult:
    progress = CampaignProgress(reporter, len(plans))
    varied = _varied(request.cells)
    rows: list[tuple[Any, ...]] = []
    said: dict[str, None] = {}
    failed = cached = 0

    async def pieces() -> AsyncGenerator[Piece[Answered | Refused], None]:
        for plan in plans:
            yield _piece(campaign, plan, progress)

    async with aclosing(pieces()) as given, aclosing(in_order(given, _AHEAD)) as results:
        async for result in results:
            cell = request.cells[len(rows)]
            rows.append((len(rows), *(cell.get(name) for name in varied), *_columns_of(result)))
            failed += isinstance(result, Refused)
            cached += result.cached
            if isinstance(result, Answered):
                said |= dict.fromkeys(result.candle_warnings)
            progress.say(f"{len(rows)} of {len(plans)} cells" + (f", {failed} failed" if failed else ""))
    return BatchResult(
        columns=("cell", *varied, "run_id", *HEADLINE, "error"),
        rows=tuple(rows),
        total=len(rows),
        failed=failed,
        cached=cached,
        warnings=tuple(await _warnings(campaign, plans, tuple(said))),
    )


def _piece(campaign: Campaign, plan: Plan, progress: CampaignProgress) -> Piece[Answered | Refused]:
    async def run() -> Answered | Refused:
        with progress.piece() as listener:
            return await campaign.run(plan, listener)

    return run


def _varied(cells: tuple[Mapping[str, Any], ...]) -> tuple[str, ...]:
    """Arguments that tell the cells apart."""
    names = dict.fromkeys(name for cell in cells for name in cell)
    return tuple(name for name in names if any(cell.get(name) != cells[0].get(name) for cell in cells))


def _columns_of(result: Answered | Refused) -> tuple[Any, ...]:
    if isinstance(result, Refused):
        error = result.error
        said = f"{error.code.value}: {error.message[:_LONGEST_MESSAGE]}"
        return (None, *(None for _ in HEADLINE), said)
    return (result.run_id, *(result.metrics.get(name) for name in HEADLINE), None)


async def _warnings(campaign: Campaign, plans: list[Plan], of_candles: tuple[str, ...]) -> list[str]:
    # The same findings concern many cells: each is said once.
    warnings = list(dict.fromkeys(warning for plan in plans for warning in plan.warnings))
    warnings += of_candles
    requests = [plan.run.request for plan in plans]
    if len({(request.start_ms, request.end_ms) for request in requests}) > 1:
        warnings.append("the cells cover different periods: their metrics are not comparable as they stand")
    families = {family_of(route.strategy for route in request.routes) for request in requests}
    for family in sorted(families):
        count = await campaign.trials_of(family)
        warnings.append(
            f"{count} distinct experiments with {family} are in the ledger: the more there are, the less the "
            "best of them means"
        )
    return warnings
