"""What every paper session works with, and how one is doing now."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.domain.paper import FeedName
from jesse_mcp.domain.timeframes import MINUTE_MS
from jesse_mcp.ports.paper import FeedBatch, PaperEngine, PaperFeed
from jesse_mcp.ports.paper_store import PaperStore
from jesse_mcp.ports.records import RunStore
from jesse_mcp.services.clock import Clock

Phase = Literal["opening", "recovering", "following", "waiting", "ending", "ended"]
_LATENCIES = 120
#: What a leverage that is not in force waits for.
LEVERAGE_WAITS = "no position is open, and resting orders fit the balance with it"


@dataclass(frozen=True)
class PaperParts:
    """The same for all sessions of a server.

    Attributes:
        store: where sessions are kept; it blocks, and is called in threads only.
        owner: identity of this process.
        pause: waits so many seconds before something is tried again.
        stop_patience: seconds a session that is to stop may take for one answer.
    """

    store: PaperStore
    runs: RunStore
    engine: PaperEngine
    feeds: Mapping[FeedName, PaperFeed]
    owner: str
    clock: Clock = field(default_factory=Clock)
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    stop_patience: float = 20.0


@dataclass
class PaperHealth:
    """How a session of this process is doing, beyond what is stored.

    Attributes:
        problem: what is in the way now, as a ``ResearchError``: the disk, the engine, a crash.
        outage_since: since when the exchange does not answer, epoch ms.
        latencies: of the latest minutes of an exchange, from their close to their outcome being stored, ms.
    """

    phase: Phase = "opening"
    problem: dict[str, Any] | None = None
    outage_since: int | None = None
    restarts: int = 0
    feed_through: int | None = None
    latencies: deque[int] = field(default_factory=lambda: deque(maxlen=_LATENCIES))

    def trouble(self, error: ResearchError) -> None:
        shown = error.to_dict()
        shown["details"] = {}
        self.problem = shown

    def heard(self, batch: FeedBatch) -> None:
        """Note what a feed says of itself."""
        self.feed_through = batch.through or self.feed_through
        for note in batch.notes:
            if note.kind == "outage":
                self.outage_since = note.timestamp
            elif note.kind == "recovered":
                self.outage_since = None

    def facts(self, now: int) -> dict[str, Any]:
        """As ``paper_status`` shows it."""
        behind = None if self.feed_through is None else max(0, now - self.feed_through) // MINUTE_MS
        return {
            "phase": self.phase,
            "problem": self.problem,
            "restarts": self.restarts,
            "outage_since": self.outage_since,
            "minutes_behind": behind,
            "latency_ms": _latency(list(self.latencies)),
        }


def _latency(latencies: list[int]) -> dict[str, float] | None:
    if not latencies:
        return None
    return {"last": latencies[-1], "median": median(latencies), "worst": max(latencies)}
