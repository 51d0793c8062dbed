"""Follows one session to its end: events tell that something has happened, the API tells what."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from jesse_mcp.adapters.dashboard.events import Event, Subscription
from jesse_mcp.adapters.dashboard.sessions import ENDED, BacktestSessions, SessionState
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.ports.engine import ProgressCallback

#: Seconds between looks: with events as a safety net, without them, and when the end is near.
RARELY, OFTEN, CLOSELY = 5.0, 1.0, 0.3
#: Seconds for which Jesse or its database may be away before the run is given up.
AWAY = 20.0
#: Events after which the session has ended or is about to.
_LAST = frozenset({"exception", "termination", "unexpectedTermination", "missing_candles"})
_TRANSIENT = frozenset({ErrorCode.JESSE_UNREACHABLE, ErrorCode.JESSE_DATABASE, ErrorCode.JESSE_FAILED})


class StalledError(Exception):
    """The session has not moved for too long."""


@dataclass
class Following:
    """What is known of a running session.

    Args:
        sessions: the API.
        session_id: which session.
        progress: told what is heard.
        stall_seconds: how long it may stand still.
    """

    sessions: BacktestSessions
    session_id: str
    progress: ProgressCallback
    stall_seconds: float
    #: Whether Jesse has the session, or may have it.
    started: bool = False
    fraction: float = 0.0
    moved: float = field(default_factory=time.monotonic)
    #: The ``exception`` event, which a worker sends that cannot store its exception.
    exception: dict[str, Any] | None = None
    #: Data routes that Jesse added to the run by itself.
    added: list[str] = field(default_factory=list)
    _closing: bool = False
    _away_since: float | None = None

    @property
    def still(self) -> float:
        """Seconds since the simulation is known to have moved."""
        return time.monotonic() - self.moved

    async def to_end(self, events: Subscription) -> SessionState:
        """The state in which it ended.

        Raises:
            StalledError: it stood still for too long.
            ResearchError: Jesse went away for too long, or does not know the session any more.
        """
        while True:
            pause = CLOSELY if self._closing else RARELY if events.connected else OFTEN
            event = await events.next(pause)
            if event is not None:
                self._hear(event)
                if not self._closing and self.still < self.stall_seconds:
                    continue
            state = await self._look()
            if state is not None and state.status in ENDED:
                return state
            if state is not None and state.status == "not_found":
                raise ResearchError(
                    ErrorCode.JESSE_FAILED,
                    "Jesse does not know the session any more: somebody removed it",
                    hint="run it again, and leave the session until it has ended",
                )
            if self.still >= self.stall_seconds:
                raise StalledError

    def _hear(self, event: Event) -> None:
        data = event.data if isinstance(event.data, dict) else {}
        self._closing = self._closing or event.name in _LAST
        if event.name == "exception":
            self.exception = data
        elif event.name == "notification" and "Missing data route" in str(data.get("message")):
            self.added.append(str(data["message"]))
        elif event.name == "progressbar":
            self.moved = time.monotonic()
            self._closing = self._closing or data.get("message") == "Backtest complete"
            self._advance(data.get("current"))

    def _advance(self, percent: Any) -> None:
        if isinstance(percent, int | float):
            self.fraction = max(self.fraction, min(1.0, percent / 100))
            self.progress(self.fraction, "simulating")

    async def _look(self) -> SessionState | None:
        try:
            state = await asyncio.to_thread(self.sessions.look, self.session_id)
        except ResearchError as error:
            if error.code not in _TRANSIENT:
                raise
            now = time.monotonic()
            self._away_since = self._away_since or now
            if now - self._away_since >= AWAY:
                raise _lost(error, now - self._away_since) from error
            await asyncio.sleep(OFTEN)
            return None
        self._away_since = None
        if state.still_seconds is not None:
            # Jesse writes this down every 15 seconds at most, so it may lag behind the events.
            self.moved = max(self.moved, time.monotonic() - state.still_seconds)
        if state.status == "running":
            self._advance(state.percent)
        return state


def _lost(error: ResearchError, seconds: float) -> ResearchError:
    return ResearchError(
        error.code,
        f"Jesse was lost during the backtest and did not come back within {seconds:.0f} s: {error.message}",
        hint=f"whether the backtest goes on is not known; {error.hint}, then run it again",
        details=error.details,
    )
