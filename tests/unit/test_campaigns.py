"""Searches and batches over real stores and an engine that answers by formula, in any order."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.search.optuna_search import OptunaSearchMethods
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.adapters.storage.ledger import SqlTrialLedger
from jesse_mcp.adapters.storage.runs import SqlRunStore
from jesse_mcp.adapters.strategies.catalog import load_catalog
from jesse_mcp.adapters.strategies.folder_store import FolderStrategyStore
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.backtests import EngineOutcome, EngineRun
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.ports.engine import ProgressCallback
from jesse_mcp.services.backtest_plan import BacktestPlanner
from jesse_mcp.services.backtest_request import BacktestArguments
from jesse_mcp.services.batches import BatchService
from jesse_mcp.services.campaign import CampaignService
from jesse_mcp.services.candle_quality import CandleQualityService
from jesse_mcp.services.experiments import ExperimentRunner
from jesse_mcp.services.jobs import JobService
from jesse_mcp.services.optimization import OptimizationService
from jesse_mcp.services.optimization_answer import OptimizationResult
from jesse_mcp.services.optimization_request import OptimizationArguments
from jesse_mcp.services.ordered_work import Piece, in_order

START = 1_704_067_200_000
EXCHANGE = "Binance Spot"
CODE = """
from jesse.strategies import Strategy


class Mine(Strategy):
    def hyperparameters(self):
        return [
            {"name": "x", "type": int, "min": 0, "max": 40, "default": 1},
            {"name": "y", "type": float, "min": 0.0, "max": 1.0, "default": 0.5},
        ]

    def should_long(self):
        return self.hp["x"] > self.hp["y"]

    def go_long(self):
        pass
