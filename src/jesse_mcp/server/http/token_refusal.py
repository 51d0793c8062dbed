"""What somebody is told who calls without a token, or with one that opens nothing."""

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.server.http.request_limits import refusal

MCP_PATH = "/mcp"
_METADATA = re.compile(r'resource_metadata="[^"]*"')
_HINT = (
    "send the header Authorization: Bearer TOKEN with every request; on the machine of the server, "
    "`jesse-mcp token create NAME --scope read research` makes a token and `jesse-mcp token list` shows "
    "which ones hold"
)


class TokenRefusal:
    """Puts an answer of ours in the place of the framework's 401, which is empty or tells of logging in
    again. Outside of authentication.

    The challenge is that of RFC 6750, section 3: without ``error`` where no token was sent. If clients can
    sign in somewhere, it says where that is written (RFC 9728, section 5.1).
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
                await _answer(challenge)(scope, receive, send)
            elif not refused:
                await send(message)

        await self._app(scope, receive, taught)


def _answer(framework: str) -> ASGIApp:
    """401 in the place of one with the challenge ``framework``."""
    sent = "error=" in framework
    message = "the token is unknown, expired or revoked" if sent else "no token was sent"
    error = ResearchError(ErrorCode.FORBIDDEN, message, hint=_HINT)
    said = [f'error="invalid_token", error_description="{message}"'] if sent else []
    said += _METADATA.findall(framework)
    return refusal(401, error, {"WWW-Authenticate": f"Bearer {', '.join(said)}".rstrip()})
