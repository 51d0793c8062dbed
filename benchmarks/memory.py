"""6. Peak memory of every process of a year-long run."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
from benchmarks.connection import Served, serving
from benchmarks.desk import Desk, Steps
from benchmarks.direct_process import direct
from benchmarks.market import call
from benchmarks.report import Figure, Result

_EVERY = 0.05
_MIB = 2**20


@dataclass
class _Peak:
    """MiB: resident, resident with shared pages divided among those who share them, and private."""

    rss: float = 0.0
    pss: float = 0.0
    uss: float = 0.0

    def see(self, process: psutil.Process) -> None:
        try:
            found = process.memory_full_info()
        except psutil.Error:  # it has just ended
            return
        self.rss = max(self.rss, found.rss / _MIB)
        self.pss = max(self.pss, getattr(found, "pss", 0) / _MIB)  # Linux only
        self.uss = max(self.uss, found.uss / _MIB)

    def figures(self, who: str) -> list[Figure]:
        kinds = [("resident", self.rss), ("shared pages divided (PSS)", self.pss), ("private", self.uss)]
        return [Figure(f"{who}: {kind}", value, "MiB") for kind, value in kinds if value]


async def measure(desk: Desk, steps: Steps) -> list[Result]:
    """Sampled while a run is at work, its standby waiting beside it."""
    steps.expect(2)
    steps.doing("server")
    async with serving(desk.home("memory")) as served:
        await served.warm()
        await served.call("backtest", **call())
        peaks = await _of_server(served)
    steps.done()
    steps.doing("direct process")
    async with direct(desk) as alone:
        await alone.run(fast_mode=False)
        peak = _Peak()
        process = psutil.Process(alone.pid)
        run = asyncio.ensure_future(alone.run(fast_mode=False))
        await _sample(run, lambda: peak.see(process))
    steps.done()
    figures = [figure for who, found in peaks.items() for figure in found.figures(who)]
    figures += peak.figures("direct process")
    title = f"peaks over one step-mode run, sampled every {_EVERY * 1000:g} ms"
    return [Result("memory", title, tuple(figures))]


async def _of_server(served: Served) -> dict[str, _Peak]:
    peaks = {who: _Peak() for who in ("server", "template", "worker", "all processes together")}
    template = served.template()
    by_worker: dict[int, _Peak] = {}
    work: dict[int, float] = {}

    def look() -> None:
        together = _Peak()
        peaks["server"].see(served.process)
        peaks["template"].see(template)
        workers = served.workers()
        for worker in workers:
            by_worker.setdefault(worker.pid, _Peak()).see(worker)
            work[worker.pid] = max(work.get(worker.pid, 0.0), _cpu(worker))
        for process in (served.process, template, *workers):
            _add(together, process)
        whole = peaks["all processes together"]
        whole.pss = max(whole.pss, together.pss)

    run = asyncio.ensure_future(served.call("backtest", **call()))
    await _sample(run, look)
    # The one that worked; the others waited.
    peaks["worker"] = by_worker[max(work, key=lambda pid: work[pid])]
    return peaks


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _add(together: _Peak, process: psutil.Process) -> None:
    one = _Peak()
    one.see(process)
    together.pss += one.pss


async def _sample(run: "asyncio.Future[Any]", look: Callable[[], None]) -> None:
    while not run.done():
        look()
        await asyncio.wait([run], timeout=_EVERY)
    run.result()
