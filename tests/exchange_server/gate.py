"""Gate v4: spot and USDT-settled perpetuals, behind one host.

Based on the public documentation: "Market candlesticks", "List all currency pairs supported" (spot), "Get
futures candlesticks", "List all futures contracts", "Gate API errors". The refusals of ``limit`` beside
``from``, of too many points and of points too long ago are worded as users of the API have quoted them.

Rows and those refusals are as recorded (:mod:`exchange_server.recorded`), of futures those of the mark
price. Times are seconds, both ends are included, oldest first. Only the latest 10000 points of an interval
can be asked for. A spot row is strings: time, quote volume, close, high, low, open, base volume, whether
finished. A futures row is an object whose ``v`` counts contracts; the source's volume is sent as it is.
"""

from collections.abc import Mapping

from exchange_server.bars import between, every, resample, weekly
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

HOST = "api.gateio.ws"
HOSTS = {"Gate Spot": HOST, "Gate USDT Perpetual": HOST}
_INTERVALS = {
    "1m": (1, every(1)),
    "1h": (60, every(60)),
    "1d": (1440, every(1440)),
    "1w": (10080, weekly()),
}
_POINTS_KEPT = 10_000
_INVALID = "INVALID_PARAM_VALUE"


class _Gate(Exchange):
    """What spot and futures have in common."""

    points = 1000
    market_parameter = "currency_pair"
    unknown = ("INVALID_CURRENCY_PAIR", "Invalid currency pair {}")

    def refusal(self, status: int) -> Answer:
        if status == 429:
            return _error("TOO_MANY_REQUESTS", "Request Rate Limit Exceeded", status)
        if status == 500:
            return _error("SERVER_ERROR", "Internal server error", status)
        return super().refusal(status)

    def _native(self, symbol: str) -> str:
        return symbol.replace("-", "_")

    def _candles(self, request: Request) -> Reply:
        market = request.params.get(self.market_parameter)
        if market is None:
            return _error("MISSING_REQUIRED_PARAM", f"Missing required parameter: {self.market_parameter}")
        candles = self._find(market)
        if candles is None:
            label, message = self.unknown
            return _error(label, message.format(market))
        interval = _INTERVALS.get(request.params.get("interval", "30m"))
        if interval is None:
            return _error(_INVALID, "Invalid interval")
        minutes, starts = interval
        refused = self._refused_range(request, minutes * 60)
        if refused:
            return refused
        now = self._clock() // 1000
        first, last = request.number("from", 0), request.number("to", now)
        bars = between(resample(candles, starts), first * 1000, last * 1000)
        limit = request.number("limit", 100)
        return Page(bars if "from" in request.params else bars[-limit:], self._encode)

    def _refused_range(self, request: Request, width: int) -> Answer | None:
        if "from" not in request.params:
            return None
        now = self._clock() // 1000
        first, last = request.number("from"), request.number("to", now)
        if "limit" in request.params:
            return _error(_INVALID, f"Invalid request parameter `limit` value: {request.params['limit']}")
        if first < now - _POINTS_KEPT * width:
            return _error(
                _INVALID, f"Candlestick too long ago. Maximum {_POINTS_KEPT} points recently are allowed"
            )
        if (last - first) // width + 1 > self.points:
            return _error(
                _INVALID,
                f"Candlestick range too broad. Maximum {self.points} data points are allowed per request",
            )
        return None

    def _encode(self, candles: Candles) -> object:
        now = self._clock()
        return [_spot_row(row, finished=row[TIMESTAMP] + MINUTE_MS <= now) for row in candles]


class GateSpot(_Gate):
    def reply(self, request: Request) -> Reply:
        if request.path == "/api/v4/spot/candlesticks":
            return self._candles(request)
        if request.path == "/api/v4/spot/currency_pairs":
            pairs = [self._native(symbol) for symbol in self._markets]
            return as_json([{"id": pair, "trade_status": "tradable"} for pair in pairs])
        return not_found(request)


class GateFutures(_Gate):
    points = 2000
    market_parameter = "contract"
    unknown = ("CONTRACT_NOT_FOUND", "contract {} not found")

    def reply(self, request: Request) -> Reply:
        if request.path == "/api/v4/futures/usdt/candlesticks":
            return self._candles(request)
        if request.path == "/api/v4/futures/usdt/contracts":
            names = [self._native(symbol) for symbol in self._markets]
            return as_json([{"name": name, "type": "direct", "quanto_multiplier": "1"} for name in names])
        return not_found(request)

    def _encode(self, candles: Candles) -> object:
        return [_futures_row(row) for row in candles]


class GateHost(Exchange):
    """Sends a request to the part of the API it is for."""

    def __init__(self, spot: Exchange, futures: Exchange) -> None:
        self._spot = spot
        self._futures = futures

    def reply(self, request: Request) -> Reply:
        part = self._futures if request.path.startswith("/api/v4/futures/") else self._spot
        return part.reply(request)

    def refusal(self, status: int) -> Answer:
        return self._spot.refusal(status)


def build(markets: Mapping[str, Markets], clock: Clock) -> dict[str, Exchange]:
    spot = GateSpot(markets["Gate Spot"], clock)
    return {HOST: GateHost(spot, GateFutures(markets["Gate USDT Perpetual"], clock))}


def quote_volume(row: Candles) -> float:
    """What the source's volume is worth, which is what Jesse's spot driver takes for the volume."""
    return round(float(row[VOLUME] * row[CLOSE]), 8)


def _spot_row(row: Candles, *, finished: bool) -> list[str]:
    prices = [text(row[column]) for column in (CLOSE, HIGH, LOW, OPEN)]
    seconds = str(int(row[TIMESTAMP]) // 1000)
    return [seconds, text(quote_volume(row)), *prices, text(row[VOLUME]), str(finished).lower()]


def _futures_row(row: Candles) -> dict[str, object]:
    prices = {name: text(row[column]) for name, column in zip("ochl", (OPEN, CLOSE, HIGH, LOW), strict=True)}
    return {
        "t": int(row[TIMESTAMP]) // 1000,
        "v": float(row[VOLUME]),
        **prices,
        "sum": text(quote_volume(row)),
    }


def _error(label: str, message: str, status: int = 400) -> Answer:
    return as_json({"label": label, "message": message}, status)
