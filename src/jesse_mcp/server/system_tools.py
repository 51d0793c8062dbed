"""``system_status``."""

from fastmcp import FastMCP

from jesse_mcp.composition import Application
from jesse_mcp.server.registration import add_tool
from jesse_mcp.services.system import SystemStatus


def register(server: FastMCP, application: Application) -> None:
    async def system_status() -> SystemStatus:
        """What is installed and how it is doing: engine, workers, stored candles, strategies, runs, jobs.

        Starts nothing. Call it first, and when something fails.
        """
        return await application.system.status()

    add_tool(server, system_status, title="System status", read_only=True)
