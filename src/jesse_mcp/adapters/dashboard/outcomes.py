"""Turns what a session of Jesse's ended as into an outcome or an error."""

import json
import math
import re
import signal
from typing import Any

from jesse_mcp.adapters.dashboard.equity import Curve
from jesse_mcp.adapters.dashboard.tracebacks import Raised, parse
from jesse_mcp.adapters.embedded.outcomes import failure
from jesse_mcp.domain.backtests import EngineOutcome, EngineRun, HyperparameterValue, Trade
from jesse_mcp.domain.errors import ErrorCode, ResearchError

_LOG_LINES = 200
_LOG_ENTRY = re.compile(r"^\[(?:INFO|ERROR) \| (?P<time>[0-9-]{10}[ T][0-9:]{8})\] ")
_REJECTED = frozenset({"InvalidRoutes", "InvalidConfig", "InvalidDateRange", "InvalidTimeframe"})
_NO_CANDLES = frozenset({"CandlesNotFound", "CandleNotFoundInDatabase"})
_DATABASE = frozenset({"OperationalError", "InterfaceError"})
_WORKER_GONE = re.compile(r"worker exited \(exit code (?P<code>-?\w+)\)|worker is no longer running")
#: What Jesse's research call answers when no trade was closed; its dashboard stores nothing then.
_WITHOUT_TRADES: dict[str, float | int | str | None] = {
    "total": 0,
    "win_rate": 0,
    "net_profit_percentage": 0,
    "annualization": 365,
}
_TRADE_FIELDS = {
    "exchange": "exchange",
    "symbol": "symbol",
    "type": "type",
    "opened_at": "opened_at",
    "closed_at": "closed_at",
    "entry_price": "entry_price",
    "exit_price": "exit_price",
    "qty": "qty",
    "size": "size",
    "fee": "fee",
    "pnl": "PNL",
    "pnl_percentage": "PNL_percentage",
    "holding_period": "holding_period",
}
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


def to_outcome(
    run: EngineRun,
    session: dict[str, Any],
    names: dict[str, str],
    curve: Curve,
    log: str | None,
    engine: dict[str, str],
    timings: dict[str, float],
) -> EngineOutcome:
    """A finished session as values.

    Args:
        run: what was asked for.
        session: the session as Jesse's API gives it.
        names: strategy of the run to its name in Jesse.
        curve: its daily balances.
        log: its log.
        engine: what ran, and where.
        timings: seconds, by part of the work.

    Raises:
        ResearchError: ``jesse_failed`` when it says that it has finished and has no results.
    """
    if session.get("metrics") is None and (session.get("trades") or session["execution_duration"] is None):
        raise ResearchError(
            ErrorCode.JESSE_FAILED,
            "Jesse says that the backtest has finished, but has stored no results of it",
            hint="Jesse's own terminal may show why; run it again",
        )
    metrics = session["metrics"] if session.get("metrics") else dict(_WITHOUT_TRADES)
    called = {used: name for name, used in names.items()}
    trades = tuple(_trade(trade, called) for trade in session["trades"])
    hyperparameters, known_of = _hyperparameters(run, session)
    return EngineOutcome(
        metrics=metrics,
        undefined={
            name: "Jesse computed no finite number" for name, value in metrics.items() if value is None
        },
        trades=trades,
        equity=curve.points,
        equity_missing_reason=curve.missing,
        hyperparameters=hyperparameters,
        engine={
            **engine,
            **({"equity": curve.how} if curve.how else {}),
            **({"hyperparameters": known_of} if known_of else {}),
        },
        log_tail=_log_tail(log),
        timings=timings,
    )


def failed(
    session: dict[str, Any], heard: dict[str, Any] | None, names: dict[str, str], log: str | None
) -> ResearchError:
    """The error for a session that has ended without finishing.

    Args:
        session: as Jesse's API gives it.
        heard: the ``exception`` event, which tells more when the worker could not store it.
        names: strategy of the run to its name in Jesse.
        log: the session's log.
    """
    exception, traceback = session.get("exception") or "", session.get("traceback") or ""
    gone = _WORKER_GONE.search(exception)
    if heard is not None and (gone or not exception):
        exception, traceback, gone = str(heard.get("error", "")), str(heard.get("traceback", "")), None
    if gone:
        return _crashed(exception, gone["code"], log)
    if not exception and session["status"] in ("cancelled", "terminated"):
        return ResearchError(
            ErrorCode.JOB_CANCELLED,
            f"the backtest was {session['status']} in Jesse's dashboard",
            hint="somebody else did that; run it again if it is still wanted",
        )
    if exception.startswith("Missing candles"):
        return _missing_candles(exception)
    raised = parse(exception, traceback, {used: name for name, used in names.items()})
    return _of_exception(raised, log)


