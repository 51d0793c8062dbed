"""How the Jesse calls a strategy. tests/integration/test_validation.py compares with the real one."""

#: Methods Jesse calls, with the number of arguments it passes.
HOOKS: dict[str, int] = {
    "after": 0,
    "before": 0,
    "before_terminate": 0,
    "candles_pipeline": 0,
    "dna": 0,
    "filters": 0,
    "go_long": 0,
    "go_short": 0,
    "hyperparameters": 0,
    "ml_features": 0,
    "on_cancel": 0,
    "on_close_position": 2,
    "on_increased_position": 1,
    "on_open_position": 1,
    "on_reduced_position": 1,
    "on_route_canceled": 1,
    "on_route_close_position": 1,
    "on_route_increased_position": 1,
    "on_route_open_position": 1,
    "on_route_reduced_position": 1,
    "should_cancel_entry": 0,
    "should_long": 0,
    "should_short": 0,
    "terminate": 0,
    "trading_hours": 0,
    "update_chart": 0,
    "update_position": 0,
    "watch_list": 0,
}

#: Members that are computed: they cannot be assigned to, and are read without parentheses.
PROPERTIES: frozenset[str] = frozenset(
    {
        "active_exit_orders",
        "all_positions",
        "available_margin",
        "average_entry_price",
        "average_stop_loss",
        "average_take_profit",
        "balance",
        "base_asset",
        "candles",
        "capital",
        "close",
        "closed_candle_open_time",
        "current_candle",
        "current_route_index",
        "daily_balances",
        "data_routes",
        "entry_orders",
        "exchange_type",
        "exit_orders",
        "fee_rate",
        "funding_rate",
        "has_long_entry_orders",
        "has_short_entry_orders",
        "high",
        "is_backtesting",
        "is_close",
        "is_futures_trading",
        "is_live",
        "is_livetrading",
        "is_long",
        "is_open",
        "is_papertrading",
        "is_short",
        "is_spot_trading",
        "is_trading_hours",
        "leverage",
        "leveraged_available_margin",
        "liquidation_price",
        "low",
        "mark_price",
        "metrics",
        "min_qty",
        "next_funding_timestamp",
        "open",
        "orders",
        "portfolio_value",
        "price",
        "quote_asset",
        "routes",
        "shared_vars",
        "time",
        "trades",
        "volume",
    }
)

#: Properties that work before the engine has placed the strategy on a route.
EARLY_PROPERTIES: frozenset[str] = frozenset(
    {"is_backtesting", "is_live", "is_livetrading", "is_papertrading", "routes", "data_routes", "shared_vars"}
)

#: Members that only raise, with what replaced them.
REMOVED: dict[str, str] = {"capital": "balance"}

#: Methods of other Jesse releases that this one never calls.
FORMER_HOOKS: dict[str, str] = {
    "should_cancel": "should_cancel_entry",
    "prepare": "before",
    "on_stop_loss": "on_close_position",
    "on_take_profit": "on_close_position",
    "on_route_stop_loss": "on_route_close_position",
    "on_route_take_profit": "on_route_close_position",
    "on_first_candle": "before",
}

#: What authors call members that have another name.
MEMBER_ALIASES: dict[str, str] = {
    "cash": "balance",
    "equity": "portfolio_value",
    "entry_price": "position.entry_price",
    "pnl": "position.pnl",
    "pnl_percentage": "position.pnl_percentage",
    "qty": "position.qty",
    "quantity": "position.qty",
    "current_price": "price",
    "is_spot": "is_spot_trading",
    "is_futures": "is_futures_trading",
    "in_position": "is_open",
    "has_position": "is_open",
    "timestamp": "time",
    "current_time": "time",
    "fee": "fee_rate",
    "margin": "available_margin",
    "hyperparams": "hp",
    "params": "hp",
    "should_cancel": "should_cancel_entry",
    "close_position": "liquidate",
}

#: What Jesse makes orders of.
ORDER_MEMBERS = ("buy", "sell", "stop_loss", "take_profit")

#: What other platforms call them.
ORDER_ALIASES: dict[str, str] = {
    "sl": "stop_loss",
    "stop": "stop_loss",
    "tp": "take_profit",
    "target": "take_profit",
    "long": "buy",
    "short": "sell",
}

#: What authors call indicators that have another name.
INDICATOR_ALIASES: dict[str, str] = {
    "bb": "bollinger_bands",
    "bbands": "bollinger_bands",
    "bollinger": "bollinger_bands",
    "donchian_channel": "donchian",
    "donchian_channels": "donchian",
    "heikin_ashi": "heikin_ashi_candles",
    "ichimoku": "ichimoku_cloud",
    "keltner_channel": "keltner",
    "keltner_channels": "keltner",
    "psar": "sar",
    "parabolic_sar": "sar",
    "stochastic": "stoch",
    "stoch_rsi": "srsi",
    "stochrsi": "srsi",
    "stdev": "stddev",
    "std": "stddev",
    "true_range": "trange",
    "williams_r": "willr",
    "linreg": "linearreg",
    "highest": "donchian",
    "lowest": "donchian",
}
