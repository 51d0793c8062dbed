"""``strategy_*`` and ``indicator_list``."""

from typing import Annotated

from fastmcp import FastMCP
from pydantic import Field

from jesse_mcp.composition import Application
from jesse_mcp.domain.strategies import ValidationReport
from jesse_mcp.server.registration import add_tool
from jesse_mcp.services.strategies import (
    MAX_INDICATORS,
    IndicatorList,
    StrategyDeleted,
    StrategyList,
    StrategyView,
    StrategyWritten,
)


def register(server: FastMCP, application: Application) -> None:
    async def strategy_list(
        search: Annotated[str | None, Field(description="part of a name or description")] = None,
    ) -> StrategyList:
        """Strategies that can be run, with their hyperparameters: bundled (read-only) and the user's own."""
        return await application.strategies.listing(search)

    async def strategy_read(
        name: Annotated[str, Field(description="as strategy_list has it")],
    ) -> StrategyView:
        """Source code of a strategy, with what validation says of it."""
        return await application.strategies.read(name)

    async def strategy_validate(
        code: Annotated[str | None, Field(description="source to check; or give name")] = None,
        name: Annotated[
            str | None, Field(description="a stored strategy; with code, the class name it must have")
        ] = None,
    ) -> ValidationReport:
        """Check a strategy without running it: syntax, required methods, unknown names, look-ahead, risks."""
        return await application.strategies.validate(code, name)

    async def strategy_write(
        name: Annotated[str, Field(description="also the name of the class")],
        code: Annotated[str, Field(description="a Python module with one class extending jesse's Strategy")],
        overwrite: Annotated[bool, Field(description="replace one of that name")] = False,
    ) -> StrategyWritten:
        """Store a strategy. Code with errors is refused with the findings; warnings come back with it.

        Required: should_long and go_long (and go_short if should_short can be true). Orders are set as
        self.buy, self.sell, self.stop_loss, self.take_profit = (quantity, price).
        """
        return await application.strategies.write(name, code, overwrite)

    async def strategy_delete(
        name: Annotated[str, Field(description="not of a bundled one")],
    ) -> StrategyDeleted:
        """Delete one of the user's strategies. Runs made with it stay. There is no undo."""
        return await application.strategies.delete(name)

    async def indicator_list(
        search: Annotated[str | None, Field(description="part of a name or summary, e.g. 'average'")] = None,
        name: Annotated[str | None, Field(description="exactly this one")] = None,
        limit: Annotated[int, Field(ge=1, le=MAX_INDICATORS, description="how many to show")] = 50,
    ) -> IndicatorList:
        """Jesse's indicators (import jesse.indicators as ta): signature and result fields."""
        return await application.strategies.indicators(search, name, limit)

    add_tool(server, strategy_list, title="List strategies", read_only=True)
    add_tool(server, strategy_read, title="Read a strategy", read_only=True)
    add_tool(server, strategy_validate, title="Validate a strategy", read_only=True)
    add_tool(server, strategy_write, title="Write a strategy", destructive=True, idempotent=True)
    add_tool(server, strategy_delete, title="Delete a strategy", destructive=True)
    add_tool(server, indicator_list, title="List indicators", read_only=True)
