"""The Monte Carlo use case over real stores and an engine that answers at once."""

import asyncio
import itertools
import json
import os
import threading
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
from jesse_mcp.analytics.monte_carlo import ResamplingMethod, Simulations, simulate
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.backtests import EngineOutcome, EngineRun, EquityPoint, Trade
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.ports.engine import ProgressCallback
from jesse_mcp.services import monte_carlo as module
from jesse_mcp.services import monte_carlo_request as request_module
from jesse_mcp.services.backtest_plan import BacktestPlanner
from jesse_mcp.services.backtest_request import BacktestArguments
from jesse_mcp.services.backtests import BacktestService
from jesse_mcp.services.campaign import CampaignService
from jesse_mcp.services.candle_quality import CandleQualityService
from jesse_mcp.services.experiments import ExperimentRunner
from jesse_mcp.services.jobs import JobReporter, JobService
from jesse_mcp.services.monte_carlo import MonteCarloAnswer, MonteCarloService
from jesse_mcp.services.monte_carlo_report import MonteCarloResult
from jesse_mcp.services.monte_carlo_request import MonteCarloArguments

START = 1_704_067_200_000
EXCHANGE = "Binance Perpetual Futures"
CODE = """
from jesse.strategies import Strategy


class Mine(Strategy):
    def should_long(self):
        return False

    def go_long(self):
        pass
"""
PROFITS = (500.0, -300.0, 200.0, -100.0, -250.0, 400.0)


def trade(pnl: float) -> Trade:
    return Trade(
        strategy="Mine",
        exchange=EXCHANGE,
        symbol="BTC-USDT",
        type="long",
        opened_at=START,
        closed_at=START + 60_000,
        entry_price=100,
        exit_price=100,
        qty=1,
        size=100,
        fee=0,
        pnl=pnl,
        pnl_percentage=None,
        holding_period=60,
    )


def outcome(profits: tuple[float, ...], **metrics: float | None) -> EngineOutcome:
    balances = [10_000.0, *(10_000.0 + np.cumsum(profits)).tolist()]
    known = {"finishing_balance": balances[-1], "total": len(profits), "sharpe_ratio": 1.0, **metrics}
    return EngineOutcome(
        metrics=known,
        undefined={},
        trades=tuple(trade(profit) for profit in profits),
        equity=tuple(
            EquityPoint(timestamp=START + day * 86_400_000, balance=balance)
            for day, balance in enumerate(balances)
        ),
        hyperparameters={},
        engine={"jesse": "3.5.3"},
    )


