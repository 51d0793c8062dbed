"""The analysis of stored runs and of numbers in the call, over real stores."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.runs import SqlRunStore
from jesse_mcp.analytics.jesse_metrics import NOT_FROM_RESULTS, JesseResults, jesse_metrics
from jesse_mcp.analytics.trade_table import TradeTable
from jesse_mcp.domain.backtests import (
    BacktestRequest,
    CandlePipeline,
    EngineOutcome,
    EquityPoint,
    Route,
    Trade,
)
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.services.analysis_source import AnalysisSources, source_arguments
from jesse_mcp.services.jesse_comparison import reproduced
from jesse_mcp.services.market_bars import MarketReader
from jesse_mcp.services.performance_analysis import PerformanceResult, PerformanceService
from jesse_mcp.services.performance_request import PerformanceArguments, PerformanceSection

START = 1_704_067_200_000
DAY = 86_400_000
EXCHANGE = "Binance Perpetual Futures"
PROFITS = (500.0, -300.0, 200.0, -100.0, -250.0, 400.0)


def trade(number: int, pnl: float, fee: float = 1.0) -> Trade:
    return Trade(
        strategy="Mine",
        exchange=EXCHANGE,
        symbol="BTC-USDT",
        type="long" if number % 2 == 0 else "short",
        opened_at=START + number * DAY,
        closed_at=START + number * DAY + DAY // 2,
        entry_price=100,
        exit_price=101,
        qty=1,
        size=100,
        fee=fee,
        pnl=pnl,
        pnl_percentage=None,
        holding_period=DAY / 2000,
    )


def request(days: int, **changes: Any) -> BacktestRequest:
    known = {
        "exchange": EXCHANGE,
        "exchange_type": "futures",
        "routes": (Route(strategy="Mine", symbol="BTC-USDT", timeframe="1h"),),
        "start_ms": START,
        "end_ms": START + days * DAY,
        "starting_balance": 10_000.0,
        "fee": 0.0,
        "warm_up_candles": 0,
        "fast_mode": True,
    }
    return BacktestRequest.model_validate({**known, **changes})


def record(
    profits: tuple[float, ...] = PROFITS,
    *,
    fee: float = 1.0,
    equity: bool = True,
    changes: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
) -> RunRecord:
    """A run with one trade a day and Jesse's metrics of it, altered by ``metrics``."""
    balances = [10_000.0, *(10_000.0 + np.cumsum(profits)).tolist()]
    points = [
        EquityPoint(timestamp=START + day * DAY, balance=balance) for day, balance in enumerate(balances)
    ]
    asked = request(len(profits), **(changes or {}))
    made = RunRecord(
        run_id="run_one",
        kind="backtest",
        created_at="2024-02-01T00:00:00Z",
        fingerprint="f",
        strategies=("Mine",),
        symbols=("BTC-USDT",),
        title=None,
        request=asked.model_dump(mode="json"),
        code_hash="c",
        candle_hashes={},
        warnings=("BTC-USDT on Binance: 3 price outliers",),
        outcome=EngineOutcome(
            metrics={},
            undefined={},
            trades=tuple(trade(number, pnl, fee) for number, pnl in enumerate(profits)),
            equity=tuple(points),
            hyperparameters={},
            engine={},
        ),
    )
    said = {**reproduced(made), **dict.fromkeys(NOT_FROM_RESULTS, 0), **(metrics or {})}
    outcome = made.outcome.model_copy(update={"metrics": said})
    if not equity:
        outcome = outcome.model_copy(update={"equity": (), "equity_missing_reason": "its log has none"})
    return made.model_copy(update={"outcome": outcome})


