"""What somebody is told who calls without a token, or with one that opens nothing."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.server.http.request_limits import refusal

MCP_PATH = "/mcp"
_HINT = (
    "send the header Authorization: Bearer TOKEN with every request; on the machine of the server, "
    "`jesse-mcp token create NAME --scope read research` makes a token and `jesse-mcp token list` shows "
    "which ones hold"
)


class TokenRefusal:
    """Puts an answer of ours in the place of the framework's 401, which is empty or tells of logging in
    again: nobody registers here. Outside of authentication.

    The challenge is that of RFC 6750, section 3: without ``error`` where no token was sent.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != MCP_PATH:
            await self._app(scope, receive, send)
            return
        refused = False

        async def taught(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] == 401:
                refused = True
                challenge = Headers(raw=message["headers"]).get("www-authenticate", "")
                await _answer(scope, receive, send, sent="error=" in challenge)
            elif not refused:
                await send(message)

        await self._app(scope, receive, taught)


async def _answer(scope: Scope, receive: Receive, send: Send, *, sent: bool) -> None:
    """401. ``sent``: whether there was a token at all."""
    message = "the token is unknown, expired or revoked" if sent else "no token was sent"
    error = ResearchError(ErrorCode.FORBIDDEN, message, hint=_HINT)
    challenge = f'Bearer error="invalid_token", error_description="{message}"' if sent else "Bearer"
    await refusal(401, error, {"WWW-Authenticate": challenge})(scope, receive, send)
