"""Long work as jobs: states, progress and ownership."""

from enum import StrEnum
from typing import Any

from pydantic import Field

from jesse_mcp.domain.model import Value


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def active(self) -> bool:
        return self in (JobState.QUEUED, JobState.RUNNING)


class Job(Value):
    """A snapshot of one job.

    ``progress`` is 0..1 or ``None`` before anything can be said; times are UTC, ISO 8601.
    """

    job_id: str
    kind: str
    state: JobState
    progress: float | None = None
    message: str | None = None
    request: dict[str, Any]
    run_id: str | None = None
    error: dict[str, Any] | None = Field(default=None, description="code, message, hint, details")
    result: dict[str, Any] | None = Field(default=None, description="answer of a job that is more than a run")
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    owner: str | None = None
    log_tail: str = ""
