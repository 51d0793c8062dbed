"""``correlation_matrix``."""

from typing import Annotated

from fastmcp import Context, FastMCP
from pydantic import Field, FiniteFloat

from jesse_mcp.composition import Application
from jesse_mcp.server.progress import notifier
from jesse_mcp.server.registration import add_tool
from jesse_mcp.server.source_arguments import Market
from jesse_mcp.services.correlation import CorrelationAnswer
from jesse_mcp.services.correlation_request import (
    DEFAULT_ALPHA,
    DEFAULT_CONFIDENCE,
    DEFAULT_LIMIT,
    CorrelationArguments,
    CorrelationMethod,
    Include,
    Shrinkage,
)
from jesse_mcp.services.price_panel import panel_arguments


def register(server: FastMCP, application: Application) -> None:
    async def correlation_matrix(
        context: Context,
        market: Market = None,
        prices: Annotated[
            dict[str, list[tuple[int, FiniteFloat]]] | None,
            Field(description="instead: {name: [[epoch ms, price], ...]}, oldest first"),
        ] = None,
        run_ids: Annotated[
            list[str] | None, Field(description="instead: runs, by their daily balances")
        ] = None,
        method: Annotated[CorrelationMethod, Field(description="coefficient")] = "pearson",
        rolling_window: Annotated[int | None, Field(description="periods")] = None,
        shrinkage: Annotated[
            Shrinkage, Field(description="auto: with fewer than 10 returns for each series")
        ] = "auto",
        cointegration: Annotated[
            bool, Field(description="also test every pair of log prices, corrected for their number")
        ] = False,
        alpha: Annotated[FiniteFloat, Field(description="level of significance")] = DEFAULT_ALPHA,
        confidence: Annotated[FiniteFloat, Field(description="of intervals")] = DEFAULT_CONFIDENCE,
        limit: Annotated[
            int, Field(description="highest, lowest and cointegrated pairs to show, of each")
        ] = DEFAULT_LIMIT,
        include: Annotated[
            list[Include] | None, Field(description="matrix: also of more than 12 series")
        ] = None,
        wait_seconds: Annotated[
            float, Field(ge=0, le=600, description="then the job goes on: follow it with job_get")
        ] = 45,
    ) -> CorrelationAnswer:
        """Do these really diversify, and which stay together? Symbols (without weights), prices or runs.

        Correlations with intervals and corrected p-values, effective number of bets, clusters, rolling
        correlations, pairs that are candidates for cointegration.
        """
        return await application.correlations.calculate(
            CorrelationArguments(
                panel=panel_arguments(market, prices, run_ids),
                method=method,
                rolling_window=rolling_window,
                shrinkage=shrinkage,
                cointegration=cointegration,
                alpha=alpha,
                confidence=confidence,
                limit=limit,
                include=tuple(include or ()),
            ),
            wait_seconds=wait_seconds,
            on_progress=notifier(context),
        )

    add_tool(server, correlation_matrix, title="Correlation matrix", idempotent=True)