class Desk:
    def __init__(self, folder: Path) -> None:
        self.database = Database.at(folder / "research.sqlite")
        self.runs = SqlRunStore(self.database)
        candles = ParquetCandleStore(folder / "candles")
        sources = AnalysisSources(self.runs, MarketReader(candles), lambda name: name)
        self.service = PerformanceService(sources, candles)

    async def of(self, made: RunRecord, *include: PerformanceSection, **more: Any) -> PerformanceResult:
        self.runs.add(made)
        return await self.ask(include or None, run_id=made.run_id, **more)

    async def ask(
        self,
        include: tuple[PerformanceSection, ...] | None = None,
        *,
        run_id: str | None = None,
        returns: list[float] | None = None,
        balances: list[tuple[int, float]] | None = None,
        **more: Any,
    ) -> PerformanceResult:
        source = source_arguments(run_id, returns, balances, None, None)
        found = await self.service.analyse(PerformanceArguments(source=source, include=include, **more))
        json.dumps(found.model_dump(mode="json"), allow_nan=False)
        for name, value in found.performance.items():
            assert (value is None) == (name in found.undefined), name
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.database.close()


async def test_a_run_by_default(desk: Desk) -> None:
    found = await desk.of(record())
    assert (found.source, found.periods, found.periods_per_year) == ("run run_one", 6, 365)
    assert found.span == "2024-01-01T00:00Z to 2024-01-07T00:00Z"
    assert found.performance["total_return"] == pytest.approx(0.045)
    assert set(found.sections) == {"trades"}
    assert found.sections["trades"]["net_profit"] == 450
    assert found.sections["trades"]["time_in_market"] == pytest.approx(0.5)
    assert found.sections["trades"]["long"]["trades"] == 3
    assert "BTC-USDT on Binance: 3 price outliers" in found.findings
    assert "only 6 trades were closed: their statistics are rough" in found.findings
    assert (
        "all of the net profit comes from one trade: without it -50.00 is left of +450.00" in found.findings
    )
    assert found.undefined["sharpe_standard_error"] == "6 returns are fewer than 10"
    assert found.undefined["trades.runs_test_z"].startswith("3 wins and 3 losses")


async def test_disagreements_name_the_convention(desk: Desk) -> None:
    losing_first = (-500.0, 300.0, 0.0, 200.0, -100.0, 250.0)
    found = await desk.of(record(losing_first))
    by_name = {line["metric"]: line for line in found.disagreements}
    assert set(by_name) == {
        "max_drawdown",
        "calmar_ratio",
        "sortino_ratio",
        "win_rate",
        "expectancy",
        "longest_drawdown",
    }
    assert by_name["win_rate"]["ours"] == pytest.approx(0.5)
    assert by_name["win_rate"]["jesse"] == pytest.approx(0.6)
    assert "exactly zero" in by_name["win_rate"]["why"]
    assert by_name["max_drawdown"]["ours"] == pytest.approx(0.05)
    assert by_name["max_drawdown"]["jesse"] < 0.05
    assert "second daily balance" in by_name["max_drawdown"]["why"]


async def test_rates_and_jesses_periods_a_year_explain_differences(desk: Desk) -> None:
    found = await desk.of(record(metrics={"annualization": 252, "sharpe_ratio": 1.0}), risk_free_rate=0.05)
    (sharpe,) = (line for line in found.disagreements if line["metric"] == "sharpe_ratio")
    assert "Jesse has 252 periods a year, ours are 365" in sharpe["why"]
    assert "risk_free_rate is 0.05, Jesse has none" in sharpe["why"]
    assert "its own trades and balances give" in sharpe["why"]


async def test_a_number_nothing_explains_is_said_to_be_one(desk: Desk) -> None:
    found = await desk.of(record(metrics={"gross_profit": 7.0}), "jesse")
    (line,) = (line for line in found.disagreements if line["metric"] == "gross_profit")
    assert line["jesse"] == 7
    assert "its own trades and balances give 1100.0 by Jesse's formula" in line["why"]
    assert "no convention" in line["why"]
    assert found.sections["jesse"]["not_reproduced"] == {"gross_profit": 1100.0}
    assert found.jesse is not None
    assert found.jesse["gross_profit"] == 7


