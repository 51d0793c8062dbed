"""A paper session is what it would have been undisturbed, whatever happens to its process, disk or server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.paper import SqlPaperStore
from jesse_mcp.adapters.storage.runs import SqlRunStore
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.leases import Gone
from jesse_mcp.domain.paper import Minute, PaperRequest, PaperStatus
from jesse_mcp.domain.paper_records import PaperAlert, PaperPlace, PaperSession
from jesse_mcp.ports.paper import FeedNote
from jesse_mcp.ports.paper_store import NewSession, PaperProgress
from jesse_mcp.ports.webhooks import WebhookAttempt
from jesse_mcp.services.clock import Clock
from jesse_mcp.services.paper_parts import PaperParts
from jesse_mcp.services.paper_recovery import PaperKeeper
from jesse_mcp.services.paper_supervision import CRASHES, SessionRun
from paper_fakes import MINUTE, REQUEST, START, Engine, Feed, Process, crashed, minutes

LONG = 30.0
NEVER = ResearchError(ErrorCode.STORAGE_FAILED, "refused", hint="report it", details={"lasting": True})
FULL = ResearchError(ErrorCode.STORAGE_FAILED, "the disk is full", hint="free some")


Keepers = Callable[..., Awaitable[PaperKeeper]]


class Store(SqlPaperStore):
    """Refuses calls by name, before or after they are done."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.refuse: dict[str, int] = {}
        self.forget: dict[str, int] = {}

    def _guarded(self, name: str, call: Callable[[], Any]) -> Any:
        if self.refuse.get(name, 0):
            self.refuse[name] -= 1
            raise FULL
        result = call()
        if self.forget.get(name, 0):
            self.forget[name] -= 1
            raise FULL
        return result

    def log_candles(self, *arguments: Any) -> None:
        self._guarded("log_candles", lambda: super(Store, self).log_candles(*arguments))

    def record(self, session_id: str, owner: str, progress: PaperProgress) -> PaperPlace:
        place: PaperPlace = self._guarded(
            "record", lambda: super(Store, self).record(session_id, owner, progress)
        )
        return place

    def end(self, *arguments: Any) -> bool:
        return bool(self._guarded("end", lambda: super(Store, self).end(*arguments)))


@dataclass
class Desk:
    store: Store
    runs: SqlRunStore
    engine: Engine = field(default_factory=Engine)
    feed: Feed = field(default_factory=Feed)
    owner: str = "me"
    pauses: list[float] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)

    @property
    def parts(self) -> PaperParts:
        async def pause(seconds: float) -> None:
            self.pauses.append(seconds)
            await asyncio.sleep(0)

        return PaperParts(
            store=self.store,
            runs=self.runs,
            engine=self.engine,
            feeds={"replay": self.feed, "exchange": self.feed},
            owner=self.owner,
            clock=self.clock,
            pause=pause,
        )

    def create(self, name: str = "mine", request: PaperRequest = REQUEST, **more: Any) -> str:
        session = PaperSession(
            session_id=name,
            request=request,
            code_hash="c0de",
            engine="fake",
            started_at=START,
            owner=self.owner,
            leverage=1,
            **more,
        )
        self.store.create(NewSession(session, {}, (np.empty((0, 6)),)), 1e12)
        return name

    async def run(self, name: str = "mine", parts: PaperParts | None = None) -> SessionRun:
        run = SessionRun(name, parts or self.parts)
        async with asyncio.timeout(LONG):
            await run.run()
        return run

    def session(self, name: str = "mine") -> PaperSession:
        return self.store.get(name)

    def result(self, name: str = "mine") -> tuple[Any, ...]:
        """Everything that has to be the same for equal minutes."""
        session = self.store.get(name)
        return (
            session.status,
            session.place,
            self.store.equity(name).tolist(),
            self.store.trades(name),
            self.store.daily(name),
        )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    database = Database.at(tmp_path / "records.db")
    yield Desk(Store(database), SqlRunStore(database))
    database.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():
            await asyncio.sleep(0.005)


async def undisturbed(desk: Desk, *, portion: int = 10, name: str = "reference") -> tuple[Any, ...]:
    """What twenty-five minutes come to."""
    quiet = Desk(desk.store, desk.runs)
    quiet.create(name)
    for first in range(0, 25, portion):
        count = min(portion, 25 - first)
        quiet.feed.give(*minutes(first, count), ended=first + count == 25)
    await quiet.run(name)
    return quiet.result(name)


