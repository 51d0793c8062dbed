"""Ten thousand shuffles of a run's trades against Jesse's thousand, and the memory of a large simulation."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.connection import Served, serving
from benchmarks.desk import Desk, Steps
from benchmarks.direct_process import engine_environment
from benchmarks.market import call, direct_request
from benchmarks.report import Figure, Goal, Result, milliseconds, sampled

import jesse_mcp

_STRATEGIES = Path(jesse_mcp.__file__).parent / "adapters" / "strategies" / "bundled"
_OURS, _JESSES = 10_000, 1_000
_REPEATS, _JESSES_REPEATS = 5, 2  # Jesse's thousand take minutes on a busy machine
_LARGE, _TRADES, _DAYS = 100_000, 5_000, 3_650
_GAIN = Goal("at least", 100)
_MEMORY = Goal("at most", 1024)
_METHODS = {
    "trades_shuffle": _TRADES,
    "trades_bootstrap": _TRADES,
    "returns_block": _DAYS,
    "returns_stationary": _DAYS,
}


async def measure(desk: Desk, steps: Steps) -> list[Result]:
    """Ours through MCP, job and report included; Jesse's without its backtest and the start of Ray."""
    repeats = desk.repeats(_REPEATS)
    steps.expect(2 + len(_METHODS))
    steps.doing("ours")
    async with serving(desk.home("monte-carlo")) as served:
        await served.warm()
        ours, trades = await _ours(served, repeats)
    steps.done()
    steps.doing("Jesse's")
    theirs = await _theirs(desk, desk.repeats(_JESSES_REPEATS, quick=1))
    if theirs["trades"] != trades:
        raise RuntimeError(f"Jesse shuffled {theirs['trades']} trades, we {trades}")
    steps.done()
    ours_each = [1000 * value / _OURS for value in milliseconds(ours)]
    theirs_each = [1000 * value / _JESSES for value in milliseconds(theirs["seconds"])]
    # Every pair: the two were measured one after the other, so no neighbours belong together.
    gains = [their / our for their in theirs_each for our in ours_each]
    figures = (
        sampled(f"{_OURS:,} shuffles of {trades} trades, the tool", milliseconds(ours), "ms"),
        sampled(f"{_JESSES:,} shuffles of the same, Jesse", milliseconds(theirs["seconds"]), "ms"),
        sampled("a shuffle, the tool", [value / 1000 for value in ours_each], "ms"),
        sampled("a shuffle, Jesse", [value / 1000 for value in theirs_each], "ms"),
        sampled("a shuffle: Jesse's time over ours", gains, "x", _GAIN),
    )
    title = (
        "trades of the run in fast mode; Jesse's monte_carlo_trades on all cores, Ray running, backtest done"
    )
    return [Result("monte carlo", title, figures), await _large(desk, steps)]


async def _ours(served: Served, repeats: int) -> tuple[list[float], int]:
    run = (await served.call("backtest", **call(fast_mode=True)))["run"]
    seconds = []
    for seed in range(repeats):
        took, answer = await served.timed(
            "monte_carlo",
            run_id=run["run_id"],
            method="trades_shuffle",
            simulations=_OURS,
            seed=seed,
            wait_seconds=600,
        )
        if answer["result"]["simulations"] != _OURS:
            raise RuntimeError("fewer simulations came back than were asked for")
        seconds.append(took)
    return seconds, run["trade_count"]


async def _theirs(desk: Desk, repeats: int) -> dict[str, Any]:
    scratch = desk.folder / "jesse-shuffles"
    scratch.mkdir()
    script = Path(__file__).with_name("jesse_shuffles.py")
    environment = {
        **engine_environment(scratch),
        # Workers of Ray import the strategy by name. Started below uv, they would be started by uv again.
        "PYTHONPATH": str(_STRATEGIES),
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    }
    arguments = [str(desk.mapped), str(_STRATEGIES), json.dumps(direct_request(True)), str(_JESSES)]
    return await _answer(
        [str(desk.python), "-s", "-B", str(script), *arguments, str(repeats)], scratch, environment
    )


async def _large(desk: Desk, steps: Steps) -> Result:
    script = Path(__file__).with_name("large_simulation.py")
    simulations = 1_000 if desk.quick else _LARGE
    figures = []
    for method, count in _METHODS.items():
        steps.doing(method)
        found = await _answer(
            [sys.executable, str(script), method, str(simulations), str(count)], desk.folder
        )
        figures += [
            Figure(f"{method}: peak resident memory", found["peak"], "MiB", goal=_MEMORY),
            Figure(f"{method}: of it before the simulation", found["before"], "MiB"),
            Figure(f"{method}: time", found["seconds"], "s"),
        ]
        steps.done()
    title = (
        f"{simulations:,} simulations of {_TRADES:,} trades or {_DAYS:,} daily returns, each in its process"
    )
    return Result("large simulations", title, tuple(figures))


async def _answer(
    command: list[str], folder: Path, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"{command[1:4]} ended with status {process.returncode}")
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    return answer
