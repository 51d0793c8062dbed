"""Import candles from an exchange: only what is missing, page by page, as a job."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import Field

from jesse_mcp.domain.candles import TIMESTAMP, SeriesKey, parse_symbol
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import Job, JobState
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.retention import kept_minutes, kept_since
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_date, iso_minute, parse_date
from jesse_mcp.ports.candle_store import CandleStore
from jesse_mcp.ports.market_data import CandlePage, MarketDataSource
from jesse_mcp.services.jobs import JobReporter, JobService, ProgressListener

MAX_SYMBOLS = 100
MAX_LISTED = 200
#: The smallest page of any exchange; what lies closer together is fetched in one go.
_WORTH_A_REQUEST_MS = 200 * MINUTE_MS


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


@dataclass(frozen=True)
class _Order:
    exchange: str
    symbols: tuple[str, ...]
    start_ms: int
    end_ms: int

    def key(self, symbol: str) -> SeriesKey:
        return SeriesKey(exchange=self.exchange, symbol=symbol)


class CandleImportService:
    """The exchange half of ``candles_import``."""

    def __init__(
        self,
        store: CandleStore,
        source: MarketDataSource,
        jobs: JobService,
        resolve_exchange: Callable[[str], str],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._source = source
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
        missing = await asyncio.to_thread(self._missing, order)
        job: Job | None = None
        if any(missing.values()):

            async def work(reporter: JobReporter) -> None:
                await _Import(self._store, self._source, order, missing, reporter, self._now).run()

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
    ) -> _Order:
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
        return _Order(self._resolve_exchange(exchange), parsed, start_ms, end_ms)

    def _missing(self, order: _Order) -> dict[str, list[tuple[int, int]]]:
        # What is wholly too old is not asked for; of a range that is so in part, the exchange may have more
        # than it is sure to have.
        kept_from = kept_since(order.exchange, int(self._now() * 1000)) or 0
        return {
            symbol: joined(
                [
                    missing
                    for missing in self._store.unanswered(order.key(symbol), order.start_ms, order.end_ms)
                    if missing[1] > kept_from
                ]
            )
            for symbol in order.symbols
        }

    def _answer(self, order: _Order, job: Job | None) -> ExchangeImport:
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

    def _stored(self, order: _Order, symbol: str) -> SeriesImport:
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


def joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ascending ranges with neighbours made one: a request fetches many minutes as easily as one."""
    result: list[tuple[int, int]] = []
    for start, end in ranges:
        if result and start - result[-1][1] < _WORTH_A_REQUEST_MS:
            result[-1] = (result[-1][0], end)
        else:
            result.append((start, end))
    return result


class _Import:
    """One job: the symbols one after the other, because they share the exchange's rate limit."""

    def __init__(
        self,
        store: CandleStore,
        source: MarketDataSource,
        order: _Order,
        missing: dict[str, list[tuple[int, int]]],
        reporter: JobReporter,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._source = source
        self._order = order
        self._missing = missing
        self._reporter = reporter
        self._now = now
        self._wanted = sum(end - start for ranges in missing.values() for start, end in ranges)
        self._answered = 0
        self._candles = 0
        self._started = now()

    async def run(self) -> None:
        """Every symbol; one that fails does not keep the others from being fetched.

        Raises:
            ResearchError: the first failure, after the rest is done.
        """
        self._reporter.started()
        failures: list[ResearchError] = []
        for symbol, ranges in self._missing.items():
            if not ranges:
                continue
            before = self._candles
            try:
                await self._symbol(symbol, ranges)
            except ResearchError as error:
                failures.append(error)
                self._reporter.log(f"{symbol}: {error.message}\n")
            self._reporter.log(f"{symbol}: {self._candles - before:,} candles\n")
        if failures:
            failed = failures[0]
            failed.details["failed_symbols"] = len(failures)
            raise failed
        self._reporter.progress(1.0, f"{self._candles:,} candles stored")

    async def _symbol(self, symbol: str, ranges: list[tuple[int, int]]) -> None:
        key = self._order.key(symbol)

        async def consume(page: CandlePage) -> None:
            answered = (self._answered_from(page), page.end_ms)
            if answered[0] < answered[1]:
                report = await asyncio.to_thread(
                    self._store.append, key, page.candles, self._order.exchange, answered
                )
                self._candles += report.added + report.replaced
            self._answered += page.end_ms - page.start_ms
            self._reporter.progress(min(1.0, self._answered / self._wanted), self._line(symbol, page.end_ms))

        await self._source.fetch(self._order.exchange, symbol, ranges, consume)

    def _answered_from(self, page: CandlePage) -> int:
        """Nothing follows from the silence about minutes that the exchange no longer keeps."""
        kept_from = kept_since(self._order.exchange, int(self._now() * 1000))
        if kept_from is None:
            return page.start_ms
        first = int(page.candles[0, TIMESTAMP]) if len(page.candles) else page.end_ms
        return max(page.start_ms, min(kept_from, first))

    def _line(self, symbol: str, reached_ms: int) -> str:
        elapsed = self._now() - self._started
        left = elapsed * (self._wanted / self._answered - 1) if self._answered else 0.0
        return f"{symbol} up to {iso_minute(reached_ms)}, {self._candles:,} candles, {left:.0f} s left"
