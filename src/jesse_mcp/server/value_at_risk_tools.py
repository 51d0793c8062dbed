"""``var_calculation``."""

from typing import Annotated

from fastmcp import Context, FastMCP
from pydantic import Field, FiniteFloat

from jesse_mcp.composition import Application
from jesse_mcp.server.common_arguments import Seed
from jesse_mcp.server.progress import notifier
from jesse_mcp.server.registration import add_tool
from jesse_mcp.server.source_arguments import Balances, Market, PeriodsPerYear, Returns, RunId, SessionId
from jesse_mcp.services.analysis_source import source_arguments
from jesse_mcp.services.value_at_risk import VarAnswer
from jesse_mcp.services.value_at_risk_request import (
    DEFAULT_CONFIDENCES,
    DEFAULT_HORIZONS,
    DEFAULT_METHODS,
    VarArguments,
    VarMethod,
)


def register(server: FastMCP, application: Application) -> None:
    async def var_calculation(
        context: Context,
        run_id: RunId = None,
        returns: Returns = None,
        balances: Balances = None,
        market: Market = None,
        periods_per_year: PeriodsPerYear = None,
        session_id: SessionId = None,
        methods: Annotated[tuple[VarMethod, ...], Field(description="models of the loss")] = DEFAULT_METHODS,
        confidence: Annotated[tuple[FiniteFloat, ...], Field(description="levels")] = DEFAULT_CONFIDENCES,
        horizon: Annotated[tuple[int, ...], Field(description="periods")] = DEFAULT_HORIZONS,
        backtest: Annotated[bool, Field(description="rolling forecasts out of sample")] = False,
        window: Annotated[int | None, Field(description="of backtest; default 250")] = None,
        seed: Seed = 0,
        value: Annotated[FiniteFloat | None, Field(description="money; default: the last balance")] = None,
        wait_seconds: Annotated[
            float, Field(ge=0, le=600, description="then the job goes on: follow it with job_get")
        ] = 45,
    ) -> VarAnswer:
        """What may be lost: value at risk and expected shortfall by method, confidence and horizon.

        Of a market with several symbols also what each adds. backtest tells which method to believe.
        """
        arguments = VarArguments(
            source=source_arguments(run_id, returns, balances, market, periods_per_year, session_id),
            methods=methods,
            confidences=confidence,
            horizons=horizon,
            backtest=backtest,
            window=window,
            seed=seed,
            value=value,
        )
        return await application.var.calculate(
            arguments, wait_seconds=wait_seconds, on_progress=notifier(context)
        )

    add_tool(server, var_calculation, title="Value at risk", idempotent=True)
