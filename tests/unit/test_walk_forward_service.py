"""The walk-forward use case over real stores, a real search, and an engine that answers by formula."""

import asyncio
import json
from collections.abc import AsyncIterator
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
from jesse_mcp.domain.backtests import EngineOutcome, EngineRun, EquityPoint
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.timeframes import DAY_MS, MINUTE_MS, iso_date
from jesse_mcp.ports.engine import ProgressCallback
from jesse_mcp.services.backtest_plan import BacktestPlanner
from jesse_mcp.services.backtest_request import BacktestArguments
from jesse_mcp.services.campaign import CampaignService
from jesse_mcp.services.candle_quality import CandleQualityService
from jesse_mcp.services.experiments import ExperimentRunner
from jesse_mcp.services.jobs import JobService
from jesse_mcp.services.walk_forward import WalkForwardService
from jesse_mcp.services.walk_forward_answer import WalkForwardAnswer, WalkForwardResult
from jesse_mcp.services.walk_forward_request import WalkForwardArguments, seed_of

START = 1_704_067_200_000  # 2024-01-01
DAYS = 20
EXCHANGE = "Binance Perpetual Futures"
CODE = """
from jesse.strategies import Strategy


class Mine(Strategy):
    def hyperparameters(self):
        return [{"name": "period", "type": int, "min": 1, "max": 9, "default": 5}]

    def should_long(self):
        return False

    def go_long(self):
        pass
"""
BEST = {"2024-01-03": 3, "2024-01-05": 7, "2024-01-07": 7}


