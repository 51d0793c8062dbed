"""One paper session at work: begun, followed, begun again after a crash, ended."""

import asyncio
import logging
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, ParamSpec, TypeVar, cast

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper import PaperStatus
from jesse_mcp.domain.paper_records import PaperChange, PaperEnd, PaperEvent
from jesse_mcp.domain.paper_watch import Threshold
from jesse_mcp.domain.timeframes import iso_minute
from jesse_mcp.ports.paper import FeedBatch, PaperProcess
from jesse_mcp.services.paper_ending import ended_with
from jesse_mcp.services.paper_parts import LEVERAGE_WAITS, PaperHealth, PaperParts
from jesse_mcp.services.paper_watch import watcher_of
from jesse_mcp.services.paper_work import PaperWork

logger = logging.getLogger("jesse_mcp.paper")

P = ParamSpec("P")
T = TypeVar("T")

#: A process that ends at the same minute this often ends there always.
CRASHES = 3
_CRASHED = frozenset({ErrorCode.WORKER_CRASHED, ErrorCode.MEMORY_LIMIT, ErrorCode.RUN_TIMEOUT})
#: Of the machine: a session waits until it is better. Candles may be those of another server that is gone.
_PASSING = frozenset(
    {
        ErrorCode.CANDLES_MISSING,
        ErrorCode.ENGINE_FAILED,
        ErrorCode.ENGINE_NOT_INSTALLED,
        ErrorCode.STORAGE_FAILED,
    }
)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_TRACEBACK_CHARACTERS = 8_000


