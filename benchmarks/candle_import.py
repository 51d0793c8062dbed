"""9. Importing a year of one-minute candles from an exchange, against Jesse's driver alone."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from benchmarks.desk import Desk, Steps
from benchmarks.exchange_process import DriverProcess, driver, exchange
from benchmarks.report import Figure, Goal, Result, milliseconds, sampled

from jesse_mcp.adapters.candles.file_reader import CandleFiles
from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.embedded.market_data import EmbeddedMarketData
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.composition import Application
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_date, parse_date
from jesse_mcp.services.candle_import import CandleImportService
from jesse_mcp.services.candles import CandleService
from jesse_mcp.services.import_folders import ImportFolders

_SERIES = SeriesKey(exchange="Binance Perpetual Futures", symbol="BTC-USDT")
_START = parse_date("2023-01-01", "start")
_YEAR, _MONTH, _DAY = (_START + days * 1440 * MINUTE_MS for days in (365, 31, 1))
_SEED = 11
_REPEATS, _OPENS = 3, 20
_WAIT_SECONDS = 3600
_MIB = 2**20
_SHARE_GOAL, _OPEN_GOAL = Goal("at most", 10.0), Goal("at most", 10.0)


@dataclass
class _Samples:
    """Seconds, one a repetition, and bytes of the last one."""

    alone: list[float] = field(default_factory=list)
    alone_cpu: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    before_page: list[float] = field(default_factory=list)
    appending: list[float] = field(default_factory=list)
    merging: list[float] = field(default_factory=list)
    server_cpu: list[float] = field(default_factory=list)
    worker_cpu: list[float] = field(default_factory=list)
    mapping: list[float] = field(default_factory=list)
    opening: list[float] = field(default_factory=list)
    listing: list[float] = field(default_factory=list)
    pages: int = 0
    parquet: int = 0
    mapped: int = 0


@dataclass(frozen=True)
class _Contestants:
    """The driver by itself, and our import without and with the driver's pauses."""

    driver: DriverProcess
    application: Application
    candles: CandleArray

    async def once(self, home: Path, end_ms: int, pace: float, samples: _Samples, *, reverse: bool) -> None:
        """Both over the same range, next to each other in time."""
        if reverse:
            await self._import(home, end_ms, pace, samples)
        walk = await self.driver.walk(_START, end_ms, pace)
        if walk.rows != (end_ms - _START) // MINUTE_MS:
            raise RuntimeError(f"the driver did not get the whole range: {walk}")
        samples.alone.append(walk.wall)
        samples.alone_cpu.append(walk.cpu)
        samples.pages = walk.pages
        if not reverse:
            await self._import(home, end_ms, pace, samples)

    async def _import(self, home: Path, end_ms: int, pace: float, samples: _Samples) -> None:
        store = ParquetCandleStore(home)
        source = EmbeddedMarketData(self.application.backend.embedded.pool, pace=pace)
        service = CandleImportService(store, source, self.application.jobs, lambda name: name)
        watch = _Watch(store, service)
        await self._standby()
        template = self._template()
        before, server, started = _ended_children(template), _own(), time.perf_counter()
        await service.import_from_exchange(
            _SERIES.exchange,
            (_SERIES.symbol,),
            iso_date(_START),
            iso_date(end_ms),
            wait_seconds=_WAIT_SECONDS,
        )
        samples.whole.append(time.perf_counter() - started)
        samples.server_cpu.append(_own() - server)
        samples.worker_cpu.append(_ended_children(template) - before)
        samples.before_page.append(watch.first_page - started)
        samples.appending.append(watch.seconds["append"])
        samples.merging.append(watch.seconds["_answer"])
        if not np.array_equal(store.read(_SERIES), self.candles[: (end_ms - _START) // MINUTE_MS]):
            raise RuntimeError("what was stored is not what the exchange has")
        await _look(home, samples)

    async def _standby(self) -> None:
        """Until a worker is waiting: what is measured is not how long it takes to make one."""
        pool = self.application.backend.embedded.pool
        await pool.warm()
        assert pool._standby is not None
        await asyncio.shield(pool._standby.coming)

    def _template(self) -> psutil.Process:
        template = self.application.backend.embedded.pool.template
        assert template is not None
        return psutil.Process(template.pid)


class _Watch:
    """Stopwatches around what an import does in the server. The product knows nothing of them."""

    def __init__(self, store: ParquetCandleStore, service: CandleImportService) -> None:
        self.seconds = {"append": 0.0, "_answer": 0.0}
        self.first_page = 0.0
        for owner, name in ((store, "append"), (service, "_answer")):
            setattr(owner, name, self._timed(name, getattr(owner, name)))

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            self.first_page = self.first_page or started
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - started

        return timed


async def measure(desk: Desk, steps: Steps) -> list[Result]:
    """A year without pauses, to see what is ours, and a month at the pace the driver prescribes."""
    repeats = desk.repeats(_REPEATS, quick=1)
    end_ms, paced_end_ms = (_MONTH, _DAY) if desk.quick else (_YEAR, _MONTH)
    steps.expect(2 * repeats)
    async with _contestants(desk) as contestants:
        # Connections, certificates, and the code on every side.
        await contestants.once(desk.folder / "import-warm-up", _DAY, 0.0, _Samples(), reverse=False)
        fast, paced = _Samples(), _Samples()
        for number in range(repeats):
            reverse = number % 2 == 1
            steps.doing("without pauses")
            await contestants.once(desk.folder / f"import-{number}", end_ms, 0.0, fast, reverse=reverse)
            steps.done()
            steps.doing("at the driver's pace")
            await contestants.once(desk.folder / f"paced-{number}", paced_end_ms, 1.0, paced, reverse=reverse)
            steps.done()
        return [_without_pauses(fast, end_ms), _at_its_pace(paced, paced_end_ms, contestants.driver)]


@asynccontextmanager
async def _contestants(desk: Desk) -> AsyncIterator[_Contestants]:
    candles = synthetic_candles(_START, (_YEAR - _START) // MINUTE_MS, _SEED)
    file = desk.folder / "exchange.f64"
    candles.astype("<f8").tofile(file)
    application = Application(desk.settings.model_copy(update={"home": desk.home("candle-import")}))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(exchange(file, _SERIES.exchange, _SERIES.symbol))
        alone = await stack.enter_async_context(driver(desk, _SERIES.exchange, _SERIES.symbol))
        stack.push_async_callback(application.close)
        await application.start()
        yield _Contestants(alone, application, candles)


async def _look(home: Path, samples: _Samples) -> None:
    """What the imported series costs to keep, to list and to open."""
    store = ParquetCandleStore(home)
    service = CandleService(store, CandleFiles(), lambda name: name, ImportFolders(home))
    started = time.perf_counter()
    await service.available()
    samples.listing.append(time.perf_counter() - started)
    started = time.perf_counter()
    mapped = store.mapped(_SERIES)
    samples.mapping.append(time.perf_counter() - started)
    for _ in range(_OPENS):
        started = time.perf_counter()
        found = store.mapped(_SERIES)
        rows = np.memmap(found.path, dtype="<f8", mode="r", shape=(found.rows, 6))
        float(rows[0, 0] + rows[-1, 0])
        samples.opening.append(time.perf_counter() - started)
    (parquet,) = home.glob("*/*.parquet")
    samples.parquet, samples.mapped = parquet.stat().st_size, Path(mapped.path).stat().st_size


def _own() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def _ended_children(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.children_user + times.children_system)


def _without_pauses(samples: _Samples, end_ms: int) -> Result:
    minutes = (end_ms - _START) // MINUTE_MS
    a_year = 525_600 / minutes / _MIB
    a_page = [1000 * seconds / samples.pages for seconds in _ours(samples)]
    return Result(
        "candle import, without pauses",
        f"{minutes:,} one-minute candles in {samples.pages} pages from {_SERIES.exchange}, imitated on this "
        "machine; neighbours in time are compared",
        (
            sampled("import", samples.whole, "s"),
            sampled("driver alone: requests, the exchange's answers, parsing", samples.alone, "s"),
            sampled("ours: the difference", _ours(samples), "s"),
            sampled("ours, share of the import", _share(samples), "%", _SHARE_GOAL),
            sampled("ours, by page", a_page, "ms"),
            sampled("of it: until the first page is there", milliseconds(samples.before_page), "ms"),
            sampled("of it: merging and coverage at the end", milliseconds(samples.merging), "ms"),
            sampled("beside the driver: checking and appending pages", samples.appending, "s"),
            sampled("CPU time of the driver alone", samples.alone_cpu, "s"),
            sampled("CPU time of the importing worker, its driver included", samples.worker_cpu, "s"),
            sampled("CPU time of the server, beside the driver", samples.server_cpu, "s"),
            Figure("Parquet, for 525,600 minutes", samples.parquet * a_year, "MiB"),
            Figure("mapped form, for 525,600 minutes", samples.mapped * a_year, "MiB"),
            sampled("candles_available after it", milliseconds(samples.listing), "ms"),
            sampled("making the mapped form, at the first backtest", milliseconds(samples.mapping), "ms"),
            sampled("opening the mapped form", milliseconds(samples.opening), "ms", _OPEN_GOAL),
        ),
    )


def _at_its_pace(samples: _Samples, end_ms: int, alone: DriverProcess) -> Result:
    pauses = (samples.pages - 1) * alone.pause
    a_year = -(-525_600 // alone.candles_a_page) - 1
    return Result(
        "candle import, at the driver's pace",
        f"{(end_ms - _START) // MINUTE_MS:,} one-minute candles in {samples.pages} pages, "
        f"{alone.pause:g} s between them",
        (
            sampled("import", samples.whole, "s"),
            sampled("driver alone, with its pauses", samples.alone, "s"),
            Figure("of it: pauses", pauses, "s"),
            sampled("ours: the difference", _ours(samples), "s"),
            sampled("ours, share of the import", _share(samples), "%", _SHARE_GOAL),
            Figure("pauses of a year", a_year * alone.pause, "s"),
        ),
    )


def _ours(samples: _Samples) -> list[float]:
    return [whole - alone for whole, alone in zip(samples.whole, samples.alone, strict=True)]


def _share(samples: _Samples) -> list[float]:
    return [100 * ours / whole for ours, whole in zip(_ours(samples), samples.whole, strict=True)]
