"""Jobs in SQL."""

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, select, true, update

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.dialects import one_at_a_time
from jesse_mcp.adapters.storage.encoding import from_text, to_text
from jesse_mcp.adapters.storage.job_notices import add_notice
from jesse_mcp.adapters.storage.leases import abandoned_by, leases_in
from jesse_mcp.adapters.storage.tables import jobs
from jesse_mcp.domain.call_context import current_tool
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.identity import iso_utc, new_id
from jesse_mcp.domain.jobs import Job, JobState
from jesse_mcp.domain.leases import Gone, Leases

_ACTIVE = jobs.c.state.in_([state.value for state in JobState if state.active])
_KEPT_INSIDE = {"seq", "lease_until", "cancel_requested", "tool"}


class SqlJobStore:
    """A :class:`~jesse_mcp.ports.records.JobStore`. Blocks; call it in a thread.

    Args:
        now: the clock, epoch seconds.
        noticed: whether the webhook of jobs is to be told of every end, which is noted with it.
    """

    def __init__(
        self, database: Database, now: Callable[[], float] = time.time, *, noticed: bool = False
    ) -> None:
        self._database = database
        self._now = now
        self._noticed = noticed

    def create(self, kind: str, request: dict[str, Any], owner: str, lease_until: float) -> Job:
        values = self._new(kind, request, owner, lease_until)
        with self._database.writing() as connection:
            return _job(connection.execute(insert(jobs).values(values).returning(jobs)).one())

    def create_unless_active(
        self, kind: str, request: dict[str, Any], owner: str, lease_until: float
    ) -> tuple[Job, bool]:
        values = self._new(kind, request, owner, lease_until)
        same = (jobs.c.kind == kind, jobs.c.request == values["request"], jobs.c.cancel_requested != true())
        query = select(jobs).where(_ACTIVE, *same).order_by(jobs.c.seq).limit(1)
        # One transaction in which nobody else creates the same.
        with self._database.writing() as connection:
            one_at_a_time(connection, f"{kind} {values['request']}")
            active = connection.execute(query).first()
            if active is not None:
                return _job(active), False
            return _job(connection.execute(insert(jobs).values(values).returning(jobs)).one()), True

    def _new(self, kind: str, request: dict[str, Any], owner: str, lease_until: float) -> dict[str, Any]:
        job_id = new_id("job")
        return {
            "job_id": job_id,
            "kind": kind,
            "state": JobState.QUEUED.value,
            "created_at": iso_utc(self._now()),
            "owner": owner,
            "lease_until": lease_until,
            "request": to_text(request, job_id),
            "tool": current_tool.get(),
        }

    def get(self, job_id: str) -> Job:
        with self._database.reading() as connection:
            return _job(_row(connection, job_id))

    def page(
        self, *, state: JobState | None = None, kind: str | None = None, limit: int = 20, offset: int = 0
    ) -> tuple[list[Job], int]:
        conditions: list[ColumnElement[bool]] = []
        if state is not None:
            conditions.append(jobs.c.state == state.value)
        if kind is not None:
            conditions.append(jobs.c.kind == kind)
        query = select(jobs).where(*conditions).order_by(jobs.c.created_at.desc(), jobs.c.seq.desc())
        with self._database.reading() as connection:
            total = connection.execute(select(func.count()).select_from(jobs).where(*conditions)).scalar_one()
            rows = connection.execute(query.limit(limit).offset(offset)).all()
        return [_job(row) for row in rows], total

    def counts(self) -> dict[JobState, int]:
        query = select(jobs.c.state, func.count().label("total")).group_by(jobs.c.state)
        with self._database.reading() as connection:
            found = {row.state: row.total for row in connection.execute(query)}
        return {state: found.get(state.value, 0) for state in JobState}

    def start(self, job_id: str) -> bool:
        started = {"state": JobState.RUNNING.value, "started_at": iso_utc(self._now())}
        return self._change(job_id, jobs.c.state == JobState.QUEUED.value, started)

    def report(self, job_id: str, progress: float | None, message: str | None, log_tail: str | None) -> None:
        given = {"progress": progress, "message": message, "log_tail": log_tail}
        changes = {name: value for name, value in given.items() if value is not None}
        if changes:
            self._change(job_id, _ACTIVE, changes)

    def finish(
        self,
        job_id: str,
        state: JobState,
        *,
        run_id: str | None = None,
        error: dict[str, Any] | None = None,
        result: dict[str, Any] | None = None,
    ) -> bool:
        if state.active:
            raise ValueError(f"a job does not end as {state.value}")
        changes: dict[str, Any] = {
            "state": state.value,
            "finished_at": iso_utc(self._now()),
            "run_id": run_id,
            "error": None if error is None else to_text(error, job_id),
            "result": None if result is None else to_text(result, job_id),
        }
        if state is JobState.DONE:
            changes["progress"] = 1.0
        with self._database.writing() as connection:
            ended = _changed(connection, job_id, _ACTIVE, changes)
            if ended is not None:
                self._notice(connection, ended, error)
        return ended is not None

    def request_cancel(self, job_id: str) -> bool:
        return self._change(job_id, _ACTIVE, {"cancel_requested": True})

    def cancel_requests(self, owner: str) -> list[str]:
        wanted = (jobs.c.owner == owner, _ACTIVE, jobs.c.cancel_requested == true())
        with self._database.reading() as connection:
            return list(connection.execute(select(jobs.c.job_id).where(*wanted)).scalars())

    def renew(self, owner: str, lease_until: float) -> frozenset[str]:
        extended = update(jobs).where(jobs.c.owner == owner, _ACTIVE).values(lease_until=lease_until)
        with self._database.writing() as connection:
            return frozenset(connection.execute(extended.returning(jobs.c.job_id)).scalars())

    def reap(self, gone: Gone) -> list[str]:
        abandoned = abandoned_by(gone, jobs)
        query = select(jobs.c.job_id, jobs.c.owner).where(_ACTIVE, abandoned).order_by(jobs.c.seq)
        # Nearly always there is nothing: look before taking the write lock everybody else waits for.
        with self._database.reading() as connection:
            if connection.execute(query).first() is None:
                return []
        # What somebody is changing right now is not abandoned, or is found by the next look.
        free = query.with_for_update(skip_locked=True)
        with self._database.writing() as connection:
            return [
                row.job_id
                for row in connection.execute(free).all()
                if self._lose(connection, row.job_id, row.owner, died=row.owner in gone.dead)
            ]

    def leases(self) -> Leases:
        with self._database.reading() as connection:
            return leases_in(connection, jobs, _ACTIVE)

    def _change(self, job_id: str, condition: ColumnElement[bool], changes: dict[str, Any]) -> bool:
        with self._database.writing() as connection:
            return _changed(connection, job_id, condition, changes) is not None

    def _notice(self, connection: Connection, seq: int, error: dict[str, Any] | None) -> None:
        """In the transaction of the end: whoever is killed after it leaves the notice to others."""
        if self._noticed:
            add_notice(connection, seq, error, int(self._now() * 1000))

    def _lose(self, connection: Connection, job_id: str, owner: str, *, died: bool) -> bool:
        reason = "the server that ran it is gone" if died else "its server stopped renewing its lease"
        error = ResearchError(
            ErrorCode.JOB_LOST,
            f"the job {job_id!r} was lost: {reason}",
            hint="submit the same request again, or with resume=<job id> where the tool takes it",
            details={"reason": "owner_died" if died else "lease_expired", "owner": owner},
        )
        ended = {
            "state": JobState.LOST.value,
            "finished_at": iso_utc(self._now()),
            "error": to_text(error.to_dict(), job_id),
        }
        lost = update(jobs).where(jobs.c.job_id == job_id, _ACTIVE).values(ended)
        row = connection.execute(lost.returning(jobs.c.seq)).first()
        if row is not None:
            self._notice(connection, row.seq, error.to_dict())
        return row is not None


def _changed(
    connection: Connection, job_id: str, condition: ColumnElement[bool], changes: dict[str, Any]
) -> int | None:
    """The sequence number of the job when it was changed; raises for an unknown one."""
    changed = update(jobs).where(jobs.c.job_id == job_id, condition).values(changes)
    seq: int | None = connection.execute(changed.returning(jobs.c.seq)).scalar()
    if seq is None:
        _row(connection, job_id)
    return seq


def _row(connection: Connection, job_id: str) -> Row[Any]:
    row = connection.execute(select(jobs).where(jobs.c.job_id == job_id)).first()
    if row is None:
        raise ResearchError(
            ErrorCode.JOB_NOT_FOUND,
            f"there is no job {job_id!r}",
            hint="call job_list for the ids there are",
        )
    return row


def _job(row: Row[Any]) -> Job:
    values = {name: value for name, value in row._mapping.items() if name not in _KEPT_INSIDE}
    values["request"] = from_text(row.request, row.job_id)
    for name in ("error", "result"):
        values[name] = None if values[name] is None else from_text(values[name], row.job_id)
    return Job(**values)
