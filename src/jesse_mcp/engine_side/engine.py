"""The only module that runs Jesse: one call of its public ``research.backtest`` per run."""

import importlib
import math
import mmap
import platform
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jesse.helpers as jh
import numpy as np
from hyperparameters import complete, in_effect, scalar
from jesse.routes import router
from jesse.services.db import database
from jesse.store import store
from jesse.version import __version__ as jesse_version
from pipelines import pipeline
from priming import rehearse
from projects import load_strategies

# By name from the module table: the package attribute of this name is the function.
research: Any = importlib.import_module("jesse.research.backtest")

_COLUMNS = 6
#: Lines of a log that are kept.
LOG_LINES = 200


class Capture:
    """What Jesse's store holds when a simulation ends, kept before Jesse resets it."""

    def __init__(self) -> None:
        self.equity: list[list[float]] = []
        self.hyperparameters: dict[str, Any] = {}
        #: What the strategies logged last; kept of a failed run too, since it often explains the failure.
        self.log = ""

    def wrap(self, simulator: Callable[..., Any]) -> Callable[..., Any]:
        def simulate(*args: Any, **kwargs: Any) -> Any:
            try:
                result = simulator(*args, **kwargs)
            finally:
                self.log = log_text(store.logs.info)
            self.keep()
            return result

        return simulate

    def keep(self) -> None:
        """What a simulation that has come to its end leaves besides its log."""
        self.equity = daily_balances()
        # From the strategies that ran: what they declare may depend on what they are told when they run.
        self.hyperparameters = in_effect(
            [(jh.get_class_name(route.strategy_name), route.strategy.hp) for route in router.routes]
        )


def daily_balances(first: int = 0) -> list[list[float]]:
    """Epoch milliseconds and balance of each of Jesse's daily samples from the ``first`` on."""
    times, balances = store.app.daily_balance_timestamps[first:], store.app.daily_balance[first:]
    return [[int(time_ms), float(balance)] for time_ms, balance in zip(times, balances, strict=True)]


def log_text(logged: list[dict[str, Any]]) -> str:
    """What was logged last, a line each, with a first line that says so when it is not everything."""
    entries = sorted(logged[-LOG_LINES:], key=lambda entry: entry["timestamp"])
    lines = [f"{jh.timestamp_to_time(e['timestamp'])[:19]} {e['message']}" for e in entries]
    cut = [f"[cut: only the last {LOG_LINES} entries were kept]"] if len(logged) > LOG_LINES else []
    return "\n".join([*cut, *lines])


def warm_up() -> dict[str, str]:
    """Load everything a run needs; the versions of what will run."""
    # Strategies import it as a whole; Jesse itself does not.
    importlib.import_module("jesse.indicators")
    # Jesse looks for a database of its own whenever the working directory has `strategies` and `storage`,
    # as it does as soon as a strategy writes a file to `storage`. No run has a database.
    database.open_connection = lambda: None
    rehearse()
    return {"jesse": jesse_version, "python": platform.python_version()}


def simulated_time() -> float | None:
    """The simulation's clock in epoch milliseconds, ``None`` before it starts and after it ends."""
    state = store.app
    return float(state.time) if state.starting_time is not None else None


def run(request: dict[str, Any], candles: list[Any], project: Path, capture: Capture) -> dict[str, Any]:
    """Execute one request; everything in the answer is JSON.

    Args:
        candles: what :func:`mapped` has of the slices of the request.
    """
    started = time.perf_counter()
    # Equal requests are the same experiment, also for strategies that draw random numbers.
    random.seed(0)
    np.random.seed(0)
    altered = pipeline(request["pipeline"])
    classes = load_strategies(project, [route["strategy"] for route in request["routes"]])
    hyperparameters = complete(classes, request["hyperparameters"])
    trading, warm_up_candles = _cut(request["candles"], candles)
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
            **altered,
        )
    finally:
        research.simulator = original
    simulated = time.perf_counter()
    outcome = outcome_of(result["metrics"], result.get("trades") or [], capture)
    outcome["timings"] = {
        "load": loaded - started,
        "simulate": simulated - loaded,
        "collect": time.perf_counter() - simulated,
    }
    return outcome


def outcome_of(
    raw_metrics: dict[str, Any], raw_trades: list[dict[str, Any]], capture: Capture
) -> dict[str, Any]:
    """The answer of a simulation as JSON, from what Jesse reports and what was kept of its store."""
    metrics, undefined = _metrics(raw_metrics)
    return {
        "metrics": metrics,
        "undefined": undefined,
        "trades": [plain_trade(trade) for trade in raw_trades],
        "equity": capture.equity,
        "hyperparameters": {str(name): scalar(value) for name, value in capture.hyperparameters.items()},
        "engine": {"jesse": jesse_version, "python": platform.python_version(), "platform": sys.platform},
        "log": capture.log,
    }


def mapped(slices: list[dict[str, Any]]) -> list[Any]:
    """The whole series of each slice, shape (n, 6): before the code of strategies is let in, which may not
    open the files."""
    return [_mapped(part["path"], part["total_rows"]) for part in slices]


def _cut(slices: list[dict[str, Any]], candles: list[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    trading, warm_up_candles = {}, {}
    for part, rows in zip(slices, candles, strict=True):
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


def plain_trade(trade: dict[str, Any]) -> dict[str, Any]:
    """A trade of Jesse's report as JSON."""
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
