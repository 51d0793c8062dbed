"""Which ends of jobs a webhook is still to be told of."""

from typing import Protocol

from jesse_mcp.domain.deliveries import JobNotice, NoticeState


class JobNotices(Protocol):
    """Ends of jobs, kept beside the jobs themselves and shared by every server with the same records.

    Implementations block; services call them in a thread. Every method raises ``storage_failed`` when the
    disk or the database refuses. Times are epoch ms by :meth:`now_ms`.
    """

    def now_ms(self) -> int:
        """By a clock that all these servers share."""
        ...

    def claim(self, now: int, until: int, limit: int) -> list[JobNotice]:
        """The oldest that are due, each with ``next_attempt_at`` set to ``until``.

        Nobody else gets them before ``until``; who claims them and dies leaves them to others then. Of
        several callers at once one gets each.
        """
        ...

    def note(self, claimed: JobNotice, attempted: JobNotice) -> bool:
        """Write down how an attempt went; false when somebody else claimed the notice meanwhile."""
        ...

    def counts(self) -> dict[NoticeState, int]:
        """By what became of them, every state."""
        ...
