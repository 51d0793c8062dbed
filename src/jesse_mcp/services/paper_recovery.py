"""Which paper sessions this server works on: its own, and those whose server is gone."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.leases import Leases
from jesse_mcp.domain.paper_records import PaperEvent
from jesse_mcp.ports.paper import PaperProcess
from jesse_mcp.ports.webhooks import WebhookSender
from jesse_mcp.services.lease_watch import LeaseWatch
from jesse_mcp.services.paper_delivery import deliver_due
from jesse_mcp.services.paper_parts import PaperParts
from jesse_mcp.services.paper_supervision import SessionRun

logger = logging.getLogger("jesse_mcp.paper")


class PaperKeeper:
    """Keeps the leases of this server's sessions, takes over those of dead or silent ones, passes on what is
    asked of them in other servers, and sends alerts.

    Args:
        parts: what sessions work with.
        webhooks: sends alerts.
        owner_is_dead: whether another owner is known to be gone; false when that cannot be known.
        lease_seconds: how long a silent owner is believed to be alive.
        beat_seconds: between renewals, and between looks for what others asked.
        now: the clock of leases, epoch seconds.
    """

    def __init__(
        self,
        parts: PaperParts,
        webhooks: WebhookSender,
        owner_is_dead: Callable[[str], bool],
        *,
        lease_seconds: float = 20.0,
        beat_seconds: float = 1.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.parts = parts
        self.webhooks = webhooks
        self._watch = LeaseWatch(parts.owner, owner_is_dead, lease_seconds)
        self._lease_seconds = lease_seconds
        self._beat_seconds = beat_seconds
        self._now = now
        self._runs: dict[str, SessionRun] = {}
        self._claims: set[str] = set()
        # Being recorded: they are this server's, and begun in a moment.
        self._creating: list[str] = []
        # Worked on here until nothing more could be done or noted.
        self._over: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending: asyncio.Task[None] | None = None
        self._heart: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    @property
    def started(self) -> bool:
        return self._heart is not None

    async def start(self) -> None:
        """Take up abandoned sessions, now and whenever there are some, until :meth:`close`."""
        if self._heart is None:
            self._heart = asyncio.create_task(self._heartbeat(), name="paper heartbeat")

    def lease(self) -> float:
        """Until when a session is this server's without being renewed, epoch seconds."""
        return self._now() + self._lease_seconds

    @contextmanager
    def creating(self, session_id: str) -> Iterator[None]:
        """While a session is recorded and begun, nobody else here begins it."""
        self._creating.append(session_id)
        try:
            yield
        finally:
            self._creating.remove(session_id)

    def begin(self, session_id: str, process: PaperProcess | None = None) -> SessionRun:
        """Work on a session this server owns.

        Args:
            process: one that is open already.

        Raises:
            ResearchError: ``engine_failed`` when the server is stopping.
        """
        if self._closing.is_set():
            raise ResearchError(
                ErrorCode.ENGINE_FAILED,
                f"the server is stopping and takes no session; {session_id!r} is left to the next one",
                hint="start the server again: it goes on with every running session by itself",
            )
        run = SessionRun(session_id, self.parts, process)
        self._runs[session_id] = run
        task = asyncio.create_task(self._see_through(run), name=f"paper session {session_id}")
        # The loop itself keeps no task alive.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return run

    def run_of(self, session_id: str) -> SessionRun | None:
        """The session at work in this process, if it is."""
        return self._runs.get(session_id)

    async def close(self) -> None:
        """Stop working and leave every session to the next server, running. Idempotent."""
        self._closing.set()
        heart, self._heart = self._heart, None
        if heart is not None:
            await asyncio.gather(heart, return_exceptions=True)
        for task in [*self._tasks, *([self._sending] if self._sending else [])]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if heart is not None:
            # On a disk that refuses it, the leases run out by themselves.
            with suppress(ResearchError):
                await asyncio.to_thread(self.parts.store.release, self.parts.owner)

    async def _see_through(self, run: SessionRun) -> None:
        try:
            await run.run()
        finally:
            if self._runs.get(run.session_id) is run:
                del self._runs[run.session_id]
                self._over.add(run.session_id)

    async def _heartbeat(self) -> None:
        while not self._closing.is_set():
            try:
                await self._beat()
            except Exception as error:
                # A full disk or a busy database may pass; without a heart every session would be lost.
                # No traceback at every beat of an outage: they would push all else out of the log.
                trace = None if isinstance(error, ResearchError) and error.away else error
                message = "a heartbeat of paper sessions failed; the next one tries again: %s"
                logger.error(message, error, exc_info=trace)  # noqa: TRY400
            with suppress(TimeoutError):
                async with asyncio.timeout(self._beat_seconds):
                    await self._closing.wait()

    async def _beat(self) -> None:
        for run in list(self._runs.values()):
            run.wake()
        leases = await asyncio.to_thread(self.parts.store.leases)
        if self._runs or self.parts.owner in leases:
            await self._renew()
        await self._take_over(leases)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    async def _renew(self) -> None:
        store, owner = self.parts.store, self.parts.owner
        mine, known = list(self._runs.values()), self._known()
        renewed = await asyncio.to_thread(store.renew, owner, self.lease())
        for run in mine:
            if run.session_id not in renewed:
                run.abandon()
        # Recorded while the record seemed to fail: the answer of a database was lost.
        self._claims.update(renewed - known - self._known())
        asked = await asyncio.to_thread(store.asked, owner)
        for session_id in asked.stops & self._runs.keys():
            self._runs[session_id].stop()
        for session_id in {session_id for session_id, _ in asked.changes} & self._runs.keys():
            self._runs[session_id].decide()

    def _known(self) -> set[str]:
        """Sessions that are worked on here, soon will be, or have been."""
        return {*self._runs, *self._creating, *self._claims, *self._over}

    async def _take_over(self, leases: Leases) -> None:
        # Kept until each is begun: nobody else looks after a session whose owner lives.
        self._claims.update(await asyncio.to_thread(self._claimed, leases))
        for session_id in sorted(self._claims - self._runs.keys()):
            if self._closing.is_set():
                return
            logger.info("paper session %s is taken up", session_id)
            self.begin(session_id)
            self._claims.discard(session_id)
            taken = PaperEvent(
                timestamp=self.parts.clock.now_ms(),
                kind="taken_up",
                message=f"by the server {self.parts.owner}",
            )
            await asyncio.to_thread(self.parts.store.add_events, session_id, [taken])

    def _claimed(self, leases: Leases) -> list[str]:
        """Sessions that are this server's from now on."""
        store, owner = self.parts.store, self.parts.owner
        gone = self._watch.gone(leases)
        return store.claim(owner, self.lease(), gone) if leases.keys() - {owner} else []

    async def _send(self) -> None:
        try:
            await deliver_due(self.parts.store, self.webhooks, self.parts.owner, self.parts.clock)
        except ResearchError as error:
            logger.warning("alerts wait: %s", error)
