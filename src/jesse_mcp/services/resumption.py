"""Long jobs that are followed, and taken up again by their id."""

import asyncio

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import Job
from jesse_mcp.services.backtest_plan import Plan
from jesse_mcp.services.backtest_request import BacktestArguments
from jesse_mcp.services.campaign import Campaign
from jesse_mcp.services.jobs import JobService, ProgressListener


async def job_of_kind(jobs: JobService, job_id: str, kind: str) -> Job:
    """The job to take up again.

    Raises:
        ResearchError: ``job_not_found``; ``invalid_argument`` when it is a job of another kind.
    """
    job = await jobs.get(job_id)
    if job.kind != kind:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"resume: {job_id} is a {job.kind} job, not one of {kind}",
            hint=f"job_list shows the jobs of {kind}",
        )
    return job


async def awaited(
    jobs: JobService, job_id: str, wait_seconds: float, on_progress: ProgressListener | None
) -> Job:
    """The job when it has ended well, or as it is after ``wait_seconds``.

    Raises:
        ResearchError: how it ended otherwise, with its id in the details.
    """
    job = await jobs.wait(job_id, wait_seconds, on_progress)
    if job.error is not None:
        error = ResearchError.from_dict(job.error)
        error.details.setdefault("job_id", job.job_id)
        raise error
    return job


def pins(plan: Plan) -> dict[str, object]:
    """What an answer rests on besides the request."""
    return {"code": plan.code_hash, "candles": plan.candle_hashes, "fingerprint": plan.fingerprint}


def check_pins(before: dict[str, object], plan: Plan, began: str) -> None:
    """A job goes on, and ends, only with what it began with: half of one answer and half of another is none.

    Args:
        before: :func:`pins` of the plan the job began with.
        plan: the same as of now.
        began: what began then, such as ``resume: since job_x began``.

    Raises:
        ResearchError: ``invalid_argument`` saying what has changed.
    """
    now = pins(plan)
    if now == before:
        return
    named = {"code": "the code of the strategy", "candles": "the candles of the period"}
    changed = [text for name, text in named.items() if now[name] != before[name]] or ["the engine"]
    raise ResearchError(
        ErrorCode.INVALID_ARGUMENT,
        f"{began}, {' and '.join(changed)} changed",
        hint="start it anew without resume; what was run with the same code and candles is not run again",
    )


async def unchanged(campaign: Campaign, arguments: BacktestArguments, before: dict[str, object]) -> None:
    """Make sure that every run of a job that ends now was on the same candles.

    Raises:
        ResearchError: ``invalid_argument``; also what planning raises when the candles are gone.
    """
    check_pins(before, await asyncio.to_thread(campaign.plan, arguments), "since this job began")
