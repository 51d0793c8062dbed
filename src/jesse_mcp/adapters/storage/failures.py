"""Database and disk failures as errors that say what to do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import Timeout
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
    StatementError,
)

from jesse_mcp.domain.errors import ErrorCode, ResearchError

_FREE_SPACE = "free disk space where JESSE_MCP_HOME is, then repeat the call"
_PERMISSIONS = (
    "let the user the server runs as write to JESSE_MCP_HOME, or point JESSE_MCP_HOME to another folder"
)
_RESTORE = (
    "stop every server, then restore the records file in JESSE_MCP_HOME from a backup or move it away; "
    "a new one is made on the next start"
)
_RETRY = "repeat the call; if it persists, look for a stuck process that uses the same JESSE_MCP_HOME"

#: What no other moment of the database would accept.
_REFUSALS = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
_DEFECT = "repeating it will not help: report it with the server's log; nothing of it was stored"

# By the beginning of SQLite's name of the error.
_SQLITE: tuple[tuple[str, str, str], ...] = (
    ("SQLITE_FULL", "the disk is full", _FREE_SPACE),
    ("SQLITE_READONLY", "the records database cannot be written", _PERMISSIONS),
    ("SQLITE_CANTOPEN", "the records database cannot be opened", _PERMISSIONS),
    ("SQLITE_PERM", "the records database cannot be opened", _PERMISSIONS),
    ("SQLITE_AUTH", "the records database cannot be opened", _PERMISSIONS),
    ("SQLITE_NOTADB", "the records file is not a database", _RESTORE),
    ("SQLITE_CORRUPT", "the records database is damaged", _RESTORE),
    ("SQLITE_BUSY", "another process kept the records database locked", _RETRY),
    ("SQLITE_LOCKED", "another process kept the records database locked", _RETRY),
    ("SQLITE_IOERR", "the disk failed while the records database was used", _FREE_SPACE),
)
_REACH = (
    "start PostgreSQL, or correct host, port, user, password and database in JESSE_MCP_DATABASE_URL, "
    "then repeat the call"
)
_GRANT = "let the user of JESSE_MCP_DATABASE_URL create tables in its schema and write them"
_AGAIN = "repeat the call; if it persists, look at pg_stat_activity for what holds the records"

# By the beginning of PostgreSQL's SQLSTATE.
_POSTGRESQL: tuple[tuple[str, str, str], ...] = (
    ("53100", "the disk of the records database is full", "free disk space where PostgreSQL keeps its data"),
    (
        "53300",
        "the records database has no connection left",
        "raise max_connections, or run fewer servers",
    ),
    ("53", "the records database lacks memory or another resource", _AGAIN),
    ("42501", "the records database refuses its user", _GRANT),
    ("3F000", "the records database refuses its user", _GRANT),
    ("25006", "the records database cannot be written", "connect to the primary, not to a replica"),
    ("28", "the records database refuses its user", _REACH),
    ("3D000", "there is no such records database", _REACH),
    ("55P03", "another process kept the records database locked", _AGAIN),
    ("40", "another process changed the same records", _AGAIN),
    ("57P", "the records database is stopping or starting", _REACH),
    ("08", "the connection to the records database was lost", _REACH),
    ("25P03", "the connection to the records database was lost", _REACH),
)
#: Of them, those of a server that stops, starts or was left.
_AWAY = {"57P", "08", "25P03"}


def storage_failed(message: str, hint: str, **details: object) -> ResearchError:
    return ResearchError(ErrorCode.STORAGE_FAILED, message, hint=hint, details=details)


def newer_schema(found: int, known: int) -> ResearchError:
    return storage_failed(
        f"the records database has schema version {found}, this jesse-mcp knows {known}",
        "upgrade jesse-mcp to the version that wrote it, or point JESSE_MCP_HOME to another folder "
        "(JESSE_MCP_DATABASE_URL to another database)",
        schema_version=found,
        known_version=known,
    )


def unreadable(record_id: str) -> ResearchError:
    return storage_failed(
        f"the record {record_id!r} is stored but cannot be decoded",
        "it is damaged or was written by a newer jesse-mcp: upgrade, or repeat the run",
        lasting=True,
    )


@contextmanager
def teaching_errors() -> Iterator[None]:
    """Turn what the database and the disk raise into ``storage_failed``, without paths or statements.

    ``details.lasting`` is true for what would fail at any other time as well, ``details.away`` when a server
    of databases was not reached.
    """
    try:
        yield
    except Timeout as error:
        raise storage_failed("another process kept the records database locked", _RETRY) from error
    except OSError as error:
        raise _disk_failure(error) from error
    except DBAPIError as error:
        raise _database_failure(error) from error
    except StatementError as error:
        raise _refused(type(error).__name__) from error
    except SQLAlchemyError as error:
        raise _unknown_failure(type(error).__name__) from error


def _disk_failure(error: OSError) -> ResearchError:
    # str(error) would name the path; the reason alone is enough.
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    space = error.errno is not None and reason in {"No space left on device", "Disk quota exceeded"}
    return storage_failed(
        f"the records folder cannot be used: {reason}", _FREE_SPACE if space else _PERMISSIONS
    )


def _database_failure(error: DBAPIError) -> ResearchError:
    if type(error.orig).__module__.startswith("psycopg"):
        return _postgresql_failure(error)
    name = str(getattr(error.orig, "sqlite_errorname", type(error.orig).__name__))
    for prefix, message, hint in _SQLITE:
        if name.startswith(prefix):
            return storage_failed(message, hint, database_error=name)
    return _refused(name) if isinstance(error, _REFUSALS) else _unknown_failure(name)


def _postgresql_failure(error: DBAPIError) -> ResearchError:
    state = getattr(error.orig, "sqlstate", None)
    # Without a state the server said nothing: it was not reached, refused the connection or went away.
    if state is None and isinstance(error, OperationalError):
        return storage_failed("the records database cannot be reached", _REACH, away=True)
    for prefix, message, hint in _POSTGRESQL:
        if state is not None and state.startswith(prefix):
            away = {"away": True} if prefix in _AWAY else {}
            return storage_failed(message, hint, database_error=state, **away)
    name = state or type(error.orig).__name__
    return _refused(name) if isinstance(error, _REFUSALS) else _unknown_failure(name)


def _refused(name: str) -> ResearchError:
    return storage_failed(
        f"the records database refuses what is to be stored ({name})",
        _DEFECT,
        database_error=name,
        lasting=True,
    )


def _unknown_failure(name: str) -> ResearchError:
    return storage_failed(f"the records database failed ({name})", _RETRY, database_error=name)
