"""What the current task works on, for those who count, limit and log it without being handed it.

Context variables are copied into every task and thread that is started from a call.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from jesse_mcp.domain.access import LOCAL, Caller

current_caller: ContextVar[Caller] = ContextVar("caller", default=LOCAL)
current_request: ContextVar[str | None] = ContextVar("request_id", default=None)
current_tool: ContextVar[str | None] = ContextVar("tool", default=None)
current_job: ContextVar[str | None] = ContextVar("job_id", default=None)


@contextmanager
def calling(caller: Caller, request_id: str, tool: str | None = None) -> Iterator[None]:
    """Within it, everything is done for ``caller``."""
    for_caller, for_request = current_caller.set(caller), current_request.set(request_id)
    for_tool = current_tool.set(tool)
    try:
        yield
    finally:
        current_caller.reset(for_caller)
        current_request.reset(for_request)
        current_tool.reset(for_tool)
