"""How often, how slowly and how much a client may send; by a clock that the tests set."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken

from jesse_mcp.server.http import request_limits
from jesse_mcp.server.http.authentication import client_address
from jesse_mcp.server.http.request_identity import RequestIdentity
from jesse_mcp.server.http.request_limits import RateLimit, RequestDeadline, TokenBuckets


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_empties_and_fills_evenly() -> None:
    clock = Clock()
    buckets = TokenBuckets(60, clock)
    assert [buckets.take("a") for _ in range(60)] == [0.0] * 60
    assert buckets.take("a") == 1.0
    assert buckets.take("b") == 0.0, "another client has its own"
    clock.now = 0.5
    assert buckets.take("a") == 0.5
    clock.now = 1.0
    assert buckets.take("a") == 0.0
    assert buckets.take("a") == 1.0
    clock.now = 1e6
    assert [buckets.take("a") for _ in range(61)] == [0.0] * 60 + [1.0], "never more than a minute's worth"


@given(st.integers(1, 600), st.lists(st.floats(0, 30), max_size=200))
def test_never_more_than_the_bucket_and_what_flows_in(per_minute: int, pauses: list[float]) -> None:
    clock = Clock()
    buckets = TokenBuckets(per_minute, clock)
    admitted = 0
    for pause in pauses:
        clock.now += pause
        wait = buckets.take("a")
        admitted += wait == 0
        assert 0 <= wait <= 60 / per_minute + 1e-6
    assert admitted <= per_minute + clock.now * per_minute / 60 + 1e-6


@given(st.integers(1, 100))
def test_whoever_waits_as_told_is_admitted(per_minute: int) -> None:
    clock = Clock()
    buckets = TokenBuckets(per_minute, clock)
    while not (wait := buckets.take("a")):
        pass
    clock.now += wait + 1e-9
    assert buckets.take("a") == 0.0


def test_clients_without_number_are_forgotten_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limits, "_MOST_CLIENTS", 3)
    buckets = TokenBuckets(1, Clock())
    for client in "abcad":
        buckets.take(client)
    assert list(buckets._buckets) == ["c", "a", "d"]
    assert buckets.take("a") > 0, "still empty"


class Served:
    """One request through ASGI middlewares."""

    def __init__(self, **scope: Any) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": "/mcp",
            "headers": [],
            "client": ("192.0.2.7", 5),
            **scope,
        }
        self.sent: list[Any] = []
        self.incoming: asyncio.Queue[Any] = asyncio.Queue()

    async def through(self, app: Any) -> "Served":
        await app(self.scope, self.incoming.get, self._send)
        return self

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def error(self) -> dict[str, Any]:
        return dict(json.loads(self.sent[1]["body"])["error"])


async def fine(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def reading(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await fine(scope, receive, send)


def user(name: str) -> AuthenticatedUser:
    return AuthenticatedUser(AccessToken(token="", client_id=name, scopes=[]))


async def test_429_says_when_to_come_again() -> None:
    clock = Clock()
    app = RateLimit(fine, TokenBuckets(2, clock))
    for _ in range(2):
        assert (await Served().through(app)).status == 200
    refused = await Served().through(app)
    assert (refused.status, refused.headers["retry-after"]) == (429, "30")
    assert refused.error["code"] == "rate_limited"
    assert refused.error["details"] == {"retry_after_seconds": 30}
    assert (await Served(client=("192.0.2.8", 5)).through(app)).status == 200
    for path in ("/health", "/ready"):
        assert (await Served(path=path).through(app)).status == 200
    clock.now = 30
    assert (await Served().through(app)).status == 200


async def test_a_token_counts_wherever_it_comes_from() -> None:
    app = RateLimit(fine, TokenBuckets(1, Clock()))
    assert (await Served(user=user("token:a")).through(app)).status == 200
    elsewhere = await Served(user=user("token:a"), client=("192.0.2.9", 1)).through(app)
    assert elsewhere.status == 429
    assert (await Served(user=user("token:b")).through(app)).status == 200
    assert (await Served().through(app)).status == 200, "the address has not been counted"


async def test_a_slow_request_is_given_up() -> None:
    app = RequestDeadline(reading, 0.01)
    slow = Served()
    slow.incoming.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
    await slow.through(app)
    assert (slow.status, slow.headers["connection"]) == (408, "close")
    assert "0.01 s" in slow.error["message"]


async def test_a_slow_answer_is_not() -> None:
    async def thinking(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect", "waiting for the client to leave"
        await fine(scope, receive, send)

    request = Served()
    request.incoming.put_nowait({"type": "http.request", "body": b"{}", "more_body": False})
    deadline = 0.01
    loop = asyncio.get_running_loop()
    loop.call_later(5 * deadline, request.incoming.put_nowait, {"type": "http.disconnect"})
    assert (await request.through(RequestDeadline(thinking, deadline))).status == 200


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.7", 5), "192.0.2.7"),
        (("::ffff:192.0.2.7", 5), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 5), "2001:db8:1:2::/64"),
        (("", 0), "unknown"),
        (("evil\nline", 0), "unknown"),
        (None, "unknown"),
    ],
)
def test_addresses(client: Any, address: str) -> None:
    assert client_address({"client": client}) == address


@pytest.mark.parametrize(
    ("status", "header", "end"),
    [
        (421, (b"host", b"desk\nforged"), r"421: 'desk\nforged' is not in JESSE_MCP_ALLOWED_HOSTS"),
        (403, (b"origin", b"https://evil.example"), "403; its Origin is 'https://evil.example'"),
        (403, (b"host", b"desk"), "403"),
        (401, (b"origin", b"https://evil.example"), "401"),
    ],
)
async def test_the_log_says_which_name_was_refused(
    caplog: pytest.LogCaptureFixture, status: int, header: tuple[bytes, bytes], end: str
) -> None:
    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with caplog.at_level("INFO", "jesse_mcp.http"):
        await Served(headers=[header]).through(RequestIdentity(refusing))
    (line,) = caplog.messages
    assert line.endswith(f"was answered with {end}")


@pytest.mark.parametrize(
    ("given_id", "kept"),
    [
        (b"abc-1.2_3", True),
        (b"x" * 64, True),
        (b"x" * 65, False),
        (b"a b", False),
        (b"a\nINFO forged", False),
        (b"\xff", False),
        (b"", False),
    ],
)
async def test_a_request_has_one_number(given_id: bytes, kept: bool) -> None:
    request = await Served(headers=[(b"x-request-id", given_id)]).through(RequestIdentity(fine))
    number = request.headers["x-request-id"]
    assert number == request.scope["jesse_mcp.request_id"]
    assert (number.encode() == given_id) is kept
    assert kept or number.startswith("req_")
