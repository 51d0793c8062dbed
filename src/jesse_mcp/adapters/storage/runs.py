"""Finished runs in SQL."""

import json
from collections.abc import Iterator

from sqlalchemy import ColumnElement, func, insert, select

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.dialects import insert_new
from jesse_mcp.adapters.storage.encoding import compress, decompress, from_model, from_text, to_model
from jesse_mcp.adapters.storage.failures import storage_failed
from jesse_mcp.adapters.storage.tables import failures, run_labels, runs
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.runs import RunRecord, RunSummary

_STRATEGY = "strategy"
_SYMBOL = "symbol"
_NEWEST = (runs.c.created_at.desc(), runs.c.seq.desc())


class SqlRunStore:
    """A :class:`~jesse_mcp.ports.records.RunStore`. Blocks; call it in a thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, run: RunRecord) -> None:
        values = {
            "run_id": run.run_id,
            "kind": run.kind,
            "created_at": run.created_at,
            "fingerprint": run.fingerprint,
            "code_hash": run.code_hash,
            "title": run.title,
            "summary": from_model(_summary(run), run.run_id).decode(),
            "record": compress(from_model(run, run.run_id)),
        }
        # Encoding is done: the write lock is held for the inserts alone.
        with self._database.writing() as connection:
            added = insert_new(connection, runs, "run_id").values(values).returning(runs.c.seq)
            seq = connection.execute(added).scalar()
            if seq is None:
                raise storage_failed(
                    f"the run {run.run_id!r} is stored already",
                    "runs never change: store a new result under a new run_id",
                )
            labels = [{"run_seq": seq, "role": role, "value": value} for role, value in _labels(run)]
            if labels:
                connection.execute(insert(run_labels), labels)

    def get(self, run_id: str) -> RunRecord:
        found = self._latest(runs.c.run_id == run_id)
        if found is None:
            raise ResearchError(
                ErrorCode.RUN_NOT_FOUND,
                f"there is no run {run_id!r}",
                hint="call run_list for the ids there are",
            )
        return found

    def find(self, fingerprint: str) -> RunRecord | None:
        return self._latest(runs.c.fingerprint == fingerprint)

    def page(
        self,
        *,
        strategy: str | None = None,
        symbol: str | None = None,
        kind: str | None = None,
        limit: int = 20,
        offset: int = 0,
    ) -> tuple[list[RunSummary], int]:
        labels = ((_STRATEGY, strategy), (_SYMBOL, symbol))
        conditions = [_labelled(role, value) for role, value in labels if value is not None]
        if kind is not None:
            conditions.append(runs.c.kind == kind)
        # Only the lines of the page are read: sorting whole rows costs many times as much.
        chosen = select(runs.c.seq).where(*conditions).order_by(*_NEWEST).limit(limit).offset(offset)
        query = select(runs.c.run_id, runs.c.summary).where(runs.c.seq.in_(chosen)).order_by(*_NEWEST)
        with self._database.reading() as connection:
            total = connection.execute(select(func.count()).select_from(runs).where(*conditions)).scalar_one()
            rows = connection.execute(query).all()
        return [to_model(RunSummary, row.summary, row.run_id) for row in rows], total

    def count(self) -> int:
        with self._database.reading() as connection:
            return connection.execute(select(func.count()).select_from(runs)).scalar_one()

    def add_failure(self, fingerprint: str, created_at: str, error: ResearchError) -> None:
        # Details may hold anything; what JSON does not know is stored as its text.
        told = json.dumps(error.to_dict(), default=str)
        values = {"fingerprint": fingerprint, "created_at": created_at, "error": told}
        with self._database.writing() as connection:
            connection.execute(insert(failures).values(values))

    def find_failure(self, fingerprint: str, since: str) -> ResearchError | None:
        query = (
            select(failures.c.error)
            .where(failures.c.fingerprint == fingerprint, failures.c.created_at >= since)
            .order_by(failures.c.created_at.desc(), failures.c.seq.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            found = connection.execute(query).scalar()
        return None if found is None else ResearchError.from_dict(from_text(found, fingerprint))

    def _latest(self, condition: ColumnElement[bool]) -> RunRecord | None:
        query = select(runs.c.run_id, runs.c.record).where(condition).order_by(*_NEWEST).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return to_model(RunRecord, decompress(row.record, row.run_id), row.run_id)


def _summary(run: RunRecord) -> RunSummary:
    return RunSummary(
        run_id=run.run_id,
        kind=run.kind,
        created_at=run.created_at,
        title=run.title,
        strategies=run.strategies,
        symbols=run.symbols,
        request=run.request,
        metrics=run.outcome.metrics,
    )


def _labels(run: RunRecord) -> Iterator[tuple[str, str]]:
    # A strategy may trade several routes; one label is enough to find the run.
    yield from ((_STRATEGY, name) for name in dict.fromkeys(run.strategies))
    yield from ((_SYMBOL, name) for name in dict.fromkeys(run.symbols))


def _labelled(role: str, value: str) -> ColumnElement[bool]:
    matches = select(run_labels.c.run_seq).where(run_labels.c.role == role, run_labels.c.value == value)
    return runs.c.seq.in_(matches)
