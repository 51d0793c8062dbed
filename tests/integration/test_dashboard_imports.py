"""Imports that a real Jesse does by itself, from an imitated exchange: followed, stopped, and broken."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import pytest_asyncio
from pydantic import SecretStr

from exchange_server import ExchangeServer, faults
from jesse_host import PASSWORD, JesseHost
from jesse_mcp.adapters.dashboard.candles import DashboardCandleStore, open_mirror
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.imports import DashboardImporter, DashboardMarketData
from jesse_mcp.adapters.dashboard.login import Credentials
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.timeframes import iso_date
from jesse_mcp.services.candle_import import CandleImportService, ExchangeImport
from jesse_mcp.services.jobs import JobService

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("dashboard imports")]

MINUTE = 60_000
DAY = 1440 * MINUTE
SPOT = "Binance Spot"
#: Midnight two days ago; the imitated exchange has every minute since, but for a hole in one market.
BEGIN = (int(time.time() * 1000) // DAY - 2) * DAY
HOLE = slice(1200, 1500)
SYMBOLS = ("BTC-USDT", "ETH-USDT", "XRP-USDT", "LTC-USDT")


def market() -> CandleArray:
    return synthetic_candles(BEGIN, 6 * 1440, 1)


@pytest.fixture(scope="module")
def exchanges() -> Iterator[ExchangeServer]:
    markets = {(SPOT, symbol): market() for symbol in SYMBOLS}
    markets[SPOT, "HOLED-USDT"] = np.delete(market(), HOLE, axis=0)
    with ExchangeServer(markets) as server:
        yield server


@pytest.fixture(scope="module")
def host(
    engine_python: Path, tmp_path_factory: pytest.TempPathFactory, exchanges: ExchangeServer
) -> Iterator[JesseHost]:
    running = JesseHost(engine_python, tmp_path_factory.mktemp("jesse"), exchanges.environment)
    yield running
    running.close()


class RecordingClient(DashboardClient):
    """The client, with the name of the import that was started last."""

    started = ""

    def call(self, method: str, path: str, **parts: Any) -> dict[str, Any]:
        if path == "/candles/import":
            self.started = parts["body"]["id"]
        return super().call(method, path, **parts)

    def status(self) -> str:
        return str(self.read("/candles/import-status", {"id": self.started})["status"])


@dataclass
class Desk:
    service: CandleImportService
    store: DashboardCandleStore
    client: RecordingClient
    jobs: JobService
    shown: list[tuple[float, str]] = field(default_factory=list)

    async def fetch(
        self,
        *symbols: str,
        start: str = iso_date(BEGIN),
        end: str | None = None,
        wait: float = 120,
        exchange: str = SPOT,
    ) -> ExchangeImport:
        return await self.service.import_from_exchange(
            exchange, symbols or SYMBOLS[:1], start, end, wait_seconds=wait, on_progress=self.show
        )

    async def show(self, fraction: float | None, message: str | None) -> None:
        self.shown.append((fraction or 0.0, message or ""))

    def stored(self, symbol: str = SYMBOLS[0]) -> CandleArray:
        return self.store.read(SeriesKey(exchange=SPOT, symbol=symbol))

    async def told(self, status: str) -> None:
        """A stop may reach Jesse after the call that asked for it has been answered."""
        async with asyncio.timeout(60):
            while await asyncio.to_thread(self.client.status) != status:
                await asyncio.sleep(0.02)

    async def reached(self, condition: str) -> None:
        async with asyncio.timeout(60):
            while not any(condition in message for _, message in self.shown):
                await asyncio.sleep(0.02)


def workers_of(host: JesseHost) -> list[psutil.Process]:
    """Jesse's processes that import."""
    workers = []
    for process in psutil.Process(host.jesse_pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            # That of a zombie cannot be read.
            if "spawn_main" in " ".join(process.cmdline()):
                workers.append(process)
    return workers


def worker_of(host: JesseHost) -> psutil.Process:
    """The youngest, since others may not have heard yet that they are over."""
    return max(workers_of(host), key=lambda process: float(process.create_time()))


@pytest_asyncio.fixture(loop_scope="module")
async def desk(host: JesseHost, exchanges: ExchangeServer, tmp_path: Path) -> AsyncIterator[Desk]:
    client = RecordingClient(host.url, Credentials(password=SecretStr(PASSWORD)))
    store = DashboardCandleStore(client, open_mirror(tmp_path, client.url))
    database = Database.at(tmp_path / "research.sqlite")
    jobs = JobService(SqlJobStore(database), "here", lambda _owner: False)
    await jobs.start()
    importer = DashboardImporter(client, store, poll_seconds=0.05)
    service = CandleImportService(
        store, DashboardMarketData(client), jobs, lambda name: name, importer=importer
    )
    yield Desk(service, store, client, jobs)
    exchanges.faults.clear()
    await jobs.close()
    # One that waits for a slow page would ask again, and meet the fault of the next test in its place.
    while workers := workers_of(host):
        for worker in workers:
            with contextlib.suppress(psutil.Error):
                worker.kill()
        await asyncio.sleep(0.02)
    for row in client.read("/candles/existing")["data"]:
        client.post("/candles/delete", {"exchange": row["exchange"], "symbol": row["symbol"]})
    client.close()
    database.close()


async def test_jesse_holds_what_the_exchange_has(desk: Desk, exchanges: ExchangeServer) -> None:
    # Else it could be over before it is looked at, on a machine that is busy.
    exchanges.faults.add(faults.slow(5), skip=2, when=faults.for_candles)
    answer = await desk.fetch()
    assert answer.state is JobState.DONE
    assert answer.series[0].present == answer.series[0].expected
    rows = desk.stored()
    np.testing.assert_array_equal(rows.astype("f4"), market()[: len(rows)].astype("f4"))
    assert rows[-1, 0] + 2 * MINUTE <= time.time() * 1000 + MINUTE
    fractions = [fraction for fraction, _ in desk.shown]
    assert fractions == sorted(fractions)
    assert any(0 < fraction < 1 for fraction in fractions)
    assert any("s left" in message for _, message in desk.shown), "as Jesse says"
    assert answer.message == f"{len(rows):,} candles stored"


async def test_several_symbols_and_one_that_is_unknown(desk: Desk) -> None:
    with pytest.raises(ResearchError, match="NOPE-USDT on Binance Spot") as caught:
        await desk.fetch("NOPE-USDT", "ETH-USDT")
    assert caught.value.code is ErrorCode.SYMBOL_UNKNOWN
    assert caught.value.details["failed_symbols"] == 1
    assert len(desk.stored("ETH-USDT")) > 2 * 1440, "the other one was imported all the same"
    assert len(desk.stored("NOPE-USDT")) == 0


async def test_a_second_import_brings_what_is_new_only(desk: Desk, exchanges: ExchangeServer) -> None:
    await desk.fetch()
    before = len(exchanges.asked())
    answer = await desk.fetch()
    assert answer.message is not None
    assert int(answer.message.split()[0]) <= 2
    assert len(exchanges.asked()) - before <= 2


async def test_a_hole_of_the_exchange_is_an_outage(desk: Desk) -> None:
    answer = await desk.fetch("HOLED-USDT", start=iso_date(BEGIN - DAY))
    assert answer.series[0].missing_by_kind == {"before_listing": 1440, "outage": 300}


async def test_an_end_is_refused_with_the_way_out(desk: Desk) -> None:
    with pytest.raises(ResearchError) as caught:
        await desk.fetch(end=iso_date(BEGIN + DAY))
    assert caught.value.code is ErrorCode.CAPABILITY_MISSING
    assert "leave out end_date" in str(caught.value.hint)
    with pytest.raises(ResearchError) as today:
        await desk.fetch(start=iso_date(int(time.time() * 1000)))
    assert today.value.code is ErrorCode.INVALID_ARGUMENT


async def test_an_exchange_that_jesse_cannot_ask(desk: Desk) -> None:
    with pytest.raises(ResearchError) as caught:
        await desk.fetch(exchange="Custom Data")
    assert caught.value.code is ErrorCode.CAPABILITY_MISSING


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (faults.refused(451), ErrorCode.EXCHANGE_BLOCKED),
        (faults.refused(418), ErrorCode.RATE_LIMITED),
        (faults.html(), ErrorCode.EXCHANGE_ANSWER_INVALID),
        (faults.high_below_low(), ErrorCode.EXCHANGE_ANSWER_INVALID),
        (faults.cut(), ErrorCode.EXCHANGE_UNREACHABLE),
        # Jesse itself tries this again for half a minute.
        (faults.reset(), ErrorCode.EXCHANGE_UNREACHABLE),
    ],
    ids=lambda value: value.name if isinstance(value, faults.Fault) else value,
)
async def test_what_goes_wrong_at_the_exchange_is_said_and_the_next_call_goes_on(
    desk: Desk, exchanges: ExchangeServer, fault: faults.Fault, code: ErrorCode
) -> None:
    # After the listing and one page.
    exchanges.faults.add(fault, skip=2, times=10**6, when=faults.for_candles)
    with pytest.raises(ResearchError) as caught:
        await desk.fetch()
    assert caught.value.code is code
    assert caught.value.hint
    assert len(desk.stored()) == 1000
    exchanges.faults.clear()
    answer = await desk.fetch()
    assert answer.series[0].present == answer.series[0].expected


