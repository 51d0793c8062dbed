"""The dashboard engine: runs backtests as sessions of a running Jesse."""

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from jesse_mcp.adapters.dashboard import outcomes
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.contradictions import contradiction
from jesse_mcp.adapters.dashboard.equity import daily_balances
from jesse_mcp.adapters.dashboard.events import EventStream, Subscription
from jesse_mcp.adapters.dashboard.following import Following, StalledError
from jesse_mcp.adapters.dashboard.run_request import (
    description_of,
    refuse_what_jesse_cannot,
    start_body,
    title_of,
)
from jesse_mcp.adapters.dashboard.sessions import BacktestSessions
from jesse_mcp.adapters.dashboard.staging import StagedStrategies, remove_abandoned
from jesse_mcp.adapters.dashboard.status import look
from jesse_mcp.adapters.dashboard.unpinned import unpinned_imports
from jesse_mcp.adapters.dashboard.versions import check_version
from jesse_mcp.adapters.dashboard.warm_up import refuse_gaps_in_warm_up
from jesse_mcp.adapters.embedded.outcomes import timeout
from jesse_mcp.domain.backtests import EngineOutcome, EngineRun
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.ports.engine import ProgressCallback

#: Seconds in which a worker that is not stuck has seen that it is to stop.
STOPS_WITHIN = 8.0

T = TypeVar("T")


