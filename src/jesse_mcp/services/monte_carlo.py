"""What might have become of a run: its trades, its returns or its candles drawn again and again."""

import asyncio
import os
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from jesse_mcp.analytics.monte_carlo import Simulations, simulate
from jesse_mcp.domain.backtests import BacktestRequest, EngineOutcome
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.ports.records import RunStore
from jesse_mcp.services.campaign import CampaignService
from jesse_mcp.services.candle_quality import said_of_candles
from jesse_mcp.services.candle_scenarios import CandleScenarios
from jesse_mcp.services.jobs import JobReporter, JobService, ProgressListener, Work
from jesse_mcp.services.monte_carlo_report import Evidence, MonteCarloResult, balances_differ, report
from jesse_mcp.services.monte_carlo_request import (
    MonteCarloArguments,
    check,
    check_block_length,
    check_draws,
)
from jesse_mcp.services.pair_legs import joined_profits
from jesse_mcp.services.resumption import awaited
from jesse_mcp.services.stoppable import Checkpoint, stoppable

KIND = "monte_carlo"
#: However many cores there are, threads stay free for other calls and for the heartbeat of the jobs.
_MOST_AT_ONCE = 16
_STEPS_OF_PROGRESS = 100
_FEWEST_TO_COMPARE = 5
#: Times the size of other trades, from which on a strategy does not trade one size.
_GROWN = 1.5


class MonteCarloAnswer(Value):
    """The analysis, or the job that is still working on it."""

    state: JobState
    job_id: str
    progress: float | None
    message: str | None
    result: MonteCarloResult | None = Field(description="null until done")


class MonteCarloService:
    """The ``monte_carlo`` use case."""

    def __init__(self, runs: RunStore, campaigns: CampaignService, jobs: JobService) -> None:
        self._runs = runs
        self._scenarios = CandleScenarios(campaigns, runs)
        self._jobs = jobs
        # More would not be faster, and each holds a thread.
        self._slots = asyncio.Semaphore(min(os.cpu_count() or 1, _MOST_AT_ONCE))

    async def analyse(
        self,
        arguments: MonteCarloArguments,
        *,
        wait_seconds: float,
        on_progress: ProgressListener | None = None,
    ) -> MonteCarloAnswer:
        """Simulate as a job; a job of the same request that is active is joined.

        Scenarios that were finished before are not run again, so the same request also goes on with what was
        interrupted.

        Args:
            wait_seconds: how long to wait for the answer; the job goes on after that.

        Raises:
            ResearchError: ``run_not_found``; ``invalid_argument`` naming the argument; for ``candles`` what
                planning a backtest raises, or the error of the job when it fails in that time.
        """
        check(arguments)
        record = await asyncio.to_thread(self._runs.get, arguments.run_id)
        work = await self._work(arguments, record)
        request = arguments.model_dump(mode="json", exclude_none=True)
        job = await self._jobs.submit(KIND, request, work, join=True)
        job = await awaited(self._jobs, job.job_id, wait_seconds, on_progress)
        return MonteCarloAnswer(
            state=job.state,
            job_id=job.job_id,
            progress=job.progress,
            message=job.message,
            result=None if job.result is None else MonteCarloResult.model_validate(job.result),
        )

    async def _work(self, arguments: MonteCarloArguments, record: RunRecord) -> Work:
        start = BacktestRequest.model_validate(record.request).starting_balance
        if arguments.method == "candles":
            scenarios = await asyncio.to_thread(self._scenarios.prepare, arguments, record)

            async def repeat(reporter: JobReporter) -> None:
                found = await self._scenarios.run(scenarios, record, reporter)
                found = replace(found, remarks=found.remarks + said_of_candles(record))
                reporter.result(report(arguments, start, found).model_dump(mode="json"))

            return repeat

        values, reason, remarks = _sample(arguments, record, start)
        remarks += said_of_candles(record)
        if reason is None:
            check_draws(arguments, len(values))
            if arguments.method.startswith("returns"):
                check_block_length(arguments, len(values))

        async def resample(reporter: JobReporter) -> None:
            async with self._slots:
                reporter.started()
                found = Evidence(sample_size=len(values), reason=reason, remarks=remarks)
                if reason is None:
                    simulated = await _simulated(arguments, values, start, reporter)
                    found = Evidence(
                        sample_size=len(values),
                        paths=simulated.paths,
                        original=simulated.original,
                        block_length=simulated.block_length,
                        remarks=remarks,
                    )
                result = await asyncio.to_thread(report, arguments, start, found)
            reporter.result(result.model_dump(mode="json"))

        return resample


