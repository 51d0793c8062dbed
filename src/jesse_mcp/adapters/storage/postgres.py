"""Connections to PostgreSQL that survive its restart and wait for nobody forever."""

from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url

#: Seconds a client may hold a transaction open and do nothing: it is gone, and others wait for its locks.
_IDLE_SECONDS = 60
#: What libpq is told unless the address says otherwise. A machine that vanished is noticed within a minute.
_CONNECTION: dict[str, Any] = {
    "application_name": "jesse-mcp",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


def postgres_url(address: str) -> URL:
    """The URL of ``postgresql://`` or ``postgresql+psycopg://``, for the one driver there is."""
    return make_url(address).set(drivername="postgresql+psycopg")


def postgres_name(url: URL) -> str:
    """Which database, without user, password and options."""
    host = url.host or url.query.get("host") or "the local socket"
    where = host if isinstance(host, str) else ", ".join(host)
    port = f":{url.port}" if url.port else ""
    return f"PostgreSQL database {url.database} at {where}{port}"


def postgres_engine(url: URL, busy_seconds: float) -> Engine:
    """An engine; nothing is connected yet.

    Args:
        url: with the driver psycopg.
        busy_seconds: how long to wait for a lock.
    """
    engine = create_engine(
        url,
        # READ COMMITTED whatever the server's default is: statements see what they waited for.
        isolation_level="READ COMMITTED",
        # Connections of before a restart are replaced when they are next needed.
        pool_pre_ping=True,
        # Records may hold what is nobody's business in a log.
        hide_parameters=True,
        connect_args={name: value for name, value in _CONNECTION.items() if name not in url.query},
    )
    settings = (
        f"SET lock_timeout = {round(busy_seconds * 1000)}",
        f"SET idle_in_transaction_session_timeout = {_IDLE_SECONDS * 1000}",
    )

    def prepare(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            for setting in settings:
                cursor.execute(setting)
        connection.commit()

    event.listen(engine, "connect", prepare)
    return engine