class FormulaEngine:
    """The nearer the period is to the best of its days, the more it earns a day; 30 trades whatever it is."""

    def __init__(self) -> None:
        self.runs: list[EngineRun] = []
        self.capacity = 2
        self.trades = 30
        self.daily: dict[str, float] = {}
        self.failing: frozenset[str] = frozenset()
        self.without_equity: frozenset[str] = frozenset()
        self.hold = asyncio.Event()
        self.hold.set()
        self.held_after = 10**9

    def identity(self) -> str:
        return "one"

    async def run(self, run: EngineRun, progress: ProgressCallback) -> EngineOutcome:
        if len(self.runs) >= self.held_after:
            await self.hold.wait()
        self.runs.append(run)
        progress(0.5, "simulating")
        request = run.request
        start = iso_date(request.start_ms)
        if start in self.failing:
            raise ResearchError(ErrorCode.STRATEGY_RAISED, f"raised on {start}", hint="look")
        period = int(request.hyperparameters.get("period", 5))
        daily = self.daily.get(start, 0.01 - 0.001 * abs(period - BEST.get(start, 5)))
        days = (request.end_ms - request.start_ms) // DAY_MS
        balances = request.starting_balance * (1 + daily) ** np.arange(days + 1)
        return EngineOutcome(
            metrics={
                "total": self.trades,
                "sharpe_ratio": daily * 100,
                "net_profit_percentage": float(balances[-1] / balances[0] - 1) * 100,
            },
            undefined={},
            trades=(),
            equity=tuple(
                EquityPoint(timestamp=request.start_ms + day * DAY_MS, balance=float(balance))
                for day, balance in enumerate(balances)
                if start not in self.without_equity
            ),
            equity_missing_reason="the log was cut" if start in self.without_equity else None,
            hyperparameters={"period": period},
            engine={"jesse": "3.5.3"},
        )

    async def status(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        return


@dataclass
class Desk:
    service: WalkForwardService
    engine: FormulaEngine
    jobs: JobService
    runs: SqlRunStore
    candles: ParquetCandleStore

    async def ask(self, wait_seconds: float = 60, **changes: Any) -> WalkForwardAnswer:
        backtest = {
            "exchange": EXCHANGE,
            "start_date": "2024-01-03",
            "end_date": "2024-01-13",
            "strategy": "Mine",
            "symbol": "BTC-USDT",
            "timeframe": "1h",
            "warm_up_candles": 24,
            **changes.pop("backtest", {}),
        }
        asked = {"train_days": 4, "test_days": 2, "trials": 9, "sampler": "grid", **changes}
        arguments = WalkForwardArguments(backtest=BacktestArguments.model_validate(backtest), **asked)
        return await self.service.walk(arguments, wait_seconds=wait_seconds)

    async def result(self, **changes: Any) -> WalkForwardResult:
        answer = await self.ask(**changes)
        assert answer.state is JobState.DONE
        assert answer.result is not None
        text = json.dumps(answer.result.model_dump(mode="json"), allow_nan=False)
        assert (await self.jobs.get(answer.job_id)).result == json.loads(text)
        return answer.result


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database.at(tmp_path / "research.sqlite")
    candles = ParquetCandleStore(tmp_path / "candles")
    rows = synthetic_candles(START, DAYS * 1440, 1)
    candles.write(SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT"), rows, "t")
    strategies = FolderStrategyStore(tmp_path)
    strategies.write("Mine", CODE, overwrite=False)
    runs, ledger, engine = SqlRunStore(database), SqlTrialLedger(database), FormulaEngine()
    jobs = JobService(SqlJobStore(database), "here", lambda _owner: False)
    await jobs.start()
    planner = BacktestPlanner(strategies, candles, load_catalog(), engine)
    experiments = ExperimentRunner(engine, runs, ledger, CandleQualityService(candles))
    service = WalkForwardService(CampaignService(planner, experiments), OptunaSearchMethods(), runs, jobs)
    yield Desk(service, engine, jobs, runs, candles)
    await jobs.close()
    database.close()


async def test_each_window_chooses_the_best_of_its_training(desk: Desk) -> None:
    found = await desk.result()
    assert [(line.train, line.test) for line in found.windows] == [
        ("2024-01-03 to 2024-01-07", "2024-01-07 to 2024-01-09"),
        ("2024-01-05 to 2024-01-09", "2024-01-09 to 2024-01-11"),
        ("2024-01-07 to 2024-01-11", "2024-01-11 to 2024-01-13"),
    ]
    assert [line.parameters for line in found.windows] == [{"period": 3}, {"period": 7}, {"period": 7}]
    # The first test begins on 2024-01-07, whose best is 7; from 2024-01-09 on it is 5.
    daily = [0.01 - 0.004, 0.01 - 0.002, 0.01 - 0.002]
    growths = [(1 + rate) ** 2 for rate in daily]
    assert [line.test_return for line in found.windows] == pytest.approx([growth - 1 for growth in growths])
    whole = float(np.prod(growths))
    assert found.out_of_sample["final_balance"] == pytest.approx(10_000 * whole)
    assert found.out_of_sample["total_return"] == pytest.approx(whole - 1)
    assert (found.out_of_sample["max_drawdown"], found.out_of_sample["days"]) == (0, 6)
    assert [line.balance_after for line in found.windows] == pytest.approx(10_000 * np.cumprod(growths))
    assert found.in_sample_annual_return == pytest.approx(1.01**365 - 1)
    assert found.out_of_sample_annual_return == pytest.approx(whole ** (365 / 6) - 1)
    assert found.efficiency == pytest.approx((whole ** (365 / 6) - 1) / (1.01**365 - 1))
    assert (found.profitable_share, found.verdict) == (1, "weak")
    assert found.parameters["period"]["distinct"] == 2
    assert found.counts == {"windows": 3, "tested": 3, "test_trades": 90, "trials": 27, "ledger": 30}
    assert found.undefined == {}


async def test_no_run_reads_a_candle_of_a_later_day(desk: Desk) -> None:
    """Warm-up comes from the day before each window; nothing comes from the days after it."""
    await desk.result(purge_days=1)
    first = START // MINUTE_MS
    for run in desk.engine.runs:
        (part,) = run.candles
        assert part.end_row == run.request.end_ms // MINUTE_MS - first
        assert part.trading_row == run.request.start_ms // MINUTE_MS - first
        assert part.trading_row - part.start_row == 24 * 60
    trained = {iso_date(run.request.end_ms) for run in desk.engine.runs if run.request.hyperparameters}
    assert {"2024-01-07", "2024-01-09"} <= trained


async def test_anchored_windows_grow(desk: Desk) -> None:
    found = await desk.result(anchored=True)
    assert [line.train for line in found.windows] == [
        "2024-01-03 to 2024-01-07",
        "2024-01-03 to 2024-01-09",
        "2024-01-03 to 2024-01-11",
    ]
    assert {line.parameters["period"] for line in found.windows if line.parameters} == {3}
    assert found.parameters["period"]["standard_deviation"] == 0


async def test_fixed_hyperparameters_are_tested_as_they_are(desk: Desk) -> None:
    found = await desk.result(trials=0, sampler="tpe", backtest={"hyperparameters": {"period": 4}})
    assert [line.parameters for line in found.windows] == [{"period": 4}] * 3
    assert {run.request.hyperparameters["period"] for run in desk.engine.runs} == {4}
    assert found.counts["trials"] == 0
    assert len(desk.engine.runs) == 6
    assert "fixed" in " ".join(found.findings)


async def test_a_partial_last_window_is_kept_or_dropped_and_said(desk: Desk) -> None:
    kept = await desk.result(train_days=5)
    assert [line.partial for line in kept.windows] == [False, False, True]
    assert kept.windows[-1].test == "2024-01-12 to 2024-01-13"
    assert "the last test has 1 of 2 days" in kept.warnings
    dropped = await desk.result(train_days=5, keep_partial=False)
    assert len(dropped.windows) == 2
    assert "the last 1 days are in no window" in dropped.warnings
    longer = await desk.result(step_days=3)
    assert "between two tests, 1 days are not tested" in longer.warnings


async def test_a_window_without_a_feasible_trial_has_no_test(desk: Desk) -> None:
    found = await desk.result(min_trades=31)
    assert (found.verdict, found.efficiency, found.profitable_share) == ("undecided", None, None)
    assert all(line.test_return is None for line in found.windows)
    assert "30 trades, 31 are needed" in str(found.windows[0].missing)
    assert found.out_of_sample["final_balance"] == 10_000
    assert set(found.undefined) == {"efficiency", "profitable_share"}
    assert found.equity == ((0, 10_000.0),)


async def test_a_test_that_fails_is_left_out_of_the_equity(desk: Desk) -> None:
    desk.engine.failing = frozenset({"2024-01-09"})
    found = await desk.result()
    assert "strategy_raised: raised on 2024-01-09" in str(found.windows[1].missing)
    assert (found.windows[1].test_return, found.windows[1].parameters) == (None, {"period": 7})
    assert found.windows[1].balance_after == found.windows[0].balance_after
    assert found.counts["tested"] == 2
    assert found.verdict == "undecided"
    assert "1 of 3 windows have no test" in " ".join(found.findings)


async def test_a_test_without_balances_is_no_test(desk: Desk) -> None:
    """Some engines cannot always tell them; a return is then unknown, not zero."""
    desk.engine.without_equity = frozenset({"2024-01-11"})
    found = await desk.result()
    assert found.windows[2].test_return is None
    assert "the log was cut" in str(found.windows[2].missing)
    assert found.counts["tested"] == 2


async def test_what_is_beyond_the_declared_range_is_said_with_both(desk: Desk) -> None:
    found = await desk.result(trials=3, space={"period": {"min": 8, "max": 12}})
    assert any("its strategy declares: period 8 to 12 (declared 1 to 9)" in said for said in found.warnings)
    fixed = await desk.result(trials=0, sampler="tpe", backtest={"hyperparameters": {"period": 40}})
    assert "Mine: period is 40, outside of what it declares, 1 to 9" in fixed.warnings


async def test_every_window_searches_with_a_seed_of_its_own(desk: Desk) -> None:
    """A draw of two of nine points from one seed would be the same two in every window."""
    found = await desk.result(trials=2, seed=5)
    assert [line.seed for line in found.windows] == [seed_of(5, number) for number in range(3)]
    assert len({line.seed for line in found.windows}) == 3
    drawn: dict[int, set[Any]] = {}
    for run in desk.engine.runs:
        if run.request.end_ms - run.request.start_ms == 4 * DAY_MS:
            drawn.setdefault(run.request.start_ms, set()).add(run.request.hyperparameters["period"])
    assert len({tuple(sorted(points)) for points in drawn.values()}) > 1
    assert (await desk.result(trials=2, seed=5)).windows == found.windows


def test_seeds_of_windows_are_those_of_numpy() -> None:
    children = np.random.SeedSequence(7).spawn(3)
    assert [seed_of(7, number) for number in range(3)] == [child.generate_state(1)[0] for child in children]
    assert len({seed_of(seed, number) for seed in range(20) for number in range(20)}) == 400


async def test_the_spread_of_choices_of_few_trials_is_called_meaningless(desk: Desk) -> None:
    few = await desk.result(trials=8)
    assert "8 trials per window are too few" in few.parameters["period"]["remark"]
    assert (await desk.result(trials=9)).parameters["period"]["remark"] is None
    fixed = await desk.result(trials=0, sampler="tpe", backtest={"hyperparameters": {"period": 4}})
    assert fixed.parameters["period"]["remark"] == "fixed, not chosen"


async def test_few_trades_decide_nothing_and_it_is_said(desk: Desk) -> None:
    desk.engine.trades = 9
    found = await desk.result(min_trades=0)
    assert (found.verdict, found.profitable_share, found.counts["test_trades"]) == ("undecided", 1, 27)
    assert found.findings[0].startswith("3 tests with 27 trades in all are too little for a verdict")
    assert "at least 3 tests and 30 trades" in found.findings[0]


async def test_losses_out_of_sample_fail_it_and_ruin_is_final(desk: Desk) -> None:
    desk.engine.daily = {"2024-01-09": -0.2, "2024-01-11": -0.1}
    assert (await desk.result()).verdict == "failed"
    desk.engine.daily = {"2024-01-09": -1.0}
    # Another balance is another experiment.
    ruined = await desk.result(backtest={"starting_balance": 5_000})
    assert ruined.out_of_sample["final_balance"] == 0
    assert ruined.out_of_sample["max_drawdown"] == 1
    assert ruined.windows[-1].balance_after == 0
    assert "lost everything" in ruined.undefined["efficiency"]


async def test_no_gain_in_sample_has_no_efficiency(desk: Desk) -> None:
    desk.engine.daily = dict.fromkeys(BEST, -0.01)
    found = await desk.result()
    assert found.efficiency is None
    assert "there is nothing to keep" in found.undefined["efficiency"]


@pytest.mark.parametrize("capacity", [1, 3])
async def test_workers_do_not_change_the_answer(desk: Desk, capacity: int) -> None:
    desk.engine.capacity = capacity
    found = await desk.result(sampler="tpe", seed=5)
    assert [line.parameters for line in found.windows] == [{"period": 3}, {"period": 7}, {"period": 7}]


async def test_what_was_finished_is_not_run_again(desk: Desk) -> None:
    undisturbed = await desk.result(sampler="tpe", seed=5)
    ran = len(desk.engine.runs)
    assert len({json.dumps(run.request.model_dump(mode="json")) for run in desk.engine.runs}) == ran
    again = await desk.result(sampler="tpe", seed=5)
    assert (len(desk.engine.runs), again) == (ran, undisturbed)


async def test_an_interrupted_walk_is_taken_up_by_its_id(desk: Desk) -> None:
    desk.engine.hold.clear()
    desk.engine.held_after = 12
    answer = await desk.ask(wait_seconds=0)
    while desk.runs.page(limit=1)[1] < 12:
        await asyncio.sleep(0.01)
    await desk.jobs.cancel(answer.job_id)
    desk.engine.hold.set()
    resumed = await desk.service.resume(answer.job_id, wait_seconds=60)
    assert resumed.result is not None
    assert resumed.job_id != answer.job_id
    prints = [json.dumps(run.request.model_dump(mode="json")) for run in desk.engine.runs]
    assert len(set(prints)) == len(prints)
    assert await desk.result() == resumed.result
    # One that is done is answered from its job.
    before = len(desk.engine.runs)
    assert (await desk.service.resume(resumed.job_id, wait_seconds=0)).result == resumed.result
    assert len(desk.engine.runs) == before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_days": 10}, "10 days of training, 0 of purge and at least 1 of test are 11 days; "),
        ({"train_days": 8, "keep_partial": False, "test_days": 3}, "are 11 days"),
        ({"train_days": -1}, "train_days is -1"),
        ({"test_days": 0}, "test_days 0"),
        ({"step_days": 1}, "days would be tested twice"),
        ({"train_days": 1, "test_days": 1, "trials": 9999}, "runs"),
        ({"trials": 0}, "sampler is given, and trials is 0"),
        ({"trials": 0, "sampler": "tpe", "min_trades": 3}, "min_trades"),
        ({"metric": "sharpe"}, "no metric"),
        ({"space": {"perid": {"min": 1, "max": 2}}}, "perid"),
        ({"backtest": {"end_date": "2025-01-13"}}, "candles"),
    ],
)
async def test_bad_input_is_refused_before_anything_runs(
    desk: Desk, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ResearchError) as caught:
        await desk.ask(**changes)
    assert says in caught.value.message
    assert caught.value.hint
    assert desk.engine.runs == []
    assert (await desk.jobs.page())[1] == 0