def give_all(desk: Desk, portion: int = 10) -> None:
    for first in range(0, 25, portion):
        count = min(portion, 25 - first)
        desk.feed.give(*minutes(first, count), ended=first + count == 25)


async def test_a_replay_ends_as_a_backtest_and_is_kept_as_a_run(desk: Desk) -> None:
    desk.create(warnings=("careful",))
    give_all(desk)
    await desk.run()
    session = desk.session()
    assert (session.status, session.error) == (PaperStatus.FINISHED, None)
    assert session.place == PaperPlace(through=START + 25 * MINUTE, trades=6, orders=5, daily=2)
    record = desk.runs.get(str(session.run_id))
    assert (record.kind, record.strategies, record.outcome.metrics) == ("paper", ("Mine",), {"total": 6})
    assert record.request["start_ms"] == START
    assert record.request["end_ms"] == START + 25 * MINUTE
    assert record.warnings == ("careful",)
    assert record.outcome.trades == desk.store.trades("mine")
    last = desk.store.last_equity("mine")
    assert last is not None
    assert last.equity == record.outcome.equity[-1].balance
    assert desk.engine.opened[0].closed
    assert desk.feed.open == 0


async def test_batches_of_any_size_give_the_same(desk: Desk) -> None:
    one = await undisturbed(desk, portion=1, name="one")
    assert one == await undisturbed(desk, portion=25, name="all")
    assert one == await undisturbed(desk, portion=7, name="seven")


@pytest.mark.parametrize("minute", [0, 9, 10, 17, 24])
async def test_after_a_crash_it_is_what_it_would_have_been(desk: Desk, minute: int) -> None:
    times = iter(range(CRASHES - 1))

    def once_there(at: Minute, _process: Process) -> ResearchError | None:
        there = at.timestamp == START + minute * MINUTE
        return crashed() if there and next(times, None) is not None else None

    desk.engine.faults = once_there
    desk.create()
    give_all(desk)
    run = await desk.run()
    assert desk.result() == await undisturbed(desk)
    assert run.health.restarts == CRASHES - 1
    assert all(process.closed for process in desk.engine.opened)
    assert [event.kind for event in desk.store.events("mine", 10)] == ["crash"] * (CRASHES - 1)


async def test_a_process_that_always_crashes_at_a_minute_ends_the_session_and_keeps_its_data(
    desk: Desk,
) -> None:
    desk.engine.faults = lambda at, _process: crashed() if at.timestamp == START + 12 * MINUTE else None
    desk.create()
    give_all(desk)
    await desk.run()
    session = desk.session()
    assert session.status is PaperStatus.FAILED
    assert session.error is not None
    assert session.error["code"] == "worker_crashed"
    assert len(desk.engine.opened) == CRASHES
    assert len(desk.store.equity("mine")) == 10
    assert session.run_id is None


async def test_crashes_at_different_minutes_do_not_add_up(desk: Desk) -> None:
    crashed_at: set[int] = set()

    def once_each(at: Minute, _process: Process) -> ResearchError | None:
        if at.timestamp in crashed_at:
            return None
        crashed_at.add(at.timestamp)
        return crashed()

    desk.engine.faults = once_each
    desk.create()
    give_all(desk, portion=1)
    await desk.run()
    assert desk.result() == await undisturbed(desk)
    assert len(desk.engine.opened) == 26


async def test_an_engine_that_cannot_start_is_waited_for(desk: Desk) -> None:
    lacking = ResearchError(ErrorCode.ENGINE_FAILED, "no memory", hint="wait")
    desk.engine.open_faults = [lacking] * 12
    desk.create()
    give_all(desk)
    await desk.run()
    assert desk.result() == await undisturbed(desk)
    assert desk.pauses[:8] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


