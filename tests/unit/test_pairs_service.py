"""The backtest of a pair over real stores: what is refused, stored, counted and said."""

import json
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.adapters.storage.ledger import SqlTrialLedger
from jesse_mcp.adapters.storage.runs import SqlRunStore
from jesse_mcp.adapters.strategies.catalog import load_catalog
from jesse_mcp.domain.backtests import BacktestRequest, EngineOutcome, EngineRun
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.ports.engine import ProgressCallback
from jesse_mcp.services.analysis_source import AnalysisSources, SourceArguments
from jesse_mcp.services.candle_quality import CandleQualityService
from jesse_mcp.services.experiments import ExperimentRunner
from jesse_mcp.services.jesse_comparison import jesse_section
from jesse_mcp.services.jobs import JobService
from jesse_mcp.services.market_bars import MarketReader
from jesse_mcp.services.pair_legs import decisions, joined_profits
from jesse_mcp.services.pairs import PairsAnswer, PairsService
from jesse_mcp.services.pairs_experiment import experiment
from jesse_mcp.services.pairs_jesse import targets
from jesse_mcp.services.pairs_plan import PairsPlanner, family_name
from jesse_mcp.services.pairs_report import PairsResult
from jesse_mcp.services.pairs_request import PairsArguments
from jesse_mcp.services.run_candles import RunCandles
from jesse_mcp.services.run_view import view_of
from pair_cases import START, SYMBOL_X, SYMBOL_Y, pair_candles

EXCHANGE = "Binance Perpetual Futures"
DAY = 86_400_000
DAYS = 30
PAIR: dict[str, Any] = {"symbol_y": SYMBOL_Y, "symbol_x": SYMBOL_X, "formation_bars": 300, "lookback": 40}
ASKED: dict[str, Any] = {**PAIR, "exchange": EXCHANGE, "timeframe": "1h", "start_date": "2024-01-15"}
INLINE: dict[str, Any] = {**PAIR, "fee": 0.0004}


