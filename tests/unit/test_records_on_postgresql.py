"""Records that several machines share: who may do what at once, and a database that goes away."""

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql as dialects

from jesse_mcp.adapters.storage import tables
from jesse_mcp.adapters.storage.columns import Words
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.adapters.storage.owner import owner_is_dead
from jesse_mcp.adapters.storage.paper import SqlPaperStore
from jesse_mcp.cli import doctor
from jesse_mcp.composition import Application
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.leases import Gone
from jesse_mcp.server.secret_masking import SecretMask, secrets_of
from jesse_mcp.services.jobs import JobReporter, JobService
from jesse_mcp.settings import Settings
from postgres_host import Place, running_postgres

LONG = 60.0
SECRET = "sentinel-77aa/@:of some length"  # noqa: S105  (a value to look for)
SPELLED = "sentinel-77aa%2F%40%3Aof%20some%20length"

WRITER = """
import sys
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.leases import Gone

name, address = sys.argv[1], sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
store = SqlJobStore(Database.of(address))
created = 0
for number in range(15):
    job = store.create("backtest", {"number": number}, name, 1e12)
    assert store.start(job.job_id)
    store.report(job.job_id, 0.5, "half", "log")
    store.renew(name, 2e12)
    store.reap(Gone(silent={"nobody": frozenset({0.0})}))
    assert store.finish(job.job_id, JobState.DONE, run_id="run_x")
    created += store.create_unless_active("optimize", {"number": number}, name, 1e12)[1]
print(created, flush=True)
"""

