"""The process of a paper session: what it refuses, what ends it, and that nothing of it is left."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from jesse_mcp.adapters.embedded.engine import EmbeddedEngine
from jesse_mcp.adapters.embedded.paper import EmbeddedPaperEngine, EmbeddedPaperProcess
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper import STEP_MINUTES, Minute, PaperRequest
from jesse_mcp.domain.timeframes import MINUTE_MS
from jesse_mcp.ports.paper import PaperSetup

pytestmark = pytest.mark.asyncio(loop_scope="module")

START_MS = 1_673_740_800_000
WARM_UP = 60
PATIENCE_SECONDS = 30

TEMPLATE = """
import os
import sys
import time

from jesse import utils
from jesse.strategies import Strategy


class Own(Strategy):
    def before(self):
        {before}

    def should_long(self):
        return {long}

    def go_long(self):
        self.buy = {buy}

    def update_position(self):
        {update}

    def candles_pipeline(self):
        return {pipeline}
"""


def code(
    before: str = "pass", long: str = "False", buy: str = "1, self.price", update: str = "pass", **more: str
) -> str:
    return TEMPLATE.format(before=before, long=long, buy=buy, update=update, **{"pipeline": "None", **more})


class Bench:
    def __init__(self, engine: EmbeddedEngine) -> None:
        self.engine = engine
        self.opened: list[EmbeddedPaperProcess] = []
        rows = synthetic_candles(START_MS - WARM_UP * MINUTE_MS, WARM_UP + 2_000, seed=3)
        self.warm_up = rows[:WARM_UP]
        self.minutes = [
            Minute(timestamp=int(t), rows={0: (o, c, h, low, v)})
            for t, o, c, h, low, v in rows[WARM_UP:].tolist()
        ]

    async def open(self, text: str, *, memory_mb: int = 1_024, **changes: Any) -> EmbeddedPaperProcess:
        request = PaperRequest.model_validate(
            {
                "exchange": "Binance Perpetual Futures",
                "exchange_type": "futures",
                "routes": [{"strategy": "Own", "symbol": "BTC-USDT", "timeframe": "1m"}],
                "start_ms": START_MS,
                "end_ms": None,
                "starting_balance": 10_000,
                "fee": 0.001,
                "leverage": 2,
                "warm_up_candles": WARM_UP,
                "feed": "exchange",
                **changes,
            }
        )
        setup = PaperSetup(request, {"strategies/Own/__init__.py": text}, (self.warm_up,))
        engine = EmbeddedPaperEngine(self.engine.pool, 60, memory_mb)
        process = await engine.open(setup)
        self.opened.append(process)
        return process


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench_of_module(
    engine_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bench]:
    engine = EmbeddedEngine(tmp_path_factory.mktemp("cache"), engine_python, 1, 120, 1_024)
    yield Bench(engine)
    await engine.close()


@pytest_asyncio.fixture(loop_scope="module")
async def bench(bench_of_module: Bench) -> AsyncIterator[Bench]:
    yield bench_of_module
    opened, bench_of_module.opened = bench_of_module.opened, []
    for process in opened:
        await process.close()
        assert not alive(process.pid)


def alive(pid: int) -> bool:
    """Not so once it is dead, though nobody may have waited for it yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


async def until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(what) from None


async def failure_of(work: Any) -> ResearchError:
    with pytest.raises(ResearchError) as caught:
        await work
    return caught.value


@pytest.mark.parametrize(
    ("text", "error_code", "says"),
    [
        ("import nothing_of_this_name", ErrorCode.STRATEGY_RAISED, "nothing_of_this_name"),
        ("raise SystemExit(3)", ErrorCode.STRATEGY_RAISED, "SystemExit"),
        ("class Other:\n    pass", ErrorCode.RUN_REJECTED, "no strategy class Own"),
        (code(pipeline="object()"), ErrorCode.RUN_REJECTED, "candles_pipeline"),
        ("import os\nos._exit(9)", ErrorCode.WORKER_CRASHED, "exit status 9"),
    ],
    ids=["import", "exit", "no-class", "pipeline", "gone"],
)
async def test_strategies_that_cannot_be_opened(
    text: str, error_code: ErrorCode, says: str, bench: Bench
) -> None:
    error = await failure_of(bench.open(text))
    assert error.code is error_code
    assert says in error.message + str(error.details)


