"""Where paper sessions are kept. Implementations block; services call them in a thread.

Every method raises ``storage_failed`` when the disk or the database refuses, and each that takes a
``session_id`` raises ``session_not_found`` when there is no such session. Times are epoch milliseconds,
leases epoch seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.domain.backtests import Trade
from jesse_mcp.domain.candles import CandleArray
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.leases import Gone, Leases
from jesse_mcp.domain.paper import Minute, PaperRequest, PaperStep
from jesse_mcp.domain.paper_records import (
    AlertDelivery,
    PaperAlert,
    PaperChange,
    PaperCounts,
    PaperEnd,
    PaperEquityPoint,
    PaperEvent,
    PaperPlace,
    PaperSession,
    PaperState,
)
from jesse_mcp.ports.paper import PaperSetup


@dataclass(frozen=True)
class NewSession:
    """What a session is created with, pinned as it is."""

    session: PaperSession
    source: dict[str, str]
    warm_up: tuple[CandleArray, ...]


@dataclass(frozen=True)
class PaperProgress:
    """What a step did, at the place it was taken from.

    Attributes:
        place: before the step.
        through: close of the last minute it worked through.
        events: what has to be said of it.
    """

    place: PaperPlace
    through: int
    step: PaperStep
    state: PaperState
    events: tuple[PaperEvent, ...] = ()


@dataclass(frozen=True)
class OwnerRequests:
    """What was asked of the sessions of an owner: those to stop, and changes to decide, oldest first."""

    stops: frozenset[str]
    changes: tuple[tuple[str, PaperChange], ...]


class PaperResults(Protocol):
    """What a session has done so far, for analyses."""

    def get(self, session_id: str) -> PaperSession: ...

    def trades(self, session_id: str) -> tuple[Trade, ...]:
        """Every closed trade, oldest first."""
        ...

    def daily(self, session_id: str) -> tuple[tuple[int, float], ...]:
        """Jesse's daily balances, (epoch milliseconds, balance), oldest first."""
        ...

    def request(self, session_id: str) -> PaperRequest:
        """What the session was started with."""
        ...


class PaperStore(PaperResults, Protocol):
    """Sessions with an owner that must renew its lease. Only the owner of an active session may write to
    it: others get :func:`not_owner`, in the transaction of the write itself."""

    def create(self, new: NewSession, lease_until: float) -> None:
        """Raises: ResearchError: ``session_exists``."""
        ...

    def setup(self, session_id: str) -> PaperSetup:
        """What its process is opened with."""
        ...

    def page(self, *, active: bool, limit: int, offset: int) -> tuple[list[PaperSession], int]:
        """Newest first, and how many there are in all.

        Args:
            active: only those that have not ended.
        """
        ...

    def counts(self) -> PaperCounts:
        """Of every session, whoever owns it."""
        ...

    # Ownership

    def renew(self, owner: str, lease_until: float) -> frozenset[str]:
        """Extend the lease of every active session of this owner; their ids."""
        ...

    def leases(self) -> Leases:
        """Those of all active sessions; one that was released has the owner ``""``."""
        ...

    def claim(self, owner: str, lease_until: float, gone: Gone) -> list[str]:
        """Take over the active sessions that were released or whose owner is gone; their ids."""
        ...

    def release(self, owner: str) -> None:
        """Leave every active session of this owner to whoever claims it next."""
        ...

    def asked(self, owner: str) -> OwnerRequests: ...

    def request_stop(self, session_id: str) -> bool:
        """Note that a stop is wanted; false when the session has ended."""
        ...

    # Work

    def log_candles(
        self, session_id: str, owner: str, minutes: Sequence[Minute], events: Sequence[PaperEvent] = ()
    ) -> None:
        """Append minutes, each later than those before, with what the feed noted, in one transaction.

        Minutes that are logged already are left as they are.
        """
        ...

    def logged(self, session_id: str, from_ms: int, limit: int) -> tuple[Minute, ...]:
        """Up to ``limit`` logged minutes from ``from_ms`` on, oldest first; none after the last."""
        ...

    def logged_through(self, session_id: str) -> int | None:
        """Close of the last minute logged."""
        ...

    def record(self, session_id: str, owner: str, progress: PaperProgress) -> PaperPlace:
        """Add what a step did, in one transaction; the place after it.

        Recording what is recorded already changes nothing.
        """
        ...

    def holds(self, session_id: str, progress: PaperProgress) -> bool:
        """Whether what the step did is recorded from this place on; more may be, as steps may be larger.

        Whoever repeats everything compares the place it comes to with that of the session as well.
        """
        ...

    def end(self, session_id: str, owner: str, end: PaperEnd) -> bool:
        """End an active session, in one transaction; false when it had ended."""
        ...

    def add_events(self, session_id: str, events: Sequence[PaperEvent]) -> None:
        """An event that is there already is not added again."""
        ...

    # Changes

    def write_notes(self, session_id: str, notes: str | None) -> None: ...

    def add_change(self, session_id: str, leverage: int) -> int:
        """Ask the owner for a leverage; the number of the change.

        Raises:
            ResearchError: ``session_not_active``.
        """
        ...

    def decide(self, session_id: str, owner: str, change: PaperChange, *, in_force: bool = False) -> None:
        """Note how a change was decided.

        Args:
            in_force: it is the leverage of the session now, not only once no position is open.
        """
        ...

    def changes(self, session_id: str) -> tuple[PaperChange, ...]:
        """All of them, oldest first."""
        ...

    # Reading

    def trade_page(self, session_id: str, limit: int, offset: int) -> tuple[list[Trade], int]:
        """Oldest first, and how many there are."""
        ...

    def equity_page(
        self, session_id: str, bucket_ms: int, limit: int, offset: int
    ) -> tuple[list[PaperEquityPoint], int]:
        """The last minute of each bucket, oldest first, and how many buckets there are.

        Args:
            bucket_ms: buckets begin at multiples of it; a minute belongs to the one it began in.
        """
        ...

    def equity(self, session_id: str, after: int | None = None) -> NDArray[np.float64]:
        """Every minute: close, equity, unrealised profit, drawdown, shape (n, 4).

        Args:
            after: only minutes that close later.
        """
        ...

    def last_equity(self, session_id: str) -> PaperEquityPoint | None: ...

    def events(self, session_id: str, limit: int) -> list[PaperEvent]:
        """The newest, oldest of them first."""
        ...

    # Alerts

    def add_alerts(self, session_id: str, alerts: Sequence[PaperAlert], next_attempt_at: int | None) -> None:
        """Add those whose key is new.

        Args:
            next_attempt_at: when to send them, if the session has a webhook.
        """
        ...

    def alerts(self, session_id: str, limit: int) -> list[AlertDelivery]:
        """The newest, oldest of them first."""
        ...

    def alert_keys(self, session_id: str) -> frozenset[str]: ...

    def due(self, owner: str, now: int, limit: int) -> list[AlertDelivery]:
        """Alerts of this owner's sessions, or of ended ones, whose webhook is to be called by now."""
        ...

    def delivery(self, attempted: AlertDelivery) -> None:
        """Note how an attempt went."""
        ...


def not_owner(session_id: str) -> ResearchError:
    """For a write to a session that is another server's now, or has ended."""
    return ResearchError(
        ErrorCode.SESSION_NOT_ACTIVE,
        f"the session {session_id!r} has ended or is another server's now",
        hint="call paper_status for how it stands",
        details={"reason": "not_owner"},
    )
