"""What keeps a run inside its process: session, limits, descriptors, and death with its parent."""

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Kernel:
    """The two Linux process controls Python does not wrap; elsewhere they do nothing."""

    def __init__(self) -> None:
        # Loaded before any fork: loading a library in a forked child would cost every run.
        self._libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def die_with_parent(self, parent: int) -> None:
        """Ask for SIGKILL when the parent goes, and leave at once if it is gone already."""
        if self._libc is not None:
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    def adopt_orphans(self) -> None:
        """Descendants that lose their parent become ours, so that none can slip away."""
        if self._libc is not None:
            self._libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def limit_memory(extra_mb: int) -> None:
    """Let this process add ``extra_mb`` MiB of private memory to what it has.

    ``RLIMIT_DATA`` counts private writable memory only, so shared candle files are free. It is a Linux
    notion; elsewhere the limit is not enforced by the kernel.
    """
    if sys.platform != "linux":
        return
    status = Path("/proc/self/status").read_text()
    used_kb = int(status.split("VmData:")[1].split()[0])
    limit = (used_kb + extra_mb * 1024) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def private_streams(log_descriptor: int) -> None:
    """Standard input empty, output and errors to the log; nothing a strategy prints reaches a channel."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log_descriptor, 1)
    os.dup2(log_descriptor, 2)
    os.close(null)
    os.close(log_descriptor)


def children_of(parent: int) -> list[int]:
    """Live direct children of ``parent`` (Linux; elsewhere empty)."""
    found: list[int] = []
    if sys.platform != "linux":
        return found
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        # The command name may hold spaces and brackets; fields count from the last bracket.
        if int(stat.rpartition(")")[2].split()[1]) == parent:
            found.append(int(entry.name))
    return found


def kill_group(leader: int) -> None:
    """SIGKILL a process and its group; gone already is fine."""
    for kill in (os.killpg, os.kill):
        try:
            kill(leader, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
