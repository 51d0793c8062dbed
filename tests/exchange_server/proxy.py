"""An HTTPS forward proxy on loopback that answers in the place of the exchanges.

A client reaches it the way it reaches any proxy of a company: ``HTTPS_PROXY`` names it and
``REQUESTS_CA_BUNDLE`` trusts its certificates. It forwards nothing: an unknown host is refused.
"""

import contextlib
import json
import socket
import socketserver
import ssl
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import trustme

from exchange_server.faults import FaultQueue
from exchange_server.registry import exchanges
from exchange_server.wire import Answer, Candles, Page, Request

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Exchanged:
    """A line of the log: a request, the status of its answer, and the fault that was in it."""

    request: Request
    status: int
    fault: str | None
    rows: int

    @property
    def host(self) -> str:
        return self.request.host

    @property
    def path(self) -> str:
        return self.request.path

    @property
    def params(self) -> Mapping[str, str]:
        return self.request.params

    @property
    def at(self) -> float:
        return self.request.at


class ExchangeServer:
    """Every exchange that Jesse's drivers know, holding the given candles.

    ``markets`` are candles in Jesse's column order by exchange (as Jesse calls it) and symbol (as Jesse
    writes it); a minute that is absent is one the exchange does not have. ``now_ms`` is the moment it is at
    the exchanges, by default the present: later candles do not exist yet and the running one is unfinished.
    It may be set again at any time, and is what the header ``Date`` of every answer says. ``clock`` is asked
    for it instead when it is given. What drivers take for now is their own clock.
    """

    def __init__(
        self,
        markets: Mapping[tuple[str, str], Candles],
        now_ms: int | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.now_ms = now_ms
        self._clock = clock
        self.faults = FaultQueue()
        self.requests: list[Exchanged] = []
        self._exchanges = exchanges(markets, self._now)
        self._directory = tempfile.TemporaryDirectory(prefix="exchange-server-")
        self._authority = trustme.CA()
        self._listener = _Listener(self._answer, self._context, self._now)
        self._thread = threading.Thread(
            target=self._listener.serve_forever, kwargs={"poll_interval": 0.05}, name="exchange-server"
        )
        self._contexts: dict[str, ssl.SSLContext] = {}
        # Reentrant: a predicate of the fault queue may look at the log.
        self._lock = threading.RLock()

    def __enter__(self) -> "ExchangeServer":
        self._authority.cert_pem.write_to_path(str(self._bundle))
        self._thread.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown()
        self._listener.hang_up()
        self._listener.server_close()
        self._thread.join()
        self._directory.cleanup()
        if self._listener.failures and exception is None:
            raise ExceptionGroup("the exchange server failed", self._listener.failures)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to ask this server instead of the exchanges.

        Both spellings are there, since requests prefers the small one if the outer environment has it.
        """
        proxy = f"http://127.0.0.1:{self._listener.server_address[1]}"
        return {
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,
            "NO_PROXY": "",
            "no_proxy": "",
            "REQUESTS_CA_BUNDLE": str(self._bundle),
        }

    @property
    def hosts(self) -> list[str]:
        return sorted(self._exchanges)

    def asked(self, kind: str = "candles") -> list[Exchanged]:
        """The part of the log about requests of this kind."""
        with self._lock:
            return [line for line in self.requests if line.request.kind == kind]

    @property
    def _bundle(self) -> Path:
        return Path(self._directory.name) / "ca.pem"

    def _now(self) -> int:
        if self.now_ms is not None:
            return self.now_ms
        return int(time.time() * 1000) if self._clock is None else self._clock()

    def _context(self, host: str) -> ssl.SSLContext | None:
        """How to be ``host``; ``None`` for one that is not imitated."""
        if host not in self._exchanges:
            return None
        with self._lock:
            if host not in self._contexts:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self._authority.issue_cert(host).configure_cert(context)
                self._contexts[host] = context
            return self._contexts[host]

    def _answer(self, request: Request) -> Answer:
        exchange = self._exchanges[request.host]
        reply = exchange.reply(request)
        request = replace(request, kind="candles" if isinstance(reply, Page) else "other")
        with self._lock:
            reply, fault = self.faults.apply(request, reply, exchange)
            answer = reply.answer()
            rows = len(reply.candles) if isinstance(reply, Page) else 0
            self.requests.append(Exchanged(request, answer.status, fault, rows))
        return answer


class _Listener(socketserver.ThreadingTCPServer):
    """Keeps its connections, so that none outlives the server."""

    daemon_threads = False
    allow_reuse_address = True

    def __init__(
        self,
        answer: Callable[[Request], Answer],
        context: Callable[[str], ssl.SSLContext | None],
        now: Callable[[], int],
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.answer = answer
        self.context = context
        self.now = now
        self.stopping = threading.Event()
        self.failures: list[Exception] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def secure(self, plain: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        """Put TLS around a connection; the handshake happens when the first byte is read."""
        with self._lock:
            if self.stopping.is_set():
                raise ConnectionAbortedError
            self._open.discard(plain)
            secured = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            self._open.add(secured)
            return secured

    def forget(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def hang_up(self) -> None:
        self.stopping.set()
        with self._lock:
            for connection in self._open:
                _end(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        # A client may go away whenever it likes.
        if isinstance(error, Exception) and not isinstance(error, OSError):
            self.failures.append(error)


class _Connection(BaseHTTPRequestHandler):
    """First a proxy, then, inside the tunnel, the exchange."""

    protocol_version = "HTTP/1.1"
    server: _Listener
    _host = ""

    def do_CONNECT(self) -> None:
        host, _, port = self.path.rpartition(":")
        context = self.server.context(host)
        if context is None or port != "443" or self._host:
            self.send_error(502, f"{self.path} is not imitated here")
            self.close_connection = True
            return
        self.send_response_only(200, "Connection established")
        self.end_headers()
        self.wfile.flush()
        self.rfile.close()
        self._host = host
        self.connection = self.server.secure(self.connection, context)
        self.connection.do_handshake()
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb")
        self.close_connection = False

    def do_GET(self) -> None:
        if not self._host:
            self.send_error(502, "only https is imitated here")
            self.close_connection = True
            return
        answer = self.server.answer(self._request())
        if answer.wait and self.server.stopping.wait(answer.wait):
            self.close_connection = True
            return
        self._send(answer)

    do_POST = do_GET  # noqa: N815 - the name is the base class's

    def _request(self) -> Request:
        address = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return Request(
            host=self._host,
            method=self.command,
            path=address.path,
            params=dict(parse_qsl(address.query)),
            body=json.loads(content) if content else None,
            at=time.monotonic(),
        )

    def _send(self, answer: Answer) -> None:
        if answer.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.close_connection = True
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if answer.cut:
            # Ended, not reset: a reset may overtake what was sent before it.
            self.close_connection = True
            self.wfile.write(answer.body[: len(answer.body) // 2])
            return
        self.wfile.write(answer.body)

    def finish(self) -> None:
        self.server.forget(self.connection)
        try:
            super().finish()
        finally:
            self.rfile.close()
            self.connection.close()

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(self.server.now() / 1000 if timestamp is None else timestamp)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Nothing: the log is :attr:`ExchangeServer.requests`."""


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Not the method of an SSL socket, which would change it under the thread that is reading.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