async def test_cancel_tells_jesse_to_stop_within_a_second(desk: Desk, exchanges: ExchangeServer) -> None:
    async def cancellation(symbol: str) -> float:
        exchanges.faults.clear()
        exchanges.faults.add(faults.slow(40), skip=2, when=faults.for_candles)
        desk.shown.clear()
        answer = await desk.fetch(symbol, wait=0)
        assert answer.job_id is not None
        waiting = asyncio.create_task(desk.jobs.wait(answer.job_id, 60, desk.show))
        await desk.reached("s left")
        called = time.monotonic()
        job = await desk.jobs.cancel(answer.job_id)
        took = time.monotonic() - called
        assert job.state is JobState.CANCELLED
        await waiting
        await desk.told("cancelled")
        active = desk.client.read("/system/active-workers")["data"]
        assert desk.client.started not in active, (
            "the mark whose absence ends Jesse's worker at its next page"
        )
        assert len(desk.stored(symbol)) == 1000
        return took

    # A machine that stands still for a moment spoils one of them, a fault all.
    took = [await cancellation(SYMBOLS[0])]
    while took[-1] >= 1.0:
        assert len(took) < len(SYMBOLS), took
        took.append(await cancellation(SYMBOLS[len(took)]))


async def test_an_import_stopped_in_jesse_is_no_success(desk: Desk, exchanges: ExchangeServer) -> None:
    exchanges.faults.add(faults.slow(20), skip=2, when=faults.for_candles)
    fetching = asyncio.create_task(desk.fetch())
    await desk.reached("s left")
    desk.client.post("/candles/cancel-import", {"id": desk.client.started})
    with pytest.raises(ResearchError, match="cancelled in Jesse"):
        await fetching


