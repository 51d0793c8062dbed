"""How PostgreSQL's own programs are told of a database."""

from sqlalchemy import make_url


def options_of_postgres(url: str) -> list[str]:
    """Options of ``pg_dump`` and ``pg_restore`` for a database; never with the password.

    https://www.postgresql.org/docs/current/app-pgdump.html
    """
    parts = make_url(url)
    # A socket is named behind the question mark.
    host = parts.host or parts.query.get("host")
    port = parts.port or parts.query.get("port")
    named = {"host": host, "port": port, "username": parts.username, "dbname": parts.database}
    return [f"--{name}={value}" for name, value in named.items() if isinstance(value, str | int)]
