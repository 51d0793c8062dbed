"""The MCP face: tools, their schemas, and the mapping of errors."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jesse_mcp.server.http.asgi import AsgiApplication


def __getattr__(name: str) -> "AsgiApplication":
    """``jesse_mcp.server:app`` for uvicorn and gunicorn; whoever imports this package needs no part of it."""
    if name == "app":
        from jesse_mcp.server.http.asgi import AsgiApplication

        return AsgiApplication()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
