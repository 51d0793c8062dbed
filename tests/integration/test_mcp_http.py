"""The server over HTTP: who may speak to it, several at once, and how every server ends."""

import asyncio
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from mcp import Client

from jesse_mcp.cli.serve import serve
from jesse_mcp.composition import Application
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import Job, JobState
from jesse_mcp.settings import Settings
from mcp_desk import (
    DEADLINE,
    RUN,
    SERIES,
    Desk,
    candle_file,
    environment,
    http_desk,
    http_server,
    serving,
    stdio_desk,
    strategy,
    wait_until,
)

HELLO: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}
ACCEPT = {"Accept": "application/json, text/event-stream"}
#: What would open the door, if anybody listened to it.
OPEN_DOOR = {
    "FASTMCP_HTTP_HOST_ORIGIN_PROTECTION": "false",
    "FASTMCP_HTTP_ALLOWED_HOSTS": '["*"]',
    "FASTMCP_HTTP_ALLOWED_ORIGINS": '["*"]',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("http")


@pytest.fixture(scope="module")
def url(engine_python: Path, folder: Path) -> Iterator[str]:
    surroundings = environment(folder, engine_python, **OPEN_DOOR)
    with http_server(surroundings, folder / "log") as (_, address):
        with http_desk(address) as desk:
            prepare(desk, folder)
        yield address


def prepare(desk: Desk, folder: Path) -> None:
    desk.call("candles_import", **SERIES, path=str(candle_file(folder / "btc.csv")))
    desk.call("strategy_write", name="Mine", code=strategy("Mine"))
    desk.call("strategy_write", name="Endless", code=strategy("Endless", "while True: pass"))


def endless(desk: Desk, **more: Any) -> str:
    job_id: str = desk.call("backtest", **RUN, strategy="Endless", wait_seconds=0, **more)["job_id"]
    wait_until(lambda: desk.call("job_get", job_id=job_id)["state"] == "running", f"{job_id} running")
    return job_id


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost"}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "localhost.evil.example:8765"}, 421),
        ({"Host": "169.254.169.254"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1.evil.example"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 421),
    ],
    ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else None,
)
def test_only_this_machine_is_answered(url: str, headers: dict[str, str], status: int) -> None:
    """Whatever the environment of the server says about the framework's own protection."""
    answer = httpx2.post(url, json=HELLO, headers={**ACCEPT, **headers}, timeout=DEADLINE)
    assert answer.status_code == status, answer.text
    assert ("serverInfo" in answer.text) is (status == 200)


@pytest.mark.parametrize(
    "path", ["/", "/mc", "/mcp/x", "/sse", "/messages", "/health/x", "/docs", "/openapi.json"]
)
def test_nothing_else_is_served(url: str, path: str) -> None:
    base = url.removesuffix("/mcp")
    assert httpx2.get(base + path, timeout=DEADLINE).status_code == 404
    assert httpx2.post(base + path, json=HELLO, headers=ACCEPT, timeout=DEADLINE).status_code == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"jsonrpc":"2.0","id":1}', b'"\\ud800"'])
def test_rubbish_is_refused_and_harms_nobody(url: str, body: bytes) -> None:
    headers = {**ACCEPT, "Content-Type": "application/json"}
    answer = httpx2.post(url, content=body, headers=headers, timeout=DEADLINE)
    assert 400 <= answer.status_code < 500, answer.text
    with http_desk(url) as desk:
        assert desk.call("system_status")["version"]


def test_two_clients_at_once(url: str) -> None:
    with http_desk(url) as one, http_desk(url) as other:
        job_id = endless(one)
        assert other.call("job_get", job_id=job_id)["state"] == "running", "one sees what the other does"
        seen: dict[float, list[float]] = {0.001: [], 0.002: []}

        def run(desk: Desk, fee: float) -> dict[str, Any]:
            async def progress(fraction: float, _total: float | None, _message: str | None) -> None:
                seen[fee].append(fraction)

            return desk.call("backtest", progress, **RUN, strategy="Mine", fee=fee, use_cache=False)

        with ThreadPoolExecutor() as threads:
            answers = list(threads.map(run, (one, other), seen))
        assert [answer["run"]["request"]["fee"] for answer in answers] == list(seen)
        assert all(values == sorted(set(values)) and values for values in seen.values()), seen
        assert other.call("job_cancel", job_id=job_id)["state"] == "cancelled"
        assert one.call("job_get", job_id=job_id)["state"] == "cancelled"


