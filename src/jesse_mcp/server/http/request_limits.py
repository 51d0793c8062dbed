"""How often a client may ask, and how long it may take to say what it wants."""

import asyncio
import json
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.server.http.authentication import client_address

#: A load balancer may ask as often as it likes.
UNLIMITED_PATHS = frozenset({"/health", "/ready"})
_MOST_CLIENTS = 10_000


class TokenBuckets:
    """A bucket for each client that holds a minute's worth of requests and fills evenly.

    Args:
        per_minute: requests of one client.
        now: seconds of a clock that never goes back.
    """

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._now = now
        # What was left, and when; whoever was here last is at the end.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take one request: 0.0 when there was one, else the seconds until there is."""
        now = self._now()
        left, at = self._buckets.pop(client, (self._capacity, now))
        left = min(self._capacity, left + (now - at) * self._per_second)
        enough = left >= 1
        self._buckets[client] = (left - 1 if enough else left, now)
        if len(self._buckets) > _MOST_CLIENTS:
            # The one not seen for longest has the fullest bucket, or nearly.
            self._buckets.popitem(last=False)
        return 0.0 if enough else (1 - left) / self._per_second


class RateLimit:
    """429 with ``Retry-After`` for a client that asks too often. Inside of authentication."""

    def __init__(self, app: ASGIApp, buckets: TokenBuckets) -> None:
        self._app = app
        self._buckets = buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNLIMITED_PATHS:
            await self._app(scope, receive, send)
            return
        user = scope.get("user")
        client = user.username if isinstance(user, AuthenticatedUser) else f"address:{client_address(scope)}"
        wait = math.ceil(self._buckets.take(client))
        if not wait:
            await self._app(scope, receive, send)
            return
        error = ResearchError(
            ErrorCode.RATE_LIMITED,
            f"{client} has asked too often",
            hint=f"ask again in {wait} s",
            details={"retry_after_seconds": wait},
        )
        await refusal(429, error, {"Retry-After": str(wait)})(scope, receive, send)


class RequestDeadline:
    """408 for a client that has not sent its whole request in time, so that none can occupy the server."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        deadline = asyncio.get_running_loop().time() + self._seconds
        complete = False

        async def timely() -> Message:
            nonlocal complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise _TooSlowError from None
            if message["type"] == "http.disconnect":
                raise _GoneError
            complete = not message.get("more_body", False)
            return message

        try:
            await self._app(scope, timely, send)
        except _GoneError:
            # Nobody is left to answer, and nothing is wrong here that a log should tell of.
            return
        except _TooSlowError:
            error = ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"the request was not complete after {self._seconds:g} s",
                hint="send it faster",
            )
            await refusal(408, error, {"Connection": "close"})(scope, receive, send)


class _TooSlowError(Exception):
    """The body of a request is not there in time."""


class _GoneError(Exception):
    """Whoever sends a request has left in the middle of it."""


def refusal(status: int, error: ResearchError, headers: dict[str, str] | None = None) -> Response:
    """An answer of ours outside of MCP: the same object as in it."""
    body = json.dumps({"error": error.to_dict()})
    return Response(body, status, headers, media_type="application/json")
