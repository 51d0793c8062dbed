"""Start, stop, look at and change paper sessions."""

import asyncio
from typing import Any

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper_records import PaperSession
from jesse_mcp.domain.timeframes import MINUTE_MS
from jesse_mcp.ports.paper import PaperProcess, PaperSetup
from jesse_mcp.ports.paper_store import NewSession
from jesse_mcp.services.backtest_request import MAX_LEVERAGE
from jesse_mcp.services.jobs import ProgressListener
from jesse_mcp.services.paper_engines import PaperEngines
from jesse_mcp.services.paper_metrics import PaperFigures, PaperMetrics, paper_metrics
from jesse_mcp.services.paper_recovery import PaperKeeper
from jesse_mcp.services.paper_request import PaperArguments, PaperPlanner, PinnedPaper
from jesse_mcp.services.paper_views import (
    PaperEquityCurve,
    PaperList,
    PaperLoad,
    PaperMetricsView,
    PaperStarted,
    PaperStatusView,
    PaperStopped,
    PaperTrades,
    PaperUpdated,
    equity_view,
    line_view,
    pending_view,
    started_view,
    status_view,
    stopped_view,
    trades_view,
)
from jesse_mcp.services.paper_warm_up import PaperWarmUp
from jesse_mcp.services.paper_watch import thresholds_of, watcher_of

RESOLUTIONS = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": 1_440}
UPDATABLE = ("leverage", "notes")
_RECENT = 10
#: Seconds. A session of another server is asked through the store.
_POLL_INTERVAL = 0.1


