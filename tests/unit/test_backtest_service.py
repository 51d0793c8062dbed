"""The backtest use case over real stores and an engine that answers at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
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
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.ports.engine import ProgressCallback
from jesse_mcp.services.backtest_plan import BacktestPlanner
from jesse_mcp.services.backtest_request import BacktestArguments
from jesse_mcp.services.backtests import BacktestAnswer, BacktestService
from jesse_mcp.services.candle_quality import CandleQualityService
from jesse_mcp.services.experiments import ExperimentRunner
from jesse_mcp.services.jobs import JobService
from jesse_mcp.services.runs import RunService

START = 1_704_067_200_000
EXCHANGE = "Binance Spot"
CODE = """
from jesse.strategies import Strategy


class Mine(Strategy):
    def should_long(self):
        return False

    def go_long(self):
        pass
"""
OUTCOME = EngineOutcome(
    metrics={"total": 2, "sharpe_ratio": 1.5, "serenity_index": None},
    undefined={"serenity_index": "Jesse computed -inf"},
    trades=(),
    equity=(EquityPoint(timestamp=1, balance=100), EquityPoint(timestamp=2, balance=110)),
    hyperparameters={"period": 7},
    engine={"jesse": "3.5.3"},
)


class AnsweringEngine:
    """Counts what it is asked, and answers what it is told to."""

    def __init__(self) -> None:
        self.runs: list[EngineRun] = []
        self.version = "one"
        self.release = asyncio.Event()
        self.release.set()
        self.error: Exception | None = None
        self.during: Callable[[], object] = lambda: None
        self.outcome = OUTCOME
        self.capacity = 1

    def identity(self) -> str:
        return self.version

    async def run(self, run: EngineRun, progress: ProgressCallback) -> EngineOutcome:
        self.runs.append(run)
        progress(0.25, "simulating")
        await self.release.wait()
        self.during()
        if self.error is not None:
            raise self.error
        return self.outcome

    async def status(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        return


@dataclass
class Desk:
    service: BacktestService
    runs: RunService
    engine: AnsweringEngine
    jobs: JobService
    candles: ParquetCandleStore
    strategies: FolderStrategyStore
    ledger: SqlTrialLedger
    experiments: ExperimentRunner
    arguments: BacktestArguments = field(
        default_factory=lambda: BacktestArguments(
            exchange=EXCHANGE,
            start_date="2024-01-02",
            end_date="2024-01-03",
            strategy="Mine",
            symbol="BTC-USDT",
            timeframe="1h",
            warm_up_candles=24,
        )
    )

    async def backtest(
        self, wait_seconds: float = 30, use_cache: bool = True, title: str | None = None, **changes: Any
    ) -> BacktestAnswer:
        arguments = BacktestArguments.model_validate({**self.arguments.model_dump(), **changes})
        return await self.service.backtest(
            arguments, title=title, use_cache=use_cache, wait_seconds=wait_seconds
        )


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database.at(tmp_path / "research.sqlite")
    candles = ParquetCandleStore(tmp_path / "candles")
    candles.write(SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT"), synthetic_candles(START, 3 * 1440, 1), "t")
    strategies = FolderStrategyStore(tmp_path)
    strategies.write("Mine", CODE, overwrite=False)
    runs, ledger, engine = SqlRunStore(database), SqlTrialLedger(database), AnsweringEngine()
    jobs = JobService(SqlJobStore(database), "here", lambda _owner: False)
    await jobs.start()
    planner = BacktestPlanner(strategies, candles, load_catalog(), engine)
    experiments = ExperimentRunner(engine, runs, ledger, CandleQualityService(candles))
    service = BacktestService(planner, experiments, jobs)
    yield Desk(service, RunService(runs), engine, jobs, candles, strategies, ledger, experiments)
    await jobs.close()
    database.close()


async def test_an_answer_is_stored_and_found_again(desk: Desk) -> None:
    first = await desk.backtest()
    again = await desk.backtest()
    assert (first.state, first.cached) == (JobState.DONE, False)
    assert (again.state, again.cached, again.job_id) == (JobState.DONE, True, None)
    assert first.run is not None
    assert again.run == first.run
    assert first.run.metrics["sharpe_ratio"] == 1.5
    assert first.run.undefined == {"serenity_index": "Jesse computed -inf"}
    assert len(desk.engine.runs) == 1
    assert desk.experiments.answers() == {"stored": 1, "computed": 1, "failed": 0}


async def test_a_run_that_was_stored_and_not_counted_is_counted_when_it_is_found(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def died(_entry: object) -> bool:
        raise ResearchError(ErrorCode.STORAGE_FAILED, "the server died here", hint="start it again")

    with monkeypatch.context() as patch:
        patch.setattr(desk.ledger, "record", died)
        with pytest.raises(ResearchError, match="died here"):
            await desk.backtest()
    assert desk.ledger.count() == 0
    for _ in range(2):
        assert (await desk.backtest()).cached
        assert desk.ledger.count() == 1
    assert len(desk.engine.runs) == 1


async def test_a_run_that_ends_while_the_database_is_away_is_stored_and_counted_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = desk.experiments._runs.add
    calls: list[str] = []

    def away(record: Any) -> None:
        calls.append(record.run_id)
        if len(calls) == 2:
            # Stored, and not answered.
            add(record)
        raise ResearchError(ErrorCode.STORAGE_FAILED, "away", hint="wait", details={"away": True})

    monkeypatch.setattr(desk.experiments._runs, "add", away)
    answer = await desk.backtest()
    assert answer.run is not None
    assert calls == [answer.run.run_id] * 2
    listed = await desk.runs.page(strategy=None, symbol=None, kind=None, limit=5, offset=0)
    assert (listed.total, desk.ledger.count(), len(desk.engine.runs)) == (1, 1, 1)


def another_engine(desk: Desk) -> None:
    desk.engine.version = "two"


def other_code(desk: Desk) -> None:
    desk.strategies.write("Mine", CODE + "\n# changed\n", overwrite=True)


def other_candles(desk: Desk) -> None:
    key = SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT")
    rows = desk.candles.read(key, START + 86_400_000, START + 86_460_000)
    rows[0, 5] += 1
    desk.candles.write(key, rows, "correction")


@pytest.mark.parametrize("change", [another_engine, other_code, other_candles])
async def test_what_the_answer_depends_on_is_run_anew(desk: Desk, change: Callable[[Desk], None]) -> None:
    await desk.backtest()
    change(desk)
    answer = await desk.backtest()
    assert not answer.cached
    assert len(desk.engine.runs) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"fee": 0.002},
        {"starting_balance": 5000},
        {"fast_mode": True},
        {"hyperparameters": {"period": 3}},
        {"timeframe": "30m"},
        {"exchange_type": "futures", "leverage": 2},
        {"benchmark": True},
        {"warm_up_candles": 12},
        {"data_routes": [{"symbol": "BTC-USDT", "timeframe": "15m"}]},
    ],
    ids="+".join,
)
async def test_every_argument_is_part_of_the_experiment(desk: Desk, changes: dict[str, Any]) -> None:
    await desk.backtest()
    assert not (await desk.backtest(**changes)).cached


async def test_the_cache_can_be_declined(desk: Desk) -> None:
    first = await desk.backtest()
    second = await desk.backtest(use_cache=False)
    assert first.run is not None
    assert second.run is not None
    assert second.run.run_id != first.run.run_id
    assert desk.ledger.count() == 1, "the same experiment is one trial"


async def test_a_new_title_is_kept_without_running_again(desk: Desk) -> None:
    first = await desk.backtest()
    named = await desk.backtest(title="base case")
    assert first.run is not None
    assert named.run is not None
    assert (named.cached, named.run.title) == (True, "base case")
    assert named.run.run_id != first.run.run_id
    assert named.run.metrics == first.run.metrics
    assert (await desk.backtest(title="base case")).run == named.run
    assert len(desk.engine.runs) == 1


async def test_a_slow_run_becomes_a_job_to_follow(desk: Desk) -> None:
    desk.engine.release.clear()
    answer = await desk.backtest(wait_seconds=0.05)
    assert answer.state in (JobState.QUEUED, JobState.RUNNING)
    assert answer.run is None
    assert answer.job_id is not None
    desk.engine.release.set()
    job = await desk.jobs.wait(answer.job_id, 30)
    assert job.state is JobState.DONE
    assert job.run_id is not None


async def test_a_failed_run_raises_and_is_counted(desk: Desk) -> None:
    desk.engine.error = ResearchError(ErrorCode.STRATEGY_RAISED, "boom", hint="fix it", details={"line": 3})
    with pytest.raises(ResearchError, match="boom") as caught:
        await desk.backtest()
    assert caught.value.code is ErrorCode.STRATEGY_RAISED
    assert caught.value.details["line"] == 3
    job = await desk.jobs.get(str(caught.value.details["job_id"]))
    assert job.state is JobState.FAILED
    assert desk.ledger.count("Mine") == 1


async def test_the_ledger_holds_parameters_and_returns(desk: Desk) -> None:
    await desk.backtest()
    (trial,) = desk.ledger.entries("Mine")
    assert trial.code_shape is not None
    assert trial.strategy_shapes == {"Mine": trial.code_shape}
    assert trial.parameters == {"period": 7}
    assert trial.sharpe == 1.5
    assert trial.daily_returns == pytest.approx((0.1,), rel=1e-15)
    assert trial.market["routes"] == ["BTC-USDT 1h"]


async def test_benchmark_is_not_of_candles_that_came_later(desk: Desk) -> None:
    usual = await desk.backtest(benchmark=True)
    others = synthetic_candles(START, 3 * 1440, 2)
    key = SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT")
    desk.engine.during = lambda: desk.candles.write(key, others, "t")
    again = await desk.backtest(benchmark=True, use_cache=False)
    assert usual.run is not None
    assert again.run is not None
    assert again.run.benchmark == usual.run.benchmark


async def test_a_run_that_fails_of_whatever_is_a_trial(desk: Desk) -> None:
    desk.engine.error = KeyError("event")
    with pytest.raises(ResearchError) as caught:
        await desk.backtest()
    assert caught.value.code is ErrorCode.INTERNAL_ERROR
    assert desk.ledger.count() == 1


async def test_benchmark_is_of_the_candles_traded(desk: Desk) -> None:
    answer = await desk.backtest(benchmark=True)
    assert answer.run is not None
    assert answer.run.benchmark is not None
    key = SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT")
    rows = desk.candles.read(key, START + 86_400_000, START + 2 * 86_400_000)
    expected = (rows[-1, 2] / rows[0, 1] - 1) * 100
    assert answer.run.benchmark["return_percentage"] == pytest.approx(expected, rel=1e-12)
    assert answer.run.benchmark["symbols"]["BTC-USDT"]["return_percentage"] == pytest.approx(
        expected, rel=1e-12
    )


async def test_nothing_is_submitted_for_a_request_that_cannot_run(desk: Desk) -> None:
    refused: list[tuple[dict[str, Any], ErrorCode]] = [
        ({"strategy": "Absent"}, ErrorCode.STRATEGY_NOT_FOUND),
        ({"end_date": "2024-03-01"}, ErrorCode.CANDLES_MISSING),
        ({"end_date": "2024-01-02"}, ErrorCode.INVALID_ARGUMENT),
    ]
    for changes, code in refused:
        with pytest.raises(ResearchError) as caught:
            await desk.backtest(**changes)
        assert caught.value.code is code
    assert (await desk.jobs.page())[1] == 0


async def test_frozen_prices_are_pointed_out(desk: Desk) -> None:
    key = SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT")
    rows = desk.candles.read(key, START + 86_400_000, START + 86_400_000 + 120 * 60_000)
    rows[:, 1:5] = rows[0, 2]
    desk.candles.write(key, rows, "frozen")
    answer = await desk.backtest()
    assert answer.run is not None
    assert any("BTC-USDT on Binance Spot" in w and "120" in w for w in answer.run.warnings)


async def test_wicks_are_pointed_out_with_the_largest(desk: Desk) -> None:
    key = SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT")
    rows = desk.candles.read(key)
    rows[2_000, 3] = 3 * rows[2_000, 1:3].max()
    rows[2_100, 4] = 0.2 * rows[2_100, 1:3].min()
    desk.candles.write(key, rows, "wicks")
    answer = await desk.backtest()
    assert answer.run is not None
    said = "BTC-USDT on Binance Spot: 2 long wicks (largest +200.00% at 2024-01-02T09:20Z)"
    assert said in answer.run.warnings


async def test_a_run_over_gaps_says_so(desk: Desk) -> None:
    key = SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT")
    day = 86_400_000
    rows = desk.candles.read(key)
    desk.candles.delete(key)
    desk.candles.append(key, np.delete(rows, [1500, 1501], axis=0), "exchange", (START, START + 3 * day))
    with pytest.raises(ResearchError, match="are missing"):
        await desk.backtest(gaps="refuse")
    answer = await desk.backtest()
    assert answer.run is not None
    assert answer.run.request["gaps"] == "observed"
    assert answer.run.warnings[0].startswith("2 minutes of BTC-USDT on Binance Spot have no candle")
    assert (await desk.backtest(gaps="observed")).run == answer.run


async def test_what_an_engine_could_not_do_is_a_warning(desk: Desk) -> None:
    changes: dict[str, Any] = {
        "equity": (),
        "equity_missing_reason": "the log was cut",
        "engine": {"jesse": "3.5.3", "not_pinned": "desk_rules: imported"},
    }
    desk.engine.outcome = OUTCOME.model_copy(update=changes)
    answer = await desk.backtest()
    assert answer.run is not None
    assert "there are no daily balances: the log was cut" in answer.run.warnings
    assert "part of the code is not pinned: desk_rules: imported" in answer.run.warnings


async def test_a_hyperparameter_out_of_its_declared_range_is_pointed_out(desk: Desk) -> None:
    declaration = """
    def hyperparameters(self):
        return [
            {"name": "period", "type": int, "min": 2, "max": 60, "default": 7},
            {"name": "mode", "type": "categorical", "options": ["slow", "fast"], "default": "slow"},
        ]
