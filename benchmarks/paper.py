"""13. What a paper session costs: a minute at a time, ten of them at once, and at full speed."""

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import psutil
from benchmarks.desk import Desk, Steps
from benchmarks.market import (
    BALANCE,
    EXCHANGE,
    FEE,
    MONTH_END,
    START,
    STRATEGY,
    SYMBOL,
    TIMEFRAME,
    WARM_UP_CANDLES,
    WARM_UP_MINUTES,
)
from benchmarks.report import Figure, Goal, Result, milliseconds, sampled

import jesse_mcp.adapters.strategies
from jesse_mcp.adapters.embedded.engine import EmbeddedEngine
from jesse_mcp.adapters.embedded.paper import EmbeddedPaperEngine, EmbeddedPaperProcess
from jesse_mcp.domain.backtests import CandleSlice, EngineOutcome, EngineRun, Route
from jesse_mcp.domain.paper import STEP_MINUTES, Minute, PaperRequest
from jesse_mcp.domain.timeframes import MINUTE_MS, parse_date
from jesse_mcp.ports.paper import PaperSetup

_SESSIONS = 10
_MINUTES, _QUICK_MINUTES = 1_440, 120
_REPEATS = 5
_GOAL_MS, _GOAL_MIB = 5.0, 200.0
_MIB = 2**20
_SOURCE = f"strategies/{STRATEGY}/__init__.py"
_COLUMNS = 6


async def measure(desk: Desk, steps: Steps) -> list[Result]:
    """The month of the runs, by the same strategy; the server's part is this process."""
    market = _Market(desk.mapped)
    engine = EmbeddedEngine(desk.folder / "paper", desk.python, 1, 600, 2_048)
    minutes = _QUICK_MINUTES if desk.quick else _MINUTES
    repeats = desk.repeats(_REPEATS)
    steps.expect(2 + repeats)
    try:
        await engine.warm()
        paper = EmbeddedPaperEngine(engine.pool, step_timeout=600, memory_mb=1_024)
        results = []
        for count in (1, _SESSIONS):
            steps.doing(f"{count} at a time")
            results.append(await _at_once(paper, market, count, minutes))
            steps.done()
        results.append(await _at_full_speed(engine, paper, market, repeats, steps))
        return results
    finally:
        await engine.close()


class _Market:
    """The candles of the month with their warm-up, and what is traded on them."""

    def __init__(self, mapped: Path) -> None:
        self._mapped = mapped
        self._start, self._end = parse_date(START, "start"), parse_date(MONTH_END, "end")
        self._total = mapped.stat().st_size // (8 * _COLUMNS)
        days = (self._end - self._start) // MINUTE_MS
        rows = np.fromfile(mapped, count=(WARM_UP_MINUTES + days) * _COLUMNS).reshape(-1, _COLUMNS)
        self._warm_up = rows[:WARM_UP_MINUTES]
        self.minutes = [
            Minute(timestamp=int(time_ms), rows={0: (opened, close, high, low, volume)})
            for time_ms, opened, close, high, low, volume in rows[WARM_UP_MINUTES:].tolist()
        ]
        bundled = Path(jesse_mcp.adapters.strategies.__file__).parent / "bundled"
        self._source = {_SOURCE: (bundled / STRATEGY / "__init__.py").read_text(encoding="utf-8")}

    def setup(self) -> PaperSetup:
        request = PaperRequest(
            exchange=EXCHANGE,
            exchange_type="futures",
            routes=(Route(strategy=STRATEGY, symbol=SYMBOL, timeframe=TIMEFRAME),),
            start_ms=self._start,
            end_ms=self._end,
            starting_balance=BALANCE,
            fee=FEE,
            warm_up_candles=WARM_UP_CANDLES,
            feed="replay",
        )
        return PaperSetup(request, self._source, (self._warm_up,))

    def run(self) -> EngineRun:
        part = CandleSlice(
            exchange=EXCHANGE,
            symbol=SYMBOL,
            path=str(self._mapped),
            total_rows=self._total,
            start_row=0,
            trading_row=WARM_UP_MINUTES,
            end_row=WARM_UP_MINUTES + len(self.minutes),
            content_hash="benchmark",
        )
        request = self.setup().request.as_backtest(self._end)
        return EngineRun(request=request, source=self._source, candles=(part,))