async def test_a_strategy_that_raises_ends_it_with_what_was_done_before(desk: Desk) -> None:
    raised = ResearchError(
        ErrorCode.STRATEGY_RAISED, "boom", hint="fix it", details={"traceback": "x" * 20_000 + "ValueError"}
    )
    desk.engine.faults = lambda at, _process: raised if at.timestamp == START + 13 * MINUTE else None
    desk.create()
    give_all(desk)
    await desk.run()
    session = desk.session()
    assert session.status is PaperStatus.FAILED
    assert session.error is not None
    assert (session.error["code"], session.error["message"]) == ("strategy_raised", "boom")
    assert session.error["details"]["traceback"].endswith("ValueError")
    assert len(session.error["details"]["traceback"]) == 8_000
    assert len(desk.store.equity("mine")) == 13
    assert session.place.trades == 2
    assert desk.store.last_equity("mine") is not None


async def test_a_strategy_that_raises_at_its_end_fails_the_session(desk: Desk) -> None:
    desk.engine.end_fault = ResearchError(ErrorCode.STRATEGY_RAISED, "at the end", hint="fix it")
    desk.create()
    give_all(desk)
    await desk.run()
    assert desk.session().status is PaperStatus.FAILED
    assert len(desk.store.equity("mine")) == 25


@pytest.mark.parametrize("call", ["log_candles", "record", "end"])
@pytest.mark.parametrize("done", [False, True], ids=["refused", "done but not confirmed"])
async def test_a_full_disk_is_waited_for_and_nothing_is_lost_or_doubled(
    desk: Desk, call: str, done: bool
) -> None:
    (desk.store.forget if done else desk.store.refuse)[call] = 3
    desk.create()
    give_all(desk)
    run = await desk.run()
    assert desk.result() == await undisturbed(desk)
    assert len(desk.engine.opened) == 1, "the process has gone on"
    assert desk.pauses == [0.5, 1.0, 2.0]
    assert run.health.problem is None


async def test_a_full_disk_is_seen_while_it_lasts(desk: Desk) -> None:
    desk.store.refuse["record"] = 1_000_000
    desk.create()
    give_all(desk)
    run = SessionRun("mine", desk.parts)
    task = asyncio.create_task(run.run())
    await until(lambda: run.health.problem)
    assert run.health.facts(START)["problem"]["code"] == "storage_failed"
    assert desk.session().place == PaperPlace()
    desk.store.refuse.clear()
    await task
    assert desk.result() == await undisturbed(desk)


@pytest.mark.parametrize("name", ["log_candles", "record"])
async def test_what_can_never_be_stored_ends_it(
    desk: Desk, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: object) -> None:
        raise NEVER

    monkeypatch.setattr(desk.store, name, refused)
    desk.create()
    give_all(desk)
    await desk.run()
    assert desk.session().status is PaperStatus.FAILED
    assert desk.session().error == NEVER.to_dict()
    assert desk.pauses == []


async def test_one_whose_end_can_never_be_stored_is_let_go_for_good(
    desk: Desk, keepers: Keepers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: object) -> None:
        raise NEVER

    monkeypatch.setattr(desk.store, "end", refused)
    desk.create()
    keeper = await keepers("me")
    give_all(desk)
    run = keeper.begin("mine")
    await until(run.ended.is_set)
    beats, renew = [0], desk.store.renew

    def counted(*arguments: Any) -> frozenset[str]:
        beats[0] += 1
        return renew(*arguments)

    monkeypatch.setattr(desk.store, "renew", counted)
    await until(lambda: beats[0] > 3)
    assert len(desk.engine.opened) == 1


async def test_a_feed_that_cannot_go_on_ends_it(desk: Desk) -> None:
    desk.create()
    desk.feed.give(*minutes(0, 4))
    desk.feed.fail(ResearchError(ErrorCode.SYMBOL_UNKNOWN, "delisted", hint="another"))
    await desk.run()
    session = desk.session()
    assert session.status is PaperStatus.FAILED
    assert session.error is not None
    assert session.error["code"] == "symbol_unknown"
    assert len(desk.store.equity("mine")) == 4


async def test_candles_that_another_server_has_are_waited_for(desk: Desk) -> None:
    desk.create()
    desk.feed.give(*minutes(0, 4))
    desk.feed.fail(ResearchError(ErrorCode.CANDLES_MISSING, "nothing is stored", hint="candles_import(...)"))
    run, task = await followed(desk)
    await until(lambda: run.health.problem)
    assert run.health.facts(START)["problem"]["hint"] == "candles_import(...)"
    desk.feed.give(*minutes(4, 21), ended=True)
    await task
    assert desk.result() == await undisturbed(desk)


