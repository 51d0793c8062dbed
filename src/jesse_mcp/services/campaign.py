"""Many backtests of one job: planned alike, run as many at a time as the engine takes, each stored."""

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import partial

from jesse_mcp.domain.backtests import EngineChoice
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.identity import iso_utc
from jesse_mcp.domain.runs import RunKind, RunRecord
from jesse_mcp.domain.strategies import HyperparameterInfo
from jesse_mcp.ports.engine import ProgressCallback
from jesse_mcp.services.backtest_plan import BacktestPlanner, Plan
from jesse_mcp.services.backtest_request import BacktestArguments
from jesse_mcp.services.candle_quality import said_of_candles
from jesse_mcp.services.experiments import ExperimentRunner
from jesse_mcp.services.patience import patiently

#: Of one run: an answer. Anything else is of what all runs need, and the next would fail of it too.
OF_A_RUN = frozenset(
    {
        ErrorCode.STRATEGY_RAISED,
        ErrorCode.RUN_TIMEOUT,
        ErrorCode.MEMORY_LIMIT,
        ErrorCode.WORKER_CRASHED,
        ErrorCode.RUN_REJECTED,
        ErrorCode.JESSE_REJECTED,
        ErrorCode.CAPABILITY_MISSING,
        ErrorCode.CANDLES_MISSING,
        ErrorCode.CANDLES_INVALID,
    }
)
#: A worker killed from outside is replaced once; a strategy that kills its own is not started for ever.
_ATTEMPTS = 2

Metrics = dict[str, float | int | str | None]


@dataclass(frozen=True)
class Answered:
    """A run that exists: its id, Jesse's metrics verbatim, and whether it had been there before.

    ``candle_warnings`` is what the run says of its candles.
    """

    run_id: str
    metrics: Metrics
    undefined: dict[str, str]
    cached: bool
    candle_warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """Why there is no run, and whether that had been found out before."""

    error: ResearchError
    cached: bool = False


class CampaignService:
    """Opens campaigns."""

    def __init__(self, planner: BacktestPlanner, experiments: ExperimentRunner) -> None:
        self._planner = planner
        self._experiments = experiments

    def open(self, kind: RunKind, began_at: str | None = None) -> "Campaign":
        """A campaign whose runs are stored under ``kind``.

        Args:
            began_at: when its job was first asked for (UTC, ISO 8601), if that was earlier than now.
        """
        return Campaign(self._planner, self._experiments, kind, began_at or iso_utc(time.time()))


class Campaign:
    """One job's worth of backtests over code that is read once.

    An experiment that was run before, by whomever, is answered from the store; two equal ones at the same
    time are run once. One that raised is not run again by the job that found it out, however often that is
    resumed; a new job tries it again, since the reason may lie outside of what identifies an experiment.
    """

    def __init__(
        self, planner: BacktestPlanner, experiments: ExperimentRunner, kind: RunKind, began_at: str
    ) -> None:
        self.began_at = began_at
        self._planner = planner
        self._experiments = experiments
        self._kind: RunKind = kind
        self._sources = planner.pinned_sources()
        self._slots: dict[EngineChoice, asyncio.Semaphore] = {}
        self._same: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def capacity(self, engine: EngineChoice) -> int:
        """How many of its runs execute at the same time on an engine."""
        return self._experiments.capacity(engine)

    def plan(self, arguments: BacktestArguments) -> Plan:
        """As :meth:`BacktestPlanner.plan`, with the code of this campaign. Blocks."""
        return self._planner.plan(arguments, self._sources)

    def declared(self, plan: Plan) -> dict[str, tuple[HyperparameterInfo, ...] | None]:
        """As :meth:`BacktestPlanner.declared`. Blocks."""
        return self._planner.declared(plan)

    async def run(self, plan: Plan, progress: ProgressCallback) -> Answered | Refused:
        """The stored answer, or a new run. Cancelling it kills what it started.

        Raises:
            ResearchError: any that is not in :data:`OF_A_RUN`; those are answers.
        """
        try:
            async with self._same[plan.fingerprint]:
                stored = await patiently(partial(self._experiments.find, plan))
                if stored is not None:
                    return _answered(stored, cached=True)
                failed = await patiently(partial(self._experiments.failure, plan, self.began_at))
                if failed is not None:
                    return Refused(failed, cached=True)
                async with self._slots_of(plan.engine):
                    record = await self._experiments.run(plan, progress, kind=self._kind, attempts=_ATTEMPTS)
        except ResearchError as error:
            if error.code not in OF_A_RUN:
                raise
            return Refused(error)
        return _answered(record, cached=False)

    def _slots_of(self, engine: EngineChoice) -> asyncio.Semaphore:
        return self._slots.setdefault(engine, asyncio.Semaphore(self.capacity(engine)))

    async def candle_warnings(self, arguments: BacktestArguments) -> tuple[str, ...]:
        """What is suspicious about the candles of a whole period, said once for all runs in it.

        Raises:
            ResearchError: what planning raises, ``storage_failed``.
        """
        plan = await asyncio.to_thread(self.plan, arguments)
        return await self._experiments.candle_warnings(plan)

    async def trials_of(self, family: str) -> int:
        """How many distinct experiments of a family of strategies were ever tried.

        Raises:
            ResearchError: ``storage_failed``.
        """
        return await self._experiments.trials_of(family)


def _answered(record: RunRecord, *, cached: bool) -> Answered:
    # Not the record: a thousand of them with their trades would fill the memory.
    outcome, said = record.outcome, said_of_candles(record)
    return Answered(record.run_id, outcome.metrics, outcome.undefined, cached, said)
