"""How a function becomes a tool."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastmcp import FastMCP
from fastmcp.tools import FunctionTool
from fastmcp.tools.base import ToolResult
from fastmcp.utilities.json_schema import dereference_refs
from mcp.types import Tool as ListedTool
from mcp.types import ToolAnnotations
from pydantic import PrivateAttr

from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.server.argument_sizes import check_sizes
from jesse_mcp.server.errors import ExpectedToolError, teaching
from jesse_mcp.server.schemas import result_or_error, without_null_defaults


class _Tool(FunctionTool):
    _listed: ListedTool | None = PrivateAttr(default=None)

    def get_meta(self) -> dict[str, Any]:
        """Nothing: what the framework would add says nothing to an agent and costs it characters."""
        return {}

    async def run(self, arguments: dict[str, Any]) -> ToolResult:
        try:
            check_sizes(arguments, self.parameters)
        except ResearchError as error:
            raise ExpectedToolError(error) from error
        return await super().run(arguments)

    def to_mcp_tool(self, **overrides: Any) -> ListedTool:
        """As clients are told of it, without references, which some do not follow.

        Made once: no tool changes while a server lives, and every conversation begins with all of them.
        """
        if overrides != {"name": self.name}:
            return super().to_mcp_tool(**overrides)
        if self._listed is None:
            schemas = {"inputSchema": self.parameters, "outputSchema": self.output_schema or {}}
            whole = {name: dereference_refs(schema) for name, schema in schemas.items()}
            self._listed = super().to_mcp_tool(**overrides, **whole)
        return self._listed


def add_tool(
    server: FastMCP,
    function: Callable[..., Awaitable[Any]],
    *,
    title: str,
    read_only: bool = False,
    destructive: bool = False,
    idempotent: bool = False,
    open_world: bool = False,
) -> None:
    """Register ``function`` under its own name; its docstring is what an agent reads.

    ``open_world`` is for tools that talk to anything beyond this installation.
    """
    tool = _Tool.from_function(
        teaching(function),
        name=function.__name__,
        title=title,
        annotations=ToolAnnotations(
            title=title,
            read_only_hint=read_only,
            destructive_hint=destructive,
            idempotent_hint=idempotent or read_only,
            open_world_hint=open_world,
        ),
    )
    if tool.output_schema is None:
        raise TypeError(f"{tool.name} does not say what it returns")
    schemas = {
        "parameters": without_null_defaults(tool.parameters),
        "output_schema": result_or_error(tool.output_schema),
    }
    server.add_tool(tool.model_copy(update=schemas))
