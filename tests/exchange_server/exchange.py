"""What the imitated exchanges have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from exchange_server.bars import so_far
from exchange_server.wire import Answer, Candles, Reply, Request, as_html

#: Candles by the symbol in Jesse's form.
Markets = Mapping[str, Candles]
#: The time it is at the exchanges, in milliseconds.
Clock = Callable[[], int]

_REASONS = {
    403: "403 Forbidden",
    418: "418 I'm a teapot",
    429: "429 Too Many Requests",
    451: "451 Unavailable For Legal Reasons",
    500: "500 Internal Server Error",
    502: "502 Bad Gateway",
    503: "503 Service Temporarily Unavailable",
}


class Exchange(ABC):
    """One exchange's public API behind one host."""

    def __init__(self, markets: Markets, clock: Clock) -> None:
        self._markets = markets
        self._clock = clock

    @abstractmethod
    def reply(self, request: Request) -> Reply:
        """The answer on a good day."""

    def refusal(self, status: int) -> Answer:
        """The answer on a bad day, in the exchange's own words where those are known."""
        return as_html(_REASONS.get(status, str(status)), status)

    def _find(self, native: str | None) -> Candles | None:
        """What has been traded so far in the market that the exchange calls ``native``."""
        for symbol, candles in self._markets.items():
            if self._native(symbol) == native:
                return so_far(candles, self._clock())
        return None

    def _native(self, symbol: str) -> str:
        """What the exchange calls a symbol of Jesse's."""
        return symbol.replace("-", "")


def each_on_its_host(
    hosts: Mapping[str, str], family: Callable[[Markets, Clock], Exchange]
) -> Callable[[Mapping[str, Markets], Clock], dict[str, Exchange]]:
    """Builds the exchanges of a family where each has a host of its own."""

    def build(markets: Mapping[str, Markets], clock: Clock) -> dict[str, Exchange]:
        return {host: family(markets[name], clock) for name, host in hosts.items()}

    return build


def not_found(request: Request) -> Answer:
    return as_html(f"404 Not Found: {request.path}", 404)
