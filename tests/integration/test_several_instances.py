"""Two servers with one set of records: what each knows of the other, and what is left when one dies.

How long it took to recover is in the properties of each test and in its output (``pytest -rP``).
"""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from faulty_service import FaultyService, Measured, faulty_service, stopped, timed
from jesse_mcp.domain.errors import ErrorCode
from mcp_desk import RUN, SERIES, wait_until
from paper_results import facts
from postgres_host import Place, running_postgres
from several_instances import (
    NoAnswerError,
    ask,
    furnish,
    hurry,
    kill_all,
    nothing_twice,
    rows,
    surroundings,
    two_instances,
)

pytestmark = pytest.mark.timeout(600)

SEARCH: dict[str, Any] = {
    **{name: value for name, value in RUN.items() if name != "warm_up_candles"},
    "settings": {"warm_up_candles": RUN["warm_up_candles"]},
    "strategy": "Short",
    "space": {"every": {"min": 2, "max": 12, "step": 1}},
    "trials": 8,
    "seed": 7,
    "in_flight": 2,
    "pruning": False,
    "test_fraction": 0.3,
}
#: Two days in ten seconds.
REPLAY: dict[str, Any] = {
    **SERIES,
    "strategy": "Fast",
    "feed": "replay",
    "replay_start": "2024-01-02",
    "replay_end": "2024-01-04",
    "warm_up_candles": 10,
    "speed": 17_280,
}
CLIENTS = 3


@pytest.fixture
def pair(
    engine_python: Path, tmp_path: Path, postgresql: Place
) -> Iterator[tuple[FaultyService, FaultyService]]:
    with two_instances(tmp_path, engine_python, postgresql.address) as services:
        yield services


def begun(service: FaultyService, strategy: str = "Slow", **more: Any) -> str:
    """A job that runs."""
    job = str(service.desk.call("backtest", strategy=strategy, wait_seconds=0, **RUN, **more)["job_id"])
    service.wait_for(job, "running")
    return job


class Clients:
    """Experiments that differ, asked of two servers in turn; what one leaves open is asked of the other."""

    def __init__(self, services: tuple[FaultyService, FaultyService]) -> None:
        self._urls = [service.url for service in services]
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.answered: dict[float, dict[str, Any]] = {}
        self.unanswered: list[str] = []

    def work(self) -> None:
        while not self._over.is_set():
            with self._lock:
                number = next(self._numbers)
            self._ask(number)

    def end(self) -> None:
        self._over.set()

    def _ask(self, number: int) -> None:
        balance = 10_000.0 + number
        for attempt in itertools.count(number):
            try:
                answer = ask(
                    self._urls[attempt % 2], "backtest", strategy="Fast", starting_balance=balance, **RUN
                )
            except NoAnswerError as error:
                self.unanswered.append(error.reason)
                continue
            assert "run" in answer, answer
            self.answered[balance] = answer["run"]
            return


