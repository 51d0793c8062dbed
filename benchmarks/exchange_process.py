"""The processes of ``exchange.py`` and ``driver.py``, from outside."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.desk import Desk
from benchmarks.direct_process import engine_environment

_EXCHANGE, _DRIVER = (Path(__file__).with_name(name) for name in ("exchange.py", "driver.py"))


@dataclass(frozen=True)
class Walk:
    """Seconds that the driver alone took for a range, pauses included, and what it got."""

    wall: float
    cpu: float
    pages: int
    rows: int


class DriverProcess:
    """A driver of Jesse's in a process of its own.

    ``candles_a_page`` and ``pause``, in seconds, are what it declares.
    """

    def __init__(self, process: asyncio.subprocess.Process, candles_a_page: int, pause: float) -> None:
        self._process = process
        self.candles_a_page = candles_a_page
        self.pause = pause

    async def walk(self, start_ms: int, end_ms: int, pace: float) -> Walk:
        """Every page of the range; ``pace`` multiplies the pause."""
        assert self._process.stdin is not None
        request = {"start_ms": start_ms, "end_ms": end_ms, "pace": pace}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        return Walk(**await _line(self._process))


@asynccontextmanager
async def exchange(candles: Path, name: str, symbol: str) -> AsyncIterator[None]:
    """The imitated exchange; meanwhile it is what this process and its children reach."""
    command = (sys.executable, str(_EXCHANGE), str(candles), name, symbol)
    async with _process(command, dict(os.environ)) as process:
        variables: dict[str, str] = await _line(process)
        before = {key: os.environ.get(key) for key in variables}
        os.environ.update(variables)
        try:
            yield
        finally:
            for key, value in before.items():
                if value is None:
                    del os.environ[key]
                else:
                    os.environ[key] = value


@asynccontextmanager
async def driver(desk: Desk, exchange: str, symbol: str) -> AsyncIterator[DriverProcess]:
    """A driver that knows the way to the imitated exchange, which must be there already."""
    scratch = desk.folder / "driver"  # Jesse writes into the working directory
    scratch.mkdir(exist_ok=True)
    way = {key: value for key, value in os.environ.items() if "PROXY" in key.upper() or "BUNDLE" in key}
    command = (str(desk.python), "-s", "-B", str(_DRIVER), exchange, symbol)
    async with _process(command, {**engine_environment(scratch), **way}, scratch) as process:
        yield DriverProcess(process, **await _line(process))


@asynccontextmanager
async def _process(
    command: tuple[str, ...], environment: dict[str, str], folder: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdin=pipe, stdout=pipe
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError(f"a process ended with status {await process.wait()}")
    answer: dict[str, Any] = json.loads(line)
    return answer
