"""Trials per second of a search, against Jesse's own and a bare loop; batches; what pruning saves."""

import asyncio
import json
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.connection import Served, serving
from benchmarks.desk import Desk, Steps
from benchmarks.direct_process import DirectProcess, direct, engine_environment
from benchmarks.market import call, direct_request, variations
from benchmarks.report import Figure, Goal, Result, sampled

import jesse_mcp

_SCRIPT = Path(__file__).with_name("direct_optimize.py")
_STRATEGIES = Path(jesse_mcp.__file__).parent / "adapters" / "strategies" / "bundled"
_CORES = 2
#: Of the strategy; Jesse multiplies the trials it is asked for by their number.
_HYPERPARAMETERS = 6
_ROUNDS = 3
#: No round is begun that would not end by then, if it took as long as the one before: a machine that others
#: use gets fewer rounds, and the whole ends in about eight minutes all the same.
_SECONDS_OF_ROUNDS = 270.0
#: A run of the year that takes longer says that others use the machine: fewer are measured then.
_SLOW_SECONDS = 5.0
_AGAINST_JESSE, _AGAINST_LOOP = Goal("at least", 5), Goal("at least", 1.8)


@dataclass(frozen=True)
class _Size:
    """How much is measured: trials of a round by hyperparameter, as Jesse counts them; cells; trials."""

    each: int
    cells: int
    pruned: int

    @property
    def trials(self) -> int:
        return self.each * _HYPERPARAMETERS


_QUICK, _BUSY, _WHOLE = _Size(1, 4, 12), _Size(1, 6, 20), _Size(2, 10, 40)


async def measure(desk: Desk, steps: Steps) -> list[Result]:
    """Random sampling over the strategy's own space on the same year, in step mode, on two cores."""
    rounds = desk.repeats(_ROUNDS, quick=1)
    steps.expect(3 * rounds + 4)
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(serving(desk.home(f"optimize-{count}"), WORKERS=str(count)))
            for count in (1, _CORES)
        ]
        loop = await stack.enter_async_context(direct(desk))
        for served in (one, two):
            await served.warm()
        steps.doing("warming up")
        # Each side has loaded its libraries then; a Ray of Jesse's is new every time, as for its users.
        _, _, _, runs = await _ours(two, 2, rounds)
        await _loop(loop, runs[:1])
        seconds, _ = await _loop(loop, runs[1:])
        size = _QUICK if desk.quick else _BUSY if seconds > _SLOW_SECONDS else _WHOLE
        steps.done()
        measured = await _rounds(desk, two, loop, size, rounds, steps)
        batch = await _batch_figures(one, two, size.cells, steps)
        pruning = await _pruning_figures(two, size.pruned, steps)
    title = (
        f"{size.trials} random trials, a year of one-minute candles at 1h, step mode, two cores; "
        f"rounds: {len(measured)}"
    )
    return [
        Result("optimize", title, _search_figures(measured)),
        Result("batch scaling", "the same cells with one worker and with two", batch),
        Result("pruning", "one search of the year in fast mode, TPE, one seed, with and without", pruning),
    ]


@dataclass(frozen=True)
class _Round:
    """The same number of trials in three ways: seconds, and of two of them CPU seconds a trial.

    ``simulated`` is the share of what our workers had that Jesse simulated, 0 to 1.
    """

    trials: int
    ours: float
    loop: float
    jesse: float
    our_cpu: float
    loop_cpu: float
    simulated: float


async def _rounds(
    desk: Desk, served: Served, loop: DirectProcess, size: _Size, wanted: int, steps: Steps
) -> list[_Round]:
    trials = size.trials
    found: list[_Round] = []
    begun = time.perf_counter()
    for number in range(wanted):
        spent = time.perf_counter() - begun
        if found and spent + spent / len(found) > _SECONDS_OF_ROUNDS:
            break
        steps.doing("ours")
        ours, our_cpu, simulated, runs = await _ours(served, trials, number)
        steps.done()
        steps.doing("bare loop")
        alone, loop_cpu = await _loop(loop, runs)
        steps.done()
        steps.doing("Jesse's")
        jesse = await _jesse(desk, size.each)
        steps.done()
        found.append(_Round(trials, ours, alone, jesse, our_cpu / trials, loop_cpu / trials, simulated))
    return found


def _search_figures(rounds: list[_Round]) -> tuple[Figure, ...]:
    return (
        sampled("optimize, trials a second", [found.trials / found.ours for found in rounds], "1/s"),
        sampled(
            "bare loop of research.backtest, one process",
            [found.trials / found.loop for found in rounds],
            "1/s",
        ),
        sampled(
            "jesse.research.optimize, Ray running", [found.trials / found.jesse for found in rounds], "1/s"
        ),
        sampled(
            "optimize over the bare loop",
            [found.loop / found.ours for found in rounds],
            "x",
            _AGAINST_LOOP,
        ),
        sampled("optimize over Jesse's", [found.jesse / found.ours for found in rounds], "x", _AGAINST_JESSE),
        sampled(
            "share of the workers' time that Jesse simulates",
            [100 * found.simulated for found in rounds],
            "%",
        ),
        # Wall times of a busy machine say little of either.
        sampled("CPU time a trial, optimize, every process", [found.our_cpu for found in rounds], "s"),
        sampled("CPU time a trial, bare loop", [found.loop_cpu for found in rounds], "s"),
    )


