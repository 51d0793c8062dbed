"""Kraken spot, and Kraken futures with its demo.

Based on the public documentation: "Get OHLC Data" ("older data cannot be retrieved, regardless of the value
of since"; the last entry is the running candle; ``since`` is exclusive), "Get Tradable Asset Pairs", "Spot
REST Rate Limits" for spot; "Charts: Market Candles" (``more_candles``) and "Get instruments" for futures,
and Jesse's driver for the cap of 2000 futures candles. What an unknown futures symbol is told is assumed.

Spot is as recorded (:mod:`exchange_server.recorded`), futures as the example of the documentation, except
that the volume is a string. Spot: seconds; the latest 720 candles of an interval, of those the ones after
``since`` and always the last; numbers in strings except time and count; errors have status 200 and a list
``error``. Futures: the request has seconds, the rows have milliseconds; both ends are included; the first
2000.
"""

import re
from collections.abc import Mapping

from exchange_server.bars import between, every, resample
from exchange_server.exchange import Clock, Exchange, Markets, not_found
from exchange_server.wire import (
    CLOSE,
    HIGH,
    LOW,
    MINUTE_MS,
    OPEN,
    TIMESTAMP,
    VOLUME,
    Answer,
    Candles,
    Page,
    Reply,
    Request,
    as_json,
    text,
)

HOSTS = {
    "Kraken Pro Spot": "api.kraken.com",
    "Kraken Pro Futures": "futures.kraken.com",
    "Kraken Pro Futures Testnet": "demo-futures.kraken.com",
}
_OWN_NAMES = {"BTC": "XBT", "DOGE": "XDG"}
_KEPT = 720
_FUTURES_LIMIT = 2000
_CHARTS = re.compile(r"/api/charts/v1/trade/(\w+)/(\w+)")
_FUTURES_MINUTES = {"1m": 1, "1h": 60, "1d": 1440}
_COLUMNS = {"open": OPEN, "high": HIGH, "low": LOW, "close": CLOSE, "volume": VOLUME}


class KrakenSpot(Exchange):
    def reply(self, request: Request) -> Reply:
        if request.path == "/0/public/OHLC":
            return self._ohlc(request)
        if request.path == "/0/public/AssetPairs":
            pairs = {_canonical(symbol): self._entry(symbol) for symbol in self._markets}
            return as_json({"error": [], "result": pairs})
        return not_found(request)

    def _native(self, symbol: str) -> str:
        return "".join(_own_names(symbol))

    def _entry(self, symbol: str) -> dict[str, object]:
        return {
            "altname": self._native(symbol),
            "wsname": "/".join(_own_names(symbol)),
            "status": "online",
        }

    def _ohlc(self, request: Request) -> Reply:
        pair = request.params.get("pair", "")
        candles = self._find(pair)
        if candles is None:
            return as_json({"error": ["EQuery:Unknown asset pair"]})
        minutes = request.number("interval", 1)
        kept = resample(candles, every(minutes))[-_KEPT:]
        wanted = kept[:, TIMESTAMP] > request.number("since", 0) * 1000
        wanted[-1:] = True
        bars = kept[wanted]
        name = next(_canonical(symbol) for symbol in self._markets if self._native(symbol) == pair)
        committed = (self._clock() // MINUTE_MS - minutes) * 60
        return Page(
            bars,
            lambda rows: {"error": [], "result": {name: [_ohlc(row) for row in rows], "last": committed}},
        )


class KrakenFutures(Exchange):
    def reply(self, request: Request) -> Reply:
        if request.path == "/derivatives/api/v3/instruments":
            return self._instruments()
        match = _CHARTS.fullmatch(request.path)
        return self._candles(request, match[1], match[2]) if match else not_found(request)

    def _native(self, symbol: str) -> str:
        base, quote = symbol.split("-")
        return f"PF_{'XBT' if base == 'BTC' else base}{quote}"

    def _candles(self, request: Request, symbol: str, resolution: str) -> Reply:
        candles = self._find(symbol)
        if candles is None:
            return as_json({"error": "market not found"}, 404)
        minutes = _FUTURES_MINUTES.get(resolution)
        if minutes is None:
            return as_json({"error": "unknown resolution"}, 400)
        first, last = request.number("from", 0), request.number("to", 2**52)
        bars = between(resample(candles, every(minutes)), first * 1000, last * 1000)
        more = len(bars) > _FUTURES_LIMIT
        return Page(
            bars[:_FUTURES_LIMIT],
            lambda rows: {"candles": [_chart_row(row) for row in rows], "more_candles": more},
        )

    def _instruments(self) -> Answer:
        listed = [
            {"symbol": self._native(symbol), "type": "flexible_futures", "tradeable": True}
            for symbol in self._markets
        ]
        return as_json({"result": "success", "instruments": listed})


def build(markets: Mapping[str, Markets], clock: Clock) -> dict[str, Exchange]:
    return {
        host: (KrakenSpot if name == "Kraken Pro Spot" else KrakenFutures)(markets[name], clock)
        for name, host in HOSTS.items()
    }


def _own_names(symbol: str) -> list[str]:
    return [_OWN_NAMES.get(part, part) for part in symbol.split("-")]


def _canonical(symbol: str) -> str:
    """The name the result is keyed by, which for the oldest pairs is not the one that was asked for."""
    base, quote = _own_names(symbol)
    return f"X{base}Z{quote}" if base == "XBT" and quote in {"USD", "EUR"} else base + quote


def _ohlc(row: Candles) -> list[object]:
    prices = [text(row[column]) for column in (OPEN, HIGH, LOW, CLOSE)]
    seconds = int(row[TIMESTAMP]) // 1000
    return [seconds, *prices, text(row[CLOSE]), text(row[VOLUME]), int(row[VOLUME] > 0)]


def _chart_row(row: Candles) -> dict[str, object]:
    values = {name: text(row[column]) for name, column in _COLUMNS.items()}
    return {"time": int(row[TIMESTAMP]), **values}
