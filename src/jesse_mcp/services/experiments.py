"""Run one planned backtest, keep its answer, count the trial."""

import asyncio
import time
from collections import Counter
from functools import lru_cache, partial
from typing import Any

import numpy as np

from jesse_mcp.analytics.buy_and_hold import buy_and_hold, equal_shares
from jesse_mcp.analytics.walk_forward import daily_returns
from jesse_mcp.domain.backtests import EngineChoice, EngineOutcome
from jesse_mcp.domain.candles import CLOSE, OPEN, TIMESTAMP
from jesse_mcp.domain.code_shape import code_shape, strategy_shapes
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.identity import iso_utc, new_id
from jesse_mcp.domain.ledger import Trial, family_of
from jesse_mcp.domain.runs import RunKind, RunRecord
from jesse_mcp.ports.engine import BacktestEngine, ProgressCallback
from jesse_mcp.ports.records import RunStore, TrialLedger
from jesse_mcp.services.backtest_plan import Plan
from jesse_mcp.services.candle_quality import CandleQualityService
from jesse_mcp.services.candle_slices import series_of, traded_rows
from jesse_mcp.services.engine_choice import EmbeddedBeside, engine_for
from jesse_mcp.services.patience import patiently

#: Follows from code, candles and request. The others are of the machine and its limits, or cost nothing to
#: find out again.
_OF_THE_EXPERIMENT = frozenset({ErrorCode.STRATEGY_RAISED})
_REMEMBERED_CODES = 16


class ExperimentRunner:
    """What every use case does with a plan: look whether it was run, run it, store run and trial.

    Args:
        engine: what the settings name.
        beside: the embedded engine, unless that is what they name.
    """

    def __init__(
        self,
        engine: BacktestEngine,
        runs: RunStore,
        ledger: TrialLedger,
        quality: CandleQualityService,
        beside: EmbeddedBeside | None = None,
    ) -> None:
        self._engine = engine
        self._beside = beside
        self._runs = runs
        self._ledger = ledger
        self._quality = quality
        self._answers = Counter({"stored": 0, "computed": 0, "failed": 0})
        # The runs of a campaign share their code.
        self._shape = lru_cache(_REMEMBERED_CODES)(_shape)

    def capacity(self, choice: EngineChoice) -> int:
        """How many runs execute at the same time on an engine."""
        return engine_for(choice, self._engine, self._beside).capacity

    def answers(self) -> dict[str, int]:
        """How experiments were answered since the start: from the store, by a run, by an error."""
        return dict(self._answers)

    async def find(self, plan: Plan) -> RunRecord | None:
        """The stored run of this very experiment.

        Raises:
            ResearchError: ``storage_failed``.
        """
        stored = await asyncio.to_thread(self._found, plan)
        if stored is not None:
            self._answers["stored"] += 1
        return stored

    def _found(self, plan: Plan) -> RunRecord | None:
        stored = self._runs.find(plan.fingerprint)
        if stored is not None:
            # A server that died between storing a run and counting it left one that nobody counted.
            self._count(plan, stored.run_id, stored.outcome)
        return stored

    async def failure(self, plan: Plan, since: str) -> ResearchError | None:
        """The error of this very experiment, if it was run at ``since`` (UTC, ISO 8601) or later and raised.

        Raises:
            ResearchError: ``storage_failed``.
        """
        return await asyncio.to_thread(self._runs.find_failure, plan.fingerprint, since)

    async def candle_warnings(self, plan: Plan) -> tuple[str, ...]:
        """What is suspicious about the candles of the period, each with the name of its series.

        Raises:
            ResearchError: ``series_not_found``, ``storage_failed``.
        """
        return await asyncio.to_thread(self._candle_warnings, plan)

    async def trials_of(self, family: str) -> int:
        """How many distinct experiments of a family of strategies were ever tried.

        Raises:
            ResearchError: ``storage_failed``.
        """
        return await asyncio.to_thread(self._ledger.count, family)

    async def run(
        self,
        plan: Plan,
        progress: ProgressCallback,
        *,
        kind: RunKind,
        title: str | None = None,
        attempts: int = 1,
    ) -> RunRecord:
        """Execute the plan and store what came out.

        Args:
            attempts: how often a run is started whose worker was killed. Not more than two: a strategy that
                kills its own process would be started again and again.

        Raises:
            ResearchError: the error of the run, which is counted as a trial all the same.
        """
        # Beside the run, which waits for another process.
        quality = asyncio.create_task(asyncio.to_thread(self._candle_warnings, plan))
        # Of the candles that are run on: those stored may be others when the run ends.
        benchmark = asyncio.create_task(asyncio.to_thread(_benchmark, plan))
        try:
            outcome = await self._outcome(plan, progress, attempts)
        except Exception as error:
            self._answers["failed"] += 1
            await patiently(partial(asyncio.to_thread, self._failed, plan, error))
            raise
        finally:
            await asyncio.gather(quality, benchmark, return_exceptions=True)
        self._answers["computed"] += 1
        record = _record(plan, kind, title, outcome, quality.result(), benchmark.result())
        await self._kept(plan, record)
        return record

    async def refiled(self, stored: RunRecord, kind: RunKind, title: str | None) -> RunRecord:
        """The same answer under another kind or name; a stored run is never changed.

        Raises:
            ResearchError: ``storage_failed``.
        """
        copy = stored.model_copy(
            update={
                "run_id": new_id("run"),
                "kind": kind,
                "created_at": iso_utc(time.time()),
                "title": title,
            }
        )
        await asyncio.to_thread(self._runs.add, copy)
        return copy

    async def _outcome(self, plan: Plan, progress: ProgressCallback, attempts: int) -> EngineOutcome:
        engine = engine_for(plan.engine, self._engine, self._beside)
        for left in reversed(range(attempts)):
            try:
                return await engine.run(plan.run, progress)
            except ResearchError as error:
                if error.code is not ErrorCode.WORKER_CRASHED or not left:
                    raise
        raise ValueError(f"attempts is {attempts}")

    def _candle_warnings(self, plan: Plan) -> tuple[str, ...]:
        request = plan.run.request
        return tuple(
            warning
            for key in series_of(request)
            for warning in self._quality.warnings_for(key, request.start_ms, request.end_ms)
        )

    async def _kept(self, plan: Plan, record: RunRecord) -> None:
        """Store the run and count it, once."""
        tried = False

        def keep() -> None:
            nonlocal tried
            # A database that goes away may have stored what it did not answer.
            if not (tried and self._is_stored(record)):
                tried = True
                self._runs.add(record)
            self._count(plan, record.run_id, record.outcome)

        await patiently(partial(asyncio.to_thread, keep))

    def _is_stored(self, record: RunRecord) -> bool:
        stored = self._runs.find(record.fingerprint)
        return stored is not None and stored.run_id == record.run_id

    def _failed(self, plan: Plan, error: Exception) -> None:
        # A failed attempt is an attempt all the same, whatever it failed of.
        self._count(plan, None, None)
        if isinstance(error, ResearchError) and error.code in _OF_THE_EXPERIMENT:
            self._runs.add_failure(plan.fingerprint, iso_utc(time.time()), error)

    def _count(self, plan: Plan, run_id: str | None, outcome: EngineOutcome | None) -> None:
        if plan.counted:
            strategies = tuple(sorted({route.strategy for route in plan.run.request.routes}))
            shapes = self._shape(tuple(sorted(plan.run.source.items())), strategies)
            self._ledger.record(_trial(plan, shapes, run_id, outcome))


