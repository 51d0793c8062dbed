"""``factor_analysis``."""

from typing import Annotated, Any

from fastmcp import Context, FastMCP
from pydantic import Field, FiniteFloat

from jesse_mcp.composition import Application
from jesse_mcp.server.progress import notifier
from jesse_mcp.server.registration import add_tool
from jesse_mcp.server.source_arguments import Balances, Market, PeriodsPerYear, Returns, RunId, SessionId
from jesse_mcp.services.analysis_source import source_arguments
from jesse_mcp.services.factor_analysis import FactorAnswer
from jesse_mcp.services.factor_request import (
    DEFAULT_CONFIDENCE,
    BuiltInFactor,
    FactorUniverse,
    factor_arguments,
)


def register(server: FastMCP, application: Application) -> None:
    async def factor_analysis(
        context: Context,
        run_id: RunId = None,
        returns: Returns = None,
        balances: Balances = None,
        market: Market = None,
        periods_per_year: PeriodsPerYear = None,
        session_id: SessionId = None,
        universe: Annotated[
            FactorUniverse | None, Field(description="stored candles to make factors of")
        ] = None,
        factors: Annotated[
            list[BuiltInFactor] | None, Field(description="of universe; default: market and btc")
        ] = None,
        factor_returns: Annotated[
            dict[str, list[Any]] | None,
            Field(
                description="{name: [[epoch ms of the period's end, return]]}, or a number for each return"
            ),
        ] = None,
        rolling_window: Annotated[int | None, Field(description="periods")] = None,
        hac_lags: Annotated[int | None, Field(description="default 4 (n / 100)^(2/9)")] = None,
        confidence: Annotated[FiniteFloat, Field(description="of intervals")] = DEFAULT_CONFIDENCE,
        wait_seconds: Annotated[
            float, Field(ge=0, le=600, description="then the job goes on: follow it with job_get")
        ] = 45,
    ) -> FactorAnswer:
        """Is it skill or exposure? Regress returns on factors: betas, alpha, attribution, risk.

        Newey-West errors, VIF, what each factor paid, systematic and own risk, rolling betas. Factors are
        made of a universe of stored candles (momentum, size, volatility need 6 symbols), or given.
        """
        arguments = factor_arguments(
            source_arguments(run_id, returns, balances, market, periods_per_year, session_id),
            factors=factors,
            universe=universe,
            factor_returns=factor_returns or {},
            rolling_window=rolling_window,
            hac_lags=hac_lags,
            confidence=confidence,
        )
        return await application.factors.analyse(
            arguments, wait_seconds=wait_seconds, on_progress=notifier(context)
        )

    add_tool(server, factor_analysis, title="Factor analysis", idempotent=True)
