"""The server's end of the driver process, which speaks with the Ray cluster."""

import asyncio
import json
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jesse_mcp.adapters.embedded.template_process import ENGINE_SIDE
from jesse_mcp.adapters.embedded.worker_process import LogTail
from jesse_mcp.domain.errors import ErrorCode, ResearchError

#: How the driver says that no node has brought a run to an end.
UNFINISHED = ("cancelled", "lost", "unplaceable", "broken")

_HEADER = struct.Struct(">IQ")
_CONNECT_SECONDS = 90.0
#: More than the driver gives itself, both.
_CANCEL_SECONDS = 12.0
_CLOSE_SECONDS = 14.0
_WATCH_SECONDS = 0.5
_LAST_WORDS = ("ended", *UNFINISHED)

#: A message about a run; ``None`` when the driver is gone.
Message = dict[str, Any] | None


@dataclass(frozen=True)
class ClusterSettings:
    """Args:
    address: ``host:port`` of the cluster's head, or ``auto``.
    max_runs: at the same time on the whole cluster.
    patience: seconds a node, or the whole cluster, may be silent before it is taken for lost.
    """

    address: str
    max_runs: int
    patience: float


class Conversation:
    """What is said about one run."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self.over = asyncio.Event()

    def hear(self, message: Message) -> None:
        self._messages.put_nowait(message)
        if message is None or message.get("event") in _LAST_WORDS:
            self.over.set()

    async def receive(self) -> Message:
        return await self._messages.get()


class DriverProcess:
    """A driver and the runs it was given. Use :meth:`start`; end with :meth:`close`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        cluster: ClusterSettings,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._cluster = cluster
        self._conversations: dict[int, Conversation] = {}
        self._next = 1
        self._heard_at = time.monotonic()
        self._news = asyncio.Condition()
        self._log = LogTail()
        self._tasks: list[asyncio.Task[None]] = []
        self.ray_version: str | None = None
        #: The last the driver said of the cluster: nodes, slots, problem, candles, busy.
        self.facts: dict[str, Any] = {}
        #: Why it is gone, once it is.
        self.failure: ResearchError | None = None

    @classmethod
    async def start(
        cls, python: Path, environment: Mapping[str, str], cluster: ClusterSettings
    ) -> "DriverProcess":
        """Start a driver and wait until it is connected.

        Raises:
            ResearchError: ``ray_unreachable``; ``engine_failed`` when the driver itself does not come up.
        """
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                str(python),
                "-s",
                "-B",
                str(ENGINE_SIDE / "ray_driver.py"),
                str(theirs.fileno()),
                str(os.getpid()),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                # Ray lets its workers import from the driver's working directory; nothing of ours is here.
                cwd="/",
                env=dict(environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        except BaseException as error:
            ours.close()
            if not isinstance(error, OSError):
                raise
            raise ResearchError(
                ErrorCode.ENGINE_FAILED,
                f"the driver of the Ray cluster could not be started: {error.strerror}",
                hint="run `jesse-mcp engine status`",
            ) from error
        finally:
            theirs.close()
        ours.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        driver = cls(process, reader, writer, cluster)
        listening = [driver._read_log(), driver._listen(), driver._watch()]
        driver._tasks = [asyncio.create_task(work) for work in listening]
        try:
            driver._send(
                {"address": cluster.address, "max_runs": cluster.max_runs, "patience": cluster.patience}
            )
            await driver._until(lambda: driver.ray_version is not None, _CONNECT_SECONDS)
        except BaseException:
            await driver.close()
            raise
        return driver

    @property
    def alive(self) -> bool:
        return self.failure is None

    @property
    def slots(self) -> int:
        return int(self.facts.get("slots", 0))

    async def usable(self) -> None:
        """Wait for a node that takes runs.

        Raises:
            ResearchError: ``ray_unusable`` when there is none and none is coming; ``ray_unreachable`` or
                ``engine_failed`` when the driver is gone.
        """
        await self._until(lambda: self.slots > 0 or self.facts.get("problem"), None)
        if self.slots == 0:
            raise unusable(str(self.facts["problem"]), self.facts)

    def begin(self, request: dict[str, Any], seconds: float) -> Conversation:
        """Hand over a run; it waits in the driver for a free node."""
        conversation = Conversation(self._next)
        self._next += 1
        self._conversations[conversation.number] = conversation
        if self.failure is not None:
            conversation.hear(None)
        else:
            self._send({"op": "run", "number": conversation.number, "request": request, "seconds": seconds})
        return conversation

    async def end(self, conversation: Conversation) -> None:
        """Cancel the run unless it is over, and wait until its processes are gone from the cluster."""
        if not conversation.over.is_set():
            self._send({"op": "cancel", "number": conversation.number})
            try:
                async with asyncio.timeout(_CANCEL_SECONDS):
                    await conversation.over.wait()
            except TimeoutError:
                self._fail(self._gone("does not answer"))
                self._kill()
        self._conversations.pop(conversation.number, None)

    async def close(self) -> None:
        """End the driver and with it everything on the cluster; idempotent."""
        self._writer.close()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._kill()
            await self._process.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fail(self._gone("was closed"))

    def _send(self, message: dict[str, Any]) -> None:
        payload = json.dumps(message).encode()
        self._writer.write(_HEADER.pack(len(payload), 0) + payload)

    async def _until(self, condition: Callable[[], object], seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(lambda: self.failure is not None or condition())
        except TimeoutError:
            raise unreachable(self._cluster.address, f"no answer within {seconds:g} s") from None
        if self.failure is not None:
            raise self.failure

    async def _listen(self) -> None:
        try:
            while True:
                header = await self._reader.readexactly(_HEADER.size)
                size, number = _HEADER.unpack(header)
                await self._hear(number, json.loads(await self._reader.readexactly(size)))
        except (asyncio.IncompleteReadError, ConnectionError):
            await self._process.wait()
            # Its last words say why it ended.
            await asyncio.wait([self._tasks[0]], timeout=1)
            words = self._log.text().strip().splitlines()
            self._fail(self._gone("ended unexpectedly" + (f": {words[-1][:300]}" if words else "")))
        finally:
            async with self._news:
                self._news.notify_all()

    async def _hear(self, number: int, message: dict[str, Any]) -> None:
        if number:
            conversation = self._conversations.get(number)
            if conversation is not None:
                conversation.hear(message)
            return
        self._heard_at = time.monotonic()
        match message["event"]:
            case "connected":
                self.ray_version = message["ray"]
            case "cluster":
                self.facts = message
            case "failed":
                self._fail(unreachable(self._cluster.address, message["reason"]))
        async with self._news:
            self._news.notify_all()

    async def _watch(self) -> None:
        """A driver that hangs on a cluster that is gone says nothing; its runs must not wait for ever."""
        while self.failure is None:
            await asyncio.sleep(_WATCH_SECONDS)
            silent = time.monotonic() - self._heard_at
            if self.ray_version is not None and silent > self._cluster.patience:
                self._fail(unreachable(self._cluster.address, f"it has not answered for {silent:.0f} s"))
                self._kill()

    async def _read_log(self) -> None:
        stream = self._process.stdout
        while stream is not None and (chunk := await stream.read(65536)):
            self._log.add(chunk)

    def _fail(self, error: ResearchError) -> None:
        if self.failure is None:
            self.failure = error
        for conversation in self._conversations.values():
            if not conversation.over.is_set():
                conversation.hear(None)

    def _kill(self) -> None:
        for kill in (os.killpg, os.kill):
            try:
                kill(self._process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue

    def _gone(self, what: str) -> ResearchError:
        return ResearchError(
            ErrorCode.ENGINE_FAILED,
            f"the driver of the Ray cluster {what}",
            hint="call again: it is started anew; if this repeats, look at the cluster with `ray status`",
            details={"log_tail": self._log.text()[-4000:]},
        )


def unreachable(address: str, reason: str) -> ResearchError:
    """The error for a cluster that is not there, or no longer."""
    return ResearchError(
        ErrorCode.RAY_UNREACHABLE,
        f"the Ray cluster at {address} cannot be used: {reason}",
        hint=(
            "check RAY_ADDRESS and `ray status`; this machine must be a node of the cluster "
            "(`ray start --address=... --num-cpus=0` is enough), with the Ray and Python of the engine, "
            "and know the cluster's token (RAY_AUTH_MODE, RAY_AUTH_TOKEN) if it has one"
        ),
    )


def unusable(problem: str, facts: dict[str, Any]) -> ResearchError:
    """The error for a cluster without a node that can take a run."""
    return ResearchError(
        ErrorCode.RAY_UNUSABLE,
        problem,
        hint="start nodes with free CPUs and with the engine's own versions of Python and Jesse; "
        "system_status lists every node and what is wrong with it",
        details={"nodes": facts.get("nodes", [])},
    )
