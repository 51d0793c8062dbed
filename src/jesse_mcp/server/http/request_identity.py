"""Every request has a number that its answer, its log lines and its audit line share."""

import logging
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jesse_mcp.domain.call_context import current_request
from jesse_mcp.domain.identity import new_id
from jesse_mcp.server.http.authentication import REQUEST_ID, client_address

logger = logging.getLogger("jesse_mcp.http")

#: What a proxy may have numbered it; anything else could forge lines of a log.
_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_WORTH_A_LINE = frozenset({401, 403, 408, 413, 421, 429, 500, 503})


class RequestIdentity:
    """Takes ``X-Request-ID`` over or makes one, sends it back, and logs what was refused."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        number = given if _ACCEPTABLE.fullmatch(given) else new_id("req")
        scope[REQUEST_ID] = number

        async def numbered(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = number
                if message["status"] in _WORTH_A_LINE:
                    self._tell(scope, message["status"])
            await send(message)

        before = current_request.set(number)
        try:
            await self._app(scope, receive, numbered)
        finally:
            current_request.reset(before)

    def _tell(self, scope: Scope, status: int) -> None:
        # repr: a path may hold line ends.
        logger.info(
            "%s %r from %s was answered with %d%s",
            scope["method"],
            scope["path"][:100],
            client_address(scope),
            status,
            _refused_name(Headers(scope=scope), status),
        )


def _refused_name(headers: Headers, status: int) -> str:
    """What may have been refused, for who runs the server."""
    if status == 421:
        return f": {headers.get('host', '')[:100]!r} is not in JESSE_MCP_ALLOWED_HOSTS"
    if status == 403 and "origin" in headers:
        return f"; its Origin is {headers['origin'][:100]!r}"
    return ""
