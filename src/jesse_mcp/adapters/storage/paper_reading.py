"""What paper sessions have done, read by page and thinned in SQL."""

from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, Select, case, func, select

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.encoding import to_model
from jesse_mcp.adapters.storage.paper_rows import (
    ACTIVE,
    drawdown,
    found,
    no_session,
    session_of,
    sessions,
    source_of,
    unpack_candles,
    unpack_minutes,
)
from jesse_mcp.adapters.storage.paper_tables import (
    paper_alerts,
    paper_candles,
    paper_daily,
    paper_equity,
    paper_events,
    paper_sessions,
    paper_trades,
    paper_warm_up,
)
from jesse_mcp.domain.backtests import Trade
from jesse_mcp.domain.paper import Minute, PaperRequest, PaperStatus
from jesse_mcp.domain.paper_records import AlertState, PaperCounts, PaperEquityPoint, PaperEvent, PaperSession
from jesse_mcp.domain.timeframes import MINUTE_MS
from jesse_mcp.ports.paper import PaperSetup

_FOUR = ("timestamp", "equity", "unrealized_pnl", "drawdown")


class SqlPaperReading:
    """Part of :class:`~jesse_mcp.adapters.storage.paper.SqlPaperStore`."""

    _database: Database

    def get(self, session_id: str) -> PaperSession:
        query = sessions().where(paper_sessions.c.session_id == session_id)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise no_session(session_id)
        return session_of(row)

    def request(self, session_id: str) -> PaperRequest:
        return self.get(session_id).request

    def setup(self, session_id: str) -> PaperSetup:
        session = self.get(session_id)
        with self._database.reading() as connection:
            seq = found(connection, session_id)
            blob = connection.execute(
                select(paper_sessions.c.source).where(paper_sessions.c.seq == seq)
            ).scalar_one()
            query = (
                select(paper_warm_up.c.candles)
                .where(paper_warm_up.c.session_seq == seq)
                .order_by(paper_warm_up.c.series)
            )
            warm_up = list(connection.execute(query).scalars())
        return PaperSetup(
            request=session.request,
            source=source_of(blob, session_id),
            warm_up=tuple(unpack_candles(candles, session_id) for candles in warm_up),
        )

    def page(self, *, active: bool, limit: int, offset: int) -> tuple[list[PaperSession], int]:
        conditions = [ACTIVE] if active else []
        newest = (paper_sessions.c.started_at.desc(), paper_sessions.c.seq.desc())
        query = sessions().where(*conditions).order_by(*newest).limit(limit).offset(offset)
        count = select(func.count()).select_from(paper_sessions).where(*conditions)
        with self._database.reading() as connection:
            total = connection.execute(count).scalar_one()
            rows = connection.execute(query).all()
        return [session_of(row) for row in rows], total

    def counts(self) -> PaperCounts:
        status = paper_sessions.c.status
        by_status = select(status, func.count()).group_by(status)
        # The first that holds: one that is to be tried again has failed before, perhaps.
        state = case(
            (paper_alerts.c.delivered_at.is_not(None), "delivered"),
            (paper_alerts.c.next_attempt_at.is_not(None), "waiting"),
            (paper_alerts.c.attempts > 0, "given_up"),
            else_="kept",
        ).label("state")
        by_state = select(state, func.count()).group_by(state)
        with self._database.reading() as connection:
            statuses = {PaperStatus(row[0]): row[1] for row in connection.execute(by_status)}
            states = {row[0]: row[1] for row in connection.execute(by_state)}
            active = [session_of(row) for row in connection.execute(sessions().where(ACTIVE))]
        reached = [
            one.place.through or one.request.start_ms for one in active if one.request.feed != "replay"
        ]
        return PaperCounts(
            sessions={one: statuses.get(one, 0) for one in PaperStatus},
            alerts={one: states.get(one, 0) for one in get_args(AlertState)},
            furthest_behind=min(reached, default=None),
        )

    def logged(self, session_id: str, from_ms: int, limit: int) -> tuple[Minute, ...]:
        with self._database.reading() as connection:
            seq = found(connection, session_id)
            of_session = (paper_candles.c.session_seq == seq, paper_candles.c.last_ms >= from_ms)
            # At most one row for a minute, so never more rows than minutes.
            sizes = select(paper_candles.c.first_ms, paper_candles.c.minutes).where(*of_session)
            sizes = sizes.order_by(paper_candles.c.first_ms).limit(limit)
            until, count = None, 0
            for row in connection.execute(sizes):
                until, count = row.first_ms, count + row.minutes
                # The first may begin before from_ms: minutes are counted that are not given.
                if count >= 2 * limit:
                    break
            if until is None:
                return ()
            blobs = (
                select(paper_candles.c.candles)
                .where(*of_session, paper_candles.c.first_ms <= until)
                .order_by(paper_candles.c.first_ms)
            )
            rows = list(connection.execute(blobs).scalars())
        minutes = (minute for blob in rows for minute in unpack_minutes(blob, session_id))
        return tuple(minute for minute in minutes if minute.timestamp >= from_ms)[:limit]

    def logged_through(self, session_id: str) -> int | None:
        with self._database.reading() as connection:
            seq = found(connection, session_id)
            query = select(func.max(paper_candles.c.last_ms)).where(paper_candles.c.session_seq == seq)
            last = connection.execute(query).scalar()
        return None if last is None else last + MINUTE_MS

    def trades(self, session_id: str) -> tuple[Trade, ...]:
        with self._database.reading() as connection:
            query = _trades(found(connection, session_id))
            return _decoded(connection, query)

    def trade_page(self, session_id: str, limit: int, offset: int) -> tuple[list[Trade], int]:
        with self._database.reading() as connection:
            seq = found(connection, session_id)
            of_session = paper_trades.c.session_seq == seq
            total = connection.execute(
                select(func.count()).select_from(paper_trades).where(of_session)
            ).scalar_one()
            page = _trades(seq).where(paper_trades.c.number >= offset).limit(limit)
            return list(_decoded(connection, page)), total

    def daily(self, session_id: str) -> tuple[tuple[int, float], ...]:
        with self._database.reading() as connection:
            query = (
                select(paper_daily.c.timestamp, paper_daily.c.balance)
                .where(paper_daily.c.session_seq == found(connection, session_id))
                .order_by(paper_daily.c.number)
            )
            return tuple((row.timestamp, row.balance) for row in connection.execute(query))

    def equity_page(
        self, session_id: str, bucket_ms: int, limit: int, offset: int
    ) -> tuple[list[PaperEquityPoint], int]:
        with self._database.reading() as connection:
            seq = found(connection, session_id)
            bucket = (paper_equity.c.timestamp - MINUTE_MS) // bucket_ms
            ends = (
                select(func.max(paper_equity.c.timestamp).label("timestamp"))
                .where(paper_equity.c.session_seq == seq)
                .group_by(bucket)
            )
            total = connection.execute(select(func.count()).select_from(ends.subquery())).scalar_one()
            page = ends.order_by(func.max(paper_equity.c.timestamp)).limit(limit).offset(offset).subquery()
            query = (
                _points()
                .where(paper_equity.c.session_seq == seq)
                .where(paper_equity.c.timestamp.in_(select(page.c.timestamp)))
                .order_by(paper_equity.c.timestamp)
            )
            return [_point(row) for row in connection.execute(query)], total

    def equity(self, session_id: str, after: int | None = None) -> NDArray[np.float64]:
        with self._database.reading() as connection:
            query = _points().where(paper_equity.c.session_seq == found(connection, session_id))
            if after is not None:
                query = query.where(paper_equity.c.timestamp > after)
            rows = connection.execute(query.order_by(paper_equity.c.timestamp)).all()
        points = [(r.timestamp, r.equity, r.unrealized_pnl, drawdown(r.equity, r.peak)) for r in rows]
        return np.array(points, dtype=np.float64).reshape(-1, len(_FOUR))

    def last_equity(self, session_id: str) -> PaperEquityPoint | None:
        with self._database.reading() as connection:
            query = _points().where(paper_equity.c.session_seq == found(connection, session_id))
            row = connection.execute(query.order_by(paper_equity.c.timestamp.desc()).limit(1)).first()
        return None if row is None else _point(row)

    def events(self, session_id: str, limit: int) -> list[PaperEvent]:
        columns = (paper_events.c.timestamp, paper_events.c.kind, paper_events.c.message)
        with self._database.reading() as connection:
            query = (
                select(*columns)
                .where(paper_events.c.session_seq == found(connection, session_id))
                .order_by(paper_events.c.timestamp.desc(), paper_events.c.event_key)
                .limit(limit)
            )
            rows = connection.execute(query).all()
        return [PaperEvent(**row._mapping) for row in reversed(rows)]


def _trades(seq: int) -> Select[Any]:
    return (
        select(paper_trades.c.record).where(paper_trades.c.session_seq == seq).order_by(paper_trades.c.number)
    )


def _decoded(connection: Connection, query: Select[Any]) -> tuple[Trade, ...]:
    return tuple(to_model(Trade, text, "paper_trades") for text in connection.execute(query).scalars())


def _points() -> Select[Any]:
    return select(
        paper_equity.c.timestamp,
        paper_equity.c.equity,
        paper_equity.c.unrealized_pnl,
        paper_equity.c.peak,
        paper_equity.c.max_drawdown,
    )


def _point(row: Row[Any]) -> PaperEquityPoint:
    return PaperEquityPoint(
        timestamp=row.timestamp,
        equity=row.equity,
        unrealized_pnl=row.unrealized_pnl,
        drawdown=drawdown(row.equity, row.peak),
        max_drawdown=row.max_drawdown,
    )
