"""One job of this process: its work, its live state, and the way of both into the store."""

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum
from typing import Any, NamedTuple

from jesse_mcp.domain.access import Caller
from jesse_mcp.domain.call_context import current_caller, current_job
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.identity import iso_utc
from jesse_mcp.domain.jobs import Job, JobState
from jesse_mcp.ports.records import JobStore

logger = logging.getLogger("jesse_mcp.jobs")

#: Seconds between two writes of progress. Readers in this process see every value at once.
WRITE_INTERVAL = 0.25
LOG_TAIL_BYTES = 8 * 1024


class Stop(Enum):
    """Why work is told to stop before it is done."""

    CANCELLED = "cancelled"
    SERVER_STOPPED = "server_stopped"
    ENDED_ELSEWHERE = "ended_elsewhere"


class End(NamedTuple):
    """How a job ended."""

    state: JobState
    run_id: str | None = None
    error: dict[str, Any] | None = None
    result: dict[str, Any] | None = None


class JobReporter:
    """What work says about itself. Call it on the event loop; nothing here waits."""

    def __init__(self, own: "OwnJob") -> None:
        self._own = own

    def started(self) -> None:
        """The work has a worker: queued becomes running. Later calls change nothing."""
        self._own.mark_started()

    def progress(self, fraction: float | None, message: str) -> None:
        """How far the work is.

        Args:
            fraction: 0..1, kept within these bounds; ``None`` or NaN leaves the last one.
            message: one line for a person.
        """
        changes: dict[str, Any] = {"message": _storable(message)}
        if fraction is not None and not math.isnan(fraction):
            changes["progress"] = min(max(float(fraction), 0.0), 1.0)
        self._own.change(**changes)

    def log(self, text: str) -> None:
        """Append ``text`` as it is (no line end is added); the last 8 KiB are kept."""
        whole = (self._own.job.log_tail + _storable(text)).encode()
        self._own.change(log_tail=whole[-LOG_TAIL_BYTES:].decode(errors="ignore"))

    def result(self, value: dict[str, Any]) -> None:
        """What the job answers besides a run, as JSON values; kept when the work ends well."""
        self._own.result = value


Work = Callable[[JobReporter], Awaitable[str | None]]


