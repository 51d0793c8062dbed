"""Importing from an exchange: only what is missing, page by page, over a real store."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.ports.market_data import CandlePage, FetchSummary, PageConsumer
from jesse_mcp.services.candle_import import CandleImportService, ExchangeImport
from jesse_mcp.services.jobs import JobService
from jesse_mcp.services.page_import import joined

START = 1_704_067_200_000
MINUTE = 60_000
DAY = 1440 * MINUTE
PAGE = 500 * MINUTE
EXCHANGE = "Binance Spot"


@dataclass
class ScriptedExchange:
    """Answers from an array, ``PAGE`` at a time, and writes down what it was asked for."""

    candles: dict[str, CandleArray]
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    fail_after: int | None = None
    gate: asyncio.Event | None = None

    async def fetch(
        self, exchange: str, symbol: str, ranges: list[tuple[int, int]], consume: PageConsumer
    ) -> FetchSummary:
        if symbol not in self.candles:
            raise ResearchError(ErrorCode.SYMBOL_UNKNOWN, f"{symbol} is not listed", hint="another symbol")
        rows = self.candles[symbol]
        pages = 0
        for start, end in ranges:
            for page_start in range(start, end, PAGE):
                if self.fail_after is not None and len(self.asked) >= self.fail_after:
                    raise ResearchError(ErrorCode.RATE_LIMITED, "too fast", hint="wait")
                if self.gate is not None:
                    await self.gate.wait()
                page_end = min(page_start + PAGE, end)
                self.asked.append((symbol, page_start, page_end))
                inside = rows[(rows[:, 0] >= page_start) & (rows[:, 0] < page_end)]
                await consume(CandlePage(page_start, page_end, inside))
                pages += 1
        return FetchSummary(pages, None, 0.0)

    async def symbols(self, exchange: str) -> list[str]:
        return sorted(self.candles)


@dataclass
class Desk:
    service: CandleImportService
    source: ScriptedExchange
    store: ParquetCandleStore
    jobs: JobService

    async def fetch(self, *symbols: str, end: str | None = "2024-01-03", wait: float = 60) -> ExchangeImport:
        return await self.service.import_from_exchange(
            EXCHANGE, symbols or ("BTC-USDT",), "2024-01-01", end, wait_seconds=wait
        )

    def stored(self, symbol: str = "BTC-USDT") -> CandleArray:
        return self.store.read(SeriesKey(exchange=EXCHANGE, symbol=symbol))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database.at(tmp_path / "research.sqlite")
    store = ParquetCandleStore(tmp_path / "candles")
    source = ScriptedExchange({"BTC-USDT": synthetic_candles(START, 3 * 1440, 1)})
    jobs = JobService(SqlJobStore(database), "here", lambda _owner: False)
    await jobs.start()
    now = (START + 3 * DAY) / 1000
    service = CandleImportService(store, source, jobs, lambda name: name, now=lambda: now)
    yield Desk(service, source, store, jobs)
    await jobs.close()
    database.close()


async def test_what_arrives_is_what_the_exchange_has(desk: Desk) -> None:
    answer = await desk.fetch()
    assert answer.state is JobState.DONE
    assert answer.series[0].present == 2 * 1440
    np.testing.assert_array_equal(desk.stored(), desk.source.candles["BTC-USDT"][: 2 * 1440])
    assert answer.message == "2,880 candles stored"


async def test_nothing_is_asked_for_twice(desk: Desk) -> None:
    await desk.fetch()
    desk.source.asked.clear()
    again = await desk.fetch()
    assert (again.state, again.job_id, desk.source.asked) == (JobState.DONE, None, [])


async def test_only_the_missing_part_is_asked_for(desk: Desk) -> None:
    rows = desk.source.candles["BTC-USDT"]
    desk.store.write(SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT"), rows[1440:2880], "a file")
    await desk.fetch()
    assert {(start, end) for _, start, end in desk.source.asked} == {
        (START, START + PAGE),
        (START + PAGE, START + 2 * PAGE),
        (START + 2 * PAGE, START + DAY),
    }
    np.testing.assert_array_equal(desk.stored(), rows[: 2 * 1440])


async def test_what_was_answered_as_empty_is_not_asked_for_again(desk: Desk) -> None:
    rows = desk.source.candles["BTC-USDT"]
    desk.source.candles["BTC-USDT"] = np.delete(rows, slice(100, 400), axis=0)
    first = await desk.fetch()
    assert first.series[0].present == 2 * 1440 - 300
    desk.source.asked.clear()
    await desk.fetch()
    assert desk.source.asked == []


async def test_an_import_that_failed_goes_on_where_it_stopped(desk: Desk) -> None:
    desk.source.fail_after = 3
    with pytest.raises(ResearchError, match="too fast") as caught:
        await desk.fetch()
    assert caught.value.code is ErrorCode.RATE_LIMITED
    assert len(desk.stored()) == 1500
    desk.source.fail_after = None
    done = len(desk.source.asked)
    await desk.fetch()
    assert desk.source.asked[done][1] == START + 3 * PAGE
    np.testing.assert_array_equal(desk.stored(), desk.source.candles["BTC-USDT"][: 2 * 1440])


async def test_one_unknown_symbol_does_not_stop_the_others(desk: Desk) -> None:
    desk.source.candles["ETH-USDT"] = synthetic_candles(START, 3 * 1440, 2)
    with pytest.raises(ResearchError, match="NOPE-USDT is not listed") as caught:
        await desk.fetch("BTC-USDT", "NOPE-USDT", "ETH-USDT")
    assert caught.value.details["failed_symbols"] == 1
    assert len(desk.stored("BTC-USDT")) == len(desk.stored("ETH-USDT")) == 2880
    job = await desk.jobs.get(str(caught.value.details["job_id"]))
    assert "ETH-USDT: 2,880 candles" in job.log_tail


async def test_without_an_end_it_goes_up_to_now(desk: Desk) -> None:
    answer = await desk.fetch(end=None)
    assert answer.end == "2024-01-04T00:00Z"
    assert len(desk.stored()) == 3 * 1440


async def test_a_cancelled_import_keeps_its_pages(desk: Desk) -> None:
    desk.source.gate = asyncio.Event()
    answer = await desk.fetch(wait=0)
    assert answer.job_id is not None
    job = await desk.jobs.cancel(answer.job_id)
    assert job.state is JobState.CANCELLED
    desk.source.gate.set()
    await desk.fetch()
    assert len(desk.stored()) == 2880


@pytest.mark.parametrize(
    ("symbols", "start", "end", "named"),
    [
        (("BTC-USDT",), "2024-01-03", "2024-01-03", "no finished minute"),
        (("BTC-USDT",), "2030-01-01", None, "no finished minute"),
        ((), "2024-01-01", None, "0 symbols"),
        (("BTCUSDT",), "2024-01-01", None, "BTCUSDT"),
    ],
)
async def test_what_cannot_be_fetched_is_refused(
    desk: Desk, symbols: tuple[str, ...], start: str, end: str | None, named: str
) -> None:
    with pytest.raises(ResearchError, match=named) as caught:
        await desk.service.import_from_exchange(EXCHANGE, symbols, start, end, wait_seconds=1)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert desk.source.asked == []


def test_scattered_minutes_are_fetched_together() -> None:
    minute = 60_000
    scattered = [(i * 10 * minute, (i * 10 + 1) * minute) for i in range(50)]
    assert joined(scattered) == [(0, 491 * minute)]
    far = [(0, minute), (201 * minute, 202 * minute)]
    assert joined(far) == far
    assert joined([]) == []
