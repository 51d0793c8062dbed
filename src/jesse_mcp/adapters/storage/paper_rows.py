"""Paper sessions as rows: what becomes text, what becomes packed numbers, and back."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, Select, Table, select

from jesse_mcp.adapters.storage.dialects import insert_new
from jesse_mcp.adapters.storage.encoding import (
    compress,
    decompress,
    from_model,
    from_text,
    to_model,
    to_text,
)
from jesse_mcp.adapters.storage.failures import unreadable
from jesse_mcp.adapters.storage.paper_tables import paper_sessions
from jesse_mcp.domain.candles import CandleArray
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper import Minute, PaperRequest, PaperStatus
from jesse_mcp.domain.paper_records import PaperChange, PaperEvent, PaperPlace, PaperSession, PaperState
from jesse_mcp.ports.paper_store import NewSession, not_owner

_COLUMNS = 6
#: Of a logged candle: when its minute begins, the place of its series, open, close, high, low, volume.
_LOGGED = 7
ACTIVE = paper_sessions.c.status.in_([status.value for status in PaperStatus if status.active])
_READ = [column for column in paper_sessions.c if column.name not in {"seq", "lease_until", "source"}]


def found(connection: Connection, session_id: str) -> int:
    """The number of a session.

    Raises:
        ResearchError: ``session_not_found``.
    """
    query = select(paper_sessions.c.seq).where(paper_sessions.c.session_id == session_id)
    seq = connection.execute(query).scalar()
    if seq is None:
        raise no_session(session_id)
    return int(seq)


def locked(connection: Connection, session_id: str) -> Row[Any]:
    """The row of a session, which nobody else changes until the transaction ends.

    Raises:
        ResearchError: ``session_not_found``.
    """
    query = select(paper_sessions).where(paper_sessions.c.session_id == session_id)
    # Not locked whole: inserts that refer to it would wait, and two that insert the same event each other.
    row = connection.execute(query.with_for_update(key_share=True)).first()
    if row is None:
        raise no_session(session_id)
    return row


def owned(connection: Connection, session_id: str, owner: str) -> Row[Any]:
    """The row of an active session of this owner, locked until the transaction ends.

    Raises:
        ResearchError: ``session_not_found``, ``session_not_active``.
    """
    row = locked(connection, session_id)
    if row.owner != owner or not PaperStatus(row.status).active:
        raise not_owner(session_id)
    return row


def no_session(session_id: str) -> ResearchError:
    return ResearchError(
        ErrorCode.SESSION_NOT_FOUND,
        f"there is no paper session {session_id!r}",
        hint="call paper_list_sessions with include_ended=true for the ids there are",
    )


def sessions() -> Select[Any]:
    """Every column of a session but its code."""
    return select(*_READ)


def session_values(new: NewSession, lease_until: float) -> dict[str, Any]:
    session, name = new.session, new.session.session_id
    values = session.model_dump(exclude={"request", "place", "state"})
    return values | {
        "status": session.status.value,
        "lease_until": lease_until,
        "watch": to_text(list(session.watch), name),
        "warnings": to_text(list(session.warnings), name),
        "error": error_text(session.error, name),
        "request": from_model(session.request, name).decode(),
        "state": from_model(session.state, name).decode(),
        "source": compress(json.dumps(new.source).encode()),
    }


def session_of(row: Row[Any]) -> PaperSession:
    values = dict(row._mapping)
    name = row.session_id
    values["place"] = place_of(row)
    for column in ("processed_through", "trade_count", "order_count", "daily_count"):
        del values[column]
    values["request"] = to_model(PaperRequest, row.request, name)
    values["state"] = state_of(row)
    for column in ("watch", "warnings"):
        values[column] = tuple(from_text(values[column], name))
    values["error"] = None if row.error is None else from_text(row.error, name)
    return PaperSession(**values)


def place_of(row: Row[Any]) -> PaperPlace:
    return PaperPlace(
        through=row.processed_through,
        trades=row.trade_count,
        orders=row.order_count,
        daily=row.daily_count,
    )


def state_of(row: Row[Any]) -> PaperState:
    return to_model(PaperState, row.state, row.session_id)


def source_of(blob: bytes, session_id: str) -> dict[str, str]:
    return dict(from_text(decompress(blob, session_id).decode(), session_id))


def change_of(row: Row[Any]) -> PaperChange:
    error = None if row.error is None else from_text(row.error, str(row.number))
    return PaperChange(number=row.number, leverage=row.leverage, before_ms=row.before_ms, error=error)


def error_text(error: dict[str, Any] | None, session_id: str) -> str | None:
    # Details may hold anything; what JSON does not know is stored as its text.
    return None if error is None else to_text(json.loads(json.dumps(error, default=str)), session_id)


def event_values(seq: int, events: Iterable[PaperEvent]) -> list[dict[str, Any]]:
    rows = {}
    for event in events:
        told = f"{event.timestamp} {event.kind} {event.message}".encode(errors="replace")
        key = hashlib.sha256(told).hexdigest()
        rows[key] = {"session_seq": seq, "event_key": key} | event.model_dump()
    return list(rows.values())


def add_new(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, leaving those alone whose key is there."""
    if not rows:
        return
    # In one order everywhere: two that insert the same rows in another one would wait for each other.
    keys = [column.name for column in table.primary_key]
    connection.execute(insert_new(connection, table), sorted(rows, key=itemgetter(*keys)))


def drawdown(equity: float, peak: float) -> float:
    """A positive fraction. The peak is at least the starting balance, which is positive."""
    return 1.0 - equity / peak


def pack_candles(candles: CandleArray) -> bytes:
    return compress(np.ascontiguousarray(candles, dtype="<f8").tobytes())


def unpack_candles(blob: bytes, session_id: str) -> CandleArray:
    """Raises: ResearchError: ``storage_failed`` when the column is damaged."""
    return _unpacked(blob, session_id, _COLUMNS)


def pack_minutes(minutes: Sequence[Minute]) -> bytes:
    rows = [
        (minute.timestamp, series, *candle)
        for minute in minutes
        for series, candle in sorted(minute.rows.items())
    ]
    return compress(np.array(rows, dtype="<f8").tobytes())


def unpack_minutes(blob: bytes, session_id: str) -> list[Minute]:
    """Raises: ResearchError: ``storage_failed`` when the column is damaged."""
    rows = _unpacked(blob, session_id, _LOGGED).tolist()
    return [
        Minute(timestamp=int(timestamp), rows={int(row[1]): tuple(row[2:]) for row in of_minute})
        for timestamp, of_minute in groupby(rows, key=lambda row: row[0])
    ]


def _unpacked(blob: bytes, session_id: str, columns: int) -> CandleArray:
    raw = decompress(blob, session_id)
    if len(raw) % (8 * columns):
        raise unreadable(session_id)
    return np.frombuffer(raw, dtype="<f8").reshape(-1, columns)