class SessionRun:
    """A session of this process from its beginning, or from wherever its record ends, to its end.

    Args:
        session_id: of a session this process owns.
        parts: what it works with.
        process: one that is open and has worked through nothing; opened when not given.
    """

    def __init__(self, session_id: str, parts: PaperParts, process: PaperProcess | None = None) -> None:
        self.session_id = session_id
        self.health = PaperHealth()
        self.ended = asyncio.Event()
        self._parts = parts
        self._process = process
        self._wake = asyncio.Event()
        self._stop = False
        self._abandoned = False
        self._given_up = False
        self._asked = True
        #: In a row without a minute recorded between them, the last of them after this minute.
        self._failures, self._failed_at = 0, -1
        self._work: PaperWork | None = None

    def stop(self) -> None:
        """End the session after the minutes it is at."""
        self._stop = True
        self._wake.set()

    def wake(self) -> None:
        """Look what was asked, and how long the feed has been silent; called every second or so."""
        self._wake.set()
        if self._stop and self._work is not None and self._work.busy_seconds() > self._parts.stop_patience:
            # Nothing else ends an endless loop.
            self._given_up = True
            self._closing = asyncio.ensure_future(self._close())

    def decide(self) -> None:
        """Look which changes were asked for."""
        self._asked = True
        self._wake.set()

    def abandon(self) -> None:
        """Let go of a session that is somebody else's."""
        self._abandoned = True
        self._wake.set()

    async def run(self) -> None:
        """Work until the session has ended or is another owner's. Cancelled, it is left to the next one."""
        try:
            await self._persist()
        except ResearchError as error:
            # It ended or was taken over: the store knows how it stands.
            logger.warning("paper session %s is let go: %s", self.session_id, error)
        finally:
            self.health.phase = "ended"
            await self._close()
            self.ended.set()

    async def _persist(self) -> None:
        while not self._abandoned:
            try:
                return await self._attempt()
            except ResearchError as error:
                if not await self._goes_on_after(error):
                    return None
            except Exception as fault:
                logger.exception("paper session %s failed inside the server", self.session_id)
                return await self._fail(_internal(fault))
            finally:
                await self._close()
            self.health.restarts += 1
            self.health.phase = "waiting"
            await self._parts.pause(self._pause())
        return None

    def _pause(self) -> float:
        """Seconds before the next attempt."""
        if self._stop:
            return _FIRST_PAUSE
        # As a power it would grow beyond what a float holds.
        return min(_FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10), _LONGEST_PAUSE)

    async def _goes_on_after(self, error: ResearchError) -> bool:
        """Whether to try again; otherwise the session has ended by this."""
        if error.code is ErrorCode.SESSION_NOT_ACTIVE:
            raise error
        self.health.trouble(error)
        session = await self._stored(self._parts.store.get, self.session_id)
        reached = session.place.through or 0
        self._failures = self._failures + 1 if reached == self._failed_at else 1
        self._failed_at = reached
        if self._given_up or (self._stop and self._failures >= CRASHES):
            await self._cut_short(_silent(self._parts.stop_patience) if self._given_up else error)
            return False
        passing = error.code in _PASSING and not error.lasting
        if not passing and (error.code not in _CRASHED or self._failures >= CRASHES):
            await self._fail(error)
            return False
        if error.code in _CRASHED:
            await self._tell("crash", f"{error.code.value}, started again: {error.message}")
        return True

    async def _attempt(self) -> None:
        parts = self._parts
        session = await asyncio.to_thread(parts.store.get, self.session_id)
        self._stop = self._stop or session.stop_requested
        setup = await asyncio.to_thread(parts.store.setup, self.session_id)
        thresholds = tuple(Threshold.model_validate(entry) for entry in session.watch)
        watcher = await asyncio.to_thread(watcher_of, thresholds, session.request, parts.runs)
        if self._process is None:
            self._process = await parts.engine.open(setup)
        self._work = work = PaperWork(session, self._process, watcher, parts, self._stored)
        self.health.phase = "recovering"
        await work.catch_up()
        self.health.phase, self.health.problem = "following", None
        feed = parts.feeds[session.request.feed].batches(session.request, work.next_ms)
        # Closing it ends its requests; the port promises no more than an iterator.
        async with aclosing(cast("AsyncGenerator[FeedBatch]", feed)) as batches:
            await self._follow(work, batches)

    async def _follow(self, work: PaperWork, batches: AsyncIterator[FeedBatch]) -> None:
        coming: asyncio.Task[FeedBatch] | None = None
        try:
            while not self._abandoned:
                await self._decide(work)
                if self._stop or work.over:
                    await self._end(work, PaperStatus.STOPPED)
                    return
                coming = coming or asyncio.ensure_future(anext(batches))
                await self._until_woken_or(coming)
                if not coming.done():
                    await work.look_for_silence()
                    continue
                batch, coming = coming.result(), None
                if work.session.request.feed == "exchange":
                    self.health.heard(batch)
                await self._take(work, batch)
                if batch.ended and not work.over:
                    await self._end(work, PaperStatus.FINISHED)
                    return
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    async def _take(self, work: PaperWork, batch: FeedBatch) -> None:
        await work.take(batch)
        if batch.minutes and work.session.request.feed == "exchange":
            self.health.latencies.append(self._parts.clock.now_ms() - batch.minutes[-1].closes_at)

    async def _until_woken_or(self, coming: "asyncio.Task[FeedBatch]") -> None:
        woken = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({coming, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            await asyncio.gather(woken, return_exceptions=True)
        self._wake.clear()

    async def _decide(self, work: PaperWork) -> None:
        """Make the changes that were asked for, before the next minute."""
        if self._asked:
            self._asked = False
            for change in await self._stored(self._parts.store.changes, self.session_id):
                if not change.decided:
                    await self._change(work, change)

    async def _change(self, work: PaperWork, change: PaperChange) -> None:
        try:
            in_force = await work.process.set_leverage(change.leverage)
        except ResearchError as error:
            if error.code in _CRASHED:
                raise
            decided = change.model_copy(update={"error": error.to_dict()})
            await self._stored(self._parts.store.decide, self.session_id, self._parts.owner, decided)
            return
        decided = change.model_copy(update={"before_ms": work.next_ms})
        store, owner = self._parts.store, self._parts.owner
        await self._stored(store.decide, self.session_id, owner, decided, in_force=in_force)
        how = f"is in force from {iso_minute(work.next_ms)}" if in_force else f"waits until {LEVERAGE_WAITS}"
        await self._tell("leverage", f"{change.leverage} {how}")

    async def _end(self, work: PaperWork, status: PaperStatus) -> None:
        self.health.phase = "ending"
        if work.error is not None:
            await self._fail(work.error)
            return
        end = await ended_with(work, status, self._parts)
        await self._stored(self._parts.store.end, self.session_id, self._parts.owner, end)

    async def _fail(self, error: ResearchError) -> None:
        self.health.phase = "ending"
        end = PaperEnd(
            status=PaperStatus.FAILED, ended_at=self._parts.clock.now_ms(), error=_trimmed(error.to_dict())
        )
        await self._stored(self._parts.store.end, self.session_id, self._parts.owner, end)

    async def _cut_short(self, error: ResearchError) -> None:
        """Stop a session whose process does not answer: open positions stay as they are recorded."""
        end = PaperEnd(
            status=PaperStatus.STOPPED, ended_at=self._parts.clock.now_ms(), error=_trimmed(error.to_dict())
        )
        await self._stored(self._parts.store.end, self.session_id, self._parts.owner, end)

    async def _tell(self, kind: str, message: str) -> None:
        event = PaperEvent(timestamp=self._parts.clock.now_ms(), kind=kind, message=message[:500])
        await self._stored(self._parts.store.add_events, self.session_id, [event])

    async def _stored(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """The result of a call of the store, which is repeated while disk or database are in the way.

        What was worked out stays at hand meanwhile, so nothing is lost and nothing is done twice.
        """
        pause = _FIRST_PAUSE
        while True:
            try:
                result = await asyncio.to_thread(call, *arguments, **named)
            except ResearchError as error:
                if error.code is not ErrorCode.STORAGE_FAILED or error.lasting or self._abandoned:
                    raise
                self.health.trouble(error)
            else:
                if self.health.problem is not None and self.health.problem["code"] == "storage_failed":
                    self.health.problem = None
                return result
            await self._parts.pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _close(self) -> None:
        process, self._process = self._process, None
        self._work = None
        if process is not None:
            # Shielded: a cancellation must not leave the process running.
            await asyncio.shield(asyncio.ensure_future(process.close()))


def _silent(patience: float) -> ResearchError:
    return ResearchError(
        ErrorCode.RUN_TIMEOUT,
        f"the strategy had not answered for {patience:g} s when the session was to stop",
        hint="look for an endless loop in it; open positions stay as they are recorded, and no run is stored",
    )


def _internal(fault: Exception) -> ResearchError:
    return ResearchError(
        ErrorCode.INTERNAL_ERROR,
        f"the session failed inside the server ({type(fault).__name__})",
        hint="this is a fault of the server: its log has the details; the session's data is kept",
        details={"traceback": "".join(traceback.format_exception_only(fault))},
    )


def _trimmed(error: dict[str, Any]) -> dict[str, Any]:
    """With long texts cut at their beginning: the end of a traceback says what happened."""
    details = {
        name: value[-_TRACEBACK_CHARACTERS:] if isinstance(value, str) else value
        for name, value in error["details"].items()
    }
    return {**error, "details": details}