async def test_a_run_without_balances_still_has_its_trades(desk: Desk) -> None:
    found = await desk.of(record(equity=False), "trades", "drawdowns", "jesse")
    assert set(found.undefined.values()) >= {"its log has none"}
    assert all(value is None for value in found.performance.values())
    assert found.sections["trades"]["trades"] == 6
    assert found.undefined["drawdowns"] == "its log has none"
    assert found.findings[0] == "the returns could not be analysed: its log has none"
    assert found.sections["jesse"]["not_reproduced"] == {}
    assert "without daily balances" in found.undefined["jesse.not_reproduced"]


async def test_fees_that_eat_the_profit(desk: Desk) -> None:
    found = await desk.of(record((10.0, -30.0), fee=15.0))
    assert "fees of 30.00 turned a profit of 10.00 into -20.00" in found.findings


async def test_a_share_of_one_trade(desk: Desk) -> None:
    profits = (620.0, *(38.0,) * 10, *(-10.0,) * 10)
    found = await desk.of(record(profits))
    assert "62% of the gross profit comes from one trade; without it +280.00 is left" in found.findings
    # Ten wins after one another and then ten losses are no chance.
    assert any(line.startswith("streaks of wins and losses are longer") for line in found.findings)


async def test_the_candles_of_an_altered_run_are_not_the_stored_ones(desk: Desk) -> None:
    pipeline = CandlePipeline(name="gaussian_noise", seed=1, batch_size=60)
    made = record(changes={"pipeline": pipeline.model_dump()})
    found = await desk.of(made, "excursions", "benchmark")
    for section in ("excursions", "benchmark"):
        assert found.undefined[section] == "the run was traded on candles altered by gaussian_noise"


async def test_candles_that_are_not_stored(desk: Desk) -> None:
    found = await desk.of(record(), "excursions")
    assert found.undefined["excursions"].startswith("the candles of the run are gone: no candles of BTC-USDT")


async def test_returns_of_the_call(desk: Desk) -> None:
    returns = np.random.default_rng(1).normal(0.0005, 0.02, 120).tolist()
    found = await desk.ask(returns=returns)
    assert (found.sections, found.span, found.disagreements, found.jesse) == ({}, None, (), None)
    assert not any(name.startswith("trades") for name in found.undefined)
    assert any("includes zero: 120 periods do not tell it from luck" in line for line in found.findings)
    explicit = await desk.ask(("trades", "calendar", "excursions", "jesse", "benchmark"), returns=returns)
    assert explicit.undefined["trades"] == "the source does not know of trades"
    assert explicit.undefined["calendar"] == "the source has no timestamps"
    assert explicit.undefined["jesse"] == "the source is no run"
    assert "give benchmark_returns" in explicit.undefined["benchmark"]
    assert explicit.sections == {}


async def test_a_benchmark_of_the_call(desk: Desk) -> None:
    returns = [0.01, -0.02, 0.03, 0.0]
    found = await desk.ask(("benchmark",), returns=returns, benchmark_returns=(0.005, -0.01, 0.015, 0.0))
    assert found.sections["benchmark"]["beta"] == pytest.approx(2)
    short = await desk.ask(("benchmark",), returns=returns, benchmark_returns=(0.1,))
    assert short.undefined["benchmark.beta"] == "4 returns cannot be compared with 1 of the benchmark"


