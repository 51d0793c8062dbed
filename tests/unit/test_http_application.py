"""The whole way of a request from the outside in, without a network."""

import asyncio
import json
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from jesse_mcp.cli.main import build_app
from jesse_mcp.cli.serve import answer_at_once
from jesse_mcp.composition import open_tokens
from jesse_mcp.domain.access import Scope
from jesse_mcp.domain.errors import ErrorCode
from jesse_mcp.server.authorisation import AuthorisationMiddleware
from jesse_mcp.server.http.asgi import AsgiApplication
from jesse_mcp.settings import Settings

ADDRESS = "http://127.0.0.1:8765"
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "run_list", "arguments": {"limit": 1}},
}
JSON = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


class Desk:
    """A client of an application in this process.

    Attributes:
        tokens: one for each scope, by its name.
    """

    def __init__(self, app: AsgiApplication, tokens: dict[str, str], audit: Path) -> None:
        self._app = app
        self._audit = audit
        self.tokens = tokens

    async def ask(
        self, path: str, token: str = "", client: str = "127.0.0.1", **options: Any
    ) -> httpx2.Response:
        transport = httpx2.ASGITransport(self._app, client=(client, 5))
        headers = JSON | options.pop("headers", {})
        if token:
            headers["Authorization"] = f"Bearer {self.tokens.get(token, token)}"
        async with httpx2.AsyncClient(transport=transport, base_url=ADDRESS) as http:
            method = "POST" if {"json", "content"} & options.keys() else "GET"
            return await http.request(method, path, headers=headers, **options)

    @asynccontextmanager
    async def client(self, token: str) -> AsyncIterator[Client]:
        """One of the official SDK."""
        headers = {"Authorization": f"Bearer {self.tokens[token]}"}
        transport = httpx2.ASGITransport(self._app, client=("127.0.0.1", 5))
        async with (
            httpx2.AsyncClient(transport=transport, headers=headers) as http,
            Client(streamable_http_client(f"{ADDRESS}/mcp", http_client=http)) as client,
        ):
            yield client

    async def call(self, token: str = "", **options: Any) -> httpx2.Response:
        return await self.ask("/mcp", token, **{"json": CALL} | options)


Opened = Callable[..., AbstractAsyncContextManager[Desk]]


@pytest.fixture
def desk(tmp_path: Path) -> Opened:
    @asynccontextmanager
    async def opened(*, closed: bool = True, **changes: Any) -> AsyncIterator[Desk]:
        whole: dict[str, Any] = {
            "home": tmp_path / "home",
            "cache": tmp_path / "cache",
            "prewarm": False,
            "stateless": True,
        }
        settings = Settings(**whole | changes)
        settings.home.mkdir()
        service = open_tokens(settings)
        tokens = {str(scope): service.create(scope, [scope])[0] for scope in Scope} if closed else {}
        app = AsgiApplication(settings, this_machine_only=True)
        said: list[Any] = []
        orders = iter([{"type": "lifespan.startup"}])
        done = asyncio.Event()

        async def receive() -> Any:
            for order in orders:
                return order
            await done.wait()
            return {"type": "lifespan.shutdown"}

        started = asyncio.Event()

        async def send(message: Any) -> None:
            said.append(message["type"])
            started.set()

        life = asyncio.create_task(app({"type": "lifespan"}, receive, send))
        await started.wait()
        assert said == ["lifespan.startup.complete"], app.failure
        try:
            yield Desk(app, tokens, settings.home / "logs" / "audit.jsonl")
        finally:
            done.set()
            await life
        assert said[1:] == ["lifespan.shutdown.complete"]

    return opened