async def test_fifty_calls_at_once(url: str) -> None:
    async with Client(url) as client:
        answers = await asyncio.gather(
            *(client.call_tool("indicator_list", {"limit": n}) for n in range(1, 51))
        )
    counts = [len((answer.structured_content or {})["indicators"]) for answer in answers]
    assert counts == list(range(1, 51))


async def test_a_client_that_leaves_does_not_take_its_job_along(url: str) -> None:
    async with Client(url) as client:
        call = asyncio.create_task(
            client.call_tool("backtest", {**RUN, "strategy": "Endless", "title": "left", "fee": 0.003})
        )
        with http_desk(url) as desk:

            def started() -> list[dict[str, Any]]:
                jobs = desk.call("job_list", state="running")["jobs"]
                return [job for job in jobs if job["request"].get("fee") == 0.003]

            (job,) = await asyncio.to_thread(wait_until, started, "the job running")
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
    with http_desk(url) as desk:
        assert desk.call("job_get", job_id=job["job_id"])["state"] == "running"
        assert desk.call("job_cancel", job_id=job["job_id"])["state"] == "cancelled"


async def refusal(**options: Any) -> str:
    with pytest.raises(ResearchError) as caught:
        await serve(**options)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.hint
    return caught.value.message


async def test_an_address_it_cannot_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JESSE_MCP_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = await refusal(transport="http", port=port)
    assert said == f"cannot listen on 127.0.0.1 port {port}: Address already in use"
    assert await refusal(transport="http", port=65536) == "--port is 65536"
    assert await refusal(port=8765) == "--port means nothing on stdio"
    assert await refusal(host="127.0.0.1") == "--host means nothing on stdio"
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", ""):  # noqa: S104
        assert (await refusal(transport="http", host=host)).startswith(f"refusing to listen on {host}")
    monkeypatch.setenv("JESSE_MCP_HOST", "192.0.2.1")
    assert "192.0.2.1 without a token" in await refusal(transport="http")
    monkeypatch.setenv("JESSE_MCP_HOST", "127.0.0.1")
    monkeypatch.setenv("JESSE_MCP_ALLOWED_HOSTS", "desk.example.org")
    assert "reached by others without a token" in await refusal(transport="http")
    assert await refusal(stateless=True) == "--stateless means nothing on stdio"
    assert not list(tmp_path.iterdir()), "refused before anything was made"