def _of_exception(raised: Raised, log: str | None) -> ResearchError:
    if raised.type in _NO_CANDLES:
        return _missing_candles(raised.message)
    if raised.type == "RunRejectedError":
        message, hint = _unpacked(raised.message)
        return ResearchError(ErrorCode.RUN_REJECTED, message, hint=hint)
    if raised.type in _REJECTED and not raised.in_user_code:
        hint = "Jesse itself refused the run: change the routes, symbols or dates that it names"
        return ResearchError(ErrorCode.RUN_REJECTED, raised.message, hint=hint)
    details: dict[str, object] = {"exception": raised.type, "traceback": raised.traceback}
    if raised.type in _DATABASE and not raised.in_user_code:
        return ResearchError(
            ErrorCode.JESSE_DATABASE,
            f"Jesse lost its database during the backtest: {raised.message}",
            hint="start its PostgreSQL again, then run this again",
            details=details,
        )
    if raised.type == "MemoryError":
        return ResearchError(
            ErrorCode.MEMORY_LIMIT,
            "Jesse's machine had not enough memory for the backtest",
            hint="shorten the range or keep less in the strategy",
            details=details,
        )
    told = {
        "kind": "raised",
        "type": raised.type,
        "message": raised.message,
        "traceback": raised.traceback,
        "line": raised.line,
        "log": _log_tail(log),
    }
    return failure(told, "", 0)


def _missing_candles(message: str) -> ResearchError:
    return ResearchError(
        ErrorCode.CANDLES_MISSING,
        f"Jesse does not have the candles of the run: {message}",
        hint="import them with candles_import, or choose a range that candles_available shows",
    )


def _crashed(message: str, code: str | None, log: str | None) -> ResearchError:
    details: dict[str, object] = {"jesse": message, "log_tail": _log_tail(log)[-4000:]}
    how = "" if code is None else f": it left with exit status {code}"
    if code is not None and code.lstrip("-").isdigit():
        details["exit_status"] = int(code)
        if int(code) < 0:
            how = f": it was ended by {_signal_name(-int(code))}"
            details["signal"] = -int(code)
    return ResearchError(
        ErrorCode.WORKER_CRASHED,
        f"Jesse's worker ended without an answer{how}",
        hint="look for sys.exit, os._exit or native code in the strategy, and at Jesse's own terminal; "
        "Jesse may also have been restarted, or short of memory",
        details=details,
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _unpacked(message: str) -> tuple[str, str | None]:
    try:
        text, hint = json.loads(message)
    except ValueError:
        return message, None
    return str(text), None if hint is None else str(hint)


def _trade(trade: dict[str, Any], called: dict[str, str]) -> Trade:
    fields: dict[str, Any] = {ours: trade[theirs] for ours, theirs in _TRADE_FIELDS.items()}
    fields["strategy"] = called.get(trade["strategy_name"], trade["strategy_name"])
    fields["opened_at"], fields["closed_at"] = int(fields["opened_at"]), int(fields["closed_at"])
    fields["orders"] = tuple({name: order[name] for name in _ORDER_FIELDS} for order in trade["orders"])
    return Trade.model_validate(fields)


def _hyperparameters(
    run: EngineRun, session: dict[str, Any]
) -> tuple[dict[str, HyperparameterValue], str | None]:
    """Those of the first route, which is all that Jesse stores, and a remark when there are others."""
    pairs = [pair for pair in session.get("hyperparameters") or [] if pair[0] != "DNA"]
    values = {str(name): value if _plain(value) else repr(value) for name, value in pairs}
    strategies = dict.fromkeys(route.strategy for route in run.request.routes)
    if len(strategies) == 1:
        return values, None
    return values, f"of {run.request.routes[0].strategy} only: Jesse stores those of the first route"


def _plain(value: Any) -> bool:
    return isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))


def _log_tail(log: str | None) -> str:
    """The last entries as the embedded engine has them."""
    entries: list[str] = []
    for line in (log or "").splitlines():
        match = _LOG_ENTRY.match(line)
        if match:
            entries.append(f"{match['time']} {line[match.end() :]}")
        elif entries:
            entries[-1] += f"\n{line}"
    cut = [f"[cut: only the last {_LOG_LINES} entries were kept]"] if len(entries) > _LOG_LINES else []
    return "\n".join([*cut, *entries[-_LOG_LINES:]])
