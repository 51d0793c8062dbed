"""Bitfinex v2.

Based on the public documentation: "Candles", "Configs" (``pub:list:pair:exchange``), "Errors" (``ratelimit:
error``, ``temporarily_unavailable``), "Requirements and Limitations". That an unknown pair has an empty list
of candles is the expectation of Jesse's driver.

Rows are as recorded (:mod:`exchange_server.recorded`): numbers in the order time, open, close, high, low,
volume. ``start`` and ``end`` are included; more than 10000 are refused. Minutes without trades are left out.
Pairs with a base of more than three letters have a colon.
"""

import re

from exchange_server.bars import between, every, no_candles, resample, traded, weekly
from exchange_server.exchange import Exchange, each_on_its_host, not_found
from exchange_server.wire import TIMESTAMP, Answer, Candles, Page, Reply, Request, as_json

HOSTS = {"Bitfinex Spot": "api-pub.bitfinex.com"}
_CANDLES = re.compile(r"/v2/candles/trade:(\w+):t([\w:]+)/hist")
_STARTS = {"1m": every(1), "1h": every(60), "1D": every(1440), "1W": weekly()}
_MAX_ROWS = 10_000
_ERRORS = {
    429: (11010, "ratelimit: error"),
    500: (10000, "generic error"),
    503: (20060, "temporarily_unavailable"),
}


class Bitfinex(Exchange):
    def reply(self, request: Request) -> Reply:
        if request.path == "/v2/conf/pub:list:pair:exchange":
            return as_json([[self._native(symbol) for symbol in self._markets]])
        match = _CANDLES.fullmatch(request.path)
        return self._candles(request, match[1], match[2]) if match else not_found(request)

    def refusal(self, status: int) -> Answer:
        if status in _ERRORS:
            return as_json(["error", *_ERRORS[status]], status)
        return super().refusal(status)

    def _native(self, symbol: str) -> str:
        base, quote = symbol.split("-")
        return f"{base}:{quote}" if len(base) > 3 else base + quote

    def _candles(self, request: Request, interval: str, pair: str) -> Reply:
        starts = _STARTS.get(interval)
        if starts is None:
            return as_json(["error", 10020, "time_interval: invalid"], 500)
        candles = self._find(pair)
        if candles is None:
            return Page(no_candles(), _rows)
        first, last = request.number("start", 0), request.number("end", 2**62)
        bars = between(resample(traded(candles), starts), first, last)
        limit = request.number("limit", 100)
        if limit > _MAX_ROWS:
            return as_json(["error", 10020, "limit: invalid"], 500)
        if request.number("sort", -1) == 1:
            return Page(bars[:limit], _rows)
        return Page(bars[-limit:], lambda rows: _rows(rows[::-1]))


build = each_on_its_host(HOSTS, Bitfinex)


def _rows(candles: Candles) -> list[list[float]]:
    return [[int(row[TIMESTAMP]), *map(float, row[1:])] for row in candles]
