"""What keeps a run inside its process: session, limits, descriptors, and death with its parent."""

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_MIB = 1024 * 1024
_RESERVED_MB = 2048
_REPORT_MB = 64


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
    """Let this process add ``extra_mb`` MiB of memory to what it has; no core dumps.

    ``RLIMIT_DATA`` counts private writable memory only, so that shared candle files are free. ``RLIMIT_AS``
    is there for shared memory without a file; it counts address space, of which threads reserve more than
    they use. Both are notions of Linux; elsewhere the kernel enforces no limit.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return
    status = Path("/proc/self/status").read_text()
    data, space = (1024 * int(status.split(name)[1].split()[0]) for name in ("VmData:", "VmSize:"))
    _lower(resource.RLIMIT_DATA, data + extra_mb * _MIB)
    _lower(resource.RLIMIT_AS, space + (extra_mb + _RESERVED_MB) * _MIB)


def _lower(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    top = limit + _REPORT_MB * _MIB
    if hard != resource.RLIM_INFINITY:
        top = min(top, hard)
    resource.setrlimit(kind, (min(limit, top), top))


def allow_report() -> None:
    """A little more memory, to say that the limit was reached."""
    if sys.platform != "linux":
        return
    for limit in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (hard, hard))


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
    if sys.platform != "linux":
        return []
    lists = list(Path(f"/proc/{parent}/task").glob("*/children"))
    if not lists:
        return _children_by_search(parent)
    return [int(pid) for path in lists for pid in path.read_text().split()]


def _children_by_search(parent: int) -> list[int]:
    """For kernels that do not list children: ask every process for its parent."""
    found: list[int] = []
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
    """SIGKILL a child that nobody has waited for yet, and its group; gone already is fine."""
    kill_members(leader)
    try:
        os.kill(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def kill_members(group: int) -> None:
    """SIGKILL what is left of a group, whose leader may be gone: a group in use keeps its number."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
