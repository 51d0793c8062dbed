"""What only an attacker sends, over real sockets and pipes: it is answered or refused, and harms nobody."""

import json
import os
import re
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from hostile_messages import LARGE, MESSAGES
from mcp_desk import http_server, serving, strict_json, wait_until

TOKEN = "sentinel-token-0123456789abcdefghijklmnopqrstuv"  # noqa: S105  (to look for)
READER = "sentinel-reader-0123456789abcdefghijklmnopqrst"
JSON = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
HELLO: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": "hello",
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "evil\n2026-01-01 00:00:00,000 ERROR forged: line", "version": "\x1b[2J"},
    },
}
#: Bytes by which a server may grow over all of these messages, each up to 4 MB.
GROWTH = 400 * 2**20


def variables(folder: Path, **more: str) -> dict[str, str]:
    """No engine: nothing here gets as far."""
    return {
        **{name: value for name, value in os.environ.items() if name != "JESSE_PYTHON"},
        "JESSE_MCP_HOME": str(folder / "home"),
        "JESSE_MCP_CACHE": str(folder / "cache"),
        "JESSE_MCP_PREWARM": "false",
        "JESSE_MCP_LOG_LEVEL": "DEBUG",
        **more,
    }


@dataclass
class Service:
    url: str
    log: Path
    folder: Path
    memory: psutil.Process

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").removesuffix("/mcp").split(":")
        return host, int(port)

    def post(self, content: bytes, token: str = TOKEN, **headers: str) -> httpx2.Response:
        sent = {**JSON, "Authorization": f"Bearer {token}", **headers}
        return httpx2.post(self.url, content=content, headers=sent, timeout=120)

    def raw(self, request: bytes) -> list[tuple[int, bytes]]:
        """Every answer on a connection that is closed after it: status, and all of it."""
        with socket.create_connection(self.address, timeout=60) as line:
            received = b""
            with suppress(OSError):
                line.sendall(request)
            with suppress(ConnectionResetError):
                while chunk := line.recv(65536):
                    received += chunk
        answers = re.split(rb"HTTP/1\.1 (?=\d{3} )", received)[1:]
        return [(int(answer[:3]), answer) for answer in answers]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("hostile")
    more = {
        "JESSE_MCP_TOKENS": f"given:admin:{TOKEN} reader:read:{READER}",
        "RATE_LIMIT_ENABLED": "false",
        "JESSE_MCP_STATELESS": "true",
        "JESSE_MCP_TRUSTED_PROXIES": "127.0.0.1",
    }
    with http_server(variables(folder, **more), folder / "log") as (process, url):
        yield Service(url, folder / "log", folder, psutil.Process(process.pid))


