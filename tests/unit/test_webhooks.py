"""Alerts reach a real server signed, and nothing reaches one that must not be asked."""

import asyncio
import hashlib
import hmac
import ipaddress
import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from jesse_mcp.adapters.webhooks import MAX_URL, HttpWebhooks, is_public, signature
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper_records import AlertDelivery, PaperAlert
from jesse_mcp.ports.webhooks import WebhookAttempt
from jesse_mcp.services.clock import Clock
from jesse_mcp.services.paper_delivery import deliver_due
from jesse_mcp.services.webhook_attempts import MAX_ATTEMPTS, attempted
from webhook_receiver import Receiver

SECRET = "a-secret-of-some-length"  # noqa: S105  (of this test alone)
NOW = 1_767_225_600
ALERT = PaperAlert(
    key="0:drawdown:1767225540000",
    timestamp=1_767_225_540_000,
    kind="drawdown",
    message="equity is 12 % below its highest",
    value=0.12,
    limit=0.1,
    stop=True,
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def webhooks(*, allow_private: bool = True, **more: Any) -> HttpWebhooks:
    return HttpWebhooks(SecretStr(SECRET), allow_private=allow_private, now=lambda: NOW, **more)


def delivery(url: str | None, **more: Any) -> AlertDelivery:
    return AlertDelivery(session_id="paper_1", alert=ALERT, webhook=url, **more)


async def test_an_alert_arrives_whole_and_signed(receiver: Receiver) -> None:
    sent = await webhooks().send(delivery(f"http://127.0.0.1:{receiver.port}/hook?token=1"))
    assert sent == WebhookAttempt()
    assert receiver.paths == ["/hook?token=1"]
    (body,), (headers,) = receiver.bodies, receiver.headers
    assert json.loads(body) == {
        "session_id": "paper_1",
        "key": "0:drawdown:1767225540000",
        "timestamp": 1_767_225_540_000,
        "kind": "drawdown",
        "message": "equity is 12 % below its highest",
        "value": 0.12,
        "limit": 0.1,
        "band_edge": None,
        "stop": True,
    }
    assert headers["Content-Type"] == "application/json"
    assert headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert headers["Idempotency-Key"] == "paper_1:0:drawdown:1767225540000"
    assert headers["X-Jesse-MCP-Timestamp"] == str(NOW)
    expected = hmac.new(SECRET.encode(), f"{NOW}.".encode() + body, hashlib.sha256).hexdigest()
    assert headers["X-Jesse-MCP-Signature"] == f"sha256={expected}"
    assert SECRET not in str(headers) + body.decode()


def test_the_signature_is_an_hmac_as_others_publish_it() -> None:
    # RFC 4231, test case 2: its data is cut where ours has a dot, so the algorithm is compared as a whole.
    published = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert hmac.new(b"Jefe", b"what do ya want for nothing?", hashlib.sha256).hexdigest() == published
    # RFC 2104 by hand: the key is shorter than a block of 64 bytes.
    key, message = SECRET.encode().ljust(64, b"\0"), b"17.body"
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + message).digest()
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).hexdigest()
    assert signature(SECRET.encode(), "17", b"body") == outer


@given(st.binary(min_size=1), st.text("0123456789", min_size=1), st.binary(), st.binary(min_size=1))
def test_whatever_changes_changes_the_signature(secret: bytes, time: str, body: bytes, more: bytes) -> None:
    signed = signature(secret, time, body)
    assert signature(secret, time, body + more) != signed
    assert signature(secret, time + "1", body) != signed
    assert signature(secret + b"x" * 64, time, body) != signed


@pytest.mark.parametrize(
    ("status", "final"),
    [(400, True), (401, True), (404, True), (410, True), (408, False), (425, False), (429, False),
     (500, False), (502, False), (503, False), (301, True), (302, True), (307, True), (308, True)],
)  # fmt: skip
async def test_a_status_that_is_no_success(receiver: Receiver, status: int, final: bool) -> None:
    receiver.statuses = [status]
    sent = await webhooks().send(delivery(f"http://127.0.0.1:{receiver.port}/"))
    assert sent == WebhookAttempt(f"it answered with status {status}", final=final)
    assert receiver.paths == ["/"], "a redirect is not followed"


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_every_success_is_one(receiver: Receiver, status: int) -> None:
    receiver.statuses = [status]
    assert await webhooks().send(delivery(f"http://127.0.0.1:{receiver.port}/")) == WebhookAttempt()


