"""What the tools of paper sessions ask and answer, with an engine and a feed that do what they are told."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.paper import SqlPaperStore
from jesse_mcp.adapters.storage.runs import SqlRunStore
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper import PaperRequest, PaperStatus
from jesse_mcp.domain.paper_records import PaperSession
from jesse_mcp.ports.paper_store import NewSession
from jesse_mcp.ports.webhooks import WebhookAttempt
from jesse_mcp.services.clock import Clock
from jesse_mcp.services.paper_engines import PaperEngines
from jesse_mcp.services.paper_parts import PaperParts
from jesse_mcp.services.paper_recovery import PaperKeeper
from jesse_mcp.services.paper_request import PaperArguments, PaperPlan, PinnedPaper
from jesse_mcp.services.paper_sessions import PaperService
from paper_fakes import MINUTE, REQUEST, START, Engine, Feed, minutes


class Stopped(Clock):
    """Two hours after the start."""

    def now_ms(self) -> int:
        return START + 120 * MINUTE


class Webhooks:
    """Refuses one address."""

    async def check(self, url: str) -> None:
        if url == "http://inside":
            raise ResearchError(ErrorCode.INVALID_ARGUMENT, "an inside address", hint="another")

    async def send(self, _delivery: Any) -> WebhookAttempt:
        return WebhookAttempt()


class Planner:
    """Knows one request."""

    def __init__(self) -> None:
        self.request: PaperRequest = REQUEST

    def plan(self, arguments: PaperArguments, _now: int) -> PaperPlan:
        return PaperPlan(session_id=arguments.session_id or "made", request=self.request)

    def pin(self, request: PaperRequest) -> PinnedPaper:
        return PinnedPaper(request, {}, "c0de", (np.empty((0, 6)),), ("careful",))


class WarmUp:
    async def ready(self, request: PaperRequest, _progress: Any) -> PaperRequest:
        return request


class Desk:
    def __init__(self, database: Database) -> None:
        self.store, self.engine, self.feed = SqlPaperStore(database), Engine(), Feed()
        self.planner = Planner()
        parts = PaperParts(
            store=self.store,
            runs=SqlRunStore(database),
            engine=self.engine,
            feeds={"replay": self.feed, "exchange": self.feed},
            owner="me",
            clock=Stopped(),
        )
        self.keeper = PaperKeeper(parts, Webhooks(), lambda _owner: False, beat_seconds=0.01)
        # What a session of this server is asked is waited for, however busy the machine is.
        self.service = self.asking(stop_patience=60, update_patience=60)
        #: For sessions whose server never answers.
        self.impatient = self.asking(stop_patience=0.3, update_patience=0.1)

    def asking(self, stop_patience: float, update_patience: float) -> PaperService:
        return PaperService(
            self.planner,  # type: ignore[arg-type]
            WarmUp(),  # type: ignore[arg-type]
            PaperEngines(lambda: "fake engine"),
            self.keeper,
            stop_patience=stop_patience,
            update_patience=update_patience,
        )

    async def start(self, name: str = "mine", **more: Any) -> None:
        await self.service.start(PaperArguments(session_id=name, **more))

    def elsewhere(self, name: str = "theirs") -> str:
        """A session of a server that lives, and does nothing."""
        session = PaperSession(
            session_id=name,
            request=REQUEST,
            code_hash="c0de",
            engine="fake",
            started_at=START,
            owner="you",
            leverage=1,
        )
        self.store.create(NewSession(session, {}, (np.empty((0, 6)),)), 1e12)
        return name


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database.at(tmp_path / "records.db")
    desk = Desk(database)
    await desk.keeper.start()
    yield desk
    await desk.keeper.close()
    database.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def refused(call: Any) -> ResearchError:
    with pytest.raises(ResearchError) as caught:
        await call
    assert caught.value.hint
    return caught.value


async def test_a_session_from_its_start_to_its_end(desk: Desk) -> None:
    started = await desk.service.start(PaperArguments(notes="n", watch=({"kind": "drawdown", "limit": 0.9},)))
    assert (started.session_id, started.status, started.started_at) == (
        "made",
        "running",
        "2024-01-01T02:00:00Z",
    )
    assert (started.trading_from, started.trading_until) == ("2024-01-01T00:00:00Z", "2024-01-01T01:40:00Z")
    assert started.warnings == ("careful",)
    desk.feed.give(*minutes(0, 7))
    await until(lambda: desk.store.get("made").place.through)
    status = await desk.service.status("made")
    assert (status.status, status.traded_through, status.notes) == ("running", "2024-01-01T00:07:00Z", "n")
    equity = desk.store.last_equity("made")
    assert equity is not None
    assert (status.current_equity, status.unrealized_pnl) == (equity.equity, 1.0)
    assert (status.feed["phase"], status.feed["minutes_behind"]) == ("following", None)
    assert [
        line.session_id
        for line in (await desk.service.sessions(include_ended=False, limit=5, offset=0)).sessions
    ] == ["made"]
    updated = await desk.service.update("made", {"leverage": 3, "notes": None})
    assert (updated.updated_fields, updated.pending) == (("leverage", "notes"), {})
    stopped = await desk.service.stop("made")
    assert (stopped.status, stopped.error, stopped.duration_hours) == ("stopped", None, 0.0)
    assert stopped.final_metrics["final_equity"] == desk.engine.opened[0].balance - 1
    assert (await desk.service.sessions(include_ended=False, limit=5, offset=0)).total == 0
    trades = await desk.service.trades("made", 10, 1)
    assert [trade["trade_id"] for trade in trades.trades] == [2]
    assert trades.total_trades == 2


async def test_a_start_that_fails_leaves_neither_session_nor_process(desk: Desk) -> None:
    await desk.start()
    assert (await refused(desk.start())).code is ErrorCode.SESSION_EXISTS
    raised = ResearchError(ErrorCode.STRATEGY_RAISED, "at import", hint="fix")
    desk.engine.open_faults = [raised]
    assert (await refused(desk.start("other"))).code is ErrorCode.STRATEGY_RAISED
    assert (await refused(desk.start("other", webhook="http://inside"))).message == "an inside address"
    watch = ({"kind": "drift", "limit": 0.9, "run_id": "run_no"},)
    assert (await refused(desk.start("other", watch=watch))).code is ErrorCode.RUN_NOT_FOUND
    assert (await desk.service.sessions(include_ended=True, limit=5, offset=0)).total == 1
    assert len(desk.engine.opened) == 1


async def test_of_two_starts_with_one_id_at_once_one_begins(desk: Desk) -> None:
    results = await asyncio.gather(desk.start(), desk.start(), return_exceptions=True)
    (error,) = [result for result in results if result is not None]
    assert isinstance(error, ResearchError)
    assert error.code is ErrorCode.SESSION_EXISTS
    await until(lambda: sum(not process.closed for process in desk.engine.opened) == 1)


async def test_an_owner_that_does_not_obey_is_not_waited_for_forever(desk: Desk) -> None:
    name = desk.elsewhere()
    error = await refused(desk.impatient.stop(name))
    assert (error.code, "paper_stop again" in str(error.hint)) == (ErrorCode.RUN_TIMEOUT, True)
    assert desk.store.get(name).stop_requested
    updated = await desk.impatient.update(name, {"leverage": 2, "notes": "x"})
    assert (updated.updated_fields, updated.pending["leverage"]) == (("notes",), 2)
    assert str(updated.pending["when"]).startswith("its server has answered")
    assert (await desk.service.status(name)).feed == {
        "kind": "replay",
        "speed": None,
        "phase": "elsewhere",
        "latency_ms": None,
    }


@pytest.mark.parametrize(
    "updates",
    [
        {},
        {"fee": 1},
        {"leverage": 0},
        {"leverage": True},
        {"leverage": "2"},
        {"notes": 1},
        {"notes": "x" * 2001},
    ],
    ids=str,
)
async def test_an_update_of_anything_else_is_refused(desk: Desk, updates: dict[str, Any]) -> None:
    name = desk.elsewhere()
    assert (await refused(desk.service.update(name, updates))).code is ErrorCode.INVALID_ARGUMENT


async def test_a_leverage_that_the_engine_refuses_says_why(desk: Desk) -> None:
    await desk.start()
    assert (await refused(desk.service.update("mine", {"leverage": 13}))).message == "no leverage of 13"
    await desk.service.stop("mine")
    error = await refused(desk.service.update("mine", {"leverage": 3}))
    assert (error.code, error.details) == (ErrorCode.SESSION_NOT_ACTIVE, {"status": "stopped"})


async def test_a_leverage_that_waits_is_shown_until_it_is_in_force(desk: Desk) -> None:
    await desk.start()
    desk.feed.give(*minutes(0, 2))
    await until(lambda: desk.store.get("mine").place.through)
    updated = await desk.service.update("mine", {"leverage": 11})
    assert updated.pending["leverage"] == 11
    assert str(updated.pending["when"]).startswith("no position is open")
    status = await desk.service.status("mine")
    assert (status.leverage, status.pending) == (1, updated.pending)
    desk.feed.give(*minutes(2, 4))
    await until(lambda: desk.store.get("mine").leverage_in_force == 11)
    status = await desk.service.status("mine")
    assert (status.leverage, status.pending) == (11, {})
    told = [event["message"] for event in status.events if event["kind"] == "leverage"]
    assert sorted(told)[0] == "11 is in force from 2024-01-01T00:03Z"
    assert len(told) == 2
    assert (await desk.service.update("mine", {"leverage": 3})).pending == {}
    assert (await desk.service.status("mine")).leverage == 3


async def test_log_lines_of_several_steps_stay_lines(desk: Desk) -> None:
    await desk.start(watch=({"kind": "drawdown", "limit": 0.9, "stop": True},))
    desk.feed.give(*minutes(0, 3))
    await until(lambda: desk.store.get("mine").place.through)
    assert desk.store.get("mine").log_tail == "1 minutes\n1 minutes\n1 minutes\n"


async def test_a_caller_that_leaves_does_not_leave_half_a_session(desk: Desk) -> None:
    starting = asyncio.create_task(desk.start())
    await until(lambda: desk.engine.opened)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)

    def settled() -> bool:
        stored = desk.store.page(active=True, limit=5, offset=0)[1]
        return bool(stored) == (desk.keeper.run_of("mine") is not None) == (not desk.engine.opened[0].closed)

    await until(settled)


@pytest.mark.parametrize("others", [0, 1])
async def test_a_session_that_is_stored_and_not_answered_is_worked_on(
    desk: Desk, others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(others):
        await desk.start(f"other-{number}")
    create = desk.store.create

    def answer_lost(*arguments: Any) -> None:
        create(*arguments)
        raise ResearchError(ErrorCode.STORAGE_FAILED, "the connection was lost", hint="repeat the call")

    monkeypatch.setattr(desk.store, "create", answer_lost)
    error = await refused(desk.service.start(PaperArguments(session_id="mine")))
    assert error.code is ErrorCode.STORAGE_FAILED
    assert str(error.hint) == (
        "repeat the call; then paper_status(session_id='mine') says whether it began all the same"
    )
    assert desk.engine.opened[others].closed
    await until(lambda: desk.keeper.run_of("mine"))
    desk.feed.give(*minutes(0, 3), ended=True)
    await until(lambda: desk.store.get("mine").status is PaperStatus.FINISHED)
    assert len(desk.engine.opened) == others + 2, "it is begun once"


async def test_a_session_that_is_being_stored_is_begun_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, renew = desk.store.create, desk.store.renew
    renewed = threading.Semaphore(0)

    def seen(*arguments: Any) -> frozenset[str]:
        found = renew(*arguments)
        if "mine" in found:
            renewed.release()
        return found

    def answered_late(*arguments: Any) -> None:
        create(*arguments)
        # Twice: what the first has found is begun before the second.
        assert renewed.acquire(timeout=30)
        assert renewed.acquire(timeout=30)

    monkeypatch.setattr(desk.store, "renew", seen)
    monkeypatch.setattr(desk.store, "create", answered_late)
    await desk.start()
    desk.feed.give(*minutes(0, 3), ended=True)
    await until(lambda: desk.store.get("mine").status is PaperStatus.FINISHED)
    assert len(desk.engine.opened) == 1


async def test_a_resolution_that_is_none_is_refused(desk: Desk) -> None:
    assert (await refused(desk.service.equity("mine", "7m", 5, 0))).code is ErrorCode.INVALID_ARGUMENT


async def test_the_load_says_how_far_behind_the_last_one_is(desk: Desk) -> None:
    assert (await desk.service.load()).seconds_behind is None
    desk.planner.request = REQUEST.model_copy(update={"feed": "exchange", "end_ms": None})
    await desk.start()
    load = await desk.service.load()
    assert (load.seconds_behind, load.counts.sessions[PaperStatus.RUNNING]) == (120 * 60.0, 1)
    desk.planner.request = desk.planner.request.model_copy(update={"start_ms": START + 130 * MINUTE})
    await desk.start("later")
    assert (await desk.service.load()).seconds_behind == 120 * 60.0
    await desk.service.stop("mine")
    load = await desk.service.load()
    assert load.seconds_behind == 0.0, "a start that is still to come is not behind"
