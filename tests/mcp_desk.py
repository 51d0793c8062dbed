"""A real server in a process of its own, spoken to through the official SDK, and what to tell it."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from anyio.from_thread import BlockingPortal, start_blocking_portal
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client import stdio
from mcp.types import CallToolResult

from jesse_mcp.analytics.synthetic import synthetic_candles

START = 1_704_067_200_000  # 2024-01-01
DAYS = 8
EXCHANGE = "Binance Perpetual Futures"
SERIES = {"exchange": EXCHANGE, "symbol": "BTC-USDT"}
RUN: dict[str, Any] = {**SERIES, "timeframe": "1h", "start_date": "2024-01-03", "warm_up_candles": 24}
DEADLINE = 120.0

_STRATEGY = '''
from jesse.strategies import Strategy


class {name}(Strategy):
    """Long at every sixth candle."""

    def hyperparameters(self):
        return [{{"name": "every", "type": int, "min": 2, "max": 12, "default": 6}}]

    def should_long(self):
        {before}
        return self.index % self.hp["every"] == 0

    def go_long(self):
        self.buy = 1, self.price

    def update_position(self):
        if self.index % self.hp["every"] == self.hp["every"] // 2:
            self.liquidate()
'''


def strategy(name: str, before: str = "pass") -> str:
    """Source of a strategy that trades; ``before`` is run at every candle."""
    return _STRATEGY.format(name=name, before=before)


def held(gate: Path) -> str:
    """For ``before``: the run waits until ``gate`` is there.

    Whoever makes it decides when the run goes on, however slow the machine is.
    """
    return f"""import os, time
        while not os.path.exists({str(gate)!r}):
            time.sleep(0.01)"""


def candle_file(path: Path, seed: int = 5, days: int = DAYS) -> Path:
    rows = synthetic_candles(START, days * 1440, seed)[:, [0, 1, 3, 4, 2, 5]]
    header = "timestamp,open,high,low,close,volume"
    np.savetxt(path, rows, delimiter=",", header=header, comments="", fmt="%.10g")
    return path


def environment(folder: Path, engine_python: Path, **more: str) -> dict[str, str]:
    """Variables of a server whose home and scratch space are in ``folder``."""
    return {
        **os.environ,
        "JESSE_MCP_HOME": str(folder / "home"),
        "JESSE_MCP_CACHE": str(folder / "cache"),
        "JESSE_PYTHON": str(engine_python),
        "JESSE_MCP_LOG_LEVEL": "WARNING",
        "JESSE_MCP_WORKERS": "2",
        # Over HTTP too, tests import files of their own folders.
        "JESSE_MCP_IMPORT_FOLDERS": "/",
        **more,
    }


def environment_without_engine(folder: Path, **more: str) -> dict[str, str]:
    """Of a server that says all it does; what works on prices of the call needs no engine."""
    return {
        **os.environ,
        "JESSE_PYTHON": "",
        "JESSE_MCP_HOME": str(folder / "home"),
        "JESSE_MCP_CACHE": str(folder / "cache"),
        "JESSE_MCP_PREWARM": "false",
        "JESSE_MCP_LOG_LEVEL": "DEBUG",
        **more,
    }


def strict_json(text: str) -> Any:
    """``text`` as JSON, which knows no NaN and no Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON: {text[:500]}")

    return json.loads(text, parse_constant=refuse)


def wait_until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    """The first truthy value of ``condition``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {seconds:g} s")


class Desk:
    """Calls tools, and checks of every answer what has to be true of all."""

    def __init__(self, portal: BlockingPortal, client: Client) -> None:
        self._portal = portal
        self._client = client
        listed = portal.call(client.list_tools)
        self.tools: dict[str, dict[str, Any]] = {
            tool.name: tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed.tools
        }

    def result(self, tool: str, arguments: dict[str, Any], progress: Any = None) -> CallToolResult:
        def ask() -> Any:
            return self._client.call_tool(tool, arguments, DEADLINE, progress)

        answer: CallToolResult = self._portal.call(ask)
        return answer

    def call(self, tool: str, progress: Any = None, /, **arguments: Any) -> dict[str, Any]:
        """The structured content of a call that must succeed."""
        result = self.result(tool, arguments, progress)
        content = self.checked(tool, result)
        assert not result.is_error, f"{tool}: {content}"
        return content

    def refused(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The error of a call that must fail, and teach."""
        result = self.result(tool, arguments)
        assert result.is_error, f"{tool}({arguments}) was accepted"
        content = self.checked(tool, result)
        assert list(content) == ["error"]
        error: dict[str, Any] = content["error"]
        assert set(error) == {"code", "message", "hint", "details"}
        assert error["message"], error
        assert error["hint"], error
        assert error["code"] != "internal_error", (tool, arguments, error)
        return error

    def checked(self, tool: str, result: CallToolResult) -> dict[str, Any]:
        """The structured content of an answer, which fits the tool's schema."""
        content: dict[str, Any] | None = result.structured_content
        assert content is not None, tool
        (block,) = result.content
        assert block.type == "text"
        assert strict_json(block.text) == content, "the text and the data say the same"
        if tool in self.tools:
            Draft202012Validator(self.tools[tool]["outputSchema"]).validate(content)
        return content


@contextmanager
def stdio_desk(surroundings: dict[str, str], log: Path) -> Iterator[Desk]:
    """A server over stdio; ``log`` receives its standard error."""
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "jesse_mcp", "serve"], env=surroundings
    )

    @asynccontextmanager
    async def opened() -> Any:
        async with AsyncExitStack() as stack:
            errors = stack.enter_context(log.open("w"))
            # What a server does when its input ends is under test too: the SDK would kill it after 2 s.
            stack.enter_context(patch.object(stdio, "PROCESS_TERMINATION_TIMEOUT", DEADLINE))
            yield await stack.enter_async_context(Client(stdio_client(parameters, errors)))

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(opened()) as client:
        yield Desk(portal, client)


@contextmanager
def serving(
    surroundings: dict[str, str], log: Path, *options: str, stdin: int = subprocess.DEVNULL
) -> Iterator["subprocess.Popen[bytes]"]:
    """A server that is ended with everything below it, whatever a test has done to it."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "jesse_mcp", "serve", *options],
            env=surroundings,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


@contextmanager
def http_server(surroundings: dict[str, str], log: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """A server over HTTP on a port of its own choice, and its address."""
    with serving(surroundings, log, "--transport", "http", "--port", "0") as process:

        def address() -> str | None:
            assert process.poll() is None, log.read_text()
            found = re.search(r"serving MCP at (\S+)", log.read_text())
            return found[1] if found else None

        url: str = wait_until(address, "the server saying its address")
        host, port = url.removeprefix("http://").removesuffix("/mcp").rsplit(":", 1)

        def answers() -> bool:
            with suppress(OSError), socket.create_connection((host.strip("[]"), int(port))):
                return True
            return False

        wait_until(answers, "the server listening")
        yield process, url


@contextmanager
def http_desk(url: str) -> Iterator[Desk]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(Client(url)) as client:
        yield Desk(portal, client)