"""
BASE: dict[str, Any] = {
    "exchange": EXCHANGE,
    "start_date": "2024-01-02",
    "end_date": "2024-01-22",
    "strategy": "Mine",
    "symbol": "BTC-USDT",
    "timeframe": "1h",
    "warm_up_candles": 24,
}
Formula = Callable[[EngineRun], dict[str, float | int | str | None]]


def hill(run: EngineRun) -> dict[str, float | int | str | None]:
    """Best at x = 17, y = 0.4; fewer trades to the right; steeper on longer periods."""
    values = run.request.hyperparameters
    x, y = float(values.get("x", 1)), float(values.get("y", 0.5))
    days = (run.request.end_ms - run.request.start_ms) / 86_400_000
    sharpe = days / 14 * (3 - abs(x - 17) / 10 - abs(y - 0.4))
    return {"total": int(60 - x), "sharpe_ratio": sharpe, "net_profit": sharpe * 2, "fee": 60 - x}


class FormulaEngine:
    """Answers by a formula, as soon or as late as chance has it."""

    def __init__(self, capacity: int, formula: Formula, order: int) -> None:
        self.capacity = capacity
        self.formula = formula
        self.runs: list[EngineRun] = []
        self.busy = self.most_busy = 0
        self.failures: list[ResearchError] = []
        self.held: asyncio.Event | None = None
        self._random = random.Random(order)  # noqa: S311

    def identity(self) -> str:
        return "formula"

    async def run(self, run: EngineRun, progress: ProgressCallback) -> EngineOutcome:
        self.runs.append(run)
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        try:
            progress(0.5, "simulating")
            await asyncio.sleep(self._random.random() / 50)
            if self.held is not None:
                await self.held.wait()
            if self.failures:
                raise self.failures.pop()
            metrics = self.formula(run)
        finally:
            self.busy -= 1
        return EngineOutcome(
            metrics=metrics,
            undefined={},
            trades=(),
            equity=(),
            hyperparameters=run.request.hyperparameters,
            engine={"jesse": "3.5.3"},
        )

    async def status(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        return


@dataclass
class Desk:
    engine: FormulaEngine
    optimizations: OptimizationService
    batches: BatchService
    jobs: JobService
    ledger: SqlTrialLedger
    candles: ParquetCandleStore
    strategies: FolderStrategyStore

    async def optimize(self, **changes: Any) -> OptimizationResult:
        arguments = {"trials": 30, "test_start": "2024-01-16", **changes}
        backtest = BacktestArguments(**{**BASE, **arguments.pop("backtest", {})})
        answer = await self.optimizations.optimize(
            OptimizationArguments(backtest=backtest, **arguments), wait_seconds=60
        )
        assert answer.result is not None
        return answer.result


@asynccontextmanager
async def opened(
    folder: Path, capacity: int = 2, formula: Formula = hill, order: int = 1
) -> AsyncIterator[Desk]:
    database = Database.at(folder / "research.sqlite")
    candles = ParquetCandleStore(folder / "candles")
    candles.write(
        SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT"), synthetic_candles(START, 22 * 1440, 1), "t"
    )
    strategies = FolderStrategyStore(folder)
    strategies.write("Mine", CODE, overwrite=True)
    runs, ledger = SqlRunStore(database), SqlTrialLedger(database)
    engine = FormulaEngine(capacity, formula, order)
    jobs = JobService(SqlJobStore(database), "here", lambda _owner: False)
    await jobs.start()
    planner = BacktestPlanner(strategies, candles, load_catalog(), engine)
    campaigns = CampaignService(
        planner, ExperimentRunner(engine, runs, ledger, CandleQualityService(candles))
    )
    yield Desk(
        engine,
        OptimizationService(campaigns, OptunaSearchMethods(), jobs),
        BatchService(campaigns, jobs),
        jobs,
        ledger,
        candles,
        strategies,
    )
    await jobs.close()
    database.close()


def essence(result: OptimizationResult) -> str:
    kept = result.model_dump(mode="json")
    for line in (*kept["best"], *kept["top"]):
        for name in ("run_id", "train_run_id", "test_run_id"):
            line.pop(name, None)
    return json.dumps({**kept, "counts": {k: v for k, v in kept["counts"].items() if "runs" not in k}})


def error(code: ErrorCode) -> ResearchError:
    return ResearchError(code, f"it was {code.value}", hint="by hand")


@pytest.mark.parametrize(
    "changes", [{}, {"sampler": "nsga2", "metrics": ("sharpe_ratio", "fee")}, {"pruning": True}]
)
async def test_neither_workers_nor_the_order_of_completion_matter(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    found = []
    for capacity, order in ((1, 1), (2, 2), (5, 3), (16, 4)):
        async with opened(tmp_path / str(order), capacity, order=order) as desk:
            found.append(essence(await desk.optimize(**changes)))
            assert min(capacity, 2) <= desk.engine.most_busy <= min(capacity, 8)
    assert len(set(found)) == 1


async def test_what_is_in_flight_is_part_of_the_request(tmp_path: Path) -> None:
    async with opened(tmp_path, capacity=16) as desk:
        one = await desk.optimize(in_flight=1)
        assert desk.engine.most_busy <= 5, "the finalists"
        assert essence(one) != essence(await desk.optimize(in_flight=12))


async def test_the_test_period_is_run_for_the_best_alone_and_after_the_search(tmp_path: Path) -> None:
    async with opened(tmp_path) as desk:
        result = await desk.optimize()
        tests = [run for run in desk.engine.runs if run.request.start_ms > START + 5 * 86_400_000]
        assert desk.engine.runs[-5:] == tests
        split = tests[0].request.start_ms
        assert all(run.request.end_ms == split for run in desk.engine.runs[:-5])
        assert [run.request.hyperparameters for run in sorted(tests, key=lambda run: -_x(run))] == sorted(
            (line.parameters for line in result.best), key=lambda point: -float(point["x"])
        )
        assert "in training and" in result.verdict


def _x(run: EngineRun) -> float:
    return float(run.request.hyperparameters["x"])


async def test_trials_with_too_few_trades_never_win(tmp_path: Path) -> None:
    async with opened(tmp_path) as desk:
        free = await desk.optimize(trials=60, min_trades=0)
        bound = await desk.optimize(trials=60, min_trades=50)
        assert float(free.best[0].parameters["x"]) > 10
        assert all(line.parameters["x"] <= 10 for line in bound.top)
        assert bound.counts["infeasible"] > 0
        assert bound.counts["complete"] + bound.counts["infeasible"] == 60


async def test_no_feasible_trial_is_said_and_nothing_is_made_up(tmp_path: Path) -> None:
    async with opened(tmp_path) as desk:
        result = await desk.optimize(min_trades=1000, trials=5)
        assert (result.best, result.top, result.convergence, result.importance) == ((), (), (), None)
        most = max(int(60 - _x(run)) for run in desk.engine.runs)
        assert result.verdict.startswith(
            "none of 5 trials was feasible: 5 had fewer trades in training than min_trades=1000, the most "
            f"was {most}: "
        )
        assert not any("best of" in warning for warning in result.warnings)
        assert result.undefined["importance of sharpe_ratio"].startswith("0 trials")


async def test_every_reason_for_no_feasible_trial_is_named(tmp_path: Path) -> None:
    def formula(run: EngineRun) -> dict[str, float | int | str | None]:
        return {**hill(run), "sharpe_ratio": None}

    async with opened(tmp_path, formula=formula) as desk:
        desk.engine.failures = [error(ErrorCode.STRATEGY_RAISED)]
        result = await desk.optimize(trials=3)
        assert result.verdict.startswith("none of 3 trials was feasible: of 2 a metric could not be used")
        assert "sharpe_ratio is not defined" in result.verdict
        assert result.verdict.endswith("1 failed: see errors")
        assert len(result.errors) == 1


async def test_an_undefined_metric_is_infeasible(tmp_path: Path) -> None:
    def formula(run: EngineRun) -> dict[str, float | int | str | None]:
        return {**hill(run), **({"sharpe_ratio": None} if _x(run) > 15 else {})}

    async with opened(tmp_path, formula=formula) as desk:
        result = await desk.optimize()
        assert result.counts["infeasible"] > 0
        assert all(line.parameters["x"] <= 15 for line in result.top)


async def test_a_search_stops_that_no_longer_improves_and_keeps_what_it_asked_for(tmp_path: Path) -> None:
    async with opened(tmp_path) as desk:
        result = await desk.optimize(trials=200, early_stop=15, in_flight=4)
        assert result.stopped == "no improvement in 15 trials"
        assert result.convergence is not None
        # The three that were under way when it stopped are told too.
        assert result.counts["trials"] == result.convergence[-1][0] + 15 + 1 + 3
        assert result.counts["trials"] == len(desk.engine.runs) - 5


async def test_hopeless_trials_are_given_up_on_slices_of_the_training_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as desk:
        result = await desk.optimize(trials=60, pruning=True)
        days = [(run.request.end_ms - run.request.start_ms) // 86_400_000 for run in desk.engine.runs[:-5]]
        assert set(days) == {1, 4, 14}
        assert result.counts["pruned"] >= 5
        assert days.count(1) == 60
        assert days.count(14) == 60 - result.counts["pruned"]
        assert result.counts["runs_new"] == len(days)
        whole = await desk.optimize(trials=60)
        best = [float(found.best[0].train["sharpe_ratio"]) for found in (result, whole)]
        assert best[0] > 0.9 * best[1]


def assert_only_the_rest_ran(ran: int, done: int) -> None:
    """Of 35 runs; up to two were being stored when ``done`` were counted, and may count by now."""
    assert 0 <= 35 - done - ran <= 2


async def test_a_resumed_job_runs_only_what_is_left(tmp_path: Path) -> None:
    async with opened(tmp_path / "whole") as desk:
        whole = await desk.optimize()
    async with opened(tmp_path / "cut") as desk:
        desk.engine.failures = []
        backtest = BacktestArguments(**BASE)
        asked = OptimizationArguments(backtest=backtest, trials=30, test_start="2024-01-16")
        submitted = await desk.optimizations.optimize(asked, wait_seconds=0)
        while len(desk.engine.runs) < 12:
            await asyncio.sleep(0)
        await desk.jobs.cancel(submitted.job_id)
        done = desk.ledger.count("Mine")
        before = len(desk.engine.runs)
        answer = await desk.optimizations.resume(submitted.job_id, wait_seconds=60)
        assert answer.result is not None
        assert essence(answer.result) == essence(whole)
        assert_only_the_rest_ran(len(desk.engine.runs) - before, done)
        again = await desk.optimizations.resume(answer.job_id, wait_seconds=0)
        assert again == answer


async def interrupted(desk: Desk, after: int, **asked: Any) -> str:
    """A search that was cancelled when so many of its runs had begun; its job."""
    arguments = OptimizationArguments(
        backtest=BacktestArguments(**BASE), **{"trials": 30, "test_start": "2024-01-16", **asked}
    )
    job = (await desk.optimizations.optimize(arguments, wait_seconds=0)).job_id
    while len(desk.engine.runs) < after:
        await asyncio.sleep(0)
    assert (await desk.jobs.cancel(job)).state is JobState.CANCELLED
    return job


async def test_who_resumes_what_goes_on_already_joins_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "whole") as desk:
        whole = await desk.optimize()
    async with opened(tmp_path / "cut") as desk:
        job = await interrupted(desk, 12)
        done, before = desk.ledger.count("Mine"), len(desk.engine.runs)
        desk.engine.held = asyncio.Event()
        first, second = await asyncio.gather(
            *(desk.optimizations.resume(job, wait_seconds=0) for _ in range(2))
        )
        assert first.job_id == second.job_id != job
        while desk.engine.busy < 2:
            await asyncio.sleep(0)
        third = await desk.optimizations.resume(job, wait_seconds=0)
        assert (third.job_id, third.result) == (first.job_id, None)
        desk.engine.held.set()
        answers = await asyncio.gather(
            *(desk.optimizations.resume(name, wait_seconds=60) for name in (job, first.job_id))
        )
        assert {answer.job_id for answer in answers} == {first.job_id}
        assert_only_the_rest_ran(len(desk.engine.runs) - before, done)
        assert answers[0].result is not None
        assert essence(answers[0].result) == essence(whole)


async def test_a_batch_is_resumed_once_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as desk:
        desk.engine.held = asyncio.Event()
        cells = tuple({"hyperparameters": {"x": x}} for x in range(8))
        job = (await desk.batches.run(BASE, cells, wait_seconds=0)).job_id
        while desk.engine.busy < 2:
            await asyncio.sleep(0)
        await desk.jobs.cancel(job)
        before = len(desk.engine.runs)
        desk.engine.held.set()
        answers = await asyncio.gather(*(desk.batches.resume(job, wait_seconds=60) for _ in range(3)))
        assert len({answer.job_id for answer in answers}) == 1
        assert len(desk.engine.runs) - before == 8


def steep(code: ErrorCode) -> Formula:
    """A strategy that cannot be run far to the right."""

    def formula(run: EngineRun) -> dict[str, float | int | str | None]:
        if _x(run) > 12:
            raise error(code)
        return hill(run)

    return formula


async def test_a_trial_that_raised_is_finished_and_not_run_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "whole", formula=steep(ErrorCode.STRATEGY_RAISED)) as desk:
        whole = await desk.optimize()
    async with opened(tmp_path / "cut", formula=steep(ErrorCode.STRATEGY_RAISED)) as desk:
        job = await interrupted(desk, 14)
        ended = desk.ledger.count("Mine")
        failed = sum(_x(run) > 12 for run in desk.engine.runs)
        before = len(desk.engine.runs)
        assert failed > 2
        # Twice interrupted: what the first job found out still stands.
        second = (await desk.optimizations.resume(job, wait_seconds=0)).job_id
        await desk.jobs.cancel(second)
        answer = await desk.optimizations.resume(second, wait_seconds=60)
        assert answer.result is not None
        assert essence(answer.result) == essence(whole)
        counts = answer.result.counts
        assert counts["failed"] > failed - 2
        assert counts["runs_cached"] >= ended
        assert len(desk.engine.runs) - before <= 35 - ended + 2, "two may have been under way"
        # The reason may have been outside of what identifies the experiment: a new job looks again.
        before = len(desk.engine.runs)
        anew = await desk.optimize()
        assert anew.counts["failed"] == counts["failed"] == len(desk.engine.runs) - before
        assert essence(anew) == essence(whole)


@pytest.mark.parametrize("code", [ErrorCode.RUN_TIMEOUT, ErrorCode.MEMORY_LIMIT, ErrorCode.WORKER_CRASHED])
async def test_a_trial_that_failed_of_the_machine_is_tried_again(tmp_path: Path, code: ErrorCode) -> None:
    async with opened(tmp_path / "whole") as desk:
        whole = await desk.optimize()
    async with opened(tmp_path / "cut", formula=steep(code)) as desk:
        job = await interrupted(desk, 14)
        desk.engine.formula = hill
        answer = await desk.optimizations.resume(job, wait_seconds=60)
        assert answer.result is not None
        assert answer.result.counts["failed"] == 0
        assert essence(answer.result) == essence(whole)


async def test_equal_cells_that_raise_are_run_once_and_a_run_by_itself_replaces_them(tmp_path: Path) -> None:
    async with opened(tmp_path, formula=steep(ErrorCode.STRATEGY_RAISED)) as desk:
        cells = (
            {"hyperparameters": {"x": 20}},
            {"hyperparameters": {"x": 1}},
            {"hyperparameters": {"x": 20}},
        )
        answer = await desk.batches.run(BASE, cells, wait_seconds=60)
        assert answer.result is not None
        assert (answer.result.failed, answer.result.cached, len(desk.engine.runs)) == (2, 1, 2)
        desk.engine.formula = hill
        again = await desk.batches.run(BASE, cells, wait_seconds=60)
        assert again.result is not None
        assert (again.result.failed, again.result.cached, len(desk.engine.runs)) == (0, 2, 3)


async def test_a_worker_that_dies_is_replaced_once(tmp_path: Path) -> None:
    async with opened(tmp_path / "undisturbed", capacity=1) as desk:
        whole = await desk.optimize()
    async with opened(tmp_path / "disturbed", capacity=1) as desk:
        desk.engine.failures = [error(ErrorCode.WORKER_CRASHED)]
        assert essence(await desk.optimize()) == essence(whole)
        assert len(desk.engine.runs) == 36
    async with opened(tmp_path / "twice", capacity=1) as desk:
        desk.engine.failures = [error(ErrorCode.WORKER_CRASHED)] * 2
        result = await desk.optimize()
        assert result.counts["failed"] == 1
        assert result.errors[0].code == "worker_crashed"
        assert len(desk.engine.runs) == 36


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.ENGINE_FAILED,
        ErrorCode.STORAGE_FAILED,
        ErrorCode.RAY_UNREACHABLE,
        ErrorCode.JESSE_UNREACHABLE,
        ErrorCode.RUN_REJECTED,
    ],
)
async def test_what_is_wrong_with_every_trial_ends_the_search(tmp_path: Path, code: ErrorCode) -> None:
    async with opened(tmp_path) as desk:
        desk.engine.failures = [error(code)] * 50
        with pytest.raises(ResearchError) as caught:
            await desk.optimize()
        assert caught.value.code is code
        assert len(desk.engine.runs) <= 10
        assert desk.engine.busy == 0


async def test_a_trial_that_raises_is_one_of_many(tmp_path: Path) -> None:
    async with opened(tmp_path) as desk:
        desk.engine.failures = [error(ErrorCode.STRATEGY_RAISED)] * 3
        result = await desk.optimize()
        assert result.counts["failed"] == 3
        assert {line.code for line in result.errors} == {"strategy_raised"}
        assert result.counts["complete"] == 27


async def test_cancelling_stops_every_run(tmp_path: Path) -> None:
    async with opened(tmp_path, capacity=3) as desk:
        desk.engine.held = asyncio.Event()
        arguments = OptimizationArguments(backtest=BacktestArguments(**BASE))
        job = (await desk.optimizations.optimize(arguments, wait_seconds=0)).job_id
        while desk.engine.busy < 3:
            await asyncio.sleep(0)
        assert (await desk.jobs.cancel(job)).state is JobState.CANCELLED
        assert desk.engine.busy == 0


async def test_the_code_of_a_campaign_stays_what_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path, capacity=1) as desk:
        desk.engine.held = asyncio.Event()
        arguments = OptimizationArguments(backtest=BacktestArguments(**BASE), trials=10)
        job = (await desk.optimizations.optimize(arguments, wait_seconds=0)).job_id
        while not desk.engine.runs:
            await asyncio.sleep(0)
        desk.strategies.write("Mine", CODE + "\n# changed\n", overwrite=True)
        desk.engine.held.set()
        await desk.jobs.wait(job, 60)
        assert len({json.dumps(run.source) for run in desk.engine.runs}) == 1


async def test_equal_cells_are_run_once(tmp_path: Path) -> None:
    async with opened(tmp_path, capacity=4) as desk:
        cells = ({"hyperparameters": {"x": 1}}, {"hyperparameters": {"x": 2}}, {"hyperparameters": {"x": 1}})
        answer = await desk.batches.run(BASE, cells, wait_seconds=60)
        assert answer.result is not None
        assert len(desk.engine.runs) == 2
        assert answer.result.rows[0][1:-1] == answer.result.rows[2][1:-1]
        assert (answer.result.cached, answer.result.failed) == (1, 0)


async def test_results_come_in_order_and_pieces_are_taken_as_results_are_consumed() -> None:
    taken: list[int] = []
    consumed: list[int] = []
    gates = [asyncio.Event() for _ in range(10)]

    async def pieces() -> AsyncGenerator[Piece[int], None]:
        for number in range(10):
            assert len(consumed) == max(0, number - 2), "exactly when the result three before was consumed"
            taken.append(number)
            yield _piece(number, gates[number])

    for number in (1, 0, 2, 4, 3, 9, 8, 7, 6, 5):
        gates[number].set()
    async with aclosing(pieces()) as given, aclosing(in_order(given, 3)) as results:
        async for result in results:
            consumed.append(result)  # noqa: PERF401 - one by one is what is tested
    assert consumed == taken == list(range(10))


def _piece(number: int, gate: asyncio.Event) -> Piece[int]:
    async def work() -> int:
        await gate.wait()
        return number

    return work


async def test_candles_that_change_under_a_search_end_it(tmp_path: Path) -> None:
    key = SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT")
    others = synthetic_candles(START, 22 * 1440, 2)

    def changing(run: EngineRun) -> dict[str, float | int | str | None]:
        if len(desk.engine.runs) >= 7 and not np.array_equal(desk.candles.read(key), others):
            desk.candles.write(key, others, "t")
        return hill(run)

    async with opened(tmp_path, formula=changing) as desk:
        with pytest.raises(ResearchError) as caught:
            await desk.optimize(trials=20)
        assert caught.value.code is ErrorCode.INVALID_ARGUMENT
        assert caught.value.message == "since this job began, the candles of the period changed"
        result = await desk.optimize(trials=20)
    assert result.counts["trials"] == 20


async def test_what_many_cells_say_of_their_candles_is_said_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as desk:
        key = SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT")
        rows = desk.candles.read(key)
        rows[2_000:, 1:5] *= 1.538
        desk.candles.write(key, rows, "jump")
        cells = tuple({"hyperparameters": {"x": x}} for x in range(1, 5))
        for cached in (0, 4):
            answer = await desk.batches.run(BASE, cells, wait_seconds=60)
            assert answer.result is not None
            assert answer.result.cached == cached
            (said,) = (text for text in answer.result.warnings if "outlier" in text)
            assert said.startswith("BTC-USDT on Binance Spot: 1 price outlier (+5")


async def test_what_trials_would_say_of_their_candles_is_said_once_of_the_whole_period(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as desk:
        assert not any("BTC-USDT on" in text for text in (await desk.optimize(trials=3)).warnings)
        key = SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT")
        rows = desk.candles.read(key)
        rows[2_000:, 1:5] *= 1.538  # in the training
        rows[25_000:, 1:5] *= 1.538  # in the test
        desk.candles.write(key, rows, "jumps")
        for cached in (False, True):
            result = await desk.optimize(trials=5)
            assert (result.counts["runs_cached"] > 0) is cached
            (said,) = (text for text in result.warnings if "BTC-USDT on" in text)
            assert said.startswith("BTC-USDT on Binance Spot: 2 price outliers (largest +5")
            assert "in the ledger" in result.warnings[-1]
