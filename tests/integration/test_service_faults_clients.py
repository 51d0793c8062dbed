"""Clients that never read an answer, and clients that leave in the middle of a call.

How long it took to recover is in the properties of each test and in its output (``pytest -rP``).
"""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from faulty_service import (
    HEADERS,
    FaultyService,
    Measured,
    called,
    faulty_service,
    records_are_whole,
    stopped,
    timed,
)
from mcp_desk import RUN, SERIES, candle_file, environment, held, strategy, wait_until

#: Seconds after which a client that sends or reads nothing is given up; a busy machine must not be one.
PATIENCE_WITH_CLIENTS = 10
MODES = {"sessions": "false", "stateless": "true"}
CLIENTS = 10
#: Of one of them; together more than any buffer of the kernel.
REQUESTS = 40
#: Processes of an engine that has nothing to do: what it forks from, and one in waiting.
AT_REST = 2


@pytest.fixture(scope="module", params=MODES)
def service(
    request: pytest.FixtureRequest, engine_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultyService]:
    folder = tmp_path_factory.mktemp("clients")
    limits = {"JESSE_MCP_REQUEST_TIMEOUT": str(PATIENCE_WITH_CLIENTS)}
    more = {"JESSE_MCP_STATELESS": MODES[request.param], **limits}
    with faulty_service(environment(folder, engine_python, **more), folder) as served:
        served.desk.call("candles_import", **SERIES, path=str(candle_file(folder / "btc.csv")))
        acts = {"Endless": "while True: pass", "Held": held(folder / "gate"), "Mine": "pass"}
        for name, act in acts.items():
            served.desk.call("strategy_write", name=name, code=strategy(name, act))
        # The engine is warm, so that what it needs anyway is not counted as left behind.
        served.desk.call("backtest", **RUN, strategy="Mine")
        yield served


def in_a_session(service: FaultyService) -> dict[str, str]:
    """Headers of a client that has said hello, where that is asked for."""
    hello = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "1"},
    }
    body = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello})
    answer = httpx2.post(service.url, content=body, headers=HEADERS, timeout=60)
    assert answer.status_code == 200, answer.text
    session = answer.headers.get("mcp-session-id")
    return HEADERS | ({"mcp-session-id": session} if session else {})


def running_besides(service: FaultyService, known: set[str]) -> str | None:
    jobs = service.desk.call("job_list", state="running")["jobs"]
    return next((job["job_id"] for job in jobs if job["job_id"] not in known), None)


def unread(service: FaultyService, headers: dict[str, str]) -> socket.socket:
    """A client that asks a lot, and never reads an answer."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    address = httpx2.URL(service.url)
    line.connect((address.host, address.port))
    line.sendall(b"".join(request(address, headers, number) for number in range(REQUESTS)))
    return line


def request(address: httpx2.URL, headers: dict[str, str], number: int) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/list"})
    head = [
        f"POST {address.path} HTTP/1.1",
        f"Host: {address.host}:{address.port}",
        *(f"{name}: {value}" for name, value in headers.items()),
        f"Content-Length: {len(body)}",
    ]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


@pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system cannot tell who does not read"
)
def test_clients_that_never_read_are_dropped_and_hinder_nobody(
    service: FaultyService, measured: Measured
) -> None:
    memory = service.memory_mb
    with ExitStack() as stack:
        lines = [stack.enter_context(unread(service, in_a_session(service))) for _ in range(CLIENTS)]
        assert service.connections_from(lines), "they are kept for a while"
        with timed(measured, "all of them dropped"):
            wait_until(lambda: service.connections_from(lines) == 0, "the clients dropped", 60)
            assert service.desk.call("system_status")["engine"]["installed"]
        assert service.memory_mb < memory + 100, "what is not read is not kept"
    assert service.ready()


@pytest.mark.parametrize("ending", ["done", "cancelled"])
def test_a_job_outlives_the_client_that_waits_for_it(
    service: FaultyService, measured: Measured, ending: str
) -> None:
    name = {"done": "Held", "cancelled": "Endless"}[ending]
    wait_until(lambda: len(service.below) == AT_REST, "the engine at rest")
    descriptors = service.descriptors
    arguments: dict[str, Any] = {**RUN, "strategy": name, "fee": 0.0017, "wait_seconds": 600}
    headers = in_a_session(service)
    known = {job["job_id"] for job in service.desk.call("job_list")["jobs"]}
    call = called("backtest", **arguments)
    with httpx2.stream("POST", service.url, content=call, headers=headers, timeout=60):
        job_id = wait_until(lambda: running_besides(service, known), "the job running")
    # Nobody waits any more, and it goes on.
    assert service.state(job_id) == "running"
    if ending == "cancelled":
        service.desk.call("job_cancel", job_id=job_id)
    else:
        (service.folder / "gate").touch()
    service.wait_for(job_id, ending)
    with timed(measured, f"nothing left of the call whose client had gone ({ending})"):
        wait_until(lambda: service.calls_in_flight() == 0, "the end of the call")
        wait_until(lambda: len(service.below) <= AT_REST, "the end of its processes")
        wait_until(lambda: service.descriptors <= descriptors, "the end of its descriptors")
    records_are_whole(service.folder)


def test_clients_that_never_read_do_not_hold_the_end_up(
    engine_python: Path, tmp_path: Path, measured: Measured
) -> None:
    surroundings = environment(tmp_path, engine_python, JESSE_MCP_STATELESS="true", JESSE_MCP_PREWARM="false")
    with faulty_service(surroundings, tmp_path) as service, ExitStack() as stack:
        lines = [stack.enter_context(unread(service, HEADERS)) for _ in range(CLIENTS)]
        wait_until(lambda: service.connections_from(lines) == CLIENTS, "the clients coming in")
        measured("the end of a server with clients that never read", stopped(service))
        assert service.process.returncode == 0
