"""A call says on which of two engines it runs: nothing else changes, and nothing runs on the other one."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.adapters.storage.ledger import SqlTrialLedger
from jesse_mcp.adapters.storage.runs import SqlRunStore
from jesse_mcp.adapters.strategies.catalog import load_catalog
from jesse_mcp.adapters.strategies.folder_store import FolderStrategyStore
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.backtests import EngineOutcome, EngineRun, EquityPoint
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.ports.engine import ProgressCallback
from jesse_mcp.services.backtest_plan import BacktestPlanner
from jesse_mcp.services.backtest_request import BacktestArguments
from jesse_mcp.services.backtests import BacktestService
from jesse_mcp.services.batches import BatchService
from jesse_mcp.services.campaign import CampaignService
from jesse_mcp.services.candle_quality import CandleQualityService
from jesse_mcp.services.engine_choice import EmbeddedBeside
from jesse_mcp.services.experiments import ExperimentRunner
from jesse_mcp.services.jobs import JobService
from jesse_mcp.services.monte_carlo import MonteCarloService
from jesse_mcp.services.monte_carlo_report import MonteCarloResult
from jesse_mcp.services.monte_carlo_request import MonteCarloArguments
from jesse_mcp.services.run_view import RunView

START = 1_704_067_200_000
REMARK = "run beside it"
CODE = """
from jesse.strategies import Strategy


class Mine(Strategy):
    def should_long(self):
        return False

    def go_long(self):
        pass
