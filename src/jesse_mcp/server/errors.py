"""The one place where errors become MCP errors."""

import json
import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from fastmcp.exceptions import NotFoundError, ToolError, ValidationError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.base import ToolResult
from mcp import MCPError
from mcp.types import CallToolRequestParams
from pydantic import ValidationError as PydanticValidationError

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.server.argument_hints import hint_for

logger = logging.getLogger("jesse_mcp.server")

_MAX_TEXT = 2000
_MAX_RECEIVED = 200
#: Of a long list every entry may be wrong.
_MAX_PROBLEMS = 20

P = ParamSpec("P")
R = TypeVar("R")


class ExpectedToolError(ToolError):
    """A :class:`ResearchError` on its way out of a tool; logged as a line, not as a crash."""

    def __init__(self, error: ResearchError) -> None:
        super().__init__(error.message, log_level=logging.INFO)
        self.error = error


def teaching(tool: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Let the expected errors of a tool pass as such."""

    @wraps(tool)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await tool(*args, **kwargs)
        except ResearchError as error:
            raise ExpectedToolError(error) from error

    return call


class ErrorMiddleware(Middleware):
    """Every failure of a tool call leaves as ``{code, message, hint, details}`` with ``isError`` set.

    What is said in the words of the protocol, such as that a client lacks a capability, is left to it.
    """

    async def on_call_tool(
        self,
        context: MiddlewareContext[CallToolRequestParams],
        call_next: CallNext[CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        try:
            return await call_next(context)
        except MCPError:
            raise
        except ExpectedToolError as error:
            return failed(error.error)
        except (ValidationError, PydanticValidationError) as error:
            parameters = await _parameters_of(context)
            return failed(_invalid_arguments(context.message.name, parameters, error))
        except NotFoundError:
            return failed(
                ResearchError(
                    ErrorCode.INVALID_ARGUMENT,
                    f"there is no tool {context.message.name!r}",
                    hint=f"the tools are: {', '.join(await _tools_of(context))}",
                )
            )
        except Exception as error:
            logger.exception("the tool %s failed", context.message.name)
            return failed(
                ResearchError(
                    ErrorCode.INTERNAL_ERROR,
                    f"{context.message.name} failed inside the server ({type(_root(error)).__name__})",
                    hint="this is a fault of the server: the log has the details; other tools still work",
                )
            )


async def _tools_of(context: MiddlewareContext[CallToolRequestParams]) -> list[str]:
    if context.fastmcp_context is None:
        return []
    return [tool.name for tool in await context.fastmcp_context.fastmcp.list_tools()]


async def _parameters_of(context: MiddlewareContext[CallToolRequestParams]) -> dict[str, Any]:
    if context.fastmcp_context is None:
        return {}
    tool = await context.fastmcp_context.fastmcp.get_tool(context.message.name)
    return {} if tool is None else tool.parameters


def failed(error: ResearchError) -> ToolResult:
    """The error as a tool result: the same object as text for a model and as data for a program."""
    body = error.to_dict()
    body |= {"message": _clipped(error.message), "hint": error.hint and _clipped(error.hint)}
    # Whatever a strategy or a file name put into an error, an answer must be JSON in UTF-8.
    encoded = json.dumps({"error": body}, ensure_ascii=False, default=str).encode(errors="replace")
    clean = json.loads(encoded, parse_constant=lambda _: None)
    return ToolResult(content=json.dumps(clean, ensure_ascii=False), structured_content=clean, is_error=True)


def _clipped(text: str, length: int = _MAX_TEXT) -> str:
    """A caller knows what it sent: a long value is not sent back whole."""
    return text if len(text) <= length else f"{text[:length]}…"


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _invalid_arguments(tool: str, parameters: dict[str, Any], error: Exception) -> ResearchError:
    cause = error if isinstance(error, PydanticValidationError) else error.__cause__
    if not isinstance(cause, PydanticValidationError):
        return ResearchError(ErrorCode.INVALID_ARGUMENT, f"{tool}: {error}", hint=f"see the schema of {tool}")
    entries = cause.errors(include_url=False, include_context=False)
    problems = [
        {
            "argument": ".".join(str(part) for part in entry["loc"]),
            "problem": entry["msg"],
            "received": _clipped(repr(entry["input"]), _MAX_RECEIVED),
        }
        for entry in entries[:_MAX_PROBLEMS]
    ]
    first = problems[0]
    more = f" (and {len(entries) - 1} more)" if len(entries) > _MAX_PROBLEMS else ""
    return ResearchError(
        ErrorCode.INVALID_ARGUMENT,
        f"{tool}: argument {first['argument']}: {first['problem']}; received {first['received']}{more}",
        hint=hint_for(tool, parameters, entries[0]["type"], entries[0]["loc"]),
        details={"problems": problems},
    )
