"""Bybit v5: spot, USDT and USDC perpetuals, and their testnets.

Based on the public documentation: "Get Kline", "Get Instruments Info", "Rate Limit Rules", "Error Codes".
That a ``start`` without an end is answered with the first candles from there on, and a start before the
listing with the first there are, is from what Jesse's driver says of it.

Rows are as recorded (:mod:`exchange_server.recorded`). Pages come newest first, at most 1000 rows of
strings; an end is included. The running candle is the first row. Errors have status 200 and a ``retCode``.
USDT and USDC perpetuals are one category, ``linear``, so the list of either has both.
"""

from collections.abc import Mapping

from exchange_server.bars import between, every, monthly, resample, weekly
from exchange_server.exchange import Clock, Exchange, Markets, not_found
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
    as_html,
    as_json,
    text,
)

MAIN, TEST = "api.bybit.com", "api-testnet.bybit.com"
#: Where each exchange of Jesse's is: host and category.
VENUES = {
    "Bybit Spot": (MAIN, "spot"),
    "Bybit USDT Perpetual": (MAIN, "linear"),
    "Bybit USDC Perpetual": (MAIN, "linear"),
    "Bybit Spot Testnet": (TEST, "spot"),
    "Bybit USDT Perpetual Testnet": (TEST, "linear"),
    "Bybit USDC Perpetual Testnet": (TEST, "linear"),
}
HOSTS = {name: host for name, (host, _) in VENUES.items()}
_STARTS = {
    "1": every(1),
    "60": every(60),
    "D": every(1440),
    "W": weekly(),
    "M": monthly,
}


class Bybit(Exchange):
    """One category of one host; :class:`BybitHost` has several."""

    category = "linear"

    def reply(self, request: Request) -> Reply:
        if request.path == "/v5/market/kline":
            return self._kline(request)
        if request.path == "/v5/market/instruments-info":
            return self._instruments()
        return not_found(request)

    def refusal(self, status: int) -> Answer:
        if status == 403:
            return as_html("403 Forbidden: access too frequent, or from a country that is not served", status)
        return super().refusal(status)

    def _kline(self, request: Request) -> Reply:
        candles = self._find(request.params.get("symbol"))
        if candles is None:
            return _error(10001, "Not supported symbols", self._clock())
        starts = _STARTS.get(request.params.get("interval", ""))
        if starts is None:
            return _error(10001, "params error: Invalid period!", self._clock())
        limit = min(request.number("limit", 200), 1000)
        bars = between(resample(candles, starts), request.number("start", 0), request.number("end", 2**62))
        page = bars[:limit] if "start" in request.params and "end" not in request.params else bars[-limit:]
        symbol = request.params["symbol"]
        return Page(page, lambda rows: self._listing(symbol, rows))

    def _listing(self, symbol: str, rows: Candles) -> object:
        found = [_row(row) for row in rows[::-1]]
        return _success({"category": self.category, "symbol": symbol, "list": found}, self._clock())

    def _instruments(self) -> Answer:
        found = []
        for symbol in self._markets:
            base, quote = symbol.split("-")
            entry = {"symbol": base + quote, "status": "Trading", "baseCoin": base, "quoteCoin": quote}
            if self.category == "linear":
                coin = "USDC" if quote == "PERP" else quote
                entry |= {"quoteCoin": coin, "settleCoin": coin, "contractType": "LinearPerpetual"}
            found.append(entry)
        result = {"category": self.category, "nextPageCursor": "", "list": found}
        return as_json(_success(result, self._clock()))


class BybitSpot(Bybit):
    category = "spot"


class BybitHost(Exchange):
    """Sends a request to the category it asks for."""

    def __init__(self, categories: Mapping[str, Bybit]) -> None:
        self._categories = categories

    def reply(self, request: Request) -> Reply:
        category = self._categories.get(request.params.get("category", "linear"))
        if category is None:
            return _error(10001, "params error: Category is invalid", 0)
        return category.reply(request)

    def refusal(self, status: int) -> Answer:
        return next(iter(self._categories.values())).refusal(status)


def build(markets: Mapping[str, Markets], clock: Clock) -> dict[str, Exchange]:
    merged: dict[tuple[str, str], dict[str, Candles]] = {}
    for name, venue in VENUES.items():
        merged.setdefault(venue, {}).update(markets[name])
    return {
        host: BybitHost(
            {
                "spot": BybitSpot(merged[host, "spot"], clock),
                "linear": Bybit(merged[host, "linear"], clock),
            }
        )
        for host in (MAIN, TEST)
    }


def _row(row: Candles) -> list[str]:
    prices = [text(row[column]) for column in (OPEN, HIGH, LOW, CLOSE)]
    turnover = text(round(row[VOLUME] * row[CLOSE], 8))
    return [str(int(row[TIMESTAMP])), *prices, text(row[VOLUME]), turnover]


def _success(result: object, now: int) -> dict[str, object]:
    return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": now}


def _error(code: int, message: str, now: int) -> Answer:
    return as_json({"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}, "time": now})
