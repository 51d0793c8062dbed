"""Requests that two programs could understand differently are answered by neither."""

from starlette.types import ASGIApp, Receive, Scope, Send

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.server.http.request_limits import refusal


class UnambiguousRequests:
    """400 for a request whose end or whose sender depends on who reads it.

    With both ``Content-Length`` and ``Transfer-Encoding`` a proxy in front may see another end than the
    server does, and so the beginning of somebody else's request (RFC 9112, section 6.1); the connection is
    closed, so that what follows on it is not read. Of two ``Authorization`` headers a proxy may have checked
    the other one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = _problem(scope) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
            return
        error = ResearchError(ErrorCode.INVALID_ARGUMENT, problem, hint="send one of them")
        await refusal(400, error, {"Connection": "close"})(scope, receive, send)


def _problem(scope: Scope) -> str | None:
    names = [name for name, _ in scope["headers"]]
    if b"transfer-encoding" in names and b"content-length" in names:
        return "the request has Content-Length and Transfer-Encoding"
    if names.count(b"authorization") > 1:
        return "the request has several Authorization headers"
    return None