async def test_a_worker_that_dies_is_found_out(
    desk: Desk, exchanges: ExchangeServer, host: JesseHost
) -> None:
    exchanges.faults.add(faults.slow(40), skip=2, when=faults.for_candles)
    fetching = asyncio.create_task(desk.fetch())
    await desk.reached("s left")
    worker_of(host).kill()
    killed = time.monotonic()
    with pytest.raises(ResearchError, match="has died") as caught:
        await fetching
    assert time.monotonic() - killed < 25
    assert caught.value.code is ErrorCode.JESSE_FAILED


async def test_an_import_that_stands_still_is_stopped(desk: Desk, exchanges: ExchangeServer) -> None:
    exchanges.faults.add(faults.slow(40), skip=2, when=faults.for_candles)
    importer = DashboardImporter(desk.client, desk.store, poll_seconds=0.05, stall_seconds=8)
    service = CandleImportService(
        desk.store, DashboardMarketData(desk.client), desk.jobs, lambda name: name, importer=importer
    )
    with pytest.raises(ResearchError, match="not got further") as caught:
        await service.import_from_exchange(SPOT, SYMBOLS[:1], iso_date(BEGIN), None, wait_seconds=60)
    assert caught.value.code is ErrorCode.EXCHANGE_UNREACHABLE
    await desk.told("cancelled")


async def test_jesse_killed_during_an_import(desk: Desk, exchanges: ExchangeServer, host: JesseHost) -> None:
    exchanges.faults.add(faults.slow(40), skip=2, when=faults.for_candles)
    fetching = asyncio.create_task(desk.fetch())
    await desk.reached("s left")
    host.kill_jesse()
    try:
        with pytest.raises(ResearchError) as caught:
            await fetching
        assert caught.value.code is ErrorCode.JESSE_UNREACHABLE
    finally:
        host.start_jesse()
    exchanges.faults.clear()
    answer = await desk.fetch()
    assert answer.series[0].present == answer.series[0].expected


async def test_symbols_of_an_exchange(desk: Desk) -> None:
    found = await desk.service.listed(SPOT, "btc")
    assert (found.count, found.symbols) == (1, ("BTC-USDT",))
