"""What a request goes through, from the outside in."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from mcp.server.transport_security import RequestBodyLimitMiddleware
from starlette.middleware import Middleware
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from jesse_mcp.composition import Application
from jesse_mcp.server.assembly import build_server
from jesse_mcp.server.http.asgi import asks_for_tokens
from jesse_mcp.server.http.authentication import authentication, http_origin
from jesse_mcp.server.http.metrics import Metrics
from jesse_mcp.server.http.plain_refusals import PlainRefusals
from jesse_mcp.server.http.request_identity import RequestIdentity
from jesse_mcp.server.http.request_limits import RateLimit, RequestDeadline, TokenBuckets
from jesse_mcp.server.http.token_refusal import MCP_PATH, TokenRefusal
from jesse_mcp.server.http.unambiguous import UnambiguousRequests
from jesse_mcp.server.http.watching import add_routes
from jesse_mcp.services.tokens import TokenService


@dataclass(frozen=True)
class HttpApplication:
    """An ASGI application, and what has to be entered while it is served."""

    app: ASGIApp
    lifespan: AbstractAsyncContextManager[Any]


def build_http_application(application: Application, tokens: TokenService) -> HttpApplication:
    """Everything between the network and the tools.

    Raises:
        ResearchError: ``storage_failed`` when the tokens cannot be read.
    """
    settings = application.settings
    authenticated = asks_for_tokens(settings, tokens)
    limited = authenticated if settings.rate_limit_enabled is None else settings.rate_limit_enabled
    metrics = Metrics(application.experiments.answers)
    server = build_server(
        application,
        origin=http_origin(authenticated=authenticated, limited=limited),
        auth=authentication(settings, tokens) if authenticated else None,
        observers=[metrics],
        longest_result=settings.max_result_bytes,
    )
    add_routes(server, application, metrics, authenticated=authenticated)
    # Inside of the framework's own protection against foreign hosts and its authentication.
    inner = [
        Middleware(RequestDeadline, seconds=settings.request_timeout),
        Middleware(RequestBodyLimitMiddleware, max_body_size=settings.max_request_bytes),
    ]
    if limited:
        inner.insert(0, Middleware(RateLimit, buckets=TokenBuckets(settings.rate_limit_requests_per_minute)))
    # Said here, so that no variable of the framework's own can open anything.
    web = server.http_app(
        path=MCP_PATH,
        middleware=inner,
        json_response=False,
        stateless_http=settings.stateless,
        host_origin_protection=True,
        allowed_hosts=list(settings.allowed_hosts),
        allowed_origins=list(settings.allowed_origins),
    )
    web.debug = False
    trusted = list(settings.trusted_proxies)
    taught = PlainRefusals(TokenRefusal(web), settings.max_request_bytes)
    numbered = RequestIdentity(UnambiguousRequests(taught))
    outer: Any = ProxyHeadersMiddleware(numbered, trusted_hosts=trusted)  # type: ignore[arg-type]
    return HttpApplication(outer, web.router.lifespan_context(web))
