"""Every tool call with who made it and how it ended, for those who count and record calls."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.base import ToolResult
from mcp.types import CallToolRequestParams

from jesse_mcp.domain.access import LOCAL, Caller
from jesse_mcp.domain.call_context import calling
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.identity import new_id
from jesse_mcp.server.errors import failed


@dataclass(frozen=True)
class Origin:
    """Where a message comes from.

    Attributes:
        address: the IP address over HTTP.
        request_id: of the HTTP request, or made for the call.
    """

    caller: Caller
    address: str | None
    request_id: str


#: Raises ``forbidden`` for a message of nobody.
OriginLookup = Callable[[], Origin]


def local_origin() -> Origin:
    """On stdio: whoever started the process may do what they like."""
    return Origin(LOCAL, None, new_id("req"))


@dataclass(frozen=True)
class FinishedCall:
    """One call of a tool.

    Attributes:
        known_tool: whether there is a tool of that name.
        outcome: ``ok``, ``cancelled``, or the code of the error.
        started_at: epoch seconds.
        job_id: of the job it answered with, if any; ``run_id`` likewise.
    """

    client: str
    address: str | None
    request_id: str
    tool: str
    known_tool: bool
    arguments: dict[str, Any]
    outcome: str
    started_at: float
    seconds: float
    job_id: str | None
    run_id: str | None


class CallObserver(Protocol):
    """Told of calls on the event loop; must not block."""

    def began(self, tool: str) -> None: ...

    def ended(self, call: FinishedCall) -> None: ...


class CallSpan(Protocol):
    """A call in somebody's trace."""

    def tell(self, failure: str | None, **facts: str | None) -> None: ...


class CallTraces(Protocol):
    """Makes a span of a call, the current one within it."""

    def call(self, tool: str) -> AbstractContextManager[CallSpan]: ...


class CallRecorder(Middleware):
    """Outermost: nothing of a call happens before its caller is known, or goes unrecorded."""

    def __init__(self, origin: OriginLookup, observers: Sequence[CallObserver], traces: CallTraces) -> None:
        self._origin = origin
        self._observers = observers
        self._traces = traces
        self._known: set[str] = set()

    async def on_call_tool(
        self,
        context: MiddlewareContext[CallToolRequestParams],
        call_next: CallNext[CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        try:
            origin = self._origin()
        except ResearchError as error:
            return failed(error)
        tool = context.message.name
        started_at, start = time.time(), time.perf_counter()
        outcome, answer = ErrorCode.INTERNAL_ERROR.value, None
        known_tool = await self._is_known(context, tool)
        for observer in self._observers:
            observer.began(tool)
        # Of a tool that does not exist, the name is whatever somebody sent.
        with self._traces.call(tool if known_tool else "unknown") as span:
            try:
                with calling(origin.caller, origin.request_id, tool):
                    result = await call_next(context)
                answer = result.structured_content
                outcome = _outcome(result)
            except asyncio.CancelledError:
                outcome = "cancelled"
                raise
            finally:
                call = FinishedCall(
                    client=origin.caller.name,
                    address=origin.address,
                    request_id=origin.request_id,
                    tool=tool,
                    known_tool=known_tool,
                    arguments=context.message.arguments or {},
                    outcome=outcome,
                    started_at=started_at,
                    seconds=time.perf_counter() - start,
                    job_id=_found(answer, "job_id"),
                    run_id=_found(answer, "run_id"),
                )
                _tell(span, call)
                for observer in self._observers:
                    observer.ended(call)
        return result

    async def _is_known(self, context: MiddlewareContext[Any], tool: str) -> bool:
        """Whether there is such a tool. It is looked for once: none comes or goes while a server lives."""
        server = context.fastmcp_context
        if tool not in self._known and server is not None and await server.fastmcp.get_tool(tool) is not None:
            self._known.add(tool)
        return tool in self._known


def _tell(span: CallSpan, call: FinishedCall) -> None:
    facts = {"client": call.client, "request_id": call.request_id, "outcome": call.outcome}
    failure = None if call.outcome == "ok" else call.outcome
    span.tell(failure, **facts, job_id=call.job_id, run_id=call.run_id)


def _outcome(result: ToolResult) -> str:
    if not result.is_error:
        return "ok"
    error = (result.structured_content or {}).get("error")
    return str(error["code"]) if isinstance(error, dict) else ErrorCode.INTERNAL_ERROR.value


def _found(answer: Any, name: str) -> str | None:
    """An identifier of an answer, at its top or in its run."""
    if not isinstance(answer, dict):
        return None
    inner = answer.get("run")
    found = answer.get(name) or (inner.get(name) if isinstance(inner, dict) else None)
    return found if isinstance(found, str) else None