def audited(tmp_path: Path) -> list[dict[str, Any]]:
    text = (tmp_path / "home" / "logs" / "audit.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def teaches(answer: httpx2.Response, message: str) -> None:
    error = answer.json()["error"]
    assert (error["code"], error["message"]) == ("forbidden", message)
    assert "Authorization: Bearer TOKEN" in error["hint"]
    command = re.search(r"`jesse-mcp (token create [^`]*)`", error["hint"])
    assert command is not None
    build_app().parse_args(command[1].split(), print_error=False, exit_on_error=False)
    assert not re.search("regist|reconnect", answer.text + answer.headers["www-authenticate"])
    assert int(answer.headers["content-length"]) == len(answer.content)


async def test_who_comes_in(desk: Opened) -> None:
    async with desk() as ours:
        answer = await ours.call()
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        teaches(answer, "no token was sent")
        assert answer.headers["x-request-id"].startswith("req_")
        for wrong in ("wrong", ours.tokens["read"][:-1], "e30.e30."):
            answer = await ours.call(wrong)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith('Bearer error="invalid_token", ')
            teaches(answer, "the token is unknown, expired or revoked")
            assert wrong not in answer.text
        for scheme in ("Basic", "Token", ""):
            refused = await ours.call(headers={"Authorization": f"{scheme} {ours.tokens['read']}"})
            assert refused.status_code == 401
        answer = await ours.call("read")
        assert answer.status_code == 200
        assert '"runs"' in answer.text
        answer = await ours.call("paper")
        assert (answer.status_code, '"forbidden"' in answer.text) == (200, True)


async def test_what_is_watched(desk: Opened) -> None:
    async with desk(min_free_disk_mb=10**9) as ours:
        assert (await ours.ask("/health")).json() == {"status": "ok", "version": "0.1.0"}
        answer = await ours.ask("/ready")
        assert answer.status_code == 503
        assert "disk: less than 1000000000 MiB free" in answer.json()["problems"]
        assert (await ours.ask("/metrics")).status_code == 401
        refused = await ours.ask("/metrics", "read")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
        await ours.call("read")
        shown = await ours.ask("/metrics", "admin")
        assert shown.status_code == 200
        assert 'jesse_mcp_tool_calls_total{tool="run_list"} 1.0' in shown.text
        for path in ("/", "/docs", "/mcp/x", "/metrics/x"):
            assert (await ours.ask(path, "admin")).status_code == 404


async def test_a_machine_of_ones_own_needs_no_token(desk: Opened, tmp_path: Path) -> None:
    async with desk(closed=False, rate_limit_requests_per_minute=1) as ours:
        assert [(await ours.call()).status_code for _ in range(3)] == [200] * 3
        assert (await ours.ask("/metrics")).status_code == 200
    assert {line["client"] for line in audited(tmp_path)} == {"address:127.0.0.1"}


async def test_limits(desk: Opened) -> None:
    async with desk(rate_limit_requests_per_minute=3, max_request_bytes=2000) as ours:
        assert [(await ours.call("read")).status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = await ours.call("read")
        wait = int(refused.headers["retry-after"])
        assert 0 < wait <= 20
        assert refused.status_code == 429
        assert refused.json()["error"]["details"] == {"retry_after_seconds": wait}
        assert (await ours.call("write")).status_code == 200, "another client"
        assert [(await ours.call("x")).status_code for _ in range(4)] == [401, 401, 401, 429]
        assert (await ours.ask("/health")).status_code == 200
        long = json.dumps(CALL).encode() + b" " * 2000
        large = await ours.ask("/mcp", "admin", content=long)
        assert large.status_code == 413
        assert "2,000 bytes" in large.json()["error"]["message"]
        assert "JESSE_MCP_MAX_REQUEST_BYTES" in large.json()["error"]["hint"]


async def test_a_session_belongs_to_the_token_that_began_it(desk: Opened) -> None:
    hello = {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        },
    }
    async with desk(stateless=False) as ours:
        begun = await ours.call("admin", json=hello)
        session = {"Mcp-Session-Id": begun.headers["mcp-session-id"]}
        assert (await ours.call("read", headers=session)).status_code == 404
        assert (await ours.call(headers=session)).status_code == 401
        assert (await ours.call("admin", headers=session)).status_code == 200


async def test_rate_limits_can_be_switched_off(desk: Opened) -> None:
    async with desk(rate_limit_requests_per_minute=1, rate_limit_enabled=False) as ours:
        assert [(await ours.call("read")).status_code for _ in range(3)] == [200] * 3


async def test_deeply_nested_and_broken_bodies(desk: Opened) -> None:
    async with desk() as ours:
        deep = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"run_list","arguments":'
        for body in (b"[" * 1_000_000, deep + b'{"a":' * 500_000, b"\xff", b"{", b'{"a":1}'):
            assert (await ours.ask("/mcp", "admin", content=body)).status_code == 400
        mild = deep + b'{"a":' * 60 + b"1" + b"}" * 60 + b"}}"
        answer = await ours.ask("/mcp", "admin", content=mild)
        assert (answer.status_code, "invalid_argument" in answer.text) == (200, True)
        assert (await ours.call("admin")).status_code == 200


HOSTS = [
    ({"Host": "desk.example.org"}, 200),
    ({"Host": "a.example.com:8443"}, 200),
    ({"Host": "evil.example"}, 421),
    ({"Host": "desk.example.org.evil.example"}, 421),
    ({"Host": "evil.example", "X-Forwarded-Host": "desk.example.org"}, 421),
    ({"Origin": "https://desk.example.org"}, 200),
    ({"Origin": "https://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Host": "desk.example.org", "Origin": "https://a.example.com"}, 403),
]


async def test_only_names_that_are_ours(desk: Opened) -> None:
    names = {
        "allowed_hosts": ("desk.example.org", "*.example.com"),
        "allowed_origins": ("https://desk.example.org",),
    }
    async with desk(**names) as ours:
        answers = [(headers, await ours.call("read", headers=headers)) for headers, _ in HOSTS]
    assert [(headers, answer.status_code) for headers, answer in answers] == HOSTS
    named = {421: ("Host", "JESSE_MCP_ALLOWED_HOSTS"), 403: ("Origin", "JESSE_MCP_ALLOWED_ORIGINS")}
    for headers, answer in answers:
        if answer.status_code != 200:
            header, setting = named[answer.status_code]
            error = answer.json()["error"]
            assert error["code"] == "forbidden"
            assert repr(headers[header]) in error["message"]
            assert setting in error["hint"]
            assert answer.headers["x-request-id"]


#: Who connects, what it says of others, and who is believed to call.
FORWARDED = [
    ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
    ("10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
    ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),
    ("10.0.0.1", "rubbish", "unknown"),
    ("10.0.0.1", "", "10.0.0.1"),
    ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
    ("127.0.0.1", "203.0.113.9", "127.0.0.1"),
]


async def test_only_trusted_proxies_are_believed(desk: Opened, tmp_path: Path) -> None:
    async with desk(trusted_proxies=("10.0.0.0/8",)) as ours:
        for client, forwarded, _ in FORWARDED:
            headers = {"X-Forwarded-For": forwarded} if forwarded else {}
            assert (await ours.call("read", client=client, headers=headers)).status_code == 200
    assert [line["address"] for line in audited(tmp_path)] == [address for _, _, address in FORWARDED]


async def test_a_start_that_is_refused_is_explained(tmp_path: Path) -> None:
    app = AsgiApplication(Settings(home=tmp_path / "home"))
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        said.append(message)

    await app({"type": "lifespan"}, receive, send)
    assert app.failure is not None
    assert app.failure.code is ErrorCode.INVALID_ARGUMENT
    assert [message["type"] for message in said] == ["lifespan.startup.failed"]
    assert "jesse-mcp token create" in said[0]["message"]
    assert not (tmp_path / "home").exists()
    with pytest.raises(RuntimeError, match="lifespan on"):
        await app({"type": "http"}, receive, send)


async def test_a_call_does_not_list_the_tools(desk: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = 0
    listing = AuthorisationMiddleware.on_list_tools

    async def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal listed
        listed += 1
        return await listing(*arguments, **named)

    monkeypatch.setattr(AuthorisationMiddleware, "on_list_tools", counted)
    async with desk() as opened, opened.client("read") as client:
        (first, *_) = (await client.list_tools()).tools
        assert (first.name, listed) == ("system_status", 1)
        for limit in (1, 2):
            answer = await client.call_tool("run_list", {"limit": limit})
            assert answer.structured_content == {"runs": [], "total": 0}
        assert client.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS
        assert listed == 1


async def test_schemas_as_they_are_listed(desk: Opened) -> None:
    async with desk() as opened, opened.client("admin") as client:
        first, second = [(await client.list_tools()).tools for _ in range(2)]
        assert first == second
        for tool in first:
            schemas = json.dumps([tool.input_schema, tool.output_schema])
            assert "$ref" not in schemas, tool.name
            assert "$defs" not in schemas, tool.name
            # Which is why the framework need not look for arguments in headers.
            assert "x-mcp-header" not in schemas, tool.name


def test_answers_do_not_wait_to_be_filled() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answer_at_once(listener)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_server_on_stdio_waits_for_nothing_of_this() -> None:
    code = (
        "import sys, jesse_mcp.cli.serve, jesse_mcp.server.assembly, jesse_mcp.server.http.asgi;"
        "names = ('prometheus_client', 'jwt', 'fastmcp.server.auth.providers.jwt', 'gunicorn');"
        "print([name for name in names if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_making_the_application_does_nothing() -> None:
    """What uvicorn and gunicorn import; the start is the lifespan's."""
    code = (
        "import sys, jesse_mcp.server; app = jesse_mcp.server.app; assert callable(app);"
        "print([name for name in ('fastmcp', 'sqlalchemy', 'polars') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
