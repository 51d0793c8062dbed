"""``analyze_results``."""

from typing import Annotated

from fastmcp import FastMCP
from pydantic import Field, FiniteFloat

from jesse_mcp.composition import Application
from jesse_mcp.server.registration import add_tool
from jesse_mcp.server.source_arguments import Balances, Market, PeriodsPerYear, Returns, RunId, SessionId
from jesse_mcp.services.analysis_source import source_arguments
from jesse_mcp.services.performance_analysis import PerformanceResult
from jesse_mcp.services.performance_request import (
    DEFAULT_WINDOW,
    PerformanceArguments,
    PerformanceSection,
)


def register(server: FastMCP, application: Application) -> None:
    async def analyze_results(
        run_id: RunId = None,
        returns: Returns = None,
        balances: Balances = None,
        market: Market = None,
        periods_per_year: PeriodsPerYear = None,
        session_id: SessionId = None,
        include: Annotated[list[PerformanceSection] | None, Field(description="default: trades")] = None,
        risk_free_rate: Annotated[FiniteFloat, Field(description="annual fraction")] = 0.0,
        target_return: Annotated[
            FiniteFloat, Field(description="annual fraction, of Sortino and Omega")
        ] = 0.0,
        rolling_window: Annotated[int, Field(description="periods")] = DEFAULT_WINDOW,
        seed: Annotated[int, Field(description="of intervals")] = 0,
        benchmark_returns: Annotated[
            list[FiniteFloat] | None,
            Field(description="default: buy and hold of the run's symbols"),
        ] = None,
    ) -> PerformanceResult:
        """Performance and trade statistics by stated formulas, beside Jesse's own where the two differ.

        Sections: trades (with long and short), drawdowns, calendar, rolling, excursions (MAE, MFE),
        distribution, intervals (bootstrap), benchmark (alpha, beta), jesse (its conventions).
        """
        return await application.performance.analyse(
            PerformanceArguments(
                source=source_arguments(run_id, returns, balances, market, periods_per_year, session_id),
                include=None if include is None else tuple(include),
                risk_free_rate=risk_free_rate,
                target_return=target_return,
                rolling_window=rolling_window,
                seed=seed,
                benchmark_returns=None if benchmark_returns is None else tuple(benchmark_returns),
            )
        )

    add_tool(server, analyze_results, title="Analyse results", read_only=True)
