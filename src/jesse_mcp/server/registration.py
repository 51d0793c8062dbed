"""How a function becomes a tool."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastmcp import FastMCP
from mcp.types import ToolAnnotations

from jesse_mcp.server.errors import teaching


def add_tool(
    server: FastMCP,
    function: Callable[..., Awaitable[Any]],
    *,
    title: str,
    read_only: bool = False,
    destructive: bool = False,
    idempotent: bool = False,
    open_world: bool = False,
) -> None:
    """Register ``function`` under its own name; its docstring is what an agent reads.

    ``open_world`` is for tools that talk to anything beyond this installation.
    """
    server.tool(
        teaching(function),
        name=function.__name__,
        title=title,
        annotations=ToolAnnotations(
            title=title,
            read_only_hint=read_only,
            destructive_hint=destructive,
            idempotent_hint=idempotent or read_only,
            open_world_hint=open_world,
        ),
    )
