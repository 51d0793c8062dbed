"""Which run is on which node of the cluster, and what becomes of the runs of a node that is lost."""

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ray_candles import CandleShelf

#: How often a run is begun: nodes get lost, but a run that takes its node along must not go round for ever.
ATTEMPTS = 3


class Place(Protocol):
    """A node that takes runs."""

    slots: int
    running: set[int]

    @property
    def label(self) -> str: ...

    def start(
        self, ticket: int, request: dict[str, Any], candles: dict[str, Any], seconds: float
    ) -> None: ...

    def kill(self, ticket: int) -> None: ...


@dataclass(eq=False)
class Run:
    """A run the server waits for. Its ticket is another one at each attempt."""

    number: int
    request: dict[str, Any]
    seconds: float
    attempts: int = 0
    ticket: int = 0
    place: Place | None = None
    cancelled_at: float | None = field(default=None)


class Schedule:
    """Every method may be called from any thread.

    Args:
        tell: sends a message about a run, by its number, to the server.
    """

    def __init__(self, tell: Callable[[int, bytes], None], shelf: CandleShelf) -> None:
        self._tell = tell
        self._shelf = shelf
        self._queue: deque[Run] = deque()
        self._runs: dict[int, Run] = {}
        self._tickets: dict[int, Run] = {}
        self._next_ticket = 1
        self._places: list[Place] = []
        self._changed = threading.Condition()

    @property
    def busy(self) -> int:
        return sum(len(place.running) for place in self._places)

    @property
    def waiting(self) -> bool:
        return bool(self._queue)

    def add(self, run: Run) -> None:
        with self._changed:
            self._runs[run.number] = run
            self._queue.append(run)
            self._changed.notify_all()

    def cancel(self, number: int) -> None:
        with self._changed:
            run = self._runs.get(number)
            if run is None:
                return
            run.cancelled_at = time.monotonic()
            if run.place is None:
                self._queue.remove(run)
                self._finish(run, {"event": "cancelled"})
            else:
                run.place.kill(run.ticket)

    def joined(self, place: Place) -> None:
        with self._changed:
            self._places.append(place)
            self._changed.notify_all()

    def left(self, place: Place, reason: str) -> None:
        """A node is gone: its runs begin again elsewhere, as often as that is allowed."""
        with self._changed:
            if place in self._places:
                self._places.remove(place)
            for ticket in sorted(place.running, reverse=True):
                self._shelf.release(ticket)
                run = self._tickets.pop(ticket, None)
                if run is not None:
                    self._again(run, reason)
            place.running.clear()

    def said(self, place: Place, ticket: int, kind: str, what: Any) -> None:
        """What the agent of a node has passed on; see ``node_runs``."""
        with self._changed:
            if kind == "free":
                place.running.discard(ticket)
                self._shelf.release(ticket)
                self._changed.notify_all()
                return
            run = self._tickets.get(ticket)
            if run is None:
                return
            if kind == "worker":
                self._tell(run.number, what)
                return
            del self._tickets[ticket]
            never_began = not (what["answered"] or what["started"] or what["timed_out"])
            if what["problem"] is not None or never_began:
                self._again(run, what["problem"] or f"its process did not begin it: {_last_words(what)}")
            else:
                self._finish(run, what)

    def refuse_waiting(self, reason: str) -> None:
        """There is no node for the runs that wait, and none is coming."""
        with self._changed:
            while self._queue:
                self._finish(self._queue.popleft(), {"event": "unplaceable", "reason": reason})

    def stubborn(self, seconds: float) -> list[Place]:
        """Nodes with a run that was cancelled so long ago and is not gone."""
        oldest = time.monotonic() - seconds
        with self._changed:
            runs = [run for run in self._tickets.values() if (run.cancelled_at or oldest + 1) < oldest]
            return [run.place for run in runs if run.place is not None]

    def dispatch_for_ever(self) -> None:
        """Bring waiting runs to free nodes."""
        while True:
            run, place = self._next()
            ticket = run.ticket
            request = {**run.request, "candles": [dict(part) for part in run.request["candles"]]}
            try:
                candles = self._shelf.references(ticket, request["candles"])
            except Exception as error:  # noqa: BLE001 - of the disk or of the object store
                self._take_back(place, run, f"{type(error).__name__}: {error}", final=True)
                continue
            try:
                place.start(ticket, request, candles, run.seconds)
            except Exception as error:  # noqa: BLE001 - of a node that has just left
                self._take_back(place, run, f"{type(error).__name__}: {error}", final=False)

    def _next(self) -> tuple[Run, Place]:
        with self._changed:
            self._changed.wait_for(lambda: self._queue and self._free() is not None)
            place, run = self._free(), self._queue.popleft()
            assert place is not None  # noqa: S101 - what was waited for
            run.attempts += 1
            run.ticket, self._next_ticket = self._next_ticket, self._next_ticket + 1
            run.place = place
            self._tickets[run.ticket] = run
            place.running.add(run.ticket)
            self._tell(run.number, json.dumps({"event": "placed", "node": place.label}).encode())
            return run, place

    def _take_back(self, place: Place, run: Run, reason: str, *, final: bool) -> None:
        """A run did not get as far as its node."""
        with self._changed:
            place.running.discard(run.ticket)
            self._shelf.release(run.ticket)
            # Gone already when the node was, at the same moment, found to be lost.
            if self._tickets.pop(run.ticket, None) is None:
                return
            if final:
                self._finish(run, {"event": "broken", "reason": reason})
            else:
                self._again(run, reason)

    def _free(self) -> Place | None:
        """The one with most room."""
        free = [place for place in self._places if len(place.running) < place.slots]
        return max(free, key=lambda place: place.slots - len(place.running), default=None)

    def _again(self, run: Run, reason: str) -> None:
        run.place = None
        if run.cancelled_at is not None:
            self._finish(run, {"event": "cancelled"})
        elif run.attempts >= ATTEMPTS:
            self._finish(run, {"event": "lost", "attempts": run.attempts, "reason": reason})
        else:
            self._queue.appendleft(run)
            self._changed.notify_all()

    def _finish(self, run: Run, message: dict[str, Any]) -> None:
        self._runs.pop(run.number, None)
        self._tell(run.number, json.dumps(message).encode())


def _last_words(ended: dict[str, Any]) -> str:
    words = ended["log"].strip().splitlines()
    return str(words[-1][:300]) if words else f"exit {ended['exit']}"
