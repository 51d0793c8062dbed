"""On what the figures were measured."""

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import psutil

_CPU_INFO = Path("/proc/cpuinfo")


def facts(jesse: str) -> dict[str, str]:
    """Machine and versions, for the head of a table."""
    return {
        "machine": f"{cpu_model()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": ", ".join(
            [f"jesse-mcp {version('jesse-mcp')}", f"Jesse {jesse}", f"FastMCP {version('fastmcp')}"]
        ),
        "measured": time.strftime("%Y-%m-%d", time.gmtime()),
        "load average before": f"{os.getloadavg()[0]:.2f}",
    }


def disturbance() -> Callable[[], float]:
    """Begin to watch the machine.

    Returns:
        What says, when called, how much of its CPU time since then other processes had, in percent: those
        that neither this process is nor started and saw end.
    """
    started, busy, own = time.perf_counter(), _busy_seconds(), _own_seconds()

    def share() -> float:
        others = _busy_seconds() - busy - (_own_seconds() - own)
        return max(0.0, 100 * others / (time.perf_counter() - started) / (os.cpu_count() or 1))

    return share


def _busy_seconds() -> float:
    times = psutil.cpu_times()._asdict()
    return float(sum(times.get(kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq", "steal")))


def _own_seconds() -> float:
    times = psutil.Process().cpu_times()
    children = times.children_user + times.children_system
    return float(times.user + times.system + children)


def cpu_model() -> str:
    """As the kernel names it; where it does not, the architecture."""
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
