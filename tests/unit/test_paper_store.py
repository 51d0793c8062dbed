"""Paper sessions are stored before they are reported, once, by their owner alone."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.owner import owner_is_dead
from jesse_mcp.adapters.storage.paper import SqlPaperStore
from jesse_mcp.adapters.storage.paper_rows import pack_minutes, unpack_minutes
from jesse_mcp.domain.backtests import Route, Trade
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.identity import new_id
from jesse_mcp.domain.leases import Gone
from jesse_mcp.domain.paper import Minute, PaperEquity, PaperOrder, PaperRequest, PaperStatus, PaperStep
from jesse_mcp.domain.paper_records import (
    PaperAlert,
    PaperChange,
    PaperEnd,
    PaperEvent,
    PaperPlace,
    PaperSession,
    PaperState,
)
from jesse_mcp.ports.paper_store import NewSession, OwnerRequests, PaperProgress
from jesse_mcp.services.lease_watch import LeaseWatch

MINUTE = 60_000
START = 1_704_067_200_000
REQUEST = PaperRequest(
    exchange="Binance Spot",
    exchange_type="spot",
    routes=(Route(strategy="Mine", symbol="BTC-USDT", timeframe="1h"),),
    start_ms=START,
    end_ms=None,
    starting_balance=1000.0,
    fee=0.001,
    warm_up_candles=2,
    feed="exchange",
)
WARM_UP = np.arange(18, dtype=np.float64).reshape(3, 6) / 7


@pytest.fixture
def store(records: Database) -> SqlPaperStore:
    return SqlPaperStore(records)


def made(store: SqlPaperStore, name: str = "mine", owner: str = "me", **changes: Any) -> PaperSession:
    values = {
        "session_id": name,
        "request": REQUEST,
        "code_hash": "c0de",
        "engine": "jesse 3.5.3",
        "started_at": START,
        "owner": owner,
        "leverage": 1,
    }
    session = PaperSession(**{**values, **changes})
    store.create(NewSession(session, {"strategies/Mine/__init__.py": "x = 'ä'\n"}, (WARM_UP,)), 100.0)
    return session


def minutes(first: int, count: int) -> list[Minute]:
    return [
        Minute(timestamp=START + k * MINUTE, rows={0: (1 / 3, 2.0, 3.0, 0.1 + k, 5.0)})
        for k in range(first, first + count)
    ]


def trade(number: int) -> Trade:
    return Trade(
        strategy="Mine",
        exchange="Binance Spot",
        symbol="BTC-USDT",
        type="long",
        opened_at=START,
        closed_at=START + number,
        entry_price=1 / 3,
        exit_price=2.0,
        qty=1.0,
        size=2.0,
        fee=0.1,
        pnl=0.1 + 0.2,
        pnl_percentage=None,
        holding_period=60.0,
        orders=({"price": 1 / 3},),
    )


def order(number: int) -> PaperOrder:
    return PaperOrder(
        timestamp=START,
        number=number,
        event="submitted",
        symbol="BTC-USDT",
        side="buy",
        type="LIMIT",
        qty=1.0,
        price=None,
        reduce_only=False,
    )


def step(first: int, equity: list[float], trades: int = 0, first_trade: int = 0, **more: Any) -> PaperStep:
    points = [
        PaperEquity(timestamp=START + (first + k + 1) * MINUTE, equity=value, unrealized_pnl=value / 3)
        for k, value in enumerate(equity)
    ]
    return PaperStep(
        minutes=len(equity),
        equity=tuple(points),
        trades=tuple(trade(first_trade + k) for k in range(trades)),
        **more,
    )


def progress(place: PaperPlace, done: PaperStep) -> PaperProgress:
    return PaperProgress(place, done.equity[-1].timestamp, done, PaperState(seconds=0.5))


def recorded(store: SqlPaperStore, equity: list[float], name: str = "mine") -> PaperPlace:
    """A session with these equities, one minute each."""
    return store.record(name, "me", progress(PaperPlace(), step(0, equity)))


def refused(call: Callable[[], object]) -> ErrorCode:
    with pytest.raises(ResearchError) as caught:
        call()
    assert caught.value.hint
    return caught.value.code


def test_a_session_comes_back_as_it_was_created(store: SqlPaperStore) -> None:
    watch = ({"kind": "drawdown", "limit": 0.1},)
    session = made(store, notes="ä", watch=watch, webhook="https://x", warnings=("w",))
    assert store.get("mine") == session
    setup = store.setup("mine")
    assert setup.request == REQUEST
    assert setup.source == {"strategies/Mine/__init__.py": "x = 'ä'\n"}
    assert np.array_equal(setup.warm_up[0], WARM_UP)
    assert store.request("mine") == REQUEST


def test_an_id_is_given_once(store: SqlPaperStore) -> None:
    made(store)
    assert refused(lambda: made(store)) is ErrorCode.SESSION_EXISTS
    store.end("mine", "me", PaperEnd(status=PaperStatus.STOPPED, ended_at=START))
    assert refused(lambda: made(store)) is ErrorCode.SESSION_EXISTS
    assert store.page(active=False, limit=5, offset=0)[1] == 1


def test_what_concerns_an_unknown_session_says_so(store: SqlPaperStore) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.get("no"),
        lambda: store.setup("no"),
        lambda: store.request("no"),
        lambda: store.trades("no"),
        lambda: store.trade_page("no", 1, 0),
        lambda: store.daily("no"),
        lambda: store.equity("no"),
        lambda: store.equity_page("no", MINUTE, 1, 0),
        lambda: store.last_equity("no"),
        lambda: store.events("no", 1),
        lambda: store.alerts("no", 1),
        lambda: store.alert_keys("no"),
        lambda: store.logged("no", 0, 1),
        lambda: store.logged_through("no"),
        lambda: store.changes("no"),
        lambda: store.add_change("no", 2),
        lambda: store.write_notes("no", None),
        lambda: store.request_stop("no"),
        lambda: store.log_candles("no", "me", minutes(0, 1)),
        lambda: store.record("no", "me", progress(PaperPlace(), step(0, [1.0]))),
        lambda: store.end("no", "me", PaperEnd(status=PaperStatus.STOPPED, ended_at=0)),
        lambda: store.add_events("no", []),
        lambda: store.add_alerts("no", [], None),
    ]
    for call in calls:
        assert refused(call) is ErrorCode.SESSION_NOT_FOUND


def test_candles_are_logged_once_and_read_in_parts(store: SqlPaperStore) -> None:
    made(store)
    assert (store.logged("mine", 0, 10), store.logged_through("mine")) == ((), None)
    store.log_candles("mine", "me", minutes(0, 5))
    store.log_candles("mine", "me", minutes(3, 4))
    store.log_candles("mine", "me", minutes(0, 7))
    store.log_candles("mine", "me", minutes(7, 1))
    whole = tuple(minutes(0, 8))
    assert store.logged("mine", 0, 100) == whole
    assert store.logged_through("mine") == START + 8 * MINUTE
    for limit in (1, 2, 3, 7):
        parts: list[Minute] = []
        while part := store.logged("mine", parts[-1].timestamp + 1 if parts else 0, limit):
            assert len(part) <= limit
            parts += part
        assert tuple(parts) == whole
    assert store.logged("mine", START + 4 * MINUTE, 100) == whole[4:]


def test_recording_is_idempotent_and_in_order(store: SqlPaperStore) -> None:
    made(store)
    first = step(0, [1000.0, 990.0], trades=2, orders=(order(0),), daily=((START, 1000.0),), log="a\n")
    place = store.record("mine", "me", progress(PaperPlace(), first))
    assert place == PaperPlace(through=START + 2 * MINUTE, trades=2, orders=1, daily=1)
    again = store.record("mine", "me", progress(PaperPlace(), first))
    assert again == place
    second = step(2, [1010.0], trades=1, first_trade=2, orders=(order(1), order(2)), log="b\n")
    store.record("mine", "me", progress(place, second))
    session = store.get("mine")
    assert session.place == PaperPlace(through=START + 3 * MINUTE, trades=3, orders=3, daily=1)
    assert (session.log_tail, session.state.seconds) == ("a\nb\n", 0.5)
    assert store.trades("mine") == (trade(0), trade(1), trade(2))
    assert store.trade_page("mine", 1, 1) == ([trade(1)], 3)
    assert store.daily("mine") == ((START, 1000.0),)
    assert store.holds("mine", progress(PaperPlace(), first))
    assert store.holds("mine", progress(place, second))


def test_a_step_from_another_place_is_a_fault(store: SqlPaperStore) -> None:
    made(store)
    recorded(store, [1000.0])
    with pytest.raises(ValueError, match="recorded to"):
        store.record("mine", "me", progress(PaperPlace(), step(1, [1.0])))
    assert len(store.equity("mine")) == 1


@pytest.mark.parametrize(
    "other",
    [
        step(0, [1000.0, 990.1], trades=1),
        step(0, [1000.0, 990.0], trades=1, first_trade=1),
        step(0, [1000.0, 990.0], trades=1, daily=((START, 1.0),)),
        step(0, [1000.0, 990.0], trades=1, orders=(order(0),)),
    ],
)
def test_another_outcome_is_told_apart(store: SqlPaperStore, other: PaperStep) -> None:
    made(store)
    done = step(0, [1000.0, 990.0], trades=1)
    store.record("mine", "me", progress(PaperPlace(), done))
    assert store.holds("mine", progress(PaperPlace(), done))
    assert not store.holds("mine", progress(PaperPlace(), other))


def test_drawdown_is_from_the_highest_minute_and_the_starting_balance(store: SqlPaperStore) -> None:
    made(store)
    place = recorded(store, [900.0, 1200.0, 600.0])
    store.record("mine", "me", progress(place, step(3, [900.0])))
    assert store.equity("mine")[:, 3].tolist() == pytest.approx([0.1, 0.0, 0.5, 0.25], abs=1e-15)
    assert store.equity("mine", START + 3 * MINUTE)[:, 1].tolist() == [900.0]
    last = store.last_equity("mine")
    assert last is not None
    assert (last.timestamp, last.equity, last.unrealized_pnl) == (START + 4 * MINUTE, 900.0, 300.0)
    assert last.max_drawdown == 0.5


def test_equity_is_thinned_to_the_last_minute_of_each_bucket(store: SqlPaperStore) -> None:
    made(store)
    recorded(store, [1000.0 + k for k in range(12)])
    points, total = store.equity_page("mine", 5 * MINUTE, 10, 0)
    # A minute that closes on the boundary began before it: it is the last of its bucket.
    assert [(p.timestamp - START) // MINUTE for p in points] == [5, 10, 12]
    assert [p.equity for p in points] == [1004.0, 1009.0, 1011.0]
    assert total == 3
    page, total = store.equity_page("mine", 5 * MINUTE, 1, 1)
    assert (page, total) == (points[1:2], 3)
    assert store.equity_page("mine", MINUTE, 5, 10)[0][0].equity == 1010.0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    equity=st.lists(st.floats(0, 1e6), min_size=1, max_size=40),
    cut=st.integers(0, 40),
    bucket=st.integers(1, 15),
)
def test_thinning_agrees_with_the_whole_curve(
    store: SqlPaperStore, equity: list[float], cut: int, bucket: int
) -> None:
    name = new_id("session")
    made(store, name)
    parts = [(0, equity[:cut]), (min(cut, len(equity)), equity[cut:])]
    place = PaperPlace()
    for first, values in parts:
        if values:
            place = store.record(name, "me", progress(place, step(first, values)))
    points, total = store.equity_page(name, bucket * MINUTE, 1000, 0)
    whole = store.equity(name)
    peaks = np.maximum.accumulate(np.maximum(whole[:, 1], 1000.0))
    assert np.array_equal(whole[:, 3], 1 - whole[:, 1] / peaks)
    buckets = ((whole[:, 0] - MINUTE) // (bucket * MINUTE)).astype(int)
    last = [int(np.flatnonzero(buckets == one)[-1]) for one in sorted(set(buckets.tolist()))]
    assert total == len(points) == len(last)
    assert [p.equity for p in points] == whole[last, 1].tolist()
    assert [p.drawdown for p in points] == whole[last, 3].tolist()


def test_the_end_adds_what_closing_everything_made(store: SqlPaperStore) -> None:
    made(store)
    recorded(store, [1000.0, 1100.0, 1050.0])
    end = PaperEnd(
        status=PaperStatus.STOPPED,
        ended_at=START + 9,
        run_id="run_x",
        trades=(trade(0),),
        daily=((START, 5.0),),
        final_equity=880.0,
        log="over\n",
    )
    assert store.end("mine", "me", end)
    session = store.get("mine")
    assert (session.status, session.ended_at, session.run_id) == (PaperStatus.STOPPED, START + 9, "run_x")
    assert (session.place.trades, session.place.daily, session.log_tail) == (1, 1, "over\n")
    assert store.trades("mine") == (trade(0),)
    last = store.last_equity("mine")
    assert last is not None
    assert (last.equity, last.unrealized_pnl) == (880.0, 0.0)
    assert last.drawdown == last.max_drawdown == pytest.approx(0.2)
    assert len(store.equity("mine")) == 3


def test_the_first_end_stands(store: SqlPaperStore) -> None:
    made(store)
    assert store.end("mine", "me", PaperEnd(status=PaperStatus.FAILED, ended_at=1, error={"code": "x"}))
    assert not store.end("mine", "me", PaperEnd(status=PaperStatus.STOPPED, ended_at=2))
    assert store.get("mine").error == {"code": "x"}
    assert not store.request_stop("mine")
    assert refused(lambda: store.add_change("mine", 2)) is ErrorCode.SESSION_NOT_ACTIVE


def test_only_the_owner_writes(store: SqlPaperStore) -> None:
    made(store)
    end = PaperEnd(status=PaperStatus.STOPPED, ended_at=1)
    for call in (
        lambda: store.log_candles("mine", "you", minutes(0, 1)),
        lambda: store.record("mine", "you", progress(PaperPlace(), step(0, [1.0]))),
        lambda: store.end("mine", "you", end),
        lambda: store.decide("mine", "you", PaperChange(number=1, leverage=2, before_ms=1)),
    ):
        assert refused(call) is ErrorCode.SESSION_NOT_ACTIVE
    assert (store.logged_through("mine"), store.get("mine").place) == (None, PaperPlace())
    store.end("mine", "me", end)
    assert refused(lambda: store.log_candles("mine", "me", minutes(0, 1))) is ErrorCode.SESSION_NOT_ACTIVE


def test_sessions_of_the_dead_and_the_silent_are_taken_over_once(store: SqlPaperStore) -> None:
    for name, owner in {"a": "dead", "b": "silent", "c": "alive", "d": "me"}.items():
        made(store, name, owner)
    seen = store.leases()
    assert seen.keys() == {"dead", "silent", "alive", "me"}
    for owner in ("alive", "me", "dead"):
        store.renew(owner, 50.0)
    gone = Gone(frozenset({"dead"}), seen)
    assert store.claim("me", 300.0, gone) == ["a", "b"], "not what was renewed since"
    assert store.claim("you", 300.0, gone) == []
    assert store.renew("me", 400.0) == {"a", "b", "d"}
    assert store.get("a").owner == "me"
    store.release("me")
    assert store.claim("you", 300.0, Gone()) == ["a", "b", "d"]
    store.end("a", "you", PaperEnd(status=PaperStatus.STOPPED, ended_at=1))
    assert store.claim("me", 2e9, Gone(silent=store.leases())) == ["b", "c", "d"]


def at_once(call: Callable[[int], Any]) -> list[Any]:
    barrier = Barrier(6)

    def one(number: int) -> Any:
        barrier.wait()
        return call(number)

    with ThreadPoolExecutor(6) as threads:
        return list(threads.map(one, range(6)))


def test_servers_that_act_at_once_do_not_disturb_each_other(store: SqlPaperStore) -> None:
    made(store, owner="silent")
    gone = Gone(silent=store.leases())
    taken = at_once(lambda number: store.claim(f"server {number}", 200.0, gone))
    assert sorted(taken) == [[]] * 5 + [["mine"]]
    owner = store.get("mine").owner
    assert owner == f"server {taken.index(['mine'])}"
    assert sorted(at_once(lambda number: store.add_change("mine", number + 1))) == [1, 2, 3, 4, 5, 6]
    end = PaperEnd(status=PaperStatus.STOPPED, ended_at=START)
    assert sorted(at_once(lambda _: store.end("mine", owner, end))) == [False] * 5 + [True]


def test_a_session_of_another_machine_is_taken_over_when_that_is_silent(store: SqlPaperStore) -> None:
    far = "far.example.org[4026531836]:77:1.00"
    made(store, owner=far)
    at = [0.0]
    watch = LeaseWatch("me", owner_is_dead, 20, lambda: at[0])
    gone = watch.gone(store.leases())
    assert not gone.dead, "nobody knows processes of another machine"
    assert store.claim("me", 200.0, gone) == []
    for at[0] in (10, 20, 21):
        gone = watch.gone(store.leases())
    assert store.claim("me", 200.0, gone) == ["mine"]
    assert refused(lambda: store.log_candles("mine", far, minutes(0, 1))) is ErrorCode.SESSION_NOT_ACTIVE
    assert store.renew(far, 300.0) == frozenset()


def test_what_is_asked_reaches_the_owner_until_it_is_decided(store: SqlPaperStore) -> None:
    made(store)
    made(store, "other", "you")
    assert store.request_stop("mine")
    assert (store.add_change("mine", 3), store.add_change("mine", 5)) == (1, 2)
    store.add_change("other", 7)
    changes = (PaperChange(number=1, leverage=3), PaperChange(number=2, leverage=5))
    assert store.asked("me") == OwnerRequests(frozenset({"mine"}), tuple(("mine", c) for c in changes))
    made_ = PaperChange(number=1, leverage=3, before_ms=START)
    store.decide("mine", "me", made_)
    assert (store.get("mine").leverage, store.get("mine").leverage_in_force) == (3, 1)
    store.decide("mine", "me", made_, in_force=True)
    assert store.get("mine").leverage_in_force == 3
    refused_ = PaperChange(number=2, leverage=5, error={"code": "invalid_argument"})
    store.decide("mine", "me", refused_)
    assert store.get("mine").leverage == 3
    assert store.asked("me").changes == ()
    assert store.changes("mine") == (made_, refused_)
    store.write_notes("mine", "n")
    assert store.get("mine").notes == "n"


def test_events_are_told_once(store: SqlPaperStore) -> None:
    made(store)
    outage = PaperEvent(timestamp=START, kind="outage", message="nobody answers")
    later = PaperEvent(timestamp=START + 1, kind="recovered", message="back")
    store.log_candles("mine", "me", minutes(0, 1), [outage])
    store.add_events("mine", [outage, later, later])
    assert store.events("mine", 10) == [outage, later]
    assert store.events("mine", 1) == [later]


def test_alerts_are_kept_once_with_their_delivery(store: SqlPaperStore) -> None:
    made(store, webhook="https://x")
    made(store, "quiet")
    alert = PaperAlert(key="drawdown 1", timestamp=START, kind="drawdown", message="m", value=0.2, limit=0.1)
    for name in ("mine", "quiet"):
        store.add_alerts(name, [alert], 50)
        store.add_alerts(name, [alert], 70)
        assert store.alert_keys(name) == {"drawdown 1"}
    assert [one.next_attempt_at for one in store.alerts("quiet", 5)] == [None]
    assert store.due("me", 49, 5) == []
    assert store.due("you", 50, 5) == []
    (due,) = store.due("me", 50, 5)
    assert (due.session_id, due.alert, due.webhook, due.attempts) == ("mine", alert, "https://x", 0)
    store.delivery(due.model_copy(update={"attempts": 1, "next_attempt_at": 90, "failure": "HTTP 500"}))
    assert store.due("me", 50, 5) == []
    store.end("mine", "me", PaperEnd(status=PaperStatus.STOPPED, ended_at=1))
    (due,) = store.due("you", 90, 5)
    assert (due.attempts, due.failure) == (1, "HTTP 500")
    done = due.model_copy(update={"attempts": 2, "next_attempt_at": None, "delivered_at": 91})
    store.delivery(done)
    assert store.due("you", 1000, 5) == []
    assert store.alerts("mine", 5) == [done]


def test_listing_is_newest_first_and_paged(store: SqlPaperStore) -> None:
    for k, name in enumerate("abc"):
        made(store, name, started_at=START + k)
    store.end("b", "me", PaperEnd(status=PaperStatus.FINISHED, ended_at=1))
    sessions, total = store.page(active=True, limit=10, offset=0)
    assert ([s.session_id for s in sessions], total) == (["c", "a"], 2)
    sessions, total = store.page(active=False, limit=1, offset=1)
    assert ([s.session_id for s in sessions], total) == (["b"], 3)


def test_a_full_disk_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    database = Database.at(tmp_path / "records.db")
    store = SqlPaperStore(database)
    made(store)
    place = recorded(store, [1000.0])
    with database.writing() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    many = step(1, [1.0 + k for k in range(3000)], log="x" * 9000)
    assert refused(lambda: store.record("mine", "me", progress(place, many))) is ErrorCode.STORAGE_FAILED
    database.close()
    assert (store.get("mine").place, len(store.equity("mine"))) == (place, 1)
    store.record("mine", "me", progress(place, many))
    assert len(store.equity("mine")) == 3001
    assert len(store.get("mine").log_tail) == 8192
    database.close()


def test_counts_are_of_every_owner(store: SqlPaperStore) -> None:
    empty = store.counts()
    assert (empty.sessions, empty.furthest_behind) == (dict.fromkeys(PaperStatus, 0), None)
    assert empty.alerts == {"kept": 0, "waiting": 0, "delivered": 0, "given_up": 0}
    made(store, "replay", request=REQUEST.model_copy(update={"feed": "replay", "start_ms": 0}))
    made(store, "ended", request=REQUEST.model_copy(update={"start_ms": 1}))
    store.end("ended", "me", PaperEnd(status=PaperStatus.FAILED, ended_at=1))
    assert store.counts().furthest_behind is None, "neither follows an exchange now"
    made(store)
    made(store, "later", owner="you", request=REQUEST.model_copy(update={"start_ms": START + 9 * MINUTE}))
    assert store.counts().furthest_behind == START, "nothing is worked through yet"
    recorded(store, [1000.0])
    assert store.counts().furthest_behind == store.get("mine").place.through == START + MINUTE
    assert store.counts().sessions == dict.fromkeys(PaperStatus, 0) | {
        PaperStatus.RUNNING: 3,
        PaperStatus.FAILED: 1,
    }


def test_counts_of_alerts_are_by_their_delivery(store: SqlPaperStore) -> None:
    made(store, "quiet")
    made(store, "mine", webhook="https://example.org")
    alerts = [PaperAlert(key=str(k), timestamp=k, kind="drawdown", message="it fell") for k in range(4)]
    store.add_alerts("quiet", alerts[:1], 50)
    store.add_alerts("mine", alerts, 50)
    failed: dict[str, Any] = {"attempts": 1, "failure": "HTTP 500"}
    ends: tuple[dict[str, Any], ...] = (
        {"next_attempt_at": 90},
        {"next_attempt_at": None},
        {"next_attempt_at": None, "delivered_at": 91},
    )
    for due, end in zip(store.due("me", 50, 3), ends, strict=True):
        store.delivery(due.model_copy(update=failed | end))
    assert store.counts().alerts == {"kept": 1, "waiting": 2, "delivered": 1, "given_up": 1}


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.integers(0, 10**9),
        st.dictionaries(
            st.integers(0, 30), st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 5), min_size=1
        ),
    )
)
def test_minutes_come_back_bit_for_bit(given: dict[int, Any]) -> None:
    whole = [Minute(timestamp=at * MINUTE, rows=given[at]) for at in sorted(given)]
    assert unpack_minutes(pack_minutes(whole), "x") == whole
