"""Coinbase Advanced Trade, the public market endpoints.

Based on the public documentation: "Get Public Product Candles" (at most 350 per request, seconds, newest
first, strings), "List Public Products" (``alias``, ``alias_to``), "Rate Limits". That minutes without trades
are left out is from "Get product candles" of the Exchange API; the wording of errors is from memory.

Rows are as recorded (:mod:`exchange_server.recorded`); in the recording the running minute is not there yet.
Both ends are included. Where a USDC product shares its book with the USD product, the USD product carries
``alias_to``.
"""

import re

from exchange_server.bars import between, every, resample, traded
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

HOSTS = {"Coinbase Spot": "api.coinbase.com"}
_PRODUCTS = "/api/v3/brokerage/market/products"
_CANDLES = re.compile(_PRODUCTS + r"/([\w-]+)/candles")
_MINUTES = {"ONE_MINUTE": 1, "ONE_HOUR": 60, "ONE_DAY": 1440}
_LIMIT = 350
_COLUMNS = {"low": LOW, "high": HIGH, "open": OPEN, "close": CLOSE, "volume": VOLUME}


class Coinbase(Exchange):
    def reply(self, request: Request) -> Reply:
        if request.path == _PRODUCTS:
            return self._products()
        match = _CANDLES.fullmatch(request.path)
        return self._candles(request, match[1]) if match else not_found(request)

    def _native(self, symbol: str) -> str:
        return symbol

    def _candles(self, request: Request, product: str) -> Reply:
        candles = self._find(product)
        if candles is None:
            return _error("NOT_FOUND", "valid product_id is required", 404)
        minutes = _MINUTES.get(request.params.get("granularity", ""))
        if minutes is None:
            return _error("INVALID_ARGUMENT", "unsupported granularity", 400)
        start, end = request.number("start"), request.number("end")
        if (end - start) // (minutes * 60) + 1 > _LIMIT:
            return _error("INVALID_ARGUMENT", "number of candles requested should be less than 350", 400)
        bars = between(resample(traded(candles), every(minutes)), start * 1000, end * 1000)
        return Page(bars, lambda rows: {"candles": [_candle(row) for row in rows[::-1]]})

    def _products(self) -> Answer:
        products = []
        for symbol in self._markets:
            base, quote = symbol.split("-")
            twin = f"{base}-{'USDC' if quote == 'USD' else 'USD'}"
            shared = quote in {"USD", "USDC"} and twin in self._markets
            products.append(
                {
                    "product_id": symbol,
                    "base_currency_id": base,
                    "quote_currency_id": quote,
                    "product_type": "SPOT",
                    "status": "online",
                    "alias": twin if shared and quote == "USDC" else "",
                    "alias_to": [twin] if shared and quote == "USD" else [],
                }
            )
        return as_json({"products": products, "num_products": len(products)})


build = each_on_its_host(HOSTS, Coinbase)


def _candle(row: Candles) -> dict[str, str]:
    values = {name: text(row[column]) for name, column in _COLUMNS.items()}
    return {"start": str(int(row[TIMESTAMP]) // 1000), **values}


def _error(kind: str, message: str, status: int) -> Answer:
    return as_json({"error": kind, "error_details": message, "message": message}, status)
