"""Which scope a tool needs, and that only those who have it see and call it."""

from collections.abc import Sequence

from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.base import Tool, ToolResult
from mcp.types import CallToolRequestParams, ListToolsRequest

from jesse_mcp.domain.access import Scope
from jesse_mcp.domain.call_context import current_caller
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.server.calls import OriginLookup
from jesse_mcp.server.errors import ExpectedToolError

#: Where what a tool says of itself does not tell.
_EXCEPTIONS = {
    # Reads any file of the server as candles.
    "candles_import": Scope.WRITE,
    # Whoever may start work may stop it.
    "job_cancel": Scope.RESEARCH,
}


def scope_of(tool: Tool) -> Scope:
    """The scope a tool needs.

    Those that only read need ``read``; those of paper trading ``paper``; what destroys or replaces needs
    ``write``; everything else computes and stores results and needs ``research``.
    """
    if tool.name in _EXCEPTIONS:
        return _EXCEPTIONS[tool.name]
    hints = tool.annotations
    if hints is not None and hints.read_only_hint:
        return Scope.READ
    if tool.name.startswith("paper_"):
        return Scope.PAPER
    if hints is not None and hints.destructive_hint is False:
        return Scope.RESEARCH
    return Scope.WRITE


class AuthorisationMiddleware(Middleware):
    """Inside of what turns errors into answers, and of what knows the caller of a call."""

    def __init__(self, origin: OriginLookup) -> None:
        self._origin = origin
        self._scopes: dict[str, Scope] = {}

    async def on_list_tools(
        self,
        context: MiddlewareContext[ListToolsRequest],
        call_next: CallNext[ListToolsRequest, Sequence[Tool]],
    ) -> Sequence[Tool]:
        try:
            scopes = self._origin().caller.scopes
        except ResearchError:
            return []
        return [tool for tool in await call_next(context) if scope_of(tool) in scopes]

    async def on_call_tool(
        self,
        context: MiddlewareContext[CallToolRequestParams],
        call_next: CallNext[CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        caller = current_caller.get()
        tool = context.message.name
        needed = await self._needed(context, tool)
        # One that does not exist is answered as such further in.
        if needed is not None and needed not in caller.scopes:
            has = ", ".join(scope for scope in Scope if scope in caller.scopes) or "none"
            # No scope has another in it, so a token of the missing one alone would lose what this one has.
            both = " ".join(scope for scope in Scope if scope in caller.scopes or scope is needed)
            raise ExpectedToolError(
                ResearchError(
                    ErrorCode.FORBIDDEN,
                    f"{tool} needs the scope {needed}; {caller.name} has {has}",
                    hint=f"use a token with it: `jesse-mcp token create NAME --scope {both}` on the server",
                    details={"scope": needed.value},
                )
            )
        return await call_next(context)

    async def _needed(self, context: MiddlewareContext[CallToolRequestParams], name: str) -> Scope | None:
        """The scope of a tool, which is looked for once: none changes while a server lives."""
        if name not in self._scopes:
            server = context.fastmcp_context
            tool = None if server is None else await server.fastmcp.get_tool(name)
            if tool is None:
                return None
            self._scopes[name] = scope_of(tool)
        return self._scopes[name]
