"""``jesse-mcp serve``: the MCP server on stdio or HTTP."""

import ipaddress
import logging
import sys
from typing import Annotated, Literal

from cyclopts import App, Parameter

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.settings import Settings


def register(app: App) -> None:
    app.command(serve)


async def serve(
    *,
    transport: Literal["stdio", "http"] = "stdio",
    host: Annotated[str, Parameter(help="loopback addresses only")] = "127.0.0.1",
    port: int = 8765,
) -> None:
    """Serve MCP: on stdio for a client that starts this command, or as streamable HTTP at /mcp.

    Parameters
    ----------
    transport
        stdio or http.
    port
        For http; 0 picks a free one.
    """
    settings = Settings()
    logging.basicConfig(
        level=settings.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if transport == "http" and not _is_loopback(host):
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"refusing to listen on {host}: anyone who reaches it could run code here",
            hint="use 127.0.0.1, and an SSH tunnel to reach it from elsewhere",
        )
    from jesse_mcp.composition import Application
    from jesse_mcp.server.app import build_server

    server = build_server(Application(settings))
    if transport == "stdio":
        await server.run_stdio_async(show_banner=False, log_level=settings.log_level.upper())
    else:
        await server.run_http_async(
            show_banner=False, host=host, port=port, path="/mcp", log_level=settings.log_level.lower()
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