@pytest.fixture(autouse=True)
def _nothing_went_wrong(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test the server answers, has logged no crash, and no line was forged."""
    yield
    if "service" not in request.fixturenames:
        return
    service: Service = request.getfixturevalue("service")
    assert service.post(PING).status_code == 200
    check_log(service.log)
    assert TOKEN not in service.log.read_text()
    audit = service.folder / "home" / "logs" / "audit.jsonl"
    for line in audit.read_text().splitlines() if audit.exists() else ():
        strict_json(line)


def check_log(path: Path) -> None:
    text = path.read_text()
    assert "Traceback" not in text, text[text.index("Traceback") - 500 :][:3000]
    said = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ (DEBUG|INFO|WARNING|ERROR) [\w.]+: |\t|serving MCP at ")
    assert [line for line in text.split("\n") if line and not said.match(line)] == []
    assert not re.search(r"^[\d :,-]+ERROR forged", text, re.MULTILINE)
    assert "\x1b" not in text


def answered(body: str) -> dict[str, Any]:
    """The one JSON-RPC message of a stream of events, or of a plain answer."""
    data = [line.removeprefix("data: ") for line in body.split("\n") if line.startswith("data: ")] or [body]
    message: dict[str, Any] = strict_json(data[-1])
    assert message["jsonrpc"] == "2.0"
    assert ("result" in message) is not ("error" in message)
    assert "internal_error" not in body
    return message


def test_every_message_over_http_is_answered_or_refused(service: Service) -> None:
    service.post(PING)
    before = service.memory.memory_info().rss
    for name, message in {**MESSAGES, **LARGE}.items():
        answer = service.post(message)
        assert answer.status_code in ({413} if name in LARGE else {200, 202, 400}), (name, answer.text[:500])
        if answer.status_code in {200, 400}:
            answered(answer.text)
        assert len(answer.content) < 3_000_000, name
    assert service.memory.memory_info().rss - before < GROWTH


class Pipe:
    """A server on stdio, spoken to in bytes."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self._rest = b""

    def send(self, message: bytes) -> None:
        self._stdin.write(message + b"\n")
        self._stdin.flush()

    def until(self, number: str) -> list[dict[str, Any]]:
        """Messages up to the answer to this request."""
        found: list[dict[str, Any]] = []
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            while b"\n" in self._rest:
                line, self._rest = self._rest.split(b"\n", 1)
                found.append(answered(line.decode()))
                if found[-1].get("id") == number:
                    return found
            if select.select([self._stdout], [], [], 1)[0]:
                self._rest += os.read(self._stdout.fileno(), 1_000_000)
        raise AssertionError(f"no answer to {number}")


@contextmanager
def on_stdio(folder: Path) -> Iterator[tuple[Pipe, psutil.Process]]:
    with serving(variables(folder), folder / "log", stdin=subprocess.PIPE) as process:
        yield Pipe(process), psutil.Process(process.pid)


def test_no_message_on_stdio_ends_the_server(tmp_path: Path) -> None:
    with on_stdio(tmp_path) as (pipe, memory):
        pipe.send(json.dumps(HELLO).encode())
        pipe.until("hello")
        pipe.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
        before = memory.memory_info().rss
        for number, message in enumerate({**MESSAGES, **LARGE}.values()):
            pipe.send(message)
            pipe.send(json.dumps({"jsonrpc": "2.0", "id": f"ping {number}", "method": "ping"}).encode())
            pipe.until(f"ping {number}")
        assert memory.memory_info().rss - before < GROWTH
    check_log(tmp_path / "log")


def request(
    *headers: bytes, body: bytes = PING, path: bytes = b"/mcp", token: str | None = TOKEN, length: bool = True
) -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"Connection: close", *headers]
    lines += [f"{name}: {value}".encode() for name, value in JSON.items()]
    if not any(one.lower().startswith(b"host") for one in headers):
        lines.append(b"Host: 127.0.0.1")
    if token is not None:
        lines.append(f"Authorization: Bearer {token}".encode())
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(PING), PING)
#: A request that must never be seen as one of its own.
SMUGGLED = (
    f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
).encode()
TE = b"Transfer-Encoding: chunked"

