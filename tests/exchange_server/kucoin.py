"""KuCoin spot and futures.

Based on the public documentation: "Get Klines", "Get All Symbols" (spot and futures), "Rate Limit", and on
Jesse's drivers for the cap of 200 futures candles. That the end is included is from the documentation's and
users' examples for futures; for spot it is assumed to be so too.

Futures are as recorded (:mod:`exchange_server.recorded`), spot as the example of the documentation. Spot:
seconds, newest first, at most 1500, strings in the order time, open, close, high, low, volume, turnover.
Futures: milliseconds, oldest first, the first 200, numbers in the order time, open, high, low, close,
volume, where volume counts lots; the source's volume is sent as it is. Both leave out minutes without trades
("Klines data may be incomplete. No data is published for intervals where there are no ticks"). Every body
has a ``code``, "200000" when all is well; what an unknown symbol is told is the expectation of Jesse's
driver.
"""

from collections.abc import Mapping

from exchange_server.bars import between, every, resample, traded
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
    as_json,
    text,
)

HOSTS = {"KuCoin Spot": "api.kucoin.com", "KuCoin USDT Perpetual": "api-futures.kucoin.com"}
#: Weeks are counted from the epoch, so they begin on Thursdays.
_SPOT_MINUTES = {"1min": 1, "1hour": 60, "1day": 1440, "1week": 10080}
_SPOT_LIMIT = 1500
_FUTURES_LIMIT = 200


class _KuCoin(Exchange):
    def refusal(self, status: int) -> Answer:
        if status == 429:
            return as_json({"code": "429000", "msg": "Too Many Requests"}, status)
        if status in {500, 503}:
            return as_json({"code": f"{status}000", "msg": "Internal Server Error"}, status)
        return super().refusal(status)


class KuCoinSpot(_KuCoin):
    def reply(self, request: Request) -> Reply:
        if request.path == "/api/v1/market/candles":
            return self._candles(request)
        if request.path == "/api/v2/symbols":
            return _success([self._entry(symbol) for symbol in self._markets])
        return not_found(request)

    def _native(self, symbol: str) -> str:
        return symbol

    def _entry(self, symbol: str) -> dict[str, object]:
        base, quote = symbol.split("-")
        return {"symbol": symbol, "baseCurrency": base, "quoteCurrency": quote, "enableTrading": True}

    def _candles(self, request: Request) -> Reply:
        candles = self._find(request.params.get("symbol"))
        if candles is None:
            return _error("400100", "This pair is not provided at present")
        minutes = _SPOT_MINUTES.get(request.params.get("type", ""))
        if minutes is None:
            return _error("400100", "Incorrect candlestick type")
        first, last = request.number("startAt", 0), request.number("endAt", 0) or 2**52
        bars = between(resample(traded(candles), every(minutes)), first * 1000, last * 1000)
        return Page(bars[-_SPOT_LIMIT:], lambda rows: _envelope([_spot_row(row) for row in rows[::-1]]))


class KuCoinFutures(_KuCoin):
    def reply(self, request: Request) -> Reply:
        if request.path == "/api/v1/kline/query":
            return self._candles(request)
        if request.path == "/api/v1/contracts/active":
            names = [self._native(symbol) for symbol in self._markets]
            return _success([{"symbol": name, "status": "Open", "multiplier": 1} for name in names])
        return not_found(request)

    def _native(self, symbol: str) -> str:
        base, quote = symbol.split("-")
        return f"{'XBT' if base == 'BTC' else base}{quote}M"

    def _candles(self, request: Request) -> Reply:
        candles = self._find(request.params.get("symbol"))
        if candles is None:
            return _error("404000", "Symbol not exists")
        bars = resample(traded(candles), every(request.number("granularity")))
        page = between(bars, request.number("from", 0), request.number("to", 2**62))[:_FUTURES_LIMIT]
        return Page(page, lambda rows: _envelope([_futures_row(row) for row in rows]))


def build(markets: Mapping[str, Markets], clock: Clock) -> dict[str, Exchange]:
    families = {"KuCoin Spot": KuCoinSpot, "KuCoin USDT Perpetual": KuCoinFutures}
    return {HOSTS[name]: family(markets[name], clock) for name, family in families.items()}


def _spot_row(row: Candles) -> list[str]:
    values = [text(row[column]) for column in (OPEN, CLOSE, HIGH, LOW, VOLUME)]
    turnover = text(round(row[VOLUME] * row[CLOSE], 8))
    return [str(int(row[TIMESTAMP]) // 1000), *values, turnover]


def _futures_row(row: Candles) -> list[float]:
    return [
        int(row[TIMESTAMP]),
        *(float(row[column]) for column in (OPEN, HIGH, LOW, CLOSE, VOLUME)),
    ]


def _envelope(data: object) -> object:
    return {"code": "200000", "data": data}


def _success(data: object) -> Answer:
    return as_json(_envelope(data))


def _error(code: str, message: str) -> Answer:
    return as_json({"code": code, "msg": message})
