"""A run repeated on candles altered by one of Jesse's pipelines."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from jesse_mcp.analytics.equity_paths import PathStatistics, path_statistics
from jesse_mcp.domain.backtests import BacktestRequest, CandlePipeline, EngineOutcome
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.runs import NO_STRATEGY, RunRecord
from jesse_mcp.ports.records import RunStore
from jesse_mcp.services.backtest_plan import Plan
from jesse_mcp.services.backtest_request import said_again
from jesse_mcp.services.campaign import Answered, Campaign, CampaignService, Refused
from jesse_mcp.services.jobs import JobReporter
from jesse_mcp.services.monte_carlo_report import Evidence
from jesse_mcp.services.monte_carlo_request import MonteCarloArguments, pipeline_of
from jesse_mcp.services.ordered_work import Piece, in_order

#: Those Jesse's own Monte Carlo describes.
METRICS = (
    "net_profit_percentage",
    "max_drawdown",
    "sharpe_ratio",
    "calmar_ratio",
    "annual_return",
    "win_rate",
    "total",
)
_FAILURES_SHOWN = 10
_ENGINE = "the engine has"


@dataclass(frozen=True)
class _Scenario:
    """The part of a finished scenario that is kept in memory."""

    run_id: str
    path: PathStatistics
    metrics: dict[str, float]


@dataclass(frozen=True)
class Scenarios:
    """What one analysis runs: ``plans``, and before them ``original``.

    ``original`` is the run itself on the engine of the scenarios, when it was made on another one: what is
    compared comes from one engine. ``None``: the run is compared as it is stored.
    """

    campaign: Campaign
    plans: tuple[Plan, ...]
    original: Plan | None


class CandleScenarios:
    """Plans and runs the scenarios of one analysis."""

    def __init__(self, campaigns: CampaignService, runs: RunStore) -> None:
        self._campaigns = campaigns
        self._runs = runs

    def prepare(self, arguments: MonteCarloArguments, record: RunRecord) -> Scenarios:
        """The plan of every scenario. Blocks.

        Raises:
            ResearchError: ``invalid_argument`` when the run cannot be repeated, because its code, candles or
                engine are no longer the same, and what planning raises.
        """
        request = BacktestRequest.model_validate(record.request)
        if record.kind == "pairs":
            raise _not_this_run(record, NO_STRATEGY, "resample it instead: method='returns_stationary'")
        if request.pipeline is not None:
            raise _not_this_run(record, "it is a run on altered candles itself", "give the run it repeats")
        first = pipeline_of(arguments, request)
        campaign = self._campaigns.open("scenario")
        plan = campaign.plan(said_again(request, arguments.engine))
        elsewhere = plan.fingerprint != record.fingerprint
        if elsewhere:
            as_it_was = plan
            if arguments.engine == "embedded":
                as_it_was = campaign.plan(said_again(request, "configured"))
            _check_unchanged(as_it_was, record)
        pipelines = (
            first.model_copy(update={"seed": first.seed + number}) for number in range(arguments.wanted)
        )
        return Scenarios(
            campaign,
            tuple(_altered(plan, pipeline) for pipeline in pipelines),
            replace(plan, counted=False) if elsewhere else None,
        )

    async def run(self, scenarios: Scenarios, record: RunRecord, reporter: JobReporter) -> Evidence:
        """Run all scenarios; those stored already are not run again.

        Raises:
            ResearchError: of the first scenario when all of them fail, or what no run can survive.
        """
        campaign, plans = scenarios.campaign, scenarios.plans
        original = record
        remarks: tuple[str, ...] = ()
        if scenarios.original is not None:
            original = await self._repeated(campaign, scenarios.original, reporter)
            remarks = (_repeat_remark(record, original),)
        done: list[_Scenario] = []
        failed: list[tuple[int, ResearchError]] = []

        async def pieces() -> AsyncIterator[Piece[_Scenario | Refused]]:
            for plan in plans:
                yield partial(self._one, campaign, plan, reporter)

        async with aclosing(in_order(pieces(), campaign.capacity(plans[0].engine))) as results:
            number = 0
            async for result in results:
                number += 1
                if isinstance(result, Refused):
                    failed.append((number, result.error))
                else:
                    done.append(result)
                reporter.progress(number / len(plans), f"{number} of {len(plans)} scenarios")
        if not done:
            raise failed[0][1]
        found = _evidence(plans, original, done, failed)
        return replace(found, remarks=remarks + found.remarks)

    async def _repeated(self, campaign: Campaign, plan: Plan, reporter: JobReporter) -> RunRecord:
        answer = await campaign.run(plan, lambda _fraction, _message: reporter.started())
        if isinstance(answer, Refused):
            raise answer.error
        return await asyncio.to_thread(self._runs.get, answer.run_id)

    async def _one(self, campaign: Campaign, plan: Plan, reporter: JobReporter) -> _Scenario | Refused:
        answer = await campaign.run(plan, lambda _fraction, _message: reporter.started())
        if isinstance(answer, Refused):
            return answer
        return await asyncio.to_thread(self._read, answer)

    def _read(self, answer: Answered) -> _Scenario:
        outcome = self._runs.get(answer.run_id).outcome
        numbers = {
            name: float(value)
            for name in METRICS
            if isinstance(value := outcome.metrics.get(name), int | float)
        }
        return _Scenario(answer.run_id, _path(outcome), numbers)


def _evidence(
    plans: tuple[Plan, ...],
    record: RunRecord,
    done: list[_Scenario],
    failed: list[tuple[int, ResearchError]],
) -> Evidence:
    columns = zip(*(scenario.path for scenario in done), strict=True)
    paths = PathStatistics(*(np.concatenate(column) for column in columns))
    metrics = {}
    for name in METRICS:
        values = np.array([s.metrics[name] for s in done if name in s.metrics], dtype=np.float64)
        original = record.outcome.metrics.get(name)
        metrics[f"jesse_{name}"] = (values, float(original) if isinstance(original, int | float) else None)
    shown = tuple(
        {"scenario": number, "code": error.code.value, "message": error.message[:300]}
        for number, error in failed[:_FAILURES_SHOWN]
    )
    remarks = (
        (
            f"{len(failed)} of {len(plans)} scenarios failed and are in no distribution",
            "those that fail are not a random part: altered prices can come close to zero, where no order "
            "makes sense, so the worst histories may be the ones left out",
        )
        if failed
        else ()
    )
    pipeline = plans[0].run.request.pipeline
    return Evidence(
        sample_size=len(done),
        paths=paths,
        original=_path(record.outcome),
        pipeline=None if pipeline is None else pipeline.model_dump(),
        metrics=metrics,
        failed=shown,
        extremes={
            "worst": done[int(np.argmin(paths.final_balance))].run_id,
            "best": done[int(np.argmax(paths.final_balance))].run_id,
        },
        remarks=remarks,
    )


def _path(outcome: EngineOutcome) -> PathStatistics:
    balances = np.array([[point.balance for point in outcome.equity]], dtype=np.float64)
    if balances.size == 0:
        raise ResearchError(
            ErrorCode.ENGINE_FAILED,
            f"Jesse handed back no daily balance: {outcome.equity_missing_reason or 'no reason given'}",
            hint="resample the trades of the run instead: method='trades_shuffle'",
        )
    return path_statistics(np.maximum(balances[:, 1:], 0.0), float(balances[0, 0]))


def _altered(plan: Plan, pipeline: CandlePipeline) -> Plan:
    # Buying and holding is done on the real candles, so it says nothing about a scenario.
    request = plan.run.request.model_copy(update={"pipeline": pipeline, "benchmark": False})
    identity = json.dumps([plan.fingerprint, pipeline.model_dump()], sort_keys=True)
    return replace(
        plan,
        run=plan.run.model_copy(update={"request": request}),
        fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
        # It says what the run it repeats is worth, and tries nothing new.
        counted=False,
    )


def _check_unchanged(plan: Plan, record: RunRecord) -> None:
    if plan.fingerprint == record.fingerprint:
        return
    hint = "run it again with backtest, use the new id"
    if plan.engine == "configured" and _changed(plan, record) == _ENGINE:
        hint += "; if it was made with engine='embedded', give that here too"
    raise _not_this_run(record, f"{_changed(plan, record)} changed since", hint)


def _repeat_remark(record: RunRecord, repeat: RunRecord) -> str:
    return (
        "scenarios and original ran on the embedded engine: the original is "
        f"{repeat.run_id}, which ends with {_ending(repeat)}; {record.run_id}, which it repeats, ended with "
        f"{_ending(record)}"
    )


def _ending(record: RunRecord) -> str:
    balances = record.outcome.equity
    return f"{balances[-1].balance:,.2f}" if balances else "a balance it has no record of"


def _changed(plan: Plan, record: RunRecord) -> str:
    if plan.code_hash != record.code_hash:
        return "the code of its strategy has"
    if plan.candle_hashes != record.candle_hashes:
        return "its candles have"
    return _ENGINE


def _not_this_run(record: RunRecord, why: str, hint: str) -> ResearchError:
    message: Any = f"{record.run_id} cannot be repeated on altered candles: {why}"
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
