"""Lighter, main and test network.

Based on the public documentation: "candles" and "orderBookDetails" of the API reference and the reference of
its Python client, which name the parameters and fields; and on Jesse's driver for how they work: at most 500
candles, oldest first, times in milliseconds, about 130 days of history. That of a window with more than
``count_back`` candles the oldest come is what the driver's search for the first candle needs; where the name
is taken from, candles are counted back from the end.

Both ends are included; rows are numbers.
"""

from exchange_server.bars import between, every, resample
from exchange_server.exchange import Exchange, each_on_its_host, not_found
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
)

HOSTS = {
    "Lighter Perpetual": "mainnet.zklighter.elliot.ai",
    "Lighter Perpetual Testnet": "testnet.zklighter.elliot.ai",
}
_MINUTES = {"1m": 1, "1h": 60, "1d": 1440}
_LIMIT = 500
_KEPT_MS = 130 * 1440 * MINUTE_MS


class Lighter(Exchange):
    def reply(self, request: Request) -> Reply:
        if request.path == "/api/v1/candles":
            return self._candles(request)
        if request.path == "/api/v1/orderBookDetails":
            details = [self._details(symbol) for symbol in self._markets]
            return as_json({"code": 200, "order_book_details": details, "spot_order_book_details": []})
        return not_found(request)

    def refusal(self, status: int) -> Answer:
        if status == 429:
            return as_json({"code": 23000, "message": "Too Many Requests!"}, status)
        return super().refusal(status)

    def _native(self, symbol: str) -> str:
        """Markets are asked for by number."""
        return str(list(self._markets).index(symbol))

    def _details(self, symbol: str) -> dict[str, object]:
        return {
            "symbol": symbol.split("-", maxsplit=1)[0],
            "market_id": int(self._native(symbol)),
            "market_type": "perp",
            "status": "active",
        }

    def _candles(self, request: Request) -> Reply:
        candles = self._find(request.params.get("market_id"))
        if candles is None:
            return as_json({"code": 20001, "message": "invalid param : market_id"}, 400)
        resolution = request.params.get("resolution", "")
        minutes = _MINUTES.get(resolution)
        if minutes is None:
            return as_json({"code": 20001, "message": "invalid param : resolution"}, 400)
        first = max(request.number("start_timestamp"), self._clock() - _KEPT_MS)
        bars = between(resample(candles, every(minutes)), first, request.number("end_timestamp"))
        limit = min(request.number("count_back"), _LIMIT)
        return Page(
            bars[:limit], lambda rows: {"code": 200, "r": resolution, "c": [_row(row) for row in rows]}
        )


build = each_on_its_host(HOSTS, Lighter)


def _row(row: Candles) -> dict[str, object]:
    values = zip("ohlcv", (OPEN, HIGH, LOW, CLOSE, VOLUME), strict=True)
    return {
        "t": int(row[TIMESTAMP]),
        **{name: float(row[column]) for name, column in values},
        "V": round(float(row[VOLUME] * row[CLOSE]), 8),
        "i": 0,
    }
