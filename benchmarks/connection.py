"""A server as a client has it: a process of its own, spoken to over its standard streams."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from fastmcp import Client
from fastmcp.client.transports import StdioTransport

_START_SECONDS = 300.0
_TEMPLATE = "template.py"


class Served:
    """A connected server process."""

    def __init__(self, client: "Client[Any]", process: psutil.Process) -> None:
        self.client = client
        self.process = process

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured answer; an error of the tool is an error here."""
        return (await self.client.call_tool(tool, arguments)).structured_content or {}

    async def timed(self, tool: str, **arguments: Any) -> tuple[float, dict[str, Any]]:
        """Seconds, and the answer."""
        started = time.perf_counter()
        answer = await self.call(tool, **arguments)
        return time.perf_counter() - started, answer

    async def warm(self) -> None:
        """Until Jesse is loaded."""
        async with asyncio.timeout(_START_SECONDS):
            while (await self.call("system_status"))["engine"]["state"] != "warm":
                await asyncio.sleep(0.05)

    def template(self) -> psutil.Process:
        """The process that workers are forked from."""
        (template,) = [child for child in self.process.children() if _TEMPLATE in " ".join(child.cmdline())]
        return template

    def workers(self) -> list[psutil.Process]:
        return self.template().children()

    def cpu_seconds(self) -> float:
        """CPU time so far of the server, the template and every worker.

        A worker answers before it ends, so those that have not ended yet are counted as they are.
        """
        server, template = self.process.cpu_times(), self.template().cpu_times()
        ended = template.children_user + template.children_system
        alive = 0.0
        for worker in self.workers():
            with suppress(psutil.NoSuchProcess):
                times = worker.cpu_times()
                alive += times.user + times.system
        return float(server.user + server.system + template.user + template.system + ended + alive)


def command(module: str) -> list[str]:
    return ["-m", module, "serve"]


def environment(home: Path, **settings: str) -> dict[str, str]:
    """Ours, with another home."""
    chosen = {f"JESSE_MCP_{name}": value for name, value in settings.items()}
    return {**os.environ, "JESSE_MCP_HOME": str(home), "JESSE_MCP_LOG_LEVEL": "ERROR", **chosen}


@asynccontextmanager
async def serving(home: Path, **settings: str) -> AsyncIterator[Served]:
    """``jesse-mcp serve`` over ``home``, cold. Settings are named without their prefix."""
    async with connected(command("jesse_mcp"), environment(home, **settings)) as served:
        yield served


@asynccontextmanager
async def connected(arguments: list[str], variables: dict[str, str]) -> AsyncIterator[Served]:
    """A Python process that serves MCP on its standard streams."""
    before = set(psutil.Process().children())
    transport = StdioTransport(sys.executable, arguments, env=variables, keep_alive=False)
    async with Client(transport) as client:
        (process,) = set(psutil.Process().children()) - before
        yield Served(client, process)
