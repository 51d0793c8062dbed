"""Turns what a worker said, or how it died, into an outcome or an error."""

import errno
import signal
from typing import Any

from jesse_mcp.adapters.embedded.worker_process import Exit
from jesse_mcp.domain.backtests import EngineOutcome, EquityPoint, Trade
from jesse_mcp.domain.errors import ErrorCode, ResearchError

_LOG_IN_ERROR = 4000
# The exit status of a worker whose answer did not go out.
_CANNOT_ANSWER = 70
# How an OSError for want of space begins.
_NO_SPACE = tuple(f"[Errno {number}]" for number in (errno.ENOSPC, errno.EDQUOT))
# Last words of Rust and of C++.
_OUT_OF_MEMORY = ("memory allocation of", "std::bad_alloc")


def to_trades(items: list[dict[str, Any]]) -> list[Trade]:
    return [Trade.model_validate(item) for item in items]


def to_outcome(message: dict[str, Any], trades: list[Trade], printed: str) -> EngineOutcome:
    """The engine's answer as values; strategy logs first, then what it printed."""
    outcome = message["outcome"]
    logs = _joined(outcome["log"], printed)
    return EngineOutcome(
        metrics=outcome["metrics"],
        undefined=outcome["undefined"],
        trades=tuple(trades),
        equity=tuple(EquityPoint(timestamp=int(t), balance=b) for t, b in outcome["equity"]),
        hyperparameters=outcome["hyperparameters"],
        engine=outcome["engine"],
        log_tail=logs,
        timings=outcome["timings"],
    )


def failure(message: dict[str, Any], log: str, memory_mb: int) -> ResearchError:
    """The error for an exception inside the run."""
    if message["kind"] == "rejected":
        return ResearchError(ErrorCode.RUN_REJECTED, message["message"], hint=message["hint"])
    details: dict[str, object] = {
        "exception": message["type"],
        "traceback": message["traceback"],
        "line": message["line"],
        "log_tail": _joined(message["log"], log)[-_LOG_IN_ERROR:],
    }
    if message["kind"] == "memory":
        return memory_limit(memory_mb, details)
    if message["type"] == "OSError" and message["message"].startswith(_NO_SPACE):
        return no_space("the run had no disk space left", details)
    text = f": {message['message']}" if message["message"] else ""
    hint = "the traceback in details names the line; correct it with strategy_write and run again"
    if message["type"] == "PermissionError":
        hint = (
            "strategies reach no network, no other process, and no file beyond their own folder; folders to "
            "read can be named in JESSE_MCP_STRATEGY_READS where the server is started"
        )
    return ResearchError(
        ErrorCode.STRATEGY_RAISED,
        f"the strategy raised {message['type']}{text}",
        hint=hint,
        details=details,
    )


def no_space(message: str, details: dict[str, object] | None = None) -> ResearchError:
    """The error for whatever the engine could not write."""
    return ResearchError(
        ErrorCode.STORAGE_FAILED,
        message,
        hint="free disk space where JESSE_MCP_CACHE is, then repeat the call",
        details=details,
    )


def memory_limit(memory_mb: int, details: dict[str, object]) -> ResearchError:
    return ResearchError(
        ErrorCode.MEMORY_LIMIT,
        f"the run needed more than the {memory_mb} MiB it may add",
        hint="shorten the range or keep less in the strategy; the limit is JESSE_MCP_RUN_MEMORY_MB",
        details=details,
    )


def timeout(seconds: float, fraction: float, still: float, log: str) -> ResearchError:
    """The error for a run that took too long.

    Args:
        seconds: the limit.
        fraction: how far the simulated clock had come.
        still: seconds since it last moved.
    """
    looping = fraction == 0 or still > seconds / 2
    return ResearchError(
        ErrorCode.RUN_TIMEOUT,
        f"the run was stopped after {seconds:g} s, {fraction:.0%} of the candles done",
        hint=(
            f"the simulated clock stood still for {still:.0f} s: look for an endless loop in the strategy"
            if looping
            else "shorten the range, use fast_mode or a longer timeframe; the limit is JESSE_MCP_RUN_TIMEOUT"
        ),
        details={"log_tail": log[-_LOG_IN_ERROR:]},
    )


def crash(ended: Exit | None, log: str, memory_mb: int) -> ResearchError:
    """The error for a worker that went without an answer.

    Args:
        ended: ``None`` when the template went with it; one that had to be killed went on without its channel.
    """
    details: dict[str, object] = {"log_tail": log[-_LOG_IN_ERROR:]}
    if any(sign in log for sign in _OUT_OF_MEMORY):
        return memory_limit(memory_mb, details)
    hint = "look for os._exit, native code or a kill in the strategy; other runs are not affected"
    if ended is None:
        how = "its engine process was killed"
        hint = "a strategy of this or another run did it, or the system, short of memory; call again"
    elif ended.killed or ended.code == _CANNOT_ANSWER:
        how = "it could not hand over its answer"
        hint = "look for code that closes file descriptors it did not open; other runs are not affected"
    elif ended.signal:
        how = f"it was ended by {_signal_name(ended.signal)}"
        details["signal"] = ended.signal
        if ended.signal == signal.SIGKILL:
            hint = (
                "the strategy killed itself, or the system was short of memory; other runs are not affected"
            )
    else:
        how = f"it left with exit status {ended.code}"
        details["exit_status"] = ended.code
    return ResearchError(
        ErrorCode.WORKER_CRASHED, f"the run ended without an answer: {how}", hint=hint, details=details
    )


def _joined(logged: str, printed: str) -> str:
    return "\n".join(part for part in (logged, printed) if part)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
