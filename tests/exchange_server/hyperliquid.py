"""Hyperliquid's info endpoint, main and test network.

Based on the public documentation: "Info endpoint: Candle snapshot" (only the latest 5000 candles of an
interval exist) and "Perpetuals" (metadata of all perpetual exchanges), and on Jesse's driver for what is not
there: that the end may be left out, and that weeks are refused. The bodies of errors are from memory.

Rows are as recorded (:mod:`exchange_server.recorded`): objects with numbers in strings, oldest first, the
first of them the one that the start falls into. The end is included. A range before the latest 5000 is
empty. Coins of builder-deployed exchanges have a prefix, as ``xyz:TSLA``.
"""

from typing import Any

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
    text,
)

HOSTS = {
    "Hyperliquid Perpetual": "api.hyperliquid.xyz",
    "Hyperliquid Perpetual Testnet": "api.hyperliquid-testnet.xyz",
}
#: Coins that are not on the main exchange but on the builder-deployed one called xyz.
XYZ_COINS = frozenset({"TSLA", "NVDA"})
_MINUTES = {"1m": 1, "1h": 60, "1d": 1440}
_KEPT = 5000


class Hyperliquid(Exchange):
    def reply(self, request: Request) -> Reply:
        if request.path != "/info" or request.method != "POST":
            return not_found(request)
        kind = request.body["type"]
        if kind == "candleSnapshot":
            return self._snapshot(request.body["req"])
        if kind == "allPerpMetas":
            return self._metas()
        return _undeserializable()

    def refusal(self, status: int) -> Answer:
        return as_json(None, status) if status == 429 else super().refusal(status)

    def _native(self, symbol: str) -> str:
        base = symbol.split("-", maxsplit=1)[0]
        return f"xyz:{base}" if base in XYZ_COINS else base

    def _snapshot(self, wanted: dict[str, Any]) -> Reply:
        minutes = _MINUTES.get(wanted["interval"])
        if minutes is None:
            return _undeserializable()
        coin = wanted["coin"]
        candles = self._find(coin)
        if candles is None:
            return as_json(None, 500)
        kept = resample(candles, every(minutes))[-_KEPT:]
        width = minutes * MINUTE_MS
        bars = between(kept, wanted["startTime"] // width * width, wanted.get("endTime", 2**62))
        return Page(bars, lambda rows: [_row(row, coin, wanted["interval"], minutes) for row in rows])

    def _metas(self) -> Answer:
        coins = [self._native(symbol) for symbol in self._markets]
        main = [coin for coin in coins if ":" not in coin]
        built = [coin for coin in coins if ":" in coin]
        return as_json(
            [
                {"universe": [{"name": coin, "szDecimals": 4, "maxLeverage": 20} for coin in names]}
                for names in (main, built)
            ]
        )


build = each_on_its_host(HOSTS, Hyperliquid)


def _row(row: Candles, coin: str, interval: str, minutes: int) -> dict[str, object]:
    opened = int(row[TIMESTAMP])
    values = zip("ochlv", (OPEN, CLOSE, HIGH, LOW, VOLUME), strict=True)
    return {
        "t": opened,
        "T": opened + minutes * MINUTE_MS - 1,
        "s": coin,
        "i": interval,
        **{name: text(row[column]) for name, column in values},
        "n": int(row[VOLUME] > 0),
    }


def _undeserializable() -> Answer:
    words = b"Failed to deserialize the JSON body into the target type"
    return Answer(words, 422, content_type="text/plain")
