"""Minutes of a paper session as an exchange closes them."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper import PaperRequest
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_minute
from jesse_mcp.ports.candle_store import CandleStore
from jesse_mcp.ports.market_data import CandlePage, MarketDataSource
from jesse_mcp.ports.paper import FeedBatch, FeedNote
from jesse_mcp.services.clock import Clock
from jesse_mcp.services.page_import import answered_span
from jesse_mcp.services.paper_minutes import MinuteBook

#: Minutes of a batch, and asked for at a time, at most.
BATCH_MINUTES = 1_440
#: The clock of an exchange is known to half a second and the way of an answer: what is less cannot be told
#: from none.
_MEASURABLE_MS = 1_000
_NOTEWORTHY_MS = 2_000
#: Seconds. The clock of this machine may be set while it is waited for.
_LONGEST_WAIT = MINUTE_MS / 1000 + 5
_FIRST_RETRY, _LAST_RETRY = 1.0, 15.0
_FIRST_BACKOFF, _LAST_BACKOFF = 2.0, 60.0

#: What waiting does not help against.
_FINAL = frozenset(
    {
        ErrorCode.SYMBOL_UNKNOWN,
        ErrorCode.CAPABILITY_MISSING,
        ErrorCode.INVALID_ARGUMENT,
        ErrorCode.ENGINE_NOT_INSTALLED,
    }
)


@dataclass(frozen=True)
class FeedTiming:
    """Seconds.

    Attributes:
        grace: after the close of a minute before it is asked for; exchanges publish it a moment later.
        patience: after the close before a minute goes on without the candle of a series.
    """

    grace: float = 1.0
    patience: float = 45.0


class ExchangeFeed:
    """Implements :class:`jesse_mcp.ports.paper.PaperFeed`.

    Every exchange is asked for one series after the other, several exchanges at the same time. What the time
    is at an exchange is taken from the ``Date`` of its answers; minutes are those of the exchange, whatever
    the clock of this machine says.

    Args:
        market_data: asks the exchanges.
        store: keeps what arrives for later backtests; ``None`` when it takes no pages.
        clock: of this machine.
        timing: when to ask, and when to give up.
    """

    def __init__(
        self,
        market_data: MarketDataSource,
        store: CandleStore | None,
        clock: Clock | None = None,
        timing: FeedTiming | None = None,
    ) -> None:
        self._market_data = market_data
        self._store = store
        self._clock = clock or Clock()
        self._timing = timing or FeedTiming()

    async def batches(self, request: PaperRequest, from_ms: int) -> AsyncGenerator[FeedBatch]:
        """See the port.

        Raises:
            ResearchError: ``symbol_unknown``, ``capability_missing``, ``invalid_argument``,
                ``engine_not_installed``. Every other failure is an outage.
        """
        book = MinuteBook(request.series, from_ms, int(self._timing.patience * 1000))
        session = _Polling(request, book, self._market_data, self._store, self._clock)
        retry, backoff = _FIRST_RETRY, _FIRST_BACKOFF
        while request.end_ms is None or book.next_ms < request.end_ms:
            await self._wait_for_close(session)
            before = book.next_ms
            batch, failure = await session.poll()
            if batch.minutes or batch.notes or batch.through > before:
                yield batch
            if failure is not None:
                await self._clock.sleep(_pause(failure, backoff))
                backoff = min(2 * backoff, _LAST_BACKOFF)
            elif book.next_ms > before:
                retry, backoff = _FIRST_RETRY, _FIRST_BACKOFF
            elif not await self._retry(session, retry):
                retry = _FIRST_RETRY
            else:
                retry, backoff = min(2 * retry, _LAST_RETRY), _FIRST_BACKOFF
        if from_ms >= book.next_ms:
            yield FeedBatch((), (), self._clock.now_ms(), book.next_ms, ended=True)

    async def _wait_for_close(self, session: "_Polling") -> None:
        """Until the next minute is over at the exchange; not at all when it is, and not forever."""
        left = self._left(session, session.book.next_ms + MINUTE_MS)
        if left > 0:
            await self._clock.sleep(min(left, _LONGEST_WAIT))

    async def _retry(self, session: "_Polling", pause: float) -> bool:
        """Wait before a minute that is over is asked for again; false when another one is over by then."""
        now = session.exchange_now - int(self._timing.grace * 1000)
        left = self._left(session, now // MINUTE_MS * MINUTE_MS + MINUTE_MS)
        await self._clock.sleep(min(pause, left))
        return pause < left

    def _left(self, session: "_Polling", close: int) -> float:
        """Seconds until a minute that closes at ``close`` is asked for."""
        return (close - session.exchange_now) / 1000 + self._timing.grace


@dataclass
class _Polling:
    """One session's way through time."""

    request: PaperRequest
    book: MinuteBook
    market_data: MarketDataSource
    store: CandleStore | None
    clock: Clock
    #: Own clock minus that of each exchange, milliseconds.
    skews: dict[str, int] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    #: What the store has not taken yet: series, candles, and the range that was answered for.
    unsaved: list[tuple[SeriesKey, CandleArray, tuple[int, int]]] = field(default_factory=list)
    full: bool = False
    #: Since when an exchange has not answered, by the own clock.
    outages: dict[str, int] = field(default_factory=dict)

    @property
    def exchange_now(self) -> int:
        """The time at the exchange that is furthest behind."""
        skew = max(self.skews.values(), default=0)
        return self.clock.now_ms() - (skew if abs(skew) > _MEASURABLE_MS else 0)

    async def poll(self) -> tuple[FeedBatch, ResearchError | None]:
        """Ask every exchange once for what is lacking; what came of it, and what kept one from answering."""
        until = self._until()
        by_exchange: dict[str, list[int]] = {}
        for place, key in enumerate(self.request.series):
            by_exchange.setdefault(key.exchange, []).append(place)
        notes: list[FeedNote] = []
        asking = [self._ask(name, places, until, notes) for name, places in by_exchange.items()]
        failures = [failure for failure in await asyncio.gather(*asking) if failure is not None]
        for failure in failures:
            if failure.code in _FINAL:
                raise failure
        await self._save(notes)
        now = self.exchange_now
        released = self.book.release(until, now, answered=not failures, limit=BATCH_MINUTES)
        end = self.request.end_ms
        batch = FeedBatch(
            minutes=released.minutes,
            notes=(*notes, *released.notes),
            received_at=self.clock.now_ms(),
            through=self.book.next_ms,
            ended=end is not None and self.book.next_ms >= end,
        )
        return batch, failures[0] if failures else None

    def _until(self) -> int:
        """The end of what is asked for. The next minute is asked for even when it seems not to be over: the
        answer tells what the time is at the exchange."""
        closed = self.exchange_now // MINUTE_MS * MINUTE_MS
        until = min(max(closed, self.book.next_ms + MINUTE_MS), self.book.next_ms + BATCH_MINUTES * MINUTE_MS)
        return until if self.request.end_ms is None else min(until, self.request.end_ms)

    async def _ask(
        self, exchange: str, places: list[int], until: int, notes: list[FeedNote]
    ) -> ResearchError | None:
        try:
            for place in places:
                await self._fetch(place, until, notes)
        except ResearchError as failure:
            if exchange not in self.outages:
                self.outages[exchange] = self.clock.now_ms()
                notes.append(self._note("outage", f"{failure.code.value}: {failure.message}"))
            return failure
        since = self.outages.pop(exchange, None)
        if since is not None:
            seconds = (self.clock.now_ms() - since) / 1000
            notes.append(
                self._note("recovered", f"{exchange} answers again, after {seconds:.0f} s without an answer")
            )
        return None

    async def _fetch(self, place: int, until: int, notes: list[FeedNote]) -> None:
        key = self.request.series[place]
        start = self.book.wanted_from(place)
        if start >= until:
            return
        pages: list[CandlePage] = []

        async def consume(page: CandlePage) -> None:
            pages.append(page)

        try:
            summary = await self.market_data.fetch(key.exchange, key.symbol, [(start, until)], consume)
        except ResearchError:
            # What arrived before a failure has arrived.
            self._take(place, key, pages, notes)
            raise
        self._measure(key.exchange, summary.exchange_ms, notes)
        self._take(place, key, pages, notes)

    def _take(self, place: int, key: SeriesKey, pages: list[CandlePage], notes: list[FeedNote]) -> None:
        for page in pages:
            taken = self.book.take(place, page, self.exchange_now)
            notes.extend(taken.notes)
            span = answered_span(key.exchange, page, self.clock.now_ms())
            if self.store is not None and span[0] < span[1]:
                self.unsaved.append((key, taken.candles, span))

    async def _save(self, notes: list[FeedNote]) -> None:
        """A store that refuses does not keep the session waiting, which has a log of its own."""
        try:
            while self.store is not None and self.unsaved:
                key, candles, span = self.unsaved[0]
                await asyncio.to_thread(self.store.append, key, candles, key.exchange, span)
                del self.unsaved[0]
        except ResearchError as failure:
            if not self.full:
                notes.append(self._note("storage", f"candles are not stored: {failure.message}"))
            self.full = True
        else:
            if self.full:
                notes.append(self._note("storage", "candles are stored again, those of meanwhile too"))
            self.full = False

    def _measure(self, exchange: str, exchange_ms: int | None, notes: list[FeedNote]) -> None:
        """Compare the clocks."""
        if exchange_ms is None:
            return
        skew = self.clock.now_ms() - exchange_ms
        self.skews[exchange] = skew
        if abs(skew) > _NOTEWORTHY_MS and exchange not in self.wrong:
            self.wrong.add(exchange)
            way = "ahead of" if skew > 0 else "behind"
            notes.append(
                self._note("clock", f"this machine's clock is {abs(skew) / 1000:.1f} s {way} {exchange}'s")
            )
        elif abs(skew) <= _MEASURABLE_MS:
            self.wrong.discard(exchange)

    def _note(self, kind: str, message: str) -> FeedNote:
        now = self.clock.now_ms()
        return FeedNote(kind, now, f"{iso_minute(now)}: {message}")


def _pause(failure: ResearchError, backoff: float) -> float:
    asked = failure.details.get("retry_after_seconds")
    return max(backoff, float(asked)) if isinstance(asked, int | float) else backoff
