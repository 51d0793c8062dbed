"""The feed of an exchange over Jesse's real driver, against an exchange whose minutes pass quickly."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from exchange_server import ExchangeServer, faults
from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.embedded.environment import EngineLocator
from jesse_mcp.adapters.embedded.market_data import EmbeddedMarketData
from jesse_mcp.adapters.embedded.pool import WorkerPool
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.backtests import DataRoute, Route
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper import PaperRequest
from jesse_mcp.ports.market_data import CandlePage
from jesse_mcp.ports.paper import FeedBatch
from jesse_mcp.services.clock import Clock
from jesse_mcp.services.paper_exchange_feed import ExchangeFeed
from jesse_mcp.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

START = 1_704_067_200_000
MINUTE = 60_000
BTC = SeriesKey(exchange="Binance Perpetual Futures", symbol="BTC-USDT")
ETH = SeriesKey(exchange="Binance Perpetual Futures", symbol="ETH-USDT")
CANDLES = {key: synthetic_candles(START - 120 * MINUTE, 720, seed) for seed, key in ((1, BTC), (2, ETH))}


class FastClock(Clock):
    """Three hundred times as fast as the real one: a minute is a fifth of a second."""

    SPEED = 300

    def __init__(self, now: int) -> None:
        self._origin = now
        self._began = time.monotonic()

    def now_ms(self) -> int:
        return self._origin + int((time.monotonic() - self._began) * 1000 * self.SPEED)

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / self.SPEED)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(engine_python: Path) -> AsyncIterator[WorkerPool]:
    settings = Settings()
    workers = WorkerPool(EngineLocator(settings.cache, engine_python), settings.cache, 1)
    await workers.warm()
    yield workers
    await workers.close()


@pytest.fixture
def source(pool: WorkerPool) -> EmbeddedMarketData:
    return EmbeddedMarketData(pool, retry_seconds=0.01, attempts=2, pace=0.0)


@contextmanager
def exchange(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, candles: dict[SeriesKey, CandleArray] | None = None
) -> Iterator[ExchangeServer]:
    markets = {(key.exchange, key.symbol): rows for key, rows in (candles or CANDLES).items()}
    with ExchangeServer(markets, clock=clock.now_ms) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


def request(*keys: SeriesKey) -> PaperRequest:
    first, *rest = keys
    return PaperRequest(
        exchange=first.exchange,
        exchange_type="futures",
        routes=(Route(strategy="S", symbol=first.symbol, timeframe="1m"),),
        data_routes=tuple(DataRoute(symbol=key.symbol, timeframe="1h") for key in rest),
        start_ms=START,
        end_ms=None,
        starting_balance=1000.0,
        fee=0.0,
        warm_up_candles=0,
        feed="exchange",
    )


async def followed(
    feed: ExchangeFeed,
    minutes: int,
    *keys: SeriesKey,
    until: Callable[[list[FeedBatch]], bool] = lambda _found: True,
) -> list[FeedBatch]:
    """At least so many minutes, and more until what is to be seen is: a busy machine may take them all in
    one batch."""
    found = []
    async with aclosing(feed.batches(request(*keys), START)) as batches:
        async for batch in batches:
            found.append(batch)
            if batch.through >= START + minutes * MINUTE and until(found):
                break
    return found


def rows_of(batches: list[FeedBatch], place: int) -> CandleArray:
    return np.array([(m.timestamp, *m.rows[place]) for batch in batches for m in batch.minutes])


def kinds(batches: list[FeedBatch]) -> list[str]:
    """Without those of the clock: at this speed the way of an answer is many seconds."""
    return [note.kind for batch in batches for note in batch.notes if note.kind != "clock"]


async def test_minutes_come_as_they_close_and_as_the_exchange_has_them_for_good(
    source: EmbeddedMarketData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock, store = FastClock(START + 5 * MINUTE + 20_000), ParquetCandleStore(tmp_path)
    with exchange(clock, monkeypatch):
        feed = ExchangeFeed(source, store, clock)
        # In portions, as they closed.
        found = await followed(feed, 30, BTC, ETH, until=lambda batches: len(batches) > 2)
    for place, key in enumerate((BTC, ETH)):
        expected = CANDLES[key][120:]
        given = rows_of(found, place)
        np.testing.assert_array_equal(given, expected[: len(given)])
        np.testing.assert_array_equal(store.read(key), expected[: len(given)])
        assert store.answered(key) == ((START, int(given[-1, 0]) + MINUTE),)
    assert kinds(found) == []
    assert all(batch.received_at >= batch.minutes[-1].closes_at for batch in found if batch.minutes)


async def test_an_outage_of_the_exchange_is_caught_up_with(
    source: EmbeddedMarketData, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FastClock(START + 5 * MINUTE)
    with exchange(clock, monkeypatch) as server:
        server.faults.add(faults.refused(503), skip=4, times=6)
        feed = ExchangeFeed(source, None, clock)
        found = await followed(feed, 20, BTC, until=lambda batches: "recovered" in kinds(batches))
        assert server.faults.pending == []
    given = rows_of(found, 0)
    np.testing.assert_array_equal(given, CANDLES[BTC][120 : 120 + len(given)])
    assert kinds(found) == ["outage", "recovered"]
    (outage,) = [note for batch in found for note in batch.notes if note.kind == "outage"]
    assert "exchange_unavailable" in outage.message


async def test_minutes_that_the_exchange_does_not_have_are_passed_over(
    source: EmbeddedMarketData, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FastClock(START + 5 * MINUTE)
    holed = np.delete(CANDLES[BTC], slice(128, 131), axis=0)
    with exchange(clock, monkeypatch, {BTC: holed}):
        found = await followed(ExchangeFeed(source, None, clock), 15, BTC)
    given = rows_of(found, 0)
    np.testing.assert_array_equal(given, holed[120 : 120 + len(given)])
    assert kinds(found) == ["missing"]


async def test_a_candle_is_taken_when_it_is_over_at_the_exchange_whatever_the_own_clock_says(
    source: EmbeddedMarketData, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[CandlePage] = []

    async def consume(page: CandlePage) -> None:
        pages.append(page)

    clock = Clock()
    with exchange(clock, monkeypatch) as server:
        server.now_ms = START + 2 * MINUTE + 59_000
        ranges = [(START, START + 5 * MINUTE)]
        summary = await source.fetch(BTC.exchange, BTC.symbol, ranges, consume)
    assert summary.exchange_ms is not None
    # That clock stands still, and some time has passed since it was read.
    assert 500 <= summary.exchange_ms - (START + 2 * MINUTE + 59_000) < 30_000
    np.testing.assert_array_equal(pages[0].candles, CANDLES[BTC][120:122])


async def test_a_symbol_that_the_exchange_does_not_list_ends_it(
    source: EmbeddedMarketData, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FastClock(START + 5 * MINUTE)
    with exchange(clock, monkeypatch), pytest.raises(ResearchError) as caught:
        await followed(
            ExchangeFeed(source, None, clock), 1, SeriesKey(exchange=BTC.exchange, symbol="NO-USDT")
        )
    assert caught.value.code is ErrorCode.SYMBOL_UNKNOWN
