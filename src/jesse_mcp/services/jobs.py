"""Long work as jobs that survive the call that asked for them, and are never active without an owner."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from jesse_mcp.domain.call_context import current_caller, current_request, current_tool
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import Job, JobState
from jesse_mcp.ports.records import JobStore
from jesse_mcp.ports.traces import NoTraces, Traces
from jesse_mcp.services.job_limits import JobLimits
from jesse_mcp.services.lease_watch import LeaseWatch
from jesse_mcp.services.own_job import JobReporter, OwnJob, Stop, Work

__all__ = ["JobReporter", "JobService", "ProgressListener", "Work"]

logger = logging.getLogger("jesse_mcp.jobs")

#: Called with the fraction done (0..1) and the message, each ``None`` until known.
ProgressListener = Callable[[float | None, str | None], Awaitable[None]]

T = TypeVar("T")

# Seconds between two looks at a job of another process.
_POLL_INTERVAL = 0.2


class JobService:
    """Runs jobs in this process and follows those of other processes with the same store.

    An owner renews the lease of its jobs; a job whose owner is dead or silent becomes ``lost``.

    Args:
        store: where jobs are kept; it blocks, and is called in threads only.
        owner: identity of this process.
        owner_is_dead: whether another owner is known to be gone; false when that cannot be known.
        lease_seconds: how long a silent owner is believed to be alive.
        heartbeat_seconds: between renewals, and between looks for cancel requests of other processes.
        now: the clock, epoch seconds.
        limits: how many jobs a client may have active here; ``None``: any number.
        traces: gets a span for every job of this process.
    """

    def __init__(
        self,
        store: JobStore,
        owner: str,
        owner_is_dead: Callable[[str], bool],
        *,
        lease_seconds: float = 30,
        heartbeat_seconds: float = 2,
        now: Callable[[], float] = time.time,
        limits: JobLimits | None = None,
        traces: Traces | None = None,
    ) -> None:
        self._store = store
        self._traces = traces or NoTraces()
        self._limits = limits
        self._owner = owner
        self._watch = LeaseWatch(owner, owner_is_dead, lease_seconds)
        self._reaping = threading.Lock()
        self._lease_seconds = lease_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._now = now
        self._own: dict[str, OwnJob] = {}
        # Asked for, but not recorded yet: they count against the limits.
        self._beginning: dict[object, tuple[str, JobState]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._heart: asyncio.Task[None] | None = None
        self._closing = False
        self._closed = asyncio.Event()

    async def start(self) -> None:
        """Mark abandoned jobs as lost, then keep this owner's leases alive until :meth:`close`.

        Raises:
            ResearchError: ``storage_failed``.
        """
        if self._heart is None:
            await asyncio.to_thread(self._reap)
            self._heart = asyncio.create_task(self._heartbeat(), name="job heartbeat")

    async def submit(self, kind: str, request: dict[str, Any], work: Work, *, join: bool = False) -> Job:
        """Record a job and begin its work in the background.

        Args:
            kind: what sort of work, for listings.
            request: what was asked for, as JSON values.
            work: called with a :class:`JobReporter`; returns the id of the run it stored, if any.
                Cancellation must make it stop everything it started.
            join: when a job with this very request is active, in this process or another one, return that
                one and begin nothing.

        Raises:
            ResearchError: ``job_lost`` when the server is stopping, ``rate_limited`` when the caller or the
                server has too many, ``storage_failed``.
        """
        if self._heart is None:
            raise RuntimeError("JobService.submit before start: nothing would renew the job's lease")
        if self._closing:
            raise ResearchError(
                ErrorCode.JOB_LOST,
                f"the server is stopping and takes no {kind} job",
                hint="submit the request again when the server is back",
            )
        if not (join and self._is_active_here(kind, request)):
            self._admit()
        beginning = object()
        self._beginning[beginning] = (current_caller.get().name, JobState.QUEUED)
        launch = self._spawn(self._launch(kind, request, work, join, beginning))
        launch.add_done_callback(lambda _: self._beginning.pop(beginning, None))
        try:
            job, _ = await asyncio.shield(launch)
        except asyncio.CancelledError:
            # The row may be written already: the job must end, not stay behind without work.
            launch.add_done_callback(_stop_unwanted)
            raise
        return job

    async def get(self, job_id: str) -> Job:
        """The current state, live for jobs of this process.

        Raises:
            ResearchError: ``job_not_found``, ``storage_failed``.
        """
        own = self._own.get(job_id)
        return own.job if own else await asyncio.to_thread(self._store.get, job_id)

    async def page(
        self, state: JobState | None = None, kind: str | None = None, limit: int = 20, offset: int = 0
    ) -> tuple[list[Job], int]:
        """Newest first, and how many match in all.

        Raises:
            ResearchError: ``storage_failed``.
        """
        jobs, total = await asyncio.to_thread(
            self._store.page, state=state, kind=kind, limit=limit, offset=offset
        )
        return [self._live(job) for job in jobs], total

    async def wait(self, job_id: str, seconds: float, on_progress: ProgressListener | None = None) -> Job:
        """The job as soon as it has ended, or as it is after ``seconds``.

        Args:
            job_id: of this process or another one.
            seconds: how long to wait; 0 returns the current state.
            on_progress: awaited with every change of progress seen on the way, the latest when changes
                come faster than it returns.

        Raises:
            ResearchError: ``job_not_found``, ``storage_failed``.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        seen: tuple[float | None, str | None] = (None, None)
        waited = False
        while True:
            own = self._own.get(job_id)
            # Taken before the state is read, so that no change between the two is missed.
            changed = own.changed if own else None
            job = own.job if own else await asyncio.to_thread(self._store.get, job_id)
            remaining = deadline - loop.time()
            over = not job.state.active or remaining <= 0
            # Who does not wait has the answer itself at the same moment.
            if on_progress is not None and (waited or not over) and (job.progress, job.message) != seen:
                seen = (job.progress, job.message)
                await on_progress(*seen)
            if over:
                return job
            waited = True
            await _pause(changed, deadline - loop.time())

    async def cancel(self, job_id: str) -> Job:
        """Stop a job.

        A job of this process has ended, its work cleaned up, when this returns (as ``done`` when the
        work was faster). Another process is asked to do so, and the job is returned still active.

        Raises:
            ResearchError: ``job_not_active`` when it had ended, ``job_not_found``, ``storage_failed``.
        """
        own = self._own.get(job_id)
        if own is not None and own.job.state.active:
            own.stop(Stop.CANCELLED)
            await own.ended.wait()
            return await self.get(job_id)
        if own is not None or not await asyncio.to_thread(self._store.request_cancel, job_id):
            job = await self.get(job_id)
            raise ResearchError(
                ErrorCode.JOB_NOT_ACTIVE,
                f"the job {job_id!r} cannot be cancelled: it is {job.state.value} already",
                hint="call job_get for how it ended",
                details={"state": job.state.value},
            )
        return await self.get(job_id)

    async def close(self) -> None:
        """End every active job of this process as ``lost`` and stop. Idempotent."""
        if self._heart is None:
            return
        if self._closing:
            await self._closed.wait()
            return
        self._closing = True
        try:
            for own in list(self._own.values()):
                own.stop(Stop.SERVER_STOPPED)
            # The heart beats on meanwhile: cleaning up may take longer than a lease.
            while self._tasks:
                await asyncio.wait(self._tasks)
            await self._write_ends()
        finally:
            self._closed.set()
        await self._heart

    def _admit(self) -> None:
        if self._limits is not None:
            known = [(own.caller.name, own.job.state) for own in self._own.values()]
            self._limits.admit(current_caller.get(), [*known, *self._beginning.values()])

    def _is_active_here(self, kind: str, request: dict[str, Any]) -> bool:
        """Whether joining will start nothing new. A record holds the JSON of a request, lists for tuples."""
        wanted = json.loads(json.dumps(request, default=str))
        return any(
            own.job.kind == kind and own.job.request == wanted and own.job.state.active
            for own in self._own.values()
        )

    def _live(self, stored: Job) -> Job:
        own = self._own.get(stored.job_id)
        # A state that is not written yet would contradict the filter and the total of the listing.
        return own.job if own and own.job.state is stored.state else stored

    def _spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        # The loop itself keeps no task alive.
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _launch(
        self, kind: str, request: dict[str, Any], work: Work, join: bool, beginning: object
    ) -> tuple[Job, OwnJob | None]:
        """The job, and its work unless somebody else's was joined."""
        if join:
            # Not to wait for the work of a process that is gone.
            await asyncio.to_thread(self._reap)
            wanted = (kind, request, self._owner, self._lease())
            job, created = await asyncio.to_thread(self._store.create_unless_active, *wanted)
            if not created:
                return job, None
        else:
            job = await asyncio.to_thread(self._store.create, kind, request, self._owner, self._lease())
        own = OwnJob(job, self._store, self._now, work)
        self._own[job.job_id] = own
        # From here on it counts as what it is, and not twice.
        self._beginning.pop(beginning, None)
        self._spawn(self._see_through(own))
        if self._closing:
            own.stop(Stop.SERVER_STOPPED)
        return job, own

    async def _see_through(self, own: OwnJob) -> None:
        asked, tool, client = current_request.get(), current_tool.get(), own.caller.name
        with self._traces.job(own.job.kind) as span:
            await own.run()
            job = own.job
            failure = None if job.error is None else str(job.error["code"])
            facts = {"job_id": job.job_id, "run_id": job.run_id, "state": job.state.value}
            span.tell(failure, **facts, request_id=asked, tool=tool, client=client)
        self._forget(own)

    def _forget(self, own: OwnJob) -> None:
        if not own.unwritten:
            self._own.pop(own.job.job_id, None)

    def _lease(self) -> float:
        return self._now() + self._lease_seconds

    async def _heartbeat(self) -> None:
        while not self._closed.is_set():
            try:
                await self._beat()
            except Exception as error:
                # A full disk or a busy database may pass; without a heart every job would be lost.
                # No traceback at every beat of an outage: they would push all else out of the log.
                trace = None if isinstance(error, ResearchError) and error.away else error
                message = "a heartbeat failed; the next one tries again: %s"
                logger.error(message, error, exc_info=trace)  # noqa: TRY400
            with suppress(TimeoutError):
                async with asyncio.timeout(self._heartbeat_seconds):
                    await self._closed.wait()

    async def _beat(self) -> None:
        mine = [own for own in self._own.values() if own.job.state.active]
        if mine:
            beginning = bool(self._beginning)
            renewed = await asyncio.to_thread(self._store.renew, self._owner, self._lease())
            for own in mine:
                if own.job.job_id not in renewed:
                    own.stop(Stop.ENDED_ELSEWHERE)
            if not beginning and not self._beginning:
                await self._end_workless(renewed - self._own.keys())
            for job_id in await asyncio.to_thread(self._store.cancel_requests, self._owner):
                if job_id in self._own:
                    self._own[job_id].stop(Stop.CANCELLED)
        await self._write_ends()
        await asyncio.to_thread(self._reap)

    async def _end_workless(self, job_ids: frozenset[str]) -> None:
        """End jobs that were recorded while the record seemed to fail: the answer of a database was lost."""
        for job_id in job_ids:
            error = ResearchError(
                ErrorCode.JOB_LOST,
                f"the job {job_id!r} never began: the records database failed while it was recorded",
                hint="submit the same request again",
                details={"reason": "never_began"},
            )
            await asyncio.to_thread(self._store.finish, job_id, JobState.LOST, error=error.to_dict())

    async def _write_ends(self) -> None:
        for own in [own for own in self._own.values() if own.unwritten]:
            await own.write_end()
            self._forget(own)

    def _reap(self) -> None:
        with self._reaping:
            gone = self._watch.gone(self._store.leases())
        for job_id in self._store.reap(gone):
            logger.warning("%s was abandoned by its owner and is lost", job_id)


async def _pause(changed: asyncio.Event | None, remaining: float) -> None:
    if changed is None:
        await asyncio.sleep(min(_POLL_INTERVAL, remaining))
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(remaining):
            await changed.wait()


def _stop_unwanted(launch: asyncio.Task[tuple[Job, OwnJob | None]]) -> None:
    if not launch.cancelled() and launch.exception() is None:
        _, own = launch.result()
        if own is not None:
            own.stop(Stop.CANCELLED)