async def test_a_fault_of_ours_ends_it_with_its_data(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_at: Minute, _process: Process) -> ResearchError | None:
        raise ZeroDivisionError

    desk.engine.faults = broken
    desk.create()
    give_all(desk)
    await desk.run()
    session = desk.session()
    assert session.error is not None
    assert (session.status, session.error["code"]) == (PaperStatus.FAILED, "internal_error")
    assert "failed inside the server" in caplog.text


async def followed(desk: Desk, name: str = "mine") -> tuple[SessionRun, "asyncio.Task[None]"]:
    run = SessionRun(name, desk.parts)
    return run, asyncio.create_task(run.run())


async def test_a_stop_ends_it_after_the_minutes_at_hand(desk: Desk) -> None:
    desk.create()
    run, task = await followed(desk)
    desk.feed.give(*minutes(0, 7))
    await until(lambda: desk.session().place.through == START + 7 * MINUTE)
    run.stop()
    await task
    session = desk.session()
    assert (session.status, session.place.trades) == (PaperStatus.STOPPED, 2)
    assert desk.runs.get(str(session.run_id)).kind == "paper"
    assert desk.feed.open == 0


async def test_a_session_without_a_minute_stops_without_a_run(desk: Desk) -> None:
    desk.create()
    desk.store.request_stop("mine")
    await desk.run()
    session = desk.session()
    assert (session.status, session.run_id, session.place) == (PaperStatus.STOPPED, None, PaperPlace())


async def test_a_stop_that_was_asked_before_a_crash_is_obeyed_after_it(desk: Desk) -> None:
    desk.create()
    _, task = await followed(desk)
    desk.feed.give(*minutes(0, 7))
    await until(lambda: desk.session().place.through == START + 7 * MINUTE)
    desk.store.request_stop("mine")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert desk.session().status is PaperStatus.RUNNING
    await desk.run()
    assert desk.session().status is PaperStatus.STOPPED
    assert len(desk.store.equity("mine")) == 7


async def test_a_process_that_does_not_answer_is_ended_by_a_stop(desk: Desk) -> None:
    hangs = asyncio.Event()

    class Hanging(Process):
        async def step(self, given: Any) -> Any:
            if given[0].timestamp >= START + 10 * MINUTE:
                hangs.set()
                while not self.closed:
                    await asyncio.sleep(0.005)
                raise crashed()
            return await super().step(given)

    async def hanging(_setup: Any) -> Process:
        desk.engine.opened.append(Hanging(desk.engine))
        return desk.engine.opened[-1]

    desk.engine.open = hanging  # type: ignore[method-assign]
    desk.create()
    give_all(desk)
    run = SessionRun("mine", replace(desk.parts, stop_patience=0.0))
    task = asyncio.create_task(run.run())
    await hangs.wait()
    run.wake()
    await asyncio.sleep(0.02)
    assert not task.done(), "nobody asked for its end"
    run.stop()
    await until(lambda: _woken(run) and task.done())
    session = desk.session()
    assert session.error is not None
    assert (session.status, session.error["code"]) == (PaperStatus.STOPPED, "run_timeout")
    assert len(desk.store.equity("mine")) == 10
    assert len(desk.engine.opened) == 1, "it is not tried again"


def _woken(run: SessionRun) -> bool:
    run.wake()
    return True


async def changed(desk: Desk, run: SessionRun, leverage: int) -> None:
    number = desk.store.add_change("mine", leverage)
    run.decide()
    await until(lambda: desk.store.changes("mine")[number - 1].decided)


async def led(desk: Desk) -> tuple[SessionRun, "asyncio.Task[None]"]:
    """A session with leverage 3 from its eighth minute on, 5 from its sixteenth."""
    desk.create()
    run, task = await followed(desk)
    desk.feed.give(*minutes(0, 7))
    await until(lambda: desk.session().place.through == START + 7 * MINUTE)
    await changed(desk, run, 3)
    desk.feed.give(*minutes(7, 8))
    await until(lambda: desk.session().place.through == START + 15 * MINUTE)
    await changed(desk, run, 5)
    return run, task