class PaperService:
    """The use cases of the tools.

    Args:
        stop_patience: seconds a stop is waited for.
        update_patience: seconds a change of leverage is waited for.
    """

    def __init__(
        self,
        planner: PaperPlanner,
        warm_up: PaperWarmUp,
        engines: PaperEngines,
        keeper: PaperKeeper,
        *,
        stop_patience: float = 50.0,
        update_patience: float = 20.0,
    ) -> None:
        self._planner = planner
        self._warm_up = warm_up
        self._engines = engines
        self._keeper = keeper
        self._parts = keeper.parts
        self._store = keeper.parts.store
        self._stop_patience = stop_patience
        self._update_patience = update_patience

    async def start(
        self, arguments: PaperArguments, on_progress: ProgressListener | None = None
    ) -> PaperStarted:
        """Begin a session and return when its strategy is loaded and it is stored.

        Raises:
            ResearchError: ``invalid_argument``, ``strategy_not_found``, ``session_exists``,
                ``candles_missing``, ``capability_missing``, ``strategy_raised`` and others of the engine, and
                those of the exchange when the warm-up has to be imported.
        """
        now = self._parts.clock.now_ms()
        plan = await asyncio.to_thread(self._planner.plan, arguments, now)
        await self._check_free(plan.session_id, given=arguments.session_id is not None)
        await asyncio.to_thread(self._engines.check, arguments.engine)
        identity = await asyncio.to_thread(self._engines.identity)
        thresholds = thresholds_of(arguments.watch, arguments.feed)
        await asyncio.to_thread(watcher_of, thresholds, plan.request, self._parts.runs)
        if arguments.webhook is not None:
            await self._keeper.webhooks.check(arguments.webhook)
        request = await self._warm_up.ready(plan.request, on_progress)
        pinned = await asyncio.to_thread(self._planner.pin, request)
        session = PaperSession(
            session_id=plan.session_id,
            request=pinned.request,
            code_hash=pinned.code_hash,
            engine=identity,
            notes=arguments.notes,
            watch=tuple(threshold.model_dump(mode="json") for threshold in thresholds),
            webhook=arguments.webhook,
            warnings=pinned.warnings,
            started_at=self._parts.clock.now_ms(),
            owner=self._parts.owner,
            leverage=pinned.request.leverage,
        )
        await self._begin(session, pinned)
        return started_view(session, pinned.warnings)

    async def stop(self, session_id: str) -> PaperStopped:
        """End a session; the stored result of one that has ended.

        Raises:
            ResearchError: ``session_not_found``; ``run_timeout`` when its owner takes too long.
        """
        if await asyncio.to_thread(self._store.request_stop, session_id):
            run = self._keeper.run_of(session_id)
            if run is not None:
                run.stop()
            await self._ended(session_id)
        session = await asyncio.to_thread(self._store.get, session_id)
        metrics = await asyncio.to_thread(self._metrics, session)
        return stopped_view(session, metrics, self._parts.clock.now_ms())

    async def status(self, session_id: str) -> PaperStatusView:
        """Raises: ResearchError: ``session_not_found``."""
        return await asyncio.to_thread(self._status, session_id)

    async def trades(self, session_id: str, limit: int, offset: int) -> PaperTrades:
        """Raises: ResearchError: ``session_not_found``."""
        trades, total = await asyncio.to_thread(self._store.trade_page, session_id, limit, offset)
        return trades_view(session_id, trades, total, offset)

    async def equity(self, session_id: str, resolution: str, limit: int, offset: int) -> PaperEquityCurve:
        """Raises: ResearchError: ``session_not_found``, ``invalid_argument``."""
        minutes = RESOLUTIONS.get(resolution)
        if minutes is None:
            raise _invalid(f"resolution is {resolution!r}", f"give one of {', '.join(RESOLUTIONS)}")
        bucket = minutes * MINUTE_MS
        points, total = await asyncio.to_thread(self._store.equity_page, session_id, bucket, limit, offset)
        return equity_view(session_id, resolution, points, total)

    async def metrics(self, session_id: str) -> PaperMetricsView:
        """Raises: ResearchError: ``session_not_found``."""

        def computed() -> PaperMetrics:
            return self._metrics(self._store.get(session_id))

        found = await asyncio.to_thread(computed)
        return PaperMetricsView(session_id=session_id, metrics=found.metrics, undefined=found.undefined)

    async def sessions(self, *, include_ended: bool, limit: int, offset: int) -> PaperList:
        """Newest first."""
        found, total = await asyncio.to_thread(
            self._store.page, active=not include_ended, limit=limit, offset=offset
        )
        now = self._parts.clock.now_ms()
        return PaperList(sessions=tuple(line_view(session, now) for session in found), total=total)

    async def load(self) -> PaperLoad:
        """All sessions of this home, whichever server works on them. Raises: ``storage_failed``."""
        counts = await asyncio.to_thread(self._store.counts)
        since = counts.furthest_behind
        behind = None if since is None else max(0.0, (self._parts.clock.now_ms() - since) / 1000)
        return PaperLoad(counts=counts, seconds_behind=behind)

    async def update(self, session_id: str, updates: dict[str, Any]) -> PaperUpdated:
        """Change leverage or notes.

        Raises:
            ResearchError: ``session_not_found``, ``invalid_argument`` naming the field,
                ``session_not_active`` for the leverage of one that has ended.
        """
        session = await asyncio.to_thread(self._store.get, session_id)
        _check_updates(updates, session)
        undecided = "leverage" in updates and await self._undecided(session_id, updates["leverage"])
        if "notes" in updates:
            await asyncio.to_thread(self._store.write_notes, session_id, updates["notes"])
        return PaperUpdated(
            session_id=session_id,
            status="updated",
            updated_fields=tuple(name for name in updates if not (undecided and name == "leverage")),
            pending=await asyncio.to_thread(self._pending, session_id) if "leverage" in updates else {},
        )

    async def _check_free(self, session_id: str, *, given: bool) -> None:
        """An id that is taken is found before anything is imported; the store decides in the end."""
        if not given:
            return
        try:
            await asyncio.to_thread(self._store.get, session_id)
        except ResearchError as error:
            if error.code is not ErrorCode.SESSION_NOT_FOUND:
                raise
        else:
            raise ResearchError(
                ErrorCode.SESSION_EXISTS,
                f"there is a paper session {session_id!r} already",
                hint="leave session_id out for a new one; paper_status shows the one there is",
            )

    async def _begin(self, session: PaperSession, pinned: PinnedPaper) -> None:
        """Open it first: what cannot be loaded leaves no session behind."""
        setup = PaperSetup(pinned.request, pinned.source, pinned.warm_up)
        process = await self._parts.engine.open(setup)
        new = NewSession(session, pinned.source, pinned.warm_up)
        # Shielded: a session that is stored is begun, whoever has stopped waiting for it.
        await asyncio.shield(asyncio.ensure_future(self._stored(new, process)))

    async def _stored(self, new: NewSession, process: PaperProcess) -> None:
        session_id = new.session.session_id
        try:
            with self._keeper.creating(session_id):
                await asyncio.to_thread(self._store.create, new, self._keeper.lease())
                self._keeper.begin(session_id, process)
        except BaseException as error:
            await process.close()
            if isinstance(error, ResearchError) and error.code is ErrorCode.STORAGE_FAILED:
                raise _perhaps_stored(session_id, error) from error
            raise

    async def _ended(self, session_id: str) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._stop_patience
        while True:
            run = self._keeper.run_of(session_id)
            session = await asyncio.to_thread(self._store.get, session_id)
            if not session.status.active:
                return
            left = deadline - loop.time()
            if left <= 0:
                raise self._slow(session_id, run is not None and run.health.problem)
            if run is None:
                await asyncio.sleep(min(_POLL_INTERVAL, left))
                continue
            try:
                async with asyncio.timeout(left):
                    await run.ended.wait()
            except TimeoutError:
                continue

    def _slow(self, session_id: str, problem: Any) -> ResearchError:
        reason = f": {problem['message']}" if problem else ""
        return ResearchError(
            ErrorCode.RUN_TIMEOUT,
            f"the session {session_id!r} has not stopped within {self._stop_patience:g} s{reason}",
            hint="it stops as soon as it can: call paper_status, or paper_stop again",
        )

    async def _undecided(self, session_id: str, leverage: int) -> bool:
        """Ask for a leverage; whether the owner has not decided in time.

        Raises:
            ResearchError: why it was refused.
        """
        number = await asyncio.to_thread(self._store.add_change, session_id, leverage)
        run = self._keeper.run_of(session_id)
        if run is not None:
            run.decide()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._update_patience
        while loop.time() < deadline:
            changes = await asyncio.to_thread(self._store.changes, session_id)
            (change,) = [one for one in changes if one.number == number]
            if change.error is not None:
                raise ResearchError.from_dict(change.error)
            if change.decided:
                return False
            session = await asyncio.to_thread(self._store.get, session_id)
            if not session.status.active:
                raise _over(session)
            await asyncio.sleep(_POLL_INTERVAL / 4)
        return True

    def _status(self, session_id: str) -> PaperStatusView:
        session = self._store.get(session_id)
        run = self._keeper.run_of(session_id)
        now = self._parts.clock.now_ms()
        return status_view(
            session,
            self._metrics(session),
            _stored_health(session) if run is None else run.health.facts(now),
            self._store.alerts(session_id, _RECENT),
            self._store.events(session_id, _RECENT),
            self._store.changes(session_id),
            now,
        )

    def _pending(self, session_id: str) -> dict[str, Any]:
        return pending_view(self._store.get(session_id), self._store.changes(session_id))

    def _metrics(self, session: PaperSession) -> PaperMetrics:
        last = self._store.last_equity(session.session_id)
        return paper_metrics(
            PaperFigures(
                starting_balance=session.request.starting_balance,
                trades=self._store.trades(session.session_id),
                daily=self._store.daily(session.session_id),
                equity=None if last is None else last.equity,
                unrealized_pnl=0.0 if last is None else last.unrealized_pnl,
                max_drawdown=None if last is None else last.max_drawdown,
            )
        )