AMBIGUOUS = {
    "both lengths": request(TE, body=CHUNKED + SMUGGLED),
    "both lengths, short": request(TE, b"Content-Length: 5", body=CHUNKED + SMUGGLED, length=False),
    "two lengths": request(b"Content-Length: 0", body=PING + SMUGGLED),
    "a signed length": request(b"Content-Length: +40", body=PING + SMUGGLED, length=False),
    "a negative length": request(b"Content-Length: -1", body=PING + SMUGGLED, length=False),
    "a hexadecimal length": request(b"Content-Length: 0x10", length=False),
    "an endless length": request(b"Content-Length: 99999999999999999999999", length=False),
    "another coding": request(b"Transfer-Encoding: xchunked", body=PING + SMUGGLED),
    "two codings": request(b"Transfer-Encoding: chunked, identity", body=CHUNKED + SMUGGLED, length=False),
    "two headers of codings": request(TE, b"Transfer-Encoding: identity", body=CHUNKED + SMUGGLED),
    "a space before the colon": request(b"Transfer-Encoding : chunked", body=PING + SMUGGLED),
    "a vertical tab": request(b"Transfer-Encoding:\x0bchunked", body=PING + SMUGGLED),
    "a bare carriage return": request(b"X-A: b\rTransfer-Encoding: chunked"),
    "a negative chunk": request(TE, body=b"-5\r\nabc\r\n0\r\n\r\n", length=False),
    "two hosts": request(b"Host: 127.0.0.1", b"Host: evil.example"),
    "two tokens": request(b"Authorization: Bearer wrong"),
    "the same token twice": request(f"Authorization: Bearer {TOKEN}".encode()),
    "a line end in the path": request(path=b"/mcp\r\nX: y"),
    "an endless header": request(b"X-A: " + b"y" * 200_000),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_request_that_could_be_two_is_none(service: Service, name: str) -> None:
    answers = service.raw(AMBIGUOUS[name].replace(b"Connection: close\r\n", b""))
    assert [status for status, _ in answers] == [400], name
    assert b"jesse_mcp_workers" not in answers[0][1]


def test_two_requests_on_a_connection_are_two(service: Service) -> None:
    """So that the tests above show something."""
    answers = service.raw(request().replace(b"Connection: close\r\n", b"") + SMUGGLED)
    assert [status for status, _ in answers] == [200, 200]
    assert b"jesse_mcp_workers" in answers[1][1]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"127.0.0.1", 200),
        (b"localhost:1", 200),
        (b"127.0.0.1@evil.example", 421),
        (b"evil.example@127.0.0.1", 421),
        (b"127.0.0.1/evil.example", 421),
        (b"127.0.0.1,evil.example", 421),
        (b"127.0.0.1.evil.example", 421),
        (b"evil.example#127.0.0.1", 421),
        (b"evil.example?127.0.0.1", 421),
        (b"2130706433", 421),
        (b"0.0.0.0", 421),
        (b"127.1", 421),
        (b"", 421),
        (b"\xff", 421),
    ],
)
def test_a_host_that_only_looks_like_ours(service: Service, host: bytes, status: int) -> None:
    ((found, _),) = service.raw(request(b"Host: " + host))
    assert found == status


#: A right token in a place or a form that is wrong.
MISPLACED = {
    "in the query": request(
        path=f"/mcp?access_token={TOKEN}&token={TOKEN}&authorization=Bearer%20{TOKEN}".encode(), token=None
    ),
    "in a form": request(body=f"access_token={TOKEN}".encode(), token=None),
    "in a cookie": request(
        f"Cookie: Authorization=Bearer {TOKEN}; access_token={TOKEN}".encode(), token=None
    ),
    "in another header": request(f"X-Authorization: Bearer {TOKEN}".encode(), token=None),
    "in a header like it": request(f"Authorization_: Bearer {TOKEN}".encode(), token=None),
    "of a proxy": request(f"Proxy-Authorization: Bearer {TOKEN}".encode(), token=None),
    "after two spaces": request(token=f" {TOKEN}"),
    "after a tab": request(f"Authorization: Bearer\t{TOKEN}".encode(), token=None),
    "with a word after it": request(token=f"{TOKEN} x"),
    "with a comma after it": request(token=f"{TOKEN}, Bearer x"),
    "in quotes": request(token=f'"{TOKEN}"'),
    "in capitals": request(token=TOKEN.upper()),
    "shorter": request(token=TOKEN[:-1]),
    "longer": request(token=TOKEN + "x"),
    "beyond ASCII": request(token=TOKEN + "\u00e9"),
    "as Basic": request(f"Authorization: Basic {TOKEN}".encode(), token=None),
    "encoded": request(token=TOKEN.replace("-", "%2d")),
}


@pytest.mark.parametrize("name", MISPLACED)
def test_a_token_is_taken_from_one_place_in_one_form(service: Service, name: str) -> None:
    ((status, answer),) = service.raw(MISPLACED[name])
    assert status == 401
    assert TOKEN.encode() not in answer


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_the_scheme_may_be_written_in_any_case(service: Service, scheme: str) -> None:
    ((status, _),) = service.raw(request(f"authorization: {scheme} {TOKEN}".encode(), token=None))
    assert status == 200


