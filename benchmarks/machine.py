"""On what the figures were measured."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

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


def cpu_model() -> str:
    """As the kernel names it; where it does not, the architecture."""
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