async def test_what_runs_would_say_of_their_candles_is_said_once_of_the_whole_walk(desk: Desk) -> None:
    key = SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT")
    rows = desk.candles.read(key)
    for row in (4_000, 16_000):
        rows[row:, 1:5] *= 1.538
    desk.candles.write(key, rows, "jumps")
    for trials in (9, 0):
        found = await desk.result(trials=trials, sampler="grid" if trials else "tpe")
        (said,) = (text for text in found.warnings if "BTC-USDT on" in text)
        assert said.startswith(f"BTC-USDT on {EXCHANGE}: 2 price outliers (largest +5")


async def test_a_walk_is_resumed_once_and_what_raised_in_it_is_not_run_again(desk: Desk) -> None:
    desk.engine.failing = frozenset({"2024-01-09"})
    desk.engine.hold.clear()
    desk.engine.held_after = 25
    job = (await desk.ask(wait_seconds=0)).job_id
    # The 25 that were answered, less the test that raised.
    while desk.runs.page(kind="trial", limit=1)[1] < 24:
        await asyncio.sleep(0)
    await desk.jobs.cancel(job)
    desk.engine.hold.set()
    answers = await asyncio.gather(*(desk.service.resume(job, wait_seconds=60) for _ in range(2)))
    assert len({answer.job_id for answer in answers}) == 1
    result = answers[0].result
    assert result is not None
    assert "raised on 2024-01-09" in str(result.windows[1].missing)
    ran = [(run.request.start_ms, run.request.end_ms, _period(run)) for run in desk.engine.runs]
    assert len(ran) == len(set(ran)) == result.counts["trials"] + 3


def _period(run: EngineRun) -> Any:
    return run.request.hyperparameters.get("period")
