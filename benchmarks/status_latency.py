"""4. How fast the server answers while both workers are busy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.connection import Served, serving
from benchmarks.desk import Desk, Steps
from benchmarks.market import MONTH_END, call
from benchmarks.report import Figure, Goal, Result, milliseconds, percentile, sampled

_CALLS, _ROUNDS = 100, 5
_PAUSE = 0.02
_GOAL_MS = 50.0


async def measure(desk: Desk, steps: Steps) -> list[Result]:
    """Rounds of calls, idle and busy in turn, on the connection that also carries the runs."""
    rounds = desk.repeats(_ROUNDS, quick=1)
    steps.expect(2 * rounds)
    idle: list[float] = []
    busy: list[float] = []
    async with serving(desk.home("status-latency"), WORKERS="2") as served:
        await served.warm()
        await served.call("backtest", **call(end_date=MONTH_END))
        for _ in range(rounds):
            steps.doing("idle")
            idle += await _calls(served)
            steps.done()
            steps.doing("both workers busy")
            async with _both_busy(served):
                busy += await _calls(served)
            steps.done()
    figures = [
        *_latencies("idle", idle, None),
        *_latencies("both workers busy", busy, Goal("at most", _GOAL_MS)),
    ]
    title = f"system_status over stdio, {len(idle)} and {len(busy)} calls; the client shares the cores too"
    return [Result("status latency", title, tuple(figures))]


async def _calls(served: Served) -> list[float]:
    seconds = []
    for _ in range(_CALLS):
        seconds.append((await served.timed("system_status"))[0])
        await asyncio.sleep(_PAUSE)
    return seconds


@asynccontextmanager
async def _both_busy(served: Served) -> AsyncIterator[None]:
    """Two runs at work at every moment of the block."""
    over = asyncio.Event()

    async def feed() -> None:
        while not over.is_set():
            await served.call("backtest", **call())

    feeders = [asyncio.create_task(feed()) for _ in range(2)]
    while (await served.call("system_status"))["engine"]["workers"]["busy"] < len(feeders):
        await asyncio.sleep(_PAUSE)
    try:
        yield
    finally:
        over.set()
        await asyncio.gather(*feeders)


def _latencies(state: str, seconds: list[float], goal: Goal | None) -> list[Figure]:
    values = milliseconds(seconds)
    return [
        sampled(f"{state}: median", values, "ms"),
        Figure(f"{state}: 99th percentile", percentile(values, 99), "ms", goal=goal),
        Figure(f"{state}: longest", max(values), "ms"),
    ]
