"""The webhook of jobs, by real servers: tried again, killed on the way, shared by two."""

import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select, update

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.job_notices import SqlJobNotices
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.adapters.storage.tables import job_notices
from mcp_desk import Desk, environment_without_engine, http_desk, http_server, stdio_desk, wait_until
from postgres_host import Place
from webhook_receiver import Receiver

SECRET = "a-secret-of-some-length"  # noqa: S105  (of this test alone)
IN_THE_ADDRESS = "sentinel-hook-41c7"
#: The owner of a process that is gone.
GONE = "from jesse_mcp.adapters.storage.owner import owner_id; print(owner_id())"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def environment(folder: Path, receiver: Receiver, **more: str) -> dict[str, str]:
    own = {
        "JESSE_MCP_WEBHOOK_SECRET": SECRET,
        "JESSE_MCP_WEBHOOK_ALLOW_PRIVATE": "true",
        "JESSE_MCP_JOBS_WEBHOOK": f"http://127.0.0.1:{receiver.port}/{IN_THE_ADDRESS}?token={IN_THE_ADDRESS}",
    }
    return environment_without_engine(folder, **(own | more))


def work(desk: Desk, seed: int = 1) -> str:
    """A job that is done soon; its id."""
    returns = [((index * seed * 7919) % 101 - 50) / 1000 for index in range(300)]
    answer = desk.call("var_calculation", returns=returns, methods=["historical"])
    assert answer["state"] == "done"
    return str(answer["job_id"])


def noted(database: Database) -> list[Any]:
    with database.reading() as connection:
        return list(connection.execute(select(job_notices)).all())


def hurry(database: Database) -> None:
    """As if the pause, or the claim of a server that was killed, were over."""
    with database.writing() as connection:
        waiting = job_notices.c.next_attempt_at.is_not(None)
        connection.execute(update(job_notices).where(waiting).values(next_attempt_at=0))


def genuine(headers: dict[str, str], body: bytes) -> bool:
    signed = headers["X-Jesse-MCP-Timestamp"].encode() + b"." + body
    mac = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(headers["X-Jesse-MCP-Signature"], f"sha256={mac}")


def test_a_receiver_that_fails_and_a_server_that_is_killed_lose_nothing(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.statuses = [500, 200]
    surroundings = environment(tmp_path, receiver)
    database = Database.at(tmp_path / "home" / "research.sqlite")
    with http_server(surroundings, tmp_path / "log") as (process, url):
        with http_desk(url) as desk:
            job_id = work(desk)
        wait_until(lambda: [row for row in noted(database) if row.attempts == 1], "the first attempt")
        numbers = httpx2.get(url.removesuffix("/mcp") + "/metrics", timeout=60).text
        assert 'jesse_mcp_job_webhooks{delivery="waiting"} 1.0' in numbers
        receiver.hold.clear()
        hurry(database)
        wait_until(lambda: len(receiver.bodies) == 2, "the second attempt")
        process.kill()
        process.wait()
    receiver.hold.set()
    receiver.statuses = [200]
    hurry(database)
    with stdio_desk(surroundings, tmp_path / "log-of-the-next"):
        wait_until(lambda: len(receiver.bodies) == 3, "the third attempt")
        wait_until(lambda: SqlJobNotices(database).counts()["delivered"] == 1, "its note")
    (row,) = noted(database)
    database.close()
    assert (row.attempts, row.failure, row.next_attempt_at) == (2, None, None)
    assert {headers["Idempotency-Key"] for headers in receiver.headers} == {f"{job_id}:done"}
    assert len(set(receiver.bodies)) == 1
    assert all(map(genuine, receiver.headers, receiver.bodies))
    told = json.loads(receiver.bodies[0])
    assert told.pop("created_at") <= told.pop("started_at") <= told.pop("finished_at")
    assert told == {
        "key": f"{job_id}:done",
        "job_id": job_id,
        "kind": "var_calculation",
        "tool": "var_calculation",
        "state": "done",
        "run_id": None,
        "error_code": None,
    }
    assert receiver.paths == [f"/{IN_THE_ADDRESS}?token={IN_THE_ADDRESS}"] * 3
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert IN_THE_ADDRESS.encode() not in path.read_bytes(), path
        assert SECRET.encode() not in path.read_bytes(), path
    assert "status 500" in (tmp_path / "log").read_text()


def test_two_servers_tell_of_each_job_once(receiver: Receiver, postgresql: Place, tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", GONE], capture_output=True, text=True, check=True)
    store = SqlJobStore(postgresql.open())
    lost = {store.create("optimize", {"number": n}, gone.stdout.strip(), 0.0).job_id for n in range(10)}
    with ExitStack() as stack:
        desks = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            shared = {"JESSE_MCP_DATABASE_URL": postgresql.address}
            surroundings = environment(tmp_path / name, receiver, **shared)
            _, url = stack.enter_context(http_server(surroundings, tmp_path / name / "log"))
            desks.append(stack.enter_context(http_desk(url)))
        done = {work(desks[number % 2], number + 2) for number in range(4)}
        notices = SqlJobNotices(postgresql.open())
        wait_until(lambda: notices.counts()["delivered"] >= 14, "every delivery")
        assert notices.counts() == {"waiting": 0, "delivered": 14, "given_up": 0}
    keys = [headers["Idempotency-Key"] for headers in receiver.headers]
    assert sorted(keys) == sorted([f"{one}:lost" for one in lost] + [f"{one}:done" for one in done])


@pytest.mark.parametrize("options", [[], ["--transport", "http", "--port", "0"]], ids=["stdio", "http"])
def test_an_address_inside_is_refused_at_the_start(
    receiver: Receiver, tmp_path: Path, options: list[str]
) -> None:
    surroundings = environment(tmp_path, receiver, JESSE_MCP_WEBHOOK_ALLOW_PRIVATE="false")
    surroundings["JESSE_MCP_JOBS_WEBHOOK"] = f"https://127.0.0.1/{IN_THE_ADDRESS}"
    ended = subprocess.run(
        [sys.executable, "-m", "jesse_mcp", "serve", *options],
        env=surroundings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode != 0
    assert "invalid_argument: JESSE_MCP_JOBS_WEBHOOK: webhook cannot be used: 127.0.0.1 is" in ended.stderr
    assert "JESSE_MCP_WEBHOOK_ALLOW_PRIVATE=true" in ended.stderr
    assert IN_THE_ADDRESS not in ended.stderr
    assert "serving MCP" not in ended.stderr
