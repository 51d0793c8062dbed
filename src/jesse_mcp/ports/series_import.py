"""Bringing candles of an exchange into the candle store, by whatever does the work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from jesse_mcp.domain.candles import SeriesKey


@dataclass(frozen=True)
class ImportOrder:
    """Series of one exchange over ``[start_ms, end_ms)`` (epoch ms, whole minutes).

    ``to_now`` says that no end was given and ``end_ms`` is the present.
    """

    exchange: str
    symbols: tuple[str, ...]
    start_ms: int
    end_ms: int
    to_now: bool

    def key(self, symbol: str) -> SeriesKey:
        return SeriesKey(exchange=self.exchange, symbol=symbol)


@dataclass(frozen=True)
class ImportProgress:
    """How far one symbol is: 0..1, the moment reached, candles so far, seconds left (``None``: unknown)."""

    fraction: float
    reached: str
    candles: int | None
    seconds_left: float | None


#: Called on the event loop; does not wait.
ProgressConsumer = Callable[[ImportProgress], None]


class SeriesImporter(Protocol):
    """Fetches what the store lacks."""

    def lacking(self, order: ImportOrder) -> dict[str, int]:
        """Minutes that would be asked for, by symbol; symbols that lack nothing are left out. Blocks.

        Raises:
            ResearchError: ``capability_missing`` for an order that cannot be carried out as it is given,
                ``storage_failed``.
        """
        ...

    async def fetch(self, order: ImportOrder, symbol: str, report: ProgressConsumer) -> int:
        """Bring one symbol of the order into the store.

        What has arrived before an error or a cancellation stays, and the next call goes on from there.
        Cancelling the awaiting task ends the fetching within a second.

        Returns:
            How many candles are new in the store.

        Raises:
            ResearchError: ``symbol_unknown``, ``rate_limited``, ``exchange_blocked``,
                ``exchange_unavailable``, ``exchange_unreachable``, ``exchange_answer_invalid``,
                ``storage_failed``, and what the engine says when it cannot fetch at all.
        """
        ...