async def test_rolling_and_drawdowns_of_balances(desk: Desk) -> None:
    balances = [(START + day * DAY, 100.0 + (day % 7) * 3 - day * 0.1) for day in range(200)]
    found = await desk.ask(("rolling", "drawdowns", "calendar"), balances=balances, rolling_window=20)
    rolled = found.sections["rolling"]
    assert (rolled["windows"], len(rolled["rows"])) == (180, 60)
    assert rolled["rows"][0][0] == "2024-01-21T00:00Z"
    assert rolled["rows"][-1][0] == "2024-07-18T00:00Z"
    assert rolled["rows"][-1][1] == rolled["summary"]["total_return"]["latest"]
    deepest = found.sections["drawdowns"]["deepest"]
    assert len(deepest) <= 10
    assert deepest[0]["peak_time"] < deepest[0]["trough_time"]
    short = await desk.ask(("rolling",), balances=balances[:5])
    assert short.undefined["rolling"] == "4 returns are fewer than the window of 90"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"risk_free_rate": -1.0}, "risk_free_rate is -1.0"),
        ({"target_return": 12.0}, "target_return is 12.0"),
        ({"rolling_window": 5}, "has no 'rolling'"),
        ({"rolling_window": 1, "include": ("rolling",)}, "rolling_window is 1"),
        ({"seed": 3}, "has no 'intervals'"),
        ({"seed": -3, "include": ("intervals",)}, "seed is -3"),
        ({"benchmark_returns": (0.1,)}, "has no 'benchmark'"),
    ],
)
async def test_nonsense_is_refused(desk: Desk, arguments: dict[str, Any], says: str) -> None:
    source = source_arguments(None, [0.1, 0.2], None, None, None)
    with pytest.raises(ResearchError, match=says) as caught:
        await desk.service.analyse(PerformanceArguments(source=source, **arguments))
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.hint


def test_jesses_conventions_by_hand() -> None:
    """Daily balances 100, 90, 108, 81 and three trades with a profit, nothing, and a loss."""
    opened = START + np.arange(3, dtype=np.int64) * DAY
    trades = TradeTable(
        np.array([8.0, 0.0, -27.0]), np.full(3, 0.5), opened, opened + 60_000, np.array([True, False, True])
    )
    times = START + np.arange(4, dtype=np.int64) * DAY
    balances = np.array([100.0, 90, 108, 81])
    found = jesse_metrics(JesseResults(trades, balances, times, 100.0, START, START + 3 * DAY))
    returns = np.array([-0.1, 0.2, -0.25])
    mean, root = -0.05, np.sqrt(365)
    rho = abs(np.corrcoef([-0.1, 0.2], [0.2, -0.25])[0, 1])
    penalty = np.sqrt(1 + 2 * (2 / 3 * rho + 1 / 3 * rho**2))
    expected = {
        "win_rate": 0.5,
        "expectancy": 8 * 0.5 - 27 * 0.5,
        "win_rate_longs": 0.5,
        "win_rate_shorts": 0,
        "net_profit_percentage": -19,
        # From 108; the 90 before it is no drawdown, nor is what was lost on the first day.
        "max_drawdown": -25,
        "max_underwater_period": 1,
        "annual_return": (0.81 ** (365 / 3) - 1) * 100,
        "sharpe_ratio": mean / returns.std(ddof=1) * root,
        # Divided by four balances, not by three returns.
        "sortino_ratio": mean / np.sqrt((0.01 + 0.0625) / 4) * root,
        "smart_sharpe": mean / returns.std(ddof=1) * root / penalty,
        "omega_ratio": 0.2 / 0.35,
        "calmar_ratio": (0.81 ** (365 / 3) - 1) / 0.25,
        "serenity_index": None,
        "current_streak": -1,
        "winning_streak": 1,
        "avg_trades_per_day": 3 / (3 + 1 / 1440),
        "finishing_balance": 81,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


MONEY = st.floats(-1e4, 1e4).map(lambda value: round(value, 2))


@given(st.lists(MONEY, max_size=12), st.lists(st.floats(-1e4, 1e5), max_size=12))
@settings(deadline=None)
def test_jesses_metrics_are_numbers_or_none(profits: list[float], balances: list[float]) -> None:
    n = len(profits)
    opened = START + np.arange(n, dtype=np.int64) * DAY
    trades = TradeTable(np.array(profits), np.ones(n), opened, opened + 60_000, np.arange(n) % 2 == 0)
    times = START + np.arange(len(balances), dtype=np.int64) * DAY
    results = JesseResults(trades, np.array(balances), times, 10_000.0, START, START + DAY)
    for name, value in jesse_metrics(results).items():
        assert value is None or np.isfinite(value), name