def _perhaps_stored(session_id: str, error: ResearchError) -> ResearchError:
    """A database that goes away may have stored what it did not answer."""
    if error.lasting:
        return error
    hint = f"{error.hint}; then paper_status(session_id={session_id!r}) says whether it began all the same"
    return ResearchError(error.code, error.message, hint=hint, details=error.details)


def _stored_health(session: PaperSession) -> dict[str, Any]:
    """Of a session that is another server's, or over."""
    latency = session.state.latency_ms
    return {
        "phase": "elsewhere" if session.status.active else "ended",
        "latency_ms": None if latency is None else {"last": latency},
    }


def _check_updates(updates: dict[str, Any], session: PaperSession) -> None:
    unknown = [name for name in updates if name not in UPDATABLE]
    if unknown or not updates:
        raise _invalid(
            f"updates has {', '.join(map(repr, unknown)) or 'nothing'}",
            f"only {' and '.join(UPDATABLE)} can be changed; for the rest stop it and start another",
        )
    if "leverage" in updates:
        leverage = updates["leverage"]
        if isinstance(leverage, bool) or not isinstance(leverage, int) or not 1 <= leverage <= MAX_LEVERAGE:
            raise _invalid(f"updates.leverage is {leverage!r}", f"give a whole number, 1 to {MAX_LEVERAGE}")
        if session.request.exchange_type == "spot":
            raise _invalid(
                f"updates.leverage is {leverage}, and {session.request.exchange} is traded as spot",
                "start a session on a futures exchange",
            )
        if not session.status.active:
            raise _over(session)
    notes = updates.get("notes")
    if notes is not None and not (isinstance(notes, str) and len(notes) <= 2_000):
        raise _invalid(f"updates.notes is {str(notes)[:100]!r}", "give a text of 2000 characters at most")


def _over(session: PaperSession) -> ResearchError:
    return ResearchError(
        ErrorCode.SESSION_NOT_ACTIVE,
        f"the paper session {session.session_id!r} is {session.status.value}",
        hint="its results stay readable (paper_status, run_get); start a new one with paper_start",
        details={"status": session.status.value},
    )


def _invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