async def test_a_leverage_is_for_the_minutes_after_it_also_when_they_are_repeated(desk: Desk) -> None:
    _, task = await led(desk)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    desk.feed.give(*minutes(15, 10), ended=True)
    await desk.run()
    session = desk.session()
    assert (session.status, session.leverage) == (PaperStatus.FINISHED, 5)
    closes = [1.0 + (k * 7 % 11) - 6.0 for k in range(25)]
    leverages = [1] * 7 + [3] * 8 + [5] * 10
    expected = 1000 + np.cumsum(np.array(closes) * leverages)
    assert desk.store.equity("mine")[:-1, 1].tolist() == expected[:-1].tolist()
    assert [one.before_ms for one in desk.store.changes("mine")] == [START + 7 * MINUTE, START + 15 * MINUTE]
    assert "leverage" in {event.kind for event in desk.store.events("mine", 10)}


async def test_a_leverage_that_is_refused_says_why_and_changes_nothing(desk: Desk) -> None:
    desk.create()
    run, task = await followed(desk)
    await changed(desk, run, 13)
    (change,) = desk.store.changes("mine")
    assert change.error is not None
    assert (change.error["message"], change.before_ms) == ("no leverage of 13", None)
    assert desk.session().leverage == 1
    give_all(desk)
    await task
    assert desk.result() == await undisturbed(desk)


async def test_a_strategy_that_does_something_else_the_second_time_is_found_out(desk: Desk) -> None:
    desk.create()
    _, task = await followed(desk)
    desk.feed.give(*minutes(0, 12))
    await until(lambda: desk.session().place.through == START + 12 * MINUTE)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    before = desk.store.equity("mine").tolist()

    def other(_at: Minute, process: Process) -> None:
        process.leverage = 2

    desk.engine.faults = other
    await desk.run()
    session = desk.session()
    assert session.error is not None
    assert (session.status, session.error["code"]) == (PaperStatus.FAILED, "run_rejected")
    assert desk.store.equity("mine").tolist() == before


async def test_minutes_logged_before_a_death_are_worked_through_after_it(desk: Desk) -> None:
    desk.create()
    desk.store.log_candles("mine", "me", minutes(0, 9))
    desk.feed.give(*minutes(0, 25), ended=True)
    await desk.run()
    assert desk.feed.asked == [START + 9 * MINUTE]
    assert desk.result() == await undisturbed(desk)


