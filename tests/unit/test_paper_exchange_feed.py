"""Minutes of an exchange as they close: on time, after outages, with a wrong clock, with garbage."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.backtests import DataRoute, Route
from jesse_mcp.domain.candles import CandleArray, SeriesKey, WriteReport
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper import PaperRequest
from jesse_mcp.ports.market_data import CandlePage, FetchSummary, PageConsumer
from jesse_mcp.ports.paper import FeedBatch, FeedNote
from jesse_mcp.services.clock import Clock
from jesse_mcp.services.paper_exchange_feed import ExchangeFeed

START = 1_704_067_200_000
MINUTE = 60_000
SPOT, OTHER = "Binance Spot", "Bybit Spot"
BTC, ETH = SeriesKey(exchange=SPOT, symbol="BTC-USDT"), SeriesKey(exchange=SPOT, symbol="ETH-USDT")
ABROAD = SeriesKey(exchange=OTHER, symbol="ETH-USDT")


class StoppedClock(Clock):
    """Time passes when somebody sleeps, and while an exchange answers."""

    def __init__(self, now: int) -> None:
        self.now = now

    def now_ms(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += max(1, int(seconds * 1000))
        await asyncio.sleep(0)


@dataclass
class Market:
    """Exchanges with a clock of their own, that say what Jesse's drivers hand on.

    Attributes:
        ahead: own clock minus theirs, milliseconds.
        publish: after its close until a candle is there, by series and minute; milliseconds.
        fault: may raise before an answer, or return other rows than there are.
    """

    clock: StoppedClock
    candles: dict[SeriesKey, CandleArray]
    ahead: int = 0
    publish: dict[tuple[SeriesKey, int], int] = field(default_factory=dict)
    fault: Callable[[SeriesKey, CandleArray], CandleArray] = lambda _key, rows: rows
    tells_time: bool = True
    asked: list[tuple[SeriesKey, int, int, int]] = field(default_factory=list)

    async def fetch(
        self, exchange: str, symbol: str, ranges: list[tuple[int, int]], consume: PageConsumer
    ) -> FetchSummary:
        ((start, end),) = ranges
        key = SeriesKey(exchange=exchange, symbol=symbol)
        self.asked.append((key, start, end, self.clock.now))
        await asyncio.sleep(0)
        self.clock.now += 200
        there = self.clock.now - self.ahead
        rows = self.candles[key]
        delays = [self.publish.get((key, int(minute)), 500) for minute in rows[:, 0]]
        rows = rows[(rows[:, 0] >= start) & (rows[:, 0] < end) & (rows[:, 0] + MINUTE + delays <= there)]
        rows = self.fault(key, rows)
        settled = min(end, (there - 10 * MINUTE) // MINUTE * MINUTE)
        answered = max([settled, *(int(minute) + MINUTE for minute in rows[:, 0] if np.isfinite(minute))])
        if answered > start:
            await consume(CandlePage(start, answered, rows))
        return FetchSummary(1, None, 0.0, there // 1000 * 1000 + 500 if self.tells_time else None)

    async def symbols(self, exchange: str) -> list[str]:
        raise NotImplementedError


def candles(seed: int = 1, minutes: int = 3000) -> CandleArray:
    return synthetic_candles(START, minutes, seed)


def request(*keys: SeriesKey, minutes: int | None = None) -> PaperRequest:
    first, *rest = keys or (BTC,)
    return PaperRequest(
        exchange=first.exchange,
        exchange_type="spot",
        routes=(Route(strategy="S", symbol=first.symbol, timeframe="1m"),),
        data_routes=tuple(DataRoute(symbol=k.symbol, timeframe="1h", exchange=k.exchange) for k in rest),
        start_ms=START,
        end_ms=None if minutes is None else START + minutes * MINUTE,
        starting_balance=1000.0,
        fee=0.0,
        warm_up_candles=0,
        feed="exchange",
    )


class Session:
    """A feed followed for some time of its clock."""

    def __init__(
        self, *keys: SeriesKey, started: int = START, store: ParquetCandleStore | None = None
    ) -> None:
        self.keys = keys or (BTC,)
        self.clock = StoppedClock(started)
        self.market = Market(self.clock, {key: candles(seed) for seed, key in enumerate(self.keys, 1)})
        self.feed = ExchangeFeed(self.market, store, self.clock)
        self.batches: list[FeedBatch] = []

    async def follow(self, minutes: int, from_ms: int = START) -> "Session":
        """Until so many minutes are through."""
        async with asyncio.timeout(20), aclosing(self.feed.batches(request(*self.keys), from_ms)) as batches:
            async for batch in batches:
                self.batches.append(batch)
                if batch.through >= START + minutes * MINUTE:
                    break
        return self

    @property
    def minutes(self) -> list[int]:
        return [(minute.timestamp - START) // MINUTE for batch in self.batches for minute in batch.minutes]

    @property
    def notes(self) -> list[FeedNote]:
        return [note for batch in self.batches for note in batch.notes]

    @property
    def kinds(self) -> list[str]:
        return [note.kind for note in self.notes]


async def test_each_minute_comes_a_moment_after_it_closes() -> None:
    session = await Session().follow(30)
    assert session.minutes == list(range(30))
    assert session.kinds == []
    assert all(len(batch.minutes) == 1 for batch in session.batches)
    latencies = {batch.received_at - batch.minutes[0].closes_at for batch in session.batches}
    assert latencies == {1_200}, "the grace and the way to the exchange"
    assert len(session.market.asked) == 30, "once a minute"
    rows = [(m.timestamp, *m.rows[0]) for batch in session.batches for m in batch.minutes]
    np.testing.assert_array_equal(np.array(rows), candles()[:30])


async def test_a_first_minute_that_has_not_begun_is_waited_for() -> None:
    session = await Session(started=START - 40_000).follow(1)
    assert [when for *_, when in session.market.asked][-1] == START + MINUTE + 1_000


async def test_what_was_missed_is_caught_up_with_at_once_and_in_order() -> None:
    session = await Session(started=START + 2000 * MINUTE + 30_000).follow(2002)
    assert session.minutes == list(range(2002))
    assert [len(batch.minutes) for batch in session.batches] == [1440, 560, 1, 1]
    assert session.batches[1].received_at < START + 2000 * MINUTE + 32_000


async def test_it_goes_on_from_anywhere() -> None:
    session = await Session(started=START + 20 * MINUTE).follow(22, from_ms=START + 15 * MINUTE)
    assert session.minutes == list(range(15, 22))


async def test_it_ends_where_the_request_does() -> None:
    session = Session(started=START + 3 * MINUTE + 30_000)
    found = [batch async for batch in session.feed.batches(request(minutes=5), START)]
    assert [batch.ended for batch in found] == [False, False, True]
    assert found[-1].through == START + 5 * MINUTE
    (over,) = [batch async for batch in session.feed.batches(request(minutes=5), START + 5 * MINUTE)]
    assert (over.ended, over.minutes) == (True, ())


async def test_a_late_candle_is_asked_for_again_within_the_minute() -> None:
    session = Session()
    session.market.publish[BTC, START + 3 * MINUTE] = 9_000
    await session.follow(6)
    assert session.minutes == list(range(6))
    assert session.kinds == []
    late = session.batches[3]
    assert 9_000 <= late.received_at - late.minutes[0].closes_at < 20_000
    assert session.batches[4].received_at - session.batches[4].minutes[0].closes_at == 1_200


async def test_every_series_of_a_minute_is_waited_for() -> None:
    session = Session(BTC, ETH)
    session.market.publish[ETH, START + 2 * MINUTE] = 20_000
    await session.follow(4)
    assert session.minutes == list(range(4))
    assert all(sorted(m.rows) == [0, 1] for batch in session.batches for m in batch.minutes)
    assert session.kinds == []


async def test_a_minute_goes_on_without_a_series_when_the_patience_is_over() -> None:
    session = Session(BTC, ETH)
    session.market.publish[ETH, START + 2 * MINUTE] = 100 * MINUTE
    await session.follow(5)
    assert session.minutes == list(range(5))
    (without,) = [b for b in session.batches if any(list(m.rows) == [0] for m in b.minutes)]
    assert 45_000 <= without.received_at - without.minutes[0].closes_at < 60_000
    assert [note.kind for note in without.notes] == ["missing"]
    assert without.minutes[0].timestamp == START + 2 * MINUTE


async def test_a_candle_after_that_is_late_and_not_used(tmp_path: Path) -> None:
    store = ParquetCandleStore(tmp_path)
    session = Session(BTC, ETH, store=store)
    session.market.publish[ETH, START + 2 * MINUTE] = 130_000
    await session.follow(8)
    assert session.minutes == list(range(8))
    assert session.kinds == ["missing", "late"]
    assert len(store.read(ETH)) == 8, "a later backtest has it"


async def test_a_quiet_market_is_waited_for_and_its_minutes_are_passed_over() -> None:
    session = Session()
    session.market.candles[BTC] = np.delete(candles(), [3, 4, 5], axis=0)
    await session.follow(9)
    assert session.minutes == [0, 1, 2, 6, 7, 8]
    assert session.kinds == ["missing"]
    after = next(batch for batch in session.batches if batch.minutes[0].timestamp == START + 6 * MINUTE)
    assert after.received_at - after.minutes[0].closes_at == 1_200, "no patience is spent on the past"


def failing(session: Session, code: ErrorCode, first: int, last: int, key: SeriesKey | None = None) -> None:
    """Between these minutes nobody answers."""

    def fault(asked: SeriesKey, rows: CandleArray) -> CandleArray:
        if START + first * MINUTE <= session.clock.now < START + last * MINUTE and key in (None, asked):
            raise ResearchError(code, "nobody there", hint="wait")
        return rows

    session.market.fault = fault


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.EXCHANGE_UNREACHABLE,
        ErrorCode.EXCHANGE_UNAVAILABLE,
        ErrorCode.RATE_LIMITED,
        ErrorCode.EXCHANGE_BLOCKED,
        ErrorCode.EXCHANGE_ANSWER_INVALID,
        ErrorCode.WORKER_CRASHED,
    ],
)
async def test_an_outage_is_told_once_and_caught_up_with(code: ErrorCode) -> None:
    session = Session()
    failing(session, code, 10, 40)
    await session.follow(50)
    assert session.minutes == list(range(50))
    assert session.kinds == ["outage", "recovered"]
    assert f"{code.value}: nobody there" in session.notes[0].message
    back = next(batch for batch in session.batches if len(batch.minutes) > 1)
    assert START + 40 * MINUTE <= back.received_at < START + 41 * MINUTE + 2_000, "at most a minute later"
    tries = [when for *_, when in session.market.asked if START + 10 * MINUTE <= when < START + 40 * MINUTE]
    pauses = np.diff(tries)
    assert list(pauses[:5]) == [2_200, 4_200, 8_200, 16_200, 32_200]
    assert set(pauses[5:]) == {60_200}


async def test_it_waits_as_long_as_the_exchange_asks_for() -> None:
    session = Session()

    def fault(_key: SeriesKey, rows: CandleArray) -> CandleArray:
        if len(session.market.asked) == 3:
            raise ResearchError(ErrorCode.RATE_LIMITED, "slow down", details={"retry_after_seconds": 33.0})
        return rows

    session.market.fault = fault
    await session.follow(5)
    times = [when for *_, when in session.market.asked]
    assert times[3] - times[2] == 33_200


async def test_while_one_exchange_is_down_nothing_goes_on_without_it() -> None:
    session = Session(BTC, ABROAD)
    failing(session, ErrorCode.EXCHANGE_UNREACHABLE, 5, 12, ABROAD)
    await session.follow(15)
    assert session.minutes == list(range(15))
    assert all(sorted(m.rows) == [0, 1] for batch in session.batches for m in batch.minutes)
    assert session.kinds == ["outage", "recovered"]


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.SYMBOL_UNKNOWN,
        ErrorCode.CAPABILITY_MISSING,
        ErrorCode.INVALID_ARGUMENT,
        ErrorCode.ENGINE_NOT_INSTALLED,
    ],
)
async def test_what_waiting_does_not_help_against_is_raised(code: ErrorCode) -> None:
    session = Session(BTC, ABROAD)
    failing(session, code, 3, 9, ABROAD)
    with pytest.raises(ResearchError, match="nobody there"):
        await session.follow(5)
    assert session.minutes == [0, 1]


@pytest.mark.parametrize("ahead", [-30_000, -3_000, 3_000, 30_000, 200_000])
async def test_minutes_are_those_of_the_exchange_whatever_the_own_clock_says(ahead: int) -> None:
    session = Session(started=START + ahead)
    session.market.ahead = ahead
    await session.follow(20)
    assert session.minutes == list(range(20))
    assert session.kinds == ["clock"]
    way = "ahead of" if ahead > 0 else "behind"
    assert f"{way} Binance Spot's" in session.notes[0].message
    assert f"{abs(ahead) / 1000 - 1:.0f}" in session.notes[0].message or f"{abs(ahead) // 1000}" in (
        session.notes[0].message
    )
    late = [b.received_at - ahead - b.minutes[0].closes_at for b in session.batches[5:] if b.minutes]
    assert max(late) < 4_000, "after the first answers the time there is known"


async def test_a_clock_that_is_right_is_no_news() -> None:
    session = Session(started=START + 900)
    session.market.ahead = 900
    await session.follow(20)
    assert session.kinds == []


async def test_a_clock_that_is_set_right_and_wrong_again_is_told_again() -> None:
    session = Session()
    session.market.fault = lambda _key, rows: rows
    await session.follow(3)
    session.clock.now += 5_000
    session.market.ahead = 5_000

    def jumping(_key: SeriesKey, rows: CandleArray) -> CandleArray:
        if len(session.market.asked) in (10, 20):
            shift = -5_000 if session.market.ahead else 5_000
            session.market.ahead += shift
            session.clock.now += shift
        return rows

    session.market.fault = jumping
    await session.follow(40, from_ms=START + 3 * MINUTE)
    assert session.kinds.count("clock") == 2
    assert session.minutes == list(range(40))


async def test_an_exchange_that_does_not_tell_the_time_is_taken_at_the_own_one() -> None:
    session = Session()
    session.market.tells_time = False
    await session.follow(10)
    assert session.minutes == list(range(10))
    assert session.kinds == []


async def test_garbage_is_noted_and_what_is_right_is_taken_when_it_comes() -> None:
    session = Session()

    def fault(_key: SeriesKey, rows: CandleArray) -> CandleArray:
        if len(session.market.asked) == 3 and len(rows):
            rows = rows.copy()
            rows[0, 3] = rows[0, 4] / 2
        return rows

    session.market.fault = fault
    await session.follow(6)
    assert session.minutes == list(range(6))
    assert session.kinds == ["invalid"]
    assert "prices that cannot be" in session.notes[0].message


async def test_everything_is_stored_for_later_backtests(tmp_path: Path) -> None:
    store = ParquetCandleStore(tmp_path)
    session = Session(BTC, ETH, store=store, started=START + 100 * MINUTE)
    await session.follow(110)
    for seed, key in ((1, BTC), (2, ETH)):
        np.testing.assert_array_equal(store.read(key), candles(seed)[:110])
        assert store.answered(key) == ((START, START + 110 * MINUTE),)


async def test_what_an_exchange_no_longer_keeps_is_missing_and_not_said_to_be_empty(tmp_path: Path) -> None:
    store = ParquetCandleStore(tmp_path)
    kraken = SeriesKey(exchange="Kraken Pro Spot", symbol="BTC-USD")
    session = Session(kraken, store=store, started=START + 2000 * MINUTE)
    session.market.candles[kraken] = candles()[1280:]
    await session.follow(2001)
    assert session.minutes == list(range(1280, 2001))
    assert session.kinds[0] == "missing"
    ((start, _),) = store.answered(kraken)
    assert start == START + 1280 * MINUTE


class FullDisk(ParquetCandleStore):
    """Takes nothing before some number of attempts."""

    def __init__(self, root: Path, refusals: int) -> None:
        super().__init__(root)
        self.refusals = refusals

    def append(
        self, key: SeriesKey, candles: CandleArray, source: str, answered: tuple[int, int]
    ) -> WriteReport:
        if self.refusals:
            self.refusals -= 1
            raise ResearchError(ErrorCode.STORAGE_FAILED, "no space left", hint="make room")
        return super().append(key, candles, source, answered)


async def test_a_full_disk_does_not_stop_the_minutes_and_nothing_is_lost(tmp_path: Path) -> None:
    store = FullDisk(tmp_path, 6)
    session = await Session(store=store).follow(8)
    assert session.minutes == list(range(8))
    assert session.kinds == ["storage", "storage"]
    assert "no space left" in session.notes[0].message
    np.testing.assert_array_equal(store.read(BTC), candles()[:8])
    assert store.answered(BTC) == ((START, START + 8 * MINUTE),)


async def test_closing_it_ends_the_request_on_its_way() -> None:
    session = Session(BTC, ABROAD)
    ended: list[SeriesKey] = []
    under_way = asyncio.Event()

    async def hang(exchange: str, symbol: str, ranges: object, consume: object) -> FetchSummary:
        try:
            under_way.set()
            await asyncio.Event().wait()
        finally:
            ended.append(SeriesKey(exchange=exchange, symbol=symbol))
        raise AssertionError

    session.market.fetch = hang  # type: ignore[method-assign]
    task = asyncio.create_task(session.follow(1))
    await under_way.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sorted(map(str, ended)) == sorted([str(BTC), str(ABROAD)])