class _Sample(NamedTuple):
    """What is resampled, why it cannot be, and what has to be said about it."""

    values: NDArray[np.float64]
    reason: str | None = None
    remarks: tuple[str, ...] = ()


def _sample(arguments: MonteCarloArguments, record: RunRecord, start: float) -> _Sample:
    outcome = record.outcome
    if not arguments.method.startswith("trades"):
        return _returns(outcome)
    if record.kind != "pairs":
        return _profits(outcome, start, np.array([trade.pnl for trade in outcome.trades], dtype=np.float64))
    found = _profits(outcome, start, joined_profits(outcome.trades))
    return found._replace(remarks=("both legs of a pair are one trade here", *found.remarks))


def _profits(outcome: EngineOutcome, start: float, profits: NDArray[np.float64]) -> _Sample:
    if not len(profits):
        return _Sample(profits, "the run closed no trade")
    explained = start + float(profits.sum())
    ended = outcome.metrics.get("finishing_balance")
    if isinstance(ended, int | float) and balances_differ(explained, float(ended)):
        remark = (
            f"the closed trades lead from {start:,.2f} to {explained:,.2f}, the run ended at {ended:,.2f}: "
            "only closed trades are resampled"
        )
        return _Sample(profits, remarks=(remark, *_on_sizes(outcome)))
    return _Sample(profits, remarks=_on_sizes(outcome))


def _on_sizes(outcome: EngineOutcome) -> tuple[str, ...]:
    """Whether the trades are of one size, without which amounts of money may not change places."""
    sizes = np.array([abs(trade.qty) * trade.entry_price for trade in outcome.trades])
    part = len(sizes) // 3
    if part < _FEWEST_TO_COMPARE:
        return ()
    early, late = float(np.median(sizes[:part])), float(np.median(sizes[-part:]))
    if max(early, late) <= _GROWN * min(early, late):
        return ()
    return (
        f"positions were worth {early:,.0f} in the first third of the trades and {late:,.0f} in the last: "
        "their profits change places as amounts of money here, so that what a large balance lost may fall on "
        "a small one; drawdown and ruin of method='returns_stationary' keep to shares of the balance",
    )


def _returns(outcome: EngineOutcome) -> _Sample:
    balances = np.array([point.balance for point in outcome.equity], dtype=np.float64)
    nothing = np.empty(0)
    if len(balances) < 2:
        why = outcome.equity_missing_reason or f"the run has {len(balances)} daily balances"
        return _Sample(nothing, f"there is no daily return: {why}")
    if (balances[:-1] <= 0).any():
        return _Sample(nothing, "the balance reached zero, after which there is no return")
    with np.errstate(over="ignore"):
        returns = balances[1:] / balances[:-1] - 1
    if not np.isfinite(returns).all():
        return _Sample(nothing, "a daily return leaves the range of a floating point number")
    return _Sample(returns)


async def _simulated(
    arguments: MonteCarloArguments, values: NDArray[np.float64], start: float, reporter: JobReporter
) -> Simulations:
    """In a thread, which is told to stop when the job is."""
    loop = asyncio.get_running_loop()
    reported = 0

    def told(fraction: float) -> None:
        nonlocal reported
        step = int(fraction * _STEPS_OF_PROGRESS)
        if step <= reported:
            return
        reported = step
        loop.call_soon_threadsafe(reporter.progress, fraction, "simulating")

    def work(checkpoint: Checkpoint) -> Simulations:
        def advanced(fraction: float) -> None:
            checkpoint()
            told(fraction)

        if arguments.method == "candles":
            raise ValueError("candles are not resampled here")
        return simulate(
            arguments.method,
            values,
            start,
            arguments.wanted,
            arguments.seed,
            block_length=arguments.block_length,
            progress=advanced,
        )

    return await stoppable(work)