OWNER = """
import asyncio, sys
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.services.jobs import JobService

async def work(reporter):
    reporter.started()
    reporter.progress(0.5, "half")
    await asyncio.Event().wait()

async def main():
    store = SqlJobStore(Database.of(sys.argv[1]))
    # As of a process on another machine.
    service = JobService(store, "far.example.org[1]:77:1.00", lambda owner: False, heartbeat_seconds=0.02)
    await service.start()
    jobs = [await service.submit("backtest", {"number": number}, work) for number in range(2)]
    for job in jobs:
        while (await asyncio.to_thread(store.get, job.job_id)).progress != 0.5:
            await asyncio.sleep(0.01)
    print(*[job.job_id for job in jobs], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def store(postgresql: Place) -> SqlJobStore:
    return SqlJobStore(postgresql.open())


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LONG):
        while not await condition():
            await asyncio.sleep(0.01)


def failure(call: Callable[[], object]) -> ResearchError:
    with pytest.raises(ResearchError) as caught:
        call()
    assert caught.value.code is ErrorCode.STORAGE_FAILED
    assert caught.value.hint
    return caught.value


# -- several at once -----------------------------------------------------------------------------------


def test_processes_that_make_and_write_one_database_do_not_disturb_each_other(postgresql: Place) -> None:
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", WRITER, name, postgresql.address],
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
        # All at once: there are no tables yet, so they race to make them as well.
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        created = 0
        for writer in writers:
            output, errors = writer.communicate(timeout=120)
            assert (writer.returncode, errors) == (0, "")
            created += int(output)
    store = SqlJobStore(postgresql.open())
    assert store.page(kind="backtest", state=JobState.DONE, limit=1)[1] == 45
    assert store.page(kind="optimize", limit=1)[1] == created == 15


def test_a_job_that_is_being_renewed_is_not_lost(postgresql: Place, store: SqlJobStore) -> None:
    renewed = store.create("backtest", {}, "slow", 100.0).job_id
    silent = store.create("backtest", {}, "silent", 100.0).job_id
    gone = Gone(silent=store.leases())
    with postgresql.open().writing() as connection:
        connection.execute(update(tables.jobs).where(tables.jobs.c.owner == "slow").values(lease_until=200.0))
        assert store.reap(gone) == [silent], "without waiting for the other"
    assert store.reap(gone) == []
    assert store.get(renewed).state is JobState.QUEUED


def test_a_paper_session_that_is_being_renewed_is_not_taken_over(postgresql: Place) -> None:
    sessions, store = tables.metadata.tables["paper_sessions"], SqlPaperStore(postgresql.open())
    values = dict.fromkeys(("code_hash", "engine", "watch", "warnings", "request", "state"), "")
    row = {"session_id": "mine", "status": "running", "started_at": 0, "owner": "slow", "lease_until": 100.0}
    database = postgresql.open()
    with database.writing() as connection:
        connection.execute(sessions.insert().values(**values, **row, leverage=1, source=b""))
    gone = Gone(silent=store.leases())
    with database.writing() as connection:
        connection.execute(update(sessions).values(lease_until=200.0))
        assert store.claim("me", 300.0, gone) == [], "without waiting for the other"
    assert store.claim("me", 300.0, gone) == []
    assert store.claim("me", 300.0, Gone(silent=store.leases())) == ["mine"]


def test_a_lock_that_is_kept_is_not_waited_for_forever(postgresql: Place, store: SqlJobStore) -> None:
    job = store.create("backtest", {}, "me", 100.0)
    impatient = SqlJobStore(postgresql.open(busy_seconds=0.05))
    with postgresql.open().writing() as connection:
        connection.execute(select(tables.jobs).with_for_update()).all()
        error = failure(lambda: impatient.request_cancel(job.job_id))
    assert "locked" in error.message
    assert error.details == {"database_error": "55P03"}
    assert impatient.request_cancel(job.job_id)


# -- several machines ----------------------------------------------------------------------------------


async def test_machines_see_each_others_jobs_and_one_that_fell_silent_loses_its_own(
    postgresql: Place, store: SqlJobStore
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, postgresql.address, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    cancelled, lost = (await process.stdout.readline()).decode().split()
    late = [0.0]
    clock = lambda: time.time() + late[0]  # noqa: E731
    service = JobService(store, "me", owner_is_dead, heartbeat_seconds=0.02, now=clock)
    await service.start()
    seen = await service.get(cancelled)
    assert (seen.state, seen.progress, seen.message) == (JobState.RUNNING, 0.5, "half")
    assert (await service.cancel(cancelled)).job_id == cancelled
    assert (await service.wait(cancelled, LONG)).state is JobState.CANCELLED
    process.kill()
    await process.wait()
    await asyncio.to_thread(service._reap)
    assert (await service.get(lost)).state is JobState.RUNNING, "its lease may hold, and nobody knows better"
    late[0] = 31.0
    assert (await service.wait(lost, LONG)).state is JobState.LOST
    ended = await service.get(lost)
    assert ended.error is not None
    assert ended.error["details"] == {"reason": "lease_expired", "owner": "far.example.org[1]:77:1.00"}
    await service.close()


async def test_a_restart_is_survived_and_nothing_is_stored_by_halves() -> None:
    with running_postgres() as host, host.schema() as url:
        place = Place(url)
        database = place.open()
        store = SqlJobStore(database)
        service = JobService(store, "me", owner_is_dead, heartbeat_seconds=0.02)
        await service.start()
        go = asyncio.Event()

        async def work(reporter: JobReporter) -> str:
            reporter.started()
            await go.wait()
            return "run_a"

        job = await service.submit("backtest", {}, work)

        def write_while_it_goes_away() -> None:
            with database.writing() as connection:
                connection.execute(
                    tables.failures.insert().values(fingerprint="a", created_at="1", error="{}")
                )
                host.kill()
                connection.execute(
                    tables.failures.insert().values(fingerprint="b", created_at="1", error="{}")
                )

        idle = SqlJobStore(place.open())
        await asyncio.to_thread(idle.page)
        error = await asyncio.to_thread(failure, write_while_it_goes_away)
        assert error.message.startswith(("the connection to", "the records database"))
        away = await asyncio.to_thread(failure, lambda: store.create("import", {}, "me", 100.0))
        assert away.message == "the records database cannot be reached"
        # Its end comes while there is nothing to write it to.
        go.set()
        assert (await service.wait(job.job_id, LONG)).state is JobState.DONE
        await asyncio.to_thread(host.start)
        assert (await asyncio.to_thread(idle.page))[1] == 1, "over a connection of before"

        async def written() -> bool:
            try:
                return (await asyncio.to_thread(store.get, job.job_id)).state is JobState.DONE
            except ResearchError:
                return False

        await until(written)
        assert (await asyncio.to_thread(store.get, job.job_id)).run_id == "run_a"
        with database.reading() as connection:
            assert connection.execute(select(tables.failures)).all() == []
        assert store.page(kind="import") == ([], 0)
        await service.close()
        place.close()


# -- what may not be -----------------------------------------------------------------------------------


def test_a_database_that_is_not_there_is_named_without_its_secrets(caplog: pytest.LogCaptureFixture) -> None:
    database = Database.of(f"postgresql://me:{SPELLED}@127.0.0.1:1/desk?connect_timeout=1")
    error = failure(lambda: SqlJobStore(database).page())
    assert error.message == "the records database cannot be reached"
    assert "JESSE_MCP_DATABASE_URL" in str(error.hint)
    assert database.name == "PostgreSQL database desk at 127.0.0.1:1"
    try:
        raise error
    except ResearchError:
        logging.getLogger("x").exception("failed")
    assert "127.0.0.1" in caplog.text, "the log has what the driver said"
    for shown in (caplog.text, str(error.to_dict()), repr(database._url), database.name):
        assert SECRET not in shown
        assert SPELLED not in shown


def test_the_address_and_its_password_become_stars() -> None:
    address = f"postgresql+psycopg://me:{SPELLED}@db.example.org/desk"
    mask = SecretMask(secrets_of(Settings(database_url=SecretStr(address))))
    for text in (address, SECRET, f"password={SPELLED}", f"postgresql://me:{SPELLED}@elsewhere/x"):
        assert SECRET not in mask(text)
        assert SPELLED not in mask(text)
    without = Settings(database_url=SecretStr("postgresql:///desk"))
    assert SecretMask(secrets_of(without))("plain text") == "plain text"


def test_a_user_that_may_not_make_tables_is_told_so(postgresql: Place) -> None:
    role = f"reader_{postgresql.address[-8:]}"
    admin = postgresql.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN".encode())
        stranger = Place(postgresql.url.set(username=role))
        error = failure(lambda: SqlJobStore(stranger.open()).page())
        assert error.message == "the records database refuses its user"
        assert "create tables" in str(error.hint)
        schema = connection.execute("SELECT current_schema()").fetchone()
        assert schema is not None
        SqlJobStore(postgresql.open()).create("backtest", {}, "me", 100.0)
        connection.execute(f"GRANT USAGE ON SCHEMA {schema[0]} TO {role}".encode())
        assert failure(lambda: SqlJobStore(stranger.open()).page()).details == {"database_error": "42501"}
        stranger.close()
        connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


@given(st.text(st.sampled_from("\0\x1a01ä")))
def test_any_text_is_stored_without_nul_and_comes_back(text: str) -> None:
    dialect = dialects.dialect()  # type: ignore[no-untyped-call]
    stored = Words().process_bind_param(text, dialect)
    assert stored is not None
    assert "\0" not in stored
    assert Words().process_result_value(stored, dialect) == text


def test_text_is_sorted_by_code_points_and_may_be_long(postgresql: Place) -> None:
    words = ["", "\0", "\x1a0", "B", "a", "a b", "ab", "ä", "x" * 5000]
    database = postgresql.open()
    with database.writing() as connection:
        for word in words:
            values = {"fingerprint": "f", "created_at": word, "error": word}
            connection.execute(tables.failures.insert().values(values))
    with database.reading() as connection:
        query = select(tables.failures.c.error).order_by(tables.failures.c.created_at)
        assert list(connection.execute(query).scalars()) == sorted(words)
        # The locale of this server may sort in the same way: every column has to say so itself.
        others = connection.exec_driver_sql(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = "
            "current_schema() AND data_type IN ('text', 'character varying') AND "
            "collation_name IS DISTINCT FROM 'C'"
        )
        assert others.all() == []


# -- the whole desk ------------------------------------------------------------------------------------


async def test_a_desk_keeps_its_records_there_and_says_where(postgresql: Place, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", prewarm=False, database_url=SecretStr(postgresql.address))
    application = Application(settings)
    check = await doctor._store(application)
    status = await application.system.status()
    await application.close()
    where = Database(postgresql.url).name
    assert check.passed
    assert check.found.endswith(f"0 runs in the {where}")
    assert status.store["database"] == where
    assert not (tmp_path / "home" / "research.sqlite").exists()
    assert SqlJobStore(postgresql.open()).page() == ([], 0)


async def test_a_desk_without_it_loads_no_driver(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from jesse_mcp.composition import Application; "
        "from jesse_mcp.settings import Settings; "
        "Application(Settings(home=Path(sys.argv[1])))._check_store(); print('psycopg' in sys.modules)"
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
