"""3. Twenty runs with two workers against one."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from benchmarks.connection import Served, serving
from benchmarks.desk import Desk, Steps
from benchmarks.direct_process import DirectProcess, direct
from benchmarks.market import call, variations
from benchmarks.report import Goal, Result, sampled

_RUNS, _REPEATS = 20, 3
_DIRECT_RUNS = 6
_GOAL = Goal("at least", 1.8)


async def measure(desk: Desk, steps: Steps) -> list[Result]:
    """Batches of different experiments, given at once, to a server with one worker and one with two.

    Two direct processes against one say what the machine itself gives.
    """
    repeats = desk.repeats(_REPEATS, quick=1)
    runs = 4 if desk.quick else _RUNS
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(serving(desk.home(f"workers-{count}"), WORKERS=str(count)))
            for count in (1, 2)
        ]
        pair = [await stack.enter_async_context(direct(desk)) for _ in range(2)]
        for served in (one, two):
            await served.warm()
        turns: dict[str, Callable[[], Awaitable[None]]] = {
            f"{runs} runs, one worker": lambda: _batch(one, runs),
            f"{runs} runs, two workers": lambda: _batch(two, runs),
            f"{_DIRECT_RUNS} runs, one direct process": lambda: _direct(pair[:1]),
            f"{_DIRECT_RUNS} runs, two direct processes": lambda: _direct(pair),
        }
        steps.expect(repeats * len(turns))
        seconds = await _take_turns(turns, repeats, steps)
    names = list(turns)
    figures = [sampled(name, seconds[name], "s") for name in names]
    gains = [_ratios(seconds[names[n]], seconds[names[n + 1]]) for n in (0, 2)]
    figures.insert(2, sampled("gain of the second worker", gains[0], "x", _GOAL))
    figures.append(sampled("gain of the second direct process: what the machine gives", gains[1], "x"))
    title = "different hyperparameters, a year of one-minute candles at 1h, step mode"
    return [Result("two workers", title, tuple(figures))]


async def _take_turns(
    turns: dict[str, Callable[[], Awaitable[None]]], repeats: int, steps: Steps
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(repeats):
        order = list(turns.items())
        for name, turn in reversed(order) if number % 2 else order:
            steps.doing(name)
            started = time.perf_counter()
            await turn()
            seconds[name].append(time.perf_counter() - started)
            steps.done()
    return seconds


async def _batch(served: Served, runs: int) -> None:
    await asyncio.gather(
        *(served.call("backtest", **call(hyperparameters=values)) for values in variations(runs))
    )


async def _direct(processes: list[DirectProcess]) -> None:
    experiments = variations(_DIRECT_RUNS)

    async def share(number: int) -> None:
        for values in experiments[number :: len(processes)]:
            await processes[number].run(fast_mode=False, hyperparameters=values)

    await asyncio.gather(*(share(number) for number in range(len(processes))))


def _ratios(above: list[float], below: list[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]