def _asked(**changes: Any) -> dict[str, Any]:
    """The run everything is measured with, as arguments of the campaign tools."""
    arguments = call()
    named = ("exchange", "strategy", "symbol", "timeframe", "start_date", "end_date")
    other = ("exchange_type", "starting_balance", "fee", "leverage", "leverage_mode", "warm_up_candles")
    settings = {name: arguments[name] for name in other} | changes.pop("settings", {})
    return {**{name: arguments[name] for name in named}, "settings": settings, "wait_seconds": 600, **changes}


async def _ours(served: Served, trials: int, seed: int) -> tuple[float, float, float, list[dict[str, Any]]]:
    """Seconds, seconds of all CPUs, which share of what the workers had Jesse spent simulating; the runs."""
    asked = _asked(sampler="random", seed=seed, trials=trials, min_trades=0, test_fraction=0)
    before = served.cpu_seconds()
    seconds, answer = await served.timed("optimize", **asked)
    busy = served.cpu_seconds() - before
    counts = answer["result"]["counts"]
    if (counts["runs_new"], counts["failed"]) != (trials, 0):
        raise RuntimeError(f"not {trials} new runs: {counts}")
    listed = await served.call("run_list", kind="trial", limit=trials)
    runs = [
        await served.call("run_get", run_id=line["run_id"], include=["provenance"]) for line in listed["runs"]
    ]
    simulating = sum(run["provenance"]["timings_seconds"]["simulate"] for run in runs)
    return seconds, busy, simulating / (seconds * _CORES), runs


async def _loop(process: DirectProcess, runs: list[dict[str, Any]]) -> tuple[float, float]:
    """The same trials one after the other: seconds, and seconds of CPU.

    Raises:
        RuntimeError: for another answer than the run has.
    """
    busy, started = 0.0, time.perf_counter()
    for run in runs:
        found = await process.run(fast_mode=False, hyperparameters=run["request"]["hyperparameters"])
        ours = (run["metrics"]["total"], run["metrics"]["finishing_balance"])
        if ours != (found.trades, found.finishing_balance):
            raise RuntimeError(f"{run['run_id']} ended with {ours}, Jesse alone with {found}")
        busy += found.cpu
    return time.perf_counter() - started, busy


async def _jesse(desk: Desk, each: int) -> float:
    # New every time: what it leaves beside `strategies` makes a project of the folder, which has to have a
    # database the next time.
    folder = Path(tempfile.mkdtemp(prefix="jesse-optimize-", dir=desk.folder))
    (folder / "strategies").symlink_to(_STRATEGIES)
    request = direct_request(fast_mode=False) | {"cores": _CORES, "trials_per_hyperparameter": each}
    process = await asyncio.create_subprocess_exec(
        *(str(desk.python), "-s", "-B", str(_SCRIPT), str(desk.mapped), json.dumps(request)),
        cwd=folder,
        env={
            **engine_environment(folder),
            "PYTHONPATH": str(folder),
            # Under uv, Ray would start its workers through uv, in an environment without Jesse.
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"Jesse's optimisation failed: {errors.decode()[-2000:]}")
    answer = json.loads(output.decode().splitlines()[-1])
    if answer["trials"] != each * _HYPERPARAMETERS:
        raise RuntimeError(f"Jesse ran {answer['trials']} trials")
    return float(answer["seconds"])


async def _batch_figures(one: Served, two: Served, cells: int, steps: Steps) -> tuple[Figure, ...]:
    steps.doing("batches")
    asked = _asked(vary={"hyperparameters": variations(cells)})
    seconds = []
    for served in (one, two):
        wall, answer = await served.timed("backtest_batch", **asked)
        if answer["result"]["failed"]:
            raise RuntimeError("a cell failed")
        seconds.append(wall)
    again, _ = await two.timed("backtest_batch", **asked)
    steps.done()
    return (
        Figure(f"{cells} cells, one worker", seconds[0], "s"),
        Figure(f"{cells} cells, two workers", seconds[1], "s"),
        Figure("gain of the second worker", seconds[0] / seconds[1], "x", goal=_AGAINST_LOOP),
        Figure("the same cells again, from the store", 1000 * again / cells, "ms"),
    )


async def _pruning_figures(served: Served, trials: int, steps: Steps) -> tuple[Figure, ...]:
    found: dict[bool, tuple[float, dict[str, Any]]] = {}
    # Fees a hair apart, so that neither finds the runs of the other.
    for pruning, fee in ((False, 0.0004), (True, 0.00040001)):
        steps.doing("with pruning" if pruning else "without pruning")
        asked = _asked(
            trials=trials,
            min_trades=10,
            pruning=pruning,
            settings={"fast_mode": True, "fee": fee},
            test_fraction=0,
        )
        wall, answer = await served.timed("optimize", **asked)
        found[pruning] = (wall, answer["result"])
        steps.done()
    (plain, whole), (sliced, pruned) = found[False], found[True]
    best = [result["best"][0]["train"]["sharpe_ratio"] for result in (whole, pruned)]
    return (
        Figure(f"{trials} trials without", plain, "s"),
        Figure(f"{trials} trials with", sliced, "s"),
        Figure("trials given up", float(pruned["counts"]["pruned"]), ""),
        Figure("runs", float(pruned["counts"]["runs_new"]), ""),
        Figure("time saved", 100 * (1 - sliced / plain), "%"),
        Figure("best Sharpe ratio without", best[0], ""),
        Figure("best Sharpe ratio with", best[1], ""),
    )