class SeededEngine:
    """Answers by the seed of the pipeline, as late as the seed is low."""

    def __init__(self) -> None:
        self.runs: list[EngineRun] = []
        self.original = outcome(PROFITS)
        self.failing: frozenset[int] = frozenset()
        self.capacity = 2
        self.under_way = 0
        self.most_at_once = 0
        self.endless = False
        #: Runs wait for each other there.
        self.meeting: asyncio.Barrier | None = None

    def identity(self) -> str:
        return "one"

    async def run(self, run: EngineRun, progress: ProgressCallback) -> EngineOutcome:
        self.runs.append(run)
        progress(0.5, "simulating")
        pipeline = run.request.pipeline
        if pipeline is None:
            return self.original
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            for _ in range(20 - pipeline.seed % 20):
                await asyncio.sleep(0)
            if self.meeting is not None:
                await self.meeting.wait()
            if self.endless:
                await asyncio.Event().wait()
        finally:
            self.under_way -= 1
        if pipeline.seed in self.failing:
            raise ResearchError(ErrorCode.STRATEGY_RAISED, f"raised at {pipeline.seed}", hint="look")
        draws = np.random.default_rng(pipeline.seed).normal(0, 300, 8)
        return outcome(tuple(draws.tolist()), sharpe_ratio=None if pipeline.seed == 102 else 1.0)

    async def status(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        return


@dataclass
class Desk:
    service: MonteCarloService
    backtests: BacktestService
    engine: SeededEngine
    jobs: JobService
    runs: SqlRunStore
    ledger: SqlTrialLedger
    strategies: FolderStrategyStore
    candles: ParquetCandleStore

    async def run(self, original: EngineOutcome | None = None, **changes: Any) -> str:
        self.engine.original = original or self.engine.original
        arguments = BacktestArguments(
            exchange=EXCHANGE,
            start_date="2024-01-02",
            end_date="2024-01-03",
            strategy="Mine",
            symbol="BTC-USDT",
            timeframe="1h",
            warm_up_candles=24,
        )
        answer = await self.backtests.backtest(arguments.model_copy(update=changes), wait_seconds=30)
        assert answer.run is not None
        return answer.run.run_id

    async def ask(self, run_id: str, method: str, wait_seconds: float = 30, **more: Any) -> MonteCarloAnswer:
        arguments = MonteCarloArguments.model_validate({"run_id": run_id, "method": method, **more})
        return await self.service.analyse(arguments, wait_seconds=wait_seconds)

    async def result(self, run_id: str, method: str, **more: Any) -> MonteCarloResult:
        answer = await self.ask(run_id, method, **more)
        assert answer.state is JobState.DONE
        assert answer.result is not None
        # JSON, which knows no NaN; and what the job keeps is the same.
        text = json.dumps(answer.result.model_dump(mode="json"), allow_nan=False)
        assert (await self.jobs.get(answer.job_id)).result == json.loads(text)
        return answer.result

    async def refused(self, run_id: str, method: str, **more: Any) -> ResearchError:
        before = len(self.engine.runs)
        with pytest.raises(ResearchError) as caught:
            await self.ask(run_id, method, **more)
        assert caught.value.hint
        assert len(self.engine.runs) == before
        assert (await self.jobs.page(kind="monte_carlo"))[1] == 0
        return caught.value


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database.at(tmp_path / "research.sqlite")
    candles = ParquetCandleStore(tmp_path / "candles")
    candles.write(SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT"), synthetic_candles(START, 3 * 1440, 1), "t")
    strategies = FolderStrategyStore(tmp_path)
    strategies.write("Mine", CODE, overwrite=False)
    runs, ledger, engine = SqlRunStore(database), SqlTrialLedger(database), SeededEngine()
    jobs = JobService(SqlJobStore(database), "here", lambda _owner: False)
    await jobs.start()
    planner = BacktestPlanner(strategies, candles, load_catalog(), engine)
    experiments = ExperimentRunner(engine, runs, ledger, CandleQualityService(candles))
    service = MonteCarloService(runs, CampaignService(planner, experiments), jobs)
    backtests = BacktestService(planner, experiments, jobs)
    yield Desk(service, backtests, engine, jobs, runs, ledger, strategies, candles)
    await jobs.close()
    database.close()


@pytest.mark.parametrize("method", ["trades_shuffle", "returns_block", "candles"])
async def test_what_the_run_said_of_its_candles_is_a_finding(desk: Desk, method: str) -> None:
    key = SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT")
    rows = desk.candles.read(key)
    rows[2_000:, 1:5] *= 1.538
    desk.candles.write(key, rows, "jump")
    findings = (await desk.result(await desk.run(), method)).findings
    (said,) = (text for text in findings if "BTC-USDT" in text)
    assert said.startswith(f"BTC-USDT on {EXCHANGE}: 1 price outlier (+5")
    assert said.endswith("at 2024-01-02T09:20Z)")


@pytest.mark.parametrize("method", ["trades_shuffle", "trades_bootstrap"])
async def test_trades_are_resampled_as_the_analysis_says(desk: Desk, method: ResamplingMethod) -> None:
    found = await desk.result(
        await desk.run(), method, simulations=500, seed=9, ruin_threshold=0.97, quantiles=[0.1, 0.9]
    )
    paths = simulate(method, np.array(PROFITS), 10_000, 500, 9).paths
    drawdown = found.distributions["max_drawdown"]
    assert drawdown is not None
    assert drawdown.quantiles == {
        "0.1": pytest.approx(np.quantile(paths.max_drawdown, 0.1)),
        "0.9": pytest.approx(np.quantile(paths.max_drawdown, 0.9)),
    }
    ruin = found.probabilities["ruin"]
    assert ruin is not None
    assert ruin.value == float(np.mean(paths.lowest_balance <= 9_700))
    final = found.distributions["final_balance"]
    assert final is not None
    assert final.original == pytest.approx(10_450)
    assert (found.sample_size, found.simulations, found.ruin_balance) == (6, 500, 9_700)
    assert found.undefined == {}
    if method == "trades_shuffle":
        assert set(final.quantiles.values()) == {final.original}
        assert final.percentile_of_original == 50
        assert "does not change what they earn" in " ".join(found.findings)
        assert "the same in every order" in found.convention
    assert "drawdowns are those of the balance after each closed trade" in found.convention
    assert found.findings[0].startswith("the run's worst drawdown of closed trades of ")


@pytest.mark.parametrize("method", ["returns_block", "returns_stationary"])
async def test_returns_are_resampled_as_the_analysis_says(desk: Desk, method: ResamplingMethod) -> None:
    found = await desk.result(await desk.run(), method, simulations=300, seed=2, block_length=2)
    balances = 10_000 + np.concatenate(([0], np.cumsum(PROFITS)))
    paths = simulate(method, balances[1:] / balances[:-1] - 1, 10_000, 300, 2, block_length=2).paths
    assert found.findings[0].startswith("the run's worst drawdown of daily balances of ")
    total = found.distributions["total_return"]
    assert total is not None
    assert total.quantiles["0.5"] == pytest.approx(np.median(paths.final_balance) / 10_000 - 1)
    assert total.original == pytest.approx(0.045)
    assert found.block_length == 2
    chosen = await desk.result(await desk.run(), method, simulations=10)
    assert chosen.block_length is not None
    assert 1 <= chosen.block_length <= 2


@pytest.mark.parametrize(
    ("original", "method", "reason"),
    [
        (outcome(()), "trades_shuffle", "the run closed no trade"),
        (outcome(()), "returns_block", "the run has 1 daily balances"),
        (outcome((-10_000.0, 5.0)), "returns_stationary", "the balance reached zero"),
    ],
)
async def test_what_cannot_be_simulated_is_null_with_the_reason(
    desk: Desk, original: EngineOutcome, method: str, reason: str
) -> None:
    found = await desk.result(await desk.run(original), method)
    assert set(found.distributions.values()) == {None}
    assert set(found.probabilities.values()) == {None}
    assert set(found.undefined) == {"final_balance", "total_return", "max_drawdown", "ruin", "loss"}
    assert all(reason in text for text in found.undefined.values())
    assert reason in found.findings[0]
    assert found.simulations == 0


async def test_one_trade_has_one_history_and_few_are_said_to_be_few(desk: Desk) -> None:
    found = await desk.result(await desk.run(outcome((-500.0,))), "trades_shuffle")
    drawdown = found.distributions["max_drawdown"]
    assert drawdown is not None
    assert (drawdown.original, drawdown.percentile_of_original, drawdown.standard_deviation) == (0.05, 50, 0)
    assert "only 1 trades" in found.findings[-1]


async def test_profit_that_is_not_in_closed_trades_is_mentioned(desk: Desk) -> None:
    found = await desk.result(await desk.run(outcome(PROFITS, finishing_balance=11_000.0)), "trades_shuffle")
    assert "10,450.00, the run ended at 11,000.00" in found.findings[-1]


async def test_blocks_must_fit_the_run(desk: Desk) -> None:
    run_id = await desk.run()
    for length in (7, 0.5, 2.5):
        error = await desk.refused(run_id, "returns_block", block_length=length)
        assert (error.code, "6 daily returns" in error.message) == (ErrorCode.INVALID_ARGUMENT, True)
    assert (await desk.result(run_id, "returns_stationary", block_length=2.5)).block_length == 2.5


async def test_scenarios_are_stored_runs_with_seeds_of_their_own_and_no_trials(desk: Desk) -> None:
    run_id = await desk.run(benchmark=True)
    trials = desk.ledger.count()
    found = await desk.result(run_id, "candles", simulations=5, seed=100)
    assert desk.ledger.count() == trials
    stored, total = desk.runs.page(kind="scenario", limit=50)
    assert total == 5
    assert sorted(run.request["pipeline"]["seed"] for run in stored) == [100, 101, 102, 103, 104]
    assert {run.request["pipeline"]["name"] for run in stored} == {"moving_block_bootstrap"}
    assert {run.request["pipeline"]["batch_size"] for run in stored} == {10_080}
    assert set(found.extremes.values()) <= {run.run_id for run in stored}
    finals = [10_000 + np.random.default_rng(seed).normal(0, 300, 8).sum() for seed in range(100, 105)]
    final = found.distributions["final_balance"]
    assert final is not None
    assert final.mean == pytest.approx(np.mean(finals))
    worst = desk.runs.get(found.extremes["worst"])
    assert worst.outcome.equity[-1].balance == pytest.approx(min(finals))
    assert (worst.benchmark, worst.kind) == (None, "scenario")
    assert found.undefined == {
        "jesse_sharpe_ratio": "Jesse has it for 4 of 5 scenarios; those are described",
        **{
            f"jesse_{name}": "Jesse has no such number for the run itself"
            for name in (
                "net_profit_percentage",
                "max_drawdown",
                "calmar_ratio",
                "annual_return",
                "win_rate",
            )
        },
    }


async def test_neither_workers_nor_what_is_stored_change_the_answer(desk: Desk) -> None:
    run_id = await desk.run()
    desk.engine.meeting = asyncio.Barrier(2)
    first = await desk.result(run_id, "candles", simulations=4)
    desk.engine.meeting = None
    ran = len(desk.engine.runs)
    assert desk.engine.most_at_once == 2
    again = await desk.result(run_id, "candles", simulations=4)
    assert (len(desk.engine.runs), again) == (ran, first)
    # More scenarios begin with the same ones, which are not run again.
    more = await desk.result(run_id, "candles", simulations=9)
    assert len(desk.engine.runs) == ran + 5
    desk.engine.capacity, desk.engine.most_at_once = 1, 0
    other = await desk.result(run_id, "candles", simulations=9, seed=50)
    assert desk.engine.most_at_once == 1
    assert other != more


@pytest.mark.parametrize("capacity", [1, 2, 5])
async def test_one_seed_has_one_answer_on_any_number_of_workers(desk: Desk, capacity: int) -> None:
    desk.engine.capacity = capacity
    found = await desk.result(await desk.run(), "candles", simulations=12, seed=5)
    finals = np.array([10_000 + np.random.default_rng(seed).normal(0, 300, 8).sum() for seed in range(5, 17)])
    final = found.distributions["final_balance"]
    assert final is not None
    assert final.quantiles["0.05"] == pytest.approx(np.quantile(finals, 0.05), rel=1e-12)


async def test_positions_that_grew_with_the_balance_are_said(desk: Desk) -> None:
    same = outcome(PROFITS * 3)
    sizes = np.linspace(1, 10, len(same.trades))
    grown = same.model_copy(
        update={
            "trades": tuple(
                one.model_copy(update={"qty": float(size)})
                for one, size in zip(same.trades, sizes, strict=True)
            )
        }
    )
    said = "worth 232 in the first third of the trades and 868 in the last"
    found = await desk.result(await desk.run(grown), "trades_shuffle", simulations=10)
    assert any(said in finding for finding in found.findings)
    for fee, original in ((0.001, same), (0.002, outcome(PROFITS))):
        found = await desk.result(await desk.run(original, fee=fee), "trades_bootstrap", simulations=10)
        assert not any("first third" in finding for finding in found.findings)


async def test_orders_that_lose_everything_on_the_way_are_counted(desk: Desk) -> None:
    profits = (9_000.0, -9_500.0, -9_400.0, 12_000.0)
    found = await desk.result(await desk.run(outcome(profits)), "trades_shuffle", simulations=400, seed=1)
    (said,) = [finding for finding in found.findings if "orders that lost everything" in finding]
    wiped = int(said.split("save for ")[1].split(" of 400")[0])
    assert abs(wiped / 400 - _share_wiped(profits)) < 0.08


def _share_wiped(profits: tuple[float, ...]) -> float:
    orders = list(itertools.permutations(profits))
    return sum(min(itertools.accumulate(order, initial=10_000.0)) <= 0 for order in orders) / len(orders)


async def test_failed_scenarios_are_named_and_left_out(desk: Desk) -> None:
    desk.engine.failing = frozenset({1, 3})
    found = await desk.result(await desk.run(), "candles", simulations=5)
    assert found.simulations == found.sample_size == 3
    assert found.failed == (
        {"scenario": 2, "code": "strategy_raised", "message": "raised at 1"},
        {"scenario": 4, "code": "strategy_raised", "message": "raised at 3"},
    )
    assert "2 of 5 scenarios failed and are in no distribution" in found.findings
    assert any("not a random part" in said for said in found.findings)


async def test_when_every_scenario_fails_the_first_error_is_the_answer(desk: Desk) -> None:
    desk.engine.failing = frozenset(range(3))
    run_id = await desk.run()
    with pytest.raises(ResearchError, match="raised at 0") as caught:
        await desk.ask(run_id, "candles", simulations=3)
    assert caught.value.details["job_id"]


async def test_a_run_whose_code_or_candles_changed_is_not_repeated(desk: Desk) -> None:
    run_id = await desk.run()
    desk.strategies.write("Mine", CODE + "\n# changed\n", overwrite=True)
    error = await desk.refused(run_id, "candles")
    assert "code of its strategy has changed" in error.message
    assert "backtest" in str(error.hint)
    desk.strategies.write("Mine", CODE, overwrite=True)
    rows = synthetic_candles(START, 3 * 1440, 2)
    desk.candles.write(SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT"), rows, "t")
    assert "its candles have changed" in (await desk.refused(run_id, "candles")).message


async def test_a_scenario_is_not_altered_again(desk: Desk) -> None:
    found = await desk.result(await desk.run(), "candles", simulations=2)
    with pytest.raises(ResearchError, match="on altered candles itself"):
        await desk.ask(found.extremes["best"], "candles")
    # Its trades can be shuffled like any others.
    assert (await desk.result(found.extremes["best"], "trades_shuffle")).sample_size == 8


@pytest.mark.parametrize(
    ("pipeline", "parameters", "says"),
    [
        (None, {"close_sigma": 1}, "moving_block_bootstrap takes batch_size"),
        (None, {"batch_size": 90}, "multiple of the shortest timeframe of the run, 60 minutes"),
        (None, {"batch_size": 0}, "batch_size is 0"),
        (None, {"batch_size": 60.5}, "60.5"),
        ("gaussian_noise", None, "lacks close_sigma, high_sigma, low_sigma"),
        ("gaussian_noise", {"close_sigma": -1, "high_sigma": 0, "low_sigma": 0}, "close_sigma is negative"),
        ("gaussian_resampler", {"scale": 2}, "batch_size, mu, sigma"),
    ],
)
async def test_parameters_a_pipeline_does_not_take_are_refused(
    desk: Desk, pipeline: str | None, parameters: dict[str, float] | None, says: str
) -> None:
    error = await desk.refused(await desk.run(), "candles", pipeline=pipeline, pipeline_parameters=parameters)
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert says in f"{error.message} {error.hint}"


async def test_an_analysis_that_goes_on_is_joined_and_its_scenarios_run_once(desk: Desk) -> None:
    run_id = await desk.run()
    before = len(desk.engine.runs)
    asked = [desk.ask(run_id, "candles", simulations=6) for _ in range(3)]
    answers = await asyncio.gather(*asked)
    assert len({answer.job_id for answer in answers}) == 1
    assert len({answer.model_dump_json() for answer in answers}) == 1
    assert len(desk.engine.runs) - before == 6


async def test_cancelling_ends_scenarios_and_their_job(desk: Desk) -> None:
    run_id = await desk.run()
    desk.engine.endless = True
    answer = await desk.ask(run_id, "candles", wait_seconds=0, simulations=6)
    while desk.engine.under_way < 2:
        await asyncio.sleep(0)
    assert answer.result is None
    job = await desk.jobs.cancel(answer.job_id)
    assert (job.state, desk.engine.under_way) == (JobState.CANCELLED, 0)


async def test_cancelling_ends_a_simulation_in_its_thread(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    begun, ended = asyncio.Event(), asyncio.Event()

    def slow(*_args: Any, progress: Any, **_options: Any) -> None:
        loop.call_soon_threadsafe(begun.set)
        try:
            while True:
                progress(0.1)
        finally:
            loop.call_soon_threadsafe(ended.set)

    run_id = await desk.run()
    monkeypatch.setattr(module, "simulate", slow)
    answer = await desk.ask(run_id, "trades_shuffle", wait_seconds=0)
    await begun.wait()
    assert (await desk.jobs.cancel(answer.job_id)).state is JobState.CANCELLED
    async with asyncio.timeout(30):
        await ended.wait()


@pytest.mark.parametrize(
    ("method", "kind"), [("trades_bootstrap", "6 closed trades"), ("returns_block", "6 daily returns")]
)
async def test_more_draws_than_an_analysis_may_have_are_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, method: str, kind: str
) -> None:
    monkeypatch.setattr(request_module, "MAX_DRAWS", 100)
    run_id = await desk.run()
    error = await desk.refused(run_id, method, simulations=17)
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert error.message == f"simulations is 17, each of {kind}: more than 100 draws"
    assert error.hint == "give simulations=16 at most"
    assert (await desk.result(run_id, method, simulations=16)).simulations == 16


def test_a_thousand_million_draws_are_the_most() -> None:
    arguments = MonteCarloArguments(run_id="r", method="trades_shuffle", simulations=10_000)
    request_module.check_draws(arguments, 100_000)
    with pytest.raises(ResearchError, match="100,001 closed trades: more than 1,000,000,000") as caught:
        request_module.check_draws(arguments, 100_001)
    assert caught.value.hint == "give simulations=9999 at most"
    with pytest.raises(ResearchError) as caught:
        request_module.check_draws(arguments, 10**9 + 1)
    assert caught.value.hint == "analyse a shorter run"


async def test_an_analysis_tells_its_progress_a_hundred_times_at_most(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float | None] = []

    def chunks(*arguments: Any, progress: Any, **options: Any) -> Simulations:
        for number in range(1, 5001):
            progress(number / 5000)
        return simulate(*arguments, **options)

    run_id = await desk.run()
    monkeypatch.setattr(module, "simulate", chunks)
    monkeypatch.setattr(JobReporter, "progress", lambda _self, fraction, _message: told.append(fraction))
    await desk.result(run_id, "trades_shuffle", simulations=10)
    assert told == pytest.approx([step / 100 for step in range(1, 101)], abs=0.001)


async def test_simulations_leave_threads_to_other_calls(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = min(os.cpu_count() or 1, module._MOST_AT_ONCE)
    release, under_way = threading.Event(), threading.Semaphore(cores)
    begun: list[bool] = []

    def held(*arguments: Any, progress: Any, **options: Any) -> Simulations:
        begun.append(under_way.acquire(blocking=False))
        release.wait()
        under_way.release()
        return simulate(*arguments, progress=progress, **options)

    run_id = await desk.run()
    monkeypatch.setattr(module, "simulate", held)
    try:
        async with asyncio.timeout(30):
            answers = [await desk.ask(run_id, "trades_shuffle", wait_seconds=0, seed=n) for n in range(40)]
            assert (await desk.jobs.page(kind="monte_carlo"))[1] == 40
            waiting = await desk.jobs.cancel(answers[-1].job_id)
            assert (waiting.state, waiting.started_at) == (JobState.CANCELLED, None)
    finally:
        release.set()
    for answer in answers[:-1]:
        assert (await desk.jobs.wait(answer.job_id, 60)).state is JobState.DONE
    assert begun == [True] * 39