async def test_who_does_not_answer_is_given_up_in_time(receiver: Receiver) -> None:
    receiver.hold.clear()
    sent = await webhooks(timeout=0.2).send(delivery(f"http://127.0.0.1:{receiver.port}/"))
    assert sent.failure is not None
    assert not sent.final


async def test_who_is_not_there_may_come_back() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        sent = await webhooks().send(delivery(f"http://127.0.0.1:{taken.getsockname()[1]}/"))
    assert sent.failure is not None
    assert not sent.final


def named(monkeypatch: pytest.MonkeyPatch, name: str, *addresses: str) -> list[str]:
    """``name`` has these addresses; the names that were looked up."""
    real, asked = socket.getaddrinfo, []

    def lookup(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else host
        if text != name:
            return real(host, port, *arguments, **options)
        asked.append(text)
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return asked


INSIDE = [
    "127.0.0.1", "127.8.9.10", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::1", "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:db8::1",
    "::127.0.0.1", "64:ff9b:1::7f00:1", "fec0::1", "5f00::1",
]  # fmt: skip
OUTSIDE = ["93.184.216.34", "1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", INSIDE)
async def test_a_name_that_leads_inside_is_not_asked(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_public(ipaddress.ip_address(address))
    named(monkeypatch, "hooks.example", "93.184.216.34", address)
    sender = webhooks(allow_private=False)
    with pytest.raises(ResearchError) as caught:
        await sender.check("https://hooks.example/x")
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert "not an address on the internet" in caught.value.message
    assert "JESSE_MCP_WEBHOOK_ALLOW_PRIVATE" in (caught.value.hint or "")
    sent = await sender.send(delivery("https://hooks.example/x"))
    assert sent.final
    assert sent.failure is not None
    assert "not an address on the internet" in sent.failure


@pytest.mark.parametrize("address", OUTSIDE)
async def test_an_address_of_the_internet_is_accepted(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_public(ipaddress.ip_address(address))
    named(monkeypatch, "hooks.example", address)
    await webhooks(allow_private=False).check("https://hooks.example/x")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::1]", "0"])
async def test_this_machine_by_any_name_is_not_asked(host: str, receiver: Receiver) -> None:
    sender = webhooks(allow_private=False)
    with pytest.raises(ResearchError, match="cannot be used"):
        await sender.check(f"https://{host}:{receiver.port}/")
    sent = await sender.send(delivery(f"https://{host}:{receiver.port}/"))
    assert sent.failure is not None
    assert receiver.paths == []


@pytest.mark.parametrize(
    "url",
    [
        "http://93.184.216.34/",
        "ftp://93.184.216.34/",
        "file:///etc/hostname",
        "93.184.216.34/hook",
        "",
        "https://",
        "https:///path",
        "https://user:word@93.184.216.34/",
        "https://user@93.184.216.34/",
        "https://93.184.216.34:99999/",
        "https://93.184.216.34:port/",
        "https://93.184.216.34:0/",
        "https://hooks..example/",
        "https://" + "h" * 64 + ".example/",
        "https://93.184.216.34/a b",
        "https://93.184.216.34/a\r\nX: y",
        "https://bücher.example/",
        "https://93.184.216.34/" + "x" * MAX_URL,
        "https://[::1/",
    ],
)
async def test_what_is_no_address_for_webhooks_is_refused(url: str) -> None:
    with pytest.raises(ResearchError) as caught:
        await webhooks(allow_private=False).check(url)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert (await webhooks(allow_private=False).send(delivery(url))).final


async def test_a_name_is_looked_up_once_and_the_connection_made_to_what_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hooks.example").configure_cert(context)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    asked = named(monkeypatch, "hooks.example", "127.0.0.1")
    with Receiver(context) as receiver:
        url = f"https://hooks.example:{receiver.port}/x"
        assert await webhooks(trust=trust).send(delivery(url)) == WebhookAttempt()
        assert asked == ["hooks.example"]
        assert receiver.headers[0]["Host"] == f"hooks.example:{receiver.port}"
        named(monkeypatch, "other.example", "127.0.0.1")
        wrong = await webhooks(trust=trust).send(delivery(f"https://other.example:{receiver.port}/x"))
        assert wrong.failure is not None
        assert "other.example" in wrong.failure, "the certificate is of another name"
        unknown = await webhooks().send(delivery(url))
        assert unknown.failure is not None
        assert "certificate" in unknown.failure
        assert len(receiver.paths) == 1


async def test_no_proxy_of_the_environment_is_asked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{receiver.port}")
    with Receiver() as real:
        assert await webhooks().send(delivery(f"http://127.0.0.1:{real.port}/")) == WebhookAttempt()
        assert (real.paths, receiver.paths) == (["/"], [])


async def test_without_a_secret_nothing_is_sent(receiver: Receiver) -> None:
    sender = HttpWebhooks(None, allow_private=True, now=lambda: NOW)
    with pytest.raises(ResearchError) as caught:
        await sender.check("https://93.184.216.34/")
    assert caught.value.code is ErrorCode.CAPABILITY_MISSING
    assert "JESSE_MCP_WEBHOOK_SECRET" in (caught.value.hint or "")
    assert (await sender.send(delivery(f"http://127.0.0.1:{receiver.port}/"))).final
    assert receiver.paths == []


def test_pauses_double_up_to_half_an_hour_and_end() -> None:
    found, pauses, now = delivery("https://x.example/"), [], 0
    while found.next_attempt_at is not None or not found.attempts:
        found = attempted(found, WebhookAttempt("down"), now)
        if found.next_attempt_at is not None:
            pauses.append((found.next_attempt_at - now) // 1000)
            now = found.next_attempt_at
    assert pauses == [10, 20, 40, 80, 160, 320, 640, 1280, 1800]
    assert found.attempts == MAX_ATTEMPTS == 10
    assert (found.failure, found.delivered_at) == ("down", None)


def test_what_has_arrived_or_cannot_is_not_sent_again() -> None:
    first = attempted(delivery("https://x.example/"), WebhookAttempt("down"), 5)
    arrived = attempted(first, WebhookAttempt(), 7)
    assert (arrived.attempts, arrived.next_attempt_at, arrived.delivered_at, arrived.failure) == (
        2,
        None,
        7,
        None,
    )
    gone = attempted(first, WebhookAttempt("no", final=True), 7)
    assert (gone.attempts, gone.next_attempt_at, gone.delivered_at, gone.failure) == (2, None, None, "no")


class DueAlerts:
    """The part of a store that knows what is due."""

    def __init__(self, *due: AlertDelivery) -> None:
        self.waiting = list(due)
        self.noted: list[AlertDelivery] = []

    def due(self, owner: str, now: int, limit: int) -> list[AlertDelivery]:
        assert owner == "me"
        return [one for one in self.waiting if (one.next_attempt_at or 0) <= now][:limit]

    def delivery(self, attempted: AlertDelivery) -> None:
        self.noted.append(attempted)
        self.waiting = [attempted] if attempted.next_attempt_at is not None else []


class StoppedClock(Clock):
    def __init__(self) -> None:
        self.now = 0

    def now_ms(self) -> int:
        return self.now


async def test_an_alert_is_sent_until_it_arrives_and_then_no_more(receiver: Receiver) -> None:
    receiver.statuses = [503, 500, 200]
    store, clock = DueAlerts(delivery(f"http://127.0.0.1:{receiver.port}/")), StoppedClock()
    sizes = []
    for moment in (0, 9_999, 10_000, 29_999, 30_000, 10_000_000):
        clock.now = moment
        sizes.append(await deliver_due(store, webhooks(), "me", clock))  # type: ignore[arg-type]
    assert sizes == [1, 0, 1, 0, 1, 0]
    assert len({headers["Idempotency-Key"] for headers in receiver.headers}) == 1
    assert len(set(receiver.bodies)) == 1
    assert store.noted[-1].delivered_at == 30_000


async def test_one_that_hangs_does_not_keep_the_others(receiver: Receiver) -> None:
    receiver.hold.clear()
    with Receiver() as other:
        slow = delivery(f"http://127.0.0.1:{receiver.port}/")
        store = DueAlerts(slow, delivery(f"http://127.0.0.1:{other.port}/"))
        task = asyncio.create_task(
            deliver_due(store, webhooks(timeout=30), "me", StoppedClock())  # type: ignore[arg-type]
        )
        async with asyncio.timeout(20):
            while not store.noted:
                await asyncio.sleep(0)
        assert store.noted[0].delivered_at is not None
        receiver.hold.set()
        assert await task == 2
