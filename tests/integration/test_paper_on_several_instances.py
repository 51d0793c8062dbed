"""Paper sessions of servers that share records end the same whichever dies, falls silent or comes back.

How long it took to take a session over is in the properties of each test (``pytest -rP``).
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from faulty_service import FaultyService, Measured, faulty_service, timed
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.paper import SqlPaperStore
from jesse_mcp.domain.paper import PaperStatus
from mcp_desk import RUN, SERIES, wait_until
from paper_results import facts
from postgres_host import Place
from several_instances import furnish, kill, kill_all, surroundings

pytestmark = pytest.mark.timeout(600)

REPLAY: dict[str, Any] = {
    **SERIES,
    "strategy": "Fast",
    "leverage": 3,
    "feed": "replay",
    "replay_start": "2024-01-02",
    "replay_end": "2024-01-04",
    "warm_up_candles": 10,
    "watch": [{"kind": "loss_streak", "limit": 2}],
}
#: Minutes a minute: two days take forty seconds.
SPEED = 4_320


class Fleet:
    """Servers with one home folder and one set of records, and a session that was never disturbed."""

    def __init__(self, folder: Path, engine_python: Path, place: Place, stack: ExitStack) -> None:
        self.database: Database = place.open()
        self.store = SqlPaperStore(self.database)
        self._folder = folder
        self._surroundings = surroundings(folder, engine_python, place.address)
        self._stack = stack

    def serve(self) -> FaultyService:
        return self._stack.enter_context(faulty_service(self._surroundings, self._folder))

    def furnish(self, service: FaultyService) -> None:
        furnish(service.desk, self._folder)
        service.desk.call("paper_start", **REPLAY, session_id="reference")

    def owner(self, name: str) -> str:
        return str(self.store.get(name).owner)

    def through(self, name: str) -> int:
        return self.store.get(name).place.through or 0

    def at_work(self, name: str) -> None:
        """Until some minutes of it are recorded."""
        wait_until(partial(self.through, name), f"minutes of {name}")

    def taken_over(self, name: str, before: str) -> None:
        reached = self.through(name)
        assert self.store.get(name).status.active, "it ended before anybody died"
        wait_until(lambda: self.owner(name) not in {before, ""}, f"{name} taken over")
        wait_until(lambda: self.through(name) > reached, f"{name} going on")

    def ended(self, name: str) -> None:
        wait_until(lambda: not self.store.get(name).status.active, f"the end of {name}")
        session = self.store.get(name)
        assert session.status is PaperStatus.FINISHED, session.error

    def is_undisturbed(self, name: str) -> None:
        self.ended("reference")
        self.ended(name)
        assert facts(self.database, name) == facts(self.database, "reference")


@pytest.fixture
def fleet(engine_python: Path, tmp_path: Path, postgresql: Place) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(tmp_path, engine_python, postgresql, stack)


def phase(service: FaultyService, name: str) -> str:
    return str(service.desk.call("paper_status", session_id=name)["feed"]["phase"])


def test_whichever_server_dies_another_takes_its_sessions_over(fleet: Fleet, measured: Measured) -> None:
    servers = [fleet.serve() for _ in range(3)]
    fleet.furnish(servers[0])
    servers[0].desk.call("paper_start", **REPLAY, session_id="stopped", speed=SPEED)
    servers[0].desk.call("paper_start", **REPLAY, session_id="mine", speed=SPEED)
    fleet.at_work("mine")
    # What is asked of another server than the one that works on it.
    assert phase(servers[1], "stopped") == "elsewhere"
    assert servers[1].desk.call("paper_stop", session_id="stopped")["status"] == "stopped"
    for what, die in {"a killed server": kill, "killed processes, all of a server": kill_all}.items():
        owner = fleet.owner("mine")
        (at_work,) = [one for one in servers if f":{one.process.pid}:" in owner]
        servers.remove(at_work)
        die(at_work)
        with timed(measured, f"seconds until a session of {what} goes on"):
            fleet.taken_over("mine", owner)
    assert phase(servers[0], "mine") != "elsewhere"
    fleet.is_undisturbed("mine")
    taken = [event for event in fleet.store.events("mine", 100) if event.kind == "taken_up"]
    assert len(taken) == 2


def test_a_server_that_was_only_silent_does_not_work_beside_its_successor(
    fleet: Fleet, measured: Measured
) -> None:
    one, other = fleet.serve(), fleet.serve()
    fleet.furnish(one)
    job = one.desk.call("backtest", **{**RUN, "strategy": "Slow"}, wait_seconds=0)["job_id"]
    one.desk.call("paper_start", **REPLAY, session_id="mine", speed=SPEED)
    fleet.at_work("mine")
    before = fleet.owner("mine")
    began = time.monotonic()
    os.kill(one.process.pid, signal.SIGSTOP)
    try:
        fleet.taken_over("mine", before)
        measured("seconds until a session of a silent server goes on", time.monotonic() - began)
        other.wait_for(job, "lost")
        measured("seconds until the jobs of a silent server are lost", time.monotonic() - began)
    finally:
        os.kill(one.process.pid, signal.SIGCONT)
    wait_until(lambda: phase(one, "mine") in {"elsewhere", "ended"}, "it being let go")
    owners = {fleet.owner("mine")}
    assert one.state(job) == "lost"
    fleet.is_undisturbed("mine")
    owners.add(fleet.owner("mine"))
    assert before not in owners
    assert [event.kind for event in fleet.store.events("mine", 100)].count("taken_up") == 1
