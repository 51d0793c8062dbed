"""5. From starting the process to the first answer."""

import time
from pathlib import Path

from benchmarks.connection import command, connected, environment
from benchmarks.desk import Desk, Steps
from benchmarks.direct_process import import_seconds
from benchmarks.market import MONTH_END, call
from benchmarks.report import Result, sampled

_REPEATS = 9
_NAMES = ("initialize answered", "tools/list answered", "first backtest answered")


async def measure(desk: Desk, steps: Steps) -> list[Result]:
    """Fresh processes, page cache warm, in turn with a plain import of Jesse."""
    repeats = desk.repeats(_REPEATS)
    steps.expect(repeats + 1)
    home = desk.home("cold-start")
    await _start(home)
    await import_seconds(desk)
    steps.done()
    starts, imports, second = [], [], []
    for _ in range(repeats):
        steps.doing("server")
        moments, again = await _start(home)
        starts.append(moments)
        second.append(again)
        steps.doing("import jesse.research")
        imports.append(await import_seconds(desk))
        steps.done()
    figures = [
        sampled(name, column, "s") for name, column in zip(_NAMES, zip(*starts, strict=True), strict=True)
    ]
    figures += [
        sampled("the same backtest once more, warm", second, "s"),
        sampled("python -c 'import jesse.research', start to end", imports, "s"),
    ]
    title = "seconds since the server's process was started; the backtest is a month at 1h, step mode"
    return [Result("cold start", title, tuple(figures))]


async def _start(home: Path) -> tuple[tuple[float, float, float], float]:
    started = time.perf_counter()
    async with connected(command("jesse_mcp"), environment(home)) as served:
        initialized = time.perf_counter()
        await served.client.list_tools()
        listed = time.perf_counter()
        await served.call("backtest", **call(end_date=MONTH_END))
        answered = time.perf_counter()
        again, _ = await served.timed("backtest", **call(end_date=MONTH_END))
    return (initialized - started, listed - started, answered - started), again
