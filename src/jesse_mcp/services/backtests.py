"""Run a backtest as a job, keep its answer, count the trial."""

import asyncio
import time
from typing import Any

import numpy as np
from pydantic import Field

from jesse_mcp.analytics.buy_and_hold import buy_and_hold, equal_shares
from jesse_mcp.domain.backtests import EngineOutcome
from jesse_mcp.domain.candles import CLOSE, OPEN, TIMESTAMP, SeriesKey
from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.domain.identity import iso_utc, new_id
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.ledger import Trial, family_of
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.ports.candle_store import CandleStore
from jesse_mcp.ports.engine import BacktestEngine
from jesse_mcp.ports.records import RunStore, TrialLedger
from jesse_mcp.services.backtest_plan import BacktestPlanner, Plan
from jesse_mcp.services.backtest_request import BacktestArguments
from jesse_mcp.services.candle_quality import CandleQualityService
from jesse_mcp.services.candle_slices import series_of
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

    def __init__(
        self,
        planner: BacktestPlanner,
        engine: BacktestEngine,
        candles: CandleStore,
        runs: RunStore,
        ledger: TrialLedger,
        jobs: JobService,
        quality: CandleQualityService,
    ) -> None:
        self._quality = quality
        self._planner = planner
        self._engine = engine
        self._candles = candles
        self._runs = runs
        self._ledger = ledger
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
            stored = await asyncio.to_thread(self._runs.find, plan.fingerprint)
            if stored is not None:
                if title not in (None, stored.title):
                    stored = await asyncio.to_thread(self._retitled, stored, title)
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

        # Beside the run, which waits for another process.
        quality = asyncio.create_task(asyncio.to_thread(self._candle_warnings, plan))
        try:
            outcome = await self._engine.run(plan.run, progress)
        except ResearchError:
            # A failed attempt is an attempt all the same.
            await asyncio.to_thread(self._ledger.record, _trial(plan, None, None))
            raise
        finally:
            await asyncio.gather(quality, return_exceptions=True)
        reporter.log(outcome.log_tail)
        return await asyncio.to_thread(self._store, plan, title, outcome, quality.result())

    def _candle_warnings(self, plan: Plan) -> tuple[str, ...]:
        request = plan.run.request
        return tuple(
            warning
            for key in series_of(request)
            for warning in self._quality.warnings_for(key, request.start_ms, request.end_ms)
        )

    def _store(
        self, plan: Plan, title: str | None, outcome: EngineOutcome, candle_warnings: tuple[str, ...]
    ) -> RunRecord:
        request = plan.run.request
        record = RunRecord(
            run_id=new_id("run"),
            kind="backtest",
            created_at=iso_utc(time.time()),
            fingerprint=plan.fingerprint,
            strategies=tuple(dict.fromkeys(route.strategy for route in request.routes)),
            symbols=tuple(route.symbol for route in request.routes),
            title=title,
            request=request.model_dump(mode="json"),
            code_hash=plan.code_hash,
            candle_hashes=plan.candle_hashes,
            outcome=outcome,
            benchmark=self._benchmark(plan) if request.benchmark else None,
            warnings=plan.warnings + candle_warnings + _outcome_warnings(outcome),
        )
        self._runs.add(record)
        self._ledger.record(_trial(plan, record.run_id, outcome))
        return record

    def _retitled(self, stored: RunRecord, title: str | None) -> RunRecord:
        """The same answer under another name; a stored run is never changed."""
        named = stored.model_copy(
            update={"run_id": new_id("run"), "created_at": iso_utc(time.time()), "title": title}
        )
        self._runs.add(named)
        return named

    def _benchmark(self, plan: Plan) -> dict[str, Any]:
        """Holding each traded symbol, and all of them with equal shares of the balance."""
        request = plan.run.request
        held: dict[str, Any] = {}
        grown = []
        for route in request.routes:
            key = SeriesKey(exchange=request.exchange, symbol=route.symbol)
            rows = self._candles.read(key, request.start_ms, request.end_ms)
            held[route.symbol] = buy_and_hold(float(rows[0, OPEN]), rows[:, CLOSE])
            grown.append((rows[:, TIMESTAMP], rows[:, CLOSE] / rows[0, OPEN]))
        together = buy_and_hold(1.0, equal_shares(grown))
        return {"kind": "buy and hold, no fees, equal shares", **together, "symbols": held}


def _outcome_warnings(outcome: EngineOutcome) -> tuple[str, ...]:
    if not outcome.trades:
        return ("no trade was closed: Jesse computes no risk metrics for such a run",)
    return ()


def _trial(plan: Plan, run_id: str | None, outcome: EngineOutcome | None) -> Trial:
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
    )


def _daily_returns(outcome: EngineOutcome) -> tuple[float, ...] | None:
    """Relative changes of Jesse's daily balances; ``None`` after a balance of zero or less."""
    balances = np.array([point.balance for point in outcome.equity])
    if len(balances) < 2 or (balances <= 0).any():
        return None
    return tuple((balances[1:] / balances[:-1] - 1).tolist())
