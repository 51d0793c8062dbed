"""Arguments of a backtest: defaults filled in, and every wrong value refused by name."""

from typing import Any

import pytest

from jesse_mcp.adapters.strategies.catalog import load_catalog
from jesse_mcp.domain.backtests import BacktestRequest, DataRoute, Route
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.services.backtest_request import BacktestArguments, complete
from jesse_mcp.services.candle_slices import series_of, warm_up_start

END = 1_704_153_600_000
MINIMAL: dict[str, Any] = {
    "exchange": "Binance Perpetual Futures",
    "start_date": "2024-01-01",
    "strategy": "Trend",
    "symbol": "BTC-USDT",
    "timeframe": "4h",
}


def completed(**changes: Any) -> BacktestRequest:
    return complete(BacktestArguments.model_validate({**MINIMAL, **changes}), load_catalog(), END)


def test_defaults_are_those_of_the_exchange() -> None:
    request = completed()
    assert request.exchange_type == "futures"
    assert request.fee == 0.0004
    assert request.start_ms == 1_704_067_200_000
    assert request.routes == (Route(strategy="Trend", symbol="BTC-USDT", timeframe="4h"),)
    assert (request.leverage, request.leverage_mode, request.fast_mode) == (1, "cross", False)


def test_the_same_experiment_in_other_words_is_the_same_request() -> None:
    long_form = completed(
        strategy=None,
        symbol=None,
        timeframe=None,
        routes=[{"strategy": "Trend", "symbol": "btc/usdt", "timeframe": "4h"}],
        fee=0.0004,
        hyperparameters={},
        data_routes=[],
    )
    assert long_form == completed()


def test_the_run_s_own_exchange_is_not_repeated_in_a_data_route() -> None:
    route = {"symbol": "ETH-USDT", "timeframe": "1h", "exchange": "Binance Perpetual Futures"}
    assert completed(data_routes=[route]).data_routes == (DataRoute(symbol="ETH-USDT", timeframe="1h"),)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"starting_balance": 0}, "starting_balance is 0"),
        ({"fee": -0.1}, "fee is -0.1"),
        ({"fee": 0.5}, "fee is 0.5"),
        ({"leverage": 0}, "leverage is 0"),
        ({"leverage": 3, "exchange_type": "spot"}, "leverage is 3"),
        ({"warm_up_candles": -1}, "warm_up_candles is -1"),
        ({"timeframe": "4H"}, "'4H'"),
        ({"symbol": "BTCUSDT"}, "'BTCUSDT'"),
        ({"symbol": "BTC-USD", "exchange": "Bybit USDT Perpetual"}, "settles in USDT"),
        ({"strategy": "../evil"}, "'../evil'"),
        ({"strategy": None}, "strategy not given"),
        ({"start_date": "2024-02-30"}, "2024-02-30"),
        ({"start_date": "20240101"}, "20240101"),
        ({"exchange": "Binanse Spot"}, "Binanse Spot"),
        ({"routes": []}, "both routes and"),
        ({"strategy": None, "symbol": None, "timeframe": None, "routes": []}, "routes is empty"),
    ],
)
def test_wrong_values_are_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ResearchError) as caught:
        completed(**changes)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert named in caught.value.message
    assert caught.value.hint


def test_routes_that_jesse_would_refuse() -> None:
    def two(first: str, second: str, exchange: str) -> None:
        routes = [{"strategy": "Trend", "symbol": s, "timeframe": "1h"} for s in (first, second)]
        completed(strategy=None, symbol=None, timeframe=None, routes=routes, exchange=exchange)

    with pytest.raises(ResearchError, match="traded by more than one route"):
        two("BTC-USDT", "BTC-USDT", "Binance Spot")
    with pytest.raises(ResearchError, match="mix the quote currencies USDC, USDT"):
        two("BTC-USDT", "ETH-USDC", "Binance Spot")


def test_warm_up_is_whole_candles_of_the_longest_timeframe() -> None:
    request = completed(warm_up_candles=10, data_routes=[{"symbol": "ETH-USDT", "timeframe": "1D"}])
    assert warm_up_start(request) == request.start_ms - 10 * 86_400_000
    assert warm_up_start(completed(warm_up_candles=0)) == request.start_ms
    # A week starts on Thursday on the epoch's clock; 2024-01-01 is a Monday.
    weekly = completed(warm_up_candles=1, timeframe="1W")
    assert warm_up_start(weekly) % (7 * 86_400_000) == 0
    assert weekly.start_ms - warm_up_start(weekly) > 7 * 86_400_000


def test_each_series_once_traded_ones_first() -> None:
    request = completed(
        data_routes=[
            {"symbol": "ETH-USDT", "timeframe": "1h"},
            {"symbol": "BTC-USDT", "timeframe": "1D"},
            {"symbol": "ETH-USDT", "timeframe": "1D", "exchange": "Binance Spot"},
        ]
    )
    assert [str(key) for key in series_of(request)] == [
        "BTC-USDT on Binance Perpetual Futures",
        "ETH-USDT on Binance Perpetual Futures",
        "ETH-USDT on Binance Spot",
    ]
