"""Stored candles become the minutes of a session: all of them, in order, at the speed that was asked for."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.backtests import DataRoute, Route
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper import PaperRequest
from jesse_mcp.ports.paper import FeedBatch
from jesse_mcp.services.clock import Clock
from jesse_mcp.services.paper_replay_feed import BATCH_MINUTES, ReplayFeed

START = 1_704_067_200_000
MINUTE = 60_000
BTC = SeriesKey(exchange="Binance Spot", symbol="BTC-USDT")
ETH = SeriesKey(exchange="Binance Spot", symbol="ETH-USDT")


class StoppedClock(Clock):
    """Time passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 5_000_000
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return round(self.now)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += int(seconds * 1000)


def request(minutes: int | None, *, speed: float | None = None, eth: bool = False) -> PaperRequest:
    return PaperRequest(
        exchange=BTC.exchange,
        exchange_type="spot",
        routes=(Route(strategy="S", symbol=BTC.symbol, timeframe="1m"),),
        data_routes=(DataRoute(symbol=ETH.symbol, timeframe="1h"),) if eth else (),
        start_ms=START,
        end_ms=None if minutes is None else START + minutes * MINUTE,
        starting_balance=1000.0,
        fee=0.0,
        warm_up_candles=0,
        feed="replay",
        speed=speed,
    )


@pytest.fixture
def store(tmp_path: Path) -> ParquetCandleStore:
    return ParquetCandleStore(tmp_path)


def save(store: ParquetCandleStore, key: SeriesKey, rows: CandleArray) -> CandleArray:
    store.write(key, rows, "test")
    return rows


async def collected(batches: AsyncIterator[FeedBatch]) -> list[FeedBatch]:
    found = [batch async for batch in batches]
    assert [batch.ended for batch in found] == [False] * (len(found) - 1) + [True]
    return found