async def test_hyperparameters_no_strategy_declares_are_refused(bench: Bench) -> None:
    error = await failure_of(bench.open(code(), hyperparameters={"period": 3}))
    assert error.code is ErrorCode.RUN_REJECTED
    assert "'period'" in error.message


@pytest.mark.parametrize("raising", ["1 / 0", "sys.exit(4)"], ids=["raises", "exits"])
async def test_a_strategy_that_raises_ends_the_session_and_keeps_what_was_before(
    raising: str, bench: Bench
) -> None:
    process = await bench.open(code(before=f"{raising} if self.index == 6 else None", long="True"))
    first = await process.step(bench.minutes[:4])
    step = await process.step(bench.minutes[4:10])
    assert first.error is None
    assert first.minutes == 4
    assert step.minutes == 2
    assert [point.timestamp for point in step.equity] == [m.closes_at for m in bench.minutes[4:7]]
    (left,) = step.positions
    assert step.equity[-1].unrealized_pnl == left.unrealized_pnl
    assert left.current_price == bench.minutes[6].rows[0][1], "of the minute in which it raised"
    assert step.positions, "the position of the first minute is still open"
    assert step.error is not None
    assert step.error["code"] == "strategy_raised"
    assert "strategies/Own/__init__.py:12" in step.error["details"]["traceback"]
    assert step.error["details"]["line"] == 12
    for question in (process.step(bench.minutes[10:11]), process.finish(), process.set_leverage(3)):
        assert (await failure_of(question)).to_dict() == step.error


async def test_minutes_that_cannot_be_are_refused_and_change_nothing(bench: Bench) -> None:
    process = await bench.open(code())
    await process.step(bench.minutes[:2])
    candle = bench.minutes[2].rows[0]
    wrong = [
        [bench.minutes[1]],
        [bench.minutes[3], bench.minutes[2]],
        [Minute(timestamp=bench.minutes[2].timestamp + 1, rows={0: candle})],
        [Minute(timestamp=bench.minutes[2].timestamp, rows={})],
        [Minute(timestamp=bench.minutes[2].timestamp, rows={1: candle})],
        bench.minutes[2 : 3 + STEP_MINUTES],
    ]
    for minutes in wrong:
        error = await failure_of(process.step(minutes))
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert error.hint
    assert (await process.step(bench.minutes[2:5])).minutes == 3


async def test_a_step_of_nothing_says_how_it_stands(bench: Bench) -> None:
    process = await bench.open(code(long="True"))
    before = await process.step([])
    assert (before.minutes, before.equity, before.positions) == (0, (), ())
    await process.step(bench.minutes[:2])
    assert len((await process.step([])).positions) == 1


async def test_the_end_without_a_minute_is_that_of_a_run_without_a_trade(bench: Bench) -> None:
    process = await bench.open(code(long="True"))
    outcome = await process.finish()
    assert outcome.metrics == {"total": 0, "win_rate": 0, "net_profit_percentage": 0, "annualization": 365}
    assert [(point.timestamp, point.balance) for point in outcome.equity] == [(START_MS, 10_000.0)]
    assert (await failure_of(process.step(bench.minutes[:1]))).code is ErrorCode.WORKER_CRASHED


async def test_a_killed_process_is_a_crash_and_the_others_go_on(bench: Bench) -> None:
    one, other = await bench.open(code()), await bench.open(code())
    await one.step(bench.minutes[:1])
    os.kill(one.pid, signal.SIGKILL)
    error = await failure_of(one.step(bench.minutes[1:2]))
    assert error.code is ErrorCode.WORKER_CRASHED
    assert "SIGKILL" in error.message
    assert (await failure_of(one.finish())).code is ErrorCode.WORKER_CRASHED
    assert (await other.step(bench.minutes[:3])).minutes == 3


