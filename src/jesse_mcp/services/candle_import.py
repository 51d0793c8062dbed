"""Import candles from an exchange: only what is missing, page by page, as a job."""

import asyncio
import time
from collections.abc import Callable

from pydantic import Field

from jesse_mcp.domain.candles import parse_symbol
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import Job, JobState
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.retention import kept_minutes
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_date, iso_minute, parse_date
from jesse_mcp.ports.candle_store import CandleStore
from jesse_mcp.ports.market_data import MarketDataSource
from jesse_mcp.ports.series_import import ImportOrder, ImportProgress, ProgressConsumer, SeriesImporter
from jesse_mcp.services.jobs import JobReporter, JobService, ProgressListener
from jesse_mcp.services.page_import import PageImporter

MAX_SYMBOLS = 100
MAX_LISTED = 200


class SeriesImport(Value):
    """What is stored of the range that was asked for."""

    symbol: str
    expected: int = Field(description="minutes in the range")
    present: int
    missing_by_kind: dict[str, int] = Field(description="minutes; candles_available explains the kinds")


class ExchangeImport(Value):
    """State of an import; it is safe to ask again for the same: only what is missing is fetched."""

    state: JobState
    job_id: str | None = Field(description="null when nothing was missing")
    progress: float | None = None
    message: str | None = None
    exchange: str
    start: str
    end: str = Field(description="exclusive")
    series: tuple[SeriesImport, ...]
    note: str | None = Field(description="what the exchange can no longer give, and the way out")


class ListedSymbols(Value):
    """What an exchange lists at the moment."""

    exchange: str
    count: int = Field(description="symbols that match")
    symbols: tuple[str, ...] = Field(description=f"sorted, the first {MAX_LISTED}")


class CandleImportService:
    """The exchange half of ``candles_import``.

    Args:
        store: where the candles are afterwards.
        source: knows the symbols of the exchanges.
        jobs: an import is one.
        resolve_exchange: a name as people write it to the name Jesse knows; raises ``ResearchError``.
        now: the clock, epoch seconds.
        importer: does the work; default: page by page from ``source`` into ``store``.
    """

    def __init__(
        self,
        store: CandleStore,
        source: MarketDataSource,
        jobs: JobService,
        resolve_exchange: Callable[[str], str],
        now: Callable[[], float] = time.time,
        importer: SeriesImporter | None = None,
    ) -> None:
        self._store = store
        self._source = source
        self._importer = importer or PageImporter(store, source, now)
        self._jobs = jobs
        self._resolve_exchange = resolve_exchange
        self._now = now

    async def import_from_exchange(
        self,
        exchange: str,
        symbols: tuple[str, ...],
        start_date: str,
        end_date: str | None,
        *,
        wait_seconds: float,
        on_progress: ProgressListener | None = None,
    ) -> ExchangeImport:
        """Fetch what the store lacks of ``[start_date, end_date)``; up to now without an end.

        Raises:
            ResearchError: ``invalid_argument``, or the error of the import when it fails in that time.
        """
        order = self._order(exchange, symbols, start_date, end_date)
        lacking = await asyncio.to_thread(self._importer.lacking, order)
        job: Job | None = None
        if lacking:

            async def work(reporter: JobReporter) -> None:
                await _Import(self._importer, order, lacking, reporter).run()

            request = {
                "exchange": order.exchange,
                "symbols": list(order.symbols),
                "start_date": iso_date(order.start_ms),
                "end_date": end_date,
            }
            job = await self._jobs.submit("candles_import", request, work)
            job = await self._jobs.wait(job.job_id, wait_seconds, on_progress)
            if job.error is not None:
                error = ResearchError.from_dict(job.error)
                error.details.setdefault("job_id", job.job_id)
                raise error
        return await asyncio.to_thread(self._answer, order, job)

    async def listed(self, exchange: str, text: str = "", limit: int | None = MAX_LISTED) -> ListedSymbols:
        """Symbols the exchange lists that contain ``text`` in any case, at most ``limit`` of them.

        Raises:
            ResearchError: ``invalid_argument``, or as the port does: ``capability_missing`` when Jesse has
                no driver that could ask.
        """
        resolved = self._resolve_exchange(exchange)
        wanted = text.strip().upper().replace("/", "-").replace("_", "-")
        found = [symbol for symbol in await self._source.symbols(resolved) if wanted in symbol.upper()]
        return ListedSymbols(exchange=resolved, count=len(found), symbols=tuple(found[:limit]))

    def _order(
        self, exchange: str, symbols: tuple[str, ...], start_date: str, end_date: str | None
    ) -> ImportOrder:
        now_ms = int(self._now() * 1000) // MINUTE_MS * MINUTE_MS
        start_ms = parse_date(start_date, "start_date")
        end_ms = now_ms if end_date is None else min(parse_date(end_date, "end_date"), now_ms)
        if end_ms <= start_ms:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"there is no finished minute from {start_date} to {end_date or 'now'}",
                hint="start_date must lie in the past and before end_date, which is exclusive",
            )
        parsed = tuple(dict.fromkeys(parse_symbol(symbol) for symbol in symbols))
        if not 1 <= len(parsed) <= MAX_SYMBOLS:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"{len(parsed)} symbols were given",
                hint=f"give 1 to {MAX_SYMBOLS} symbols",
            )
        return ImportOrder(self._resolve_exchange(exchange), parsed, start_ms, end_ms, end_date is None)

    def _answer(self, order: ImportOrder, job: Job | None) -> ExchangeImport:
        series = tuple(self._stored(order, symbol) for symbol in order.symbols)
        return ExchangeImport(
            state=JobState.DONE if job is None else job.state,
            job_id=None if job is None else job.job_id,
            progress=1.0 if job is None else job.progress,
            message="everything was stored already" if job is None else job.message,
            exchange=order.exchange,
            start=iso_minute(order.start_ms),
            end=iso_minute(order.end_ms),
            series=series,
            note=_lost(order.exchange, series),
        )

    def _stored(self, order: ImportOrder, symbol: str) -> SeriesImport:
        coverage = self._store.coverage(order.key(symbol), order.start_ms, order.end_ms, max_gaps=0)
        return SeriesImport(
            symbol=symbol,
            expected=coverage.expected,
            present=coverage.present,
            missing_by_kind=coverage.missing_by_kind,
        )