async def test_the_run_is_stored_once_however_often_its_end_is_repeated(desk: Desk) -> None:
    desk.create()
    give_all(desk)
    desk.store.refuse["end"] = 1_000_000
    _, task = await followed(desk)
    await until(lambda: desk.runs.page(kind="paper")[1] == 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    desk.store.refuse.clear()
    await desk.run()
    runs, total = desk.runs.page(kind="paper")
    assert total == 1
    assert desk.session().run_id == runs[0].run_id


async def test_what_a_feed_says_is_kept_and_shown(desk: Desk) -> None:
    desk.create(request=REQUEST.model_copy(update={"feed": "exchange", "end_ms": None}))
    run, task = await followed(desk)
    desk.feed.give(*minutes(0, 2), notes=(FeedNote("missing", START, "one is missing"),))
    desk.feed.give(notes=(FeedNote("outage", START + 5, "nobody answers"),))
    await until(lambda: run.health.outage_since == START + 5)
    await until(lambda: len(desk.store.events("mine", 10)) == 2)
    facts = run.health.facts(START + 5 * MINUTE)
    assert (facts["phase"], facts["minutes_behind"]) == ("following", 3)
    assert facts["latency_ms"]["last"] > 0
    desk.feed.give(notes=(FeedNote("recovered", START + 9, "back"),))
    await until(lambda: run.health.outage_since is None)
    run.stop()
    await task
    assert [event.kind for event in desk.store.events("mine", 10)] == ["missing", "outage", "recovered"]


async def test_a_threshold_that_stops_does_so_in_its_very_minute(desk: Desk) -> None:
    closes = 1000 + np.cumsum([1.0 + (k * 7 % 11) - 6.0 for k in range(25)])
    falls = 1 - closes / np.maximum.accumulate(np.maximum(closes, 1000.0))
    limit = float(np.sort(falls)[-3])
    reached = int(np.flatnonzero(falls >= limit)[0])
    watch = ({"kind": "drawdown", "limit": limit, "stop": True},)
    for name, portion in (("mine", 25), ("portions", 2)):
        desk.create(name, watch=watch)
        desk.feed = Feed()
        give_all(desk, portion)
        await desk.run(name)
        session = desk.session(name)
        assert session.status is PaperStatus.STOPPED
        assert session.place.through == START + (reached + 1) * MINUTE
        (alert,) = desk.store.alerts(name, 10)
        assert (alert.alert.timestamp, alert.alert.stop) == (session.place.through, True)
    assert desk.result("mine") == desk.result("portions")


async def test_an_alert_is_told_once_however_often_its_minute_is_repeated(desk: Desk) -> None:
    times = iter(range(2))
    desk.engine.faults = lambda at, _process: (
        crashed() if at.timestamp == START + 20 * MINUTE and next(times, None) is not None else None
    )
    desk.create(watch=({"kind": "drawdown", "limit": 0.001},))
    give_all(desk)
    await desk.run()
    quiet = Desk(desk.store, desk.runs)
    quiet.create("quiet", watch=({"kind": "drawdown", "limit": 0.001},))
    give_all(quiet)
    await quiet.run("quiet")
    told = [one.alert for one in desk.store.alerts("mine", 100)]
    assert told
    assert told == [one.alert for one in desk.store.alerts("quiet", 100)]


class Webhooks:
    """Takes everything."""

    def __init__(self) -> None:
        self.sent: list[PaperAlert] = []

    async def check(self, url: str) -> None:
        pass

    async def send(self, delivery: Any) -> WebhookAttempt:
        self.sent.append(delivery.alert)
        return WebhookAttempt()


@pytest.fixture
async def keepers(desk: Desk) -> AsyncIterator[Callable[..., Awaitable[PaperKeeper]]]:
    """Servers over the same store."""
    made: list[PaperKeeper] = []

    async def keeper(owner: str, dead: frozenset[str] = frozenset(), **more: Any) -> PaperKeeper:
        parts = replace(desk.parts, owner=owner)
        one = PaperKeeper(parts, Webhooks(), lambda name: name in dead, beat_seconds=0.01, **more)
        made.append(one)
        await one.start()
        return one

    yield keeper
    for one in made:
        await one.close()


async def test_a_session_of_a_dead_server_is_taken_up(desk: Desk, keepers: Keepers) -> None:
    desk.owner = "dead"
    desk.create()
    desk.store.log_candles("mine", "dead", minutes(0, 9))
    give_all(desk)
    await keepers("me", frozenset({"dead"}))
    await until(lambda: desk.session().status is PaperStatus.FINISHED)
    assert desk.result() == await undisturbed(desk)
    assert "taken_up" in {event.kind for event in desk.store.events("mine", 10)}


async def test_sessions_that_were_claimed_are_begun_whatever_the_disk_refuses(
    desk: Desk, keepers: Keepers, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_events = desk.store.add_events
    refused: list[str] = []

    def refused_once(session_id: str, events: Any) -> None:
        if not refused:
            refused.append(session_id)
            raise FULL
        add_events(session_id, events)

    monkeypatch.setattr(desk.store, "add_events", refused_once)
    desk.owner = "dead"
    names = [desk.create("mine"), desk.create("other")]
    desk.owner = "me"
    keeper = await keepers("me", frozenset({"dead"}))
    await until(lambda: all(keeper.run_of(name) for name in names))
    assert refused == ["mine"]


async def test_a_session_of_a_living_server_is_left_alone(desk: Desk, keepers: Keepers) -> None:
    desk.owner = "alive"
    desk.create()
    keeper = await keepers("me")
    await until(lambda: keeper._sending is not None)
    await asyncio.sleep(0.05)
    assert (desk.session().owner, desk.engine.opened) == ("alive", [])


async def test_a_session_that_was_taken_over_is_let_go(desk: Desk, keepers: Keepers) -> None:
    desk.create()
    keeper = await keepers("me")
    run = keeper.begin("mine")
    desk.feed.give(*minutes(0, 7))
    await until(lambda: desk.session().place.through == START + 7 * MINUTE)
    desk.store.claim("you", 2e13, Gone(dead=frozenset({"me"})))
    await until(run.ended.is_set)
    assert desk.engine.opened[0].closed
    assert desk.session().status is PaperStatus.RUNNING
    assert keeper.run_of("mine") is None


async def test_a_closed_server_leaves_its_sessions_to_the_next(desk: Desk, keepers: Keepers) -> None:
    desk.create()
    keeper = await keepers("me", lease_seconds=1e6)
    keeper.begin("mine")
    desk.feed.give(*minutes(0, 7))
    await until(lambda: desk.session().place.through == START + 7 * MINUTE)
    await keeper.close()
    assert desk.session().status is PaperStatus.RUNNING
    assert desk.engine.opened[0].closed
    with pytest.raises(ResearchError, match="stopping"):
        keeper.begin("mine")
    desk.feed.give(*minutes(7, 18), ended=True)
    await keepers("you")
    await until(lambda: desk.session().status is PaperStatus.FINISHED)
    assert desk.result() == await undisturbed(desk)


async def test_what_another_server_asks_is_obeyed(desk: Desk, keepers: Keepers) -> None:
    desk.create()
    keeper = await keepers("me")
    keeper.begin("mine")
    desk.feed.give(*minutes(0, 7))
    await until(lambda: desk.session().place.through == START + 7 * MINUTE)
    desk.store.add_change("mine", 4)
    await until(lambda: desk.store.changes("mine")[0].decided)
    assert desk.session().leverage == 4
    desk.store.request_stop("mine")
    await until(lambda: desk.session().status is PaperStatus.STOPPED)


async def test_alerts_are_sent(desk: Desk, keepers: Keepers) -> None:
    desk.create(watch=({"kind": "drawdown", "limit": 0.001},), webhook="https://example.org/x")
    keeper = await keepers("me")
    give_all(desk)
    keeper.begin("mine")
    await until(lambda: desk.session().status is PaperStatus.FINISHED)
    await until(lambda: all(one.delivered_at for one in desk.store.alerts("mine", 100)))
    assert isinstance(keeper.webhooks, Webhooks)
    assert keeper.webhooks.sent == [one.alert for one in desk.store.alerts("mine", 100)]


AWAY = ResearchError(ErrorCode.STORAGE_FAILED, "the database is away", details={"away": True})


@pytest.mark.parametrize("failure", [FULL, AWAY], ids=["disk", "database"])
async def test_a_heart_survives_a_store_that_refuses(
    desk: Desk,
    keepers: Keepers,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: ResearchError,
) -> None:
    """And says why at every beat, without a traceback each time a database is away."""

    def refused(*_arguments: object) -> frozenset[str]:
        raise failure

    desk.create()
    keeper = await keepers("me")
    keeper.begin("mine")
    monkeypatch.setattr(desk.store, "renew", refused)
    await until(lambda: f"the next one tries again: {failure.message}" in caplog.text)
    assert ("Traceback" in caplog.text) is (failure is FULL)
    monkeypatch.undo()
    desk.store.request_stop("mine")
    await until(lambda: desk.session().status is PaperStatus.STOPPED)


class SetClock(Clock):
    def __init__(self, now: int) -> None:
        self.now = now

    def now_ms(self) -> int:
        return self.now


@pytest.mark.parametrize("stop", [False, True])
async def test_silence_is_told_once_and_stops_if_it_is_to(desk: Desk, stop: bool) -> None:
    # An hour in which no server listened is not the silence of an exchange.
    began = START + 60 * MINUTE
    clock = desk.clock = SetClock(began)
    live = REQUEST.model_copy(update={"feed": "exchange", "end_ms": None})
    desk.create(request=live, watch=({"kind": "no_data", "limit": 5, "stop": stop},))
    run, task = await followed(desk)
    desk.feed.give(*minutes(0, 3))
    await until(lambda: desk.session().place.through == START + 3 * MINUTE)
    for clock.now in (began + 4 * MINUTE, began + 5 * MINUTE - 1):
        run.wake()
        await asyncio.sleep(0.02)
    assert (desk.store.alerts("mine", 10), task.done()) == ([], False)
    for clock.now in (began + 5 * MINUTE, began + 9 * MINUTE):
        run.wake()
        await until(lambda: desk.store.alerts("mine", 10))
        await asyncio.sleep(0.02)
    if not stop:
        assert not task.done()
        run.stop()
    await task
    (told,) = desk.store.alerts("mine", 10)
    assert (told.alert.kind, told.alert.timestamp) == ("no_data", began + 5 * MINUTE)
    assert desk.session().status is PaperStatus.STOPPED
