"""A reverse proxy before Jesse that gives, on demand, answers a healthy Jesse does not give."""

import asyncio
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlsplit

_LIMIT = 2**20


@dataclass(frozen=True)
class Fault:
    """What happens to a request instead of Jesse's answer.

    Attributes:
        status: of the answer; 0 closes the connection without one.
        body: of the answer.
        content_type: of the answer.
        after_jesse: Jesse gets the request and its answer is thrown away.
        hang: the request is kept without an answer until the proxy is healed or closed.
    """

    status: int = 0
    body: str = ""
    content_type: str = "application/json"
    after_jesse: bool = False
    hang: bool = False


@dataclass
class _Rule:
    begin: str
    fault: Fault
    times: int


class FaultyProxy:
    """Passes everything on, but for what a rule says. One request for each connection; thread-safe.

    Args:
        target: address of the Jesse behind it.
        prefix: of the paths before the proxy; it is taken away.
        context: for TLS before the proxy.
    """

    def __init__(self, target: str, prefix: str = "", context: ssl.SSLContext | None = None) -> None:
        self._target = urlsplit(target)
        self._prefix = prefix
        self._context = context
        self._rules: list[_Rule] = []
        self._sockets: set[asyncio.StreamWriter] = set()
        self._healed = asyncio.Event()
        self.seen: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def __enter__(self) -> "FaultyProxy":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    @property
    def websockets(self) -> int:
        """How many are open."""
        return len(self._sockets)

    def fail(self, begin: str, fault: Fault, times: int = 10**9) -> None:
        """Let requests whose ``METHOD /path`` starts with ``begin`` fail, the next ``times`` of them."""
        self._rules.append(_Rule(begin, fault, times))

    def heal(self) -> None:
        """Forget every rule; requests that hang are cut off."""
        self._rules.clear()
        self._loop.call_soon_threadsafe(self._let_go)

    def drop_websockets(self) -> None:
        self._loop.call_soon_threadsafe(self._drop)

    def _let_go(self) -> None:
        self._healed.set()
        self._healed = asyncio.Event()

    def _drop(self) -> None:
        for writer in self._sockets:
            writer.transport.abort()

    async def _serve(self) -> None:
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._connection(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=_LIMIT, ssl=self._context)
        scheme = "https" if self._context else "http"
        self.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}{self._prefix}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._request(reader, writer)
        finally:
            self._sockets.discard(writer)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, path, version = lines[0].split(" ")
        assert path.startswith(self._prefix), path
        path = path.removeprefix(self._prefix)
        lines[0] = f"{method} {path} {version}"
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        self.seen.append(f"{method} {path.partition('?')[0]}")
        fault = self._fault(f"{method} {path} ")
        if fault is not None and not fault.after_jesse:
            await self._answer(writer, fault)
            return
        websocket = "upgrade" in fields
        if not websocket:
            kept = [line for line in lines if not line.lower().startswith("connection:")]
            lines = [kept[0], "Connection: close", *kept[1:]]
        head = "\r\n".join(lines).encode("latin-1")
        upstream, sink = await asyncio.open_connection(self._target.hostname, self._target.port, limit=_LIMIT)
        try:
            sink.write(head + body)
            if fault is not None:
                await upstream.read()
                await self._answer(writer, fault)
                return
            if websocket:
                self._sockets.add(writer)
            copies = [asyncio.ensure_future(_copy(upstream, writer))]
            if websocket:
                copies.append(asyncio.ensure_future(_copy(reader, sink)))
            try:
                await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for copy in copies:
                    copy.cancel()
                await asyncio.gather(*copies, return_exceptions=True)
        finally:
            sink.close()

    def _fault(self, line: str) -> Fault | None:
        for rule in self._rules:
            if line.startswith(rule.begin) and rule.times > 0:
                rule.times -= 1
                return rule.fault
        return None

    async def _answer(self, writer: asyncio.StreamWriter, fault: Fault) -> None:
        if fault.hang:
            await self._healed.wait()
        if not fault.status:
            writer.transport.abort()
            return
        body = fault.body.encode()
        writer.write(
            f"HTTP/1.1 {fault.status} Fault\r\ncontent-type: {fault.content_type}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
            + body
        )
        await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()
