"""``jesse-mcp backtest``."""

import asyncio
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from jesse_mcp.cli.results import print_run, run_with_progress
from jesse_mcp.cli.run_options import Flag, RunOptions
from jesse_mcp.composition import Application
from jesse_mcp.settings import Settings


def register(app: App) -> None:
    app.command(backtest)


def backtest(
    strategy: str,
    *,
    run: RunOptions,
    benchmark: Flag = False,
    fresh: Flag = False,
    title: str | None = None,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Run one strategy over stored candles.

    Parameters
    ----------
    fresh
        Run again even if this exact experiment is stored.
    json_
        The whole result as JSON.
    """
    arguments = run.arguments(strategy, benchmark=benchmark)

    async def go() -> None:
        application = Application(Settings())
        await application.start()
        try:
            found = await run_with_progress(application, arguments, title, use_cache=not fresh)
        finally:
            await application.close()
        if json_:
            Console(soft_wrap=True).print(found.model_dump_json(indent=2), highlight=False, markup=False)
        else:
            print_run(found)

    asyncio.run(go())
