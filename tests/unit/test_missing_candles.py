"""What a run over missing candles is told."""

from pathlib import Path

import numpy as np
import pytest

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.backtests import BacktestRequest, EngineRun, Route
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.services.candle_slices import CandleSlicer
from jesse_mcp.services.missing_candles import missing_candles

DAY = 86_400_000
START = 1_704_067_200_000
KEY = SeriesKey(exchange="Binance Spot", symbol="BTC-USDT")
AFTER = ": Jesse ran on those there are, and no order was filled in the missing ones"


def told(path: Path, rows: slice, missing: slice, warm_up: int = 0) -> list[str]:
    """Of a run over January 2nd to 4th 2024 on the given minutes since the 1st."""
    request = BacktestRequest(
        exchange=KEY.exchange,
        exchange_type="spot",
        routes=(Route(strategy="S", symbol=KEY.symbol, timeframe="1h"),),
        start_ms=START + DAY,
        end_ms=START + 4 * DAY,
        starting_balance=1000,
        fee=0,
        warm_up_candles=warm_up,
        fast_mode=True,
    )
    store = ParquetCandleStore(path)
    candles = synthetic_candles(START, 5 * 1440, seed=1)
    kept = np.ones(len(candles), dtype=bool)
    kept[missing] = False
    store.write(KEY, candles[rows][kept[rows]], "test")
    parts = CandleSlicer(store).cut(request, "observed")
    return missing_candles(EngineRun(request=request, source={}, candles=parts))


@pytest.mark.parametrize(
    ("rows", "missing", "warm_up", "says"),
    [
        (slice(0, 3 * 1440 - 60), slice(0), 0, "1500 {} (the candles end on 2024-01-03T22:59Z)"),
        (slice(1500, 9999), slice(0), 0, "60 {} (the candles begin on 2024-01-02T01:00Z)"),
        (
            slice(1500, 4 * 1440),
            slice(4 * 1440 - 1, 9999),
            0,
            "61 {} (the candles begin on 2024-01-02T01:00Z, the candles end on 2024-01-04T23:58Z)",
        ),
        (slice(1380, 9999), slice(0), 24, "1380 {} (the candles begin on 2024-01-01T23:00Z)"),
        (slice(0, 9999), slice(2000, 2010), 0, "10 {}"),
    ],
)
def test_where_the_candles_begin_and_end(
    tmp_path: Path, rows: slice, missing: slice, warm_up: int, says: str
) -> None:
    named = "minutes of BTC-USDT on Binance Spot have no candle"
    assert told(tmp_path, rows, missing, warm_up) == [says.format(named) + AFTER]


def test_nothing_missing_is_no_warning(tmp_path: Path) -> None:
    assert told(tmp_path, slice(0, 9999), slice(0)) == []