"""
ARGUMENTS = BacktestArguments(
    exchange="Binance Spot",
    start_date="2024-01-02",
    end_date="2024-01-03",
    strategy="Mine",
    symbol="BTC-USDT",
    timeframe="1h",
    warm_up_candles=24,
)


class NamedEngine:
    """Ends every run at a balance of its own, moved by the seed of altered candles."""

    def __init__(self, name: str, capacity: int, balance: float) -> None:
        self.name = name
        self.capacity = capacity
        self.balance = balance
        self.runs: list[EngineRun] = []
        self.under_way = self.most_at_once = 0
        self.problem: ResearchError | None = None
        self.full = asyncio.Event()
        self.full.set()

    def identity(self) -> str:
        if self.problem is not None:
            raise self.problem
        return self.name

    async def run(self, run: EngineRun, progress: ProgressCallback) -> EngineOutcome:
        self.runs.append(run)
        progress(0.5, "simulating")
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        if self.under_way == self.capacity:
            self.full.set()
        await self.full.wait()
        self.under_way -= 1
        moved = 0 if run.request.pipeline is None else run.request.pipeline.seed + 1
        end = self.balance + 10 * moved
        return EngineOutcome(
            metrics={"total": 2, "sharpe_ratio": 1.0, "net_profit_percentage": end / 100 - 100},
            undefined={},
            trades=(),
            equity=(EquityPoint(timestamp=1, balance=10_000), EquityPoint(timestamp=2, balance=end)),
            hyperparameters={},
            engine={"kind": self.name},
        )

    async def status(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        return


@dataclass
class Desk:
    configured: NamedEngine
    embedded: NamedEngine
    backtests: BacktestService
    batches: BatchService
    monte_carlo: MonteCarloService
    ledger: SqlTrialLedger

    async def run(self, **changes: Any) -> RunView:
        arguments = ARGUMENTS.model_copy(update=changes)
        answer = await self.backtests.backtest(arguments, wait_seconds=30)
        assert answer.run is not None
        return answer.run

    async def scenarios(self, run_id: str, **changes: Any) -> MonteCarloResult:
        asked = {"run_id": run_id, "method": "candles", "simulations": 3, **changes}
        asked["pipeline_parameters"] = {"batch_size": 60}
        arguments = MonteCarloArguments.model_validate(asked)
        answer = await self.monte_carlo.analyse(arguments, wait_seconds=30)
        assert answer.result is not None
        return answer.result


def desk_of(tmp_path: Path, database: Database, jobs: JobService, *, beside: bool) -> Desk:
    candles = ParquetCandleStore(tmp_path / "candles")
    key = SeriesKey(exchange="Binance Spot", symbol="BTC-USDT")
    candles.write(key, synthetic_candles(START, 3 * 1440, 1), "t")
    strategies = FolderStrategyStore(tmp_path)
    strategies.write("Mine", CODE, overwrite=True)
    runs, ledger = SqlRunStore(database), SqlTrialLedger(database)
    configured, embedded = NamedEngine("there", 2, 11_000), NamedEngine("here", 3, 12_000)
    other = EmbeddedBeside(embedded, REMARK) if beside else None
    planner = BacktestPlanner(strategies, candles, load_catalog(), configured, other)
    experiments = ExperimentRunner(configured, runs, ledger, CandleQualityService(candles), other)
    campaigns = CampaignService(planner, experiments)
    return Desk(
        configured,
        embedded,
        BacktestService(planner, experiments, jobs),
        BatchService(campaigns, jobs),
        MonteCarloService(runs, campaigns, jobs),
        ledger,
    )


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database.at(tmp_path / "research.sqlite")
    yield opened
    opened.close()


@pytest.fixture
async def jobs(database: Database) -> AsyncIterator[JobService]:
    service = JobService(SqlJobStore(database), "here", lambda _owner: False)
    await service.start()
    yield service
    await service.close()


@pytest.fixture
def desk(tmp_path: Path, database: Database, jobs: JobService) -> Desk:
    return desk_of(tmp_path, database, jobs, beside=True)


async def test_a_run_is_made_where_it_was_asked_for_and_says_so(desk: Desk) -> None:
    there, here = await desk.run(), await desk.run(engine="embedded")
    assert [run.engine["kind"] for run in (there, here)] == ["there", "here"]
    assert (len(desk.configured.runs), len(desk.embedded.runs)) == (1, 1)
    assert desk.configured.runs == desk.embedded.runs, "the same run on the same candles and code"
    assert REMARK in here.warnings
    assert REMARK not in there.warnings
    assert there.request == here.request, "the engine is no part of the experiment's request"
    assert desk.ledger.count() == 2
    again = await desk.run(engine="embedded")
    assert (again.run_id, len(desk.embedded.runs)) == (here.run_id, 1)


async def test_where_the_configured_engine_is_the_embedded_one_it_makes_no_difference(
    tmp_path: Path, database: Database, jobs: JobService
) -> None:
    desk = desk_of(tmp_path, database, jobs, beside=False)
    one, other = await desk.run(), await desk.run(engine="embedded")
    assert one == other
    assert len(desk.configured.runs) == 1


async def test_an_engine_that_is_not_installed_is_not_replaced_by_the_other(desk: Desk) -> None:
    desk.embedded.problem = ResearchError(ErrorCode.ENGINE_NOT_INSTALLED, "none", hint="install it")
    with pytest.raises(ResearchError) as caught:
        await desk.run(engine="embedded")
    assert caught.value.code is ErrorCode.ENGINE_NOT_INSTALLED
    assert desk.configured.runs == desk.embedded.runs == []
    assert (await desk.run()).engine["kind"] == "there", "who does not ask for it does not need it"


async def test_each_engine_of_a_batch_takes_as_many_runs_as_it_can(desk: Desk) -> None:
    cells = tuple(
        {"engine": choice, "starting_balance": 1_000.0 + number}
        for number in range(6)
        for choice in ("configured", "embedded")
    )
    for engine in (desk.configured, desk.embedded):
        engine.full.clear()
    answer = await desk.batches.run(ARGUMENTS.model_dump(exclude_none=True), cells, wait_seconds=30)
    assert answer.result is not None
    columns = answer.result.columns
    shown = [
        (row[columns.index("engine")], row[columns.index("net_profit_percentage")])
        for row in answer.result.rows
    ]
    assert shown == [("configured", 10), ("embedded", 20)] * 6
    assert (desk.configured.most_at_once, desk.embedded.most_at_once) == (2, 3)
    assert REMARK in answer.result.warnings


async def test_scenarios_elsewhere_are_compared_with_the_run_as_it_is_there(desk: Desk) -> None:
    run = await desk.run()
    tried = desk.ledger.count()
    result = await desk.scenarios(run.run_id, engine="embedded")
    assert [made.request.pipeline is None for made in desk.embedded.runs] == [True, False, False, False]
    assert len(desk.configured.runs) == 1
    final = result.distributions["final_balance"]
    assert final is not None
    assert final.original == 12_000
    assert final.mean == np.mean([12_010, 12_020, 12_030])
    sharpe = result.distributions["jesse_sharpe_ratio"]
    assert sharpe is not None
    (remark,) = [said for said in result.findings if run.run_id in said]
    assert "ends with 12,000.00" in remark
    assert remark.endswith("ended with 11,000.00")
    assert desk.ledger.count() == tried, "it repeats an experiment and tries nothing new"
    await desk.run(engine="embedded")
    assert desk.ledger.count() == tried + 1, "asked for by itself it is one"


async def test_scenarios_of_a_run_that_was_made_there_need_no_repeat(desk: Desk) -> None:
    run = await desk.run(engine="embedded")
    with pytest.raises(ResearchError) as caught:
        await desk.scenarios(run.run_id)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert "engine='embedded'" in str(caught.value.hint)
    result = await desk.scenarios(run.run_id, engine="embedded")
    assert len(desk.embedded.runs) == 4
    assert not [said for said in result.findings if "the original is" in said]


async def test_only_scenarios_have_an_engine(desk: Desk) -> None:
    run = await desk.run()
    asked = {"run_id": run.run_id, "method": "trades_shuffle", "engine": "embedded"}
    with pytest.raises(ResearchError) as caught:
        await desk.monte_carlo.analyse(MonteCarloArguments.model_validate(asked), wait_seconds=30)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert "engine is 'embedded'" in caught.value.message
