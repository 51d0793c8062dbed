"""The stress test over real stores and an engine that answers at once."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.adapters.storage.ledger import SqlTrialLedger
from jesse_mcp.adapters.storage.runs import SqlRunStore
from jesse_mcp.adapters.strategies.catalog import load_catalog
from jesse_mcp.adapters.strategies.folder_store import FolderStrategyStore
from jesse_mcp.analytics.crises import CRISES
from jesse_mcp.analytics.shocks import largest_fall
from jesse_mcp.domain.backtests import EngineOutcome, EngineRun, EquityPoint, Trade
from jesse_mcp.domain.candles import CLOSE, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.timeframes import DAY_MS, MINUTE_MS
from jesse_mcp.ports.engine import ProgressCallback
from jesse_mcp.services.analysis_source import AnalysisSources, source_arguments
from jesse_mcp.services.backtest_plan import BacktestPlanner
from jesse_mcp.services.backtest_request import BacktestArguments
from jesse_mcp.services.backtests import BacktestService
from jesse_mcp.services.campaign import CampaignService
from jesse_mcp.services.candle_quality import CandleQualityService
from jesse_mcp.services.experiments import ExperimentRunner
from jesse_mcp.services.jobs import JobService
from jesse_mcp.services.market_bars import MarketReader
from jesse_mcp.services.stress import StressResult, StressService
from jesse_mcp.services.stress_request import StressArguments

EXCHANGE = "Binance Perpetual Futures"
CODE = """
from jesse.strategies import Strategy


class Mine(Strategy):
    def should_long(self):
        return False

    def go_long(self):
        pass
