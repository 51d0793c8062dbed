"""One SQL database for everything that is recorded; several server processes may share it."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from filelock import FileLock
from sqlalchemy import URL, Connection, Engine, create_engine, event

from jesse_mcp.adapters.storage import migrations
from jesse_mcp.adapters.storage.dialects import one_at_a_time, snapshot_options
from jesse_mcp.adapters.storage.failures import newer_schema, teaching_errors
from jesse_mcp.adapters.storage.postgres import postgres_engine, postgres_name, postgres_url

_WRITES = "jesse_mcp_writes"


class Database:
    """Connections to one database, which is created and migrated on first use.

    Args:
        url: where the database is; :meth:`at` makes one for a file, :meth:`of` one for PostgreSQL.
        busy_seconds: how long to wait for another process that writes.
        steps: the migrations, oldest first.
    """

    def __init__(
        self,
        url: URL,
        *,
        busy_seconds: float = 30.0,
        steps: tuple[migrations.Migration, ...] = migrations.MIGRATIONS,
    ) -> None:
        self._url = url
        self._busy_seconds = busy_seconds
        self._steps = steps
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    @classmethod
    def at(cls, path: Path, *, busy_seconds: float = 30.0) -> Self:
        """A SQLite file; nothing is touched before the first use."""
        return cls(URL.create("sqlite", database=str(path)), busy_seconds=busy_seconds)

    @classmethod
    def of(cls, address: str, *, busy_seconds: float = 30.0) -> Self:
        """The PostgreSQL database of ``postgresql+psycopg://``; nothing is connected before the first use."""
        return cls(postgres_url(address), busy_seconds=busy_seconds)

    @property
    def name(self) -> str:
        """Which database this is, for people; without secrets."""
        if self._is_file:
            return f"SQLite file {Path(str(self._url.database)).name}"
        return postgres_name(self._url)

    @property
    def _is_file(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent snapshot.

        Raises:
            ResearchError: ``storage_failed``.
        """
        with teaching_errors(), _read(self._ready()) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, committed at the end and rolled back by any exception.

        Raises:
            ResearchError: ``storage_failed``.
        """
        with teaching_errors(), _write(self._ready()) as connection:
            yield connection

    def close(self) -> None:
        """Close every connection; the next use opens new ones."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def _ready(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = self._open()
            return self._engine

    def _open(self) -> Engine:
        if not self._is_file:
            return self._migrated(postgres_engine(self._url, self._busy_seconds))
        path = Path(str(self._url.database))
        path.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(self._url, connect_args={"timeout": self._busy_seconds})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        # Turning a new file to WAL does not wait for other processes as transactions do.
        with FileLock(f"{path}.lock", timeout=self._busy_seconds):
            if not path.exists():
                # Addresses of webhooks are in it; its journals get the mode of the file.
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
            return self._migrated(engine)

    def _migrated(self, engine: Engine) -> Engine:
        try:
            with engine.connect() as connection:
                found = migrations.version_of(connection)
            if found > len(self._steps):
                raise newer_schema(found, len(self._steps))
            if found < len(self._steps):
                with _write(engine) as connection:
                    # The others look for the version again when it is their turn.
                    one_at_a_time(connection, "migration")
                    migrations.apply(connection, self._steps)
        except BaseException:
            engine.dispose()
            raise
        return engine


@contextmanager
def _read(engine: Engine) -> Iterator[Connection]:
    options = snapshot_options(engine.dialect.name)
    with engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


@contextmanager
def _write(engine: Engine) -> Iterator[Connection]:
    with engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        yield connection


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # sqlite3 would otherwise begin transactions by itself, and late: a transaction that reads first and
    # writes later fails with "database is locked" at once when somebody else wrote in between.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        # Readers and the one writer do not wait for each other. A file system without shared memory
        # refuses it and keeps the rollback journal, which is slower and equally correct.
        cursor.execute("PRAGMA journal_mode=WAL")
        # A crash of the process loses nothing; a power failure may lose the last commits, never more.
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
    finally:
        cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
