"""Jobs run, report, end once, and are never active without an owner."""

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.adapters.storage.owner import owner_id, owner_is_dead
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import Job, JobState
from jesse_mcp.domain.leases import Gone
from jesse_mcp.services.jobs import JobReporter, JobService

LONG = 60.0
BEAT = 0.02
#: Seconds in which a busy machine renews at least once.
LEASE = 4.0


class ThreadsOnly(Database):
    """Notes every use that blocks the event loop."""

    blocked = 0

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        self.blocked += threading.current_thread() is threading.main_thread()
        with super().reading() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        self.blocked += threading.current_thread() is threading.main_thread()
        with super().writing() as connection:
            yield connection


class WatchedStore(SqlJobStore):
    """Counts reports, and fails or waits on demand."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.reports = 0
        self.failing: set[str] = set()
        self.away = False
        self.held: str | None = None
        self.reached, self.released = threading.Event(), threading.Event()

    async def until_reached(self) -> None:
        """Wait for the call named by ``held``; it goes on when ``released`` is set."""
        assert await asyncio.to_thread(self.reached.wait, LONG)

    def _watch(self, call: str) -> None:
        if call == self.held:
            self.reached.set()
            assert self.released.wait(LONG)
        if call in self.failing:
            raise ResearchError(
                ErrorCode.STORAGE_FAILED, f"{call} failed", details={"away": True} if self.away else {}
            )

    def create(self, kind: str, request: dict[str, Any], owner: str, lease_until: float) -> Job:
        job = super().create(kind, request, owner, lease_until)
        self._watch("create")
        return job

    def start(self, job_id: str) -> bool:
        self._watch("start")
        return super().start(job_id)

    def report(self, job_id: str, progress: float | None, message: str | None, log_tail: str | None) -> None:
        self._watch("report")
        self.reports += 1
        super().report(job_id, progress, message, log_tail)

    def finish(
        self,
        job_id: str,
        state: JobState,
        *,
        run_id: str | None = None,
        error: dict[str, Any] | None = None,
        result: dict[str, Any] | None = None,
    ) -> bool:
        self._watch("finish")
        return super().finish(job_id, state, run_id=run_id, error=error, result=result)

    def renew(self, owner: str, lease_until: float) -> frozenset[str]:
        self._watch("renew")
        return super().renew(owner, lease_until)

    def reap(self, gone: Gone) -> list[str]:
        self._watch("reap")
        return super().reap(gone)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = ThreadsOnly.at(tmp_path / "records.db")
    yield database
    database.close()
    assert database.blocked == 0


@pytest.fixture
def store(database: Database) -> WatchedStore:
    return WatchedStore(database)


def service_of(store: SqlJobStore, owner: str = "me", dead: frozenset[str] = frozenset()) -> JobService:
    return JobService(store, owner, lambda name: name in dead, heartbeat_seconds=BEAT)


@pytest.fixture
async def service(store: WatchedStore) -> AsyncIterator[JobService]:
    service = service_of(store)
    await service.start()
    yield service
    store.released.set()  # a test that failed half-way must not hold the end up
    await service.close()


@pytest.fixture
async def other(store: WatchedStore) -> AsyncIterator[JobService]:
    """The service of another process with the same store."""
    other = service_of(store, owner="other")
    await other.start()
    yield other
    await other.close()


class Clock:
    """A clock that somebody sets."""

    offset = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset


class Gate:
    """Work that starts and then waits to be let go."""

    def __init__(self, run_id: str | None = "run_x") -> None:
        self.entered, self.go, self.cleaned_up = asyncio.Event(), asyncio.Event(), False
        self.reporter: JobReporter | None = None
        self._run_id = run_id

    async def __call__(self, reporter: JobReporter) -> str | None:
        self.reporter = reporter
        reporter.started()
        self.entered.set()
        try:
            await self.go.wait()
        finally:
            await asyncio.sleep(0)  # cleaning up takes a turn of the loop
            self.cleaned_up = True
        return self._run_id


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LONG):
        while not await condition():
            await asyncio.sleep(0.005)


async def stored(store: SqlJobStore, job_id: str) -> Job:
    return await asyncio.to_thread(store.get, job_id)


# -- how jobs end ------------------------------------------------------------------------------------


async def test_a_job_runs_in_the_background_and_ends_with_its_run(
    service: JobService, store: WatchedStore
) -> None:
    gate = Gate("run_result")
    job = await service.submit("backtest", {"symbol": "BTC-USDT"}, gate)
    assert job.state.active
    await gate.entered.wait()
    running = await service.get(job.job_id)
    assert running.state is JobState.RUNNING
    assert running.started_at is not None
    gate.go.set()
    ended = await service.wait(job.job_id, LONG)
    assert (ended.state, ended.run_id, ended.progress) == (JobState.DONE, "run_result", 1.0)
    assert (ended.error, ended.request) == (None, {"symbol": "BTC-USDT"})
    assert ended == await stored(store, job.job_id) == await service.get(job.job_id)


async def test_a_job_is_queued_until_its_work_has_a_worker(service: JobService) -> None:
    entered, go = asyncio.Event(), asyncio.Event()

    async def work(reporter: JobReporter) -> None:
        reporter.progress(None, "waiting for a worker")
        entered.set()
        await go.wait()

    job = await service.submit("backtest", {}, work)
    await entered.wait()
    queued = await service.get(job.job_id)
    assert (queued.state, queued.message, queued.progress) == (JobState.QUEUED, "waiting for a worker", None)
    go.set()
    ended = await service.wait(job.job_id, LONG)
    assert (ended.state, ended.run_id) == (JobState.DONE, None)


async def test_a_job_that_is_active_is_joined_wherever_it_runs(
    service: JobService, other: JobService
) -> None:
    gate = Gate("run_once")

    async def twice(reporter: JobReporter) -> None:
        raise AssertionError("begun again")

    first = await service.submit("optimize", {"trials": 60}, gate, join=True)
    await gate.entered.wait()
    for jobs in (service, other):
        joined = await jobs.submit("optimize", {"trials": 60}, twice, join=True)
        assert (joined.job_id, joined.state.active) == (first.job_id, True)
    alone = await service.submit("optimize", {"trials": 60}, twice)
    assert (await service.wait(alone.job_id, LONG)).state is JobState.FAILED
    gate.go.set()
    for jobs in (service, other):
        assert (await jobs.wait(first.job_id, LONG)).run_id == "run_once"
    again = await other.submit("optimize", {"trials": 60}, twice, join=True)
    assert again.job_id != first.job_id
    assert (await other.wait(again.job_id, LONG)).state is JobState.FAILED


async def test_whoever_gives_up_on_joining_stops_nobodys_work(service: JobService) -> None:
    gate = Gate("run_on")
    first = await service.submit("optimize", {}, gate, join=True)
    joining = asyncio.create_task(service.submit("optimize", {}, gate, join=True))
    await asyncio.sleep(0)
    joining.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await joining
    gate.go.set()
    assert (await service.wait(first.job_id, LONG)).run_id == "run_on"


async def test_a_known_failure_is_kept_whole(service: JobService, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="jesse_mcp.jobs")

    async def work(reporter: JobReporter) -> None:
        raise ResearchError(
            ErrorCode.STRATEGY_RAISED, "line 3 divides by zero", "fix it", {"line": 3, "file": Path("x.py")}
        )

    job = await service.submit("backtest", {}, work)
    ended = await service.wait(job.job_id, LONG)
    assert ended.state is JobState.FAILED
    assert ended.error == {
        "code": "strategy_raised",
        "message": "line 3 divides by zero",
        "hint": "fix it",
        "details": {"line": 3, "file": "x.py"},
    }
    assert ResearchError.from_dict(ended.error).code is ErrorCode.STRATEGY_RAISED
    assert f"{job.job_id}, a backtest of local, ended as failed (strategy_raised)" in caplog.messages


async def test_an_unknown_failure_shows_no_internals_but_logs_them(
    service: JobService, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(reporter: JobReporter) -> None:
        raise KeyError("secret detail")

    with caplog.at_level(logging.ERROR, logger="jesse_mcp.jobs"):
        job = await service.submit("backtest", {}, work)
        ended = await service.wait(job.job_id, LONG)
    assert ended.state is JobState.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "internal_error"
    assert "KeyError" in ended.error["message"]
    assert "secret detail" not in json.dumps(ended.error)
    assert "secret detail" in caplog.text
    assert "Traceback" in caplog.text


async def test_work_that_cancels_itself_is_cancelled(service: JobService) -> None:
    async def work(reporter: JobReporter) -> None:
        raise asyncio.CancelledError

    job = await service.submit("backtest", {}, work)
    assert (await service.wait(job.job_id, LONG)).state is JobState.CANCELLED


async def test_nothing_is_reported_after_the_end(service: JobService) -> None:
    gate = Gate()
    job = await service.submit("backtest", {}, gate)
    gate.go.set()
    ended = await service.wait(job.job_id, LONG)
    assert gate.reporter is not None
    gate.reporter.progress(0.1, "a late callback")
    gate.reporter.log("late")
    assert await service.get(job.job_id) == ended


# -- progress ----------------------------------------------------------------------------------------


async def test_progress_is_seen_at_once_and_written_seldom(service: JobService, store: WatchedStore) -> None:
    gate = Gate()
    job = await service.submit("backtest", {}, gate)
    await gate.entered.wait()
    assert gate.reporter is not None
    began = time.monotonic()
    for step in range(1000):
        gate.reporter.progress(step / 1000, f"step {step}")
        await asyncio.to_thread(time.time)  # as long as a write takes
        if step % 100 == 0:
            live = await service.get(job.job_id)
            assert (live.progress, live.message) == (step / 1000, f"step {step}")
            waited = await service.wait(job.job_id, 0)
            assert waited.message == f"step {step}"
    (listed,), _ = await service.page()
    assert listed.message in {"step 999", None}  # None: "running" is not written yet
    gate.go.set()
    ended = await service.wait(job.job_id, LONG)
    assert ended.message == "step 999"
    assert (await stored(store, job.job_id)).message == "step 999"
    assert store.reports <= 3 + (time.monotonic() - began) * 4


async def test_another_process_sees_progress_while_the_job_runs(
    service: JobService, store: WatchedStore
) -> None:
    gate = Gate()
    job = await service.submit("backtest", {}, gate)
    await gate.entered.wait()
    assert gate.reporter is not None
    gate.reporter.progress(0.5, "half")
    gate.reporter.log("a line\n")

    async def written() -> bool:
        seen = await stored(store, job.job_id)
        return (seen.state, seen.progress, seen.message, seen.log_tail) == (
            JobState.RUNNING,
            0.5,
            "half",
            "a line\n",
        )

    await until(written)
    gate.go.set()


@pytest.mark.parametrize(
    ("fraction", "kept"), [(-1.0, 0.0), (2.0, 1.0), (float("nan"), 0.5), (None, 0.5), (float("inf"), 1.0)]
)
async def test_progress_stays_a_fraction(service: JobService, fraction: float | None, kept: float) -> None:
    gate = Gate()
    job = await service.submit("backtest", {}, gate)
    await gate.entered.wait()
    assert gate.reporter is not None
    gate.reporter.progress(0.5, "half")
    gate.reporter.progress(fraction, "next")
    live = await service.get(job.job_id)
    assert (live.progress, live.message) == (kept, "next")


async def test_the_end_of_the_log_is_kept(service: JobService, store: WatchedStore) -> None:
    async def work(reporter: JobReporter) -> None:
        reporter.log("beginning ")
        reporter.log("é" * 8192)
        reporter.log("\ud800\0 end")

    job = await service.submit("backtest", {}, work)
    await service.wait(job.job_id, LONG)
    tail = (await stored(store, job.job_id)).log_tail
    assert 8190 <= len(tail.encode()) <= 8192
    assert tail.endswith("éé\\ud800\\x00 end")
    assert "beginning" not in tail


async def test_work_goes_on_when_its_progress_cannot_be_stored(
    service: JobService, store: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.failing.add("report")
    gate = Gate()
    job = await service.submit("backtest", {}, gate)
    await gate.entered.wait()
    assert gate.reporter is not None
    gate.reporter.progress(0.5, "half")

    async def complained() -> bool:
        return "could not be stored" in caplog.text

    await until(complained)
    gate.go.set()
    assert (await service.wait(job.job_id, LONG)).state is JobState.DONE


async def test_an_answer_that_can_never_be_stored_fails_the_job(
    service: JobService, store: WatchedStore
) -> None:
    async def work(reporter: JobReporter) -> None:
        reporter.result({"answer": object()})

    job = await service.submit("analysis", {}, work)
    ended = await service.wait(job.job_id, LONG)
    assert ended.state is JobState.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "storage_failed"

    async def written() -> bool:
        return (await stored(store, job.job_id)).state is JobState.FAILED

    await until(written)


# -- waiting -----------------------------------------------------------------------------------------


async def test_waiting_gives_up_in_time_and_the_job_goes_on(service: JobService) -> None:
    gate = Gate()
    job = await service.submit("backtest", {}, gate)
    began = time.monotonic()
    assert (await service.wait(job.job_id, 0)).state.active
    assert (await service.wait(job.job_id, 0.05)).state.active
    assert 0.05 <= time.monotonic() - began < LONG / 2
    gate.go.set()
    assert (await service.wait(job.job_id, LONG)).state is JobState.DONE


async def test_waiting_for_an_unknown_job_says_so(service: JobService) -> None:
    for call in (service.get("job_nope"), service.wait("job_nope", LONG), service.cancel("job_nope")):
        with pytest.raises(ResearchError) as caught:
            await call
        assert caught.value.code is ErrorCode.JOB_NOT_FOUND


async def test_a_listener_hears_every_change_it_has_time_for(service: JobService) -> None:
    heard: list[tuple[float | None, str | None]] = []
    said = asyncio.Queue[float]()

    async def work(reporter: JobReporter) -> None:
        for fraction in (0.25, 0.5, 0.75):
            reporter.progress(fraction, "working")
            assert await said.get() == fraction

    async def listen(fraction: float | None, message: str | None) -> None:
        heard.append((fraction, message))
        if fraction is not None and fraction < 1:
            said.put_nowait(fraction)

    job = await service.submit("backtest", {}, work)
    await service.wait(job.job_id, LONG, listen)
    assert [one for one in heard if one != (None, None)] == [
        (0.25, "working"),
        (0.5, "working"),
        (0.75, "working"),
        (1.0, "working"),
    ]


async def test_who_does_not_wait_hears_nothing_but_the_answer(service: JobService) -> None:
    gate, heard = Gate(), []

    async def listen(fraction: float | None, _message: str | None) -> None:
        heard.append(fraction)

    job = await service.submit("backtest", {}, gate)
    await gate.entered.wait()
    assert gate.reporter is not None
    gate.reporter.progress(0.1, "begun")
    assert (await service.wait(job.job_id, 0, listen)).progress == 0.1
    gate.go.set()
    await service.wait(job.job_id, LONG)
    assert (await service.wait(job.job_id, LONG, listen)).progress == 1.0
    assert heard == []


async def test_a_listener_that_fails_harms_only_its_own_wait(service: JobService) -> None:
    gate = Gate()
    job = await service.submit("backtest", {}, gate)
    await gate.entered.wait()
    assert gate.reporter is not None
    gate.reporter.progress(0.1, "begun")

    async def gone(fraction: float | None, message: str | None) -> None:
        raise ConnectionError("the client left")

    with pytest.raises(ConnectionError):
        await service.wait(job.job_id, LONG, gone)
    gate.go.set()
    assert (await service.wait(job.job_id, LONG)).state is JobState.DONE


async def test_many_can_wait_for_one_job(service: JobService) -> None:
    gate = Gate()
    job = await service.submit("backtest", {}, gate)
    waits = [asyncio.create_task(service.wait(job.job_id, LONG)) for _ in range(20)]
    await gate.entered.wait()
    gate.go.set()
    assert {ended.state for ended in await asyncio.gather(*waits)} == {JobState.DONE}


async def test_a_job_of_another_process_is_followed_to_its_end(
    service: JobService, other: JobService
) -> None:
    gate = Gate("run_theirs")
    job = await other.submit("backtest", {}, gate)
    heard = asyncio.Event()

    async def listen(fraction: float | None, message: str | None) -> None:
        heard.set()

    following = asyncio.create_task(service.wait(job.job_id, LONG, listen))
    await gate.entered.wait()
    assert gate.reporter is not None
    gate.reporter.progress(0.5, "half")
    await heard.wait()
    gate.go.set()
    ended = await following
    assert (ended.state, ended.run_id) == (JobState.DONE, "run_theirs")


# -- cancelling --------------------------------------------------------------------------------------


async def test_a_cancelled_job_has_cleaned_up(service: JobService, store: WatchedStore) -> None:
    gate = Gate()
    job = await service.submit("backtest", {}, gate)
    await gate.entered.wait()
    first, second = await asyncio.gather(service.cancel(job.job_id), service.cancel(job.job_id))
    assert gate.cleaned_up
    assert first == second == await stored(store, job.job_id)
    assert first.state is JobState.CANCELLED
    assert first.error is not None
    assert first.error["code"] == "job_cancelled"


async def test_cleaning_up_is_not_interrupted(service: JobService) -> None:
    entered, cleaning, clean = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(reporter: JobReporter) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await clean.wait()
            reporter.log("clean")

    job = await service.submit("backtest", {}, work)
    await entered.wait()
    first = asyncio.create_task(service.cancel(job.job_id))
    await cleaning.wait()
    second = asyncio.create_task(service.cancel(job.job_id))
    closing = asyncio.create_task(service.close())
    await asyncio.sleep(0)
    clean.set()
    await closing
    assert (await first) == (await second)
    assert ((await first).state, (await first).log_tail) == (JobState.CANCELLED, "clean")


async def test_work_that_fails_while_it_is_torn_down_is_cancelled(service: JobService) -> None:
    gate = Gate()

    async def work(reporter: JobReporter) -> None:
        try:
            await gate(reporter)
        finally:
            raise ResearchError(ErrorCode.WORKER_CRASHED, "killed")

    job = await service.submit("backtest", {}, work)
    await gate.entered.wait()
    assert (await service.cancel(job.job_id)).state is JobState.CANCELLED


async def test_work_that_was_faster_than_its_cancellation_is_done(service: JobService) -> None:
    entered = asyncio.Event()

    async def work(reporter: JobReporter) -> str:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "run_kept"
        raise AssertionError

    job = await service.submit("backtest", {}, work)
    await entered.wait()
    ended = await service.cancel(job.job_id)
    assert (ended.state, ended.run_id) == (JobState.DONE, "run_kept")


async def test_a_job_that_ended_cannot_be_cancelled(service: JobService, other: JobService) -> None:
    gate = Gate()
    job = await service.submit("backtest", {}, gate)
    gate.go.set()
    await service.wait(job.job_id, LONG)
    for one in (service, other):
        with pytest.raises(ResearchError, match="done") as caught:
            await one.cancel(job.job_id)
        assert caught.value.code is ErrorCode.JOB_NOT_ACTIVE
        assert caught.value.details == {"state": "done"}


async def test_another_process_can_have_a_job_cancelled(service: JobService, other: JobService) -> None:
    gate = Gate()
    job = await service.submit("backtest", {}, gate)
    await gate.entered.wait()
    await other.cancel(job.job_id)
    ended = await other.wait(job.job_id, LONG)
    assert ended.state is JobState.CANCELLED
    assert gate.cleaned_up


async def test_whoever_gives_up_on_submitting_leaves_no_job_behind(
    service: JobService, store: WatchedStore
) -> None:
    gate = Gate()
    store.held = "create"
    submitting = asyncio.create_task(service.submit("backtest", {}, gate))
    await store.until_reached()
    submitting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submitting
    store.released.set()

    async def ended() -> bool:
        jobs, _ = await service.page(JobState.CANCELLED)
        return len(jobs) == 1

    await until(ended)


async def test_whichever_of_end_and_cancellation_comes_first_stands(
    service: JobService, store: WatchedStore
) -> None:
    async def race(number: int, patience: int) -> None:
        async def work(reporter: JobReporter) -> str:
            reporter.started()
            for _ in range(3):
                await asyncio.sleep(0)
            return f"run_{number}"

        job = await service.submit("backtest", {}, work)
        for _ in range(patience):
            await asyncio.sleep(0)
        with contextlib.suppress(ResearchError):
            await service.cancel(job.job_id)
        ended = await service.wait(job.job_id, 0)
        assert ended.state in {JobState.DONE, JobState.CANCELLED}
        assert ended.run_id == (f"run_{number}" if ended.state is JobState.DONE else None)
        assert ended == await stored(store, job.job_id)

    await asyncio.gather(*(race(number, patience) for number, patience in enumerate(list(range(6)) * 10)))


async def test_a_cancellation_during_the_last_write_comes_too_late(
    service: JobService, store: WatchedStore
) -> None:
    store.held = "finish"
    gate = Gate("run_kept")
    job = await service.submit("backtest", {}, gate)
    gate.go.set()
    await store.until_reached()
    assert (await service.get(job.job_id)).state is JobState.RUNNING, "no end before it is stored"
    cancelling = asyncio.create_task(service.cancel(job.job_id))
    await asyncio.sleep(0)
    store.released.set()
    ended = await cancelling
    assert (ended.state, ended.run_id) == (JobState.DONE, "run_kept")


async def test_a_cancellation_after_a_failure_does_not_hide_it(
    service: JobService, store: WatchedStore
) -> None:
    store.held = "report"

    async def work(reporter: JobReporter) -> None:
        reporter.log("the traceback")
        raise ResearchError(ErrorCode.STRATEGY_RAISED, "it raised")

    job = await service.submit("backtest", {}, work)
    await store.until_reached()
    cancelling = asyncio.create_task(service.cancel(job.job_id))
    await asyncio.sleep(0)
    store.released.set()
    ended = await cancelling
    assert ended.state is JobState.FAILED
    assert ended.log_tail == "the traceback"


# -- owners, leases and the end of the server ----------------------------------------------------------


async def test_the_jobs_of_a_dead_owner_are_lost_when_a_server_starts(store: WatchedStore) -> None:
    job = await asyncio.to_thread(store.create, "backtest", {}, "dead", time.time() + LONG)
    alive = await asyncio.to_thread(store.create, "backtest", {}, "alive", time.time() + LONG)
    service = service_of(store, dead=frozenset({"dead"}))
    await service.start()
    lost = await service.get(job.job_id)
    assert lost.state is JobState.LOST
    assert lost.error is not None
    assert lost.error["details"]["reason"] == "owner_died"
    assert (await service.get(alive.job_id)).state is JobState.QUEUED
    await service.close()


async def test_the_job_of_a_silent_owner_is_lost_while_the_server_runs(store: WatchedStore) -> None:
    service = JobService(store, "me", lambda _: False, lease_seconds=0.5, heartbeat_seconds=BEAT)
    await service.start()
    job = await asyncio.to_thread(store.create, "backtest", {}, "elsewhere", time.time() + LONG)
    lost = await service.wait(job.job_id, LONG)
    await service.close()
    assert lost.state is JobState.LOST
    assert lost.error is not None
    assert lost.error["details"]["reason"] == "lease_expired"


@pytest.mark.parametrize("hours", [0, 24, -1])
async def test_a_running_job_outlives_its_first_lease_however_the_clock_is_set(
    store: WatchedStore, hours: int
) -> None:
    clock = Clock()
    services = [
        JobService(store, name, lambda _: False, lease_seconds=LEASE, heartbeat_seconds=BEAT, now=clock)
        for name in ("me", "other")
    ]
    for service in services:
        await service.start()
    gate = Gate()
    job = await services[0].submit("backtest", {}, gate)
    clock.offset = hours * 3600
    joined = await services[1].submit("backtest", {}, gate, join=True)
    assert joined.job_id == job.job_id, "work that goes on is joined"
    first_lease_over = time.monotonic() + 1.2 * LEASE

    async def overdue() -> bool:
        assert (await stored(store, job.job_id)).state.active
        return time.monotonic() > first_lease_over

    await until(overdue)
    gate.go.set()
    assert (await services[0].wait(job.job_id, LONG)).state is JobState.DONE
    for service in services:
        await service.close()


async def test_work_on_a_job_that_others_gave_up_is_stopped(service: JobService, store: WatchedStore) -> None:
    gate = Gate()
    job = await service.submit("backtest", {}, gate)
    await gate.entered.wait()
    assert await asyncio.to_thread(store.reap, Gone(dead=frozenset({"me"}))) == [job.job_id]
    lost = await service.wait(job.job_id, LONG)
    assert gate.cleaned_up
    assert lost.state is JobState.LOST
    assert lost.error is not None
    assert lost.error["details"]["reason"] == "owner_died", "the first end stands"


async def test_an_end_the_store_refused_is_known_here_and_written_later(
    service: JobService, store: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.failing.add("finish")
    gate = Gate("run_late")
    job = await service.submit("backtest", {}, gate)
    gate.go.set()
    ended = await service.wait(job.job_id, LONG)
    assert (ended.state, ended.run_id) == (JobState.DONE, "run_late")
    assert (await stored(store, job.job_id)).state.active
    with pytest.raises(ResearchError, match="done"):
        await service.cancel(job.job_id)
    store.failing.clear()

    async def written() -> bool:
        return (await stored(store, job.job_id)).state is JobState.DONE

    await until(written)
    assert (await service.get(job.job_id)).run_id == "run_late"


async def test_a_job_that_was_recorded_while_the_record_seemed_to_fail_does_not_stay_active(
    service: JobService, store: WatchedStore
) -> None:
    gate = Gate()
    job = await service.submit("backtest", {}, gate)
    store.failing.add("create")
    with pytest.raises(ResearchError, match="create failed"):
        await service.submit("import", {}, gate)
    store.failing.clear()
    ((workless,), _) = await asyncio.to_thread(store.page, kind="import")

    async def ended() -> bool:
        return not (await stored(store, workless.job_id)).state.active

    await until(ended)
    lost = await stored(store, workless.job_id)
    assert lost.state is JobState.LOST
    assert lost.error is not None
    assert lost.error["details"] == {"reason": "never_began"}
    gate.go.set()
    assert (await service.wait(job.job_id, LONG)).state is JobState.DONE


@pytest.mark.parametrize(("call", "away"), [("renew", False), ("reap", False), ("renew", True)])
async def test_the_heart_survives_a_failing_store(
    service: JobService, store: WatchedStore, caplog: pytest.LogCaptureFixture, call: str, away: bool
) -> None:
    """And says why at every beat, without a traceback each time a database is away."""
    store.away = away
    gate = Gate()
    job = await service.submit("backtest", {}, gate)
    await gate.entered.wait()
    store.failing.add(call)

    async def complained() -> bool:
        return f"a heartbeat failed; the next one tries again: {call} failed" in caplog.text

    await until(complained)
    assert ("Traceback" in caplog.text) is not away
    store.failing.clear()
    await asyncio.to_thread(store.request_cancel, job.job_id)
    assert (await service.wait(job.job_id, LONG)).state is JobState.CANCELLED


async def test_a_server_that_stops_says_what_became_of_its_jobs(
    service: JobService, store: WatchedStore
) -> None:
    gates = [Gate(), Gate()]
    jobs = [await service.submit("backtest", {}, gate) for gate in gates]
    waiting = asyncio.create_task(service.wait(jobs[0].job_id, LONG))
    await gates[1].entered.wait()
    await asyncio.gather(service.close(), service.close())
    await service.close()
    assert gates[1].cleaned_up
    assert (await waiting).state is JobState.LOST
    for job in jobs:
        lost = await stored(store, job.job_id)
        assert lost.state is JobState.LOST
        assert lost.error is not None
        assert lost.error["code"] == "job_lost"
        assert "stopped" in lost.error["message"]


async def test_a_job_that_is_being_submitted_while_the_server_stops_is_lost(
    service: JobService, store: WatchedStore
) -> None:
    store.held = "create"
    submitting = asyncio.create_task(service.submit("backtest", {}, Gate()))
    await store.until_reached()
    closing = asyncio.create_task(service.close())
    await asyncio.sleep(0)
    store.released.set()
    await closing
    job = await submitting
    assert (await stored(store, job.job_id)).state is JobState.LOST


async def test_nothing_is_accepted_before_the_start_or_after_the_end(store: WatchedStore) -> None:
    service = service_of(store)
    with pytest.raises(RuntimeError, match="start"):
        await service.submit("backtest", {}, Gate())
    await service.close()
    await service.start()
    await service.start()
    await service.close()
    with pytest.raises(ResearchError, match="stopping") as caught:
        await service.submit("backtest", {}, Gate())
    assert caught.value.code is ErrorCode.JOB_LOST
    assert await service.page() == ([], 0)


async def test_a_listing_is_true_to_its_filter(service: JobService, store: WatchedStore) -> None:
    store.held = "start"
    gate = Gate()
    job = await service.submit("backtest", {}, gate)
    await service.submit("import", {}, Gate())
    await store.until_reached()
    assert (await service.get(job.job_id)).state is JobState.RUNNING
    for state in (JobState.QUEUED, JobState.RUNNING):
        jobs, total = await service.page(state=state)
        assert [one.state for one in jobs] == [state] * total
    store.released.set()

    async def listed() -> bool:
        jobs, total = await service.page(state=JobState.RUNNING, kind="backtest")
        assert total == len(jobs)
        return [one.job_id for one in jobs] == [job.job_id]

    await until(listed)


OWNER = """
import asyncio, sys
from pathlib import Path
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.adapters.storage.owner import owner_id, owner_is_dead
from jesse_mcp.services.jobs import JobService

async def work(reporter):
    reporter.started()
    await asyncio.Event().wait()

async def main():
    store = SqlJobStore(Database.at(Path(sys.argv[1])))
    service = JobService(store, owner_id(), owner_is_dead)
    await service.start()
    job = await service.submit("backtest", {}, work)
    while (await asyncio.to_thread(store.get, job.job_id)).state != "running":
        await asyncio.sleep(0.01)
    print(job.job_id, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_job_whose_process_was_killed_is_lost(tmp_path: Path, store: WatchedStore) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(tmp_path / "records.db"), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    job_id = (await process.stdout.readline()).decode().strip()
    service = JobService(store, owner_id(), owner_is_dead)
    await service.start()
    assert (await service.get(job_id)).state is JobState.RUNNING, "its owner is alive"
    await service.close()
    process.kill()
    await process.wait()
    service = JobService(store, owner_id(), owner_is_dead)
    await service.start()
    lost = await service.get(job_id)
    await service.close()
    assert lost.state is JobState.LOST
    assert lost.error is not None
    assert lost.error["code"] == "job_lost"
    assert lost.error["details"]["reason"] == "owner_died"
