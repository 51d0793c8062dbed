"""Child processes of an installation: clean environment, own process group, nothing left behind."""

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from jesse_mcp.adapters.embedded.environment import python_environment

_GUARD = Path(__file__).with_name("uv_guard.py")
_HEARTBEAT_SECONDS = 0.5
_TAIL_LINES = 40
# uv settings that choose other packages or another target than the lock; all else (indexes, proxies,
# certificates, offline, cache) is the user's and stays.
_OTHER_TARGETS = frozenset(
    {
        "UV_PYTHON",
        "UV_SYSTEM_PYTHON",
        "UV_PROJECT",
        "UV_PROJECT_ENVIRONMENT",
        "UV_WORKING_DIR",
        "UV_WORKING_DIRECTORY",
        "UV_CONSTRAINT",
        "UV_BUILD_CONSTRAINT",
        "UV_OVERRIDE",
        "UV_EXCLUDE",
        "UV_EXCLUDE_NEWER",
        "UV_NO_VERIFY_HASHES",
    }
)
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")


class ChildFailedError(Exception):
    """A child process ended with another status than 0.

    Args:
        status: exit status; 128 + n for signal n.
        output: the end of what it printed.
    """

    def __init__(self, status: int, output: str) -> None:
        super().__init__(f"exit status {status}")
        self.status = status
        self.output = output


def run_child(command: Sequence[str], cwd: Path, progress: Callable[[str], None], doing: str) -> str:
    """Run a command to its end; return the end of its output.

    ``progress`` is called at least twice a second. An exception it raises, like any other (Ctrl-C too),
    kills the command with all its children before it is passed on.

    Args:
        command: program and arguments.
        cwd: working directory.
        progress: receives ``doing`` and the last line printed.
        doing: what this is, for people.

    Raises:
        ChildFailedError: the exit status is not 0.
    """
    guarded = [sys.executable, "-I", str(_GUARD), *command]
    child = subprocess.Popen(  # noqa: S603
        guarded,
        cwd=cwd,
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output = _follow(child, progress, doing)
        status = child.wait()
    except BaseException:
        _kill_group(child)
        raise
    finally:
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()
    if status != 0:
        raise ChildFailedError(status, output)
    return output


def _environment() -> dict[str, str]:
    kept = {k: v for k, v in python_environment().items() if k not in _OTHER_TARGETS}
    return kept | {"NO_COLOR": "1"}


def _follow(child: "subprocess.Popen[bytes]", progress: Callable[[str], None], doing: str) -> str:
    assert child.stdout is not None  # noqa: S101 - asked for above
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    pending = b""
    report = doing
    progress(report)
    next_report = time.monotonic() + _HEARTBEAT_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if selector.select(_HEARTBEAT_SECONDS):
                chunk = os.read(child.stdout.fileno(), 65536)
                if not chunk:
                    break
                *lines, pending = (pending + chunk).replace(b"\r", b"\n").split(b"\n")
                tail.extend(line for line in map(_text, lines) if line)
                report = f"{doing}: {tail[-1].strip()}" if tail else doing
            if time.monotonic() >= next_report:
                progress(report)
                next_report = time.monotonic() + _HEARTBEAT_SECONDS
    if pending:
        tail.append(_text(pending))
    return "\n".join(tail)


def _text(line: bytes) -> str:
    return _CREDENTIALS.sub("***@", line.decode(errors="replace").rstrip())


def _kill_group(child: "subprocess.Popen[bytes]") -> None:
    # The leader has not been waited for, so its id still names this group and no other.
    if child.returncode is None:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            child.kill()
        child.wait()
