"""Which exchange answers behind which host."""

from collections.abc import Callable, Mapping

from exchange_server import binance, bitfinex, bybit
from exchange_server.exchange import Exchange, Markets
from exchange_server.wire import Candles

Clock = Callable[[], int]
Build = Callable[[Markets, Clock], Exchange]


def exchanges(markets: Mapping[tuple[str, str], Candles], clock: Clock) -> dict[str, Exchange]:
    """Every known host; one without markets is an exchange that lists nothing.

    Raises:
        KeyError: when an exchange is none of Jesse's.
    """
    by_exchange: dict[str, dict[str, Candles]] = {name: {} for name in [*_hosts(), *bybit.VENUES]}
    for (name, symbol), candles in markets.items():
        by_exchange[name][symbol] = candles
    found = {host: build(by_exchange[name], clock) for name, (host, build) in _hosts().items()}
    return {**found, **_bybit(by_exchange, clock)}


def _hosts() -> dict[str, tuple[str, Build]]:
    families: list[tuple[Mapping[str, str], Build]] = [
        (binance.HOSTS, binance.Binance),
        (bitfinex.HOSTS, bitfinex.Bitfinex),
    ]
    return {name: (host, build) for hosts, build in families for name, host in hosts.items()}


def _bybit(by_exchange: Mapping[str, Markets], clock: Clock) -> dict[str, Exchange]:
    merged: dict[tuple[str, str], dict[str, Candles]] = {}
    for name, venue in bybit.VENUES.items():
        merged.setdefault(venue, {}).update(by_exchange[name])
    return {
        host: bybit.BybitHost(
            {
                "spot": bybit.BybitSpot(merged[host, "spot"], clock),
                "linear": bybit.Bybit(merged[host, "linear"], clock),
            }
        )
        for host in (bybit.MAIN, bybit.TEST)
    }
