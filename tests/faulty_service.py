"""A server over HTTP that a test harms: how it is asked meanwhile, and how long it takes to recover."""

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
from sqlalchemy import create_engine, text

from mcp_desk import Desk, http_desk, http_server, wait_until

HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
#: Seconds a test waits for something that takes less.
PATIENCE = 120.0


def called(tool: str, **arguments: Any) -> bytes:
    """The body of a call."""
    parameters = {"name": tool, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": parameters}).encode()


@dataclass
class FaultyService:
    """A server that serves ``desk``."""

    process: "subprocess.Popen[bytes]"
    url: str
    folder: Path
    desk: Desk

    @property
    def below(self) -> list[psutil.Process]:
        """Every process it has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    @property
    def descriptors(self) -> int:
        """Open ones, without files (the records keep several open) and clients that are still there."""
        process = psutil.Process(self.process.pid)
        there = [each for each in process.net_connections("tcp") if each.status == "ESTABLISHED"]
        return int(process.num_fds()) - len(process.open_files()) - len(there)

    def connections_from(self, clients: Iterable[socket.socket]) -> int:
        """How many of these clients it still keeps a connection for."""
        ports = {client.getsockname()[1] for client in clients}
        known = psutil.Process(self.process.pid).net_connections("tcp")
        return sum(bool(each.raddr) and each.raddr.port in ports for each in known)

    @property
    def memory_mb(self) -> float:
        return float(psutil.Process(self.process.pid).memory_info().rss) / 2**20

    def get(self, path: str) -> httpx2.Response:
        return httpx2.get(self.url.removesuffix("/mcp") + path, timeout=PATIENCE)

    def problems(self) -> list[str]:
        """What ``/ready`` says stands in the way."""
        answer = self.get("/ready")
        content: dict[str, Any] = answer.json()
        assert answer.status_code == (200 if content["ready"] else 503)
        assert content["ready"] is not bool(content["problems"])
        return [str(problem) for problem in content["problems"]]

    def ready(self) -> bool:
        return not self.problems()

    def calls_in_flight(self) -> int:
        return sum(
            int(float(count))
            for count in re.findall(
                r"^jesse_mcp_tool_calls_in_flight(?:\{.*\})? (\S+)$", self.get("/metrics").text, re.M
            )
        )

    def state(self, job_id: str) -> str:
        return str(self.desk.call("job_get", job_id=job_id)["state"])

    def wait_for(self, job_id: str, state: str) -> None:
        wait_until(lambda: self.state(job_id) == state, f"{job_id} {state}")


@contextmanager
def faulty_service(surroundings: dict[str, str], folder: Path) -> Iterator[FaultyService]:
    """A server with a log of its own in ``folder``."""
    log = folder / f"log{len(list(folder.glob('log*')))}"
    with http_server(surroundings, log) as (process, url), http_desk(url) as desk:
        yield FaultyService(process, url, folder, desk)


def asked_of_records(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of the records, read beside the server."""
    engine = create_engine(f"sqlite:///{folder / 'home' / 'research.sqlite'}")
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]
    finally:
        engine.dispose()


def records_are_whole(folder: Path) -> None:
    """No page of the records is damaged, and no experiment is stored or counted twice."""
    assert asked_of_records(folder, "PRAGMA integrity_check") == [("ok",)]
    for table in ("runs", "trials"):
        twice = f"SELECT fingerprint FROM {table} GROUP BY fingerprint HAVING count(*) > 1"  # noqa: S608
        assert asked_of_records(folder, twice) == []


def stopped(service: FaultyService) -> float:
    """Ask the server to end; the seconds until it and all it had started are gone."""
    processes = [psutil.Process(service.process.pid), *service.below]
    began = time.monotonic()
    service.process.terminate()
    service.process.wait(PATIENCE)
    wait_until(lambda: not any(map(alive, processes)), "the end of every process")
    return time.monotonic() - began


def alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    return False


#: Writes down how long something took: its name and the seconds.
Measured = Callable[[str, float], None]


@contextmanager
def timed(measured: Measured, what: str) -> Iterator[None]:
    """Seconds that the body takes. Nothing is demanded of them: the machine may be busy."""
    began = time.monotonic()
    yield
    measured(what, time.monotonic() - began)
