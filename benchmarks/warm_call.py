"""1. A warm ``backtest`` call against Jesse called directly."""

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from benchmarks.connection import Served, serving
from benchmarks.desk import Desk, Steps
from benchmarks.direct_process import DirectProcess, DirectRun, direct
from benchmarks.instrumented import PARTS, Instrumented, instrumented
from benchmarks.market import call
from benchmarks.report import Figure, Goal, Result, milliseconds, sampled

_REPEATS = 11
_SHARE_GOAL, _ADDED_GOAL_MS = 10.0, 30.0


@dataclass
class _Samples:
    direct: list[DirectRun] = field(default_factory=list)
    stdio: list[float] = field(default_factory=list)
    parts: list[dict[str, float]] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    cpu: float = 0.0


@dataclass(frozen=True)
class _Contestants:
    direct: DirectProcess
    served: Served
    inside: Instrumented

    async def once(self, fast_mode: bool, samples: _Samples, *, reverse: bool) -> None:
        """Each of the three, next to each other in time."""
        turns: list[Callable[[], Awaitable[None]]] = [
            lambda: self._direct(fast_mode, samples),
            lambda: self._stdio(fast_mode, samples),
            lambda: self._inside(fast_mode, samples),
        ]
        for turn in reversed(turns) if reverse else turns:
            await turn()

    async def _direct(self, fast_mode: bool, samples: _Samples) -> None:
        samples.direct.append(await self.direct.run(fast_mode=fast_mode))

    async def _stdio(self, fast_mode: bool, samples: _Samples) -> None:
        cpu = self.served.cpu_seconds()
        seconds, answer = await self.served.timed("backtest", **call(fast_mode=fast_mode))
        samples.stdio.append(seconds)
        samples.cpu += self.served.cpu_seconds() - cpu
        metrics = answer["run"]["metrics"]
        expected = samples.direct[-1] if samples.direct else await self.direct.run(fast_mode=fast_mode)
        if (metrics["total"], metrics["finishing_balance"]) != (expected.trades, expected.finishing_balance):
            raise RuntimeError(f"the two did not run the same: {metrics} and {expected}")

    async def _inside(self, fast_mode: bool, samples: _Samples) -> None:
        started = time.perf_counter()
        parts = await self.inside.backtest(**call(fast_mode=fast_mode))
        samples.memory.append(time.perf_counter() - started)
        samples.parts.append(parts)


async def measure(desk: Desk, steps: Steps) -> list[Result]:
    """Both simulators; the two servers and the direct process take turns."""
    repeats = desk.repeats(_REPEATS)
    steps.expect(2 * (repeats + 1))
    found = []
    async with AsyncExitStack() as stack:
        contestants = _Contestants(
            await stack.enter_async_context(direct(desk)),
            await stack.enter_async_context(serving(desk.home("warm-call"))),
            await stack.enter_async_context(instrumented(desk)),
        )
        await contestants.served.warm()
        for fast_mode in (False, True):
            steps.doing("fast mode" if fast_mode else "step mode")
            await contestants.once(fast_mode, _Samples(), reverse=False)
            steps.done()
            samples = _Samples()
            for number in range(repeats):
                await contestants.once(fast_mode, samples, reverse=number % 2 == 1)
                steps.done()
            found.append(_result(fast_mode, samples))
    return found


def _result(fast_mode: bool, samples: _Samples) -> Result:
    walls = [run.wall for run in samples.direct]
    added = [stdio - wall for stdio, wall in zip(samples.stdio, walls, strict=True)]
    shares = [100 * more / wall for more, wall in zip(added, walls, strict=True)]
    cpu = sum(run.cpu for run in samples.direct) / len(walls)
    return Result(
        f"warm call, {'fast' if fast_mode else 'step'} mode",
        "a year of one-minute candles at 1h; differences are between runs that were neighbours in time",
        (
            sampled("jesse.research.backtest, in one process", milliseconds(walls), "ms"),
            sampled("backtest tool over stdio", milliseconds(samples.stdio), "ms"),
            sampled("added", milliseconds(added), "ms", Goal("at most", _ADDED_GOAL_MS)),
            sampled("added, share of the direct call", shares, "%", Goal("at most", _SHARE_GOAL)),
            Figure("added, fastest against fastest", 1000 * (min(samples.stdio) - min(walls)), "ms"),
            Figure("CPU time of a direct call, mean", 1000 * cpu, "ms"),
            Figure(
                "CPU time of a tool call, mean; every process and the priming of the next worker",
                1000 * samples.cpu / len(samples.stdio),
                "ms",
            ),
            *_parts(samples, walls),
        ),
    )


def _parts(samples: _Samples, walls: list[float]) -> list[Figure]:
    """Where the added time goes, from the same server inside this process, with its ports wrapped."""
    figures = [
        sampled(f"of it: {part}", milliseconds(row[part] for row in samples.parts), "ms")
        for part in PARTS
        if part != "simulating"
    ]
    simulated = [row["simulating"] - wall for row, wall in zip(samples.parts, walls, strict=True)]
    outside = [all_in - memory for all_in, memory in zip(samples.stdio, samples.memory, strict=True)]
    return [
        *figures,
        sampled("of it: simulating, more than the direct call", milliseconds(simulated), "ms"),
        sampled("of it: stdio instead of memory", milliseconds(outside), "ms"),
    ]
