"""Alerts of paper sessions, and what became of their webhooks."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, Select, not_, or_, select, update

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.encoding import from_model, to_model
from jesse_mcp.adapters.storage.paper_rows import ACTIVE, add_new, found
from jesse_mcp.adapters.storage.paper_tables import paper_alerts, paper_sessions
from jesse_mcp.domain.paper_records import AlertDelivery, PaperAlert


class SqlPaperAlerts:
    """Part of :class:`~jesse_mcp.adapters.storage.paper.SqlPaperStore`."""

    _database: Database

    def add_alerts(self, session_id: str, alerts: Sequence[PaperAlert], next_attempt_at: int | None) -> None:
        with self._database.writing() as connection:
            seq = found(connection, session_id)
            hook = select(paper_sessions.c.webhook).where(paper_sessions.c.seq == seq)
            sent = connection.execute(hook).scalar() is not None
            rows = [
                {
                    "session_seq": seq,
                    "alert_key": alert.key,
                    "timestamp": alert.timestamp,
                    "record": from_model(alert, alert.key).decode(),
                    "next_attempt_at": next_attempt_at if sent else None,
                }
                for alert in alerts
            ]
            add_new(connection, paper_alerts, rows)

    def alerts(self, session_id: str, limit: int) -> list[AlertDelivery]:
        query = (
            _deliveries()
            .where(paper_sessions.c.session_id == session_id)
            .order_by(paper_alerts.c.timestamp.desc(), paper_alerts.c.alert_key.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            found(connection, session_id)
            rows = connection.execute(query).all()
        return [_delivery(row) for row in reversed(rows)]

    def alert_keys(self, session_id: str) -> frozenset[str]:
        with self._database.reading() as connection:
            seq = found(connection, session_id)
            query = select(paper_alerts.c.alert_key).where(paper_alerts.c.session_seq == seq)
            return frozenset(connection.execute(query).scalars())

    def due(self, owner: str, now: int, limit: int) -> list[AlertDelivery]:
        # Whoever is alive sends those of ended sessions; the receiver knows a repeated one by its key.
        sender = or_(paper_sessions.c.owner == owner, not_(ACTIVE))
        query = (
            _deliveries()
            .where(paper_alerts.c.next_attempt_at <= now, sender)
            .order_by(paper_alerts.c.next_attempt_at)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [_delivery(row) for row in connection.execute(query)]

    def delivery(self, attempted: AlertDelivery) -> None:
        with self._database.writing() as connection:
            seq = found(connection, attempted.session_id)
            where = (paper_alerts.c.session_seq == seq, paper_alerts.c.alert_key == attempted.alert.key)
            values = {
                "attempts": attempted.attempts,
                "next_attempt_at": attempted.next_attempt_at,
                "delivered_at": attempted.delivered_at,
                "failure": attempted.failure,
            }
            connection.execute(update(paper_alerts).where(*where).values(values))


def _deliveries() -> Select[Any]:
    return select(paper_alerts, paper_sessions.c.session_id, paper_sessions.c.webhook).join(
        paper_sessions, paper_sessions.c.seq == paper_alerts.c.session_seq
    )


def _delivery(row: Row[Any]) -> AlertDelivery:
    return AlertDelivery(
        session_id=row.session_id,
        alert=to_model(PaperAlert, row.record, row.alert_key),
        webhook=row.webhook,
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        delivered_at=row.delivered_at,
        failure=row.failure,
    )
