"""Where finished runs and jobs are kept. Implementations block; services call them in a thread."""

from typing import Any, Protocol

from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.domain.jobs import Job, JobState
from jesse_mcp.domain.leases import Gone, Leases
from jesse_mcp.domain.ledger import Trial
from jesse_mcp.domain.runs import RunRecord, RunSummary


class RunStore(Protocol):
    """Every method raises ``storage_failed`` when the disk or the database refuses."""

    def add(self, run: RunRecord) -> None:
        """Store a run, all or nothing.

        Raises:
            ResearchError: ``storage_failed`` also for a ``run_id`` that is stored already.
        """
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

    def count(self) -> int:
        """Of every kind."""
        ...

    def add_failure(self, fingerprint: str, created_at: str, error: ResearchError) -> None:
        """Remember that an experiment fails, for :meth:`find_failure`.

        Args:
            created_at: UTC, ISO 8601, as ``iso_utc`` writes it.
        """
        ...

    def find_failure(self, fingerprint: str, since: str) -> ResearchError | None:
        """The latest failure of an experiment, if it was added at ``since`` (UTC, ISO 8601) or later."""
        ...


class JobStore(Protocol):
    """Jobs with an owner that must renew its lease; all times are epoch seconds.

    Every method raises ``storage_failed`` when the disk or the database refuses, and each that takes a
    ``job_id`` raises ``job_not_found`` when there is no such job.
    """

    def create(self, kind: str, request: dict[str, Any], owner: str, lease_until: float) -> Job: ...

    def create_unless_active(
        self, kind: str, request: dict[str, Any], owner: str, lease_until: float
    ) -> tuple[Job, bool]:
        """A new job and true; or the active job of any owner with the same kind and request, and false.

        A job whose cancellation was asked for is not joined. Of several callers at once one creates the job.
        """
        ...

    def get(self, job_id: str) -> Job:
        """Raises: ResearchError: ``job_not_found``."""
        ...

    def page(
        self, *, state: JobState | None = None, kind: str | None = None, limit: int = 20, offset: int = 0
    ) -> tuple[list[Job], int]:
        """Newest first, and how many match in all."""
        ...

    def counts(self) -> dict[JobState, int]:
        """How many there are in each state, with zeros."""
        ...

    def start(self, job_id: str) -> bool:
        """Queued to running; false when it was no longer queued."""
        ...

    def report(self, job_id: str, progress: float | None, message: str | None, log_tail: str | None) -> None:
        """Update an active job; ``None`` leaves a field as it is. Ignored once the job has ended."""
        ...

    def finish(
        self,
        job_id: str,
        state: JobState,
        *,
        run_id: str | None = None,
        error: dict[str, Any] | None = None,
        result: dict[str, Any] | None = None,
    ) -> bool:
        """End an active job; false when it had already ended (the first end stands).

        A job that is ``done`` has a progress of 1.
        """
        ...

    def request_cancel(self, job_id: str) -> bool:
        """Note that cancellation is wanted, so that the owner sees it; false when not active."""
        ...

    def cancel_requests(self, owner: str) -> list[str]:
        """Active jobs of this owner whose cancellation was asked for."""
        ...

    def renew(self, owner: str, lease_until: float) -> frozenset[str]:
        """Extend the lease of every active job of this owner; their ids.

        A job its owner still works on that is not among them was ended by somebody else.
        """
        ...

    def reap(self, gone: Gone) -> list[str]:
        """Mark as ``lost`` each active job whose owner is gone.

        The error of the job says which of the two it was. Returns the ids.
        """
        ...

    def leases(self) -> Leases:
        """Those of all active jobs."""
        ...


class TrialLedger(Protocol):
    """Every backtest ever tried. Every method raises ``storage_failed`` when the database refuses."""

    def record(self, entry: Trial) -> bool:
        """Add a trial; false when its fingerprint was counted before.

        The first entry stands, except that one without a run is given that of ``entry`` with its returns.
        """
        ...

    def count(self, family: str | None = None) -> int:
        """Distinct trials that count for a family, those of its :meth:`lineage`, or all."""
        ...

    def entries(self, family: str | None = None, limit: int = 100, offset: int = 0) -> list[Trial]:
        """Of the same trials, newest first."""
        ...

    def lineage(self, family: str) -> frozenset[str]:
        """The family and those that count for it, by :func:`~jesse_mcp.domain.ledger.lineage_of`."""
        ...
