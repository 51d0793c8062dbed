"""The SQLite file of the records: copied while it is used, and looked at before it is."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from jesse_mcp.adapters.backup.failures import failed
from jesse_mcp.adapters.storage.migrations import MIGRATIONS, version_of

KNOWN_SCHEMA = len(MIGRATIONS)
_BUSY_SECONDS = 30.0


def copy_records(source: Path, target: Path) -> int:
    """Copy the state at one moment, whoever writes meanwhile. Blocks.

    In one step: a copy in several begins anew whenever another process writes in between.
    https://www.sqlite.org/backup.html

    Returns:
        The version of the schema.

    Raises:
        ResearchError: ``storage_failed``, also for a damaged database.
    """
    with (
        _failures("copied"),
        _opened(source, _BUSY_SECONDS) as used,
        closing(sqlite3.connect(target)) as copy,
    ):
        used.backup(copy, pages=-1)
        # One file that holds everything, instead of one that expects another beside it.
        copy.execute("PRAGMA journal_mode=DELETE")
        _check(copy)
    return schema_of(target)


def schema_of(path: Path) -> int:
    """The version of the schema of a database that nobody else uses.

    Raises:
        ResearchError: ``storage_failed`` when it is none.
    """
    engine = create_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            return version_of(connection)
    except SQLAlchemyError as error:
        raise failed("the records are not a database", "use another backup") from error
    finally:
        engine.dispose()


def check_unused(path: Path) -> None:
    """Raises: ResearchError: ``storage_failed`` while another process has these records open."""
    if not path.exists():
        return
    try:
        with _opened(path, 0.0) as records:
            # Only the last connection may leave the write-ahead log.
            # https://www.sqlite.org/wal.html#persistence_of_wal_mode
            records.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise failed(f"the records that are there cannot be used: {error}", "move them away") from error
        raise failed("a server uses the home folder", "stop it, then restore again") from error
    except sqlite3.DatabaseError:
        # Damaged ones are what a backup is for, and are put aside as they are.
        return


def _check(copy: sqlite3.Connection) -> None:
    (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise failed(f"the records database is damaged: {found}", "restore the last backup")


@contextmanager
def _opened(path: Path, patience: float) -> Iterator[sqlite3.Connection]:
    uri = f"{path.absolute().as_uri()}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, timeout=patience, isolation_level=None)) as connection:
        yield connection


@contextmanager
def _failures(done: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        full = error.sqlite_errorcode == sqlite3.SQLITE_FULL if hasattr(error, "sqlite_errorcode") else False
        hint = (
            "free some disk space, then try again"
            if full
            else "see whether the disk is full or the file is damaged"
        )
        raise failed(f"the records could not be {done}: {error}", hint) from error
