"""The server on a network: real processes, real tokens, real gunicorn."""

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.adapters.storage.token_file import TokenFile
from jesse_mcp.domain.access import Scope
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.services.tokens import TokenService
from mcp_desk import DEADLINE, RUN, SERIES, candle_file, environment, http_server, strategy, wait_until

PASSWORD = "sentinel-password-77e1"  # noqa: S105  (values to look for)
GIVEN = "sentinel-given-0123456789abcdefghijklmnop"
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
REQUESTS = 120
#: Seconds for a request to be complete; a busy machine must not take an honest client for a slow one.
PATIENCE_WITH_CLIENTS = 10


def called(tool: str, **arguments: Any) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments},
    }


def bearer(token: str, **more: str) -> dict[str, str]:
    return {**HEADERS, "Authorization": f"Bearer {token}", **more}


class Service:
    """A server, and what a test needs to come in."""

    def __init__(self, folder: Path, url: str, process: "subprocess.Popen[bytes]") -> None:
        self.folder = folder
        self.url = url
        self.process = process
        self.tokens = TokenService(TokenFile(folder / "home" / "tokens.json"))
        self.made: list[str] = []

    def token(self, name: str, *scopes: Scope, days: float | None = None) -> str:
        secret, _ = self.tokens.create(name, scopes, days)
        self.made.append(secret)
        return secret

    def post(self, token: str, body: Any = LIST, **headers: str) -> httpx2.Response:
        return httpx2.post(self.url, json=body, headers=bearer(token, **headers), timeout=60)

    def get(self, path: str, token: str = "") -> httpx2.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx2.get(self.url.removesuffix("/mcp") + path, headers=headers, timeout=60)

    def call(self, token: str, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured content of an answer."""
        answer = self.post(token, called(tool, **arguments))
        assert answer.status_code == 200, answer.text
        data = next(line for line in answer.text.splitlines() if line.startswith("data: "))
        content: dict[str, Any] = json.loads(data.removeprefix("data: "))["result"]["structuredContent"]
        return content

    def wait_for_running(self, job_id: str) -> None:
        """Looked up beside the server, which counts requests."""
        database = Database.at(self.folder / "home" / "research.sqlite")
        store = SqlJobStore(database)
        try:
            wait_until(lambda: store.get(job_id).state is JobState.RUNNING, f"{job_id} running")
        finally:
            database.close()

    def audit(self) -> list[dict[str, Any]]:
        path = self.folder / "home" / "logs" / "audit.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def variables(folder: Path, engine_python: Path, **more: str) -> dict[str, str]:
    return environment(
        folder,
        engine_python,
        JESSE_MCP_TOKENS=f"given:admin:{GIVEN}",
        JESSE_PASSWORD=PASSWORD,
        JESSE_MCP_STATELESS="true",
        JESSE_MCP_LOG_LEVEL="DEBUG",
        RATE_LIMIT_REQUESTS_PER_MINUTE=str(REQUESTS),
        **more,
    )


@pytest.fixture(scope="module")
def service(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    more = {
        "JESSE_MCP_ALLOWED_HOSTS": "desk.example.org",
        "JESSE_MCP_REQUEST_TIMEOUT": str(PATIENCE_WITH_CLIENTS),
        "JESSE_MCP_MAX_JOBS_PER_CLIENT": "1",
        "JESSE_MCP_LOG_FILE": str(folder / "log.jsonl"),
        "LOG_FORMAT": "json",
    }
    with http_server(variables(folder, engine_python, **more), folder / "log") as (process, url):
        (folder / "home").mkdir(exist_ok=True)
        yield Service(folder, url, process)


def test_no_token_no_answer(service: Service) -> None:
    answer = httpx2.post(service.url, json=LIST, headers=HEADERS, timeout=60)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "jesse-mcp token create" in answer.json()["error"]["hint"]
    old = service.token("old", Scope.READ, days=1e-9)
    for wrong in ("wrong", GIVEN[:-1], old, GIVEN.upper()):
        answer = service.post(wrong)
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert wrong not in answer.text
    assert service.post(GIVEN).status_code == 200


def test_a_token_is_good_until_it_is_revoked(service: Service) -> None:
    token = service.token("brief", Scope.READ)
    assert service.post(token).status_code == 200
    service.tokens.revoke("brief")
    assert service.post(token).status_code == 401


def test_a_scope_shows_and_opens_its_tools_only(service: Service) -> None:
    reader = service.token("reader", Scope.READ)

    async def listed() -> set[str]:
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {reader}"}, timeout=60) as http,
            Client(streamable_http_client(service.url, http_client=http)) as client,
        ):
            return {tool.name for tool in (await client.list_tools()).tools}

    tools = asyncio.run(listed())
    assert "run_list" in tools
    assert not tools & {"backtest", "strategy_write", "candles_import"}
    error = service.call(reader, "strategy_write", name="A", code="")["error"]
    assert (error["code"], error["details"]) == ("forbidden", {"scope": "write"})
    assert "`jesse-mcp token create NAME --scope read write`" in error["hint"]
    (line,) = wait_until(lambda: [x for x in service.audit() if x["client"] == "token:reader"], "the audit")
    assert (line["tool"], line["outcome"]) == ("strategy_write", "forbidden")


def test_it_is_watched(service: Service) -> None:
    assert service.get("/health").json()["status"] == "ok"
    # An engine that is asked for the first time may be slower than readiness waits for it.
    wait_until(lambda: service.get("/ready").status_code == 200, "it being ready")
    ready = service.get("/ready")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "problems": []})
    assert service.get("/metrics").status_code == 401
    service.call(GIVEN, "run_list")
    text = service.get("/metrics", GIVEN).text
    assert 'jesse_mcp_tool_calls_total{tool="run_list"}' in text
    assert 'jesse_mcp_workers{state="capacity"} 2.0' in text


def test_what_a_request_says_of_itself_is_not_believed(service: Service) -> None:
    token = service.token("forger", Scope.READ)
    forged = {"X-Forwarded-For": "203.0.113.9", "X-Request-ID": "a b", "X-Real-IP": "203.0.113.9"}
    assert service.post(token, called("run_list"), **forged).status_code == 200
    (line,) = wait_until(lambda: [x for x in service.audit() if x["client"] == "token:forger"], "the audit")
    assert line["address"] == "127.0.0.1"
    assert line["request_id"].startswith("req_")
    answer = service.post(token, called("run_list"), **{"X-Request-ID": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    for host, status in (("evil.example", 421), ("127.0.0.1.evil.example", 421), ("desk.example.org", 200)):
        assert service.post(token, Host=host).status_code == status
    assert service.post(token, Origin="https://evil.example").status_code == 403


def raw(service: Service) -> socket.socket:
    host, port = service.url.removeprefix("http://").removesuffix("/mcp").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def everything(line: socket.socket) -> bytes:
    received = b""
    with suppress(TimeoutError, ConnectionResetError):
        while chunk := line.recv(65536):
            received += chunk
    return received


def head(length: int, token: str = GIVEN, extra: bytes = b"") -> bytes:
    return (
        b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Accept: application/json, text/event-stream\r\n"
        + f"Authorization: Bearer {token}\r\nContent-Length: {length}\r\n".encode()
        + extra
        + b"\r\n"
    )


def test_headers_cannot_be_injected(service: Service) -> None:
    body = json.dumps(LIST).encode()
    for evil in (
        b"X-Request-ID: a\r\n Set-Cookie: x=1\r\n",
        b"X-Request-ID: a\rSet-Cookie: x=1\r\n",
        b"X-Request-ID: a\x00b\r\n",
        b"X-Request-ID: a%0d%0aSet-Cookie: x=1\r\n",
    ):
        with raw(service) as line:
            line.sendall(head(len(body), extra=evil) + body)
            answer = everything(line)
        assert answer.startswith(b"HTTP/1.1 "), evil
        assert b"set-cookie" not in answer.lower(), evil


def test_too_much_and_too_deep(service: Service) -> None:
    with raw(service) as line:
        line.sendall(head(10_000_000))
        assert everything(line).startswith(b"HTTP/1.1 413 "), "said before anything is sent"

    def endless() -> Iterator[bytes]:
        for _ in range(5 * 16):
            yield b" " * 65_536

    with suppress(httpx2.HTTPError):  # it may be refused while it is still sending
        answer = httpx2.post(service.url, content=endless(), headers=bearer(GIVEN), timeout=60)
        assert answer.status_code == 413
    deep = httpx2.post(service.url, content=b"[" * 1_000_000, headers=bearer(GIVEN), timeout=60)
    assert deep.status_code == 400
    assert service.post(GIVEN).status_code == 200


def test_slow_clients_hinder_nobody(service: Service) -> None:
    lines = [raw(service) for _ in range(20)]
    try:
        for number, line in enumerate(lines):
            # Half of them stop within the headers, half within the body.
            line.sendall(head(1000)[: 60 if number % 2 else None])
        assert service.post(GIVEN).status_code == 200
        assert not select.select(lines, [], [], 0)[0], "while each of them is still waited for"
        assert everything(lines[0]).startswith(b"HTTP/1.1 408 ")
    finally:
        for line in lines:
            line.close()


def test_too_often_and_again_later(service: Service) -> None:
    hasty = service.token("hasty", Scope.READ)
    with httpx2.Client(headers=bearer(hasty), timeout=60) as http:

        def ask(_: int) -> httpx2.Response:
            return http.post(service.url, content=b"{")

        def refused() -> httpx2.Response | None:
            with ThreadPoolExecutor(8) as threads:
                answers = list(threads.map(ask, range(40)))
            assert {answer.status_code for answer in answers} <= {400, 429}
            return next((answer for answer in answers if answer.status_code == 429), None)

        answer = wait_until(refused, "the limit")
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["code"] == "rate_limited"
        assert service.post(GIVEN).status_code == 200, "others are not concerned"
        assert service.get("/health").status_code == 200
        wait_until(lambda: ask(0).status_code == 400, "being let in again", 10)


def test_jobs_of_a_client(service: Service) -> None:
    """The only test that starts the engine: what it runs, and with it the server, ends last."""
    worker = service.token("worker", Scope.RESEARCH, Scope.WRITE, Scope.READ)
    service.call(worker, "candles_import", **SERIES, path=str(candle_file(service.folder / "btc.csv")))
    service.call(worker, "strategy_write", name="Endless", code=strategy("Endless", "while True: pass"))
    job_id = service.call(worker, "backtest", **RUN, strategy="Endless", wait_seconds=0)["job_id"]
    error = service.call(worker, "backtest", **RUN, strategy="Endless", fee=0.003, wait_seconds=0)["error"]
    assert (error["code"], error["details"]) == ("rate_limited", {"limit": 1, "retry_after_seconds": 5})
    service.wait_for_running(job_id)
    search_for_secrets(service)
    assert service.call(worker, "job_cancel", job_id=job_id)["state"] == "cancelled"


def search_for_secrets(service: Service) -> None:
    """In every file of the server, in what processes show of themselves, in what strategies could read."""
    secrets = [PASSWORD, GIVEN, *service.made]
    assert len(secrets) > 2
    server = psutil.Process(service.process.pid)
    below = server.children(recursive=True)
    assert len(below) >= 2, "a template and a worker"
    for process in (server, *below):
        shown = " ".join(process.cmdline())
        assert not [secret for secret in secrets if secret in shown]
    for process in below:
        given = str(process.environ())
        assert not [secret for secret in secrets if secret in given], process.cmdline()
    wait_until((service.folder / "log.jsonl").exists, "the log file")
    files = [path for path in service.folder.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"log", "log.jsonl", "audit.jsonl", "tokens.json", "research.sqlite"} <= names
    for path in files:
        # What a run had written goes with the run.
        with suppress(FileNotFoundError):
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content], path
    for line in (service.folder / "log.jsonl").read_text().splitlines():
        json.loads(line)


@contextmanager
def served_by(
    command: list[str], surroundings: dict[str, str], folder: Path
) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        url = f"http://127.0.0.1:{port}/mcp"
        address = f"fd://{listener.fileno()}"
        words = [sys.executable, "-m", *(address if ":8765" in word else word for word in command)]
        with (folder / "log").open("w") as errors:
            process = subprocess.Popen(
                words, env=surroundings, stdout=errors, stderr=errors, pass_fds=(listener.fileno(),)
            )
    try:
        yield process, url
    finally:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
        process.wait()


def shown(program: str) -> list[str]:
    """The command of docs/operations.md."""
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith(f"{program} ")]
    return line.split()


def test_gunicorn_serves_it_and_ends_it_gently(engine_python: Path, tmp_path: Path) -> None:
    surroundings = variables(tmp_path, engine_python)
    with served_by(shown("gunicorn"), surroundings, tmp_path) as (process, url):
        service = Service(tmp_path, url, process)

        def answers() -> bool:
            assert process.poll() is None, (tmp_path / "log").read_text()
            with suppress(httpx2.HTTPError):
                return service.get("/health").status_code == 200
            return False

        wait_until(answers, "gunicorn serving")
        assert httpx2.post(url, json=LIST, headers=HEADERS, timeout=60).status_code == 401
        service.call(GIVEN, "candles_import", **SERIES, path=str(candle_file(tmp_path / "btc.csv")))
        service.call(GIVEN, "strategy_write", name="Endless", code=strategy("Endless", "while True: pass"))
        job_id = service.call(GIVEN, "backtest", **RUN, strategy="Endless", wait_seconds=0)["job_id"]
        service.wait_for_running(job_id)
        below = psutil.Process(process.pid).children(recursive=True)
        assert len(below) >= 3, "a worker of gunicorn, a template and a worker"
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0, (tmp_path / "log").read_text()
        wait_until(
            lambda: not [p for p in below if p.is_running() and p.status() != psutil.STATUS_ZOMBIE],
            "the end of every process",
        )
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert "Application shutdown complete" in log
    assert list((tmp_path / "cache" / "scratch").iterdir()) == []
    assert GIVEN not in log


def test_other_programs_do_not_serve_it_without_a_token(tmp_path: Path) -> None:
    """They do not say which address they listen on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = subprocess.run(
            [sys.executable, "-m", *shown("uvicorn"), "--fd", "0"],
            env={**os.environ, "JESSE_MCP_HOME": str(tmp_path / "home")},
            stdin=listener.fileno(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ended.returncode == 3
    assert "jesse-mcp token create" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "home").exists()
