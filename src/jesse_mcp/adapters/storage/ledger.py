"""The trial ledger in SQL."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select, true, update

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.dialects import insert_new
from jesse_mcp.adapters.storage.encoding import from_text, pack_floats, to_text, unpack_floats
from jesse_mcp.adapters.storage.tables import trials
from jesse_mcp.domain.ledger import FamilyCode, Trial, lineage_of


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
            "strategy_shapes": _shapes_text(entry),
        }
        with self._database.writing() as connection:
            # Two servers may finish the same experiment at once: the database decides, not a look beforehand.
            statement = insert_new(connection, trials, "fingerprint").values(values)
            added = connection.execute(statement.returning(trials.c.seq)).first() is not None
            if not added:
                _complete(connection, entry, values)
        return added

    def count(self, family: str | None = None) -> int:
        query = select(func.count()).select_from(trials)
        with self._database.reading() as connection:
            return connection.execute(query.where(_related(connection, family))).scalar_one()

    def entries(self, family: str | None = None, limit: int = 100, offset: int = 0) -> list[Trial]:
        query = select(trials).order_by(trials.c.created_at.desc(), trials.c.seq.desc())
        with self._database.reading() as connection:
            query = query.where(_related(connection, family))
            rows = connection.execute(query.limit(limit).offset(offset)).all()
        return [_trial(row) for row in rows]

    def lineage(self, family: str) -> frozenset[str]:
        with self._database.reading() as connection:
            return _lineage(connection, family)


def _lineage(connection: Connection, family: str) -> frozenset[str]:
    query = select(trials.c.family, trials.c.code_shape, trials.c.strategy_shapes).distinct()
    return lineage_of(
        family,
        [
            FamilyCode(family=name, code_shape=shape, strategy_shapes=_shapes(text, name))
            for name, shape, text in connection.execute(query)
        ],
    )


def _shapes_text(entry: Trial) -> str | None:
    return to_text(entry.strategy_shapes, entry.trial_id) if entry.strategy_shapes else None


def _shapes(text: str | None, record_id: str) -> dict[str, str]:
    return {} if text is None else from_text(text, record_id)


def _related(connection: Connection, family: str | None) -> ColumnElement[bool]:
    return true() if family is None else trials.c.family.in_(sorted(_lineage(connection, family)))


def _complete(connection: Connection, entry: Trial, values: dict[str, Any]) -> None:
    """Fill in what the first entry could not know, and nothing that it did."""
    counted = update(trials).where(trials.c.fingerprint == entry.fingerprint)
    if entry.run_id is not None:
        # The first attempt left no run: it failed, or its server died.
        found = {name: values[name] for name in ("run_id", "sharpe", "daily_returns", "parameters")}
        connection.execute(counted.where(trials.c.run_id.is_(None)).values(found))
    if entry.code_shape is not None:
        connection.execute(counted.where(trials.c.code_shape.is_(None)).values(code_shape=entry.code_shape))
    if entry.strategy_shapes:
        shapes = {"strategy_shapes": values["strategy_shapes"]}
        connection.execute(counted.where(trials.c.strategy_shapes.is_(None)).values(shapes))


def _trial(row: Row[Any]) -> Trial:
    values = {name: value for name, value in row._mapping.items() if name != "seq"}
    values["parameters"] = from_text(row.parameters, row.trial_id)
    values["market"] = from_text(row.market, row.trial_id)
    values["strategy_shapes"] = _shapes(row.strategy_shapes, row.trial_id)
    if row.daily_returns is not None:
        values["daily_returns"] = unpack_floats(row.daily_returns, row.trial_id)
    return Trial(**values)
