"""How much unfinished work one client, and all of them together, may have."""

from collections.abc import Sequence
from dataclasses import dataclass

from jesse_mcp.domain.access import Caller
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState

#: Seconds; when a job ends cannot be known, so this is how often it is worth asking.
RETRY_SECONDS = 5


@dataclass(frozen=True)
class JobLimits:
    """Counted over the jobs of this process.

    Attributes:
        per_client: active jobs of one caller, queued and running.
        queued: jobs that wait for a worker, of all callers.
    """

    per_client: int
    queued: int

    def admit(self, caller: Caller, jobs: Sequence[tuple[str, JobState]]) -> None:
        """Let ``caller`` start one more job, unless there are too many.

        Args:
            jobs: name of the caller and state of each job.

        Raises:
            ResearchError: ``rate_limited``.
        """
        if not caller.limited:
            return
        mine = sum(name == caller.name and state.active for name, state in jobs)
        if mine >= self.per_client:
            raise _too_many(
                f"{caller.name} has {mine} active jobs, as many as one client may have",
                "wait for one with job_get, or stop one with job_cancel; job_list has them",
                limit=self.per_client,
            )
        waiting = sum(state is JobState.QUEUED for _, state in jobs)
        if waiting >= self.queued:
            raise _too_many(
                f"{waiting} jobs wait for a worker already, as many as may",
                "ask again when some have been worked off; job_list(state='queued') has them",
                limit=self.queued,
            )


def _too_many(message: str, hint: str, limit: int) -> ResearchError:
    return ResearchError(
        ErrorCode.RATE_LIMITED,
        message,
        hint=hint,
        details={"limit": limit, "retry_after_seconds": RETRY_SECONDS},
    )