def left_behind(process: psutil.Process, below: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in (process, *below) if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def scratch(folder: Path) -> list[Path]:
    return list((folder / "cache" / "scratch").iterdir())


def test_sigterm_ends_a_server_over_http_with_its_jobs(engine_python: Path, tmp_path: Path) -> None:
    surroundings = environment(tmp_path, engine_python)
    with http_server(surroundings, tmp_path / "log") as (process, address), http_desk(address) as desk:
        prepare(desk, tmp_path)
        job_id = endless(desk)
        server = psutil.Process(process.pid)
        below = server.children(recursive=True)
        assert len(below) >= 2, "a template and a worker"
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
        wait_until(lambda: not left_behind(server, below), "the end of every process")
    assert scratch(tmp_path) == []
    check_lost(tmp_path, job_id)


def check_lost(folder: Path, job_id: str) -> None:
    """What is told of a job that was stopped with its server."""

    async def look() -> Job:
        application = Application(Settings(home=folder / "home", prewarm=False))
        try:
            return await application.jobs.get(job_id)
        finally:
            await application.close()

    job = asyncio.run(look())
    assert job.error is not None
    assert (job.state, job.error["code"]) == (JobState.LOST, "job_lost")
    assert job.error["details"] == {"reason": "server_stopped"}
    assert "again" in job.error["hint"]


@pytest.mark.parametrize(
    ("number", "options"),
    [(signal.SIGINT, []), (signal.SIGHUP, ["--transport", "http", "--port", "0"])],
    ids=["SIGINT on stdio", "SIGHUP on http"],
)
def test_other_signals_end_it_as_gently(
    engine_python: Path, tmp_path: Path, number: signal.Signals, options: list[str]
) -> None:
    """Also while it starts: once its handlers are there, no signal is lost."""
    surroundings = environment(tmp_path, engine_python, JESSE_MCP_PREWARM="false", JESSE_MCP_LOG_LEVEL="INFO")
    with serving(surroundings, tmp_path / "log", *options, stdin=subprocess.PIPE) as process:
        wait_until(lambda: "MCP" in (tmp_path / "log").read_text(), "the server starting")
        process.send_signal(number)
        process.send_signal(number)
        assert process.wait(DEADLINE) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


class Line:
    """JSON-RPC by hand, to see every byte on standard output."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout
        self._number = 0

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        request = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        self.say(json.dumps(request))
        while True:
            answer: dict[str, Any] = json.loads(self._output.readline())
            assert answer["jsonrpc"] == "2.0"
            if answer.get("id") == self._number:
                return answer

    def say(self, text: str) -> None:
        self._input.write(text.encode() + b"\n")
        self._input.flush()

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        content = self.ask("tools/call", name=tool, arguments=arguments)["result"]["structuredContent"]
        return dict(content)


@pytest.mark.parametrize("ending", ["SIGTERM", "end of input"])
def test_a_stdio_server_ends_with_its_jobs(engine_python: Path, tmp_path: Path, ending: str) -> None:
    surroundings = environment(tmp_path, engine_python, JESSE_MCP_LOG_LEVEL="DEBUG")
    with serving(surroundings, tmp_path / "log", stdin=subprocess.PIPE) as process:
        line = Line(process)
        line.ask("initialize", **HELLO["params"])
        line.say("this is not JSON")
        line.say('{"jsonrpc":"2.0","method":"notifications/initialized"}')
        line.call("candles_import", **SERIES, path=str(candle_file(tmp_path / "btc.csv")))
        line.call("strategy_write", name="Endless", code=strategy("Endless", "while True: print(1)"))
        job_id = line.call("backtest", **RUN, strategy="Endless", wait_seconds=0)["job_id"]
        wait_until(lambda: line.call("job_get", job_id=job_id)["state"] == "running", "the job running")
        server = psutil.Process(process.pid)
        below = server.children(recursive=True)
        assert len(below) >= 2, "a template and a worker"
        if ending == "end of input":
            assert process.stdin is not None
            process.stdin.close()
        else:
            process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
        wait_until(lambda: not left_behind(server, below), "the end of every process")
        assert process.stdout is not None
        for rest in process.stdout.read().splitlines():
            json.loads(rest)
    assert scratch(tmp_path) == []
    check_lost(tmp_path, job_id)


def test_two_servers_over_one_home(engine_python: Path, tmp_path: Path) -> None:
    """As when two clients start a server each: they share strategies, candles, runs and jobs."""
    surroundings = environment(tmp_path, engine_python, JESSE_MCP_WORKERS="1")
    with ExitStack() as stack:
        one, other = (stack.enter_context(stdio_desk(surroundings, tmp_path / f"log{n}")) for n in range(2))
        prepare(one, tmp_path)
        run_id = one.call("backtest", **RUN, strategy="Mine")["run"]["run_id"]
        again = other.call("backtest", **RUN, strategy="Mine")
        assert (again["cached"], again["run"]["run_id"]) == (True, run_id)
        job_id = endless(one)
        # Known to its own server at once, and to others as soon as it is recorded.
        wait_until(lambda: other.call("job_get", job_id=job_id)["state"] == "running", "the other hearing")
        cancelled = other.call("job_cancel", job_id=job_id)
        assert cancelled["state"] == "cancelled", "its owner was asked, and has obeyed"
        assert one.call("job_get", job_id=job_id)["state"] == "cancelled"
