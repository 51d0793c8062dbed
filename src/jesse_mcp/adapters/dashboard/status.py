"""Is there a Jesse that can work, and if not, what is in the way."""

import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.versions import check_version
from jesse_mcp.domain.errors import ErrorCode, ResearchError

#: Seconds for all questions together.
PATIENCE = 5.0
_STATES = {
    ErrorCode.JESSE_UNREACHABLE: "unreachable",
    ErrorCode.JESSE_UNAUTHORIZED: "unauthorized",
    ErrorCode.JESSE_UNRECOGNISED: "not_jesse",
    ErrorCode.JESSE_UNSUPPORTED: "unsupported",
    ErrorCode.JESSE_DATABASE: "database",
}
_MACHINE = ("cpu_cores", "cpu_usage_percent", "ram_total_gb", "ram_usage_percent")


@dataclass
class DashboardStatus:
    """What was found; ``None`` where the search did not get that far.

    Attributes:
        state: ``ready``, or what is in the way: ``unreachable``, ``not_jesse``, ``unauthorized``,
            ``unsupported``, ``database`` (Jesse answers, its PostgreSQL does not), ``failed``.
        live_plugin: whether the plugin for live trading is installed; research does not need it.
        machine: cores, gigabytes and percentages of the machine Jesse runs on.
        workers: processes Jesse has at work now, whoever started them.
        error: what is in the way.
    """

    state: str = "ready"
    jesse_version: str | None = None
    python_version: str | None = None
    live_plugin: bool | None = None
    machine: dict[str, Any] = field(default_factory=dict)
    workers: int | None = None
    error: ResearchError | None = None

    def facts(self, url: str) -> dict[str, Any]:
        """As ``system_status`` shows it."""
        found = {
            "kind": "dashboard",
            "url": url,
            "state": self.state,
            "jesse_version": self.jesse_version,
            "python_version": self.python_version,
            "live_plugin": self.live_plugin,
            "machine": self.machine or None,
            "workers_at_jesse": self.workers,
        }
        if self.error is not None:
            found |= {"code": self.error.code.value, "problem": self.error.message, "hint": self.error.hint}
        return found


def look(client: DashboardClient, patience: float = PATIENCE) -> DashboardStatus:
    """Ask Jesse how it is doing. Blocking; changes nothing.

    Args:
        client: how to reach it.
        patience: seconds; a Jesse that hangs is ``unreachable`` after that.
    """
    status = DashboardStatus()
    end = time.monotonic() + patience
    try:
        _ask(client, status, end)
    except ResearchError as error:
        status.state = _STATES.get(error.code, "failed")
        status.error = error
    return status


def _ask(client: DashboardClient, status: DashboardStatus, end: float) -> None:
    try:
        info = client.get("/system/system-info", within=end - time.monotonic())
    except ResearchError as error:
        if error.code is ErrorCode.JESSE_UNSUPPORTED:  # every Jesse has this one
            error.code = ErrorCode.JESSE_UNRECOGNISED
        raise
    version = info.get("jesse_version")
    if not isinstance(version, str):
        raise ResearchError(
            ErrorCode.JESSE_UNRECOGNISED,
            f"the program at {client.url} does not say which version of Jesse it is",
            hint="JESSE_URL must point at Jesse's dashboard (port 9000 by default)",
        )
    status.jesse_version = version
    status.machine = {name: info[name] for name in _MACHINE if name in info}
    check_version(version)
    local = client.read("/system/general-info/local", within=end - time.monotonic())
    status.live_plugin = bool(local.get("has_live_plugin_installed"))
    status.python_version = local.get("system_info", {}).get("python_version")
    active = client.read("/system/active-workers", within=end - time.monotonic())
    status.workers = len(active.get("data", ()))
    _ask_database(client, end)


def _ask_database(client: DashboardClient, end: float) -> None:
    """The cheapest question that needs it: for a session that cannot exist."""
    try:
        client.read(f"/backtest/sessions/{uuid4()}", within=end - time.monotonic())
    except ResearchError as error:
        if error.details.get("status") != 404:
            raise
