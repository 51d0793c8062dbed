"""``run_list``, ``run_get``, ``run_compare``."""

from typing import Annotated, Literal

from fastmcp import FastMCP
from pydantic import Field

from jesse_mcp.composition import Application
from jesse_mcp.domain.candles import parse_symbol
from jesse_mcp.server.common_arguments import Limit, Offset
from jesse_mcp.server.registration import add_tool
from jesse_mcp.services.run_view import RunView, Section
from jesse_mcp.services.runs import Comparison, RunList


def register(server: FastMCP, application: Application) -> None:
    async def run_list(
        strategy: Annotated[str | None, Field(description="only runs with this strategy")] = None,
        symbol: Annotated[str | None, Field(description="only runs that traded this symbol")] = None,
        kind: Annotated[
            Literal["backtest", "batch", "trial", "scenario", "pairs", "paper", "any"],
            Field(
                description="asked for alone, cell of a batch, tried by a search, of monte_carlo, "
                "stress_test, of pairs_backtest, of a paper session"
            ),
        ] = "backtest",
        limit: Limit = 20,
        offset: Offset = 0,
    ) -> RunList:
        """Finished runs with their headline metrics, newest first."""
        wanted = None if symbol is None else parse_symbol(symbol)
        return await application.runs.page(strategy, wanted, None if kind == "any" else kind, limit, offset)

    async def run_get(
        run_id: Annotated[str, Field(description="a finished run")],
        include: Annotated[
            list[Section] | None,
            Field(description="sections to add; orders are trades with their orders"),
        ] = None,
        limit: Annotated[int, Field(ge=1, le=1000, description="trades or equity points a page")] = 50,
        offset: Offset = 0,
    ) -> RunView:
        """One finished run: what was asked, Jesse's metrics, and the sections you ask for."""
        return await application.runs.get(run_id, frozenset(include or ()), offset, limit)

    async def run_compare(
        run_ids: Annotated[list[str], Field(description="2 to 20 runs, one column each")],
        metrics: Annotated[list[str] | None, Field(description="default: all metrics")] = None,
    ) -> Comparison:
        """Runs side by side: metrics, what was asked differently, whether code and candles were the same."""
        return await application.runs.compare(tuple(run_ids), None if metrics is None else tuple(metrics))

    add_tool(server, run_list, title="List runs", read_only=True)
    add_tool(server, run_get, title="Get a run", read_only=True)
    add_tool(server, run_compare, title="Compare runs", read_only=True)
