"""``/health``, ``/ready`` and ``/metrics``: what load balancers and monitoring ask."""

from fastmcp import FastMCP
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from jesse_mcp import __version__
from jesse_mcp.composition import Application
from jesse_mcp.domain.access import Scope
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.server.http.metrics import Metrics
from jesse_mcp.server.http.request_limits import refusal

_UNCACHED = {"Cache-Control": "no-store"}


def add_routes(server: FastMCP, application: Application, metrics: Metrics, *, authenticated: bool) -> None:
    """Add them to ``server``. ``/metrics`` asks for ``admin`` where tokens are asked for at all."""

    @server.custom_route("/health", methods=["GET"])
    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "version": __version__}, headers=_UNCACHED)

    @server.custom_route("/ready", methods=["GET"])
    async def ready(_: Request) -> Response:
        problems = await application.readiness.problems()
        body = {"ready": not problems, "problems": list(problems)}
        return JSONResponse(body, 503 if problems else 200, _UNCACHED)

    @server.custom_route("/metrics", methods=["GET"])
    async def numbers(request: Request) -> Response:
        refused = _refused(request) if authenticated else None
        if refused is not None:
            return refused
        text = await metrics.exposition(application.system, application.paper, application.job_notifier)
        return Response(text, headers=_UNCACHED, media_type="text/plain; version=0.0.4; charset=utf-8")


def _refused(request: Request) -> Response | None:
    user = request.scope.get("user")
    if not isinstance(user, AuthenticatedUser):
        hint = "send Authorization: Bearer TOKEN with a token that has the scope admin"
        error = ResearchError(ErrorCode.FORBIDDEN, "/metrics needs a token", hint=hint)
        return refusal(401, error, {"WWW-Authenticate": 'Bearer scope="admin"'})
    if Scope.ADMIN not in user.scopes:
        message = f"/metrics needs the scope admin; {user.username} does not have it"
        error = ResearchError(ErrorCode.FORBIDDEN, message, hint="use a token with admin")
        challenge = 'Bearer error="insufficient_scope", scope="admin"'
        return refusal(403, error, {"WWW-Authenticate": challenge})
    return None
