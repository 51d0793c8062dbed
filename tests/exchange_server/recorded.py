"""Rows that exchanges really sent, found in public repositories, as a measure for the imitations.

Each is a row or two of what the named file holds. Two caveats:

- ccxt puts numbers in objects into quotes before it records them, numbers in lists not. Of an object from
  there only names and values are known, not the types: ``typed`` is false.
- Where no recording was found, an example from an exchange's documentation stands in; ``note`` says so.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Of a page as decoded: rows in its order, as ``[ms, open, close, high, low, volume]``.
Reader = Callable[[Any], list[list[float]]]


@dataclass(frozen=True)
class Recorded:
    """A page; ``request`` are the parameters, or the body, that make our imitation send the same rows."""

    exchange: str
    where: str
    text: str
    rows: Reader
    request: Mapping[str, object] = field(default_factory=dict)
    typed: bool = True
    note: str = ""

    @property
    def page(self) -> Any:
        return json.loads(self.text)


def _columns(*positions: int, unit: int = 1) -> Callable[[list[list[Any]]], list[list[float]]]:
    """Positions of time, open, close, high, low, volume in a row that is a list."""
    return lambda rows: [
        [float(row[at]) * (unit if at == positions[0] else 1) for at in positions] for row in rows
    ]


def _fields(*names: str, unit: int = 1) -> Callable[[list[dict[str, Any]]], list[list[float]]]:
    return lambda rows: [
        [float(row[name]) * (unit if name == names[0] else 1) for name in names] for row in rows
    ]


def _market(page: Any) -> Any:
    """What is kept under the name of the market."""
    return next(value for key, value in page.items() if key != "last")


_SHORT = _fields("t", "o", "c", "h", "l", "v")
_LONG = ("open", "close", "high", "low", "volume")

RECORDED = (
    Recorded(
        "Binance Spot",
        "DVB-ANS/clim: cre/risk-desk/fixtures/binance.json",
        """
        [[1791281160000, "2709.88000000", "2710.59000000", "2709.21000000", "2709.21000000",
        "55.66140000", 1791281219999, "150823.68956100", 1733, "27.84040000", "75438.24176500",
        "0"], [1791281220000, "2709.22000000", "2710.28000000", "2709.21000000", "2710.28000000",
        "26.23910000", 1791281279999, "71099.04004300", 710, "14.64010000", "39669.01676200", "0"]]
        """,
        _columns(0, 1, 4, 2, 3, 5),
    ),
    Recorded(
        "Bitfinex Spot",
        "ccxt/ccxt: ts/src/test/static/response/bitfinex.json, fetchOHLCV",
        """
        [[1552298400000, 3870.1, 3890, 3890, 3870.1, 0.05]]
        """,
        _columns(0, 1, 2, 3, 4, 5),
    ),
    Recorded(
        "Bybit USDT Perpetual",
        "EzequielBes/invest: market-data/internal/exchange/bybit/testdata/candles.json",
        """
        {"retCode": 0, "retMsg": "OK", "result": {"symbol": "BTCUSDT", "category": "linear", "list":
        [["1786820400000", "63027.8", "63032.3", "63027.7", "63032.3", "4.591", "289363.9178"],
        ["1786816800000", "63044.4", "63089.6", "63000.1", "63027.8", "385.721", "24314058.6517"]]},
        "retExtInfo": {}, "time": 1786820637599}
        """,
        lambda page: _columns(0, 1, 4, 2, 3, 5)(page["result"]["list"]),
    ),
    Recorded(
        "Coinbase Spot",
        "DVB-ANS/clim: cre/risk-desk/fixtures/coinbase.json",
        """
        {"candles": [{"start": "1791282240", "low": "2713.75", "high": "2715.08", "open": "2714.33",
        "close": "2713.76", "volume": "52.746994"}, {"start": "1791282180", "low": "2713.98",
        "high": "2714.72", "open": "2714.16", "close": "2714.4", "volume": "14.15313503"}]}
        """,
        lambda page: _fields("start", *_LONG, unit=1000)(page["candles"]),
        {"start": 1791282180, "end": 1791282240},
    ),
    Recorded(
        "Gate Spot",
        "JKorf/GateIo.Net: GateIo.Net.UnitTests/Endpoints/Spot/ExchangeData/GetKlines.txt",
        """
        [["1717246800", "1157762.86821200", "67772.5", "67839.9", "67715", "67715.1", "17.07790000",
        "true"]]
        """,
        _columns(0, 5, 2, 3, 4, 6, unit=1000),
        {"from": 1717246800},
    ),
    Recorded(
        "Gate USDT Perpetual",
        "AlgoVaultLabs/crypto-quant-signal-mcp: tests/unit/retro-basis-sources.test.ts",
        """
        [{"o": "64125.6", "v": 0, "t": 1784901600, "c": "64034.9", "l": "63712.4", "h": "64176",
        "sum": "0"}, {"o": "64032.8", "v": 0, "t": 1784905200, "c": "64059.54", "l": "63829.46",
        "h": "64167.5", "sum": "0"}]
        """,
        _fields("t", "o", "c", "h", "l", "v", unit=1000),
        {"from": 1784901600},
        note="of the mark price",
    ),
    Recorded(
        "Hyperliquid Perpetual",
        "DVB-ANS/clim: cre/risk-desk/fixtures/hyperliquid.json",
        """
        [{"t": 1791281100000, "T": 1791281159999, "s": "ETH", "i": "1m", "o": "2708.0", "c":
        "2708.3", "h": "2708.3", "l": "2708.0", "v": "3.6322", "n": 23}, {"t": 1791281160000, "T":
        1791281219999, "s": "ETH", "i": "1m", "o": "2708.7", "c": "2708.3", "h": "2709.7", "l":
        "2708.3", "v": "6.0361", "n": 45}]
        """,
        _SHORT,
        # Not the beginning of a minute: the candle it falls into is sent all the same.
        {"startTime": 1791281109000, "endTime": 1791282309000},
    ),
    Recorded(
        "Apex Omni Perpetual",
        "ccxt/ccxt: ts/src/test/static/response/apex.json, fetchOHLCV",
        """
        {"data": {"BTCUSDT": [{"s": "BTCUSDT", "i": "1", "t": "1750504980000", "c": "103836.6", "h":
        "103862", "l": "103836.6", "o": "103839.4", "v": "0.448", "tr": "46525.5415"}, {"s":
        "BTCUSDT", "i": "1", "t": "1750505040000", "c": "103852.6", "h": "103868.8", "l":
        "103836.6", "o": "103836.6", "v": "0.5", "tr": "51928.7369"}]}, "timeCost": "5376877"}
        """,
        lambda page: _SHORT(_market(page["data"])),
        # It was asked for two candles from 110 minutes earlier on, and sent the newest two.
        {"start": 1750498380, "limit": 2},
        typed=False,
    ),
    Recorded(
        "KuCoin Spot",
        "JKorf/Kucoin.Net: Kucoin.Net.UnitTests/Endpoints/Spot/ExchangeData/GetKlines.txt",
        """
        {"code": "200000", "data": [["1545904980", "0.058", "0.049", "0.058", "0.049", "0.018",
        "0.000945"], ["1545904920", "0.058", "0.072", "0.072", "0.058", "0.103", "0.006986"]]}
        """,
        lambda page: _columns(0, 1, 2, 3, 4, 5, unit=1000)(page["data"]),
        note="of the documentation",
    ),
    Recorded(
        "KuCoin USDT Perpetual",
        "ccxt/ccxt: ts/src/test/static/response/kucoinfutures.json, fetchOHLCV",
        """
        {"code": "200000", "data": [[1706630400000, 43375.2, 43514.2, 43219, 43492, 354348],
        [1706634000000, 43495.6, 43598.9, 43301.8, 43392.3, 282425]]}
        """,
        lambda page: _columns(0, 1, 4, 2, 3, 5)(page["data"]),
    ),
    Recorded(
        "Kraken Pro Spot",
        "DVB-ANS/clim: cre/risk-desk/fixtures/kraken.json",
        """
        {"error": [], "result": {"XETHZUSD": [[1791281160, "2709.12", "2709.98", "2708.58",
        "2708.58", "2709.38", "17.83486617", 50], [1791281220, "2708.57", "2709.42", "2708.41",
        "2709.23", "2709.31", "0.60071907", 16]], "last": 1791282240}}
        """,
        lambda page: _columns(0, 1, 4, 2, 3, 6, unit=1000)(_market(page["result"])),
        {"since": 1791281109},
    ),
    Recorded(
        "Kraken Pro Futures",
        "JKorf/Kraken.Net: Kraken.Net.UnitTests/Endpoints/Futures/ExchangeData/GetKlines.txt",
        """
        {"candles": [{"time": 1620816960000, "high": "56475.00000000000", "low":
        "55935.00000000000", "open": "56294.00000000000", "close": "56250.00000000000", "volume":
        10824}], "more_candles": true}
        """,
        lambda page: _fields("time", *_LONG)(page["candles"]),
        note="of the documentation",
    ),
)

#: What exchanges answered to a bad request: exchange, the change to a good request, status, body, where from.
REFUSALS = (
    (
        "Binance Spot",
        {"symbol": "NOPE"},
        400,
        {"code": -1121, "msg": "Invalid symbol."},
        "github.com/JKorf/Binance.Net/issues/553",
    ),
    (
        "Gate Spot",
        {"limit": 100},
        400,
        {"label": "INVALID_PARAM_VALUE", "message": "Invalid request parameter `limit` value: 100"},
        "github.com/gateio/gateapi-python/issues/100",
    ),
    (
        "Gate Spot",
        {"from": 1704067200},
        400,
        {
            "label": "INVALID_PARAM_VALUE",
            "message": "Candlestick too long ago. Maximum 10000 points recently are allowed",
        },
        "github.com/freqtrade/freqtrade/issues/12814",
    ),
    (
        "Gate Spot",
        {"to": 1735689600 + 60 * 1000},
        400,
        {
            "label": "INVALID_PARAM_VALUE",
            "message": "Candlestick range too broad. Maximum 1000 data points are allowed per request",
        },
        "github.com/ccxt/ccxt/issues/17464",
    ),
    (
        "Bitfinex Spot",
        {"limit": 527041},
        500,
        ["error", 10020, "limit: invalid"],
        "github.com/scrtlabs/catalyst/issues/477",
    ),
)
