"""Many clients on one server: ``./dev run python benchmarks/load.py --clients 200 --minutes 5``."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import App


def campaign(
    *,
    clients: int = 200,
    minutes: float = 5.0,
    processes: int = 2,
    pause: float = 2.0,
    jobs: float = 0.02,
    rate_limit: int = 6000,
    json: Path | None = None,
    quick: bool = False,
) -> int:
    """Put our HTTP server under load, beside a bare FastMCP server; an error other than 429 fails.

    Parameters
    ----------
    clients
        MCP clients at the same time, each with a token of its own.
    minutes
        How long they call; two thirds of it the mix of reads and jobs, one third either server in turn.
    processes
        Of clients.
    pause
        Mean seconds a client thinks between two calls.
    jobs
        Share of the calls that are short jobs.
    rate_limit
        Requests of one client a minute. The default of the server, 60, is enough for the many; one client
        that is measured alone asks as fast as it can.
    json
        Also write every figure, unrounded, to this file.
    quick
        Few repetitions of what is measured alone: to see that everything runs, not to measure.
    """
    from benchmarks import machine, market, report
    from benchmarks.desk import Desk, Steps
    from benchmarks.load_campaign import Campaign, Size
    from benchmarks.load_figures import results, unaccepted
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from jesse_mcp.adapters.embedded import provision
    from jesse_mcp.cli.engine import installation_progress
    from jesse_mcp.settings import Settings

    console = Console(highlight=False)
    settings = Settings()
    with installation_progress() as progress:
        environment = provision.install(settings.cache, settings.jesse_python, progress)
    facts = machine.facts(environment.jesse_version)
    disturbance = machine.disturbance()
    size = Size(clients, processes, minutes, pause, jobs, rate_limit)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="jesse-mcp-load-") as folder,
        Progress(*columns, console=Console(stderr=True), transient=True) as bar,
    ):
        stocked = Path(folder) / "stocked"
        desk = Desk(Path(folder), stocked, market.stock(stocked), environment.python, settings, quick)
        found = asyncio.run(Campaign(desk, size, Steps(bar, "load")).run())
    title = (
        f"{clients} clients in {processes} processes for {minutes:g} min, a pause of {pause:g} s, "
        f"{100 * jobs:g} % jobs, at most {rate_limit:,} requests a minute of each; "
        "clients and server share the cores"
    )
    tables = results(found, title)
    for table in tables:
        console.print(report.screen(table))
    for name, fact in facts.items():
        console.print(f"{name}: {fact}")
    console.print(f"meanwhile, CPU time of other processes, share of the machine: {disturbance():.1f} %")
    if json is not None:
        json.write_text(report.as_json(tables, facts), encoding="utf-8")
    errors = unaccepted(found)
    if errors:
        console.print(f"errors by code: {errors}", style="bold red")
    return 1 if errors else 0


def app() -> "App":
    from cyclopts import App

    command = App(name="load.py", help="Put the HTTP server under load.", version_flags=[])
    command.default(campaign)
    return command


def main() -> None:
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    app()()


if __name__ == "__main__":
    main()
