"""A server that answers as the exchanges do, for tests that must not reach the real ones.

    with ExchangeServer({("Binance Spot", "BTC-USDT"): candles}) as server:
        run_something(env={**os.environ, **server.environment})
        server.requests  # what it asked

Each exchange's module says what it is based on; :mod:`exchange_server.recorded` has rows that the real
ones sent.
"""

from exchange_server import faults
from exchange_server.proxy import Exchanged, ExchangeServer
from exchange_server.registry import host_of
from exchange_server.wire import MINUTE_MS, Candles, Request

__all__ = ["MINUTE_MS", "Candles", "ExchangeServer", "Exchanged", "Request", "faults", "host_of"]
