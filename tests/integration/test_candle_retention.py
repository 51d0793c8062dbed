"""Exchanges that keep only their latest candles: what is too old is called that, and not asked for again."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from exchange_server import ExchangeServer
from import_desk import desk_over
from jesse_mcp.adapters.embedded.environment import EngineLocator
from jesse_mcp.adapters.embedded.pool import WorkerPool
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import CandleArray
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.timeframes import iso_date
from jesse_mcp.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

MINUTE = 60_000
DAY = 1440 * MINUTE


@dataclass(frozen=True)
class Keeper:
    exchange: str
    symbol: str
    #: Minutes the market has traded, and how many of them the exchange still has.
    traded: int
    kept: int


KEEPERS = [
    Keeper("Gate Spot", "BTC-USDT", 12_000, 10_000),
    Keeper("Gate USDT Perpetual", "BTC-USDT", 12_000, 10_000),
    Keeper("Hyperliquid Perpetual", "BTC-USD", 7_000, 5_000),
    Keeper("Kraken Pro Spot", "BTC-USD", 2_000, 720),
    Keeper("Lighter Perpetual", "BTC-USD", 132 * 1440, 130 * 1440),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(engine_python: Path) -> AsyncIterator[WorkerPool]:
    settings = Settings()
    workers = WorkerPool(EngineLocator(settings.cache, engine_python), settings.cache, 1)
    yield workers
    await workers.close()


def traded_until_now(minutes: int) -> CandleArray:
    now = int(time.time() * 1000) // MINUTE * MINUTE
    return synthetic_candles(now - minutes * MINUTE, minutes, 4)


@pytest.mark.parametrize("keeper", KEEPERS, ids=lambda keeper: keeper.exchange)
async def test_what_is_too_old_is_called_that(
    pool: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeper: Keeper
) -> None:
    candles = traded_until_now(keeper.traded)
    start = iso_date(int(candles[0, 0]) - DAY)
    with ExchangeServer({(keeper.exchange, keeper.symbol): candles}) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        async with desk_over(pool, tmp_path, server) as desk:
            wanted = (keeper.exchange, (keeper.symbol,), start, None)
            answer = await desk.service.import_from_exchange(*wanted, wait_seconds=200)
            rows = desk.stored(keeper.exchange, keeper.symbol)
            asked = len(server.asked())
            again = await desk.service.import_from_exchange(*wanted, wait_seconds=200)
            pages = [line for line in server.asked()[asked:] if line.rows]
    # Some of the oldest may be gone by the time they are asked for.
    assert keeper.kept - 15 <= len(rows) <= keeper.kept + 2
    shared = candles[np.searchsorted(candles[:, 0], rows[:, 0])]
    np.testing.assert_array_equal(rows[:, :5], shared[:, :5])
    (series,) = answer.series
    assert set(series.missing_by_kind) <= {"not_kept", "not_asked"}
    assert series.missing_by_kind["not_kept"] >= series.expected - keeper.kept - 2
    assert series.missing_by_kind.get("not_asked", 0) <= 2, "the newest minutes"
    assert keeper.exchange in (answer.note or "")
    assert "path=" in (answer.note or "")
    assert (again.state, again.note is None) == (JobState.DONE, False)
    assert sum(page.rows for page in pages) <= 1000, "only the newest minutes are asked for again"


async def test_what_was_kept_when_asked_is_an_outage(
    pool: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candles = np.delete(traded_until_now(4_000), slice(2_000, 2_300), axis=0)
    with ExchangeServer({("Hyperliquid Perpetual", "BTC-USD"): candles}) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        async with desk_over(pool, tmp_path, server) as desk:
            start = iso_date(int(candles[0, 0]) - 10 * DAY)
            wanted = ("Hyperliquid Perpetual", ("BTC-USD",), start, None)
            answer = await desk.service.import_from_exchange(*wanted, wait_seconds=100)
    kinds = answer.series[0].missing_by_kind
    assert kinds["outage"] == 300
    # It would have them if there were any.
    assert 985 <= kinds["before_listing"] <= 991
    assert kinds["not_kept"] > 5_000


async def test_an_exchange_that_keeps_everything_has_no_such_gap(
    pool: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candles = traded_until_now(3_000)
    with ExchangeServer({("Binance Spot", "BTC-USDT"): candles}) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        async with desk_over(pool, tmp_path, server) as desk:
            start = iso_date(int(candles[0, 0]) - 20 * DAY)
            answer = await desk.service.import_from_exchange(
                "Binance Spot", ("BTC-USDT",), start, None, wait_seconds=100
            )
    assert "not_kept" not in answer.series[0].missing_by_kind
    assert answer.series[0].missing_by_kind["before_listing"] >= 20 * 1440
    assert answer.note is None
