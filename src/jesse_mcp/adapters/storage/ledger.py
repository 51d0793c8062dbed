"""The trial ledger in SQL."""

from typing import Any

from sqlalchemy import Insert, Row, func, select
from sqlalchemy.dialects import postgresql, sqlite

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.encoding import from_text, pack_floats, to_text, unpack_floats
from jesse_mcp.adapters.storage.tables import trials
from jesse_mcp.domain.ledger import Trial


class SqlTrialLedger:
    """A :class:`~jesse_mcp.ports.records.TrialLedger`. Blocks; call it in a thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, entry: Trial) -> bool:
        returns = None if entry.daily_returns is None else pack_floats(entry.daily_returns)
        values = entry.model_dump() | {
            "parameters": to_text(entry.parameters, entry.trial_id),
            "market": to_text(entry.market, entry.trial_id),
            "daily_returns": returns,
        }
        with self._database.writing() as connection:
            statement = _insert_unless_counted(connection.dialect.name).values(values)
            return connection.execute(statement).first() is not None

    def count(self, family: str | None = None) -> int:
        query = select(func.count()).select_from(trials)
        if family is not None:
            query = query.where(trials.c.family == family)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one()

    def entries(self, family: str | None = None, limit: int = 100, offset: int = 0) -> list[Trial]:
        query = select(trials)
        if family is not None:
            query = query.where(trials.c.family == family)
        query = query.order_by(trials.c.created_at.desc(), trials.c.seq.desc())
        with self._database.reading() as connection:
            rows = connection.execute(query.limit(limit).offset(offset)).all()
        return [_trial(row) for row in rows]


def _insert_unless_counted(dialect: str) -> Insert:
    # Two servers may finish the same experiment at once: the database decides, not a look beforehand.
    if dialect == "postgresql":
        on_postgresql = postgresql.insert(trials).on_conflict_do_nothing(index_elements=["fingerprint"])
        return on_postgresql.returning(trials.c.seq)
    on_sqlite = sqlite.insert(trials).on_conflict_do_nothing(index_elements=["fingerprint"])
    return on_sqlite.returning(trials.c.seq)


def _trial(row: Row[Any]) -> Trial:
    values = {name: value for name, value in row._mapping.items() if name != "seq"}
    values["parameters"] = from_text(row.parameters, row.trial_id)
    values["market"] = from_text(row.market, row.trial_id)
    if row.daily_returns is not None:
        values["daily_returns"] = unpack_floats(row.daily_returns, row.trial_id)
    return Trial(**values)
