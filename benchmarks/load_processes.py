"""The processes of ``load.py``: our server, the bare one, and those of the clients."""

import asyncio
import json
import os
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from benchmarks.bare_http_server import TOKENS
from benchmarks.connection import environment
from benchmarks.load_clients import Plan

_HERE = Path(__file__).parent
_START_SECONDS = 120.0
_STOP_SECONDS = 60.0
_LONGEST_ANSWER = 2**28


class ServerProcess:
    """A server, watched from outside."""

    def __init__(self, url: str, process: asyncio.subprocess.Process) -> None:
        self.url = url
        self._process = process
        self.watched = psutil.Process(process.pid)

    def cpu_seconds(self) -> float:
        """Of the server alone, without what it starts."""
        times = self.watched.cpu_times()
        return float(times.user + times.system)

    async def stop(self) -> tuple[float, int, int]:
        """SIGTERM; seconds until it was gone, its exit code, and how many processes it left behind."""
        below = self.watched.children(recursive=True)
        started = time.perf_counter()
        self._process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        seconds = time.perf_counter() - started
        return seconds, code, len([child for child in below if child.is_running()])


class Clients:
    """A process of clients."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._watched = psutil.Process(process.pid)

    def cpu_seconds(self) -> float:
        times = self._watched.cpu_times()
        return float(times.user + times.system)

    async def tell(self, do: str, **arguments: Any) -> Any:
        """Its answer, when it has done so.

        Raises:
            RuntimeError: the process has ended; its words are on standard error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process of clients ended at {do!r}")
        return json.loads(line)["answer"]


def new_tokens(count: int) -> list[str]:
    return [secrets.token_urlsafe(32) for _ in range(count)]


@asynccontextmanager
async def our_server(
    home: Path, tokens: list[str], per_minute: int, log: Path
) -> AsyncIterator[ServerProcess]:
    """``jesse-mcp serve --transport http`` with tokens that may read and compute."""
    variables = environment(
        home,
        TOKENS=" ".join(f"c{number}:read+research:{token}" for number, token in enumerate(tokens)),
        LOG_LEVEL="WARNING",
    )
    variables["RATE_LIMIT_REQUESTS_PER_MINUTE"] = str(per_minute)
    command = ["-m", "jesse_mcp", "serve", "--transport", "http", "--port", "0"]
    async with _running(command, variables, stderr=log) as process:
        async with asyncio.timeout(_START_SECONDS):
            while (found := re.search(r"serving MCP at (\S+)", log.read_text())) is None:
                _check(process, log)
                await asyncio.sleep(0.05)
        await _listens(found[1], process, log)
        yield ServerProcess(found[1], process)


@asynccontextmanager
async def bare_server(tokens: list[str], log: Path) -> AsyncIterator[ServerProcess]:
    """The bare one, on a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    variables = {**os.environ, TOKENS: " ".join(tokens)}
    async with _running([str(_HERE / "bare_http_server.py"), str(port)], variables, stderr=log) as process:
        url = f"http://127.0.0.1:{port}/mcp"
        await _listens(url, process, log)
        yield ServerProcess(url, process)


@asynccontextmanager
async def clients(plan: Plan) -> AsyncIterator[Clients]:
    async with _running([str(_HERE / "load_clients.py")], dict(os.environ)) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(plan)).encode() + b"\n")
        yield Clients(process)


@asynccontextmanager
async def _running(
    arguments: list[str], variables: dict[str, str], stderr: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process that is ended with everything below it, whatever happens."""
    errors = None if stderr is None else stderr.open("wb")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env=variables,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=errors,
        limit=_LONGEST_ANSWER,
        start_new_session=True,
    )
    if errors is not None:
        errors.close()
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _listens(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    host, port = url.removeprefix("http://").removesuffix("/mcp").rsplit(":", 1)
    async with asyncio.timeout(_START_SECONDS):
        while True:
            _check(process, log)
            with suppress(OSError):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                return
            await asyncio.sleep(0.05)


def _check(process: asyncio.subprocess.Process, log: Path) -> None:
    if process.returncode is not None:
        raise RuntimeError(f"a server ended: {log.read_text()[-2000:]}")
