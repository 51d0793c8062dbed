"""``monte_carlo``."""

from typing import Annotated

from fastmcp import Context, FastMCP
from pydantic import Field, FiniteFloat

from jesse_mcp.composition import Application
from jesse_mcp.domain.backtests import EngineChoice, PipelineName
from jesse_mcp.server.common_arguments import Seed
from jesse_mcp.server.progress import notifier
from jesse_mcp.server.registration import add_tool
from jesse_mcp.services.monte_carlo import MonteCarloAnswer
from jesse_mcp.services.monte_carlo_request import (
    DEFAULT_QUANTILES,
    MonteCarloArguments,
    MonteCarloMethod,
)


def register(server: FastMCP, application: Application) -> None:
    async def monte_carlo(
        context: Context,
        run_id: Annotated[str, Field(description="a finished run")],
        method: Annotated[
            MonteCarloMethod,
            Field(description="resample trades or daily returns, or run again on altered candles"),
        ],
        simulations: Annotated[
            int | None, Field(description="default 1000; candles 100, each a backtest")
        ] = None,
        seed: Seed = 0,
        block_length: Annotated[
            FiniteFloat | None, Field(description="days, of returns_*; default: chosen from the data")
        ] = None,
        ruin_threshold: Annotated[FiniteFloat, Field(description="share of the starting balance")] = 0.5,
        quantiles: Annotated[
            list[FiniteFloat] | None, Field(description="0 to 1, of every number; default 0.01 to 0.99")
        ] = None,
        pipeline: Annotated[
            PipelineName | None, Field(description="of candles; default moving_block_bootstrap")
        ] = None,
        pipeline_parameters: Annotated[
            dict[str, FiniteFloat] | None,
            Field(description="batch_size in minutes; sigmas in price units for gaussian_noise"),
        ] = None,
        engine: Annotated[EngineChoice, Field(description="of candles; as in backtest")] = "configured",
        wait_seconds: Annotated[
            float, Field(ge=0, le=600, description="then the job goes on: follow it with job_get")
        ] = 45,
    ) -> MonteCarloAnswer:
        """What luck did to a run: drawdown, ruin and final balance over histories as likely as its own.

        trades_shuffle asks how bad the way could have been; bootstrap and returns_* also where it could have
        ended; candles whether the strategy needs exactly these candles. Same seed, same answer.
        """
        arguments = MonteCarloArguments(
            run_id=run_id,
            method=method,
            simulations=simulations,
            seed=seed,
            block_length=block_length,
            ruin_threshold=ruin_threshold,
            quantiles=DEFAULT_QUANTILES if quantiles is None else tuple(quantiles),
            pipeline=pipeline,
            pipeline_parameters=pipeline_parameters,
            engine=engine,
        )
        return await application.monte_carlo.analyse(
            arguments, wait_seconds=wait_seconds, on_progress=notifier(context)
        )

    add_tool(server, monte_carlo, title="Monte Carlo", idempotent=True)