FORGED = "a\n2026-01-01 00:00:00,000 ERROR forged: line\r\n\x1b[2J\u2028"


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("strategy_read", {"name": FORGED}),
        ("run_list", {"limit": FORGED}),
        ("run_list", {FORGED: 1}),
        (FORGED, {}),
        (
            "candles_import",
            {"exchange": "Binance Spot", "symbol": "BTC-USDT", "path": f"/nowhere/{FORGED}.csv"},
        ),
        ("strategy_write", {"name": "Forged", "code": f"raise ValueError({FORGED!r})"}),
        ("job_get", {"job_id": FORGED}),
    ],
)
@pytest.mark.parametrize("token", [TOKEN, READER])
def test_arguments_forge_no_line_of_the_log(
    service: Service, token: str, tool: str, arguments: dict[str, Any]
) -> None:
    call = {"name": tool, "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": FORGED, "method": "tools/call", "params": call}
    answer = service.post(json.dumps(message).encode(), token)
    assert answer.status_code == 200
    assert answered(answer.text)["id"] == FORGED


def test_a_path_of_candles_tells_nothing_of_the_machine(service: Service) -> None:
    there = service.folder / "accounts.csv"
    there.write_text("user;password\nroot;sentinel-77\n")
    said = set()
    for path in (there, service.folder / "nothing.csv", service.folder, "~", "accounts.csv"):
        arguments = {"exchange": "Binance Spot", "symbol": "BTC-USDT", "path": str(path)}
        call = {"name": "candles_import", "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        answer = service.post(json.dumps(message).encode(), TOKEN)
        error = answered(answer.text)["result"]["structuredContent"]["error"]
        assert error["code"] == "forbidden"
        assert str(service.folder / "home" / "imports") in error["hint"]
        said.add(error["message"].replace(repr(str(path)), "PATH"))
    assert len(said) == 1


def test_headers_forge_neither_lines_nor_headers(service: Service) -> None:
    headers = [
        b"X-Request-ID: a%0d%0aX-Evil: 1",
        b"X-Forwarded-For: 203.0.113.9%0aforged, evil\\nforged",
        b"X-Forwarded-Proto: javascript:alert(1)",
        b"X-Forwarded-Host: evil.example",
        b"Forwarded: for=evil;host=evil.example",
        b"Mcp-Session-Id: a%0d%0aX-Evil: 1",
        b"Mcp-Protocol-Version: 2025-06-18",
        b"User-Agent: \xff\xfe\x1b[2J",
        b"Last-Event-ID: ../../etc",
    ]
    for token in (TOKEN, "wrong"):
        ((status, answer),) = service.raw(request(*headers, token=token))
        assert status == (200 if token == TOKEN else 401)
        assert b"evil" not in answer.lower()
        assert b"forged" not in answer
    for method in (b"TRACE", b"CONNECT", b"PROPFIND", b"FORGED\x1b"):
        answers = service.raw(request(*headers).replace(b"POST", method, 1))
        assert {found for found, _ in answers} <= {400, 404, 405}, method
        assert TOKEN.encode() not in b"".join(answer for _, answer in answers)
    wait_until(lambda: "was answered with 401" in service.log.read_text(), "the log")


def test_who_leaves_in_the_middle_of_a_request_is_no_fault(service: Service) -> None:
    before = service.log.read_text().count(" ERROR ")
    for cut in (1, 10, 39):
        with socket.create_connection(service.address) as line:
            line.sendall(request(body=PING)[:-cut])
        with socket.create_connection(service.address) as line:
            line.sendall(request(TE, body=CHUNKED[:-cut], length=False))
    assert service.post(PING).status_code == 200
    assert service.log.read_text().count(" ERROR ") == before
