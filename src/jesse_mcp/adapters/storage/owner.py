"""Which process owns a job, told apart from a later process that got the same number."""

import platform
import sys
from pathlib import Path

import psutil

#: Seconds by which the start of one process may seem to differ between two looks. A number is not handed
#: out again that soon.
_TOLERANCE = 1.0


def owner_id() -> str:
    """``host:pid:start`` of this process; ``start`` is seconds after the boot of the machine.

    Counted from the boot because the wall-clock start of a process moves when the clock is set, and a
    live server would then be taken for a dead one.
    """
    process = psutil.Process()
    return f"{_host()}:{process.pid}:{_start(process):.2f}"


def owner_is_dead(owner: str) -> bool:
    """Whether the process that made ``owner`` with :func:`owner_id` surely is gone.

    False where it cannot be known: on another host, in another container, or for a foreign format.
    A zombie is dead.
    """
    host, _, rest = owner.rpartition(":")
    host, _, pid = host.rpartition(":")
    if host != _host() or not pid.isdecimal():
        return False
    try:
        process = psutil.Process(int(pid))
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return abs(_start(process) - float(rest)) > _TOLERANCE
    except psutil.NoSuchProcess:
        return True
    except (psutil.AccessDenied, ValueError):
        return False


def _start(process: psutil.Process) -> float:
    return float(process.create_time()) - float(psutil.boot_time())


def _host() -> str:
    # Containers may share a host name and a database while each has its own process numbers.
    if not sys.platform.startswith("linux"):
        return platform.node()
    namespace = Path("/proc/self/ns/pid").readlink().name.removeprefix("pid:")
    return f"{platform.node()}{namespace}"
