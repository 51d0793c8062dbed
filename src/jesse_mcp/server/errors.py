"""The one place where errors become MCP errors."""

import json
import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from fastmcp.exceptions import NotFoundError, ToolError, ValidationError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.base import ToolResult
from mcp.types import CallToolRequestParams
from pydantic import ValidationError as PydanticValidationError

from jesse_mcp.domain.errors import ErrorCode, ResearchError

logger = logging.getLogger("jesse_mcp.server")

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
    """Every failure of a tool call leaves as ``{code, message, hint, details}`` with ``isError`` set."""

    async def on_call_tool(
        self,
        context: MiddlewareContext[CallToolRequestParams],
        call_next: CallNext[CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        try:
            return await call_next(context)
        except ExpectedToolError as error:
            return failed(error.error)
        except (ValidationError, PydanticValidationError) as error:
            return failed(_invalid_arguments(context.message.name, error))
        except NotFoundError:
            return failed(
                ResearchError(
                    ErrorCode.INVALID_ARGUMENT,
                    f"there is no tool {context.message.name!r}",
                    hint="list the tools",
                )
            )
        except Exception as error:
            logger.exception("the tool %s failed", context.message.name)
            cause = error.__cause__ or error
            return failed(
                ResearchError(
                    ErrorCode.INTERNAL_ERROR,
                    f"{context.message.name} failed inside the server ({type(cause).__name__})",
                    hint="this is a fault of the server: the log has the details; other tools still work",
                )
            )


def failed(error: ResearchError) -> ToolResult:
    """The error as a tool result: the same object as text for a model and as data for a program."""
    body = error.to_dict()
    text = json.dumps({"error": body}, ensure_ascii=False)
    return ToolResult(content=text, structured_content={"error": body}, is_error=True)


def _invalid_arguments(tool: str, error: Exception) -> ResearchError:
    cause = error if isinstance(error, PydanticValidationError) else error.__cause__
    if not isinstance(cause, PydanticValidationError):
        return ResearchError(ErrorCode.INVALID_ARGUMENT, f"{tool}: {error}", hint=f"see the schema of {tool}")
    problems: list[dict[str, Any]] = []
    for entry in cause.errors(include_url=False, include_context=False):
        received = repr(entry["input"])
        problems.append(
            {
                "argument": ".".join(str(part) for part in entry["loc"]),
                "problem": entry["msg"],
                "received": received if len(received) <= 200 else f"{received[:200]}…",
            }
        )
    first = problems[0]
    return ResearchError(
        ErrorCode.INVALID_ARGUMENT,
        f"{tool}: argument {first['argument']}: {first['problem']}; received {first['received']}",
        hint=f"correct it and call {tool} again; its input schema lists every argument",
        details={"problems": problems},
    )