"""
    desk.strategies.write("Mine", CODE + declaration, overwrite=True)
    answer = await desk.backtest(hyperparameters={"period": 500, "mode": "idle"})
    assert answer.run is not None
    assert {
        "Mine: period is 500, outside of what it declares, 2 to 60",
        "Mine: mode is idle, outside of what it declares, slow | fast",
    } <= set(answer.run.warnings)
    inside = await desk.backtest(hyperparameters={"period": 60, "mode": "fast"})
    assert inside.run is not None
    assert not any("declares" in warning for warning in inside.run.warnings)


async def test_the_end_defaults_to_the_last_full_day(desk: Desk) -> None:
    answer = await desk.backtest(end_date=None)
    assert answer.run is not None
    assert answer.run.request["end_date"] == "2024-01-04"


async def test_runs_compare_by_what_differs(desk: Desk) -> None:
    first = await desk.backtest()
    second = await desk.backtest(fee=0.002, title="dear")
    assert first.run is not None
    assert second.run is not None
    compared = await desk.runs.compare((first.run.run_id, second.run.run_id), ("sharpe_ratio",))
    assert compared.metrics == {"sharpe_ratio": (1.5, 1.5)}
    assert compared.differences == {"fee": (0.001, 0.002)}
    assert (compared.same_code, compared.same_candles) == (True, True)
    assert "the runs differ in fee" in compared.warnings[0]
    with pytest.raises(ResearchError, match="no run has the metric sharp"):
        await desk.runs.compare((first.run.run_id, second.run.run_id), ("sharp",))
    with pytest.raises(ResearchError, match="1 ids"):
        await desk.runs.compare((first.run.run_id,), None)
    listed = await desk.runs.page("Mine", "BTC-USDT", "backtest", 1, 0)
    assert (listed.total, listed.runs[0].title) == (2, "dear")
