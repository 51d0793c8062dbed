"""Something at JESSE_URL that is not Jesse, and means harm."""

import asyncio
import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from jesse_mcp.adapters.dashboard import client as client_module
from jesse_mcp.adapters.dashboard import events as events_module
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.events import EventStream
from jesse_mcp.adapters.dashboard.login import Credentials
from jesse_mcp.domain.errors import ErrorCode, ResearchError

PASSWORD = "sentinel-password-c41d"  # noqa: S105


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_PAUSES", (0.0, 0.0))


class Host(ThreadingHTTPServer):
    """Answers everything with one status, these headers and this body, over and over if ``endless``."""

    def __init__(
        self, status: int = 200, body: bytes = b"{}", *, endless: bool = False, **headers: str
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body, self.endless, self.headers = status, body, endless, headers
        self.asked: list[str] = []
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Host
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        host = self.server
        host.asked.append(f"{self.command} {self.path} {self.headers}")
        self.send_response(host.status)
        for name, value in {"content-type": "application/json", **host.headers}.items():
            self.send_header(name.replace("_", "-"), value)
        if not host.endless:
            self.send_header("content-length", str(len(host.body)))
        self.end_headers()
        self.close_connection = True
        try:
            self.wfile.write(host.body)
            host.sent = len(host.body)
            while host.endless:
                host.sent += self.wfile.write(host.body)
        except OSError:
            """The client has had enough."""

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def serving(host: Host) -> Iterator[Host]:
    thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield host
    finally:
        host.shutdown()
        thread.join()
        host.server_close()


def client_of(host: Host) -> DashboardClient:
    return DashboardClient(host.url, Credentials(password=SecretStr(PASSWORD)))


def refused(host: Host) -> ResearchError:
    client = client_of(host)
    try:
        with pytest.raises(ResearchError) as caught:
            client.get("/system/general-info")
    finally:
        client.close()
    assert PASSWORD not in f"{caught.value.to_dict()} {caught.value.__cause__!r}"
    return caught.value


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "{other}/latest/meta-data",
        "//{netloc}/x",
        "http://user:sentinel@169.254.169.254/",
        "file:///etc/hostname",
        "gopher://127.0.0.1:6379/_x",
        "http://[::1",
        "",
    ],
)
def test_a_redirect_leads_nowhere(status: int, location: str) -> None:
    with serving(Host()) as other:
        location = location.format(other=other.url, netloc=other.url.removeprefix("http://"))
        with serving(Host(status, Location=location)) as host:
            error = refused(host)
            assert len(host.asked) == 1, "the login, and nothing after it"
        assert other.asked == []
    assert error.code is ErrorCode.JESSE_UNRECOGNISED
    assert "sentinel" not in str(error.to_dict())


def test_a_redirect_to_nowhere_is_one_too() -> None:
    with serving(Host(302)) as host:
        assert "to nowhere" in refused(host).message


def test_an_answer_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_LARGEST_ANSWER", 2**20)
    with serving(Host(body=b" " * 65_536, endless=True)) as host:
        error = refused(host)
        assert error.code is ErrorCode.JESSE_UNRECOGNISED
        assert "more than 1,048,576 bytes" in error.message
        assert host.sent < 2**26


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_LARGEST_ANSWER", 2**20)
    body = gzip.compress(b" " * 2**26)
    assert len(body) < 2**17
    with serving(Host(body=body, content_encoding="gzip")) as host:
        assert "more than 1,048,576 bytes" in refused(host).message


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"auth_token": 1' + b"0" * 5_000 + b"}",
        b'{"auth_token": 1e400}',
        b'{"auth_token": NaN}',
        b'{"auth_token": "\\ud800"}',
        b'{"auth_token": "a\\r\\nX-Evil: 1"}',
        b'"\xff\xfe"',
        b"<html></html>",
        b"",
        b"null",
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "text/html; charset=utf-7", "image/png", ";;;"])
def test_a_login_that_is_none(body: bytes, kind: str) -> None:
    with serving(Host(body=body, content_type=kind)) as host:
        error = refused(host)
        assert error.code is ErrorCode.JESSE_UNRECOGNISED
        assert len(host.asked) == 1


async def test_events_are_not_fetched_from_where_a_redirect_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "_PAUSE", 0.0)
    monkeypatch.setattr(events_module, "CONNECT", 0.2)
    with serving(Host()) as other:
        elsewhere = other.url.replace("http", "ws")
        with serving(Host(body=b'{"auth_token": "t"}', Location=f"{elsewhere}/internal")) as host:
            # The login succeeds, all after it is redirected.
            client = client_of(host)
            assert await asyncio.to_thread(client.token) == "t"
            host.status = 307
            stream = EventStream(client)
            async with stream.subscribed("x"), asyncio.timeout(30):
                while len(host.asked) < 3:
                    await asyncio.sleep(0.01)
            client.close()
        assert other.asked == []
