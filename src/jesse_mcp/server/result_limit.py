"""No answer longer than a client, or what is between, wants to carry."""

from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.base import ToolResult
from mcp.types import CallToolRequestParams, TextContent

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.server.errors import ExpectedToolError


class ResultLimitMiddleware(Middleware):
    """A longer answer is refused whole: half of one would be read as all of it.

    Args:
        longest: bytes of an answer's text.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest

    async def on_call_tool(
        self,
        context: MiddlewareContext[CallToolRequestParams],
        call_next: CallNext[CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        result = await call_next(context)
        size = sum(len(block.text.encode()) for block in result.content if isinstance(block, TextContent))
        if size > self._longest:
            raise ExpectedToolError(
                ResearchError(
                    ErrorCode.RESULT_TOO_LARGE,
                    f"the answer of {context.message.name} has {size} bytes; {self._longest} are allowed",
                    hint="ask for less: a smaller limit, fewer sections, a shorter period",
                    details={"bytes": size, "limit": self._longest},
                )
            )
        return result
