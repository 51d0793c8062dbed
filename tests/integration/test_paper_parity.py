"""A paper session against the backtest of the same minutes: not one bit of any number may differ."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from jesse_mcp.adapters.embedded.engine import EmbeddedEngine
from jesse_mcp.adapters.embedded.paper import EmbeddedPaperEngine
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.backtests import BacktestRequest, EngineOutcome, EngineRun, Route
from jesse_mcp.domain.candles import CandleArray
from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.domain.paper import PaperStep, minute_order_of
from paper_cases import minutes_of, replayed, rows_of, session_of, setup_of, work
from parity_cases import (
    BUNDLED,
    DAY_MS,
    FIRST_MS,
    HERE,
    MINUTE_MS,
    SETUPS,
    WARM_UP_DAYS,
    Candles,
    Case,
    request_of,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAYS = 5
START_MS = FIRST_MS + WARM_UP_DAYS * DAY_MS
HOUR_MS = 60 * MINUTE_MS
SPOT, CROSS_1X, ISOLATED_1X, CROSS_3X, ISOLATED_3X = SETUPS

#: Everything a strategy can do that the others do not: every hook, random numbers, partial exits, an open
#: position at the end, orders of its last moment.
BUSY = """
import random

import numpy as np
from jesse import utils
from jesse.strategies import Strategy


class Busy(Strategy):
    def before(self):
        self.vars["befores"] = self.vars.get("befores", 0) + 1
        self.vars["luck"] = random.random() + np.random.random()

    def after(self):
        self.vars["afters"] = self.vars.get("afters", 0) + 1

    def should_long(self):
        return self.vars["luck"] < 0.5

    def should_short(self):
        return self.exchange_type == "futures" and self.vars["luck"] > 1.5

    def go_long(self):
        qty = utils.size_to_qty(0.3 * self.available_margin, self.price, fee_rate=self.fee_rate)
        self.buy = [(qty, self.price), (qty / 2, self.price * 0.997)]

    def go_short(self):
        qty = utils.size_to_qty(0.3 * self.available_margin, self.price, fee_rate=self.fee_rate)
        self.sell = [(qty, self.price), (qty / 2, self.price * 1.003)]

    def should_cancel_entry(self):
        return self.vars["luck"] > 1.2

    def on_open_position(self, order):
        side = 1 if self.is_long else -1
        qty, entry = abs(self.position.qty), self.position.entry_price
        self.stop_loss = qty, entry * (1 - 0.008 * side)
        self.take_profit = [
            (qty / 2, entry * (1 + 0.004 * side)),
            (qty / 4, entry * (1 + 0.007 * side)),
            (qty / 4, entry * (1 + 0.012 * side)),
        ]

    def on_reduced_position(self, order):
        self.stop_loss = abs(self.position.qty), self.position.entry_price

    def update_position(self):
        if self.vars["luck"] > 1.9:
            self.liquidate()

    def on_close_position(self, order, closed_trade):
        self.log(f"closed after {self.vars['befores']} {self.vars['afters']} {self.index} {self.time}")

    def on_route_open_position(self, strategy):
        self.vars["others"] = self.vars.get("others", 0) + 1

    def before_terminate(self):
        self.log(f"before the end {self.position.qty} {self.portfolio_value}")

    def terminate(self):
        self.log(f"the end {self.vars}")
"""

#: Always in the market without a stop, so that at high leverage it is liquidated.
BOLD = """
from jesse import utils
from jesse.strategies import Strategy


class Bold(Strategy):
    def should_long(self):
        return self.index % 3 == 0 and self.available_margin > 100

    def should_short(self):
        return self.index % 3 == 1 and self.available_margin > 100

    def size(self):
        margin = 0.2 * self.available_margin * self.leverage
        return utils.size_to_qty(margin, self.price, fee_rate=self.fee_rate)

    def go_long(self):
        self.buy = self.size(), self.price

    def go_short(self):
        self.sell = self.size(), self.price

    def update_position(self):
        if self.index % 40 == 0:
            self.liquidate()