class DashboardEngine:
    """Implements :class:`jesse_mcp.ports.engine.BacktestEngine`.

    Args:
        client: where Jesse is.
        capacity: runs at the same time.
        run_timeout: seconds one run may take.
        stall_seconds: seconds a run may stand still.
    """

    def __init__(
        self, client: DashboardClient, capacity: int, run_timeout: float, stall_seconds: float
    ) -> None:
        self._client = client
        self._sessions = BacktestSessions(client)
        self._events = EventStream(client)
        self._capacity = capacity
        self._run_timeout = run_timeout
        self._stall_seconds = stall_seconds
        self._slots = asyncio.Semaphore(capacity)
        self._running: set[asyncio.Task[Any]] = set()
        self._busy = 0
        self._version: tuple[int, str] | None = None
        self._left_behind: list[StagedStrategies] = []
        self._tidying = asyncio.Lock()
        #: Sessions that were cancelled and whose worker did not confirm it, by the time of cancelling.
        self._burning: dict[str, float] = {}
        self._closed = False

    @property
    def capacity(self) -> int:
        return self._capacity

    def identity(self) -> str:
        """Known from the first contact on; asked for again after the connection broke, if Jesse answers.

        Blocks when it asks.

        Raises:
            ResearchError: ``jesse_*``; ``jesse_unreachable`` only as long as there was no contact.
        """
        try:
            version = self._jesse_version()
        except ResearchError as error:
            if error.code is not ErrorCode.JESSE_UNREACHABLE or self._version is None:
                raise
            version = self._version[1]
        return f"Jesse {version} at {self._client.url}"

    async def warm(self) -> None:
        """The first contact. Raises as :meth:`identity`."""
        await asyncio.to_thread(self._jesse_version)

    async def run(self, run: EngineRun, progress: ProgressCallback) -> EngineOutcome:
        """See the port; raises ``candles_missing``, ``capability_missing`` and ``jesse_*`` besides.

        Cancelling ends the session at Jesse, which can only ask its worker to stop: :meth:`status` tells of
        workers that did not. Every way out removes what was put into Jesse's project.
        """
        refuse_what_jesse_cannot(run.request)
        if self._closed:
            raise _closed()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        self._running.add(task)
        try:
            async with self._slots:
                self._busy += 1
                try:
                    return await self._run_staged(run, progress)
                finally:
                    self._busy -= 1
        except asyncio.CancelledError:
            if self._closed:
                raise _closed() from None
            raise
        finally:
            self._running.discard(task)

    async def status(self) -> dict[str, Any]:
        """What :func:`look` finds, within seconds also when Jesse hangs; nothing is started."""
        found = await asyncio.to_thread(look, self._client)
        facts: dict[str, Any] = {
            **found.facts(self._client.url),
            "workers": {"capacity": self._capacity, "busy": self._busy},
            "limits": {"run_timeout_seconds": self._run_timeout, "stall_seconds": self._stall_seconds},
        }
        if self._burning:
            facts["cancelled_but_running"] = sorted(self._burning)
        return facts

    async def close(self) -> None:
        """Cancel every run at Jesse. Idempotent."""
        self._closed = True
        running = set(self._running) - {asyncio.current_task()}
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        await self._events.close()

    async def _run_staged(self, run: EngineRun, progress: ProgressCallback) -> EngineOutcome:
        progress(0.0, "preparing")
        version = await asyncio.to_thread(self._jesse_version)
        await asyncio.to_thread(refuse_gaps_in_warm_up, run)
        staged = StagedStrategies(self._client, run)
        try:
            await _whole(staged.put)
            return await self._simulated(run, staged, progress, version)
        finally:
            await self._tidied(staged)

    async def _simulated(
        self, run: EngineRun, staged: StagedStrategies, progress: ProgressCallback, version: str
    ) -> EngineOutcome:
        session_id = str(uuid.uuid4())
        began = time.monotonic()
        following = Following(self._sessions, session_id, progress, self._stall_seconds)
        async with self._events.subscribed(session_id) as events:
            try:
                async with asyncio.timeout(self._run_timeout) as limit:
                    await _whole(self._start, run, staged, following)
                    following.moved = time.monotonic()
                    progress(0.0, "loading")
                    state = await following.to_end(events)
            except StalledError:
                raise await self._stopped(following, events, _stalled(following)) from None
            except TimeoutError:
                if not limit.expired():
                    raise
                error = timeout(self._run_timeout, following.fraction, following.still, "")
                raise await self._stopped(following, events, error) from None
            except BaseException as error:
                # Also when Jesse was lost: it may be back, or have lost only us.
                if following.started:
                    patient = isinstance(error, asyncio.CancelledError)
                    await self._cancelled(session_id, events, patient=patient)
                raise
        session = await asyncio.to_thread(self._sessions.result, session_id)
        log = await asyncio.to_thread(self._sessions.log, session_id)
        engine = self._engine_facts(run, version, session_id)
        if state.status != "finished" or session["status"] != "finished":
            failure = outcomes.failed(session, following.exception, staged.names, log)
            failure.details["session_url"] = engine["session_url"]
            raise failure
        _check_what_ran(session, staged, following)
        await asyncio.to_thread(staged.check_unchanged)
        simulated = session["execution_duration"] or 0.0
        elapsed = time.monotonic() - began
        return await asyncio.to_thread(
            self._outcome, run, session, staged, log, engine, {"simulate": simulated, "all": elapsed}
        )

    def _outcome(
        self,
        run: EngineRun,
        session: dict[str, Any],
        staged: StagedStrategies,
        log: str | None,
        engine: dict[str, str],
        timings: dict[str, float],
    ) -> EngineOutcome:
        curve = daily_balances(run.request, run.candles, session["trades"], log)
        doubt = contradiction(run.request, run.candles, session["trades"], curve)
        if doubt:
            engine = {**engine, "candles_doubtful": doubt}
        return outcomes.to_outcome(run, session, staged.names, curve, log, engine, timings)

    def _start(self, run: EngineRun, staged: StagedStrategies, following: Following) -> None:
        session_id = following.session_id
        try:
            self._sessions.start(session_id, start_body(run.request, staged.names))
        except ResearchError as error:
            # Without an answer it may have started all the same.
            following.started = error.code is ErrorCode.JESSE_UNREACHABLE and "path" in error.details
            raise
        following.started = True
        description = description_of(run.request, staged.names)
        self._sessions.describe(session_id, title_of(run.request), description)

    async def _stopped(
        self, following: Following, events: Subscription, error: ResearchError
    ) -> ResearchError:
        """End a run that took too long; ``error`` with what became of it."""
        gone = not following.started or await self._cancelled(following.session_id, events, patient=True)
        details = {"session_url": self._sessions.url(following.session_id), "worker_may_still_run": not gone}
        if gone:
            return ResearchError(error.code, error.message, error.hint, details)
        return ResearchError(
            error.code,
            f"{error.message}; Jesse's worker was told to stop and has not, so it may run on",
            f"{error.hint}; restart Jesse to be rid of the worker",
            details,
        )

    async def _cancelled(self, session_id: str, events: Subscription, *, patient: bool) -> bool:
        """Tell Jesse to stop the session; whether its worker is known to have stopped."""
        try:
            await _whole(self._sessions.cancel, session_id)
        except ResearchError:
            self._burning[session_id] = time.time()
            return False
        gone = patient and await _finishing(_terminated(events))
        if gone:
            self._burning.pop(session_id, None)
        elif patient:
            self._burning[session_id] = time.time()
        return gone

    async def _tidied(self, staged: StagedStrategies) -> None:
        """Remove what this and earlier runs put into Jesse's project; what fails is tried again later."""
        self._left_behind.append(staged)
        async with self._tidying:
            for one in reversed(self._left_behind.copy()):
                try:
                    await _whole(one.remove)
                except ResearchError as error:
                    if error.code is ErrorCode.JESSE_UNREACHABLE:
                        return
                else:
                    self._left_behind.remove(one)

    def _engine_facts(self, run: EngineRun, version: str, session_id: str) -> dict[str, str]:
        facts = {
            "kind": "dashboard",
            "jesse": version,
            "session_id": session_id,
            "session_url": self._sessions.url(session_id),
        }
        unpinned = unpinned_imports(run.source)
        if unpinned:
            facts["not_pinned"] = (
                f"{', '.join(unpinned)}: imported, and neither in reach of Jesse's API nor part of Jesse; "
                "changes of theirs do not show"
            )
        return facts

    def _jesse_version(self) -> str:
        if self._version is not None and self._version[0] == self._events.losses:
            return self._version[1]
        losses = self._events.losses
        version = str(self._client.get("/system/system-info").get("jesse_version"))
        check_version(version)
        if self._version is None:
            with suppress(ResearchError):  # no reason not to run
                remove_abandoned(self._client)
        self._version = (losses, version)
        return version


