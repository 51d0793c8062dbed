"""Jesse's backtest sessions over its REST API. Blocking."""

import base64
import gzip
import json
from dataclasses import dataclass
from typing import Any

import httpx2

from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.domain.errors import ErrorCode, ResearchError

#: What a session can end as. Jesse also has ``draft``, ``queued`` and ``running``.
ENDED = frozenset({"finished", "stopped", "cancelled", "terminated"})
#: Seconds for a look at a session, which is one small row.
_LOOK = 10.0


@dataclass(frozen=True)
class SessionState:
    """One look at a session.

    Args:
        status: Jesse's word for it, or ``not_found``.
        percent: how far the simulation had come at the worker's last heartbeat.
        still_seconds: since the worker last said anything.
        error: first line of the exception of a failed session.
    """

    status: str
    percent: float | None = None
    still_seconds: float | None = None
    error: str | None = None


class BacktestSessions:
    """Starts, watches and ends sessions. Every method raises what :meth:`DashboardClient.call` raises."""

    def __init__(self, client: DashboardClient) -> None:
        self._client = client

    def start(self, session_id: str, body: dict[str, Any]) -> None:
        """Ask for a backtest. That Jesse accepts says nothing about whether it will run."""
        self._client.post("/backtest", {"id": session_id, **body})

    def describe(self, session_id: str, title: str, description: str) -> None:
        """What people see of the session in their list."""
        notes = {"id": session_id, "title": title, "description": description, "strategy_codes": None}
        self._client.post(f"/backtest/sessions/{session_id}/notes", notes)

    def look(self, session_id: str) -> SessionState:
        """How the session is doing, without its results."""
        answer = self._client.read("/session-results/status", {"session_ids": [session_id]}, within=_LOOK)
        (found,) = answer["sessions"]
        return SessionState(
            status=found["status"],
            percent=found.get("progress", {}).get("percent"),
            still_seconds=found.get("progress_age_seconds"),
            error=found.get("error"),
        )

    def result(self, session_id: str) -> dict[str, Any]:
        """The whole session: status, metrics, trades, exception, traceback and more."""
        session: dict[str, Any] = self._client.read(f"/backtest/sessions/{session_id}")["session"]
        return session

    def log(self, session_id: str) -> str | None:
        """What the strategy logged; ``None`` when there is no log."""
        try:
            # Jesse wants the token of this one in the address.
            answer = self._client.get(f"/backtest/logs/{session_id}", {"token": self._client.token()})
        except ResearchError as error:
            if error.details.get("status") == httpx2.codes.NOT_FOUND:
                return None
            raise
        packed = answer["content"]
        try:
            return str(json.loads(gzip.decompress(base64.b64decode(packed["data"]))))
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise ResearchError(
                ErrorCode.JESSE_UNRECOGNISED, f"the log of session {session_id} cannot be unpacked: {error}"
            ) from error

    def cancel(self, session_id: str) -> None:
        """Ask the worker to stop; it looks for this twice a second, between two candles."""
        self._client.post("/backtest/cancel", {"id": session_id})

    def active(self) -> frozenset[str]:
        """Sessions with a worker that nobody has asked to stop."""
        return frozenset(self._client.read("/system/active-workers")["data"])

    def url(self, session_id: str) -> str:
        """The session's page of the dashboard."""
        return f"{self._client.url}/#/backtest/{session_id}"
