"""The tools that look at several markets: what each needs, and everything it takes."""

from typing import Any

from mcp_desk import EXCHANGE

DAY = 86_400_000
FIRST = 1_704_067_200_000  # 2024-01-01
MARKET: dict[str, Any] = {
    "exchange": EXCHANGE,
    "symbols": ["BTC-USDT", "ETH-USDT"],
    "timeframe": "1h",
    "start_date": "2024-01-01",
    "end_date": "2024-01-08",
}
ONE_MARKET = {**MARKET, "symbols": ["BTC-USDT"]}
#: Thirty calm periods, then thirty wild ones, and again.
RETURNS = [(-1) ** n * (0.03 if n // 30 % 2 else 0.002) + 0.0005 * (n % 5) for n in range(240)]
BALANCES = [[FIRST + day * DAY, 100 + day % 7 - day % 3] for day in range(120)]
PRICES = {
    "A": [[FIRST + day * DAY, 100 + day % 7 + day % 5] for day in range(300)],
    "B": [[FIRST + day * DAY, 50 + day % 11 + day % 3] for day in range(300)],
}

MARKET_REQUIRED: dict[str, Any] = {
    "correlation_matrix": {},
    "pairs_backtest": {"symbol_y": "ETH-USDT", "symbol_x": "BTC-USDT"},
    "factor_analysis": {},
    "regime_detector": {},
}

MARKET_CALLS: dict[str, list[Any]] = {
    "correlation_matrix": [
        {
            "market": MARKET,
            "method": "spearman",
            "rolling_window": 24,
            "shrinkage": "none",
            "cointegration": True,
            "alpha": 0.01,
            "confidence": 0.9,
            "limit": 2,
            "include": ["matrix"],
            "wait_seconds": 60,
        },
        {"prices": PRICES},
        lambda w: {"run_ids": w.runs},
    ],
    "pairs_backtest": [
        {
            "exchange": EXCHANGE,
            "symbol_y": "ETH-USDT",
            "symbol_x": "BTC-USDT",
            "timeframe": "15m",
            "start_date": "2024-01-05",
            "end_date": "2024-01-08",
            "hedge_ratio": "rolling_ols",
            "log_prices": True,
            "formation_bars": 200,
            "hedge_lookback": 100,
            "lookback": 50,
            "entry_z": 1.5,
            "exit_z": 0.25,
            "stop_z": 4,
            "max_holding_bars": 40,
            "notional": 5000,
            "starting_balance": 10_000,
            "leverage": 2,
            "fee": 0.0005,
            "slippage": 0.0002,
            "gaps": "refuse",
            "jesse": True,
            "trades_shown": 2,
            "title": "every argument",
            "wait_seconds": 120,
        },
        {
            "symbol_y": "A",
            "symbol_x": "B",
            "prices": PRICES,
            "fee": 0.001,
            "timeframe": None,
            "formation_bars": 100,
            "lookback": 20,
        },
    ],
    "factor_analysis": [
        {
            "market": {**ONE_MARKET, "start_date": "2024-01-03"},
            "universe": {"exchange": EXCHANGE, "symbols": ["BTC-USDT", "ETH-USDT"]},
            "factors": ["eth"],
            "rolling_window": 48,
            "hac_lags": 3,
            "confidence": 0.9,
            "wait_seconds": 60,
        },
        {
            "returns": RETURNS,
            "periods_per_year": 252,
            "factor_returns": {"trend": [value * 2 + 0.001 * (n % 3) for n, value in enumerate(RETURNS)]},
        },
        {
            "balances": BALANCES,
            "factor_returns": {"wave": [[FIRST + day * DAY, 0.01 * (day % 4 - 1)] for day in range(120)]},
        },
        lambda w: {
            "run_id": w.runs[0],
            "factor_returns": {"wave": [[FIRST + day * DAY, 0.01 * (day % 3 - 1)] for day in range(12)]},
        },
        lambda w: {
            "session_id": w.ended_session(),
            "factor_returns": {"wave": [[FIRST + day * DAY, 0.01 * (day % 3 - 1)] for day in range(12)]},
        },
    ],
    "regime_detector": [
        {
            "market": {**ONE_MARKET, "timeframe": "15m"},
            "method": "hmm",
            "regimes": 2,
            "training_periods": 200,
            "refit_every": 200,
            "features": "return",
            "forecast_periods": 3,
            "seed": 4,
            "limit": 3,
            "wait_seconds": 60,
        },
        {
            "returns": RETURNS,
            "periods_per_year": 365,
            "method": "jump_model",
            "jump_penalty": 2.0,
            "training_periods": 100,
        },
        {"balances": BALANCES, "method": "volatility", "training_periods": 100},
        lambda w: {
            "market": {**ONE_MARKET, "timeframe": "1h"},
            "method": "volatility",
            "training_periods": 100,
            "performance_of": w.runs[0],
        },
    ],
}