async def test_a_template_that_dies_takes_its_sessions_and_new_ones_can_be_opened(bench: Bench) -> None:
    process = await bench.open(code())
    template = bench.engine.pool.template
    assert template is not None
    os.kill(template.pid, signal.SIGKILL)
    await until(lambda: not alive(process.pid), "the session outlived its template")
    error = await failure_of(process.step(bench.minutes[:1]))
    assert error.code is ErrorCode.WORKER_CRASHED
    assert "call again" in str(error.hint)
    again = await bench.open(code())
    assert (await again.step(bench.minutes[:1])).minutes == 1


async def test_a_strategy_that_never_comes_back_is_stopped(bench: Bench) -> None:
    process = await bench.open(code(before="while self.index == 2: pass"))
    # From here on: what a busy machine takes to open it is not the strategy's.
    process._step_timeout = 2
    error = await failure_of(process.step(bench.minutes[:5]))
    assert error.code is ErrorCode.RUN_TIMEOUT
    assert "2 s" in error.message
    assert not alive(process.pid)
    assert (await failure_of(process.step(bench.minutes[:5]))).code is ErrorCode.RUN_TIMEOUT


async def test_the_second_answer_of_a_strategy_that_forks_is_taken_for_no_other(bench: Bench) -> None:
    process = await bench.open(code(before="time.sleep(0.05) if self.index == 2 and os.fork() else None"))

    async def until_both_have_answered() -> None:
        for first in range(0, len(bench.minutes), 4):
            asked = bench.minutes[first : first + 4]
            step = await process.step(asked)
            assert [point.timestamp for point in step.equity] == [minute.closes_at for minute in asked]

    assert (await failure_of(until_both_have_answered())).code is ErrorCode.WORKER_CRASHED


async def test_more_memory_than_allowed(bench: Bench) -> None:
    process = await bench.open(code(before="self.vars[self.index] = bytearray(40_000_000)"), memory_mb=100)
    step = await process.step(bench.minutes[:9])
    assert step.error is not None
    assert step.error["code"] == "memory_limit"
    assert 0 < step.minutes < 9


async def test_a_question_broken_off_leaves_a_process_that_answers_no_other(bench: Bench) -> None:
    process = await bench.open(code(before="time.sleep(0.2)"))
    asked = asyncio.create_task(process.step(bench.minutes[:50]))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait([asked])
    assert asked.cancelled()
    assert (await failure_of(process.step(bench.minutes[:1]))).code is ErrorCode.WORKER_CRASHED


async def test_closing_ends_the_process_and_its_children_at_any_moment(bench: Bench) -> None:
    forking = "self.vars.setdefault('child', os.fork() or time.sleep(1000))"
    process = await bench.open(code(before=forking, update="pass"))
    await process.step(bench.minutes[:1])
    asked = asyncio.create_task(failure_of(process.step(bench.minutes[1:3])))
    await asyncio.gather(process.close(), process.close())
    await process.close()
    await asked
    assert not alive(process.pid)
    template = bench.engine.pool.template
    assert template is not None
    children = Path(f"/proc/{template.pid}/task/{template.pid}/children").read_text().split()
    await until(lambda: not any(alive_in_group(int(pid), process.pid) for pid in children), "a child lives")


def alive_in_group(pid: int, group: int) -> bool:
    try:
        return os.getpgid(pid) == group
    except ProcessLookupError:
        return False


async def test_a_closed_engine_opens_nothing(engine_python: Path, tmp_path: Path) -> None:
    engine = EmbeddedEngine(tmp_path, engine_python, 1, 120, 1_024)
    bench = Bench(engine)
    process = await bench.open(code())
    await engine.close()
    assert (await failure_of(process.step(bench.minutes[:1]))).code is ErrorCode.ENGINE_FAILED
    assert (await failure_of(bench.open(code()))).code is ErrorCode.ENGINE_FAILED
    await process.close()
    assert not alive(process.pid)


