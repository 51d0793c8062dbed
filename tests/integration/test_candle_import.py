"""Importing from exchanges with Jesse's real drivers: what arrives, what is asked for, and every fault."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from exchange_server import ExchangeServer, faults
from import_desk import SPOT, SYMBOL, Desk, desk_over
from jesse_mcp.adapters.embedded.environment import EngineLocator
from jesse_mcp.adapters.embedded.pool import WorkerPool
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import CandleArray
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.timeframes import iso_date
from jesse_mcp.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

START = 1_704_067_200_000
MINUTE = 60_000
DAY = 1440 * MINUTE


def three_days(seed: int = 1) -> CandleArray:
    return synthetic_candles(START, 3 * 1440, seed)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(engine_python: Path) -> AsyncIterator[WorkerPool]:
    settings = Settings()
    workers = WorkerPool(EngineLocator(settings.cache, engine_python), settings.cache, 1)
    yield workers
    await workers.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExchangeServer]:
    markets = {(SPOT, SYMBOL): three_days(), (SPOT, "ETH-USDT"): three_days(2)}
    with ExchangeServer(markets) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def desk(pool: WorkerPool, tmp_path: Path, server: ExchangeServer) -> AsyncIterator[Desk]:
    async with desk_over(pool, tmp_path, server) as ready:
        yield ready


async def test_the_store_holds_exactly_what_the_exchange_has(desk: Desk) -> None:
    answer = await desk.fetch()
    assert answer.state is JobState.DONE
    np.testing.assert_array_equal(desk.stored(), three_days()[: 2 * 1440])
    assert len(desk.server.asked()) == 4, "one for the listing, three pages of 1,000"


async def test_only_what_is_missing_is_asked_for(desk: Desk) -> None:
    await desk.fetch(end="2024-01-02")
    before = len(desk.server.asked())
    await desk.fetch(end="2024-01-02")
    assert len(desk.server.asked()) == before
    await desk.fetch(end="2024-01-03")
    asked = [int(line.params["startTime"]) for line in desk.server.asked()[before:]]
    assert min(start for start in asked if start) == START + DAY


@pytest.mark.parametrize(("first", "last"), [(1200, 1500), (900, 2600)], ids=["in a page", "an empty page"])
async def test_a_hole_of_the_exchange_is_an_outage_and_not_asked_for_again(
    pool: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, last: int
) -> None:
    holed = np.delete(three_days(), slice(first, last), axis=0)
    with ExchangeServer({(SPOT, SYMBOL): holed}) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        async with desk_over(pool, tmp_path, server) as desk:
            answer = await desk.fetch()
            coverage = answer.series[0]
            hole = last - first
            assert (coverage.present, coverage.missing_by_kind) == (2880 - hole, {"outage": hole})
            np.testing.assert_array_equal(desk.stored(), holed[: 2880 - hole])
            before = len(server.asked())
            await desk.fetch()
            assert len(server.asked()) == before


async def test_the_running_minute_is_left_for_later(
    pool: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = int(time.time() * 1000) // DAY * DAY
    candles = synthetic_candles(today - DAY, 3 * 1440, 1)
    with ExchangeServer({(SPOT, SYMBOL): candles}) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        async with desk_over(pool, tmp_path, server) as desk:
            start = iso_date(today - DAY)
            await desk.service.import_from_exchange(SPOT, (SYMBOL,), start, None, wait_seconds=60)
            rows = desk.stored()
            assert rows[-1, 0] + MINUTE <= time.time() * 1000
            assert len(rows) >= 1440, "in the first minute of a day, nothing of it"
            np.testing.assert_array_equal(rows, candles[: len(rows)])


async def test_a_symbol_listed_after_the_start(
    pool: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExchangeServer({(SPOT, SYMBOL): three_days()[700:]}) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        async with desk_over(pool, tmp_path, server) as desk:
            answer = await desk.fetch()
            assert answer.series[0].missing_by_kind == {"before_listing": 700}
            np.testing.assert_array_equal(desk.stored(), three_days()[700:2880])


@pytest.mark.parametrize(
    "fault",
    [
        faults.refused(429, retry_after=1),
        faults.refused(429),
        faults.refused(502),
        faults.cut(),
        faults.reset(),
        faults.html(),
        faults.empty_page(),
        faults.duplicate_rows(),
        faults.out_of_order(),
        faults.high_below_low(),
        faults.not_a_number(),
        faults.negative_volume(),
        faults.rewritten_volume(),
    ],
    ids=lambda fault: fault.name,
)
async def test_what_passes_by_itself_does_no_harm(desk: Desk, fault: faults.Fault) -> None:
    desk.server.faults.add(fault, skip=1, when=faults.for_candles)
    answer = await desk.fetch()
    assert answer.state is JobState.DONE
    assert desk.server.faults.pending == []
    np.testing.assert_array_equal(desk.stored(), three_days()[: 2 * 1440])


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (faults.refused(429), ErrorCode.RATE_LIMITED),
        (faults.refused(429, retry_after=3600), ErrorCode.RATE_LIMITED),
        (faults.refused(418), ErrorCode.RATE_LIMITED),
        (faults.refused(403), ErrorCode.EXCHANGE_BLOCKED),
        (faults.refused(451), ErrorCode.EXCHANGE_BLOCKED),
        (faults.high_below_low(), ErrorCode.EXCHANGE_ANSWER_INVALID),
        (faults.html(), ErrorCode.EXCHANGE_ANSWER_INVALID),
    ],
    ids=lambda value: value.name if isinstance(value, faults.Fault) else value,
)
async def test_what_stays_wrong_is_said_and_the_next_call_goes_on(
    desk: Desk, fault: faults.Fault, code: ErrorCode
) -> None:
    # After the listing and one page.
    desk.server.faults.add(fault, skip=2, times=10**6, when=faults.for_candles)
    with pytest.raises(ResearchError) as caught:
        await desk.fetch()
    assert caught.value.code is code
    assert caught.value.hint
    np.testing.assert_array_equal(desk.stored(), three_days()[:1000])
    desk.server.faults = faults.FaultQueue()
    await desk.fetch()
    np.testing.assert_array_equal(desk.stored(), three_days()[: 2 * 1440])


async def test_an_unknown_symbol_is_named(desk: Desk) -> None:
    with pytest.raises(ResearchError, match="NOPE-USDT on Binance Spot") as caught:
        await desk.fetch(symbol="NOPE-USDT")
    assert caught.value.code is ErrorCode.SYMBOL_UNKNOWN


async def test_an_exchange_that_cannot_be_reached(
    pool: WorkerPool, tmp_path: Path, server: ExchangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing listens on the discard port.
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with desk_over(pool, tmp_path, server) as desk:
        with pytest.raises(ResearchError) as caught:
            await desk.fetch()
    assert caught.value.code is ErrorCode.EXCHANGE_UNREACHABLE


async def test_cancel_ends_the_fetching_and_keeps_the_pages(desk: Desk) -> None:
    desk.server.faults.add(faults.slow(3600), skip=2, when=faults.for_candles)
    answer = await desk.fetch(wait=0)
    assert answer.job_id is not None
    async with asyncio.timeout(60):
        while len(desk.stored()) < 1000:
            await asyncio.sleep(0.01)
    # A driver waits thirty seconds for a page: whoever waited for it too would be too late.
    async with asyncio.timeout(20):
        job = await desk.jobs.cancel(answer.job_id)
    assert job.state is JobState.CANCELLED
    desk.server.faults = faults.FaultQueue()
    await desk.fetch()
    np.testing.assert_array_equal(desk.stored(), three_days()[: 2 * 1440])


async def test_symbols_of_an_exchange(desk: Desk) -> None:
    listed = await desk.service.listed(SPOT)
    assert (listed.count, listed.symbols) == (2, ("BTC-USDT", "ETH-USDT"))
    assert (await desk.service.listed(SPOT, "eth/")).symbols == ("ETH-USDT",)
    assert (await desk.service.listed(SPOT, "NOPE")).count == 0


@pytest.mark.parametrize("exchange", ["Bitget Spot", "Custom Data", "Massive Stocks"])
async def test_an_exchange_that_jesse_has_no_driver_for(desk: Desk, exchange: str) -> None:
    with pytest.raises(ResearchError, match=f"no driver that asks {exchange}") as caught:
        await desk.service.listed(exchange)
    assert caught.value.code is ErrorCode.CAPABILITY_MISSING
    assert "path=" in (caught.value.hint or "")
    with pytest.raises(ResearchError, match=f"no driver that asks {exchange}"):
        await desk.fetch(exchange)


async def test_two_imports_of_one_series_at_once(desk: Desk) -> None:
    await asyncio.gather(desk.fetch(), desk.fetch())
    np.testing.assert_array_equal(desk.stored(), three_days()[: 2 * 1440])


#: Every exchange with the symbol it would list, and where its history ends. Kraken spot, Lighter and
#: Hyperliquid keep the latest candles only, so their markets are of today.
EVERYWHERE = {
    "Binance Spot": "BTC-USDT",
    "Binance US Spot": "BTC-USDT",
    "Binance Perpetual Futures": "BTC-USDT",
    "Bitfinex Spot": "BTC-USD",
    "Bybit Spot": "BTC-USDT",
    "Bybit USDT Perpetual": "BTC-USDT",
    "Bybit USDC Perpetual": "BTC-USDC",
    "Coinbase Spot": "BTC-USD",
    "Gate Spot": "BTC-USDT",
    "Gate USDT Perpetual": "BTC-USDT",
    "Hyperliquid Perpetual": "BTC-USD",
    "Apex Omni Perpetual": "BTC-USDT",
    "KuCoin Spot": "BTC-USDT",
    "KuCoin USDT Perpetual": "BTC-USDT",
    "Kraken Pro Futures": "BTC-USD",
    "Kraken Pro Spot": "BTC-USD",
    "Lighter Perpetual": "BTC-USD",
}


@pytest.mark.parametrize("exchange", EVERYWHERE)
async def test_every_exchange_arrives_exactly(
    pool: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: str
) -> None:
    symbol = EVERYWHERE[exchange]
    now = int(time.time() * 1000) // MINUTE * MINUTE
    start = now - 650 * MINUTE if exchange == "Kraken Pro Spot" else now - DAY
    candles = synthetic_candles(start, (now - start) // MINUTE, 3)
    with ExchangeServer({(exchange, symbol): candles}) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        async with desk_over(pool, tmp_path, server) as desk:
            day = iso_date(start)
            await desk.service.import_from_exchange(exchange, (symbol,), day, None, wait_seconds=100)
            rows = desk.stored(exchange, symbol)
    assert len(rows) >= (now - start) // MINUTE - 1
    columns = slice(0, 5) if exchange == "Gate Spot" else slice(0, 6)  # its volume is in quote currency
    np.testing.assert_array_equal(rows[:, columns], candles[: len(rows), columns])
