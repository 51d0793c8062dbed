"""Candles of an exchange page by page into our own store: only what is missing."""

import asyncio
import time
from collections.abc import Callable

from jesse_mcp.domain.candles import TIMESTAMP
from jesse_mcp.domain.retention import kept_since
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_minute
from jesse_mcp.ports.candle_store import CandleStore
from jesse_mcp.ports.market_data import CandlePage, MarketDataSource
from jesse_mcp.ports.series_import import ImportOrder, ImportProgress, ProgressConsumer

#: The smallest page of any exchange; what lies closer together is fetched in one go.
_WORTH_A_REQUEST_MS = 200 * MINUTE_MS


class PageImporter:
    """Implements :class:`jesse_mcp.ports.series_import.SeriesImporter`.

    Args:
        store: takes the pages.
        source: asks the exchange.
        now: the clock, epoch seconds.
    """

    def __init__(
        self, store: CandleStore, source: MarketDataSource, now: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._source = source
        self._now = now

    def lacking(self, order: ImportOrder) -> dict[str, int]:
        """See the port."""
        wanted = {symbol: _minutes(self._missing(order, symbol)) for symbol in order.symbols}
        return {symbol: minutes for symbol, minutes in wanted.items() if minutes}

    async def fetch(self, order: ImportOrder, symbol: str, report: ProgressConsumer) -> int:
        """See the port."""
        ranges = await asyncio.to_thread(self._missing, order, symbol)
        wanted = _minutes(ranges)
        began = self._now()
        answered = candles = 0

        async def consume(page: CandlePage) -> None:
            nonlocal answered, candles
            span = answered_span(order.exchange, page, int(self._now() * 1000))
            if span[0] < span[1]:
                stored = await asyncio.to_thread(
                    self._store.append, order.key(symbol), page.candles, order.exchange, span
                )
                candles += stored.added + stored.replaced
            answered += (page.end_ms - page.start_ms) // MINUTE_MS
            left = (self._now() - began) * (wanted / answered - 1) if answered else None
            fraction = min(1.0, answered / wanted)
            report(ImportProgress(fraction, iso_minute(page.end_ms), candles, left))

        if ranges:
            await self._source.fetch(order.exchange, symbol, ranges, consume)
        return candles

    def _missing(self, order: ImportOrder, symbol: str) -> list[tuple[int, int]]:
        # What is wholly too old is not asked for; of a range that is so in part, the exchange may have more
        # than it is sure to have.
        kept_from = kept_since(order.exchange, int(self._now() * 1000)) or 0
        missing = self._store.unanswered(order.key(symbol), order.start_ms, order.end_ms)
        return joined([one for one in missing if one[1] > kept_from])


def answered_span(exchange: str, page: CandlePage, now_ms: int) -> tuple[int, int]:
    """The minutes a page says something of; empty when the start is not before the end.

    Nothing follows from the silence about minutes that the exchange no longer keeps.
    """
    kept_from = kept_since(exchange, now_ms)
    if kept_from is None:
        return page.start_ms, page.end_ms
    first = int(page.candles[0, TIMESTAMP]) if len(page.candles) else page.end_ms
    return max(page.start_ms, min(kept_from, first)), page.end_ms


def joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ascending ranges with neighbours made one: a request fetches many minutes as easily as one."""
    result: list[tuple[int, int]] = []
    for start, end in ranges:
        if result and start - result[-1][1] < _WORTH_A_REQUEST_MS:
            result[-1] = (result[-1][0], end)
        else:
            result.append((start, end))
    return result


def _minutes(ranges: list[tuple[int, int]]) -> int:
    return sum(end - start for start, end in ranges) // MINUTE_MS
