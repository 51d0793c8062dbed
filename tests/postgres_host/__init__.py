"""A real PostgreSQL from a PyPI package while tests need it, and records in either database."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import psycopg
from sqlalchemy import URL, make_url

from jesse_mcp.adapters.storage.database import Database

HOST = Path(__file__).with_name("host.py")


class PostgresHost:
    """Dies with this process, however that ends.

    Args:
        folder: an empty folder.

    Raises:
        RuntimeError: PostgreSQL cannot run here.
    """

    def __init__(self, folder: Path) -> None:
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(HOST), str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "XDG_RUNTIME_DIR": str(folder)},
                text=True,
            )
        self._log = folder / "log"
        self._url = self._answer()

    def kill(self) -> None:
        """Ends at once and without a clean shutdown."""
        self._told("kill")

    def start(self) -> None:
        self._told("start")

    @contextmanager
    def schema(self) -> Iterator[URL]:
        """The URL of an empty one."""
        name = f"test_{uuid4().hex}"
        self._execute(f"CREATE SCHEMA {name}")
        yield self._url.update_query_dict({"options": f"-csearch_path={name}"})
        self._execute(f"DROP SCHEMA {name} CASCADE")

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def _execute(self, statement: str) -> None:
        with psycopg.connect(
            self._url.set(drivername="postgresql").render_as_string(), autocommit=True
        ) as one:
            one.execute(statement.encode())

    def _told(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> URL:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError(self._log.read_text()[-2000:])
        return make_url(json.loads(line)).set(drivername="postgresql+psycopg")


@contextmanager
def running_postgres() -> Iterator[PostgresHost]:
    """One in a folder of its own: pytest's are closed to the user that PostgreSQL of root's tests runs as."""
    with TemporaryDirectory(prefix="postgres-host-") as folder:
        host = PostgresHost(Path(folder))
        try:
            yield host
        finally:
            host.close()


class Place:
    """Where records are, for several that open them."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self._opened: list[Database] = []

    @property
    def address(self) -> str:
        return self.url.render_as_string(hide_password=False)

    @property
    def is_file(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    def open(self, **options: float) -> Database:
        database = Database(self.url, **options)  # type: ignore[arg-type]
        self._opened.append(database)
        return database

    def close(self) -> None:
        for database in self._opened:
            database.close()
