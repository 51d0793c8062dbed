"""Jesse set up for a session as ``research.backtest`` of Jesse 3.5 sets it up for a run.

That is what ``_execute_isolated_backtest`` does before it calls a simulator, and ``_prepare_routes`` of the
simulators.
"""

import importlib
from dataclasses import dataclass
from typing import Any

import jesse.helpers as jh
import numpy as np
from failures import RunRejectedError
from jesse.config import config, set_config
from jesse.constants import TIMEFRAME_TO_ONE_MINUTES
from jesse.modes import backtest_mode
from jesse.routes import router
from jesse.services import candle_service, exchange_service, order_service, position_service
from jesse.services.validators import validate_routes
from jesse.store import store

# By name from the module table: the package attribute of this name is the function.
research: Any = importlib.import_module("jesse.research.backtest")

_FIRST_CAPACITY = 5_000
_COLUMNS = 6


@dataclass(frozen=True)
class Series:
    """One-minute candles that a session reads.

    Attributes:
        warm_up: shape (n, 6), those before the session.
    """

    exchange: str
    symbol: str
    warm_up: Any

    @property
    def key(self) -> str:
        return str(jh.key(self.exchange, self.symbol))


def read_series(parts: list[dict[str, Any]]) -> list[Series]:
    """The series of a request, with their warm-up read from files."""
    return [
        Series(part["exchange"], part["symbol"], np.fromfile(part["path"], dtype="<f8").reshape(-1, _COLUMNS))
        for part in parts
    ]


def prepare(
    request: dict[str, Any],
    classes: dict[str, type[Any]],
    hyperparameters: dict[str, Any] | None,
    series: list[Series],
) -> None:
    """Leave Jesse with its configuration, routes, stores, warm-up candles and strategies in place.

    Raises:
        RunRejectedError: a strategy alters its candles, or only some series have warm-up candles.
    """
    research._reset_research_runtime_state()
    config["app"]["trading_mode"] = "backtest"
    set_config(research._format_config(request["config"]))
    routes = [{**route, "strategy": classes[route["strategy"]]} for route in request["routes"]]
    router.initiate(routes, request["data_routes"])
    store.reset()
    validate_routes(router)
    store.candles.init_storage(_FIRST_CAPACITY)
    store.candles.enforce_warmup = config["env"]["data"]["warmup_candles_num"] > 0
    exchange_service.initialize_exchanges_state()
    order_service.initialize_orders_state()
    position_service.initialize_positions_state()
    _inject_warm_up(series, request["start_ms"])
    store.candles.uses_timestamp_buckets = request["minute_order"] == "observed"
    store.app.starting_time = store.app.time = np.float64(request["start_ms"])
    pipelines = backtest_mode._prepare_routes(hyperparameters=hyperparameters)
    if any(pipeline is not None for pipeline in pipelines.values()):
        raise RunRejectedError(
            "a strategy alters its candles with candles_pipeline(), which needs minutes yet to come",
            hint="return None from candles_pipeline() in the strategy",
        )


def generated_timeframes() -> list[tuple[str, int]]:
    """Name and minutes of the timeframes made from minutes, in the order Jesse makes them."""
    return [
        (timeframe, TIMEFRAME_TO_ONE_MINUTES[timeframe])
        for timeframe in config["app"]["considering_timeframes"]
        if timeframe != "1m"
    ]


def _inject_warm_up(series: list[Series], start_ms: int) -> None:
    by_key = {one.key: one for one in series}
    with_rows = [one for one in series if len(one.warm_up)]
    if not with_rows:
        return
    if len(with_rows) < len(series):
        lacking = next(one for one in series if not len(one.warm_up))
        raise RunRejectedError(
            f"{lacking.symbol} on {lacking.exchange} has no warm-up candles, other series have",
            hint="import the candles before the start, or set warm_up_candles=0",
        )
    for exchange, symbol in config["app"]["considering_candles"]:
        candle_service.inject_warmup_candles_to_store(
            by_key[jh.key(exchange, symbol)].warm_up, exchange, symbol, available_at=start_ms
        )
