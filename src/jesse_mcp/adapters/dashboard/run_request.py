"""A run in the words of Jesse's ``POST /backtest``, or the reason why the dashboard cannot do it."""

from typing import Any

from jesse_mcp.domain.backtests import BacktestRequest
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.timeframes import DAY_MS, iso_date

#: As in :mod:`jesse.research`, which the embedded engine calls.
_ANNUALIZATION = 365
_EMBEDDED = "or call with engine='embedded' to run it on this machine, on copies of candles and code"
#: With the debug mode on and all of these off, the log holds what is logged without being asked for.
_LOGGED = (
    "order_submission",
    "order_cancellation",
    "order_execution",
    "position_opened",
    "position_increased",
    "position_reduced",
    "position_closed",
    "shorter_period_candles",
    "trading_candles",
    "balance_update",
    "strategy_execution",
    "exchange_ws_reconnection",
)


def refuse_what_jesse_cannot(request: BacktestRequest) -> None:
    """Jesse's dashboard would ignore these, or fail on them in words that do not help.

    Raises:
        ResearchError: ``capability_missing``.
    """
    for route in request.data_routes:
        if route.exchange not in (None, request.exchange):
            raise _missing(
                f"the data route {route.symbol} {route.timeframe} is on {route.exchange}, the run on "
                f"{request.exchange}: Jesse's dashboard takes all candles of a run from one exchange",
                f"copy that series to {request.exchange}, {_EMBEDDED}",
            )
    if request.pipeline is not None:
        raise _missing(
            f"the candles are to be altered by {request.pipeline.name}, and Jesse's dashboard does so only "
            "in its own Monte Carlo sessions",
            f"resample the trades or the returns of the run, {_EMBEDDED}",
        )
    if request.warm_up_candles < 1:
        raise _missing(
            "warm_up_candles is 0, with which Jesse's dashboard does not start",
            f"give 1 or more, {_EMBEDDED}",
        )
    if request.start_ms % DAY_MS or request.end_ms % DAY_MS:
        raise _missing(
            "the run does not start and end at midnight UTC, and Jesse's dashboard knows whole days only",
            f"choose whole days, {_EMBEDDED}",
        )


def start_body(request: BacktestRequest, names: dict[str, str]) -> dict[str, Any]:
    """The body of ``POST /backtest``, its ``id`` apart.

    Args:
        request: what to run.
        names: under which name each strategy of the request is in Jesse.
    """
    routes = [
        {"strategy": names[route.strategy], "symbol": route.symbol, "timeframe": route.timeframe}
        for route in request.routes
    ]
    data_routes = [{"symbol": route.symbol, "timeframe": route.timeframe} for route in request.data_routes]
    form = {
        "exchange": request.exchange,
        "routes": routes,
        "data_routes": data_routes,
        "start_date": iso_date(request.start_ms),
        # Jesse's last day is exclusive, like ours.
        "finish_date": iso_date(request.end_ms),
        # The log is the only place where Jesse tells the daily balances.
        "debug_mode": True,
        "export_csv": False,
        "export_json": False,
        "export_chart": False,
        "fast_mode": request.fast_mode,
        "benchmark": request.benchmark,
    }
    exchange = _exchange(request)
    logging = dict.fromkeys(_LOGGED, False)
    config = {
        "warm_up_candles": request.warm_up_candles,
        "logging": logging,
        "exchanges": {request.exchange: exchange},
    }
    shown = {"warm_up_candles": request.warm_up_candles, "logging": logging, "exchange": exchange}
    return {**form, "config": config, "theme": "light", "state": _state({**form, "config": shown})}


def title_of(request: BacktestRequest) -> str:
    """What the session is called, within the 255 characters that Jesse keeps."""
    parts = [
        f"{', '.join(dict.fromkeys(route.strategy for route in request.routes))}",
        ", ".join(dict.fromkeys(f"{route.symbol} {route.timeframe}" for route in request.routes)),
        f"{iso_date(request.start_ms)} to {iso_date(request.end_ms)}",
    ]
    if request.hyperparameters:
        parts.append(", ".join(f"{name}={value}" for name, value in request.hyperparameters.items()))
    return _cut(f"{' | '.join(parts)} (jesse-mcp)", 255)


def description_of(request: BacktestRequest, names: dict[str, str]) -> str:
    """What the session is, for the person who opens it."""
    lines = [
        "Started by jesse-mcp.",
        f"{request.exchange}, {request.exchange_type}, balance {request.starting_balance:g}, fee "
        f"{request.fee:g}, leverage {request.leverage} {request.leverage_mode}, "
        f"{request.warm_up_candles} warm-up candles, {'fast' if request.fast_mode else 'step'} mode.",
    ]
    if request.hyperparameters:
        shown = ", ".join(f"{name} = {value!r}" for name, value in request.hyperparameters.items())
        lines.append(f"Hyperparameters other than the defaults: {shown}.")
    lines += [
        f"Ran under the name {used}, which existed for this run only and stands for {name}; the code is "
        "kept with this session."
        for name, used in names.items()
        if used != name
    ]
    return "\n".join(lines)


def _exchange(request: BacktestRequest) -> dict[str, Any]:
    exchange: dict[str, Any] = {
        "name": request.exchange,
        "type": request.exchange_type,
        "simulation_model": "spot" if request.exchange_type == "spot" else "perpetual_futures",
        "annualization": _ANNUALIZATION,
        "balance": request.starting_balance,
        "fee": request.fee,
    }
    if request.exchange_type == "futures":
        exchange["futures_leverage"] = request.leverage
        exchange["futures_leverage_mode"] = request.leverage_mode
    return exchange


def _state(form: dict[str, Any]) -> dict[str, Any]:
    """What the dashboard's page is drawn from when a person opens the session."""
    return {
        "form": form,
        "results": {
            "showResults": False,
            "executing": False,
            "logsModal": False,
            "progressbar": {"current": 0, "estimated_remaining_seconds": 0},
            "routes_info": [
                [{"value": route[part], "style": ""} for part in ("symbol", "timeframe", "strategy")]
                for route in form["routes"]
            ],
            "metrics": {},
            "hyperparameters": [],
            "generalInfo": {"title": None, "description": None},
            "infoLogs": "",
            "exception": {"error": "", "traceback": ""},
            "charts": {"equity_curve": []},
            "selectedRoute": form["routes"][0],
            "alert": {"message": "", "type": ""},
            "info": [],
            "trades": [],
        },
    }


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _missing(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.CAPABILITY_MISSING, message, hint=hint)
