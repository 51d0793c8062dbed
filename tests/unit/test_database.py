"""One file, several processes, any failure named: the database under the stores."""

import contextlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from sqlalchemy import NullPool, create_engine, inspect, select

from jesse_mcp.adapters.storage import migrations, tables
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.adapters.storage.ledger import SqlTrialLedger
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from postgres_host import Place

EVERY_VERSION = [1, 2, 3, 4, 5, 6, 7, 8]

WRITER = """
import sys
from pathlib import Path
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.leases import Gone

name, path = sys.argv[1], Path(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
database = Database.at(path)
store = SqlJobStore(database)
for number in range(60):
    job = store.create("backtest", {"number": number}, name, 1e12)
    assert store.start(job.job_id)
    store.report(job.job_id, 0.5, "half", "log")
    store.renew(name, 2e12)
    store.reap(Gone(silent={"nobody": frozenset({0.0})}))
    assert store.finish(job.job_id, JobState.DONE, run_id="run_x")
database.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "records.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    database = Database.at(path)
    yield database
    database.close()


def versions(database: Database) -> list[int]:
    with database.reading() as connection:
        return list(connection.execute(select(tables.schema_version.c.version)).scalars())


def failure(database: Database) -> ResearchError:
    with pytest.raises(ResearchError) as caught:
        SqlJobStore(database).create("backtest", {}, "me", 0.0)
    assert caught.value.code is ErrorCode.STORAGE_FAILED
    assert caught.value.hint
    return caught.value


def test_nothing_is_touched_before_the_first_use(path: Path, database: Database) -> None:
    assert not path.parent.exists()
    assert versions(database) == EVERY_VERSION
    assert path.exists()


def test_only_its_owner_may_read_the_file(path: Path, database: Database) -> None:
    path.parent.mkdir(mode=0o755)
    assert versions(database) == EVERY_VERSION
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    del modes["records.db.lock"]  # empty
    assert modes == dict.fromkeys(("records.db", "records.db-shm", "records.db-wal"), 0o600)


def test_processes_that_create_and_write_one_file_do_not_disturb_each_other(path: Path) -> None:
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", WRITER, name, str(path)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for name in ("one", "two", "three")
        ]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        # All at once: the file does not exist yet, so they race to create it as well.
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        for writer in writers:
            _, errors = writer.communicate(timeout=120)
            assert (writer.returncode, errors) == (0, "")
    database = Database.at(path)
    jobs, total = SqlJobStore(database).page(limit=1000)
    database.close()
    assert total == len(jobs) == 180
    assert {job.state.value for job in jobs} == {"done"}


def test_processes_open_a_file_one_after_the_other(path: Path, database: Database) -> None:
    # Of six processes that open a new file at the same moment without taking turns, one now and then
    # fails at once with "database is locked": turning the file to WAL does not wait.
    path.parent.mkdir()
    with FileLock(f"{path}.lock"):
        impatient = Database.at(path, busy_seconds=0.05)
        assert "locked" in failure(impatient).message
        assert not path.exists()
    assert versions(database) == EVERY_VERSION


def test_readers_and_the_writer_do_not_wait_and_references_hold(database: Database) -> None:
    with database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1


def test_a_transaction_that_reads_before_it_writes_waits_for_others(place: Place) -> None:
    database, other = place.open(), place.open()
    store = SqlJobStore(database)
    job = store.create("backtest", {}, "me", 0.0)
    entered, errors = threading.Event(), []

    def cancel_elsewhere() -> None:
        entered.set()
        try:
            SqlJobStore(other).request_cancel(job.job_id)
        except ResearchError as error:
            errors.append(error)

    thread = threading.Thread(target=cancel_elsewhere)
    with database.writing() as connection:
        connection.execute(select(tables.jobs)).all()
        thread.start()
        assert entered.wait(10)
        connection.execute(tables.jobs.update().values(owner="you"))
    thread.join()
    assert errors == []
    assert store.cancel_requests("you") == [job.job_id]


def test_a_reader_is_not_held_up_by_a_writer(records: Database) -> None:
    store = SqlJobStore(records)
    job = store.create("backtest", {}, "me", 0.0)
    with records.writing() as connection:
        connection.execute(tables.jobs.delete())
        assert store.get(job.job_id) == job
    assert store.page() == ([], 0)


def test_a_reader_sees_one_moment(place: Place) -> None:
    database, store = place.open(), SqlJobStore(place.open())
    store.create("backtest", {}, "me", 0.0)
    with database.reading() as connection:
        before = connection.execute(select(tables.jobs)).all()
        store.create("backtest", {}, "me", 0.0)
        assert connection.execute(select(tables.jobs)).all() == before
    assert store.page()[1] == 2


def test_a_failed_transaction_leaves_nothing(records: Database) -> None:
    store = SqlJobStore(records)
    store.create("backtest", {}, "me", 0.0)
    # 42601 is PostgreSQL's name of a syntax error.
    with pytest.raises(ResearchError, match=r"SQLITE_ERROR|42601"):
        _delete_then_fail(records)
    assert store.page()[1] == 1


def _delete_then_fail(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(tables.jobs.delete())
        connection.exec_driver_sql("no such statement")


def test_opening_again_migrates_nothing(records: Database) -> None:
    versions(records)
    records.close()
    assert versions(records) == EVERY_VERSION
    with records.writing() as connection:
        migrations.apply(connection, migrations.MIGRATIONS)
    assert versions(records) == EVERY_VERSION


def test_migrated_and_declared_schema_agree(records: Database) -> None:
    with records.reading() as connection:
        inspector = inspect(connection)
        assert set(inspector.get_table_names()) == set(tables.metadata.tables)
        for table in tables.metadata.tables.values():
            columns = [column["name"] for column in inspector.get_columns(table.name)]
            assert columns == [column.name for column in table.columns]
            indexes = {index["name"] for index in inspector.get_indexes(table.name)}
            assert indexes >= {index.name for index in table.indexes}


def test_older_records_are_brought_forward_with_their_rows(place: Place) -> None:
    old = place.open()
    old_only = Database(place.url, steps=migrations.MIGRATIONS[:1])
    job = SqlJobStore(old_only).create("backtest", {}, "me", 0.0)
    with old_only.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs DROP COLUMN result")
        connection.exec_driver_sql("ALTER TABLE jobs DROP COLUMN tool")
    old_only.close()
    assert SqlTrialLedger(old).count() == 0
    assert versions(old) == EVERY_VERSION
    assert SqlJobStore(old).get(job.job_id) == job


def test_trials_of_before_have_no_shape_and_count_by_name(place: Place) -> None:
    old = place.open()
    old_only = Database(place.url, steps=migrations.MIGRATIONS[:4])
    with old_only.writing() as connection:
        connection.exec_driver_sql("DROP INDEX ix_trials_code_shape")
        connection.exec_driver_sql("ALTER TABLE trials DROP COLUMN code_shape")
        connection.exec_driver_sql("ALTER TABLE trials DROP COLUMN strategy_shapes")
        connection.exec_driver_sql(
            "INSERT INTO trials (trial_id, created_at, family, code_hash, fingerprint, parameters, market, "
            "start_ms, end_ms) VALUES ('t', '2026-01-01', 'Trend', 'c0de', 'f', '{}', '{}', 0, 1)"
        )
    old_only.close()
    ledger = SqlTrialLedger(old)
    (entry,) = ledger.entries("Trend")
    assert entry.code_shape is None
    assert (ledger.count("Trend"), ledger.count("Other")) == (1, 0)
    assert ledger.lineage("Trend") == {"Trend"}
    assert not ledger.record(entry.model_copy(update={"trial_id": "u", "code_shape": "shape"}))
    assert [trial.code_shape for trial in ledger.entries("Trend")] == ["shape"]
    assert versions(old) == EVERY_VERSION


def test_a_migration_that_fails_changes_nothing(place: Place, records: Database) -> None:
    def broken(connection: object) -> None:
        raise ZeroDivisionError

    broken_database = Database(place.url, steps=(*migrations.MIGRATIONS, broken))
    with pytest.raises(ZeroDivisionError), broken_database.reading():
        pytest.fail("must not open")
    bare = create_engine(place.url, poolclass=NullPool)
    assert inspect(bare).get_table_names() == []
    assert versions(records) == EVERY_VERSION


def test_a_schema_of_a_newer_version_is_refused_and_left_alone(records: Database) -> None:
    with records.writing() as connection:
        connection.execute(tables.schema_version.insert().values(version=99))
    records.close()
    error = failure(records)
    assert "99" in error.message
    assert error.details == {"schema_version": 99, "known_version": EVERY_VERSION[-1]}
    assert "upgrade" in str(error.hint)


def test_a_file_that_is_no_database_is_named_as_such(path: Path, database: Database) -> None:
    path.parent.mkdir()
    path.write_text("candles, open, high\n" * 200)
    error = failure(database)
    assert "not a database" in error.message
    assert str(path.parent) not in str(error.to_dict())


def test_a_damaged_file_is_named_as_such(path: Path, database: Database) -> None:
    store = SqlJobStore(database)
    for _ in range(50):
        store.create("backtest", {"pad": "x" * 500}, "me", 0.0)
    database.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    error = failure(database)
    assert "damaged" in error.message
    assert "backup" in str(error.hint)


def test_a_full_disk_is_named_and_loses_nothing_that_was_stored(database: Database) -> None:
    store = SqlJobStore(database)
    job = store.create("backtest", {}, "me", 0.0)
    with database.writing() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        # The pool hands the same connection to the next caller, and its limit with it.
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(ResearchError, match="disk is full") as caught:
        store.create("backtest", {"pad": "x" * 100_000}, "me", 0.0)
    assert caught.value.code is ErrorCode.STORAGE_FAILED
    assert "free disk space" in str(caught.value.hint)
    database.close()
    assert store.page() == ([job], 1)


def test_a_database_that_stays_locked_is_reported(path: Path, database: Database) -> None:
    SqlJobStore(database).page()
    impatient = Database.at(path, busy_seconds=0.05)
    with database.writing():
        error = failure(impatient)
    impatient.close()
    assert "locked" in error.message


def test_a_folder_that_cannot_be_made_is_reported_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = failure(Database.at(tmp_path / "file" / "records.db"))
    assert "JESSE_MCP_HOME" in str(error.hint)
    assert str(tmp_path) not in str(error.to_dict())


READ_ONLY = """
import os, sys
from pathlib import Path
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.domain.errors import ResearchError

folder = Path(sys.argv[1])
writable = Database.at(folder / "existing.db")
SqlJobStore(writable).page()
writable.close()
folder.chmod(0o555)
if os.geteuid() == 0:
    os.setuid(65534)  # permissions do not bind root
for name in ("existing.db", "new.db", "new/folder.db"):
    database = Database.at(folder / name)
    try:
        SqlJobStore(database).create("backtest", {}, "me", 0.0)
    except ResearchError as error:
        print(error.code.value, error.message, error.hint, error.details)
    database.close()
"""


def test_a_read_only_folder_is_reported_without_its_path() -> None:
    # Not tmp_path: its parents are closed to other users.
    with tempfile.TemporaryDirectory() as name:
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, name], capture_output=True, text=True, check=True
        )
        Path(name).chmod(0o755)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert line.startswith("storage_failed ")
        assert "JESSE_MCP_HOME" in line
        assert name not in line
