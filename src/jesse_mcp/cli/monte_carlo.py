"""``jesse-mcp monte-carlo``."""

import asyncio
from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from jesse_mcp.cli.results import FOREVER, listening
from jesse_mcp.composition import Application
from jesse_mcp.domain.backtests import EngineChoice
from jesse_mcp.services.monte_carlo_report import MonteCarloResult
from jesse_mcp.services.monte_carlo_request import MonteCarloArguments
from jesse_mcp.settings import Settings

Method = Literal["trades_shuffle", "trades_bootstrap", "returns_block", "returns_stationary", "candles"]


def register(app: App) -> None:
    app.command(monte_carlo, name="monte-carlo")


def monte_carlo(
    run_id: str,
    *,
    method: Method = "trades_shuffle",
    simulations: int | None = None,
    seed: int = 0,
    block_length: float | None = None,
    ruin_threshold: float = 0.5,
    engine: EngineChoice = "configured",
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """What luck did to a finished run.

    Parameters
    ----------
    method
        Resample its trades or its daily returns, or run it again on altered candles.
    simulations
        1,000 by default, 100 for candles.
    block_length
        Days; only for returns_block and returns_stationary. Default: chosen from the data.
    ruin_threshold
        Share of the starting balance: at or below it is ruin.
    engine
        embedded: scenarios of candles run on this machine, whatever the run was made on.
    json_
        The whole result as JSON.
    """
    arguments = MonteCarloArguments(
        run_id=run_id,
        method=method,
        simulations=simulations,
        seed=seed,
        block_length=block_length,
        ruin_threshold=ruin_threshold,
        engine=engine,
    )
    result = asyncio.run(_analysed(arguments))
    if json_:
        Console(soft_wrap=True).print(result.model_dump_json(indent=2), highlight=False, markup=False)
    else:
        _print(result)


async def _analysed(arguments: MonteCarloArguments) -> MonteCarloResult:
    application = Application(Settings(prewarm=False))
    await application.start()
    try:
        with listening() as show:
            answer = await application.monte_carlo.analyse(arguments, wait_seconds=FOREVER, on_progress=show)
    finally:
        await application.close()
    if answer.result is None:
        raise RuntimeError(f"{answer.job_id} ended as {answer.state.value} without a result")
    return answer.result


def _print(result: MonteCarloResult) -> None:
    levels = [f"{level:g}" for level in result.request["quantiles"]]
    table = Table(title=result.convention)
    for column in ("", "the run", "percentile", *levels):
        table.add_column(column, overflow="fold")
    for name, found in result.distributions.items():
        if found is None:
            table.add_row(name, f"none: {result.undefined[name]}")
            continue
        cells = [_number(found.quantiles[level]) for level in levels]
        table.add_row(name, _number(found.original), f"{found.percentile_of_original:.1f}", *cells)
    console = Console()
    console.print(table)
    for finding in result.findings:
        console.print(finding, markup=False)


def _number(value: float) -> str:
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.4f}"