async def _at_once(paper: EmbeddedPaperEngine, market: _Market, count: int, minutes: int) -> Result:
    """Every session takes a step of one minute, one after the other, as a minute of a market brings it."""
    async with AsyncExitStack() as stack:
        sessions = []
        for _ in range(count):
            sessions.append(await paper.open(market.setup()))
            stack.push_async_callback(sessions[-1].close)
        before, ours = _cpu(sessions), time.process_time()
        waits = []
        for minute in market.minutes[:minutes]:
            for session in sessions:
                asked = time.perf_counter()
                await session.step([minute])
                waits.append(time.perf_counter() - asked)
        ours, theirs = time.process_time() - ours, _cpu(sessions) - before
        candles = count * minutes
        memory = [psutil.Process(session.pid).memory_full_info() for session in sessions]
    figures = [
        Figure(
            "CPU time of a candle, both processes",
            1000 * (ours + theirs) / candles,
            "ms",
            goal=Goal("at most", _GOAL_MS),
        ),
        Figure("of it the session's process", 1000 * theirs / candles, "ms"),
        sampled("a step of one minute, until its answer", milliseconds(waits), "ms"),
        Figure(
            "private memory of a session, the largest",
            max(found.uss for found in memory) / _MIB,
            "MiB",
            goal=Goal("at most", _GOAL_MIB),
        ),
    ]
    if all(hasattr(found, "pss") for found in memory):  # Linux only
        shared = sum(found.pss for found in memory) / _MIB
        figures.append(Figure("all of them, shared pages divided (PSS)", shared, "MiB"))
    title = f"{count} at work, each {minutes:,} minutes, a minute a step"
    return Result("paper sessions", title, tuple(figures))


async def _at_full_speed(
    engine: EmbeddedEngine, paper: EmbeddedPaperEngine, market: _Market, repeats: int, steps: Steps
) -> Result:
    """Both must end with the same trades, or the benchmark stops."""
    spent: dict[str, list[float]] = {"session": [], "backtest": []}
    run = market.run()
    for _ in range(repeats):
        steps.doing("at full speed")
        started = time.perf_counter()
        backtest = await engine.run(run, lambda _fraction, _message: None)
        spent["backtest"].append(time.perf_counter() - started)
        started = time.perf_counter()
        session = await _replayed(paper, market)
        spent["session"].append(time.perf_counter() - started)
        if session.trades != backtest.trades or session.metrics != backtest.metrics:
            raise RuntimeError("the session and the backtest of the same month differ")
        steps.done()
    ratios = [one / other for one, other in zip(spent["session"], spent["backtest"], strict=True)]
    figures = (
        sampled("replay of the month, until its result", milliseconds(spent["session"]), "ms"),
        sampled("backtest of the month, step mode", milliseconds(spent["backtest"]), "ms"),
        sampled("replay to backtest", ratios, "x"),
    )
    title = f"{len(market.minutes):,} minutes, {STEP_MINUTES:,} a step; {len(backtest.trades)} trades"
    return Result("a paper session at full speed", title, figures)


async def _replayed(paper: EmbeddedPaperEngine, market: _Market) -> EngineOutcome:
    session = await paper.open(market.setup())
    try:
        for first in range(0, len(market.minutes), STEP_MINUTES):
            await session.step(market.minutes[first : first + STEP_MINUTES])
        return await session.finish()
    finally:
        await session.close()


def _cpu(sessions: Sequence[EmbeddedPaperProcess]) -> float:
    times = [psutil.Process(session.pid).cpu_times() for session in sessions]
    return sum(one.user + one.system for one in times)
