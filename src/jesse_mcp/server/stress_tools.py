"""``stress_test``."""

from typing import Annotated

from fastmcp import Context, FastMCP
from pydantic import Field, FiniteFloat

from jesse_mcp.composition import Application
from jesse_mcp.server.progress import notifier
from jesse_mcp.server.registration import add_tool
from jesse_mcp.server.source_arguments import Balances, Market, PeriodsPerYear, Returns, RunId, SessionId
from jesse_mcp.services.analysis_source import source_arguments
from jesse_mcp.services.stress import StressAnswer
from jesse_mcp.services.stress_request import Rerun, StressArguments


def register(server: FastMCP, application: Application) -> None:
    async def stress_test(
        context: Context,
        run_id: RunId = None,
        returns: Returns = None,
        balances: Balances = None,
        market: Market = None,
        periods_per_year: PeriodsPerYear = None,
        session_id: SessionId = None,
        scenarios: Annotated[list[str] | None, Field(description="crises, default all")] = None,
        shocks: Annotated[
            dict[str, FiniteFloat] | None, Field(description="by symbol, -0.3: a fall of 30 %")
        ] = None,
        volatility_multiplier: Annotated[FiniteFloat, Field(description="of returns about their mean")] = 2,
        correlation: Annotated[
            FiniteFloat | list[list[FiniteFloat]],
            Field(description="share of the way to 1, or a matrix"),
        ] = 1,
        leverage: Annotated[FiniteFloat | None, Field(description="default: the run's")] = None,
        rerun: Annotated[list[Rerun] | None, Field(description="in the engine; default: none")] = None,
        fee_multipliers: Annotated[list[FiniteFloat] | None, Field(description="default [2, 3]")] = None,
        slippage_bps: Annotated[
            list[FiniteFloat] | None, Field(description="a side; default [5, 10]")
        ] = None,
        wait_seconds: Annotated[
            float, Field(ge=0, le=600, description="then the job goes on: follow it with job_get")
        ] = 45,
    ) -> StressAnswer:
        """Days worse than those seen: dated crises, price shocks, volatility, correlations, liquidation.

        Crises are measured on stored candles or balances, else of a table, else hypothetical by exposure;
        rerun makes the run again through them, with higher fees, with slippage.
        """
        arguments = StressArguments(
            source=source_arguments(run_id, returns, balances, market, periods_per_year, session_id),
            scenarios=None if scenarios is None else tuple(scenarios),
            shocks=shocks,
            volatility_multiplier=volatility_multiplier,
            correlation=(
                tuple(tuple(row) for row in correlation) if isinstance(correlation, list) else correlation
            ),
            leverage=leverage,
            rerun=() if rerun is None else tuple(dict.fromkeys(rerun)),
            fee_multipliers=None if fee_multipliers is None else tuple(fee_multipliers),
            slippage_bps=None if slippage_bps is None else tuple(slippage_bps),
        )
        return await application.stress.test(
            arguments, wait_seconds=wait_seconds, on_progress=notifier(context)
        )

    add_tool(server, stress_test, title="Stress test", idempotent=True)
