"""Kill -9 at any moment, of a session's process, of its server, of both: it ends as if undisturbed."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.paper import SqlPaperStore
from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.domain.paper import PaperStatus
from mcp_desk import (
    EXCHANGE,
    SERIES,
    Desk,
    candle_file,
    environment,
    http_desk,
    http_server,
    strategy,
    wait_until,
)
from paper_results import facts

pytestmark = pytest.mark.timeout(400)

#: Of the process of a session, of its server (whose processes die with it), of all at once.
MOMENTS = ["process"] * 15 + ["server"] * 3 + ["both"] * 2
SEED = 20
REPLAY: dict[str, Any] = {
    "strategy": "Mine",
    "symbol": "BTC-USDT",
    "exchange": EXCHANGE,
    "leverage": 3,
    "feed": "replay",
    "replay_start": "2024-01-02",
    "replay_end": "2024-01-04",
    "warm_up_candles": 10,
    "watch": [{"kind": "loss_streak", "limit": 2}],
}
#: Minutes a minute: two days take twelve seconds, in batches of some minutes.
SPEED = 15_000


@dataclass
class Home:
    """A home with one server at a time."""

    folder: Path
    surroundings: dict[str, str]
    store: SqlPaperStore
    stack: ExitStack
    server: psutil.Process | None = None
    url: str = ""

    def serve(self) -> None:
        log = self.folder / f"log-{time.monotonic_ns()}"
        process, self.url = self.stack.enter_context(http_server(self.surroundings, log))
        self.server = psutil.Process(process.pid)

    def desk(self, use: Callable[[Desk], Any]) -> Any:
        with http_desk(self.url) as desk:
            return use(desk)

    def engine_processes(self) -> list[psutil.Process]:
        """Workers, those of sessions among them: the children of templates."""
        assert self.server is not None
        try:
            return [worker for child in self.server.children() for worker in child.children()]
        except psutil.NoSuchProcess:
            return []

    def kill(self, what: str) -> set[int]:
        """The processes of the engine that are killed."""
        assert self.server is not None
        workers = self.engine_processes()
        if what in {"process", "both"}:
            for worker in workers:
                _kill(worker.pid)
        if what in {"server", "both"}:
            below = [*self.server.children(recursive=True), *workers]
            _kill(self.server.pid)
            wait_until(lambda: not any(_lives(process) for process in below), "no orphan being left")
        return {worker.pid for worker in workers}

    def through(self, name: str) -> int:
        return self.store.get(name).place.through or 0


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def home(engine_python: Path, tmp_path: Path) -> Iterator[Home]:
    surroundings = environment(tmp_path, engine_python)
    database = Database.at(tmp_path / "home" / "research.sqlite")
    with ExitStack() as stack:
        home = Home(tmp_path, surroundings, SqlPaperStore(database), stack)
        home.serve()

        def prepare(desk: Desk) -> None:
            desk.call("candles_import", **SERIES, path=str(candle_file(tmp_path / "btc.csv")))
            desk.call("strategy_write", name="Mine", code=strategy("Mine"))
            desk.call("paper_start", **REPLAY, session_id="reference")

        home.desk(prepare)
        ended(home, "reference")
        yield home
    database.close()


def ended(home: Home, name: str) -> None:
    def over() -> bool:
        return not home.store.get(name).status.active

    wait_until(over, f"the end of {name}")
    session = home.store.get(name)
    assert session.status is PaperStatus.FINISHED, session.error


def _facts(home: Home, name: str) -> dict[str, Any]:
    database = Database.at(home.folder / "home" / "research.sqlite")
    try:
        return facts(database, name)
    finally:
        database.close()


def test_a_session_that_is_killed_twenty_times_is_the_undisturbed_one(home: Home) -> None:
    moments = random.Random(SEED)  # noqa: S311 - not for secrets
    order = moments.sample(MOMENTS, len(MOMENTS))
    home.desk(lambda desk: desk.call("paper_start", **REPLAY, session_id="mine", speed=SPEED))
    disturbed = 0
    killed: set[int] = set()
    # A death counts at the minute that is recorded when it is noticed, with what was answered before it.
    reached, deaths_there = -1, 0
    while order and home.store.get("mine").status.active:
        what = order.pop()
        # A new one: the death of the last one has been noticed.
        wait_until(partial(_others, home, killed), "a process to kill")
        if home.through("mine") != reached:
            reached, deaths_there = home.through("mine"), min(deaths_there, 1)
        if deaths_there == 2:
            # A third death at one minute would rightly be taken for the strategy's fault.
            wait_until(partial(_advanced, home, reached), "a step forward")
            reached, deaths_there = home.through("mine"), 0
        time.sleep(moments.uniform(0, 0.4))
        killed |= home.kill(what)
        deaths_there += 1
        disturbed += _active(home)
        if what != "process":
            killed, deaths_there = set(), 0
            home.serve()
    ended(home, "mine")
    assert disturbed == len(MOMENTS), "every moment was within the session"
    assert _facts(home, "mine") == _facts(home, "reference")
    kinds = {event.kind for event in home.store.events("mine", 100)}
    assert kinds >= {"crash", "taken_up"}


def _others(home: Home, killed: set[int]) -> set[int]:
    return {process.pid for process in home.engine_processes()} - killed


def _advanced(home: Home, reached: int) -> bool:
    return home.through("mine") > reached or not _active(home)


def _active(home: Home) -> bool:
    try:
        return home.store.get("mine").status.active
    except ResearchError:
        return False
