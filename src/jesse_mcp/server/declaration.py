"""What the server declares of itself before any tool is called."""

from typing import Any

from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from mcp.types import (
    DiscoverRequest,
    DiscoverResult,
    InitializeRequest,
    InitializeResult,
    ServerCapabilities,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS


class DeclarationMiddleware(Middleware):
    """Declares what is there, where the framework says more or less than that.

    Messages of the log are for the operator: none is sent to clients, and the protocol has dropped them.
    """

    async def on_initialize(
        self,
        context: MiddlewareContext[InitializeRequest],
        call_next: CallNext[InitializeRequest, InitializeResult | None],
    ) -> InitializeResult | None:
        result = await call_next(context)
        if result is not None:
            result.capabilities = _true_of_us(result.capabilities)
        return result

    async def on_discover(
        self,
        context: MiddlewareContext[DiscoverRequest],
        call_next: CallNext[DiscoverRequest, DiscoverResult | dict[str, Any]],
    ) -> DiscoverResult | dict[str, Any]:
        result = await call_next(context)
        if isinstance(result, DiscoverResult):
            result.capabilities = _true_of_us(result.capabilities)
            # Those that begin with a handshake are served at the same address; newest first.
            older = [known for known in HANDSHAKE_PROTOCOL_VERSIONS if known not in result.supported_versions]
            result.supported_versions = [*result.supported_versions, *reversed(older)]
        return result


def _true_of_us(capabilities: ServerCapabilities) -> ServerCapabilities:
    return capabilities.model_copy(update={"logging": None, "extensions": None})
