"""Candles from exchanges."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from jesse_mcp.domain.candles import CandleArray


@dataclass(frozen=True)
class CandlePage:
    """One answer of an exchange: every minute of ``[start_ms, end_ms)`` was asked for and answered.

    ``candles`` are sorted, unique, finished, and inside the range; a minute without one has none at the
    exchange.
    """

    start_ms: int
    end_ms: int
    candles: CandleArray


@dataclass(frozen=True)
class FetchSummary:
    """What a fetch found besides candles.

    ``listed_ms`` is the first minute the exchange has, when it was looked for and known. ``exchange_ms`` is
    what the exchange's clock says when the fetch ends, when it says so: by the ``Date`` of its last answer,
    which has whole seconds, so give or take half of one and the way of the answer.
    """

    pages: int
    listed_ms: int | None
    seconds_waiting: float
    exchange_ms: int | None = None


#: Awaited with each page in order of arrival; the page is safe when it returns.
PageConsumer = Callable[[CandlePage], Awaitable[None]]


class MarketDataSource(Protocol):
    """Fetches one-minute candles at the pace the exchange allows."""

    async def fetch(
        self, exchange: str, symbol: str, ranges: list[tuple[int, int]], consume: PageConsumer
    ) -> FetchSummary:
        """Ask the exchange for the half-open ``ranges`` (epoch ms, ascending).

        Cancelling the awaiting task kills the fetching process within a second.

        Raises:
            ResearchError: ``symbol_unknown``, ``rate_limited``, ``exchange_blocked``,
                ``exchange_unavailable``, ``exchange_unreachable``, ``exchange_answer_invalid``,
                ``engine_not_installed``, ``engine_failed``, ``capability_missing`` for an exchange that Jesse
                has no driver for.
        """
        ...

    async def symbols(self, exchange: str) -> list[str]:
        """Symbols the exchange lists, in Jesse's form, sorted. Raises as :meth:`fetch`."""
        ...
