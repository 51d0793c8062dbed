"""Why a running Jesse is not asked to trade on paper."""

from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.status import look
from jesse_mcp.domain.errors import ErrorCode, ResearchError

_INSTEAD = "call paper_start with engine='embedded': it runs here, on copies of this Jesse's candles and code"


def no_paper(client: DashboardClient) -> ResearchError:
    """What is in the way: no answer, no plugin for live trading, or that we do not drive it. Blocks."""
    status = look(client)
    if status.error is not None:
        return ResearchError(status.error.code, status.error.message, hint=status.error.hint or _INSTEAD)
    if not status.live_plugin:
        reason = f"the Jesse at {client.url} has no plugin for live trading, and that trades on paper"
    else:
        reason = f"the plugin for live trading of the Jesse at {client.url} is not driven from here"
    return ResearchError(ErrorCode.CAPABILITY_MISSING, reason, hint=_INSTEAD)
