"""Where finished runs and jobs are kept. Implementations block; services call them in a thread."""

from typing import Any, Protocol

from jesse_mcp.domain.jobs import Job, JobState
from jesse_mcp.domain.runs import RunRecord, RunSummary


class RunStore(Protocol):
    def add(self, run: RunRecord) -> None:
        """Store a run, all or nothing."""
        ...

    def get(self, run_id: str) -> RunRecord:
        """Raises: ResearchError: ``run_not_found``."""
        ...

    def find(self, fingerprint: str) -> RunRecord | None:
        """The latest run of the same experiment."""
        ...

    def page(
        self,
        *,
        strategy: str | None = None,
        symbol: str | None = None,
        kind: str | None = None,
        limit: int = 20,
        offset: int = 0,
    ) -> tuple[list[RunSummary], int]:
        """Newest first, and how many match in all."""
        ...


class JobStore(Protocol):
    """Jobs with an owner that must renew its lease; all times are epoch seconds."""

    def create(self, kind: str, request: dict[str, Any], owner: str, lease_until: float) -> Job: ...

    def get(self, job_id: str) -> Job:
        """Raises: ResearchError: ``job_not_found``."""
        ...

    def page(
        self, *, state: JobState | None = None, kind: str | None = None, limit: int = 20, offset: int = 0
    ) -> tuple[list[Job], int]:
        """Newest first, and how many match in all."""
        ...

    def start(self, job_id: str) -> bool:
        """Queued to running; false when it was no longer queued."""
        ...

    def report(self, job_id: str, progress: float | None, message: str | None, log_tail: str | None) -> None:
        """Update a running job; ``None`` leaves a field as it is. Ignored once the job has ended."""
        ...

    def finish(
        self,
        job_id: str,
        state: JobState,
        *,
        run_id: str | None = None,
        error: dict[str, Any] | None = None,
    ) -> bool:
        """End an active job; false when it had already ended (the first end stands)."""
        ...

    def request_cancel(self, job_id: str) -> bool:
        """Note that cancellation is wanted, so that the owner sees it; false when not active."""
        ...

    def cancel_requests(self, owner: str) -> list[str]:
        """Active jobs of this owner whose cancellation was asked for."""
        ...

    def renew(self, owner: str, lease_until: float) -> None:
        """Extend the lease of every active job of this owner."""
        ...

    def reap(self, now: float, dead_owners: frozenset[str]) -> list[str]:
        """Mark as ``lost`` each active job whose lease has run out or whose owner is known dead.

        The error of the job says which of the two it was. Returns the ids.
        """
        ...

    def active_owners(self) -> frozenset[str]:
        """Owners of active jobs."""
        ...
