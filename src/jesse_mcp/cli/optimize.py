"""``jesse-mcp optimize``."""

from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from jesse_mcp.cli.results import FOREVER, print_json
from jesse_mcp.cli.run_options import Flag, RunOptions
from jesse_mcp.cli.search_options import SearchOptions, answer_of, print_warnings, settings_text
from jesse_mcp.composition import Application
from jesse_mcp.services.jobs import ProgressListener
from jesse_mcp.services.optimization_answer import OptimizationAnswer, OptimizationResult
from jesse_mcp.services.optimization_request import OptimizationArguments


def register(app: App) -> None:
    app.command(optimize)


def optimize(
    strategy: str,
    *,
    run: RunOptions,
    search: SearchOptions | None = None,
    metric: tuple[str, ...] = ("sharpe_ratio",),
    trials: int = 100,
    test_fraction: float | None = None,
    test_start: str | None = None,
    early_stop: int | None = None,
    pruning: Flag = False,
    in_flight: int = 8,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Search hyperparameters on the first part of a period, run the best few on the rest.

    Interrupted, it goes on with `jesse-mcp jobs restart`, and runs no finished trial again.

    Parameters
    ----------
    metric
        One or two of Jesse's, as NAME, NAME:max or NAME:min; repeatable.
    test_fraction
        End of the period kept out of the search; default 0.3.
    test_start
        Instead: first day kept out.
    early_stop
        After so many trials without improvement.
    pruning
        Give up trials below the median after 10 and 25 % of the training.
    in_flight
        Trials at once; part of what fixes the answer.
    json_
        The whole result as JSON.
    """
    search = search or SearchOptions()
    arguments = OptimizationArguments(
        backtest=run.arguments(strategy),
        metrics=metric,
        space=search.ranges(),
        trials=trials,
        sampler=search.sampler,
        seed=search.seed,
        min_trades=search.min_trades,
        test_fraction=test_fraction,
        test_start=test_start,
        early_stop=early_stop,
        pruning=pruning,
        in_flight=in_flight,
    )

    async def ask(application: Application, show: ProgressListener) -> OptimizationAnswer:
        return await application.optimizations.optimize(arguments, wait_seconds=FOREVER, on_progress=show)

    answer = answer_of(ask)
    if answer.result is None:
        raise RuntimeError(f"{answer.job_id} ended as {answer.state.value} without a result")
    if json_:
        print_json(answer.result.model_dump(mode="json"))
    else:
        _print(answer.result)


def _print(result: OptimizationResult) -> None:
    console = Console()
    if result.best:
        console.print(_table(result))
    console.print(result.verdict, markup=False)
    console.print(f"stopped: {result.stopped}", markup=False)
    for failed in result.errors:
        text = f"trial {failed.trial} failed with {failed.code}: {failed.message}"
        console.print(text, style="red", markup=False)
    print_warnings(result.warnings)


def _table(result: OptimizationResult) -> Table:
    table = Table(title=", ".join(f"{name} {dates}" for name, dates in result.periods.items()))
    table.add_column("trial", justify="right")
    table.add_column("hyperparameters", overflow="fold")
    names = [*result.metrics, *(["total"] if "total" not in result.metrics else [])]
    for name in names:
        label = "trades" if name == "total" else name
        table.add_column(f"{label}, train", justify="right")
        table.add_column("test", justify="right")
    for found in result.best:
        cells = [text for name in names for text in (_number(found.train, name), _number(found.test, name))]
        table.add_row(str(found.trial), settings_text(found.parameters), *cells)
    return table


def _number(metrics: dict[str, Any] | None, name: str) -> str:
    value = None if metrics is None else metrics.get(name)
    return f"{value:,.4f}" if isinstance(value, float) else "none" if value is None else str(value)
