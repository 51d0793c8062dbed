"""The command line of the benchmarks."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from benchmarks import machine, market, report
from benchmarks.desk import Desk, Steps
from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jesse_mcp.adapters.embedded import provision
from jesse_mcp.cli.engine import installation_progress
from jesse_mcp.settings import Settings

Name = Literal[
    "warm-call",
    "stored-answer",
    "two-workers",
    "status-latency",
    "cold-start",
    "memory",
    "candle-store",
    "candle-import",
    "monte-carlo",
    "analysis",
    "optimize",
    "bare-call",
    "paper",
]
Measure = Callable[[Desk, Steps], Awaitable[list[report.Result]]]
_README = Path(__file__).with_name("README.md")
_OTHERS = "meanwhile: CPU time of other processes, share of the machine"


def benchmarks() -> dict[Name, Measure]:
    """In the order of a campaign. Imported here: the command line alone needs none of their libraries."""
    from benchmarks import (
        analysis,
        bare_call,
        candle_import,
        candle_store,
        cold_start,
        memory,
        monte_carlo,
        optimize,
        paper,
        status_latency,
        stored_answer,
        two_workers,
        warm_call,
    )

    return {
        "warm-call": warm_call.measure,
        "stored-answer": stored_answer.measure,
        "two-workers": two_workers.measure,
        "status-latency": status_latency.measure,
        "cold-start": cold_start.measure,
        "memory": memory.measure,
        "candle-store": candle_store.measure,
        "candle-import": candle_import.measure,
        "monte-carlo": monte_carlo.measure,
        "analysis": analysis.measure,
        "optimize": optimize.measure,
        "bare-call": bare_call.measure,
        "paper": paper.measure,
    }


def app() -> App:
    command = App(name="run.py", help="Measure jesse-mcp on this machine.", version_flags=[])
    command.default(run)
    return command


def run(
    *,
    only: Annotated[list[Name] | None, Parameter(consume_multiple=True)] = None,
    json: Path | None = None,
    write: bool = False,
    quick: bool = False,
) -> int:
    """Measure and print; a missed goal is printed and is no failure.

    Parameters
    ----------
    only
        These benchmarks; all by default.
    json
        Also write every figure, unrounded, to this file.
    write
        Also put the tables into benchmarks/README.md.
    quick
        Few repetitions: to see that everything runs, not to measure.
    """
    console = Console(highlight=False)
    if write and (only or quick):
        console.print("--write is for a whole campaign: leave out --only and --quick", style="bold red")
        return 2
    chosen = {name: measure for name, measure in benchmarks().items() if not only or name in only}
    settings = Settings()
    with installation_progress() as progress:
        environment = provision.install(settings.cache, settings.jesse_python, progress)
    facts = machine.facts(environment.jesse_version)
    with tempfile.TemporaryDirectory(prefix="jesse-mcp-benchmarks-") as folder:
        stocked = Path(folder) / "stocked"
        mapped = market.stock(stocked)
        desk = Desk(Path(folder), stocked, mapped, environment.python, settings, quick)
        results = asyncio.run(_campaign(chosen, desk, console))
    for name, fact in facts.items():
        console.print(f"{name}: {fact}")
    if json is not None:
        json.write_text(report.as_json(results, facts), encoding="utf-8")
    if write:
        figures = report.markdown(results, facts)
        _README.write_text(report.replaced(_README.read_text(encoding="utf-8"), figures), encoding="utf-8")
    return 0


async def _campaign(chosen: dict[Name, Measure], desk: Desk, console: Console) -> list[report.Result]:
    results: list[report.Result] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        whole = bar.add_task("all benchmarks", total=len(chosen))
        for name, measure in chosen.items():
            steps = Steps(bar, name)
            disturbance = machine.disturbance()
            found = await measure(desk, steps)
            others = report.Figure(_OTHERS, disturbance(), "%")
            steps.finish()
            for result in found:
                noted = replace(result, figures=(*result.figures, others))
                console.print(report.screen(noted))
                results.append(noted)
            bar.advance(whole)
    return results
