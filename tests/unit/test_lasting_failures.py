"""What a database refuses whenever it is asked is told apart from what passes."""

import pytest
from sqlalchemy import select

from jesse_mcp.adapters.storage import tables
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from postgres_host import Place


def refused(database: Database, **values: object) -> ResearchError:
    with pytest.raises(ResearchError) as caught, database.writing() as connection:
        connection.execute(tables.failures.insert().values(values))
    assert caught.value.code is ErrorCode.STORAGE_FAILED
    return caught.value


def test_a_value_that_no_row_may_have_stays_refused(records: Database) -> None:
    error = refused(records, fingerprint="f", created_at=None, error="{}")
    assert error.lasting
    assert "refuses what is to be stored" in error.message
    assert "log" in str(error.hint)
    again = ResearchError.from_dict(error.to_dict())
    assert again.lasting


def test_a_key_that_is_there_already_stays_refused(records: Database) -> None:
    job = SqlJobStore(records).create("backtest", {}, "me", 0.0)
    with records.reading() as connection:
        row = dict(connection.execute(select(tables.jobs)).one()._mapping)
    row.pop("seq")
    with pytest.raises(ResearchError) as caught, records.writing() as connection:
        connection.execute(tables.jobs.insert().values(row))
    assert caught.value.lasting
    assert SqlJobStore(records).get(job.job_id) == job


def test_what_json_cannot_hold_stays_refused(records: Database) -> None:
    store = SqlJobStore(records)
    job = store.create("backtest", {}, "me", 0.0)
    with pytest.raises(ResearchError) as caught:
        store.finish(job.job_id, JobState.DONE, result={"answer": object()})
    assert caught.value.lasting
    assert store.get(job.job_id).state is JobState.QUEUED


def test_a_record_that_is_locked_or_away_is_only_so_now(place: Place) -> None:
    place.open().close()
    store = SqlJobStore(place.open())
    job = store.create("backtest", {}, "me", 0.0)
    impatient = SqlJobStore(place.open(busy_seconds=0.05))
    with place.open().writing() as connection:
        connection.execute(select(tables.jobs).with_for_update()).all()
        with pytest.raises(ResearchError) as caught:
            impatient.request_cancel(job.job_id)
    assert not caught.value.lasting
    assert not caught.value.away
    nowhere = Database.of("postgresql://me@127.0.0.1:1/desk?connect_timeout=1")
    with pytest.raises(ResearchError) as caught:
        SqlJobStore(nowhere).page()
    assert caught.value.away
    assert not caught.value.lasting
