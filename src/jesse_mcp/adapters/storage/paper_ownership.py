"""Who works on a paper session, and what others ask of it."""

from typing import Any

from sqlalchemy import func, insert, or_, select, true, update

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.encoding import from_model
from jesse_mcp.adapters.storage.leases import abandoned_by, leases_in
from jesse_mcp.adapters.storage.paper_rows import (
    ACTIVE,
    change_of,
    error_text,
    found,
    locked,
    owned,
    state_of,
)
from jesse_mcp.adapters.storage.paper_tables import paper_changes, paper_sessions
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.leases import Gone, Leases
from jesse_mcp.domain.paper import PaperStatus
from jesse_mcp.domain.paper_records import PaperChange
from jesse_mcp.ports.paper_store import OwnerRequests

_ID = paper_sessions.c.session_id
#: Owns what was released.
_NOBODY = ""


class SqlPaperOwnership:
    """Part of :class:`~jesse_mcp.adapters.storage.paper.SqlPaperStore`."""

    _database: Database

    def renew(self, owner: str, lease_until: float) -> frozenset[str]:
        mine = update(paper_sessions).where(paper_sessions.c.owner == owner, ACTIVE)
        with self._database.writing() as connection:
            return frozenset(
                connection.execute(mine.values(lease_until=lease_until).returning(_ID)).scalars()
            )

    def leases(self) -> Leases:
        with self._database.reading() as connection:
            return leases_in(connection, paper_sessions, ACTIVE)

    def claim(self, owner: str, lease_until: float, gone: Gone) -> list[str]:
        abandoned = or_(paper_sessions.c.owner == _NOBODY, abandoned_by(gone, paper_sessions))
        free = (ACTIVE, paper_sessions.c.owner != owner, abandoned)
        # Nearly always there is nothing: look before taking the write lock everybody else waits for.
        with self._database.reading() as connection:
            if connection.execute(select(_ID).where(*free)).first() is None:
                return []
        # What somebody is changing right now is not abandoned, or is found by the next look.
        free_now = select(paper_sessions.c.seq).where(*free).with_for_update(skip_locked=True, key_share=True)
        with self._database.writing() as connection:
            chosen = connection.execute(free_now).scalars().all()
            taken = update(paper_sessions).where(paper_sessions.c.seq.in_(chosen))
            taken = taken.values(owner=owner, lease_until=lease_until)
            return sorted(connection.execute(taken.returning(_ID)).scalars())

    def release(self, owner: str) -> None:
        mine = update(paper_sessions).where(paper_sessions.c.owner == owner, ACTIVE)
        with self._database.writing() as connection:
            connection.execute(mine.values(owner=_NOBODY, lease_until=0.0))

    def asked(self, owner: str) -> OwnerRequests:
        mine = (paper_sessions.c.owner == owner, ACTIVE)
        stops = select(_ID).where(*mine, paper_sessions.c.stop_requested == true())
        changes = (
            select(_ID, paper_changes)
            .join(paper_sessions, paper_sessions.c.seq == paper_changes.c.session_seq)
            .where(*mine, paper_changes.c.before_ms.is_(None), paper_changes.c.error.is_(None))
            .order_by(_ID, paper_changes.c.number)
        )
        with self._database.reading() as connection:
            return OwnerRequests(
                stops=frozenset(connection.execute(stops).scalars()),
                changes=tuple((row.session_id, change_of(row)) for row in connection.execute(changes)),
            )

    def request_stop(self, session_id: str) -> bool:
        asked = (
            update(paper_sessions)
            .where(paper_sessions.c.session_id == session_id, ACTIVE)
            .values(stop_requested=True)
        )
        with self._database.writing() as connection:
            found(connection, session_id)
            return connection.execute(asked.returning(_ID)).first() is not None

    def write_notes(self, session_id: str, notes: str | None) -> None:
        with self._database.writing() as connection:
            seq = found(connection, session_id)
            connection.execute(update(paper_sessions).where(paper_sessions.c.seq == seq).values(notes=notes))

    def add_change(self, session_id: str, leverage: int) -> int:
        with self._database.writing() as connection:
            session = locked(connection, session_id)
            seq, status = session.seq, PaperStatus(session.status)
            if not status.active:
                raise ended(session_id, status)
            last = select(func.max(paper_changes.c.number)).where(paper_changes.c.session_seq == seq)
            number = (connection.execute(last).scalar() or 0) + 1
            row = {"session_seq": seq, "number": number, "leverage": leverage}
            connection.execute(insert(paper_changes).values(row))
            return number

    def decide(self, session_id: str, owner: str, change: PaperChange, *, in_force: bool = False) -> None:
        with self._database.writing() as connection:
            row = owned(connection, session_id, owner)
            seq = row.seq
            decided = {"before_ms": change.before_ms, "error": error_text(change.error, session_id)}
            where = (paper_changes.c.session_seq == seq, paper_changes.c.number == change.number)
            connection.execute(update(paper_changes).where(*where).values(decided))
            if change.error is None:
                values: dict[str, Any] = {"leverage": change.leverage}
                if in_force:
                    state = state_of(row).model_copy(update={"leverage": change.leverage})
                    values["state"] = from_model(state, session_id).decode()
                of_session = update(paper_sessions).where(paper_sessions.c.seq == seq)
                connection.execute(of_session.values(values))

    def changes(self, session_id: str) -> tuple[PaperChange, ...]:
        with self._database.reading() as connection:
            seq = found(connection, session_id)
            query = (
                select(paper_changes)
                .where(paper_changes.c.session_seq == seq)
                .order_by(paper_changes.c.number)
            )
            return tuple(change_of(row) for row in connection.execute(query))


def ended(session_id: str, status: PaperStatus) -> ResearchError:
    """For what only a running session can do."""
    return ResearchError(
        ErrorCode.SESSION_NOT_ACTIVE,
        f"the paper session {session_id!r} is {status.value}",
        hint="its results stay readable (paper_status, run_get); start a new one with paper_start",
        details={"status": status.value},
    )
