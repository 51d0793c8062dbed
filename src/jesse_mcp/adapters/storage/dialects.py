"""The few statements that SQLite and PostgreSQL spell differently."""

import time
from typing import Any

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite

#: A read-only snapshot: later statements of the transaction see what the first one saw.
_SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def insert_new(connection: Connection, table: Table, *key: str) -> Any:
    """An insert that leaves a row alone whose key is there, also when another process just wrote it.

    Args:
        connection: of the transaction.
        table: where to insert.
        key: the columns that may be there; none: any key of the table.
    """
    elements = list(key) or None
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing(index_elements=elements)
    return sqlite.insert(table).on_conflict_do_nothing(index_elements=elements)


def one_at_a_time(connection: Connection, purpose: str) -> None:
    """Wait until no other transaction does the same; kept until the end of this one.

    SQLite has one writer at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        key = func.hashtextextended(f"jesse_mcp {purpose}".replace("\0", " "), 0)
        connection.execute(select(func.pg_advisory_xact_lock(key)))


def shared_now_ms(connection: Connection) -> int:
    """Epoch ms by a clock that all processes with this database share."""
    if connection.dialect.name == "postgresql":
        seconds = func.extract("epoch", func.clock_timestamp())
        return int(connection.execute(select(seconds)).scalar_one() * 1000)
    return int(time.time() * 1000)


def snapshot_options(dialect: str) -> dict[str, Any]:
    """Execution options of a connection that only reads."""
    return dict(_SNAPSHOT) if dialect == "postgresql" else {}
