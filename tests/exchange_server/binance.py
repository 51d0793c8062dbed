"""Binance Spot, Binance US and Binance USD-M futures.

Based on the public documentation: "Kline/Candlestick data" and "Exchange information" of the Spot REST API
and of USD-M Futures ("Kline/Candlestick Data", "Exchange Information"), "Error codes", "Limits" (429, 418,
403, 451 and ``Retry-After``).

Rows are as recorded (:mod:`exchange_server.recorded`). Pages are ascending; ``startTime`` and ``endTime``
are both included and compared with the open time; a start before the listing is answered with the first
candles there are. The running candle is the last row. Minutes without trades are rows of volume zero.
"""

from exchange_server.bars import between, every, monthly, resample, weekly
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
    text,
)

HOSTS = {
    "Binance Spot": "api.binance.com",
    "Binance US Spot": "api.binance.us",
    "Binance Perpetual Futures": "fapi.binance.com",
    "Binance Perpetual Futures Testnet": "testnet.binancefuture.com",
}
_INTERVALS = {
    "1m": (1, every(1)),
    "1h": (60, every(60)),
    "1d": (1440, every(1440)),
    "1w": (10080, weekly()),
    "1M": (43200, monthly),
}
_LIMITED = "Too many requests; current limit of IP is 6000 request weight per 1 MINUTE."
_BANNED = "Way too many request weight used; IP banned until 1767225600000."
_RESTRICTED = "Service unavailable from a restricted location according to 'b. Eligibility' in the terms."


class Binance(Exchange):
    def reply(self, request: Request) -> Reply:
        if request.path in {"/api/v3/klines", "/fapi/v1/klines"}:
            return self._klines(request)
        if request.path in {"/api/v3/exchangeInfo", "/fapi/v1/exchangeInfo"}:
            return self._exchange_info(request)
        return not_found(request)

    def refusal(self, status: int) -> Answer:
        words = {429: (-1003, _LIMITED), 418: (-1003, _BANNED), 451: (0, _RESTRICTED)}
        if status in words:
            return _error(*words[status], status)
        if status == 500:
            return _error(-1000, "An unknown error occurred while processing the request.", status)
        return super().refusal(status)

    def _klines(self, request: Request) -> Reply:
        candles = self._find(request.params.get("symbol"))
        if candles is None:
            return _error(-1121, "Invalid symbol.", 400)
        interval = _INTERVALS.get(request.params.get("interval", ""))
        if interval is None:
            return _error(-1120, "Invalid interval.", 400)
        minutes, starts = interval
        limit = min(request.number("limit", 500), 1000)
        bars = between(
            resample(candles, starts), request.number("startTime", 0), request.number("endTime", 2**62)
        )
        # Without a start, the newest are meant.
        page = bars[:limit] if "startTime" in request.params else bars[-limit:]
        return Page(
            page,
            lambda rows: [_kline(row, minutes) for row in rows],
            {"X-MBX-USED-WEIGHT-1M": "2"},
        )

    def _exchange_info(self, request: Request) -> Answer:
        symbols: list[dict[str, object]] = []
        for symbol in self._markets:
            base, quote = symbol.split("-")
            entry = {"symbol": base + quote, "status": "TRADING", "baseAsset": base, "quoteAsset": quote}
            if request.path.startswith("/fapi/"):
                entry |= {"pair": base + quote, "contractType": "PERPETUAL", "marginAsset": quote}
            symbols.append({**entry, "filters": []})
        return as_json({"timezone": "UTC", "serverTime": self._clock(), "rateLimits": [], "symbols": symbols})


build = each_on_its_host(HOSTS, Binance)


def _kline(row: Candles, minutes: int) -> list[object]:
    opened = int(row[TIMESTAMP])
    prices = [text(row[column]) for column in (OPEN, HIGH, LOW, CLOSE)]
    quote = text(round(row[VOLUME] * row[CLOSE], 8))
    return [
        opened,
        *prices,
        text(row[VOLUME]),
        opened + minutes * MINUTE_MS - 1,
        quote,
        int(row[VOLUME] > 0),
        "0.0",
        "0.0",
        "0",
    ]


def _error(code: int, message: str, status: int) -> Answer:
    return as_json({"code": code, "msg": message}, status)
