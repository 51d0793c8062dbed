"""What somebody is told whose request the framework refuses before anything of ours sees it."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.server.http.request_limits import refusal


class PlainRefusals:
    """Puts an error object in the place of the framework's 403, 413 and 421, which are a word or two.

    Args:
        max_request_bytes: beyond which it answers 413.
    """

    def __init__(self, app: ASGIApp, max_request_bytes: int) -> None:
        self._app = app
        self._max_request_bytes = max_request_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = False

        async def taught(message: Message) -> None:
            nonlocal refused
            error = self._error(message, Headers(scope=scope))
            if error is not None:
                refused = True
                await refusal(message["status"], error)(scope, receive, send)
            elif not refused:
                await send(message)

        await self._app(scope, receive, taught)

    def _error(self, message: Message, asked: Headers) -> ResearchError | None:
        if message["type"] != "http.response.start" or "content-type" in Headers(raw=message["headers"]):
            return None
        if message["status"] == 413:
            return ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"the request is longer than {self._max_request_bytes:,} bytes",
                hint="send less at a time; who runs the server sets JESSE_MCP_MAX_REQUEST_BYTES",
            )
        if message["status"] == 421:
            return ResearchError(
                ErrorCode.FORBIDDEN,
                f"the server is not known by the name {asked.get('host', '')[:100]!r}",
                hint="call it by its address, or have who runs it add the name to JESSE_MCP_ALLOWED_HOSTS",
            )
        if message["status"] == 403 and "origin" in asked:
            return ResearchError(
                ErrorCode.FORBIDDEN,
                f"web pages of {asked['origin'][:100]!r} may not call this server",
                hint="have who runs it add the origin to JESSE_MCP_ALLOWED_ORIGINS",
            )
        return None
