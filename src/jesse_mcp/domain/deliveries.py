"""What goes to webhooks, and what became of it."""

from typing import Any, Literal

from pydantic import Field

from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.model import Value

NoticeState = Literal["waiting", "delivered", "given_up"]


class Delivery(Value):
    """Something that is sent until it arrives. Times are epoch ms, ``failure`` is of the last attempt."""

    webhook: str | None = Field(repr=False)
    attempts: int = 0
    next_attempt_at: int | None = Field(default=None, description="null when none will follow")
    delivered_at: int | None = None
    failure: str | None = None

    @property
    def delivery_key(self) -> str:
        """The same for every attempt, so that a receiver can tell what it has had."""
        raise NotImplementedError

    def content(self) -> dict[str, Any]:
        """What a receiver gets, as JSON values; the same for every attempt."""
        raise NotImplementedError


class JobNotice(Delivery):
    """That a job has ended. Times of the job are UTC, ISO 8601.

    ``tool`` is the one that began it, ``None`` for a command of a terminal.
    """

    job_id: str
    kind: str
    tool: str | None
    state: JobState
    created_at: str
    started_at: str | None
    finished_at: str | None
    run_id: str | None
    error_code: str | None
    noticed_at: int = Field(description="when its end was recorded, epoch ms")

    @property
    def delivery_key(self) -> str:
        return f"{self.job_id}:{self.state.value}"

    def content(self) -> dict[str, Any]:
        told = ("job_id", "kind", "tool", "state", "created_at", "started_at", "finished_at", "run_id")
        whole = self.model_dump(mode="json")
        return {
            "key": self.delivery_key,
            **{name: whole[name] for name in told},
            "error_code": self.error_code,
        }
