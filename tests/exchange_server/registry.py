"""Which exchange answers behind which host."""

from collections.abc import Mapping

from exchange_server import (
    apex,
    binance,
    bitfinex,
    bybit,
    coinbase,
    gate,
    hyperliquid,
    kraken,
    kucoin,
    lighter,
)
from exchange_server.exchange import Clock, Exchange
from exchange_server.wire import Candles

_FAMILIES = (
    (apex.HOSTS, apex.build),
    (binance.HOSTS, binance.build),
    (bitfinex.HOSTS, bitfinex.build),
    (bybit.HOSTS, bybit.build),
    (coinbase.HOSTS, coinbase.build),
    (gate.HOSTS, gate.build),
    (hyperliquid.HOSTS, hyperliquid.build),
    (kraken.HOSTS, kraken.build),
    (kucoin.HOSTS, kucoin.build),
    (lighter.HOSTS, lighter.build),
)


def host_of(exchange: str) -> str:
    """The host that Jesse's driver of this exchange talks to.

    Raises:
        KeyError: when Jesse has no driver for it.
    """
    return {name: host for hosts, _ in _FAMILIES for name, host in hosts.items()}[exchange]


def exchanges(markets: Mapping[tuple[str, str], Candles], clock: Clock) -> dict[str, Exchange]:
    """Every known host; one without markets is an exchange that lists nothing.

    Raises:
        KeyError: when an exchange is none of Jesse's.
    """
    by_exchange: dict[str, dict[str, Candles]] = {name: {} for hosts, _ in _FAMILIES for name in hosts}
    for (name, symbol), candles in markets.items():
        by_exchange[name][symbol] = candles
    built = [build(by_exchange, clock) for _, build in _FAMILIES]
    return {host: exchange for found in built for host, exchange in found.items()}
