"""``job_list``, ``job_get``, ``job_cancel``."""

import json
from typing import Annotated, Any, Literal

from fastmcp import Context, FastMCP
from pydantic import Field

from jesse_mcp.composition import Application
from jesse_mcp.domain.jobs import Job, JobState
from jesse_mcp.domain.model import Value
from jesse_mcp.server.common_arguments import Limit, Offset
from jesse_mcp.server.progress import notifier
from jesse_mcp.server.registration import add_tool

JobId = Annotated[str, Field(description="from job_list or the call that began it")]
JobStateName = Literal["queued", "running", "done", "failed", "cancelled", "lost"]


class JobPage(Value):
    jobs: tuple[Job, ...]
    total: int = Field(description="how many match in all")


_OTHER_SERVER_SECONDS = 10
_LONGEST_RESULT = 20_000  # characters


def register(server: FastMCP, application: Application) -> None:
    async def job_list(
        state: Annotated[JobStateName | None, Field(description="only jobs in this state")] = None,
        limit: Limit = 20,
        offset: Offset = 0,
    ) -> JobPage:
        """Jobs, newest first. A job is lost when the server that ran it died; its error says why."""
        jobs, total = await application.jobs.page(
            state=None if state is None else JobState(state), limit=limit, offset=offset
        )
        return JobPage(jobs=tuple(_headline(job) for job in jobs), total=total)

    async def job_get(
        job_id: JobId,
        context: Context,
        wait_seconds: Annotated[
            float,
            Field(ge=0, le=600, description="wait this long for the job to end; 0 returns its state now"),
        ] = 0,
    ) -> Job:
        """One job: state, progress, error, end of its log; when done its run_id (see run_get) or result."""
        return _short(await application.jobs.wait(job_id, wait_seconds, notifier(context)))

    async def job_cancel(job_id: JobId) -> Job:
        """Stop a queued or running job; its processes are dead when this returns it as cancelled."""
        job = await application.jobs.cancel(job_id)
        # A job of another server on the same home is only asked to stop; its owner obeys within seconds.
        return _short(await application.jobs.wait(job.job_id, _OTHER_SERVER_SECONDS))

    add_tool(server, job_list, title="List jobs", read_only=True)
    add_tool(server, job_get, title="Get a job", read_only=True)
    add_tool(server, job_cancel, title="Cancel a job", destructive=True, idempotent=True)


def _headline(job: Job) -> Job:
    """Without the log and the traceback, which are for job_get."""
    error = job.error and {**job.error, "details": {}}
    shortened = {"log_tail": "", "error": error, "result": None, "request": _outlined(job.request)}
    return job.model_copy(update=shortened)


def _short(job: Job) -> Job:
    """Without a result too long to read at once; the tool that made it hands it out by page."""
    changes: dict[str, Any] = {"request": _outlined(job.request)}
    if job.result is not None and len(json.dumps(job.result)) > _LONGEST_RESULT:
        changes["result"] = None
        changes["message"] = f"the result is long: call {job.kind} with resume={job.job_id!r}"
    return job.model_copy(update=changes)


def _outlined(request: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, each long part replaced by how long it is."""
    return {
        name: f"{len(value)} entries" if isinstance(value, list | dict) and len(str(value)) > 500 else value
        for name, value in request.items()
    }