class TestLeverage:
    """2x at first; ten minutes in the market, ten out of it."""

    trading = code(
        long="self.index % 20 == 5",
        buy="0.5 * self.available_margin * self.leverage / self.price, self.price",
        update="self.index % 20 == 15 and self.liquidate()",
    )

    async def test_is_used_for_what_is_opened_from_then_on(self, bench: Bench) -> None:
        process = await bench.open(self.trading)
        first = await process.step(bench.minutes[:10])
        assert first.positions[0].leverage == 2
        assert await process.set_leverage(5) is False
        kept = await process.step(bench.minutes[10:15])
        assert kept.positions[0].leverage == 2, "that of an open position stays"
        assert kept.positions[0].size == first.positions[0].size
        after = await process.step(bench.minutes[15:30])
        assert after.positions[0].leverage == 5
        assert await process.set_leverage(1) is False
        sizes = [trade.size for trade in after.trades] + [p.size * p.entry_price for p in after.positions]
        assert sizes == pytest.approx([10_000, 25_000], rel=0.05)

    async def test_of_a_strategy_that_is_never_flat_at_a_close_comes_into_force_between(
        self, bench: Bench
    ) -> None:
        process = await bench.open(
            code(
                long="True",
                buy="0.5 * self.available_margin * self.leverage / self.price, self.price",
                update="self.index % 10 == 5 and self.liquidate()",
            )
        )
        first = await process.step(bench.minutes[:13])
        assert (first.leverage, first.positions[0].leverage) == (2, 2)
        assert await process.set_leverage(5) is False
        kept = await process.step(bench.minutes[13:15])
        assert (kept.leverage, kept.leverage_changes) == (2, ())
        after = await process.step(bench.minutes[15:18])
        assert (after.leverage, after.positions[0].leverage) == (5, 5)
        assert after.leverage_changes == ((bench.minutes[15].closes_at, 5),)
        assert after.trades[0].closed_at == after.positions[0].opened_at == bench.minutes[15].closes_at

    async def test_is_in_force_at_once_while_flat(self, bench: Bench) -> None:
        process = await bench.open(self.trading)
        await process.step(bench.minutes[:3])
        assert await process.set_leverage(7) is True
        step = await process.step(bench.minutes[3:10])
        assert step.positions[0].leverage == 7

    async def test_the_last_of_several_changes_counts(self, bench: Bench) -> None:
        process = await bench.open(self.trading)
        await process.step(bench.minutes[:10])
        for leverage in (9, 2, 4):
            assert await process.set_leverage(leverage) is False
        step = await process.step(bench.minutes[10:30])
        assert step.positions[0].leverage == 4

    async def test_waits_for_resting_orders_that_would_not_fit(self, bench: Bench) -> None:
        resting = code(
            long="True", buy="3.4 * self.available_margin / self.price, self.price * 0.5", update="pass"
        )
        process = await bench.open(resting)
        step = await process.step(bench.minutes[:3])
        assert step.open_orders
        assert not step.positions
        assert await process.set_leverage(1) is False
        assert await process.set_leverage(3) is True

    async def test_is_the_same_when_the_session_is_worked_through_again(self, bench: Bench) -> None:
        said = []
        for size in (1, 5):
            process = await bench.open(self.trading)
            steps = [await process.step(bench.minutes[n : n + size]) for n in range(0, 10, size)]
            await process.set_leverage(5)
            steps += [await process.step(bench.minutes[n : n + size]) for n in range(10, 60, size)]
            said.append([order for step in steps for order in step.orders])
        assert said[0] == said[1]
        assert len(said[0]) > 4

    async def test_spot_has_none(self, bench: Bench) -> None:
        process = await bench.open(code(), exchange="Binance Spot", exchange_type="spot", leverage=1)
        assert (await failure_of(process.set_leverage(2))).code is ErrorCode.INVALID_ARGUMENT

    async def test_less_than_one_is_refused(self, bench: Bench) -> None:
        process = await bench.open(code())
        assert (await failure_of(process.set_leverage(0))).code is ErrorCode.INVALID_ARGUMENT