def minutes_of(batches: list[FeedBatch]) -> list[int]:
    return [(minute.timestamp - START) // MINUTE for batch in batches for minute in batch.minutes]


async def test_every_stored_candle_comes_as_it_is(store: ParquetCandleStore) -> None:
    rows = save(store, BTC, synthetic_candles(START - 60 * MINUTE, 60 + 3000, 1))[60:]
    found = await collected(ReplayFeed(store).batches(request(2900), START))
    assert [len(batch.minutes) for batch in found] == [BATCH_MINUTES, BATCH_MINUTES, 20]
    given = [(m.timestamp, *m.rows[0]) for batch in found for m in batch.minutes]
    np.testing.assert_array_equal(np.array(given), rows[:2900])
    assert [batch.through for batch in found] == [START + m * MINUTE for m in (1440, 2880, 2900)]
    assert not any(batch.notes for batch in found)


async def test_minutes_are_those_that_any_series_has(store: ParquetCandleStore) -> None:
    save(store, BTC, np.delete(synthetic_candles(START, 10, 1), [2, 3, 5], axis=0))
    save(store, ETH, np.delete(synthetic_candles(START, 10, 2), [3, 5, 6], axis=0))
    (batch,) = await collected(ReplayFeed(store).batches(request(10, eth=True), START))
    assert {(m.timestamp - START) // MINUTE: sorted(m.rows) for m in batch.minutes} == {
        0: [0, 1], 1: [0, 1], 2: [1], 4: [0, 1], 6: [0], 7: [0, 1], 8: [0, 1], 9: [0, 1],
    }  # fmt: skip
    assert batch.through == START + 10 * MINUTE


async def test_it_goes_on_from_anywhere(store: ParquetCandleStore) -> None:
    save(store, BTC, synthetic_candles(START, 100, 1))
    feed = ReplayFeed(store)
    assert minutes_of(await collected(feed.batches(request(100), START + 37 * MINUTE))) == list(
        range(37, 100)
    )
    (over,) = await collected(feed.batches(request(100), START + 100 * MINUTE))
    assert (over.minutes, over.through) == ((), START + 100 * MINUTE)


async def test_without_an_end_it_goes_as_far_as_every_series(store: ParquetCandleStore) -> None:
    save(store, BTC, synthetic_candles(START, 30, 1))
    save(store, ETH, synthetic_candles(START, 20, 2))
    assert minutes_of(await collected(ReplayFeed(store).batches(request(None, eth=True), START))) == list(
        range(20)
    )


async def test_a_long_hole_is_passed_over(store: ParquetCandleStore) -> None:
    rows = synthetic_candles(START, 4000, 1)
    save(store, BTC, np.delete(rows, slice(10, 3500), axis=0))
    found = await collected(ReplayFeed(store).batches(request(4000), START))
    assert minutes_of(found) == [*range(10), *range(3500, 4000)]
    assert found[1].minutes == ()


@pytest.mark.parametrize("speed", [1.0, 60.0, 7.5])
async def test_a_speed_is_simulated_minutes_a_minute(store: ParquetCandleStore, speed: float) -> None:
    save(store, BTC, synthetic_candles(START, 50, 1))
    clock = StoppedClock()
    began = clock.now_ms()
    async for batch in ReplayFeed(store, clock).batches(request(50, speed=speed), START):
        passed = (clock.now_ms() - began) * speed
        assert batch.received_at == clock.now_ms()
        assert abs(batch.through - START - passed) <= speed + MINUTE, "no minute before it is over"
        assert batch.through - START <= passed + speed
    assert clock.now_ms() - began == pytest.approx(50 * MINUTE / speed, abs=100)


async def test_a_high_speed_gives_more_at_a_time_instead_of_waiting_less(store: ParquetCandleStore) -> None:
    save(store, BTC, synthetic_candles(START, 3000, 1))
    clock = StoppedClock()
    found = await collected(ReplayFeed(store, clock).batches(request(3000, speed=60_000.0), START))
    assert minutes_of(found) == list(range(3000))
    assert min(clock.slept) >= 0.05
    assert len(found) == pytest.approx(3000 / 50, abs=2)


async def test_who_is_slow_gets_what_has_become_due(store: ParquetCandleStore) -> None:
    save(store, BTC, synthetic_candles(START, 100, 1))
    clock = StoppedClock()
    batches = ReplayFeed(store, clock).batches(request(100, speed=60.0), START)
    first = await anext(batches)
    assert len(first.minutes) == 1
    clock.now += 20_000
    assert len((await anext(batches)).minutes) == 20


@pytest.mark.parametrize(("kept", "lacking"), [(slice(1, 50), "00:00"), (slice(0, 49), "00:49")])
async def test_a_missing_end_is_refused_with_the_call_that_fills_it(
    store: ParquetCandleStore, kept: slice, lacking: str
) -> None:
    save(store, BTC, synthetic_candles(START, 50, 1)[kept])
    with pytest.raises(ResearchError) as caught:
        await anext(ReplayFeed(store).batches(request(50), START))
    assert caught.value.code is ErrorCode.CANDLES_MISSING
    assert f"2024-01-01T{lacking}Z is not stored" in caught.value.message
    assert "candles_import(exchange='Binance Spot', symbol='BTC-USDT'" in (caught.value.hint or "")


async def test_a_series_that_is_not_stored_is_refused(store: ParquetCandleStore) -> None:
    save(store, BTC, synthetic_candles(START, 50, 1))
    with pytest.raises(ResearchError, match="ETH-USDT on Binance Spot"):
        await anext(ReplayFeed(store).batches(request(50, eth=True), START))


async def test_a_first_minute_that_the_exchange_does_not_have_is_accepted(store: ParquetCandleStore) -> None:
    rows = synthetic_candles(START, 50, 1)
    store.append(BTC, rows[1:], "Binance Spot", (START, START + 50 * MINUTE))
    assert minutes_of(await collected(ReplayFeed(store).batches(request(50), START))) == list(range(1, 50))


async def test_candles_that_arrive_meanwhile_change_nothing(store: ParquetCandleStore) -> None:
    rows = synthetic_candles(START, 3000, 1)
    save(store, BTC, np.delete(rows, slice(2000, 2010), axis=0))
    batches = ReplayFeed(store).batches(request(3000), START)
    first = await anext(batches)
    save(store, BTC, rows)
    rest = [batch async for batch in batches]
    assert minutes_of([first, *rest]) == [*range(2000), *range(2010, 3000)]