async def _terminated(events: Subscription) -> bool:
    """Whether the worker says in time that it has stopped."""
    until = time.monotonic() + STOPS_WITHIN
    while (left := until - time.monotonic()) > 0:
        event = await events.next(left)
        if event is not None and event.name in ("termination", "exception"):
            return True
    return False


async def _whole(function: Callable[..., T], *arguments: Any) -> T:
    """Call in a thread; cancelling waits for its end, so that what it did is known."""
    return await _finishing(asyncio.to_thread(function, *arguments))


async def _finishing(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # what it raised is of no interest any more
        raise


def _check_what_ran(session: dict[str, Any], staged: StagedStrategies, following: Following) -> None:
    """A session has succeeded; with the code and the routes that it was to have?"""
    expected = {text.replace("\r\n", "\n").replace("\r", "\n") for text in staged.modules.values()}
    for code in (session.get("strategy_codes") or {}).values():
        if code not in expected:
            raise ResearchError(
                ErrorCode.RUN_REJECTED,
                "the strategy was changed in Jesse while it ran",
                hint="run it again: the run is then planned with the new code",
            )
    if following.added:
        raise ResearchError(
            ErrorCode.RUN_REJECTED,
            f"Jesse changed the run by itself: {following.added[0]}",
            hint="add that symbol and timeframe to data_routes",
        )


def _stalled(following: Following) -> ResearchError:
    return ResearchError(
        ErrorCode.RUN_TIMEOUT,
        f"the run stood still for {following.still:.0f} s, {following.fraction:.0%} of the candles done, "
        "and was stopped",
        hint="look for an endless loop in the strategy; the limit is JESSE_MCP_DASHBOARD_STALL",
    )


def _closed() -> ResearchError:
    return ResearchError(ErrorCode.ENGINE_FAILED, "the engine has been closed")
