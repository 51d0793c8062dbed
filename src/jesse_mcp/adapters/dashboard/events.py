"""What Jesse pushes: one websocket for every run, as Jesse sends all sessions' events to everybody."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.domain.errors import ResearchError

#: Seconds to wait for the socket before a run starts without it, and between attempts to connect.
CONNECT = 3.0
_PAUSE = 1.0
#: More than this a run does not fall behind: what counts is read from the API.
_QUEUED = 1_000
#: Bytes of one event.
_LARGEST_EVENT = 2**26


class _Straight(connect):
    """Does not follow redirects: they may lead anywhere."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


@dataclass(frozen=True)
class Event:
    """``name`` without the mode, such as ``progressbar``."""

    name: str
    data: Any


@dataclass(eq=False)
class Subscription:
    """The events of one session."""

    stream: "EventStream"
    queue: "asyncio.Queue[Event]" = field(default_factory=lambda: asyncio.Queue(_QUEUED))

    @property
    def connected(self) -> bool:
        """Whether events would arrive now."""
        return self.stream.connected.is_set()

    async def next(self, seconds: float) -> Event | None:
        """The next event; ``None`` when there is none for that long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self.queue.get()
        return None


class EventStream:
    """Connects while there are subscriptions, again and again. Never raises: without it runs are polled.

    Args:
        client: where Jesse is.
    """

    def __init__(self, client: DashboardClient) -> None:
        self._client = client
        self._subscriptions: dict[str, Subscription] = {}
        self._task: asyncio.Task[None] | None = None
        self.connected = asyncio.Event()
        #: How often a connection ended that we did not end.
        self.losses = 0

    @asynccontextmanager
    async def subscribed(self, session_id: str) -> AsyncIterator[Subscription]:
        """The events of a session from now on, if they can be had."""
        subscription = Subscription(self)
        self._subscriptions[session_id] = subscription
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen())
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(CONNECT):
                    await self.connected.wait()
            yield subscription
        finally:
            del self._subscriptions[session_id]
            if not self._subscriptions:
                await self.close()

    async def close(self) -> None:
        """Let go of the socket. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            with suppress(OSError, TimeoutError, WebSocketException, ResearchError):
                await self._heard()
            await asyncio.sleep(_PAUSE)

    async def _heard(self) -> None:
        # The address holds the token: whatever goes wrong, its text goes nowhere.
        url = await asyncio.to_thread(self._client.websocket_url)
        proxy: Literal[True] | None = None if self._client.is_local else True
        async with _Straight(
            url, open_timeout=CONNECT, close_timeout=1.0, max_size=_LARGEST_EVENT, proxy=proxy
        ) as socket:
            self.connected.set()
            try:
                async for message in socket:
                    self._passed_on(message)
                self.losses += 1
            except WebSocketException:
                self.losses += 1
                raise
            finally:
                self.connected.clear()

    def _passed_on(self, message: str | bytes) -> None:
        try:
            body = json.loads(message)
            subscription = self._subscriptions.get(body["id"])
            name = str(body["event"]).removeprefix("backtest.")
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        if subscription is not None:
            with suppress(asyncio.QueueFull):
                subscription.queue.put_nowait(Event(name, body.get("data")))
