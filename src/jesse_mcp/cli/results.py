"""Runs on a terminal: progress while they work, a table when they are done."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from jesse_mcp.composition import Application
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.services.backtest_request import BacktestArguments
from jesse_mcp.services.jobs import ProgressListener
from jesse_mcp.services.run_view import RunView

#: Jesse's metrics with their units, in the order a person asks for them.
SHOWN = {
    "total": "trades",
    "win_rate": "win rate",
    "net_profit": "net profit",
    "net_profit_percentage": "net profit, %",
    "finishing_balance": "finishing balance",
    "fee": "fees paid",
    "max_drawdown": "max drawdown, %",
    "annual_return": "annual return, %",
    "sharpe_ratio": "Sharpe ratio",
    "sortino_ratio": "Sortino ratio",
    "calmar_ratio": "Calmar ratio",
    "expectancy": "expectancy a trade",
    "average_holding_period": "average holding, s",
    "longs_percentage": "long trades, %",
}
#: Seconds.
FOREVER = 10**9


def progress_bar() -> Progress:
    """On standard error, and only where that is a terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@contextmanager
def listening() -> Iterator[ProgressListener]:
    """A bar for one piece of work, and what to tell it."""
    with progress_bar() as bar:
        task = bar.add_task("waiting", total=1.0)

        async def show(fraction: float | None, message: str | None) -> None:
            bar.update(task, completed=fraction or 0.0, description=message or "")

        yield show


def print_json(value: object) -> None:
    """JSON values as they are, however wide the terminal is."""
    Console(soft_wrap=True).print(json.dumps(value, indent=2), highlight=False, markup=False)


async def run_with_progress(
    application: Application, arguments: BacktestArguments, title: str | None, *, use_cache: bool = True
) -> RunView:
    """Run a backtest to its end with a bar on standard error.

    Raises:
        ResearchError: the error of the run.
    """
    with listening() as show:
        answer = await application.backtests.backtest(
            arguments, title=title, use_cache=use_cache, wait_seconds=FOREVER, on_progress=show
        )
    if answer.run is None:
        raise ResearchError(
            ErrorCode.JOB_NOT_ACTIVE,
            f"{answer.job_id} ended as {answer.state.value} without a run",
            hint=f"see `jesse-mcp jobs get {answer.job_id}`",
        )
    return answer.run


def print_run(run: RunView) -> None:
    """The headline of a run, then what the reader has to know about it."""
    console = Console()
    console.print(metrics_table(run.model_dump()))
    for warning in run.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)


def metrics_table(run: dict[str, Any]) -> Table:
    request = run["request"]
    routes = ", ".join(f"{r['strategy']} on {r['symbol']} {r['timeframe']}" for r in request["routes"])
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("run", run["run_id"])
    table.add_row("strategy", routes)
    table.add_row("exchange", f"{request['exchange']} ({request['exchange_type']})")
    table.add_row("period", f"{request['start_date']} to {request['end_date']}")
    table.add_row("engine", f"Jesse {run['engine']['jesse']}", end_section=True)
    for name, label in SHOWN.items():
        if name in run["metrics"]:
            table.add_row(label, _shown(run, name))
    if run["benchmark"] is not None:
        held = run["benchmark"]["return_percentage"]
        table.add_row("buy and hold, %", "not defined" if held is None else f"{held:,.2f}")
    return table


def _shown(run: dict[str, Any], name: str) -> str:
    value = run["metrics"][name]
    if value is None:
        return escape(f"none: {run['undefined'].get(name, 'not defined')}")
    return f"{value:,.4f}" if isinstance(value, float) else str(value)
