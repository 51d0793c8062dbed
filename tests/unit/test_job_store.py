"""Jobs, their leases and who may end them."""

import math
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.leases import Gone

NOW = 1_767_225_600.0
LEASE = NOW + 30
ENDS = [JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.LOST]


@pytest.fixture
def store(records: Database) -> SqlJobStore:
    return SqlJobStore(records, now=lambda: NOW)


def create(store: SqlJobStore, owner: str = "me", lease: float = LEASE, kind: str = "backtest") -> str:
    return store.create(kind, {"symbols": ["BTC-USDT"], "fee": math.nan}, owner, lease).job_id


def test_a_new_job_is_queued_and_remembers_its_request(store: SqlJobStore) -> None:
    job = store.create("backtest", {"fee": 0.1 + 0.2, "nested": {"a": [1, 1.0, True, None]}}, "me", LEASE)
    assert job.state is JobState.QUEUED
    assert job.job_id.startswith("job_")
    assert (job.created_at, job.started_at, job.finished_at) == ("2026-01-01T00:00:00.000Z", None, None)
    assert (job.progress, job.message, job.log_tail, job.owner) == (None, None, "", "me")
    assert repr(store.get(job.job_id)) == repr(job)


def test_a_request_that_is_no_json_is_refused(store: SqlJobStore) -> None:
    with pytest.raises(ResearchError, match="cannot be stored") as caught:
        store.create("backtest", {"path": Path("x")}, "me", LEASE)
    assert caught.value.code is ErrorCode.STORAGE_FAILED


def test_a_job_keeps_its_answer(store: SqlJobStore) -> None:
    job_id = create(store)
    assert store.finish(job_id, JobState.DONE, result={"best": 0.1 + 0.2, "missing": None})
    assert store.get(job_id).result == {"best": 0.1 + 0.2, "missing": None}
    assert not store.finish(job_id, JobState.DONE, result={"best": 1.0})
    assert store.get(job_id).result == {"best": 0.1 + 0.2, "missing": None}


def test_a_job_starts_once(store: SqlJobStore) -> None:
    job_id = create(store)
    assert store.start(job_id)
    assert not store.start(job_id)
    assert store.get(job_id).state is JobState.RUNNING
    assert store.get(job_id).started_at == "2026-01-01T00:00:00.000Z"


def test_a_report_changes_only_what_it_gives(store: SqlJobStore) -> None:
    job_id = create(store)
    store.report(job_id, 0.25, "warming up", "line\n")
    store.report(job_id, None, "running", None)
    store.report(job_id, 0.0, None, "")
    store.report(job_id, None, None, None)
    job = store.get(job_id)
    assert (job.progress, job.message, job.log_tail) == (0.0, "running", "")


@pytest.mark.parametrize("end", ENDS)
def test_the_first_end_stands(store: SqlJobStore, end: JobState) -> None:
    job_id = create(store)
    assert store.finish(job_id, end, run_id="run_first", error={"code": "first"})
    ended = store.get(job_id)
    for other in ENDS:
        assert not store.finish(job_id, other, run_id="run_second", error={"code": "second"})
    store.report(job_id, 0.9, "too late", "too late")
    assert not store.start(job_id)
    assert not store.request_cancel(job_id)
    assert store.reap(Gone(frozenset({"me"}), store.leases())) == []
    assert store.get(job_id) == ended
    assert (ended.state, ended.run_id, ended.error) == (end, "run_first", {"code": "first"})
    assert ended.progress == (1.0 if end is JobState.DONE else None)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
def test_a_job_cannot_end_as_active(store: SqlJobStore, state: JobState) -> None:
    with pytest.raises(ValueError, match=state.value):
        store.finish(create(store), state)


