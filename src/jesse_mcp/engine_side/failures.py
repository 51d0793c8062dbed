"""What a user gets to see of an exception: their own frames first, ours never."""

import errno
import traceback
from pathlib import Path
from typing import Any

_LIBRARY_FRAMES = 3


class RunRejectedError(Exception):
    """The request does not fit the strategy; ``hint`` says what would."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def describe(error: BaseException, project: Path) -> dict[str, Any]:
    """``kind`` (what to blame), ``type``, ``message`` and the trimmed ``traceback``."""
    if isinstance(error, RunRejectedError):
        return {"kind": "rejected", "message": str(error), "hint": error.hint}
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        kind = "memory"
    elif type(error).__name__ in {"InvalidRoutes", "InvalidConfig", "CandlesNotFound"}:
        hint = "Jesse itself refused the run: change the routes, symbols or dates that it names"
        return {"kind": "rejected", "message": str(error), "hint": hint}
    else:
        kind = "raised"
    return {
        "kind": kind,
        "type": type(error).__name__,
        "message": _message(error),
        "traceback": _trimmed(error, project),
        "line": _last_line(error, project),
    }


def _message(error: BaseException) -> str:
    try:
        return str(error)[:2000]
    except BaseException:  # noqa: BLE001 - a strategy's own exception may not even print
        return "(its message could not be rendered)"


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    ours = Path(__file__).parent
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if Path(frame.filename).parent != ours]


def _trimmed(error: BaseException, project: Path) -> str:
    """The user's frames, and of the libraries only those nearest to the error."""
    frames = _frames(error)
    users = [i for i, frame in enumerate(frames) if _is_users(frame, project)]
    tail = frames[users[-1] + 1 :] if users else frames
    kept = [frames[i] for i in users] + tail[-_LIBRARY_FRAMES:]
    lines = []
    for frame in kept:
        lines.append(f"{_short(frame.filename, project)}:{frame.lineno} in {frame.name}\n")
        if frame.line:
            lines.append(f"    {frame.line}\n")
    lines.append(f"{type(error).__name__}: {_message(error)}")
    return "".join(lines)[-8000:]


def _last_line(error: BaseException, project: Path) -> int | None:
    if isinstance(error, SyntaxError):
        return error.lineno
    lines = [frame.lineno for frame in _frames(error) if _is_users(frame, project)]
    return lines[-1] if lines else None


def _is_users(frame: traceback.FrameSummary, project: Path) -> bool:
    return Path(frame.filename).is_relative_to(project)


def _short(filename: str, project: Path) -> str:
    path = Path(filename)
    if path.is_relative_to(project):
        return str(path.relative_to(project))
    parts = path.parts
    return "/".join(parts[parts.index("site-packages") + 1 :]) if "site-packages" in parts else path.name