def test_what_one_has_begun_the_other_shows_ends_and_answers(
    engine_python: Path, tmp_path: Path, postgresql: Place, measured: Measured
) -> None:
    """Each with a home folder of its own, as on two machines."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    with (
        faulty_service(surroundings(here, engine_python, postgresql.address), here) as one,
        faulty_service(surroundings(there, engine_python, postgresql.address), there) as other,
    ):
        furnish(one.desk, here)
        job = begun(one)
        # Its owner knows at once, and everybody as soon as it is recorded.
        other.wait_for(job, "running")
        assert other.desk.call("job_get", job_id=job)["kind"] == "backtest"
        assert job in {each["job_id"] for each in other.desk.call("job_list")["jobs"]}
        other.desk.call("job_cancel", job_id=job)
        one.wait_for(job, "cancelled")
        assert other.state(job) == "cancelled"
        done = one.desk.call("backtest", strategy="Fast", **RUN)
        assert other.desk.call("job_get", job_id=done["job_id"])["run_id"] == done["run"]["run_id"]
        assert other.desk.call("run_get", run_id=done["run"]["run_id"])["metrics"] == done["run"]["metrics"]
        # Candles and strategies are each one's own.
        refused = other.desk.refused("backtest", strategy="Fast", **RUN)
        assert refused["code"] in {ErrorCode.STRATEGY_NOT_FOUND, ErrorCode.CANDLES_MISSING}
        job = begun(one)
        # Last, as it must not end before its server does.
        one.desk.call("paper_start", **{**REPLAY, "speed": REPLAY["speed"] / 2}, session_id="mine")
        measured("seconds until a server has stopped", stopped(one))
        assert one.process.returncode == 0
        ended = other.desk.call("job_get", job_id=job)
        assert (ended["state"], ended["error"]["details"]["reason"]) == ("lost", "server_stopped")
        # A session brings its code and its warm-up, and waits for candles to replay.
        wait_until(partial(_lacks_candles, other), "the session missing candles")
        furnish(other.desk, there)
        wait_until(partial(_finished, other, "mine"), "the session going on with them")
        again = other.desk.call("backtest", strategy="Fast", **RUN)
        assert (again["cached"], again["run"]["run_id"]) == (True, done["run"]["run_id"])
    nothing_twice(postgresql.open())


def test_one_that_is_killed_under_load_loses_nothing_but_its_jobs(
    pair: tuple[FaultyService, FaultyService],
    postgresql: Place,
    tmp_path: Path,
    measured: Measured,
    record_property: Callable[[str, object], None],
) -> None:
    one, other = pair
    database, clients = postgresql.open(), Clients(pair)
    search = one.desk.call("optimize", wait_seconds=0, **SEARCH)["job_id"]
    slow = begun(one)
    with ThreadPoolExecutor(CLIENTS) as threads:
        working = [threads.submit(clients.work) for _ in range(CLIENTS)]
        try:
            wait_until(lambda: rows(database, "SELECT 1 FROM trials WHERE family = 'Short'"), "a trial")
            wait_until(lambda: len(clients.answered) >= 4, "answers of both")
            kill_all(one)
            with timed(measured, "seconds until the jobs of a killed server are lost"):
                other.wait_for(slow, "lost")
                other.wait_for(search, "lost")
            known = len(clients.answered)
            wait_until(lambda: len(clients.answered) >= known + 2 * CLIENTS, "answers of the other one")
        finally:
            clients.end()
        for each in working:
            each.result()
    assert clients.unanswered, "it was killed while it was asked"
    error = other.desk.call("job_get", job_id=slow)["error"]
    assert (error["code"], error["details"]["reason"]) == ("job_lost", "owner_died")
    for run in clients.answered.values():
        assert other.desk.call("run_get", run_id=run["run_id"])["metrics"] == run["metrics"]
    hurry(tmp_path)
    resumed = other.desk.call("optimize", resume=search, wait_seconds=100)
    assert resumed["state"] == "done", resumed
    nothing_twice(database)
    assert rows(database, "SELECT count(*) FROM trials WHERE family = 'Fast'") == [(len(clients.answered),)]
    active = "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')"
    assert rows(database, active) == [(0,)]
    record_property("requests that got no answer", len(clients.unanswered))
    record_property("requests in all", len(clients.answered))


def test_a_database_that_is_started_again_is_found_by_both(
    engine_python: Path, tmp_path: Path, measured: Measured
) -> None:
    with running_postgres() as host, host.schema() as url:
        place = Place(url)
        with two_instances(tmp_path, engine_python, place.address) as pair:
            run = pair[0].desk.call("backtest", strategy="Fast", **RUN)["run"]
            search = pair[1].desk.call("optimize", wait_seconds=0, **SEARCH)["job_id"]
            pair[1].wait_for(search, "running")
            pair[0].desk.call("paper_start", **REPLAY, session_id="mine")
            job = begun(pair[0])
            host.kill()
            hurry(tmp_path)
            for service in pair:
                error = service.desk.refused("run_list")
                assert error["code"] == ErrorCode.STORAGE_FAILED
                assert "JESSE_MCP_DATABASE_URL" in error["hint"]
                assert not service.ready()
            reached = pair[0].desk.call("job_get", job_id=job)["progress"] or 0
            host.start()
            with timed(measured, "seconds until both answer after PostgreSQL is back"):
                for service in pair:
                    wait_until(partial(_answers, service), "answers")
            with timed(measured, "seconds until both are ready after that"):
                for service in pair:
                    wait_until(service.ready, "it being ready")
            wait_until(
                lambda: (pair[1].desk.call("job_get", job_id=job)["progress"] or 0) > reached, "progress"
            )
            pair[1].desk.call("job_cancel", job_id=job)
            pair[0].wait_for(job, "cancelled")
            for service in pair:
                assert service.desk.call("run_get", run_id=run["run_id"])["metrics"] == run["metrics"]
                new = service.desk.call("backtest", strategy="Fast", use_cache=False, **RUN)["run"]
                assert new["metrics"] == run["metrics"]
            # Their trials and minutes came meanwhile, and waited to be stored.
            database = place.open()
            pair[0].wait_for(search, "done")
            trials = rows(database, "SELECT count(*) FROM trials WHERE family = 'Short'")
            assert trials[0][0] >= SEARCH["trials"]
            pair[1].desk.call("paper_start", **{**REPLAY, "speed": None}, session_id="reference")
            for name in ("mine", "reference"):
                wait_until(partial(_finished, pair[1], name), f"{name} finished")
            assert facts(database, "mine") == facts(database, "reference")
        place.close()


def _answers(service: FaultyService) -> bool:
    answer = ask(service.url, "run_list")
    return "runs" in answer


def _finished(service: FaultyService, name: str) -> bool:
    return bool(service.desk.call("paper_status", session_id=name)["status"] == "finished")


def _lacks_candles(service: FaultyService) -> bool:
    problem = service.desk.call("paper_status", session_id="mine")["feed"].get("problem")
    return problem is not None and problem["code"] == ErrorCode.CANDLES_MISSING