def test_of_many_ends_at_once_exactly_one_stands(store: SqlJobStore) -> None:
    job_id = create(store)
    barrier, won = threading.Barrier(8), []

    def end(number: int) -> None:
        barrier.wait()
        if store.finish(job_id, ENDS[number % 4], run_id=f"run_{number}"):
            won.append(number)

    threads = [threading.Thread(target=end, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = won
    assert store.get(job_id).run_id == f"run_{winner}"


def test_every_call_about_an_unknown_job_says_so(store: SqlJobStore) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.get("job_nope"),
        lambda: store.start("job_nope"),
        lambda: store.report("job_nope", 0.1, None, None),
        lambda: store.finish("job_nope", JobState.DONE),
        lambda: store.request_cancel("job_nope"),
    ]
    for call in calls:
        with pytest.raises(ResearchError, match="job_nope") as caught:
            call()
        assert caught.value.code is ErrorCode.JOB_NOT_FOUND
        assert "job_list" in str(caught.value.hint)


def test_a_request_that_is_active_is_joined(store: SqlJobStore) -> None:
    asked = {"symbols": ["BTC-USDT"], "fee": 0.1 + 0.2}
    first, created = store.create_unless_active("optimize", asked, "me", LEASE)
    assert created
    assert first == store.get(first.job_id)
    assert store.create_unless_active("optimize", asked, "another", LEASE) == (first, False)
    store.start(first.job_id)
    joined, created = store.create_unless_active("optimize", asked, "me", LEASE)
    assert (joined.job_id, joined.state, created) == (first.job_id, JobState.RUNNING, False)
    for kind, request in (("backtest_batch", asked), ("optimize", {**asked, "fee": 0.3})):
        assert store.create_unless_active(kind, request, "me", LEASE)[1]


@pytest.mark.parametrize("end", [*ENDS, None])
def test_a_request_that_has_ended_or_is_to_end_is_not_joined(
    store: SqlJobStore, end: JobState | None
) -> None:
    first, _ = store.create_unless_active("optimize", {}, "me", LEASE)
    if end is None:
        store.request_cancel(first.job_id)
    else:
        store.finish(first.job_id, end)
    second, created = store.create_unless_active("optimize", {}, "me", LEASE)
    assert created
    assert second.job_id != first.job_id


def test_of_many_with_one_request_exactly_one_creates_the_job(store: SqlJobStore) -> None:
    barrier = threading.Barrier(8)
    found: list[tuple[str, bool]] = []

    def ask() -> None:
        barrier.wait()
        job, created = store.create_unless_active("optimize", {"trials": 60}, "me", LEASE)
        found.append((job.job_id, created))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job_id for job_id, _ in found}) == 1
    assert sum(created for _, created in found) == 1


def test_cancel_requests_reach_the_owner_only_and_while_active(store: SqlJobStore) -> None:
    mine, ended, yours = create(store), create(store), create(store, owner="you")
    for job_id in (mine, ended, yours):
        assert store.request_cancel(job_id)
    store.finish(ended, JobState.CANCELLED)
    assert store.request_cancel(mine), "asking twice is harmless"
    assert store.cancel_requests("me") == [mine]
    assert store.cancel_requests("you") == [yours]


def test_only_silent_owners_lose_their_jobs(store: SqlJobStore) -> None:
    silent, renewed, ended = create(store, owner="a"), create(store, owner="b"), create(store, owner="b")
    store.finish(ended, JobState.DONE)
    seen = store.leases()
    assert seen == {"a": {LEASE}, "b": {LEASE}}
    assert store.renew("b", LEASE - 100) == {renewed}, "a clock may have been set back"
    assert store.renew("nobody", LEASE) == frozenset()
    assert store.reap(Gone()) == []
    assert store.reap(Gone(silent=seen)) == [silent], "not what was renewed since"
    lost = store.get(silent)
    assert lost.state is JobState.LOST
    assert lost.finished_at is not None
    assert lost.error is not None
    assert lost.error["code"] == "job_lost"
    assert lost.error["details"] == {"reason": "lease_expired", "owner": "a"}
    assert store.get(renewed).state is JobState.QUEUED


def test_the_jobs_of_a_dead_owner_are_lost_before_their_lease_ends(store: SqlJobStore) -> None:
    first, second, other = create(store, "dead"), create(store, "dead"), create(store, "alive")
    store.start(second)
    assert store.leases().keys() == {"dead", "alive"}
    assert store.reap(Gone(frozenset({"dead", "never seen"}))) == [first, second]
    assert store.leases().keys() == {"alive"}
    error = store.get(second).error
    assert error is not None
    assert error["details"] == {"reason": "owner_died", "owner": "dead"}
    assert "gone" in error["message"]
    assert store.get(other).state is JobState.QUEUED


def test_listings_filter_and_count(store: SqlJobStore) -> None:
    running, queued, other = create(store), create(store), create(store, kind="import")
    store.start(running)

    def ids(state: JobState | None = None, kind: str | None = None) -> list[str]:
        jobs, total = store.page(state=state, kind=kind)
        assert total == len(jobs)
        return [job.job_id for job in jobs]

    assert ids() == [other, queued, running]
    assert ids(JobState.RUNNING) == [running]
    assert ids(kind="import") == [other]
    assert ids(JobState.QUEUED, "backtest") == [queued]
    assert ids(JobState.LOST) == []


def test_jobs_are_counted_by_state(store: SqlJobStore) -> None:
    assert store.counts() == dict.fromkeys(JobState, 0)
    done, running, _ = (create(store) for _ in range(3))
    store.finish(done, JobState.DONE)
    store.start(running)
    expected = dict.fromkeys(JobState, 0) | dict.fromkeys(
        (JobState.DONE, JobState.RUNNING, JobState.QUEUED), 1
    )
    assert store.counts() == expected


def test_pages_do_not_overlap_when_every_job_has_the_same_time(store: SqlJobStore) -> None:
    created = [create(store) for _ in range(13)]
    pages = [store.page(limit=4, offset=offset) for offset in (0, 4, 8, 12, 16)]
    assert [total for _, total in pages] == [13] * 5
    assert [job.job_id for jobs, _ in pages for job in jobs] == created[::-1]
