"""The server's end of one worker: its messages, what it prints, how it ended."""

import asyncio
import json
import os
import struct
from dataclasses import dataclass
from typing import Any

_HEADER = struct.Struct(">I")
_MAX_MESSAGE = 256 * 1024 * 1024
_LOG_TAIL = 16 * 1024


@dataclass(frozen=True)
class Exit:
    """How a worker ended; ``code`` is -1 when a signal ended it."""

    code: int
    signal: int
    max_rss_kb: int


class LogTail:
    """The last bytes of a stream that may be endless."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, chunk: bytes) -> None:
        self._data += chunk
        if len(self._data) > 2 * _LOG_TAIL:
            del self._data[:-_LOG_TAIL]

    def text(self) -> str:
        return bytes(self._data[-_LOG_TAIL:]).decode(errors="replace")


@dataclass
class Worker:
    """A forked process waiting for, or executing, its one run."""

    number: int
    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    exited: "asyncio.Future[Exit]"
    log: LogTail
    log_task: "asyncio.Task[None]"
    #: It has read its run; nothing of the run's code was executed before.
    started: bool = False
    #: We had to end it; it did not leave by itself.
    killed: bool = False

    def orphaned(self, exited: "asyncio.Future[Exit]") -> None:
        """Called at its end. Without a template nobody would tell us of it, so nothing more is awaited."""
        if not exited.cancelled() and exited.exception() is not None:
            self.writer.close()

    def release(self) -> None:
        """Let go of it without waiting for its end; a worker without a run leaves when its channel closes."""
        self.writer.close()
        self.log_task.cancel()

    async def send(self, message: dict[str, Any]) -> None:
        payload = await asyncio.to_thread(lambda: json.dumps(message).encode())
        self.writer.write(_HEADER.pack(len(payload)) + payload)
        await self.writer.drain()

    async def receive(self) -> dict[str, Any] | None:
        """The next message, or ``None`` when the worker has closed its end or broken the framing."""
        try:
            (size,) = _HEADER.unpack(await self.reader.readexactly(_HEADER.size))
            if size > _MAX_MESSAGE:
                return None
            message = json.loads(await self.reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            return None
        return message if isinstance(message, dict) else None


async def drain(descriptor: int, log: LogTail) -> None:
    """Keep the tail of what comes out of a pipe, until its last writer is gone."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        while chunk := await reader.read(65536):
            log.add(chunk)
    finally:
        transport.close()
