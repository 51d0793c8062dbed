"""The run that everything is measured with: one bundled strategy over a year of made-up candles."""

from pathlib import Path
from typing import Any

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.analytics.synthetic import synthetic_candles, synthetic_source
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.domain.timeframes import MINUTE_MS, parse_date

EXCHANGE = "Binance Perpetual Futures"
SYMBOL = "SYNTH-USDT"
STRATEGY = "TrendFollowing"
TIMEFRAME = "1h"
START, END = "2023-01-01", "2024-01-01"
MONTH_END = "2023-02-01"
BALANCE, FEE = 10_000.0, 0.0004
WARM_UP_CANDLES = 240
WARM_UP_MINUTES = WARM_UP_CANDLES * 60
SERIES = SeriesKey(exchange=EXCHANGE, symbol=SYMBOL)
_SEED = 7


def year() -> CandleArray:
    """Warm-up and a year: exactly the rows that the run reads."""
    first, end = parse_date(START, "start") - WARM_UP_MINUTES * MINUTE_MS, parse_date(END, "end")
    return synthetic_candles(first, (end - first) // MINUTE_MS, _SEED)


def stock(candles: Path) -> Path:
    """Store the year below ``candles``, as the folder of that name in a home; its mapped file."""
    store = ParquetCandleStore(candles)
    store.write(SERIES, year(), synthetic_source(_SEED))
    return Path(store.mapped(SERIES).path)


def call(**changes: Any) -> dict[str, Any]:
    """Arguments of the ``backtest`` tool; nothing is taken from the store unless asked for."""
    return {
        "exchange": EXCHANGE,
        "exchange_type": "futures",
        "strategy": STRATEGY,
        "symbol": SYMBOL,
        "timeframe": TIMEFRAME,
        "start_date": START,
        "end_date": END,
        "starting_balance": BALANCE,
        "fee": FEE,
        "leverage": 1,
        "leverage_mode": "cross",
        "warm_up_candles": WARM_UP_CANDLES,
        "use_cache": False,
        "wait_seconds": 600,
        **changes,
    }


def direct_request(fast_mode: bool, hyperparameters: dict[str, Any] | None = None) -> dict[str, Any]:
    """The same run as arguments of ``jesse.research.backtest``, candles and classes aside."""
    return {
        "config": {
            "starting_balance": BALANCE,
            "fee": FEE,
            "type": "futures",
            "futures_leverage": 1,
            "futures_leverage_mode": "cross",
            "exchange": EXCHANGE,
            "warm_up_candles": WARM_UP_CANDLES,
        },
        "exchange": EXCHANGE,
        "symbol": SYMBOL,
        "timeframe": TIMEFRAME,
        "strategy": STRATEGY,
        "warm_up_minutes": WARM_UP_MINUTES,
        "hyperparameters": hyperparameters,
        "fast_mode": fast_mode,
    }


def variations(count: int) -> list[dict[str, Any]]:
    """Hyperparameters that make ``count`` different experiments of about the same length."""
    # All of them, because Jesse called directly takes no defaults for the rest.
    same = {"adx_threshold": 20, "atr_multiple": 3.0, "cooldown": 3, "exposure": 0.5}
    return [{"fast_period": 15 + number % 10, "slow_period": 50 + number, **same} for number in range(count)]
