"""``jesse-mcp jobs``: look at jobs, cancel one, run one again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jesse_mcp.cli.results import FOREVER, listening, print_json, print_run, run_with_progress
from jesse_mcp.composition import Application
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import Job, JobState
from jesse_mcp.domain.model import Value
from jesse_mcp.services.backtest_request import BacktestArguments
from jesse_mcp.services.batches import BatchService
from jesse_mcp.services.monte_carlo_request import MonteCarloArguments
from jesse_mcp.services.optimization import OptimizationService
from jesse_mcp.services.stress import StressService
from jesse_mcp.services.walk_forward import WalkForwardService
from jesse_mcp.settings import Settings

T = TypeVar("T")
_OTHER_PROCESS_SECONDS = 10
Json = Annotated[bool, Parameter(name="--json", negative="")]


def register(app: App) -> None:
    jobs = App(name="jobs", help="Long work: what runs, what ended and how.")
    jobs.command(listing, name="list")
    jobs.command(get)
    jobs.command(cancel)
    jobs.command(restart)
    app.command(jobs)


def listing(
    *,
    state: JobState | None = None,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=200))] = 20,
    json_: Json = False,
) -> None:
    """Jobs, newest first."""
    jobs, total = _with_application(lambda app: app.jobs.page(state=state, limit=limit))
    if json_:
        print_json({"jobs": [job.model_dump(mode="json") for job in jobs], "total": total})
        return
    table = Table(title=f"{len(jobs)} of {total} jobs")
    # Whole, to be copied; the message gives way.
    table.add_column("job", no_wrap=True, min_width=16)
    for column in ("kind", "state", "progress", "created", "message"):
        table.add_column(column, overflow="fold")
    for job in jobs:
        progress = "" if job.progress is None else f"{job.progress:.0%}"
        note = str(job.error["message"]) if job.error else job.message or ""
        table.add_row(job.job_id, job.kind, job.state.value, progress, job.created_at, Text(note))
    Console().print(table)


def get(job_id: str) -> None:
    """One job in full, as JSON."""
    print_json(_with_application(lambda app: app.jobs.get(job_id)).model_dump(mode="json"))


def cancel(job_id: str) -> None:
    """Stop a job, also one that another process runs."""

    async def ask(application: Application) -> Job:
        job = await application.jobs.cancel(job_id)
        # Another process is only asked; it obeys at its next heartbeat.
        return await application.jobs.wait(job.job_id, _OTHER_PROCESS_SECONDS)

    job = _with_application(ask)
    if job.state.active:
        raise ResearchError(
            ErrorCode.JOB_NOT_ACTIVE,
            f"{job_id} is still {job.state.value}: its server was asked to stop it and has not answered",
            hint=f"look again with `jesse-mcp jobs get {job_id}`",
        )
    Console().print(f"{job_id} is {job.state.value}")


def restart(job_id: str) -> None:
    """Run a job again that failed, was cancelled or lost, with the same request.

    Anything but a backtest goes on where it was; its answer is printed as JSON, of one that is done at once.
    """

    async def again(application: Application) -> None:
        job = await application.jobs.get(job_id)
        resumable: dict[str, OptimizationService | BatchService | WalkForwardService | StressService] = {
            "optimize": application.optimizations,
            "backtest_batch": application.batches,
            "walk_forward": application.walk_forwards,
            "stress_test": application.stress,
        }
        if job.kind in (*resumable, "monte_carlo") and not job.state.active:
            with listening() as show:
                if job.kind in resumable:
                    ended: Value = await resumable[job.kind].resume(
                        job_id, wait_seconds=FOREVER, on_progress=show
                    )
                else:
                    # The same request finds the scenarios that were finished.
                    ended = await application.monte_carlo.analyse(
                        MonteCarloArguments.model_validate(job.request),
                        wait_seconds=FOREVER,
                        on_progress=show,
                    )
            print_json(ended.model_dump(mode="json"))
            return
        if job.state.active or job.kind != "backtest":
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"{job_id} is a {job.kind} that is {job.state.value}",
                hint="anything but an import can be restarted when it has ended",
            )
        arguments = BacktestArguments.model_validate(job.request)
        print_run(await run_with_progress(application, arguments, title=None))

    _with_application(again)


def _with_application(use: Callable[[Application], Awaitable[T]]) -> T:
    async def go() -> T:
        application = Application(Settings(prewarm=False))
        await application.start()
        try:
            return await use(application)
        finally:
            await application.close()

    return asyncio.run(go())
