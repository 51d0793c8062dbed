"""ApeX Omni, main and test network.

Based on the public documentation of the public API v3: "Get Candlestick Chart Data V3" and "Get All Config
Data V3", and on Jesse's driver for what is not there: that a window with more than 200 candles is answered
with its newest 200, that an unknown symbol and an empty window both are ``{"data": {}}``, and that an error
has no ``data`` but a ``msg``.

Jesse's driver leaves out the end when it fetches. That is a window until now, so an old start is answered
with the newest candles there are: a recording (:mod:`exchange_server.recorded`) shows it.

Names and order of rows are as recorded. Times in requests are seconds, in rows milliseconds; both ends are
included; oldest first.
"""

from exchange_server.bars import between, every, monthly, resample, weekly
from exchange_server.exchange import Exchange, each_on_its_host, not_found
from exchange_server.wire import (
    CLOSE,
    HIGH,
    LOW,
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
    "Apex Omni Perpetual": "omni.apex.exchange",
    "Apex Omni Perpetual Testnet": "testnet.omni.apex.exchange",
}
_STARTS = {"1": every(1), "60": every(60), "D": every(1440), "W": weekly(), "M": monthly}
_LIMIT = 200


class Apex(Exchange):
    def reply(self, request: Request) -> Reply:
        if request.path == "/api/v3/klines":
            return self._klines(request)
        if request.path == "/api/v3/symbols":
            return self._symbols()
        return not_found(request)

    def refusal(self, status: int) -> Answer:
        if status == 429:
            return as_json({"code": 429, "msg": "too many requests", "timeCost": 1000}, status)
        return super().refusal(status)

    def _klines(self, request: Request) -> Reply:
        starts = _STARTS.get(request.params.get("interval", ""))
        if starts is None:
            return as_json({"code": 3, "msg": "interval is invalid", "timeCost": 1000})
        symbol = request.params.get("symbol", "")
        candles = self._find(symbol)
        if candles is None:
            return as_json({"data": {}, "timeCost": 1000})
        first, last = request.number("start", 0), request.number("end", self._clock() // 1000)
        bars = between(resample(candles, starts), first * 1000, last * 1000)
        limit = min(request.number("limit", _LIMIT), _LIMIT)
        interval = request.params["interval"]
        return Page(bars[-limit:], lambda rows: _listing(rows, symbol, interval))

    def _symbols(self) -> Answer:
        contracts = [
            {"symbol": symbol, "crossSymbolName": self._native(symbol), "enableTrade": True}
            for symbol in self._markets
        ]
        config = {"perpetualContract": contracts, "prelaunchContract": [], "predictionContract": []}
        return as_json({"data": {"contractConfig": config, "spotConfig": {}}, "timeCost": 1000})


build = each_on_its_host(HOSTS, Apex)


def _listing(candles: Candles, symbol: str, interval: str) -> object:
    found = [_row(row, symbol, interval) for row in candles]
    return {"data": {symbol: found} if found else {}, "timeCost": 1000}


def _row(row: Candles, symbol: str, interval: str) -> dict[str, object]:
    values = zip("ochlv", (OPEN, CLOSE, HIGH, LOW, VOLUME), strict=True)
    return {
        "s": symbol,
        "i": interval,
        "t": int(row[TIMESTAMP]),
        **{name: text(row[column]) for name, column in values},
        "tr": text(round(row[VOLUME] * row[CLOSE], 8)),
    }
