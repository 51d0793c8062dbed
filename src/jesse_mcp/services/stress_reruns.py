"""A run made again: in crises whose candles are stored, with higher fees, with slippage."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from jesse_mcp.analytics.crises import Crisis
from jesse_mcp.analytics.shocks import largest_fall
from jesse_mcp.domain.backtests import BacktestRequest, EngineChoice
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.runs import NO_STRATEGY, RunRecord
from jesse_mcp.ports.records import RunStore
from jesse_mcp.services.backtest_plan import Plan
from jesse_mcp.services.backtest_request import BacktestArguments, said_again
from jesse_mcp.services.campaign import Campaign, CampaignService, Refused
from jesse_mcp.services.jobs import JobReporter
from jesse_mcp.services.ordered_work import Piece, in_order
from jesse_mcp.services.stress_request import (
    DEFAULT_FEE_MULTIPLIERS,
    DEFAULT_SLIPPAGE_BPS,
    StressArguments,
)

#: Above it no backtest is accepted.
_HIGHEST_FEE = 0.1
_ENGINES: tuple[EngineChoice, ...] = ("configured", "embedded")


@dataclass(frozen=True)
class Variant:
    """One variant of the run: its plan, or the reason why there is none."""

    name: str
    facts: dict[str, Any]
    plan: Plan | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Reruns:
    """What is to be run again, with the code the run had."""

    campaign: Campaign
    wanted: tuple[Variant, ...]


class StressReruns:
    """Plans and runs the variants of one run.

    They are stored as ``scenario``, under the fingerprint any backtest of that request has. None is counted
    in the trial ledger: code and hyperparameters are those of a run that was counted, and nothing is chosen
    among the variants. Whoever asks for one as a backtest of its own gets it from the store, counted then.
    """

    def __init__(self, campaigns: CampaignService, runs: RunStore) -> None:
        self._campaigns = campaigns
        self._runs = runs

    def prepare(self, arguments: StressArguments, record: RunRecord) -> Reruns:
        """The plan of every variant. Blocks.

        Raises:
            ResearchError: ``invalid_argument`` when the run cannot be repeated, because its code, candles or
                engine are no longer the same, or a fee would be higher than any backtest takes.
        """
        request = BacktestRequest.model_validate(record.request)
        campaign = self._campaigns.open("scenario")
        base = _same_again(campaign, request, record)
        wanted: list[Variant] = []
        if "crises" in arguments.rerun:
            wanted += [_in_crisis(campaign, base, crisis) for crisis in arguments.crises]
        if "fees" in arguments.rerun:
            for times in arguments.fee_multipliers or DEFAULT_FEE_MULTIPLIERS:
                wanted.append(
                    _with_fee(campaign, base, f"fee x{times:g}", round(times * request.fee, 12), request)
                )
        if "slippage" in arguments.rerun:
            for bps in arguments.slippage_bps or DEFAULT_SLIPPAGE_BPS:
                name = f"slippage {bps:g} bps"
                wanted.append(_with_fee(campaign, base, name, round(request.fee + bps / 10_000, 12), request))
        return Reruns(campaign, tuple(wanted))

    async def run(self, reruns: Reruns, reporter: JobReporter) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """A row for every variant, in order, and why numbers are missing; what is stored is not run again.

        Raises:
            ResearchError: what no run can survive.
        """
        rows: list[dict[str, Any]] = []
        undefined: dict[str, str] = {}

        async def pieces() -> AsyncIterator[Piece[dict[str, Any] | str]]:
            for one in reruns.wanted:
                yield partial(self._one, reruns.campaign, one, reporter)

        planned = [one.plan for one in reruns.wanted if one.plan is not None]
        ahead = reruns.campaign.capacity(planned[0].engine) if planned else 1
        async with aclosing(in_order(pieces(), ahead)) as results:
            async for found in results:
                one = reruns.wanted[len(rows)]
                row = {"name": one.name, "run_id": None, "total_return": None, **one.facts}
                if isinstance(found, str):
                    undefined[f"reruns.{one.name}"] = found
                else:
                    row |= found
                rows.append(row)
                reporter.progress(
                    len(rows) / len(reruns.wanted), f"{len(rows)} of {len(reruns.wanted)} reruns"
                )
        return rows, undefined

    async def _one(self, campaign: Campaign, one: Variant, reporter: JobReporter) -> dict[str, Any] | str:
        if one.plan is None:
            return one.reason or "it could not be planned"
        answer = await campaign.run(one.plan, lambda _fraction, _message: reporter.started())
        if isinstance(answer, Refused):
            return f"{answer.error.code.value}: {answer.error.message}"
        return await asyncio.to_thread(self._row, answer.run_id)

    def _row(self, run_id: str) -> dict[str, Any]:
        return {**outcome_row(self._runs.get(run_id)), "basis": "measured"}


def outcome_row(record: RunRecord) -> dict[str, Any]:
    """The few numbers of a run that variants are compared by; fractions, from its daily balances."""
    balances = np.array([point.balance for point in record.outcome.equity], dtype=np.float64)
    whole = len(balances) > 1 and balances[0] > 0 and bool(np.isfinite(balances).all())
    ruined = bool((balances <= 0).any())
    fall = 1.0 if ruined else largest_fall(balances)
    return {
        "run_id": record.run_id,
        "total_return": (-1.0 if ruined else float(balances[-1] / balances[0] - 1)) if whole else None,
        "max_drawdown": fall if whole else None,
        "trades": len(record.outcome.trades),
    }


def _same_again(campaign: Campaign, request: BacktestRequest, record: RunRecord) -> BacktestArguments:
    """The arguments of the run, on the engine that gives it the fingerprint it has."""
    if record.kind == "pairs":
        raise _refused(record, NO_STRATEGY, "leave rerun out: everything else is from its balances")
    if request.pipeline is not None:
        raise _refused(record, "it is a run on altered candles itself", "give the run it repeats")
    found = None
    for engine in _ENGINES:
        arguments = said_again(request, engine)
        plan = campaign.plan(arguments)
        if plan.fingerprint == record.fingerprint:
            return arguments
        found = found or plan
    changed = "the engine has"
    if found is not None and found.code_hash != record.code_hash:
        changed = "the code of its strategy has"
    elif found is not None and found.candle_hashes != record.candle_hashes:
        changed = "its candles have"
    raise _refused(record, f"{changed} changed since", "run it again with backtest, use the new id")


def _in_crisis(campaign: Campaign, base: BacktestArguments, crisis: Crisis) -> Variant:
    facts = {"window": f"{crisis.start} to {crisis.end} (exclusive)"}
    # Gaps the exchange has itself are taken, as in any backtest that says nothing of them.
    gaps = "observed" if base.gaps == "observed" else None
    moved = base.model_copy(
        update={"start_date": crisis.start, "end_date": crisis.end, "benchmark": False, "gaps": gaps}
    )
    try:
        plan = campaign.plan(moved)
    except ResearchError as error:
        if error.code is not ErrorCode.CANDLES_MISSING:
            raise
        # Of the ways out the first is the import; the others are for a backtest of one's own.
        way = (error.hint or "").partition("; or ")[0]
        return Variant(crisis.name, facts, reason=f"{error.message}: {way}")
    return Variant(crisis.name, facts, replace(plan, counted=False))


def _with_fee(
    campaign: Campaign, base: BacktestArguments, name: str, fee: float, request: BacktestRequest
) -> Variant:
    facts = {"fee": fee}
    if fee == request.fee:
        return Variant(name, facts, reason=f"the run has a fee of {request.fee:g}: nothing would change")
    if fee >= _HIGHEST_FEE:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"{name} makes a fee of {fee:g} a side, the run has {request.fee:g}",
            hint=f"give less: a fee must be below {_HIGHEST_FEE:g}",
        )
    plan = campaign.plan(base.model_copy(update={"fee": fee, "benchmark": False}))
    return Variant(name, facts, replace(plan, counted=False))


def _refused(record: RunRecord, why: str, hint: str) -> ResearchError:
    return ResearchError(
        ErrorCode.INVALID_ARGUMENT, f"{record.run_id} cannot be made again: {why}", hint=hint
    )
