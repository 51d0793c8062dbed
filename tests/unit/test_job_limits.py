"""How many jobs a client may have, whoever asks how often and at once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.domain.access import ALL_SCOPES, LOCAL, Caller
from jesse_mcp.domain.call_context import calling, current_job
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import Job, JobState
from jesse_mcp.services.job_limits import JobLimits
from jesse_mcp.services.jobs import JobReporter, JobService

ONE = Caller("token:one", ALL_SCOPES, limited=True)
OTHER = Caller("token:other", ALL_SCOPES, limited=True)


class Desk:
    def __init__(self, jobs: JobService) -> None:
        self.jobs = jobs
        self.gate = asyncio.Event()
        self.seen: list[str | None] = []

    async def submit(
        self, caller: Caller, request: int = 0, *, start: bool = False, join: bool = False
    ) -> Job:
        async def work(report: JobReporter) -> str | None:
            self.seen.append(current_job.get())
            if start:
                report.started()
            await self.gate.wait()
            return None

        with calling(caller, "req_test"):
            return await self.jobs.submit("test", {"request": (request,)}, work, join=join)

    async def refused(self, caller: Caller, **options: bool) -> ResearchError:
        with pytest.raises(ResearchError) as caught:
            await self.submit(caller, **options)
        assert caught.value.code is ErrorCode.RATE_LIMITED
        assert caught.value.details["retry_after_seconds"] == 5
        assert caught.value.hint
        return caught.value


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database.at(tmp_path / "records.sqlite")
    limits = JobLimits(per_client=2, queued=3)
    jobs = JobService(SqlJobStore(database), "me", lambda _: False, limits=limits)
    await jobs.start()
    yield Desk(jobs)
    await jobs.close()
    database.close()


async def test_a_client_may_have_so_many(desk: Desk) -> None:
    first, _ = [await desk.submit(ONE, start=True) for _ in range(2)]
    error = await desk.refused(ONE)
    assert error.message == "token:one has 2 active jobs, as many as one client may have"
    await desk.submit(OTHER, start=True)
    await desk.jobs.cancel(first.job_id)
    await desk.submit(ONE, start=True)
    await desk.refused(ONE)


async def test_asking_often_at_once_does_not_help(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.submit(ONE) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(answer, Job) for answer in answers) == 2


async def test_the_queue_has_an_end_for_all(desk: Desk) -> None:
    await desk.submit(ONE)
    await desk.submit(ONE)
    await desk.submit(OTHER)
    assert (await desk.refused(OTHER)).message.startswith("3 jobs wait for a worker")


async def test_what_is_finished_does_not_count(desk: Desk) -> None:
    jobs = [await desk.submit(ONE) for _ in range(2)]
    desk.gate.set()
    for job in jobs:
        await desk.jobs.wait(job.job_id, 10)
    await desk.submit(ONE)


def test_only_active_jobs_count() -> None:
    limits = JobLimits(per_client=2, queued=1)
    ended = [state for state in JobState if not state.active]
    limits.admit(ONE, [(ONE.name, state) for state in ended * 5])
    limits.admit(ONE, [(ONE.name, JobState.RUNNING), (OTHER.name, JobState.RUNNING)])
    for states in ((JobState.RUNNING, JobState.RUNNING), (JobState.QUEUED,)):
        with pytest.raises(ResearchError):
            limits.admit(ONE, [(ONE.name, state) for state in states])


async def test_joining_ones_own_job_starts_nothing_and_is_free(desk: Desk) -> None:
    first = await desk.submit(ONE, 1)
    await desk.submit(ONE, 2)
    assert (await desk.submit(ONE, 1, join=True)).job_id == first.job_id
    await desk.refused(ONE, join=True)


async def test_the_user_of_this_machine_has_no_limits(desk: Desk) -> None:
    for _ in range(6):
        await desk.submit(LOCAL)


async def test_work_knows_its_job(desk: Desk) -> None:
    job = await desk.submit(ONE)
    desk.gate.set()
    await desk.jobs.wait(job.job_id, 10)
    assert desk.seen == [job.job_id]
    assert current_job.get() is None


async def test_a_job_counts_once_at_every_moment_of_its_beginning(desk: Desk) -> None:
    """Whoever asks in between would be refused although there is room."""
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, len(desk.jobs._own) + len(desk.jobs._beginning))
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await desk.submit(ONE)
    watching.cancel()
    assert most == 1