"""
(YEN,) = (crisis for crisis in CRISES if crisis.name == "yen_carry_2024")
#: Days of candles: the crisis of August 2024 with two weeks before and one after.
FIRST = YEN.start_ms - 14 * DAY_MS
DAYS = 28
BETA = 0.8
PAIR = {
    "exchange": EXCHANGE,
    "symbols": ["BTC-USDT", "ETH-USDT"],
    "start_date": "2024-07-19",
    "end_date": "2024-08-14",
}


def walk(seed: int, days: int = DAYS, start_ms: int = FIRST) -> NDArray[np.float64]:
    """Candles whose highs and lows are 0.1 % around the close."""
    rng = np.random.default_rng(seed)
    n = days * 1_440
    closes = 100 * np.exp(np.cumsum(rng.normal(0, 0.0006, n)))
    opens = np.concatenate(([100.0], closes[:-1]))
    highs, lows = np.maximum(opens, closes) * 1.001, np.minimum(opens, closes) * 0.999
    return np.column_stack(
        [start_ms + MINUTE_MS * np.arange(n), opens, closes, highs, lows, np.ones(n)]
    ).astype(np.float64)


class ExposedEngine:
    """Earns ``beta`` times what the market does a day, less ten times the fee, in one trade."""

    def __init__(self, candles: NDArray[np.float64]) -> None:
        self.candles = candles
        self.runs: list[EngineRun] = []
        self.capacity = 2
        self.failing_fee: float | None = None
        self.beta = BETA
        self.hole: tuple[int, ...] = ()

    def identity(self) -> str:
        return "one"

    async def run(self, run: EngineRun, progress: ProgressCallback) -> EngineOutcome:
        self.runs.append(run)
        progress(0.5, "simulating")
        request = run.request
        if request.fee == self.failing_fee:
            raise ResearchError(ErrorCode.STRATEGY_RAISED, "raised", hint="look")
        times = np.arange(request.start_ms, request.end_ms + 1, DAY_MS)
        prices = np.array([self.price(int(time)) for time in times])
        returns = self.beta * (prices[1:] / prices[:-1] - 1) - 10 * request.fee
        balances = request.starting_balance * np.concatenate(([1.0], np.cumprod(1 + returns)))
        held = Trade(
            strategy="Mine",
            exchange=EXCHANGE,
            symbol="BTC-USDT",
            type="long",
            opened_at=request.start_ms,
            closed_at=request.end_ms,
            entry_price=float(prices[0]),
            exit_price=float(prices[-1]),
            qty=1,
            size=100,
            fee=0,
            pnl=float(balances[-1] - balances[0]),
            pnl_percentage=None,
            holding_period=60,
        )
        return EngineOutcome(
            metrics={"finishing_balance": float(balances[-1]), "total": 1},
            undefined={},
            trades=(held,),
            equity=tuple(
                EquityPoint(timestamp=int(time), balance=float(balance))
                for time, balance in zip(times, balances, strict=True)
                if time not in self.hole
            ),
            hyperparameters={},
            engine={"jesse": "3.5.3"},
        )

    def price(self, moment: int) -> float:
        """Of the last candle that was over, or the first open."""
        row = (moment - int(self.candles[0, 0])) // MINUTE_MS - 1
        return float(self.candles[max(row, 0), CLOSE])

    async def status(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        return


@dataclass
class Desk:
    service: StressService
    backtests: BacktestService
    engine: ExposedEngine
    jobs: JobService
    runs: SqlRunStore
    ledger: SqlTrialLedger
    candles: ParquetCandleStore
    strategies: FolderStrategyStore

    async def run(self, start: str = "2024-07-20", end: str = "2024-08-12", **changes: Any) -> str:
        arguments = BacktestArguments(
            exchange=EXCHANGE,
            start_date=start,
            end_date=end,
            strategy="Mine",
            symbol="BTC-USDT",
            timeframe="1h",
            warm_up_candles=24,
            fee=0.0004,
        )
        answer = await self.backtests.backtest(arguments.model_copy(update=changes), wait_seconds=30)
        assert answer.run is not None
        return answer.run.run_id

    async def test(self, **arguments: Any) -> StressResult:
        answer = await self.service.test(stress(**arguments), wait_seconds=60)
        assert answer.state is JobState.DONE
        assert answer.result is not None
        text = json.dumps(answer.result, allow_nan=False)
        assert (await self.jobs.get(answer.job_id)).result == json.loads(text)
        return StressResult.model_validate(answer.result)

    async def refused(self, **arguments: Any) -> ResearchError:
        with pytest.raises(ResearchError) as caught:
            await self.service.test(stress(**arguments), wait_seconds=60)
        assert caught.value.hint
        assert (await self.jobs.page(kind="stress_test"))[1] == 0
        return caught.value


def stress(**arguments: Any) -> StressArguments:
    names = ("run_id", "returns", "balances", "market", "periods_per_year")
    source = source_arguments(*(arguments.pop(name, None) for name in names))
    return StressArguments.model_validate({"source": source, **arguments})


def row_of(result: StressResult, name: str) -> dict[str, Any]:
    (found,) = (row for row in (*result.crises, *result.reruns) if row["name"] == name and "fee" not in row)
    return found


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database.at(tmp_path / "research.sqlite")
    candles = ParquetCandleStore(tmp_path / "candles")
    rows = walk(1)
    candles.write(SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT"), rows, "t")
    candles.write(SeriesKey(exchange=EXCHANGE, symbol="ETH-USDT"), walk(2), "t")
    strategies = FolderStrategyStore(tmp_path)
    strategies.write("Mine", CODE, overwrite=False)
    runs, ledger, engine = SqlRunStore(database), SqlTrialLedger(database), ExposedEngine(rows)
    jobs = JobService(SqlJobStore(database), "here", lambda _owner: False)
    await jobs.start()
    planner = BacktestPlanner(strategies, candles, load_catalog(), engine)
    experiments = ExperimentRunner(engine, runs, ledger, CandleQualityService(candles))
    sources = AnalysisSources(runs, MarketReader(candles), lambda _: EXCHANGE)
    campaigns = CampaignService(planner, experiments)
    service = StressService(sources, candles, runs, campaigns, jobs, lambda _: EXCHANGE)
    backtests = BacktestService(planner, experiments, jobs)
    yield Desk(service, backtests, engine, jobs, runs, ledger, candles, strategies)
    await jobs.close()
    database.close()


async def test_a_run_that_covers_a_crisis_is_measured_in_it(desk: Desk) -> None:
    found = await desk.test(run_id=await desk.run())
    row = row_of(found, "yen_carry_2024")
    closes = desk.engine.candles[:, CLOSE]
    first, last = (int(moment - FIRST) // MINUTE_MS for moment in (YEN.start_ms, YEN.end_ms))
    assert row["market_falls"]["BTC-USDT"] == {
        "fall": pytest.approx(largest_fall(closes[first:last]), rel=1e-12),
        "basis": "measured",
    }
    stored = desk.runs.get(found.request["source"]["run_id"]).outcome.equity
    inside = {point.timestamp: point.balance for point in stored}
    expected = inside[YEN.end_ms] / inside[YEN.start_ms] - 1
    assert row["total_return"] == pytest.approx(expected, rel=1e-12)
    assert row["basis"] == "measured"
    assert "standard_error" not in row
    assert row["measured_from_to"] == "2024-08-01T00:00Z to 2024-08-08T00:00Z"


async def test_other_crises_are_its_beta_times_the_table(desk: Desk) -> None:
    found = await desk.test(run_id=await desk.run())
    assert found.exposure is not None
    beta = found.exposure["betas"]["BTC-USDT"]
    assert beta["beta"] == pytest.approx(BETA, rel=1e-9)
    assert found.exposure["r_squared"] == pytest.approx(1)
    assert found.exposure["observations"] == 23
    row = row_of(found, "covid_2020")
    assert row["market_falls"] == {"BTC-USDT": {"fall": 0.44, "basis": "table"}}
    assert row["total_return"] == pytest.approx(-0.44 * BETA)
    assert row["basis"] == "hypothetical"
    assert row["standard_error"] == pytest.approx(0, abs=1e-9)
    assert [one["name"] for one in found.crises] == [crisis.name for crisis in CRISES]
    assert "rerun=['crises']" in " ".join(found.findings)
    assert "the betas are of 23 returns only: their error is rough itself" in found.findings
    said = "the worst of the crises that are hypothetical (8) is bear_2018"
    assert any(text.startswith(said) for text in found.findings)


async def test_shocks_are_beta_times_shock_and_linear(desk: Desk) -> None:
    run_id = await desk.run()
    default = await desk.test(run_id=run_id, scenarios=[])
    assert [row["shocks"]["BTC-USDT"] for row in default.shocks] == [-0.5, -0.3, -0.1, 0.1, 0.3, 0.5]
    assert all("name" not in row for row in default.shocks), "held one way only"
    assert any(text.startswith("a shock of BTC-USDT -50%") for text in default.findings)
    for row in default.shocks:
        assert row["profit"] == pytest.approx(BETA * row["shocks"]["BTC-USDT"])
        assert row["basis"] == "hypothetical"
    (both,) = (await desk.test(run_id=run_id, shocks={"btc/usdt": -0.2, "ETH-USDT": -0.9})).shocks
    assert both["shocks"] == {"BTC-USDT": -0.2, "ETH-USDT": -0.9}
    assert both["profit"] == pytest.approx(-0.2 * BETA, abs=1e-6), "Ether has no beta beside Bitcoin's"
    lost = await desk.test(run_id=run_id, shocks={"BTC-USDT": 5}, volatility_multiplier=0)
    assert lost.shocks[0]["profit"] == pytest.approx(5 * BETA)


async def test_what_is_short_is_told_what_a_rise_costs(desk: Desk) -> None:
    short = {**PAIR, "symbols": ["BTC-USDT"], "weights": [-0.4]}
    found = await desk.test(market=short)
    assert [row["profit"] for row in found.shocks] == pytest.approx([0.2, 0.12, 0.04, -0.04, -0.12, -0.2])
    hypothetical = [row["total_return"] for row in found.crises if row["basis"] == "hypothetical"]
    assert min(hypothetical) > 0
    told = " ".join(found.findings)
    assert "a shock of BTC-USDT +50% would make -20.00% of equity" in told
    assert "a rise of 30% in every market would cost 12.00% of equity" in told
    assert "none of the crises that are hypothetical leaves a loss; the least favourable" in told
    assert "the worst of the crises that are hypothetical" not in told
    asked = await desk.test(market=short, shocks={"BTC-USDT": -0.1})
    assert "error of the betas" not in told
    assert "would cost 12.00% of equity" in " ".join(asked.findings), "whatever shocks were asked for"
    alone = await desk.test(market={**short, "weights": [0.4]})
    assert "these crises are falls" not in " ".join(alone.findings)


async def test_a_run_that_was_short_is_told_by_its_beta(desk: Desk) -> None:
    desk.engine.beta = -0.2
    found = await desk.test(run_id=await desk.run(end="2024-07-30"))
    worst = min(found.shocks, key=lambda row: row["profit"])
    assert worst["shocks"] == {"BTC-USDT": 0.5}
    assert worst["profit"] == pytest.approx(-0.1)
    told = " ".join(found.findings)
    assert "this book gains from them, or loses nothing: a rise of 30% in every market would cost" in told
    assert "would cost 6.00% of equity (error of the betas 0.00%)" in told
    assert "would make -10.00% of equity (error of the betas 0.00%)" in told


async def test_a_gain_within_the_error_of_the_betas_is_doubted(desk: Desk) -> None:
    desk.engine.candles = desk.candles.read(SeriesKey(exchange=EXCHANGE, symbol="ETH-USDT"))
    first = await desk.test(run_id=await desk.run(end="2024-07-30"))
    if first.shocks[-1]["profit"] > 0:
        desk.engine.beta = -BETA
    found = await desk.test(run_id=await desk.run(end="2024-07-30", fee=0.0005))
    rise = found.shocks[-1]
    assert -2 * rise["standard_error"] < rise["profit"] < 0
    (told,) = (text for text in found.findings if text.startswith("these crises are falls"))
    assert "whether this book gains from them is within the error of its betas" in told


@pytest.mark.parametrize(
    ("weights", "moves", "profit"),
    [
        ([1, -1], [-0.5, 0.5], -1.0),
        ([-50, 0.1], [0.5, -0.5], -25.05),
    ],
)
async def test_long_and_short_together_are_moved_apart(
    desk: Desk, weights: list[float], moves: list[float], profit: float
) -> None:
    found = await desk.test(market={**PAIR, "weights": weights})
    assert len(found.shocks) == 7
    against = found.shocks[-1]
    assert against["name"] == "every position moves against it"
    assert list(against["shocks"].values()) == moves
    assert against["profit"] == pytest.approx(profit, rel=1e-12)
    assert against["profit"] == min(row["profit"] for row in found.shocks)
    (told,) = (text for text in found.findings if text.startswith("a shock"))
    assert told.startswith("a shock in which every position moves against it (BTC-USDT ")
    assert f"would make {profit:+.2%} of equity" in told
    assert "everything and more" in told


async def test_a_shock_says_how_well_its_own_regression_fits(desk: Desk) -> None:
    run_id = await desk.run()
    found = await desk.test(run_id=run_id, shocks={"ETH-USDT": -0.5}, scenarios=[])
    (row,) = found.shocks
    equity = desk.runs.get(run_id).outcome.equity
    balances = np.array([point.balance for point in equity])
    ether = desk.candles.read(SeriesKey(exchange=EXCHANGE, symbol="ETH-USDT"))
    closes = np.array([ether[(point.timestamp - FIRST) // MINUTE_MS - 1, CLOSE] for point in equity])
    line = stats.linregress(closes[1:] / closes[:-1] - 1, balances[1:] / balances[:-1] - 1)
    assert row["profit"] == pytest.approx(-0.5 * line.slope, rel=1e-9)
    assert row["standard_error"] == pytest.approx(0.5 * line.stderr, rel=1e-9)
    assert row["r_squared"] == pytest.approx(line.rvalue**2, rel=1e-9)
    assert row["r_squared"] < 0.1
    assert row["observations"] == 23
    assert found.exposure is not None
    assert found.exposure["r_squared"] == pytest.approx(1), "that of what is traded"
    told = [text for text in found.findings if "ETH-USDT rests on a regression that explains" in text]
    assert len(told) == 1
    assert f"explains {line.rvalue**2:.1%} of the variance" in told[0]
    assert any("behind the shock of ETH-USDT is of 23 returns only" in text for text in found.findings)
    own = await desk.test(run_id=run_id, shocks={"BTC-USDT": -0.5}, scenarios=[])
    assert own.shocks[0]["r_squared"] == pytest.approx(1)
    assert not any("behind the shock" in text or "rests on a" in text for text in own.findings)


async def test_the_part_of_a_portfolio_that_follows_says_how_well(desk: Desk) -> None:
    part = await desk.test(market=PAIR, shocks={"BTC-USDT": -0.4}, scenarios=[])
    (row,) = part.shocks
    ether = desk.candles.read(SeriesKey(exchange=EXCHANGE, symbol="ETH-USDT"))
    closes = np.column_stack([rows[1_439::1_440, CLOSE][1:27] for rows in (desk.engine.candles, ether)])
    moves = closes[1:] / closes[:-1] - 1
    fit = stats.linregress(moves[:, 0], moves[:, 1]).rvalue ** 2
    assert row["r_squared"] == pytest.approx(fit, rel=1e-9)
    assert fit < 0.1
    assert any("the shock of BTC-USDT rests on a regression" in text for text in part.findings)
    whole = await desk.test(market=PAIR, shocks={"BTC-USDT": -0.4, "ETH-USDT": -0.4}, scenarios=[])
    assert "r_squared" not in whole.shocks[0], "weights are known"


async def test_a_market_without_candles_is_null_with_the_import(desk: Desk) -> None:
    found = await desk.test(run_id=await desk.run(), shocks={"SOL-USDT": -0.5}, scenarios=[])
    assert found.shocks[0]["profit"] is None
    assert (
        "candles_import(exchange='Binance Perpetual Futures', symbol='SOL-USDT'"
        in (found.undefined["shocks.profit"])
    )


async def test_neither_candles_nor_table_is_null_with_the_import(desk: Desk) -> None:
    key = SeriesKey(exchange=EXCHANGE, symbol="DOGE-USDT")
    desk.candles.write(key, walk(3), "t")
    market = {
        "exchange": EXCHANGE,
        "symbols": ["DOGE-USDT"],
        "start_date": "2024-07-20",
        "end_date": "2024-07-28",
    }
    found = await desk.test(market=market)
    assert row_of(found, "yen_carry_2024")["basis"] == "measured", "by candles outside the source"
    row = row_of(found, "covid_2020")
    assert (row["market_falls"]["DOGE-USDT"], row["total_return"], row["basis"]) == (None, None, None)
    reason = found.undefined["crises.covid_2020.DOGE-USDT"]
    assert "candles_import(" in reason
    assert "start_date='2020-03-07', end_date='2020-03-17'" in reason
    assert "the table has no DOGE-USDT" in reason
    assert found.undefined["crises.covid_2020.total_return"] == "how far DOGE-USDT fell is not known"
    assert any("covid_2020" in text and "nothing can be said" in text for text in found.findings)


async def test_a_window_half_stored_is_not_measured(desk: Desk) -> None:
    market = {
        "exchange": EXCHANGE,
        "symbols": ["BTC-USDT"],
        "start_date": "2024-07-20",
        "end_date": "2024-07-28",
    }
    desk.candles.delete(SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT"), YEN.start_ms, YEN.start_ms + DAY_MS)
    row = row_of(await desk.test(market=market), "yen_carry_2024")
    assert row["market_falls"] == {"BTC-USDT": {"fall": 0.17, "basis": "table"}}
    assert row["basis"] == "hypothetical"
    assert row["total_return"] == pytest.approx(-0.17)


async def test_a_portfolio_is_weights_times_shocks_and_correlated(desk: Desk) -> None:
    market = {
        "exchange": EXCHANGE,
        "symbols": ["BTC-USDT", "ETH-USDT"],
        "weights": [0.75, -0.25],
        "start_date": "2024-07-19",
        "end_date": "2024-08-14",
    }
    found = await desk.test(market=market, shocks={"BTC-USDT": -0.4, "ETH-USDT": -0.2}, leverage=3)
    assert found.shocks[0]["profit"] == pytest.approx(-0.4 * 0.75 + 0.2 * 0.25)
    assert "standard_error" not in found.shocks[0], "weights have no error"
    assert found.exposure == {"method": "weights", "weights": {"BTC-USDT": 0.75, "ETH-USDT": -0.25}}
    part = (await desk.test(market=market, shocks={"BTC-USDT": -0.4})).shocks[0]
    section = found.correlation
    assert section is not None
    assert section["average_correlation"]["stressed"] == pytest.approx(1)
    ether = desk.candles.read(SeriesKey(exchange=EXCHANGE, symbol="ETH-USDT"))
    closes = np.column_stack([rows[1_439::1_440, CLOSE][1:27] for rows in (desk.engine.candles, ether)])
    moves = closes[1:] / closes[:-1] - 1
    line = stats.linregress(moves[:, 0], moves[:, 1])
    assert part["profit"] == pytest.approx(-0.4 * (0.75 - 0.25 * line.slope), rel=1e-9), "Ether follows"
    assert part["standard_error"] == pytest.approx(0.4 * 0.25 * line.stderr, rel=1e-9)
    held = moves @ np.array([0.75, -0.25])
    assert section["now"]["volatility"] == pytest.approx(held.std(ddof=1) * np.sqrt(365), rel=1e-9)
    assert section["now"]["normal_var"]["0.99"] == pytest.approx(
        2.3263478740408408 * held.std(ddof=1) - held.mean(), rel=1e-9
    )
    assert section["stressed"]["volatility"] < section["now"]["volatility"], "a hedge hedges better"
    assert any("so give a matrix too" in text for text in found.findings)
    assert section["stressed_and_volatility"]["volatility"] == pytest.approx(
        2 * section["stressed"]["volatility"]
    )
    assert row_of(found, "yen_carry_2024")["basis"] == "measured"
    hedged = row_of(found, "covid_2020")
    assert hedged["total_return"] == pytest.approx(-0.44 * 0.75 + 0.53 * 0.25)
    assert found.liquidation is not None
    assert found.liquidation["isolated_distance"] == pytest.approx(1 / 3 - 0.004)
    assert found.liquidation["crises_beyond_isolated_distance"] == [
        "top_2017",
        "bear_2018",
        "covid_2020",
        "china_ban_2021",
        "terra_2022",
        "celsius_2022",
    ]


async def test_a_matrix_that_is_none_is_replaced_by_the_nearest(desk: Desk) -> None:
    desk.candles.write(SeriesKey(exchange=EXCHANGE, symbol="SOL-USDT"), walk(4), "t")
    market = {
        "exchange": EXCHANGE,
        "symbols": ["BTC-USDT", "ETH-USDT", "SOL-USDT"],
        "start_date": "2024-07-20",
        "end_date": "2024-08-12",
    }
    found = await desk.test(market=market, correlation=[[1, 1, 0], [1, 1, 1], [0, 1, 1]], scenarios=[])
    section = found.correlation
    assert section is not None
    assert section["matrix_used"][0] == pytest.approx([1, 0.76068985, 0.15729811])
    assert section["distance_to_nearest_valid"] == pytest.approx(0.5277904, abs=1e-6)
    assert section["given_matrix_smallest_eigenvalue"] == pytest.approx(1 - np.sqrt(2))
    assert any("is no correlation matrix" in text for text in found.findings)
    valid = await desk.test(market=market, correlation=np.eye(3).tolist(), scenarios=[])
    assert valid.correlation is not None
    assert valid.correlation["matrix_used"] == np.eye(3).tolist()


async def test_reruns_are_stored_scenarios_and_no_trials(desk: Desk) -> None:
    run_id = await desk.run(end="2024-07-30")
    before = desk.ledger.count()
    asked = {
        "run_id": run_id,
        "rerun": ["crises", "fees", "slippage"],
        "fee_multipliers": [2],
        "slippage_bps": [7],
        "scenarios": ["covid_2020", "yen_carry_2024"],
    }
    found = await desk.test(**asked)
    assert [row["name"] for row in found.reruns] == [
        "covid_2020",
        "yen_carry_2024",
        "fee x2",
        "slippage 7 bps",
    ]
    missing, crisis, dearer, slipped = found.reruns
    assert (missing["run_id"], missing["total_return"]) == (None, None)
    assert "candles_import(" in found.undefined["reruns.covid_2020"]
    assert "gaps=" not in found.undefined["reruns.covid_2020"], "there is no such argument here"
    stored = desk.runs.get(crisis["run_id"])
    assert (stored.kind, stored.request["start_ms"], stored.request["end_ms"]) == (
        "scenario",
        YEN.start_ms,
        YEN.end_ms,
    )
    balances = [point.balance for point in stored.outcome.equity]
    assert crisis["total_return"] == pytest.approx(balances[-1] / balances[0] - 1)
    assert crisis["max_drawdown"] == pytest.approx(largest_fall(np.array(balances)))
    assert (dearer["fee"], slipped["fee"]) == (0.0008, 0.0011)
    assert desk.runs.get(dearer["run_id"]).request["fee"] == 0.0008
    assert all(row["basis"] == "measured" for row in (crisis, dearer, slipped))
    assert desk.ledger.count() == before, "nothing was tried"
    executed = len(desk.engine.runs)
    again = await desk.test(**asked)
    assert len(desk.engine.runs) == executed, "answered from the store"
    assert again.reruns == found.reruns
    own = await desk.run(end="2024-07-30", fee=0.0008)
    assert len(desk.engine.runs) == executed, "the same experiment"
    assert desk.runs.get(own).kind == "backtest"
    assert desk.ledger.count() == before + 1, "asked for as a backtest it is a trial"
    assert any(text.startswith("with fee x2 it makes") for text in found.findings)


async def test_a_rerun_that_fails_is_null_with_its_error(desk: Desk) -> None:
    run_id = await desk.run()
    desk.engine.failing_fee = 0.0012
    found = await desk.test(run_id=run_id, rerun=["fees"], scenarios=[])
    assert [row["total_return"] is None for row in found.reruns] == [False, True]
    assert found.undefined["reruns.fee x3"] == "strategy_raised: raised"
    free = await desk.test(run_id=await desk.run(fee=0.0), rerun=["fees"], scenarios=[])
    assert "nothing would change" in free.undefined["reruns.fee x2"]


async def test_a_run_that_has_changed_is_not_made_again(desk: Desk) -> None:
    run_id = await desk.run()
    desk.strategies.write("Mine", CODE + "\n# changed\n", overwrite=True)
    error = await desk.refused(run_id=run_id, rerun=["fees"])
    assert "the code of its strategy has changed since" in error.message
    assert (await desk.test(run_id=run_id)).exposure is not None, "without reruns it is analysed all the same"


async def test_the_worst_move_against_a_trade_is_by_candles(desk: Desk) -> None:
    found = await desk.test(run_id=await desk.run(leverage=5), scenarios=[])
    section = found.liquidation
    assert section is not None
    first = (1_721_433_600_000 - FIRST) // MINUTE_MS  # 2024-07-20
    rows = desk.engine.candles[first : -2 * 1_440]
    entry = desk.engine.price(1_721_433_600_000)
    worst = section["worst_adverse_move"]
    assert worst["move"] == pytest.approx(1 - rows[: (23 * 1_440), 4].min() / entry, rel=1e-9)
    assert worst["leverage_survived_up_to"] == pytest.approx(1 / (worst["move"] + 0.004))
    assert (section["leverage"], section["leverage_of_the_run"], worst["trades_known"]) == (5, 5, 1)
    assert worst["trades_liquidated"] == (1 if worst["move"] >= 0.196 else 0)
    assert "not simulated" in section["liquidations_in_jesse"]
    assert any("Jesse liquidates nothing" in text for text in found.findings)
    other = await desk.test(run_id=found.request["source"]["run_id"], scenarios=[], leverage=500)
    assert other.liquidation is not None
    assert other.liquidation["worst_adverse_move"]["trades_liquidated"] == 1
    assert any("as soon as it is opened" in text for text in other.findings)


async def test_a_run_with_a_hole_in_a_crisis_is_hypothetical_there(desk: Desk) -> None:
    desk.engine.hole = (YEN.start_ms + 3 * DAY_MS, YEN.start_ms + 4 * DAY_MS)
    found = await desk.test(run_id=await desk.run(), scenarios=["yen_carry_2024"])
    row = row_of(found, "yen_carry_2024")
    assert row["basis"] == "hypothetical"
    assert row["not_measured"].startswith("it has no balance between 2024-08-03T00:00Z and 2024-08-06T00:00Z")
    assert found.exposure is not None
    beta = found.exposure["betas"]["BTC-USDT"]["beta"]
    assert row["total_return"] == pytest.approx(-beta * row["market_falls"]["BTC-USDT"]["fall"])
    assert "largest_fall" not in row


async def test_numbers_of_the_call_have_no_market(desk: Desk) -> None:
    returns = [0.01, -0.02, 0.03, -0.01]
    found = await desk.test(returns=returns, volatility_multiplier=3)
    assert found.exposure is None
    assert (
        found.undefined["exposure"]
        == found.undefined["shocks"]
        == ("the source names no market: give run_id, session_id or market")
    )
    assert found.shocks == ()
    assert all(row["total_return"] is None for row in found.crises)
    assert "the source has no times" in found.undefined["crises.covid_2020.total_return"]
    assert found.volatility is not None
    assert found.volatility["now"]["volatility"] == pytest.approx(np.std(returns, ddof=1) * np.sqrt(365))
    assert found.volatility["stressed"]["volatility"] == pytest.approx(
        3 * np.std(returns, ddof=1) * np.sqrt(365)
    )
    assert "give leverage" in found.undefined["liquidation"]
    assert found.request["source"]["returns"] == "4 values"


async def test_balances_of_the_call_are_measured_where_they_are(desk: Desk) -> None:
    times = [YEN.start_ms + day * DAY_MS for day in range(-2, 10)]
    balances = [100.0, 90, 80, 70, 60, 66, 77, 88, 99, 110, 100, 90]
    found = await desk.test(balances=list(zip(times, balances, strict=True)))
    row = row_of(found, "yen_carry_2024")
    assert row["total_return"] == pytest.approx(110 / 80 - 1)
    assert row["largest_fall"] == pytest.approx(0.25)
    assert row["market_falls"] == {}
    assert "names no market" in found.undefined["crises.ftx_2022.total_return"]


async def test_what_is_lost_already_is_said_once(desk: Desk) -> None:
    ruined = [0.1, 0.2, 0.1, -1.0]
    found = await desk.test(returns=ruined, scenarios=[])
    assert "everything is lost as it is, and so it is with 2 times the volatility" in found.findings
    calm = await desk.test(returns=ruined, scenarios=[], volatility_multiplier=0)
    (told,) = (text for text in calm.findings if "times the volatility" in text)
    assert told.endswith(" instead of losing everything")
    near = await desk.test(returns=[0.1, 0.2, 0.1, -0.6], scenarios=[], volatility_multiplier=3)
    (told,) = (text for text in near.findings if "times the volatility" in text)
    assert told.endswith("and it loses everything instead of -41.92%")


COVID = next(crisis for crisis in CRISES if crisis.name == "covid_2020")


#: Midnights from 2020-01-01 to 2020-04-30.
DAYS_OF_2020 = [COVID.start_ms + day * DAY_MS for day in range(-66, 55)]


async def test_balances_around_a_crisis_are_no_measurement_of_it(desk: Desk) -> None:
    first, last = COVID.start_ms + DAY_MS, COVID.start_ms + 9 * DAY_MS  # 8 to 16 March
    holed = [(time, 100.0) for time in DAYS_OF_2020 if not first <= time <= last]
    found = await desk.test(balances=holed, scenarios=["covid_2020"])
    row = row_of(found, "covid_2020")
    assert (row["total_return"], row["basis"], "largest_fall" in row) == (None, None, False)
    reason = (
        "it has no balance between 2020-03-07T00:00Z and 2020-03-17T00:00Z, 10 days; "
        "a measurement takes one every 1.5 days here"
    )
    assert row["not_measured"] == reason
    assert found.undefined["crises.covid_2020.total_return"].startswith(reason)
    assert "nothing can be said about covid_2020: see undefined" in found.findings
    whole = await desk.test(balances=[(time, 100.0) for time in DAYS_OF_2020], scenarios=["covid_2020"])
    assert row_of(whole, "covid_2020")["basis"] == "measured"


@pytest.mark.parametrize(
    "times",
    [
        [time for time in DAYS_OF_2020 if time != COVID.start_ms + 5 * DAY_MS],
        [DAYS_OF_2020[day] for day in (0, 31, 60, 91, 120)],
    ],
    ids=["without 12 March", "first of every month"],
)
async def test_the_day_that_matters_may_be_the_one_missing(desk: Desk, times: list[int]) -> None:
    found = await desk.test(balances=[(time, 100.0) for time in times], scenarios=["covid_2020"])
    row = row_of(found, "covid_2020")
    assert (row["total_return"], row["basis"]) == (None, None)
    assert "it has no balance between" in row["not_measured"]


@pytest.mark.parametrize("balances", [[100.0], [100.0, 100.0, 100.0], [100.0, 0.0, 50.0], [100.0, -5.0]])
async def test_little_to_stress_ends_in_reasons(desk: Desk, balances: list[float]) -> None:
    points = [(YEN.start_ms + day * DAY_MS, balance) for day, balance in enumerate(balances)]
    found = await desk.test(balances=points, leverage=2)
    assert found.conventions
    if len(balances) < 3:
        assert found.volatility is None
        assert found.undefined["volatility"]


async def test_what_cannot_be_meant_is_refused(desk: Desk) -> None:
    run_id = await desk.run()
    inline = {"returns": [0.1, 0.2]}
    market = {"exchange": EXCHANGE, "symbols": ["BTC-USDT", "ETH-USDT"], "start_date": "2024-07-20",
              "end_date": "2024-07-28"}  # fmt: skip
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"run_id": run_id, "scenarios": ["flood"]}, "scenarios has flood"),
        ({"run_id": run_id, "shocks": {}}, "0 symbols"),
        ({"run_id": run_id, "shocks": {"BTC-USDT": -1.5}}, "is -1.5"),
        ({"run_id": run_id, "shocks": {"BTC-USDT": -0.5, "btc/usdt": -0.1}}, "shocks is"),
        ({"run_id": run_id, "shocks": {"?": -0.5}}, "not a trading pair"),
        ({**inline, "shocks": {"BTC-USDT": -0.5}}, "names no market"),
        ({**inline, "rerun": ["fees"]}, "without a run"),
        ({"run_id": run_id, "volatility_multiplier": -1}, "volatility_multiplier is -1"),
        ({"run_id": run_id, "correlation": 1.5}, "correlation is 1.5"),
        ({"run_id": run_id, "correlation": [[1, 0], [0, 1]]}, "one series"),
        ({"market": market, "correlation": [[1.0]]}, "1 rows for 2 symbols"),
        ({"market": market, "correlation": [[1, 2], [2, 1]]}, "outside -1 to 1"),
        ({"run_id": run_id, "leverage": 0}, "leverage is 0"),
        ({"run_id": run_id, "fee_multipliers": [2]}, "rerun has no 'fees'"),
        ({"run_id": run_id, "slippage_bps": [2]}, "rerun has no 'slippage'"),
        ({"run_id": run_id, "rerun": ["fees"], "fee_multipliers": [0]}, "fee_multipliers is [0.0]"),
        ({"run_id": run_id, "rerun": ["fees"], "fee_multipliers": []}, "empty"),
        ({"run_id": run_id, "rerun": ["slippage"], "slippage_bps": [501]}, "slippage_bps is [501.0]"),
    ]
    for arguments, message in refusals:
        error = await desk.refused(**arguments)
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert message in error.message, (arguments, error.message)
    dear = await desk.run(fee=0.05)
    error = await desk.refused(run_id=dear, rerun=["fees"])
    assert "a fee of 0.1 a side" in error.message
    assert (await desk.refused(run_id="run_none")).code is ErrorCode.RUN_NOT_FOUND


async def test_a_job_is_asked_for_again_unless_its_numbers_are_gone(desk: Desk) -> None:
    run_id = await desk.run()
    asked = stress(run_id=run_id, rerun=["fees"], scenarios=["ftx_2022"], shocks={"BTC-USDT": -0.1})
    first = await desk.service.test(asked, wait_seconds=60)
    executed = len(desk.engine.runs)
    again = await desk.service.resume(first.job_id, wait_seconds=60)
    assert again.job_id != first.job_id
    assert again.result == first.result
    assert len(desk.engine.runs) == executed, "reruns that were finished stay so"
    inline = await desk.service.test(stress(returns=[0.1, 0.2]), wait_seconds=60)
    with pytest.raises(ResearchError, match="are not kept"):
        await desk.service.resume(inline.job_id, wait_seconds=60)
    other = (await desk.jobs.page(kind="backtest"))[0][0]
    with pytest.raises(ResearchError, match="not one of stress_test"):
        await desk.service.resume(other.job_id, wait_seconds=60)


async def test_weights_need_no_returns(desk: Desk) -> None:
    market = {
        "exchange": EXCHANGE,
        "symbols": ["BTC-USDT"],
        "start_date": "2024-07-20",
        "end_date": "2024-07-21",
    }
    found = await desk.test(market=market, scenarios=["covid_2020"])
    assert found.volatility is None, "one bar has no return"
    assert found.shocks[0]["profit"] == pytest.approx(-0.5)
    assert found.crises[0]["total_return"] == pytest.approx(-0.44)
    assert found.findings[0].startswith("the returns could not be stressed")
