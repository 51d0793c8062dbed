"""Jesse's own ``research.backtest``, called as its documentation shows. Run by a Python that has Jesse.

Reads one case a line from standard input and answers each with one line: everything the call returned, with
every bit of every number.
"""

import json
import sys
from typing import Any

import numpy as np
from jesse.research import backtest


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr
    sys.path.insert(0, sys.argv[1])
    for line in sys.stdin:
        json.dump(answer(json.loads(line)), answers, default=exact)
        answers.write("\n")
        answers.flush()


def answer(case: dict[str, Any]) -> dict[str, Any]:
    request = case["request"]
    exchange = request["exchange"]
    config = {
        "starting_balance": request["starting_balance"],
        "fee": request["fee"],
        "type": request["exchange_type"],
        "futures_leverage": request["leverage"],
        "futures_leverage_mode": request["leverage_mode"],
        "exchange": exchange,
        "warm_up_candles": request["warm_up_candles"],
    }
    candles, warm_up = {}, {}
    for part in case["candles"]:
        rows = np.fromfile(part["path"]).reshape(-1, 6)
        identity = {"exchange": exchange, "symbol": part["symbol"]}
        key = f"{exchange}-{part['symbol']}"
        candles[key] = {**identity, "candles": rows[part["trading_row"] : part["end_row"]]}
        if part["start_row"] < part["trading_row"]:
            warm_up[key] = {**identity, "candles": rows[part["start_row"] : part["trading_row"]]}
    routes = [
        {
            "exchange": exchange,
            "strategy": strategy_class(route["strategy"]),
            "symbol": route["symbol"],
            "timeframe": route["timeframe"],
        }
        for route in request["routes"]
    ]
    declared = {entry["name"]: entry["default"] for entry in routes[0]["strategy"]().hyperparameters()}
    overrides = request["hyperparameters"]
    result = backtest(
        config,
        routes,
        [
            {"exchange": exchange, "symbol": route["symbol"], "timeframe": route["timeframe"]}
            for route in request["data_routes"]
        ],
        candles,
        warm_up or None,
        generate_equity_curve=True,
        hyperparameters={**declared, **overrides} if overrides else None,
        fast_mode=request["fast_mode"],
    )
    curves = {curve["name"]: curve["data"] for curve in result["equity_curve"] or []}
    return {
        "hyperparameters": {**declared, **overrides},
        "metrics": result["metrics"],
        "trades": result.get("trades", []),
        "equity": [[point["time"] * 1000, point["value"]] for point in curves.get("Portfolio", [])],
    }


def strategy_class(name: str) -> Any:
    return getattr(__import__(f"strategies.{name}", fromlist=[name]), name)


def exact(value: Any) -> Any:
    """NumPy's numbers as Python's; identifiers as text."""
    return value.item() if isinstance(value, np.generic) else str(value)


if __name__ == "__main__":
    main()
