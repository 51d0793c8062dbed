"""Paper sessions in SQL: made, worked on, ended. Reading, ownership and alerts are beside it."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.dialects import insert_new
from jesse_mcp.adapters.storage.encoding import from_model, to_model
from jesse_mcp.adapters.storage.paper_alerts import SqlPaperAlerts
from jesse_mcp.adapters.storage.paper_ownership import SqlPaperOwnership
from jesse_mcp.adapters.storage.paper_reading import SqlPaperReading
from jesse_mcp.adapters.storage.paper_rows import (
    add_new,
    drawdown,
    error_text,
    event_values,
    found,
    locked,
    owned,
    pack_candles,
    pack_minutes,
    place_of,
    session_values,
)
from jesse_mcp.adapters.storage.paper_tables import (
    paper_candles,
    paper_daily,
    paper_equity,
    paper_events,
    paper_orders,
    paper_sessions,
    paper_trades,
    paper_warm_up,
)
from jesse_mcp.domain.backtests import Trade
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.paper import Minute, PaperEquity, PaperOrder, PaperRequest, PaperStatus
from jesse_mcp.domain.paper_records import PaperEnd, PaperEvent, PaperPlace
from jesse_mcp.ports.paper_store import NewSession, PaperProgress

_LOG_TAIL_BYTES = 8 * 1024


class SqlPaperStore(SqlPaperReading, SqlPaperOwnership, SqlPaperAlerts):
    """A :class:`~jesse_mcp.ports.paper_store.PaperStore`. Blocks; call it in a thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, new: NewSession, lease_until: float) -> None:
        session_id = new.session.session_id
        values = session_values(new, lease_until)
        packed = [pack_candles(candles) for candles in new.warm_up]
        # Encoding is done: the write lock is held for the inserts alone.
        with self._database.writing() as connection:
            made = insert_new(connection, paper_sessions, "session_id").values(values)
            seq = connection.execute(made.returning(paper_sessions.c.seq)).scalar()
            if seq is None:
                raise _exists(session_id)
            rows = [{"session_seq": seq, "series": at, "candles": blob} for at, blob in enumerate(packed)]
            if rows:
                connection.execute(insert(paper_warm_up), rows)

    def log_candles(
        self, session_id: str, owner: str, minutes: Sequence[Minute], events: Sequence[PaperEvent] = ()
    ) -> None:
        with self._database.writing() as connection:
            seq = owned(connection, session_id, owner).seq
            last = connection.execute(
                select(func.max(paper_candles.c.last_ms)).where(paper_candles.c.session_seq == seq)
            ).scalar()
            fresh = [minute for minute in minutes if last is None or minute.timestamp > last]
            if fresh:
                row = {
                    "session_seq": seq,
                    "first_ms": fresh[0].timestamp,
                    "last_ms": fresh[-1].timestamp,
                    "minutes": len(fresh),
                    "candles": pack_minutes(fresh),
                }
                connection.execute(insert(paper_candles).values(row))
            add_new(connection, paper_events, event_values(seq, events))

    def record(self, session_id: str, owner: str, progress: PaperProgress) -> PaperPlace:
        step, place = progress.step, progress.place
        state = from_model(progress.state, session_id).decode()
        with self._database.writing() as connection:
            row = owned(connection, session_id, owner)
            if row.processed_through is not None and row.processed_through >= progress.through:
                return place_of(row)
            if place_of(row) != place:
                raise ValueError(f"{session_id} is recorded to {place_of(row)}, not to {place}")
            _add_records(connection, paper_trades, row.seq, place.trades, step.trades)
            _add_records(connection, paper_orders, row.seq, place.orders, step.orders)
            _add_daily(connection, row.seq, place.daily, step.daily)
            _add_equity(connection, row, step.equity)
            add_new(connection, paper_events, event_values(row.seq, progress.events))
            changes = {
                "processed_through": progress.through,
                "trade_count": place.trades + len(step.trades),
                "order_count": place.orders + len(step.orders),
                "daily_count": place.daily + len(step.daily),
                "state": state,
                "log_tail": _tail(row.log_tail, step.log),
            }
            changed = update(paper_sessions).where(paper_sessions.c.seq == row.seq).values(changes)
            return place_of(connection.execute(changed.returning(paper_sessions)).one())

    def holds(self, session_id: str, progress: PaperProgress) -> bool:
        step, place = progress.step, progress.place
        with self._database.reading() as connection:
            seq = found(connection, session_id)
            trades = _records(connection, paper_trades, Trade, seq, place.trades, len(step.trades))
            orders = _records(connection, paper_orders, PaperOrder, seq, place.orders, len(step.orders))
            first, last = place.daily, place.daily + len(step.daily)
            query = (
                select(paper_daily.c.timestamp, paper_daily.c.balance)
                .where(
                    paper_daily.c.session_seq == seq,
                    paper_daily.c.number >= first,
                    paper_daily.c.number < last,
                )
                .order_by(paper_daily.c.number)
            )
            daily = [tuple(row) for row in connection.execute(query)]
            equity = _equity_between(connection, seq, place.through or 0, progress.through)
        same_lists = trades == list(step.trades) and orders == list(step.orders)
        return same_lists and daily == list(step.daily) and equity == list(step.equity)

    def end(self, session_id: str, owner: str, end: PaperEnd) -> bool:
        with self._database.writing() as connection:
            if not PaperStatus(locked(connection, session_id).status).active:
                return False
            row = owned(connection, session_id, owner)
            _add_records(connection, paper_trades, row.seq, row.trade_count, end.trades)
            _add_daily(connection, row.seq, row.daily_count, end.daily)
            if end.final_equity is not None:
                _end_equity(connection, row, end.final_equity)
            changes = {
                "status": end.status.value,
                "ended_at": end.ended_at,
                "error": error_text(end.error, session_id),
                "run_id": end.run_id,
                "trade_count": row.trade_count + len(end.trades),
                "daily_count": row.daily_count + len(end.daily),
                "log_tail": _tail(row.log_tail, end.log),
            }
            connection.execute(update(paper_sessions).where(paper_sessions.c.seq == row.seq).values(changes))
            return True

    def add_events(self, session_id: str, events: Sequence[PaperEvent]) -> None:
        with self._database.writing() as connection:
            seq = found(connection, session_id)
            add_new(connection, paper_events, event_values(seq, events))


