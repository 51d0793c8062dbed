"""The only module that touches Jesse: one call of its public ``research.backtest`` per run."""

import importlib
import math
import mmap
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jesse.helpers as jh
import numpy as np
from hyperparameters import resolve
from jesse.store import store
from jesse.strategies import Strategy
from jesse.version import __version__ as jesse_version
from projects import load_strategies

# By name from the module table: the package attribute of this name is the function.
research: Any = importlib.import_module("jesse.research.backtest")

_COLUMNS = 6
_LOG_LINES = 200
_PRIMING_MINUTES = 60 * 24
_PRIMING_EXCHANGE = "Sandbox"
_PRIMING_SYMBOL = "BTC-USDT"


class _Priming(Strategy):  # type: ignore[misc]
    """Trades once, so that every code path a run takes has been taken before."""

    def should_long(self) -> bool:
        return bool(self.index == 2)

    def go_long(self) -> None:
        self.buy = 1, self.price

    def update_position(self) -> None:
        self.liquidate()


class Capture:
    """What Jesse's store holds when a simulation ends, kept before Jesse resets it."""

    def __init__(self) -> None:
        self.equity: list[list[float]] = []
        self.logs: list[str] = []

    def wrap(self, simulator: Callable[..., Any]) -> Callable[..., Any]:
        def simulate(*args: Any, **kwargs: Any) -> Any:
            try:
                return simulator(*args, **kwargs)
            finally:
                self.equity = [
                    [int(time_ms), float(balance)]
                    for time_ms, balance in zip(
                        store.app.daily_balance_timestamps, store.app.daily_balance, strict=True
                    )
                ]
                entries = sorted(store.logs.info[-_LOG_LINES:], key=lambda entry: entry["timestamp"])
                self.logs = [f"{jh.timestamp_to_time(e['timestamp'])[:19]} {e['message']}" for e in entries]

        return simulate


def warm_up() -> dict[str, str]:
    """Load everything a run needs; the versions of what will run."""
    prime()
    return {"jesse": jesse_version, "python": platform.python_version()}


def prime() -> None:
    """A day-long backtest, so that the first real run finds its pages and caches in place."""
    minutes = np.arange(_PRIMING_MINUTES)
    price = 100 + np.sin(minutes / 60)
    candles = np.column_stack(
        [1_600_000_020_000 + minutes * 60_000, price, price, price + 1, price - 1, np.ones(_PRIMING_MINUTES)]
    )
    research.backtest(
        {
            "starting_balance": 1000,
            "fee": 0,
            "type": "futures",
            "futures_leverage": 1,
            "futures_leverage_mode": "cross",
            "exchange": _PRIMING_EXCHANGE,
            "warm_up_candles": 0,
        },
        [
            {
                "exchange": _PRIMING_EXCHANGE,
                "symbol": _PRIMING_SYMBOL,
                "timeframe": "1h",
                "strategy": _Priming,
            }
        ],
        [],
        {
            jh.key(_PRIMING_EXCHANGE, _PRIMING_SYMBOL): {
                "exchange": _PRIMING_EXCHANGE,
                "symbol": _PRIMING_SYMBOL,
                "candles": candles,
            }
        },
        fast_mode=True,
    )


def simulated_time() -> float:
    """The simulation's clock in epoch milliseconds."""
    return float(store.app.time)


def run(request: dict[str, Any], project: Path) -> dict[str, Any]:
    """Execute one request; everything in the answer is JSON."""
    started = time.perf_counter()
    classes = load_strategies(project, [route["strategy"] for route in request["routes"]])
    hyperparameters, effective = resolve(classes, request["hyperparameters"])
    trading, warm_up_candles = _candles(request["candles"])
    capture = Capture()
    original = research.simulator
    research.simulator = capture.wrap(original)
    loaded = time.perf_counter()
    try:
        result = research.backtest(
            request["config"],
            [{**route, "strategy": classes[route["strategy"]]} for route in request["routes"]],
            request["data_routes"],
            trading,
            warm_up_candles or None,
            hyperparameters=hyperparameters,
            fast_mode=request["fast_mode"],
        )
    finally:
        research.simulator = original
    simulated = time.perf_counter()
    metrics, undefined = _metrics(result["metrics"])
    outcome = {
        "metrics": metrics,
        "undefined": undefined,
        "trades": [_trade(trade) for trade in result.get("trades") or []],
        "equity": capture.equity,
        "hyperparameters": effective,
        "engine": {"jesse": jesse_version, "python": platform.python_version(), "platform": sys.platform},
        "log": "\n".join(capture.logs),
    }
    outcome["timings"] = {
        "load": loaded - started,
        "simulate": simulated - loaded,
        "collect": time.perf_counter() - simulated,
    }
    return outcome


def _candles(slices: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    trading, warm_up_candles = {}, {}
    for part in slices:
        rows = _mapped(part["path"], part["total_rows"])
        key = jh.key(part["exchange"], part["symbol"])
        identity = {"exchange": part["exchange"], "symbol": part["symbol"]}
        trading[key] = {**identity, "candles": rows[part["trading_row"] : part["end_row"]]}
        if part["trading_row"] > part["start_row"]:
            warm = rows[part["start_row"] : part["trading_row"]]
            warm_up_candles[key] = {**identity, "candles": warm}
    return trading, warm_up_candles


def _mapped(path: str, total_rows: int) -> Any:
    """Shared, read-only rows; a plain array because Jesse branches on the exact type."""
    with Path(path).open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    rows = np.frombuffer(mapping, dtype="<f8")
    return rows.reshape(-1, _COLUMNS)[:total_rows]


def _metrics(raw: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    metrics: dict[str, Any] = {}
    undefined: dict[str, str] = {}
    for name, value in raw.items():
        metrics[name] = plain(value)
        if metrics[name] is None:
            undefined[name] = f"Jesse computed {value}"
    return metrics, undefined


def plain(value: Any) -> Any:
    """A JSON value of the same number; what is not finite becomes null."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


_ORDER_FIELDS = (
    "side",
    "type",
    "qty",
    "filled_qty",
    "price",
    "status",
    "created_at",
    "executed_at",
    "reduce_only",
    "submitted_via",
)


def _trade(trade: dict[str, Any]) -> dict[str, Any]:
    return {
        "strategy": trade["strategy_name"],
        "exchange": trade["exchange"],
        "symbol": trade["symbol"],
        "type": trade["type"],
        "opened_at": int(trade["opened_at"]),
        "closed_at": int(trade["closed_at"]),
        "entry_price": plain(trade["entry_price"]),
        "exit_price": plain(trade["exit_price"]),
        "qty": plain(trade["qty"]),
        "size": plain(trade["size"]),
        "fee": plain(trade["fee"]),
        "pnl": plain(trade["PNL"]),
        "pnl_percentage": plain(trade["PNL_percentage"]),
        "holding_period": plain(trade["holding_period"]),
        "orders": [{name: plain(order[name]) for name in _ORDER_FIELDS} for order in trade["orders"]],
    }
