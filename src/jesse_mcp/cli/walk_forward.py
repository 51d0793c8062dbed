"""``jesse-mcp walk-forward``."""

from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jesse_mcp.cli.results import FOREVER, print_json
from jesse_mcp.cli.run_options import Flag, RunOptions
from jesse_mcp.cli.search_options import SearchOptions, answer_of, print_warnings, settings_text
from jesse_mcp.composition import Application
from jesse_mcp.services.jobs import ProgressListener
from jesse_mcp.services.walk_forward_answer import WalkForwardAnswer, WalkForwardResult
from jesse_mcp.services.walk_forward_request import WalkForwardArguments


def register(app: App) -> None:
    app.command(walk_forward, name="walk-forward")


def walk_forward(
    strategy: str,
    *,
    train_days: int,
    test_days: int,
    run: RunOptions,
    search: SearchOptions | None = None,
    step_days: int | None = None,
    anchored: Flag = False,
    purge_days: int = 0,
    drop_partial: Flag = False,
    metric: str | None = None,
    trials: int = 50,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Optimize on one period, test on the next, move on: what is left on days it was not fitted to.

    Interrupted, it goes on with `jesse-mcp jobs restart`, and runs no finished trial again.

    Parameters
    ----------
    step_days
        From one window to the next; default: --test-days.
    anchored
        Every training begins with the first day.
    purge_days
        Unused days before each test.
    drop_partial
        Leave out a last test cut short.
    metric
        One of Jesse's, as NAME, NAME:max or NAME:min; default sharpe_ratio.
    trials
        Per window; 0 tests the hyperparameters as they are.
    json_
        The whole result as JSON.
    """
    search = search or SearchOptions()
    arguments = WalkForwardArguments(
        backtest=run.arguments(strategy),
        train_days=train_days,
        test_days=test_days,
        step_days=step_days,
        anchored=anchored,
        purge_days=purge_days,
        keep_partial=not drop_partial,
        metric=metric,
        space=search.ranges(),
        trials=trials,
        sampler=search.sampler,
        seed=search.seed,
        min_trades=search.min_trades,
    )

    async def ask(application: Application, show: ProgressListener) -> WalkForwardAnswer:
        return await application.walk_forwards.walk(arguments, wait_seconds=FOREVER, on_progress=show)

    answer = answer_of(ask)
    if answer.result is None:
        raise RuntimeError(f"{answer.job_id} ended as {answer.state.value} without a result")
    if json_:
        print_json(answer.result.model_dump(mode="json"))
    else:
        _print(answer.result)


def _print(result: WalkForwardResult) -> None:
    console = Console()
    table = Table(title=result.rule)
    for column in ("training", "test", "hyperparameters"):
        table.add_column(column, overflow="fold")
    for column in ("in training", "in the test", "balance after"):
        table.add_column(column, justify="right")
    for line in result.windows:
        tested = escape(line.missing or "none") if line.test_return is None else f"{line.test_return:.2%}"
        trained = "none" if line.train_return is None else f"{line.train_return:.2%}"
        chosen = settings_text(line.parameters)
        table.add_row(line.train, line.test, chosen, trained, tested, f"{line.balance_after:,.2f}")
    console.print(table)
    console.print(f"verdict: {result.verdict} ({result.thresholds})", markup=False)
    for finding in result.findings:
        console.print(finding, markup=False)
    print_warnings(result.warnings)