def _add_records(connection: Connection, table: Any, seq: int, first: int, values: Sequence[Value]) -> None:
    rows = [
        {"session_seq": seq, "number": number, "record": from_model(value, f"{table.name} {number}").decode()}
        for number, value in enumerate(values, start=first)
    ]
    if rows:
        connection.execute(insert(table), rows)


def _records(
    connection: Connection, table: Any, model: type[Value], seq: int, first: int, count: int
) -> list[Value]:
    query = (
        select(table.c.record)
        .where(table.c.session_seq == seq, table.c.number >= first, table.c.number < first + count)
        .order_by(table.c.number)
    )
    return [to_model(model, text, table.name) for text in connection.execute(query).scalars()]


def _add_daily(connection: Connection, seq: int, first: int, daily: Sequence[tuple[int, float]]) -> None:
    rows = [
        {"session_seq": seq, "number": number, "timestamp": timestamp, "balance": balance}
        for number, (timestamp, balance) in enumerate(daily, start=first)
    ]
    if rows:
        connection.execute(insert(paper_daily), rows)


def _add_equity(connection: Connection, row: Row[Any], points: Sequence[PaperEquity]) -> None:
    if not points:
        return
    peak, deepest = _before(connection, row, points[0].timestamp)
    rows = []
    for point in points:
        peak = max(peak, point.equity)
        deepest = max(deepest, drawdown(point.equity, peak))
        rows.append({"session_seq": row.seq, "peak": peak, "max_drawdown": deepest, **point.model_dump()})
    connection.execute(insert(paper_equity), rows)


def _before(connection: Connection, row: Row[Any], timestamp: int) -> tuple[float, float]:
    """The highest equity and the deepest drawdown before a minute; at first the starting balance."""
    query = (
        select(paper_equity.c.peak, paper_equity.c.max_drawdown)
        .where(paper_equity.c.session_seq == row.seq, paper_equity.c.timestamp < timestamp)
        .order_by(paper_equity.c.timestamp.desc())
        .limit(1)
    )
    last = connection.execute(query).first()
    if last is not None:
        return last.peak, last.max_drawdown
    return to_model(PaperRequest, row.request, row.session_id).starting_balance, 0.0


def _end_equity(connection: Connection, row: Row[Any], final: float) -> None:
    last = row.processed_through
    if last is None:
        return
    peak, deepest = _before(connection, row, last)
    peak = max(peak, final)
    deepest = max(deepest, drawdown(final, peak))
    values = {"equity": final, "unrealized_pnl": 0.0, "peak": peak, "max_drawdown": deepest}
    where = (paper_equity.c.session_seq == row.seq, paper_equity.c.timestamp == last)
    connection.execute(update(paper_equity).where(*where).values(values))


def _equity_between(connection: Connection, seq: int, after: int, through: int) -> list[PaperEquity]:
    query = (
        select(paper_equity.c.timestamp, paper_equity.c.equity, paper_equity.c.unrealized_pnl)
        .where(
            paper_equity.c.session_seq == seq,
            paper_equity.c.timestamp > after,
            paper_equity.c.timestamp <= through,
        )
        .order_by(paper_equity.c.timestamp)
    )
    return [PaperEquity(**row._mapping) for row in connection.execute(query)]


def _tail(before: str, new: str) -> str:
    """The end of a log of whole lines."""
    text = f"{before}{new.rstrip()}\n" if new.strip() else before
    return text.encode(errors="replace")[-_LOG_TAIL_BYTES:].decode(errors="ignore")


def _exists(session_id: str) -> ResearchError:
    return ResearchError(
        ErrorCode.SESSION_EXISTS,
        f"there is a paper session {session_id!r} already",
        hint="leave session_id out for a new one; paper_status shows the one there is",
    )
