"""Ends of jobs that a webhook is to be told of, in SQL."""

from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.dialects import shared_now_ms
from jesse_mcp.adapters.storage.tables import job_notices, jobs
from jesse_mcp.domain.deliveries import JobNotice, NoticeState

_JOB = ("job_id", "kind", "tool", "state", "created_at", "started_at", "finished_at", "run_id")


def add_notice(connection: Connection, job_seq: int, error: dict[str, Any] | None, now: int) -> None:
    """Note that a job has ended, in the transaction that ends it; due at once."""
    code = None if error is None else str(error["code"])
    values = {"job_seq": job_seq, "error_code": code, "noticed_at": now, "next_attempt_at": 0}
    connection.execute(insert(job_notices).values(values))


class SqlJobNotices:
    """Implements :class:`jesse_mcp.ports.job_notices.JobNotices`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def now_ms(self) -> int:
        with self._database.reading() as connection:
            return shared_now_ms(connection)

    def claim(self, now: int, until: int, limit: int) -> list[JobNotice]:
        due = job_notices.c.next_attempt_at <= now
        order = (job_notices.c.next_attempt_at, job_notices.c.job_seq)
        query = select(job_notices.c.job_seq).where(due).order_by(*order).limit(limit)
        # Nearly always there is nothing: look before taking the write lock everybody else waits for.
        with self._database.reading() as connection:
            if connection.execute(query).first() is None:
                return []
        # What another server is claiming right now is its own.
        free = query.with_for_update(skip_locked=True)
        with self._database.writing() as connection:
            chosen = connection.execute(free).scalars().all()
            taken = update(job_notices).where(job_notices.c.job_seq.in_(chosen))
            connection.execute(taken.values(next_attempt_at=until))
            told = select(job_notices, *(jobs.c[name] for name in _JOB)).join(jobs)
            rows = told.where(job_notices.c.job_seq.in_(chosen)).order_by(job_notices.c.job_seq)
            return [_notice(row) for row in connection.execute(rows)]

    def note(self, claimed: JobNotice, attempted: JobNotice) -> bool:
        seq = select(jobs.c.seq).where(jobs.c.job_id == claimed.job_id).scalar_subquery()
        mine = (job_notices.c.job_seq == seq, job_notices.c.next_attempt_at == claimed.next_attempt_at)
        values = {
            "attempts": attempted.attempts,
            "next_attempt_at": attempted.next_attempt_at,
            "delivered_at": attempted.delivered_at,
            "failure": attempted.failure,
        }
        noted = update(job_notices).where(*mine).values(values).returning(job_notices.c.job_seq)
        with self._database.writing() as connection:
            return connection.execute(noted).first() is not None

    def counts(self) -> dict[NoticeState, int]:
        # A count of a column leaves out where it is null.
        query = select(
            func.count(job_notices.c.job_seq),
            func.count(job_notices.c.next_attempt_at),
            func.count(job_notices.c.delivered_at),
        )
        with self._database.reading() as connection:
            known, waiting, delivered = connection.execute(query).one()
        return {"waiting": waiting, "delivered": delivered, "given_up": known - waiting - delivered}


def _notice(row: Row[Any]) -> JobNotice:
    values = {name: value for name, value in row._mapping.items() if name != "job_seq"}
    return JobNotice(webhook=None, **values)
