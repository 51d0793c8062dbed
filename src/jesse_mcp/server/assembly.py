"""The MCP server: an application behind tools."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastmcp import FastMCP
from fastmcp.server.auth import AuthProvider
from fastmcp.server.middleware import Middleware

from jesse_mcp import __version__
from jesse_mcp.composition import Application
from jesse_mcp.server import (
    backtest_tools,
    campaign_tools,
    candle_tools,
    correlation_tools,
    factor_tools,
    job_tools,
    monte_carlo_tools,
    pairs_tools,
    paper_tools,
    performance_tools,
    regime_tools,
    risk_report_tools,
    run_tools,
    significance_tools,
    strategy_tools,
    stress_tools,
    system_tools,
    value_at_risk_tools,
)
from jesse_mcp.server.audit import AuditLog
from jesse_mcp.server.authorisation import AuthorisationMiddleware
from jesse_mcp.server.calls import CallObserver, CallRecorder, OriginLookup, local_origin
from jesse_mcp.server.declaration import DeclarationMiddleware
from jesse_mcp.server.errors import ErrorMiddleware
from jesse_mcp.server.result_limit import ResultLimitMiddleware
from jesse_mcp.server.secret_masking import SecretMask, secrets_of

TITLE = "Jesse research desk"
_LONGEST_LIST = 1_000
INSTRUCTIONS = """\
A research desk on the Jesse trading framework: real backtests of real strategies on stored candles.
Start with system_status. Then: candles_available (fill with candles_import), strategy_list or
strategy_write, backtest, run_get, run_compare. Before you believe a result: walk_forward (days it was not
fitted to), monte_carlo (luck), significance_test (luck given all that was tried), stress_test (days worse
than those it saw), factor_analysis (skill or exposure), risk_report (the risk in one score, and why), then
paper_start (on paper, on candles nobody has seen). Dates are UTC days, end_date exclusive.
Every number comes from Jesse or from a stated formula; what cannot be computed is null with the reason. Every
distinct experiment is counted: the more you try, the less a good result means, so say how many you tried.
Errors carry a code, a message, and a hint with the call that helps.
"""


def build_server(
    application: Application,
    *,
    origin: OriginLookup = local_origin,
    auth: AuthProvider | None = None,
    observers: Sequence[CallObserver] = (),
    longest_result: int | None = None,
) -> FastMCP:
    """A server over ``application``, which starts and stops with it.

    Args:
        origin: who makes a call; by default the user of this machine.
        auth: what checks tokens over HTTP.
        observers: told of every call beside the audit log.
        longest_result: bytes of an answer; ``None``: any number.
    """
    settings = application.settings
    audit = AuditLog(settings.home / "logs" / "audit.jsonl", SecretMask(secrets_of(settings)))

    @asynccontextmanager
    async def lifespan(_: FastMCP) -> AsyncIterator[None]:
        audit.start()
        try:
            await application.start()
            await application.serve()
            yield
        finally:
            await application.close()
            await asyncio.to_thread(audit.close)

    middleware: list[Middleware] = [
        CallRecorder(origin, [audit, *observers], application.traces),
        ErrorMiddleware(),
        AuthorisationMiddleware(origin),
        DeclarationMiddleware(),
    ]
    if longest_result is not None:
        middleware.append(ResultLimitMiddleware(longest_result))
    server: FastMCP = FastMCP(
        "jesse-mcp",
        instructions=INSTRUCTIONS,
        version=__version__,
        lifespan=lifespan,
        auth=auth,
        middleware=middleware,
        on_duplicate="error",
        # All on one page; without a size a cursor that was never handed out is not refused.
        list_page_size=_LONGEST_LIST,
        # The tools do that themselves, once instead of every time.
        dereference_schemas=False,
    )
    # The framework takes no title, which is what clients show of a server.
    server._mcp_server.title = TITLE
    # No argument of ours is in a header. Without an answer all tools are listed at every call, to see that.
    server._mcp_server.get_tool_input_schema = lambda _name: None
    for tools in (
        system_tools,
        candle_tools,
        strategy_tools,
        backtest_tools,
        campaign_tools,
        run_tools,
        monte_carlo_tools,
        performance_tools,
        significance_tools,
        factor_tools,
        stress_tools,
        value_at_risk_tools,
        pairs_tools,
        regime_tools,
        risk_report_tools,
        correlation_tools,
        paper_tools,
        job_tools,
    ):
        tools.register(server, application)
    return server
