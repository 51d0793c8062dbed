"""How a page of one-minute candles is asked for, at every exchange."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from exchange_server.wire import MINUTE_MS

#: The page that is asked for where an exchange wants to be told a range.
START = 1_735_689_600_000
COUNT = 300
END = START + COUNT * MINUTE_MS
SECONDS = START // 1000


@dataclass(frozen=True)
class Sample:
    """One request; ``family`` is the module that answers it."""

    family: str
    exchange: str
    symbol: str
    path: str
    params: Mapping[str, object] = field(default_factory=dict)
    body: object = None


SAMPLES = (
    Sample("binance", "Binance Spot", "BTC-USDT", "/api/v3/klines", {"symbol": "BTCUSDT", "interval": "1m"}),
    Sample("bitfinex", "Bitfinex Spot", "BTC-USD", "/v2/candles/trade:1m:tBTCUSD/hist", {"sort": 1}),
    Sample(
        "bybit",
        "Bybit USDT Perpetual",
        "BTC-USDT",
        "/v5/market/kline",
        {"category": "linear", "symbol": "BTCUSDT", "interval": 1},
    ),
    Sample(
        "coinbase",
        "Coinbase Spot",
        "BTC-USD",
        "/api/v3/brokerage/market/products/BTC-USD/candles",
        {"granularity": "ONE_MINUTE", "start": SECONDS, "end": SECONDS + 60 * (COUNT - 1)},
    ),
    Sample(
        "gate",
        "Gate Spot",
        "BTC-USDT",
        "/api/v4/spot/candlesticks",
        {"currency_pair": "BTC_USDT", "interval": "1m", "from": SECONDS},
    ),
    Sample(
        "gate",
        "Gate USDT Perpetual",
        "BTC-USDT",
        "/api/v4/futures/usdt/candlesticks",
        {"contract": "BTC_USDT", "interval": "1m", "from": SECONDS},
    ),
    Sample(
        "hyperliquid",
        "Hyperliquid Perpetual",
        "BTC-USD",
        "/info",
        {},
        {"type": "candleSnapshot", "req": {"coin": "BTC", "interval": "1m", "startTime": START}},
    ),
    Sample("apex", "Apex Omni Perpetual", "BTC-USDT", "/api/v3/klines", {"symbol": "BTCUSDT", "interval": 1}),
    Sample(
        "kucoin", "KuCoin Spot", "BTC-USDT", "/api/v1/market/candles", {"symbol": "BTC-USDT", "type": "1min"}
    ),
    Sample(
        "kucoin",
        "KuCoin USDT Perpetual",
        "BTC-USDT",
        "/api/v1/kline/query",
        {"symbol": "XBTUSDTM", "granularity": 1},
    ),
    Sample("kraken", "Kraken Pro Spot", "BTC-USD", "/0/public/OHLC", {"pair": "XBTUSD", "interval": 1}),
    Sample("kraken", "Kraken Pro Futures", "BTC-USD", "/api/charts/v1/trade/PF_XBTUSD/1m"),
    Sample(
        "lighter",
        "Lighter Perpetual",
        "BTC-USD",
        "/api/v1/candles",
        {
            "market_id": 0,
            "resolution": "1m",
            "start_timestamp": START,
            "end_timestamp": END,
            "count_back": COUNT,
        },
    ),
)


def sample_of(exchange: str) -> Sample:
    return next(sample for sample in SAMPLES if sample.exchange == exchange)