class AbsentEngine:
    """Runs nothing."""

    capacity = 1

    def identity(self) -> str:
        raise ResearchError(ErrorCode.ENGINE_NOT_INSTALLED, "there is no engine here", hint="install it")

    async def run(self, run: EngineRun, progress: ProgressCallback) -> EngineOutcome:
        raise NotImplementedError

    async def status(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        return None


@dataclass
class Desk:
    service: PairsService
    planner: PairsPlanner
    jobs: JobService
    runs: SqlRunStore
    ledger: SqlTrialLedger
    candles: ParquetCandleStore

    async def ask(self, **arguments: Any) -> PairsAnswer:
        return await self.service.backtest(PairsArguments(**arguments), wait_seconds=60)

    async def result(self, **arguments: Any) -> PairsResult:
        answer = await self.ask(**arguments)
        assert answer.state is JobState.DONE
        json.dumps(answer.result, allow_nan=False)
        return PairsResult.model_validate(answer.result)

    async def refused(self, **arguments: Any) -> ResearchError:
        """Before anything has run."""
        with pytest.raises(ResearchError) as caught:
            await self.ask(**arguments)
        assert caught.value.hint
        assert (await self.jobs.page())[1] == 0
        assert self.ledger.count(None) == 0
        return caught.value


@pytest.fixture(scope="module")
def candles() -> dict[str, NDArray[np.float64]]:
    return pair_candles(DAYS)


@pytest.fixture(scope="module")
def filled(
    tmp_path_factory: pytest.TempPathFactory, candles: dict[str, NDArray[np.float64]]
) -> ParquetCandleStore:
    store = ParquetCandleStore(tmp_path_factory.mktemp("candles"))
    for symbol, rows in candles.items():
        store.write(SeriesKey(exchange=EXCHANGE, symbol=symbol), rows, "test")
    return store


@pytest.fixture
async def desk(tmp_path: Path, filled: ParquetCandleStore) -> AsyncIterator[Desk]:
    database = Database.at(tmp_path / "research.sqlite")
    runs, ledger = SqlRunStore(database), SqlTrialLedger(database)
    jobs = JobService(SqlJobStore(database), "here", lambda _owner: False)
    await jobs.start()
    engine, quality = AbsentEngine(), CandleQualityService(filled)
    experiments = ExperimentRunner(engine, runs, ledger, quality)
    planner = PairsPlanner(filled, load_catalog())
    service = PairsService(planner, experiments, runs, ledger, quality, jobs, engine.identity)
    yield Desk(service, planner, jobs, runs, ledger, filled)
    await jobs.close()
    database.close()


def points(candles: dict[str, NDArray[np.float64]], every: int = 60) -> dict[str, list[tuple[int, float]]]:
    """Closes of every hour at its end, as prices of a call."""
    return {
        symbol: [(int(row[0]) + 60_000, float(row[2])) for row in rows[every - 1 :: every]]
        for symbol, rows in candles.items()
    }


async def test_an_experiment_is_stored_counted_and_answered_again(desk: Desk) -> None:
    found = await desk.result(**ASKED)
    assert found.run_id is not None
    assert not found.cached
    record = desk.runs.get(found.run_id)
    assert (record.kind, record.strategies) == ("pairs", ("Pair_BTCUSDT_ETHUSDT",))
    assert record.symbols == (SYMBOL_Y, SYMBOL_X)
    again = await desk.result(**ASKED)
    assert (again.run_id, again.cached) == (found.run_id, True)
    assert again.performance == found.performance
    assert desk.ledger.count("Pair_BTCUSDT_ETHUSDT") == 1
    other = await desk.result(**ASKED, entry_z=1.8)
    assert other.run_id != found.run_id
    assert desk.ledger.count("Pair_BTCUSDT_ETHUSDT") == 2
    assert any("2 experiments with this pair" in finding for finding in other.findings)
    (latest, first) = desk.ledger.entries(None, limit=10, offset=0)
    assert (first.parameters["entry_z"], latest.parameters["entry_z"]) == (2.0, 1.8)
    assert first.run_id == found.run_id


async def test_a_title_files_the_same_answer_under_another_name(desk: Desk) -> None:
    first = await desk.result(**ASKED)
    named = await desk.service.backtest(PairsArguments(**ASKED), title="mine", wait_seconds=60)
    assert named.result is not None
    assert named.result["cached"]
    assert named.result["run_id"] != first.run_id
    assert desk.runs.get(named.result["run_id"]).title == "mine"
    assert desk.ledger.count(None) == 1


async def test_prices_of_the_call_have_no_title_since_they_are_no_run(
    desk: Desk, candles: dict[str, NDArray[np.float64]]
) -> None:
    with pytest.raises(ResearchError, match="title is given with prices"):
        await desk.service.backtest(
            PairsArguments(**INLINE, prices=points(candles)), title="mine", wait_seconds=60
        )
    assert (await desk.jobs.page())[1] == 0


async def test_either_symbol_may_be_y_of_the_same_family(desk: Desk) -> None:
    await desk.result(**ASKED)
    await desk.result(**{**ASKED, "symbol_y": SYMBOL_X, "symbol_x": SYMBOL_Y})
    assert desk.ledger.count("Pair_BTCUSDT_ETHUSDT") == 2


async def test_the_numbers_of_the_answer_and_of_the_run_are_one(desk: Desk) -> None:
    found = await desk.result(**ASKED, trades_shown=200)
    record = desk.runs.get(found.run_id or "")
    outcome, shown = record.outcome, found.performance
    assert len(outcome.trades) == 2 * shown["pairs_traded"] == 2 * len(found.trades)
    assert outcome.equity[0].balance == 10_000
    assert outcome.equity[-1].balance == pytest.approx(shown["final_balance"])
    assert sum(trade.pnl for trade in outcome.trades) == pytest.approx(shown["final_balance"] - 10_000)
    assert sum(trade.fee for trade in outcome.trades) == pytest.approx(shown["fees"])
    assert [trade["pnl"] for trade in found.trades] == pytest.approx(joined_profits(outcome.trades).tolist())
    assert decisions(outcome.trades, record) == shown["pairs_traded"]
    assert shown["win_rate"] == np.mean([trade["pnl"] > 0 for trade in found.trades])
    times = [point.timestamp for point in outcome.equity]
    assert times == list(range(START + 14 * DAY, START + DAYS * DAY + 1, DAY))
    assert sum(shown["exits"].values()) == shown["pairs_traded"]


async def test_metrics_are_those_jesse_has_of_such_trades_and_balances(desk: Desk) -> None:
    found = await desk.result(**ASKED)
    record = desk.runs.get(found.run_id or "")
    section, undefined = jesse_section(record)
    assert section["not_reproduced"] == {}
    assert all(
        record.outcome.undefined[name] for name, value in record.outcome.metrics.items() if value is None
    )
    assert "jesse.serenity_index" in undefined
    balances = np.array([point.balance for point in record.outcome.equity])
    returns = balances[1:] / balances[:-1] - 1
    sharpe = returns.mean() / returns.std(ddof=1) * 365**0.5
    assert record.outcome.metrics["sharpe_ratio"] == pytest.approx(sharpe, rel=1e-12)
    assert any("Jesse did not run" in warning for warning in record.warnings)


async def test_other_tools_can_read_the_run(desk: Desk) -> None:
    found = await desk.result(**ASKED)
    record = desk.runs.get(found.run_id or "")
    request = BacktestRequest.model_validate(record.request)
    assert (request.warm_up_candles, request.starting_balance) == (300, 10_000)
    assert view_of(record).request["start_date"] == "2024-01-15"
    assert set(RunCandles(desk.candles).of(record).rows) == {SYMBOL_Y, SYMBOL_X}
    sources = AnalysisSources(desk.runs, MarketReader(desk.candles), lambda name: name)
    sample = sources.load(SourceArguments(run_id=record.run_id))
    assert sample.reason is None
    assert sample.decisions == found.performance["pairs_traded"]


async def test_prices_of_the_call_fill_at_the_next_price_and_are_counted(
    desk: Desk, candles: dict[str, NDArray[np.float64]]
) -> None:
    found = await desk.result(**INLINE, prices=points(candles), trades_shown=200)
    assert found.run_id is None
    assert "not stored" in found.undefined["run_id"]
    assert "next price" in found.conventions["timing"]
    assert desk.ledger.count("Pair_BTCUSDT_ETHUSDT") == 1
    by_time = dict(points(candles)[SYMBOL_Y])
    trade = found.trades[0]
    assert trade["opened_at"] - trade["decided_at"] == 3_600_000
    sign = 1 if trade["quantities"][0] > 0 else -1
    assert trade["entry_prices"][0] == pytest.approx(by_time[trade["opened_at"]] * (1 + sign * 0.0005))
    again = await desk.result(**INLINE, prices=points(candles))
    assert again.cached
    assert desk.ledger.count(None) == 1


async def test_candles_and_their_closes_decide_the_same(
    desk: Desk, candles: dict[str, NDArray[np.float64]]
) -> None:
    """Bars and the closes at their ends have the same signals, when the formation is the same."""
    same: dict[str, Any] = {"formation_bars": 336, "fee": 0.0004, "trades_shown": 200}
    stored = await desk.result(**{**ASKED, **same})
    inline = await desk.result(**{**PAIR, **same, "prices": points(candles)})
    assert inline.hedge_ratio["first"] == pytest.approx(stored.hedge_ratio["first"], rel=1e-9)
    assert [one["entry_z"] for one in inline.trades] == pytest.approx(
        [one["entry_z"] for one in stored.trades]
    )
    assert [one["decided_at"] for one in inline.trades] == [one["decided_at"] for one in stored.trades]


async def test_without_an_engine_jesse_is_null_with_the_reason(desk: Desk) -> None:
    found = await desk.result(**ASKED, jesse=True)
    assert found.jesse is None
    assert found.undefined["jesse"].startswith("engine_not_installed: there is no engine here")
    assert found.run_id is not None


async def test_what_jesse_is_told_is_what_was_decided(desk: Desk) -> None:
    plan = desk.planner.plan(PairsArguments(**ASKED))
    found = experiment(plan)
    wanted = targets(plan, found)
    trade = found.simulation.trades[0]
    begins = plan.prices.begins
    for symbol, leg in zip((SYMBOL_Y, SYMBOL_X), trade.legs, strict=True):
        assert wanted[symbol][int(begins[trade.decided])] == leg.quantity
        assert wanted[symbol][int(begins[trade.closed - 1])] == 0.0
        assert len(wanted[symbol]) == sum(1 + (one.reason != "end") for one in found.simulation.trades)


async def test_what_is_not_cointegrated_is_said(desk: Desk) -> None:
    noise = np.random.default_rng(4).normal(0, 0.01, (600, 2)).cumsum(axis=0)
    prices = {
        symbol: [(START + at * 3_600_000, float(np.exp(noise[at, leg]))) for at in range(600)]
        for leg, symbol in enumerate((SYMBOL_Y, SYMBOL_X))
    }
    found = await desk.result(**INLINE, prices=prices)
    assert found.formation["engle_granger"]["p_value"] > 0.05
    assert any("does not show cointegration" in finding for finding in found.findings)
    assert any("funding is not modelled" in finding for finding in found.findings)


async def test_nothing_traded_has_reasons_instead_of_numbers(desk: Desk) -> None:
    found = await desk.result(**ASKED, entry_z=50, exit_z=1, jesse=True)
    assert found.performance["pairs_traded"] == 0
    assert found.performance["win_rate"] is None
    assert found.undefined["performance.win_rate"] == "no pair was traded"
    assert found.undefined["jesse"] == "no pair was traded, so Jesse has nothing to execute"
    assert found.performance["total_return"] == 0
    assert any("0 pairs were traded" in finding for finding in found.findings)


async def test_ruin_ends_the_run_and_is_a_loss_of_everything(desk: Desk) -> None:
    """From hour 350 on y goes up by a tenth an hour: the spread is sold on the way and never returns."""
    drawn = np.random.default_rng(6)
    x = drawn.normal(0, 0.01, 600).cumsum()
    y = x + drawn.normal(0, 0.003, 600) + np.maximum(np.arange(600) - 350, 0) * 0.1
    prices = {
        symbol: [(START + at * 3_600_000, float(np.exp(path[at]))) for at in range(600)]
        for symbol, path in ((SYMBOL_Y, y), (SYMBOL_X, x))
    }
    found = await desk.result(**INLINE, prices=prices)
    assert found.performance["ruined"]
    assert found.performance["total_return"] == -1
    assert found.performance["exits"]["ruin"] == 1
    assert found.performance["final_balance"] <= 0
    assert found.equity[-1][1] == found.performance["final_balance"]
    assert found.equity[-1][0] < START + 600 * 3_600_000
    assert "everything was lost" in " ".join(found.findings)
    (trial,) = desk.ledger.entries(None, limit=10, offset=0)
    assert trial.daily_returns is not None
    assert trial.daily_returns[-1] == -1


async def test_two_copies_of_one_price_give_no_hedge_but_the_trivial_one(desk: Desk) -> None:
    line = [(START + at * 3_600_000, 100.0 + at) for at in range(400)]
    flat = [(START + at * 3_600_000, 7.0) for at in range(400)]
    with pytest.raises(ResearchError) as caught:
        await desk.ask(**INLINE, prices={SYMBOL_Y: line, SYMBOL_X: flat})
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert "x does not move" in caught.value.message
    same = await desk.result(**INLINE, prices={SYMBOL_Y: line, SYMBOL_X: line})
    assert same.formation["engle_granger"] is None
    assert "times a constant" in same.undefined["formation.engle_granger"]
    assert same.performance["pairs_traded"] == 0


async def test_a_multiple_of_a_price_is_not_traded_by_its_rounding(desk: Desk) -> None:
    steps = np.random.default_rng(8).normal(0, 0.01, 400).cumsum()
    line = [(START + at * 3_600_000, 100 * math.exp(step)) for at, step in enumerate(steps.tolist())]
    fives = [(moment, 5 * price) for moment, price in line]
    for hedge_ratio in ("ols", "rolling_ols", "kalman", "total_least_squares"):
        found = await desk.result(**INLINE, prices={SYMBOL_Y: fives, SYMBOL_X: line}, hedge_ratio=hedge_ratio)
        assert found.performance["pairs_traded"] == 0, hedge_ratio
        assert "could not be tested on the formation: one series is the other" in found.findings[0]


@pytest.mark.parametrize("hedge_ratio", ["rolling_ols", "kalman"])
async def test_bars_without_a_hedge_ratio_are_said_and_not_traded(desk: Desk, hedge_ratio: str) -> None:
    steps = np.random.default_rng(8).normal(0, 0.01, (2, 2_000)).cumsum(axis=1)
    steps[1, 300:] = steps[1, 300]
    prices = {
        name: [(START + at * 3_600_000, 100 * math.exp(step)) for at, step in enumerate(row)]
        for name, row in zip((SYMBOL_Y, SYMBOL_X), steps.tolist(), strict=True)
    }
    found = await desk.result(**INLINE, prices=prices, hedge_ratio=hedge_ratio, hedge_lookback=10)
    assert found.hedge_ratio["last"] is None
    assert found.hedge_ratio["lowest"] <= found.hedge_ratio["first"] <= found.hedge_ratio["highest"]
    assert "had not moved for too long" in found.undefined["hedge_ratio"]
    assert any("have no hedge ratio" in finding for finding in found.findings)


SHORT = [(START + at * 3_600_000, 100.0 + at % 7) for at in range(100)]
BOTH = {SYMBOL_Y: SHORT, SYMBOL_X: SHORT}
REFUSED: list[tuple[dict[str, Any], str]] = [
    (PAIR, "neither of exchange and prices"),
    ({**ASKED, "prices": BOTH}, "both of exchange and prices"),
    ({**ASKED, "symbol_x": SYMBOL_Y}, "symbol_y and symbol_x are both"),
    ({**ASKED, "symbol_y": "eth-usdt", "symbol_x": "ETH-USDT"}, "symbol_y and symbol_x are both"),
    ({**ASKED, "start_date": None}, "start_date is not given"),
    ({**ASKED, "timeframe": "7m"}, "unknown timeframe"),
    ({**ASKED, "timeframe": "3D"}, "timeframe is 3D"),
    ({**ASKED, "start_date": "15 January"}, "start_date is"),
    ({**ASKED, "end_date": "2024-01-15"}, "holds no bar"),
    ({**ASKED, "exchange": "Binance Spot"}, "is traded as spot"),
    ({**ASKED, "exchange": "Nowhere"}, "Nowhere"),
    ({**ASKED, "symbol_x": "BTC-USDC"}, "quote currencies"),
    ({**ASKED, "symbol_x": "DOGE-USDT"}, "DOGE-USDT"),
    ({**ASKED, "start_date": "2024-01-05"}, "are missing"),
    ({**ASKED, "end_date": "2024-03-01"}, "are missing"),
    ({**ASKED, "formation_bars": 59}, "formation_bars is 59"),
    ({**ASKED, "lookback": 301}, "lookback is 301"),
    ({**ASKED, "lookback": 2}, "lookback is 2"),
    ({**ASKED, "hedge_ratio": "kalman", "hedge_lookback": 301}, "hedge_lookback is 301"),
    ({**ASKED, "hedge_lookback": 100}, "hedge_lookback is 100, hedge_ratio is 'ols'"),
    ({**ASKED, "entry_z": 0}, "entry_z is 0"),
    ({**ASKED, "exit_z": 2.0}, "exit_z is 2.0"),
    ({**ASKED, "exit_z": -0.1}, "exit_z is -0.1"),
    ({**ASKED, "stop_z": 2.0}, "stop_z is 2.0"),
    ({**ASKED, "max_holding_bars": 0}, "max_holding_bars is 0"),
    ({**ASKED, "notional": 0}, "notional is 0"),
    ({**ASKED, "notional": 20_001}, "notional is 20001"),
    ({**ASKED, "starting_balance": -1}, "starting_balance is -1"),
    ({**ASKED, "leverage": 0}, "leverage is 0"),
    ({**ASKED, "leverage": 126}, "leverage is 126"),
    ({**ASKED, "fee": 0.1}, "fee is 0.1"),
    ({**ASKED, "slippage": 0.1}, "slippage is 0.1"),
    ({**ASKED, "trades_shown": 201}, "trades_shown is 201"),
    ({**PAIR, "prices": BOTH}, "fee is not given"),
    ({**INLINE, "prices": BOTH, "jesse": True}, "jesse is true"),
    ({**INLINE, "prices": BOTH, "timeframe": "1h"}, "timeframe is given with prices"),
    ({**INLINE, "prices": {SYMBOL_Y: SHORT, "SOL-USDT": SHORT}}, "prices has"),
    ({**INLINE, "prices": {SYMBOL_Y: SHORT, SYMBOL_X: SHORT[:50] + SHORT[:50]}}, "not later"),
    ({**INLINE, "prices": {SYMBOL_Y: SHORT, SYMBOL_X: [(START, -1.0)]}}, "is -1"),
    ({**INLINE, "prices": {SYMBOL_Y: SHORT, SYMBOL_X: []}}, "is empty"),
    ({**INLINE, "prices": BOTH}, "prices has 100 common times, formation_bars is 300"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[case[1] for case in REFUSED])
async def test_bad_input_is_refused_before_anything_runs(
    desk: Desk, arguments: dict[str, Any], message: str
) -> None:
    error = await desk.refused(**arguments)
    assert message in error.message
    assert error.code in (ErrorCode.INVALID_ARGUMENT, ErrorCode.CANDLES_MISSING)


async def test_gaps_are_refused_or_said(tmp_path: Path, candles: dict[str, NDArray[np.float64]]) -> None:
    store = ParquetCandleStore(tmp_path / "gappy")
    for symbol, rows in candles.items():
        hole = (rows[:, 0] >= START + 20 * DAY) & (rows[:, 0] < START + 20 * DAY + 3 * 3_600_000)
        kept = rows[~hole] if symbol == SYMBOL_X else rows
        store.write(SeriesKey(exchange=EXCHANGE, symbol=symbol), kept, "test")
    planner = PairsPlanner(store, load_catalog())
    with pytest.raises(ResearchError, match="are missing from"):
        planner.plan(PairsArguments(**ASKED))
    for before in ("2019-12-31", "1970-01-02"):
        with pytest.raises(ResearchError) as caught:
            planner.plan(PairsArguments(**{**ASKED, "start_date": before}))
        assert "lower formation_bars" in str(caught.value.hint)
    plan = planner.plan(PairsArguments(**ASKED, gaps="observed"))
    assert plan.prices.remarks[0].startswith("3 of 684 bars lack candles")
    assert plan.request is not None
    assert plan.request.gaps == "observed"
    with pytest.raises(ResearchError, match="180 minutes have no candle"):
        planner.plan(PairsArguments(**ASKED, gaps="observed", jesse=True))


def test_families_have_names_of_strategies() -> None:
    assert family_name("ETH-USDT", "BTC-USDT") == family_name("BTC-USDT", "ETH-USDT")
    long = family_name("A" * 40 + "-USDT", "B" * 40 + "-USDT")
    assert len(long) == 64
    assert long != family_name("A" * 40 + "-USDT", "B" * 41 + "-USDT")