def _lost(exchange: str, series: tuple[SeriesImport, ...]) -> str | None:
    minutes = sum(one.missing_by_kind.get("not_kept", 0) for one in series)
    if not minutes:
        return None
    return (
        f"{exchange} keeps only about the latest {kept_minutes(exchange):,} minutes; {minutes:,} missing "
        "ones are older: import them from a file (path=...), or use an exchange that keeps them"
    )


class _Import:
    """One job: the symbols one after the other, because they share the exchange's rate limit."""

    def __init__(
        self, importer: SeriesImporter, order: ImportOrder, lacking: dict[str, int], reporter: JobReporter
    ) -> None:
        self._importer = importer
        self._order = order
        self._lacking = lacking
        self._reporter = reporter
        self._wanted = sum(lacking.values())
        self._done = 0

    async def run(self) -> None:
        """Every symbol; one that fails does not keep the others from being fetched.

        Raises:
            ResearchError: the first failure, after the rest is done.
        """
        self._reporter.started()
        candles = 0
        failures: list[ResearchError] = []
        for symbol in self._lacking:
            try:
                added = await self._importer.fetch(self._order, symbol, self._shown(symbol))
            except ResearchError as error:
                failures.append(error)
                self._reporter.log(f"{symbol}: {error.message}\n")
            else:
                candles += added
                self._reporter.log(f"{symbol}: {added:,} candles\n")
            self._done += self._lacking[symbol]
        if failures:
            failed = failures[0]
            failed.details["failed_symbols"] = len(failures)
            raise failed
        self._reporter.progress(1.0, f"{candles:,} candles stored")

    def _shown(self, symbol: str) -> ProgressConsumer:
        position = list(self._lacking).index(symbol) + 1
        which = "" if len(self._lacking) == 1 else f" ({position} of {len(self._lacking)} symbols)"

        def show(progress: ImportProgress) -> None:
            fraction = (self._done + progress.fraction * self._lacking[symbol]) / self._wanted
            parts = [f"{symbol}{which} up to {progress.reached}"]
            if progress.candles is not None:
                parts.append(f"{progress.candles:,} candles")
            if progress.seconds_left is not None:
                parts.append(f"{progress.seconds_left:.0f} s left")
            self._reporter.progress(fraction, ", ".join(parts))

        return show