def _record(
    plan: Plan,
    kind: RunKind,
    title: str | None,
    outcome: EngineOutcome,
    candle_warnings: tuple[str, ...],
    benchmark: dict[str, Any] | None,
) -> RunRecord:
    request = plan.run.request
    return RunRecord(
        run_id=new_id("run"),
        kind=kind,
        created_at=iso_utc(time.time()),
        fingerprint=plan.fingerprint,
        strategies=tuple(dict.fromkeys(route.strategy for route in request.routes)),
        symbols=tuple(route.symbol for route in request.routes),
        title=title,
        request=request.model_dump(mode="json"),
        code_hash=plan.code_hash,
        candle_hashes=plan.candle_hashes,
        outcome=outcome,
        benchmark=benchmark,
        warnings=plan.warnings + candle_warnings + outcome_warnings(outcome),
    )


def _benchmark(plan: Plan) -> dict[str, Any] | None:
    """Holding each traded symbol, and all of them with equal shares of the balance, if that was asked for."""
    request = plan.run.request
    if not request.benchmark:
        return None
    held: dict[str, Any] = {}
    grown = []
    for route in request.routes:
        rows = traded_rows(plan.run, route.symbol)
        held[route.symbol] = buy_and_hold(float(rows[0, OPEN]), rows[:, CLOSE])
        grown.append((rows[:, TIMESTAMP], rows[:, CLOSE] / rows[0, OPEN]))
    together = buy_and_hold(1.0, equal_shares(grown))
    return {"kind": "buy and hold, no fees, equal shares", **together, "symbols": held}


def outcome_warnings(outcome: EngineOutcome) -> tuple[str, ...]:
    """What has to be said beside the numbers of a run, from its outcome alone."""
    warnings = []
    if not outcome.trades:
        warnings.append("no trade was closed: Jesse computes no risk metrics for such a run")
    if outcome.equity_missing_reason:
        warnings.append(f"there are no daily balances: {outcome.equity_missing_reason}")
    if "not_pinned" in outcome.engine:
        warnings.append(f"part of the code is not pinned: {outcome.engine['not_pinned']}")
    if "candles_doubtful" in outcome.engine:
        warnings.append(f"the run may have been on other candles: {outcome.engine['candles_doubtful']}")
    return tuple(warnings)


def _shape(files: tuple[tuple[str, str], ...], strategies: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Of all the code, and of each of these strategies."""
    return code_shape(dict(files)), strategy_shapes(dict(files), strategies)


def _trial(
    plan: Plan, shapes: tuple[str, dict[str, str]], run_id: str | None, outcome: EngineOutcome | None
) -> Trial:
    request = plan.run.request
    sharpe = None if outcome is None else outcome.metrics.get("sharpe_ratio")
    return Trial(
        trial_id=new_id("trial"),
        created_at=iso_utc(time.time()),
        family=family_of(route.strategy for route in request.routes),
        code_hash=plan.code_hash,
        parameters=dict(request.hyperparameters if outcome is None else outcome.hyperparameters),
        market={
            "exchange": request.exchange,
            "type": request.exchange_type,
            "routes": [f"{route.symbol} {route.timeframe}" for route in request.routes],
        },
        start_ms=request.start_ms,
        end_ms=request.end_ms,
        fingerprint=plan.fingerprint,
        run_id=run_id,
        sharpe=sharpe if isinstance(sharpe, int | float) else None,
        daily_returns=None if outcome is None else _daily_returns(outcome),
        code_shape=shapes[0],
        strategy_shapes=shapes[1],
    )


def _daily_returns(outcome: EngineOutcome) -> tuple[float, ...] | None:
    """Relative changes of Jesse's daily balances, up to the loss of everything; ``None`` without any."""
    balances = np.array([point.balance for point in outcome.equity], dtype=np.float64)
    with np.errstate(over="ignore"):
        returns = daily_returns(balances)
    return tuple(returns.tolist()) if len(returns) and np.isfinite(returns).all() else None
