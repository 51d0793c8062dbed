"""The server's end of one worker: its messages, what it prints, how it ended."""

import asyncio
import json
import os
import struct
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

_HEADER = struct.Struct(">I")
_MAX_MESSAGE = 256 * 1024 * 1024
_LOG_TAIL = 16 * 1024
# What Linux lets anyone make a pipe hold.
_PIPE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Exit:
    """How a worker ended; ``code`` is -1 when a signal ended it.

    Attributes:
        killed: we had to end it; it did not leave by itself.
    """

    code: int
    signal: int
    max_rss_kb: int
    killed: bool = False


class LogTail:
    """The last bytes of a stream that may be endless."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, chunk: bytes) -> None:
        self._data += chunk
        if len(self._data) > 2 * _LOG_TAIL:
            # One byte more than is shown, so that what was cut stays known.
            del self._data[: -_LOG_TAIL - 1]

    def text(self) -> str:
        """What was kept, with a first line that says so when it is not everything."""
        cut = f"[cut: only the last {_LOG_TAIL} bytes were kept]\n" if len(self._data) > _LOG_TAIL else ""
        return cut + bytes(self._data[-_LOG_TAIL:]).decode(errors="replace")


class LogPipe(asyncio.Protocol):
    """Keeps the tail of what comes out of a pipe, until its last writer is gone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._tail = LogTail()
        self._transport: asyncio.BaseTransport | None = None
        self._ended = asyncio.get_running_loop().create_future()

    @classmethod
    async def attach(cls, descriptor: int) -> "LogPipe":
        """Begin to read ``descriptor``, which is closed in the end."""
        pipe = os.fdopen(descriptor, "rb", buffering=0)
        _, log = await asyncio.get_running_loop().connect_read_pipe(lambda: cls(descriptor), pipe)
        return log

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._tail.add(data)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        if not self._ended.done():
            self._ended.set_result(None)

    def text(self) -> str:
        return self._tail.text()

    def text_so_far(self) -> str:
        """As :meth:`text`, with what has been written but not arrived here."""
        unread = _PIPE_BYTES
        while self._transport is not None and unread > 0:
            try:
                chunk = os.read(self._descriptor, 65536)
            except BlockingIOError:
                break
            if not chunk:
                break
            self._tail.add(chunk)
            unread -= len(chunk)
        return self.text()

    async def end(self, seconds: float) -> None:
        """Wait for the last writer, but not for ever."""
        await asyncio.wait([self._ended], timeout=seconds)
        self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


@dataclass
class Worker:
    """A forked process waiting for, or executing, its one run."""

    number: int
    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    exited: "asyncio.Future[Exit]"
    log: "LogPipe"
    #: It has read its run; nothing of the run's code was executed before.
    started: bool = False
    #: It has said all it will ever say, and is about to leave by itself.
    answered: bool = False

    def orphaned(self, exited: "asyncio.Future[Exit]") -> None:
        """Called at its end. Without a template nobody would tell us of it, so nothing more is awaited."""
        if not exited.cancelled() and exited.exception() is not None:
            self.writer.close()

    def release(self) -> None:
        """Let go of it without waiting for its end; a worker without a run leaves when its channel closes."""
        self.writer.close()
        self.log.close()

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
            message = from_json(await self.reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            return None
        return message if isinstance(message, dict) else None
