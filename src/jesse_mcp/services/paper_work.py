"""The steps of one paper session: stored, worked through, recorded, watched; and all of it once more."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper import STEP_MINUTES, Minute, PaperStep
from jesse_mcp.domain.paper_records import (
    PaperAlert,
    PaperChange,
    PaperEvent,
    PaperPlace,
    PaperSession,
    PaperState,
)
from jesse_mcp.domain.paper_watch import Threshold, Watcher
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_minute
from jesse_mcp.ports.paper import FeedBatch, PaperProcess
from jesse_mcp.ports.paper_store import PaperProgress
from jesse_mcp.services.paper_parts import PaperParts

#: Calls the store in a thread, again and again while the disk refuses.
Stored = Callable[..., Awaitable[Any]]


class PaperWork:
    """One process of a session, from its first minute on.

    Attributes:
        place: how far the process is, and the record with it.
        next_ms: the first minute it has not been given.
        error: of the strategy, which ends the session.
        stop_wanted: a threshold was crossed that is to stop the session.
    """

    def __init__(
        self,
        session: PaperSession,
        process: PaperProcess,
        watcher: Watcher,
        parts: PaperParts,
        stored: Stored,
    ) -> None:
        self.session = session
        self.process = process
        self.place = PaperPlace()
        self.next_ms = session.request.start_ms
        self.error: ResearchError | None = None
        self.stop_wanted = False
        self._watcher = watcher
        self._parts = parts
        self.stored = stored
        self._seconds = 0.0
        self._asked_at: float | None = None
        self._told: set[str] = set()
        self._listening_since = 0
        # What stops a session does so in the very minute, whatever came with it.
        stops = any(Threshold.model_validate(entry).stop for entry in session.watch)
        self._portion = 1 if stops else STEP_MINUTES

    async def catch_up(self) -> None:
        """Work through what is logged, with the changes at their places.

        What is recorded must come out again; what is not yet is recorded.

        Raises:
            ResearchError: ``run_rejected`` when something else comes out.
        """
        store, name = self._parts.store, self.session.session_id
        recorded = self.session.place
        made = [one for one in await asyncio.to_thread(store.changes, name) if one.before_ms is not None]
        while not self.over:
            minutes = await asyncio.to_thread(store.logged, name, self.next_ms, STEP_MINUTES)
            if not minutes:
                break
            # The same change before the same minute, and what is recorded apart from what is not.
            marks = [recorded.through, *(change.before_ms for change in made)]
            minutes = _until_first(minutes, [mark for mark in marks if mark and mark > minutes[0].timestamp])
            made = await self._changed(made, minutes[0].timestamp)
            known = recorded.through is not None and minutes[-1].closes_at <= recorded.through
            await self._advance(minutes, received_at=None, known=known)
            if self.place.through == recorded.through and self.place != recorded:
                raise self._diverged()
        await self._changed(made, None)
        self._listening_since = self._parts.clock.now_ms()

    async def take(self, batch: FeedBatch) -> None:
        """Log what came, work through it, record what came of it."""
        events = [PaperEvent(timestamp=n.timestamp, kind=n.kind, message=n.message) for n in batch.notes]
        minutes = [minute for minute in batch.minutes if minute.timestamp >= self.next_ms]
        if minutes or events:
            store, name = self._parts.store, self.session.session_id
            await self.stored(store.log_candles, name, self._parts.owner, minutes, events)
        for first in range(0, len(minutes), STEP_MINUTES):
            if not self.over:
                part = minutes[first : first + STEP_MINUTES]
                await self._advance(part, received_at=batch.received_at, known=False)

    async def look_for_silence(self) -> None:
        """Tell when the exchange has sent nothing for too long."""
        if self.session.request.feed == "exchange":
            # While no server listened, nothing could come.
            last = max(self.place.through or self.session.request.start_ms, self._listening_since)
            await self._alert(self._watcher.silence(last, self._parts.clock.now_ms()))

    @property
    def over(self) -> bool:
        """Whether no further minute is to be worked through."""
        return self.stop_wanted or self.error is not None

    def busy_seconds(self) -> float:
        """How long the process has not answered what it was asked; zero when it was asked nothing."""
        return 0.0 if self._asked_at is None else asyncio.get_running_loop().time() - self._asked_at

    async def _changed(self, made: list[PaperChange], before: int | None) -> list[PaperChange]:
        """Repeat the changes made before a minute, or all; those that are left."""
        due = [one for one in made if before is None or (one.before_ms or 0) <= before]
        for change in due:
            await self.process.set_leverage(change.leverage)
        return made[len(due) :]

    async def _advance(self, minutes: Sequence[Minute], received_at: int | None, *, known: bool) -> None:
        step, alerts = await self._worked(minutes)
        self._seconds += step.seconds
        if step.error is not None:
            self.error = ResearchError.from_dict(step.error)
        # What happened in the minute in which a strategy raised belongs to the step.
        reached = min(step.minutes, len(minutes) - 1) if step.error is not None else step.minutes - 1
        progress = PaperProgress(
            self.place,
            minutes[reached].closes_at,
            step,
            self._state(step, received_at),
            tuple(_in_force(moment, leverage) for moment, leverage in step.leverage_changes),
        )
        store, name = self._parts.store, self.session.session_id
        if known:
            if not await asyncio.to_thread(store.holds, name, progress):
                raise self._diverged()
            self.place = _after(progress)
        else:
            self.place = await self.stored(store.record, name, self._parts.owner, progress)
        self.next_ms = minutes[reached].timestamp + MINUTE_MS
        await self._alert(alerts)

    async def _worked(self, minutes: Sequence[Minute]) -> tuple[PaperStep, list[PaperAlert]]:
        """Every minute, or as many as there are until something stops the session."""
        steps: list[PaperStep] = []
        alerts: list[PaperAlert] = []
        for first in range(0, len(minutes), self._portion):
            self._asked_at = asyncio.get_running_loop().time()
            step = await self.process.step(minutes[first : first + self._portion])
            self._asked_at = None
            steps.append(step)
            balances = [(point.timestamp, point.equity) for point in step.equity]
            alerts += self._watcher.observe(balances, step.trades, step.daily)
            self.stop_wanted = any(alert.stop for alert in alerts)
            if self.stop_wanted or step.error is not None:
                break
        return _joined(steps), alerts

    def _state(self, step: PaperStep, received_at: int | None) -> PaperState:
        last = step.equity[-1].timestamp if step.equity else None
        live = self.session.request.feed == "exchange" and received_at is not None and last is not None
        return PaperState(
            positions=step.positions,
            open_orders=step.open_orders,
            received_at=received_at,
            latency_ms=self._parts.clock.now_ms() - last if live and last is not None else None,
            seconds=self._seconds,
            leverage=step.leverage,
        )

    async def _alert(self, alerts: Sequence[PaperAlert]) -> None:
        alerts = [alert for alert in alerts if alert.key not in self._told]
        if not alerts:
            return
        self._told.update(alert.key for alert in alerts)
        store, name = self._parts.store, self.session.session_id
        await self.stored(store.add_alerts, name, alerts, self._parts.clock.now_ms())
        for alert in alerts:
            if alert.stop:
                self.stop_wanted = True
                event = PaperEvent(timestamp=alert.timestamp, kind="stop", message=alert.message)
                await self.stored(store.add_events, name, [event])

    def _diverged(self) -> ResearchError:
        where = "" if self.place.through is None else f" after {iso_minute(self.place.through)}"
        return ResearchError(
            ErrorCode.RUN_REJECTED,
            f"worked through once more{where}, the session did something else than before",
            hint="a strategy must depend on candles alone: look for the clock, the network or files in it, "
            "or an engine that was exchanged meanwhile. What was recorded is kept",
            details={"recorded_with": self.session.engine},
        )


def _in_force(moment: int, leverage: int) -> PaperEvent:
    message = f"{leverage} is in force from {iso_minute(moment)}"
    return PaperEvent(timestamp=moment, kind="leverage", message=message)


def _until_first(minutes: tuple[Minute, ...], marks: list[int]) -> tuple[Minute, ...]:
    """Those that begin before every mark."""
    if not marks:
        return minutes
    return tuple(minute for minute in minutes if minute.timestamp < min(marks))


def _after(progress: PaperProgress) -> PaperPlace:
    place, step = progress.place, progress.step
    return PaperPlace(
        through=progress.through,
        trades=place.trades + len(step.trades),
        orders=place.orders + len(step.orders),
        daily=place.daily + len(step.daily),
    )


def _joined(steps: list[PaperStep]) -> PaperStep:
    """Several steps as one."""
    if len(steps) == 1:
        return steps[0]
    last = steps[-1]
    return PaperStep(
        minutes=sum(step.minutes for step in steps),
        trades=tuple(trade for step in steps for trade in step.trades),
        orders=tuple(order for step in steps for order in step.orders),
        equity=tuple(point for step in steps for point in step.equity),
        daily=tuple(balance for step in steps for balance in step.daily),
        positions=last.positions,
        open_orders=last.open_orders,
        leverage=last.leverage,
        leverage_changes=tuple(change for step in steps for change in step.leverage_changes),
        log="\n".join(step.log.rstrip("\n") for step in steps if step.log),
        error=last.error,
        seconds=sum(step.seconds for step in steps),
    )