class OwnJob:
    """Runs one piece of work and records it.

    ``job`` is the live state. It stays active until the store knows the end, so that nobody is told of
    an end that another reader does not see yet.
    """

    def __init__(self, job: Job, store: JobStore, now: Callable[[], float], work: Work) -> None:
        self.job = job
        self.caller: Caller = current_caller.get()
        self.changed = asyncio.Event()
        self.ended = asyncio.Event()
        self.result: dict[str, Any] | None = None
        self._store = store
        self._now = now
        self._stop: Stop | None = None
        self._end: End | None = None
        self._in_store = job
        self._dirty = asyncio.Event()
        self._hurry = asyncio.Event()
        self._over = False
        self._task = asyncio.create_task(self._call(work), name=job.job_id)

    @property
    def unwritten(self) -> bool:
        """Ended, but the store refused to note it."""
        return self.ended.is_set() and self._end is not None

    def stop(self, reason: Stop) -> None:
        """Cancel the work unless it is over or told to stop already: it is not disturbed cleaning up."""
        if self._stop is None and not self._task.done():
            self._stop = reason
            self._task.cancel()

    def mark_started(self) -> None:
        if self.job.state is JobState.QUEUED:
            self._hurry.set()
            self.change(state=JobState.RUNNING, started_at=iso_utc(self._now()))

    def change(self, **fields: Any) -> None:
        """Set fields of ``job`` for everybody who waits, and have them written soon."""
        if not self._over:
            self._show(fields)
            self._dirty.set()

    async def run(self) -> None:
        """See the work through to an end that is recorded."""
        writer = asyncio.create_task(self._write_changes())
        try:
            await asyncio.wait({self._task})
        finally:
            self._over = True
            self._dirty.set()
            self._hurry.set()
        await writer
        self._end = self._outcome()
        logger.info(
            "%s, a %s of %s, ended as %s%s",
            self.job.job_id,
            self.job.kind,
            self.caller.name,
            self._end.state.value,
            "" if self._end.error is None else f" ({self._end.error['code']})",
            extra={"job_id": self.job.job_id, "run_id": self._end.run_id},
        )
        await self.write_end()
        self.ended.set()

    async def write_end(self) -> None:
        """Tell the store of the end; a failure is logged and leaves the job :attr:`unwritten`.

        A job whose answer can never be stored has failed by that.
        """
        if self._end is None:
            return
        end = self._end
        try:
            await asyncio.to_thread(
                self._store.finish,
                self.job.job_id,
                end.state,
                run_id=end.run_id,
                error=end.error,
                result=end.result,
            )
        except Exception as error:
            logger.exception("the end of %s could not be stored; it is tried again", self.job.job_id)
            if isinstance(error, ResearchError) and error.lasting:
                end = self._end = _failed(error)
        else:
            self._end = None
        if self.job.state.active:
            progress = 1.0 if end.state is JobState.DONE else self.job.progress
            self._show({**end._asdict(), "progress": progress, "finished_at": iso_utc(self._now())})

    async def _call(self, work: Work) -> str | None:
        # For whatever this work logs, in this task and those it starts.
        current_job.set(self.job.job_id)
        return await work(JobReporter(self))

    def _show(self, fields: dict[str, Any]) -> None:
        self.job = self.job.model_copy(update=fields)
        # Whoever waits holds the old event; a new one makes the next change visible again.
        self.changed.set()
        self.changed = asyncio.Event()

    async def _write_changes(self) -> None:
        while not self._over:
            await self._dirty.wait()
            self._dirty.clear()
            self._hurry.clear()
            await self._write()
            with suppress(TimeoutError):
                async with asyncio.timeout(0 if self._over else WRITE_INTERVAL):
                    await self._hurry.wait()
        await self._write()

    async def _write(self) -> None:
        job, before = self.job, self._in_store
        try:
            if job.state is not before.state:
                await asyncio.to_thread(self._store.start, job.job_id)
            await asyncio.to_thread(
                self._store.report,
                job.job_id,
                None if job.progress == before.progress else job.progress,
                None if job.message == before.message else job.message,
                None if job.log_tail == before.log_tail else job.log_tail,
            )
        except Exception:
            # Progress is not worth the work it reports on; the next write carries the newer state.
            logger.exception("the progress of %s could not be stored", job.job_id)
        else:
            self._in_store = job

    def _outcome(self) -> End:
        if self._task.cancelled():
            return _stopped(self._stop)
        error = self._task.exception()
        if error is None:
            return End(JobState.DONE, run_id=self._task.result(), result=self.result)
        if self._stop is not None:
            # Work that is torn down may well fail on its way out; that is not why it ended.
            logger.info("%s failed while it was stopped", self.job.job_id, exc_info=error)
            return _stopped(self._stop)
        if isinstance(error, ResearchError):
            return _failed(error)
        logger.error("%s failed unexpectedly", self.job.job_id, exc_info=error)
        return _failed(
            ResearchError(
                ErrorCode.INTERNAL_ERROR,
                f"the job failed with an unexpected {type(error).__name__}",
                hint="this is a defect of jesse-mcp: report it with the traceback in the server's log",
            )
        )


def _failed(error: ResearchError) -> End:
    # Details may hold anything; what JSON does not know is stored as its text.
    return End(JobState.FAILED, error=json.loads(json.dumps(error.to_dict(), default=str)))


def _stopped(reason: Stop | None) -> End:
    if reason in (None, Stop.CANCELLED):
        cancelled = ResearchError(
            ErrorCode.JOB_CANCELLED,
            "the job was cancelled",
            hint="submit the same request, or resume=<job id> where the tool takes it, to run it again",
        )
        return End(JobState.CANCELLED, error=cancelled.to_dict())
    lost = ResearchError(
        ErrorCode.JOB_LOST,
        "the server was stopped while the job was active",
        hint="submit the same request again, or with resume=<job id> where the tool takes it",
        details={"reason": "server_stopped"},
    )
    return End(JobState.LOST, error=lost.to_dict())


def _storable(text: str) -> str:
    """``text`` without what a database refuses: half surrogate pairs and NUL."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")