"""

#: Logs what it sees when it is asked.
WATCHING = """
import json

from jesse.strategies import Strategy


class Watching(Strategy):
    def should_long(self):
        self.log(json.dumps([self.time, self.candles.tolist()]))
        return False

    def go_long(self):
        pass
"""
OWN = {"Busy": BUSY, "Bold": BOLD, "Watching": WATCHING}


class Bench:
    """Both engines, the candles, and every strategy."""

    def __init__(self, engine: EmbeddedEngine, candles: Candles) -> None:
        self.engine = engine
        self.paper = EmbeddedPaperEngine(engine.pool, step_timeout=120, memory_mb=2_048)
        self.candles = candles

    def pinned(self, request: BacktestRequest, candles: Candles | None = None) -> EngineRun:
        names = {route.strategy for route in request.routes}
        source = {f"strategies/{name}/__init__.py": code_of(name) for name in names}
        slices = (candles or self.candles).slices(request)
        return EngineRun(request=request, source=source, candles=slices)

    async def backtest(self, run: EngineRun) -> EngineOutcome:
        return await self.engine.run(run, lambda _fraction, _message: None)

    async def same(
        self, request: BacktestRequest, candles: Candles | None = None, *, size: int = 1_440
    ) -> tuple[PaperStep, EngineOutcome]:
        """Both of them, proved to be equal."""
        run = self.pinned(request, candles)
        gaps = len({tuple(rows_of(part)[:, 0]) for part in run.candles}) > 1 or any(
            (np.diff(rows_of(part)[:, 0]) != MINUTE_MS).any() for part in run.candles
        )
        session = session_of(request, "observed" if gaps else "dense")
        step, outcome = await replayed(self.paper, run, session, size)
        assert_same(step, outcome, await self.backtest(run))
        return step, outcome


def code_of(name: str) -> str:
    if name in OWN:
        return OWN[name]
    folders = [folder / name for folder in (BUNDLED, HERE / "strategies_under_test")]
    return next(folder / "__init__.py" for folder in folders if folder.is_dir()).read_text()


def assert_same(step: PaperStep, ours: EngineOutcome, backtest: EngineOutcome) -> None:
    same = {"metrics", "undefined", "trades", "equity", "hyperparameters", "engine", "log_tail"}
    assert ours.model_dump(include=same) == backtest.model_dump(include=same)
    assert step.error is None
    # What was said on the way is what there is in the end, but for what the end brings.
    assert step.trades == ours.trades[: len(step.trades)]
    assert all(trade.closed_at >= step.equity[-1].timestamp for trade in ours.trades[len(step.trades) :])
    daily = [(point.timestamp, point.balance) for point in ours.equity]
    assert list(step.daily) == daily[: len(step.daily)]
    assert len(daily) - len(step.daily) in (0, 1)
    by_minute = {point.timestamp: point.equity for point in step.equity}
    assert len(by_minute) == step.minutes
    for timestamp, balance in step.daily[1:]:
        assert by_minute[timestamp] == balance
    assert_orders_are_those_of_the_trades(step)


def assert_orders_are_those_of_the_trades(step: PaperStep) -> None:
    numbers = [order.number for order in step.orders if order.event == "submitted"]
    assert numbers == list(range(1, len(numbers) + 1))
    executed = [order for order in step.orders if order.event == "executed"]
    in_trades = sorted(
        (order["executed_at"], order["type"], abs(float(str(order["filled_qty"]))), order["price"])
        for trade in step.trades
        for order in trade.orders
    )
    closed = [(float(order.timestamp), order.type, order.qty, order.price) for order in executed]
    if not step.positions:
        assert sorted(closed) == in_trades
    assert set(in_trades) <= set(closed)
    ended = {order.number for order in step.orders if order.event != "submitted"}
    assert {order.number for order in step.open_orders} == set(numbers) - ended


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    cache = tmp_path_factory.mktemp("cache")
    engine = EmbeddedEngine(cache, engine_python, capacity=1, run_timeout=120, run_memory_mb=2_048)
    candles = Candles(tmp_path_factory.mktemp("candles"))
    write(candles, lambda rows, _seed: rows)
    yield Bench(engine, candles)
    await engine.close()


def write(
    candles: Candles, altered: Callable[[CandleArray, int], CandleArray], *, annual_volatility: float = 0.6
) -> Candles:
    prices = {"BTC-USDT": 20_000.0, "ETH-USDT": 1_500.0, "SOL-USDT": 20.0}
    for seed, (symbol, price) in enumerate(prices.items()):
        rows = synthetic_candles(
            FIRST_MS,
            (WARM_UP_DAYS + DAYS) * 1_440,
            seed,
            start_price=price,
            annual_volatility=annual_volatility,
        )
        candles.write(symbol, altered(rows, seed))
    return candles


def case(strategy: str, setup: tuple[object, ...] = CROSS_3X, **more: bool) -> BacktestRequest:
    chosen = {"extra_data": False, "overrides": False, **more}
    return request_of(Case(strategy, setup, fast_mode=False, **chosen), DAYS)  # type: ignore[arg-type]


def own(
    strategy: str, timeframe: str, symbols: Sequence[str] = ("BTC-USDT",), **changes: object
) -> BacktestRequest:
    routes = [Route(strategy=strategy, symbol=symbol, timeframe=timeframe).model_dump() for symbol in symbols]
    return BacktestRequest.model_validate(
        {**case("TrendFollowing").model_dump(), "routes": routes, **changes}
    )


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(case("LadderEntries", SPOT, extra_data=True), id="spot-more-data"),
        pytest.param(case("TrendFollowing", CROSS_1X), id="futures-1x"),
        pytest.param(case("MeanReversion", ISOLATED_3X, overrides=True), id="isolated-hyperparameters"),
        pytest.param(case("LadderEntries", CROSS_3X, extra_data=True), id="limit-and-stop-orders"),
        pytest.param(case("SharedRotation", CROSS_3X, overrides=True), id="two-routes-and-data-routes"),
        pytest.param(case("SharedRotation", SPOT), id="spot-two-routes"),
        pytest.param(own("Busy", "5m"), id="every-hook-and-random-numbers"),
        pytest.param(own("Busy", "15m", ["BTC-USDT", "ETH-USDT", "SOL-USDT"]), id="three-routes"),
        pytest.param(own("Busy", "1m", end_ms=START_MS + DAY_MS), id="every-minute"),
        pytest.param(own("Busy", "1h", warm_up_candles=0), id="no-warm-up"),
    ],
)
async def test_a_replay_is_the_backtest(request_: BacktestRequest, bench: Bench) -> None:
    _, outcome = await bench.same(request_)
    assert len(outcome.trades) >= 3, "equality of nothing means nothing"


async def test_routes_of_several_strategies_and_timeframes(bench: Bench) -> None:
    routes = [
        {"strategy": "Busy", "symbol": "ETH-USDT", "timeframe": "15m"},
        {"strategy": "LadderEntries", "symbol": "BTC-USDT", "timeframe": "30m"},
        {"strategy": "Bold", "symbol": "SOL-USDT", "timeframe": "2h"},
    ]
    data_routes = [
        {"symbol": "SOL-USDT", "timeframe": "1D"},
        {"symbol": "BTC-USDT", "timeframe": "3m"},
    ]
    request = own("Busy", "15m", routes=routes, data_routes=data_routes, warm_up_candles=14)
    _, outcome = await bench.same(request)
    assert len({trade.strategy for trade in outcome.trades}) == 3


async def test_liquidations(bench: Bench, tmp_path: Path) -> None:
    wild = write(Candles(tmp_path), lambda rows, _seed: rows, annual_volatility=2.0)
    finals = {}
    for mode in ("isolated", "cross"):
        request = own("Bold", "15m", leverage=20, leverage_mode=mode, fee=0.0002)
        step, outcome = await bench.same(request, wild)
        finals[mode] = outcome.metrics["finishing_balance"]
        liquidated = outcome.log_tail.count("liquidated at")
        assert (liquidated > 0) == (mode == "isolated")
        assert len(step.trades) >= 10
    assert finals["isolated"] != finals["cross"]


async def test_an_open_position_at_the_end_is_closed_by_the_end(bench: Bench) -> None:
    request = own("Bold", "1h", warm_up_candles=0, leverage=2)
    step, outcome = await bench.same(request)
    (position,) = step.positions
    last = outcome.trades[-1]
    assert len(outcome.trades) == len(step.trades) + 1
    assert (position.side, position.size, position.entry_price) == (last.type, last.qty, last.entry_price)
    assert position.current_price == last.exit_price
    assert position.opened_at == last.opened_at
    assert position.leverage == 2
    assert position.liquidation_price is None, "cross has none in Jesse"
    assert step.equity[-1].unrealized_pnl == position.unrealized_pnl != 0


async def test_what_ends_the_backtest_ends_the_session(bench: Bench) -> None:
    """Its exits come to more than the spot account holds after fees."""
    run = bench.pinned(own("Busy", "15m", exchange="Binance Spot", exchange_type="spot"))
    session = session_of(run.request)
    process = await bench.paper.open(setup_of(run, session))
    step = await work(process, minutes_of(run, session))
    await process.close()
    with pytest.raises(ResearchError, match="InsufficientBalance") as backtest:
        await bench.backtest(run)
    assert step.error is not None
    for part in ("code", "message", "hint"):
        assert step.error[part] == backtest.value.to_dict()[part]
    assert step.error["details"]["traceback"] != ""
    assert 0 < step.minutes < len(minutes_of(run, session))


async def test_steps_of_any_size_say_the_same(bench: Bench) -> None:
    request = own("Busy", "3m", ["BTC-USDT", "ETH-USDT"], end_ms=START_MS + DAY_MS // 2)
    run = bench.pinned(request)
    said = [await replayed(bench.paper, run, session_of(request), size) for size in (1, 7, 500)]
    assert len(said[0][0].trades) > 5
    assert said[0][0] == said[1][0] == said[2][0]
    outcomes = [outcome.model_dump(exclude={"timings", "log_tail"}) for _, outcome in said]
    assert outcomes[0] == outcomes[1] == outcomes[2]


def jumps_in(rows: CandleArray, seed: int) -> CandleArray:
    """Every 20 minutes or so a candle opens away from the close before, across resting orders."""
    generator = np.random.default_rng(seed)
    jumping = generator.random(len(rows)) < 0.05
    level = np.cumsum(np.where(jumping, generator.normal(0, 0.004, len(rows)), 0.0))
    level -= level[WARM_UP_DAYS * 1_440]
    jumped = rows.copy()
    jumped[:, 1:5] = np.round(rows[:, 1:5] * np.exp(level)[:, None], 4)
    return jumped


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(case("LadderEntries"), id="limit-and-stop-orders"),
        pytest.param(own("Busy", "15m", ["SOL-USDT", "BTC-USDT"]), id="two-routes"),
        pytest.param(
            own("Bold", "15m", leverage=20, leverage_mode="isolated", fee=0.0002), id="liquidations"
        ),
    ],
)
async def test_candles_that_open_away_from_the_close_before(
    request_: BacktestRequest, bench: Bench, tmp_path: Path
) -> None:
    _, outcome = await bench.same(request_, write(Candles(tmp_path), jumps_in))
    assert len(outcome.trades) >= 3


def gaps_in(rows: CandleArray, seed: int) -> CandleArray:
    """Single minutes, an outage of each series at another time, and one of all."""
    generator = np.random.default_rng(seed)
    kept = generator.random(len(rows)) > 0.01
    first = (WARM_UP_DAYS + 1 + seed) * 1_440
    kept[first : first + 200] = False
    kept[(WARM_UP_DAYS + 4) * 1_440 - 30 : (WARM_UP_DAYS + 4) * 1_440 + 45] = False
    return rows[kept]


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(case("SharedRotation"), id="two-routes"),
        pytest.param(case("LadderEntries"), id="limit-and-stop-orders"),
        pytest.param(case("LadderEntries", SPOT), id="spot"),
        pytest.param(own("Busy", "5m", ["SOL-USDT", "BTC-USDT"]), id="routes-not-in-order-of-name"),
    ],
)
async def test_missing_minutes(request_: BacktestRequest, bench: Bench, tmp_path: Path) -> None:
    _, outcome = await bench.same(request_, write(Candles(tmp_path), gaps_in))
    assert len(outcome.trades) >= 3


@pytest.mark.parametrize("warm_up_candles", [80, 330], ids=["enough-warm-up", "warm-up-to-be-completed"])
async def test_series_that_begin_later_than_the_session(
    warm_up_candles: int, bench: Bench, tmp_path: Path
) -> None:
    """Trading begins with the first minute at which every series has been seen, or has its warm-up."""

    def late(rows: CandleArray, seed: int) -> CandleArray:
        first = (WARM_UP_DAYS * 1_440) + 95 * seed
        kept = np.ones(len(rows), dtype=bool)
        kept[WARM_UP_DAYS * 1_440 : first] = False
        if seed == 1:
            # A part of its warm-up too: 80 hours of 336 are left.
            kept[: (WARM_UP_DAYS * 24 - 325) * 60] = False
        return rows[kept]

    candles = write(Candles(tmp_path), late)
    request = own("Busy", "1h", ["BTC-USDT", "ETH-USDT"], warm_up_candles=warm_up_candles)
    step, outcome = await bench.same(request, candles)
    assert len(outcome.trades) >= 3
    begun = START_MS + (95 if warm_up_candles == 80 else 60 * 6) * MINUTE_MS
    assert outcome.equity[0].timestamp == begun
    assert {point.equity for point in step.equity if point.timestamp <= begun} == {10_000.0}
    assert min(order.timestamp for order in step.orders) > begun


async def test_strategies_see_the_candles_of_the_backtest(bench: Bench, tmp_path: Path) -> None:
    """All of them, at every call, whatever is missing, and with a start inside an hour."""

    def holes(rows: CandleArray, seed: int) -> CandleArray:
        start = WARM_UP_DAYS * 1_440 + 37
        kept = np.random.default_rng(seed).random(len(rows)) > 0.05
        kept[start : start + 95 * seed] = False
        kept[start + 600 - 30 : start + 600 + 45] = False
        kept[start] = seed == 0
        return rows[kept]

    request = own(
        "Watching",
        "1h",
        ["BTC-USDT", "ETH-USDT"],
        start_ms=START_MS + 37 * MINUTE_MS,
        end_ms=START_MS + 2 * DAY_MS,
        warm_up_candles=20,
    )
    _, outcome = await bench.same(request, write(Candles(tmp_path), holes))
    assert 60 < len(outcome.log_tail.splitlines()) < 200, "none of what was logged is cut"


async def test_a_session_that_begins_at_any_minute_has_the_hours_of_the_clock(bench: Bench) -> None:
    """Checked by hand: each hour is that of the exchange, the first one begun in the warm-up."""
    start = START_MS + 10 * HOUR_MS + 37 * MINUTE_MS
    backtest = own("Watching", "1h", warm_up_candles=2)
    run = bench.pinned(backtest)
    order = minute_order_of("exchange", start, ["1h"], complete=True)
    request = session_of(backtest, order, start_ms=start, feed="exchange", end_ms=None)
    assert request.minute_order == "observed"
    process = await bench.paper.open(setup_of(run, request))
    step = await process.step(minutes_of(run, request)[:150])
    await process.close()
    assert step.error is None
    calls = [json.loads(line.partition(" ")[2]) for line in step.log.splitlines()[1:]]
    assert [time for time, _ in calls] == [START_MS + hour * HOUR_MS for hour in (11, 12, 13)]
    rows = rows_of(run.candles[0])
    for time, candles in calls:
        assert candles[-1] == hour_by_hand(rows, int(time) - HOUR_MS)
        assert [candle[0] for candle in candles[-3:]] == [time - (3 - n) * HOUR_MS for n in range(3)]


def hour_by_hand(rows: CandleArray, begin: int) -> list[float]:
    """(time, open, close, high, low, volume) of the minutes there are."""
    hour = rows[(rows[:, 0] >= begin) & (rows[:, 0] < begin + HOUR_MS)]
    assert len(hour) > 0
    return [begin, hour[0, 1], hour[-1, 2], hour[:, 3].max(), hour[:, 4].min(), hour[:, 5].sum()]


async def test_a_minute_that_does_not_come_changes_the_order_for_good(bench: Bench, tmp_path: Path) -> None:
    """A live session in dense order goes on as a backtest with the same gaps does."""

    def one_gap(rows: CandleArray, _seed: int) -> CandleArray:
        gap = (WARM_UP_DAYS + 2) * 1_440 + 12 * 60 - 20
        return np.delete(rows, slice(gap, gap + 35), axis=0)

    candles = write(Candles(tmp_path), one_gap)
    request = case("LadderEntries")
    run = bench.pinned(request, candles)
    step, outcome = await replayed(bench.paper, run, session_of(request, "dense"))
    assert len(outcome.trades) >= 3
    assert_same(step, outcome, await bench.backtest(run))


async def test_the_candle_a_break_falls_into_is_made_by_the_clock(bench: Bench, tmp_path: Path) -> None:
    def one_gap(rows: CandleArray, _seed: int) -> CandleArray:
        gap = WARM_UP_DAYS * 1_440 + 5 * 60 - 20
        return np.delete(rows, slice(gap, gap + 35), axis=0)

    request = own("Watching", "1h", warm_up_candles=2)
    run = bench.pinned(request, write(Candles(tmp_path), one_gap))
    session = session_of(request, "dense", feed="exchange", end_ms=None)
    process = await bench.paper.open(setup_of(run, session))
    step = await work(process, minutes_of(run, session)[: 8 * 60 - 35], 60)
    last = await process.step(minutes_of(run, session)[8 * 60 - 35 : 9 * 60 - 35])
    await process.close()
    assert step.error is last.error is None
    (_, candles) = json.loads(last.log.partition(" ")[2])
    rows = rows_of(run.candles[0])
    expected = [hour_by_hand(rows, START_MS + hour * HOUR_MS) for hour in range(-2, 9)]
    assert candles == expected
    assert len(rows[(rows[:, 0] >= expected[6][0]) & (rows[:, 0] < expected[7][0])]) == 40


async def test_a_break_in_candles_that_are_not_those_of_the_clock_ends_the_session(bench: Bench) -> None:
    request = own("Busy", "1W", warm_up_candles=0)
    run = bench.pinned(request)
    session = session_of(request, minute_order_of("replay", START_MS, ["1W"], complete=True))
    assert session.minute_order == "dense"
    assert START_MS % (7 * DAY_MS) != 0
    minutes = minutes_of(run, session)[:10]
    process = await bench.paper.open(setup_of(run, session))
    step = await process.step([*minutes[:4], *minutes[5:]])
    await process.close()
    assert step.minutes == 4
    assert step.error is not None
    assert step.error["code"] == "run_rejected"
    assert "1W" in step.error["message"]
