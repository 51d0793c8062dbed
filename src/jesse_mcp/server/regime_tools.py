"""``regime_detector``."""

from typing import Annotated

from fastmcp import Context, FastMCP
from pydantic import Field, FiniteFloat

from jesse_mcp.composition import Application
from jesse_mcp.server.progress import notifier
from jesse_mcp.server.registration import add_tool
from jesse_mcp.server.source_arguments import Balances, Market, PeriodsPerYear, Returns, RunId, SessionId
from jesse_mcp.services.analysis_source import source_arguments
from jesse_mcp.services.regime_request import (
    DEFAULT_HORIZON,
    DEFAULT_LIMIT,
    DEFAULT_REFIT,
    DEFAULT_TRAINING,
    HmmFeatures,
    RegimeArguments,
    RegimeMethod,
)
from jesse_mcp.services.regimes import RegimeAnswer


def register(server: FastMCP, application: Application) -> None:
    async def regime_detector(
        context: Context,
        run_id: RunId = None,
        returns: Returns = None,
        balances: Balances = None,
        market: Market = None,
        periods_per_year: PeriodsPerYear = None,
        session_id: SessionId = None,
        method: Annotated[RegimeMethod, Field(description="model of the regimes")] = "hmm",
        regimes: Annotated[
            int | None, Field(description="2 to 5; default by BIC, jump_model 2, volatility 3")
        ] = None,
        training_periods: Annotated[int | None, Field(description=f"default {DEFAULT_TRAINING}")] = None,
        refit_every: Annotated[int | None, Field(description=f"default {DEFAULT_REFIT}")] = None,
        features: Annotated[HmmFeatures | None, Field(description="of hmm; default return")] = None,
        jump_penalty: Annotated[FiniteFloat | None, Field(description="of jump_model")] = None,
        forecast_periods: Annotated[int | None, Field(description=f"default {DEFAULT_HORIZON}")] = None,
        performance_of: Annotated[str | None, Field(description="run_id: its days by regime")] = None,
        seed: Annotated[int | None, Field(description="same seed, same answer")] = None,
        limit: Annotated[int, Field(description="spells, latest first")] = DEFAULT_LIMIT,
        wait_seconds: Annotated[
            float, Field(ge=0, le=600, description="then the job goes on: follow it with job_get")
        ] = 45,
    ) -> RegimeAnswer:
        """Which regime is a market in, with which probability, and what comes next?

        Labels by what was known at the time: no later data changes one. change_points alone looks back.
        """
        arguments = RegimeArguments(
            source=source_arguments(run_id, returns, balances, market, periods_per_year, session_id),
            method=method,
            regimes=regimes,
            training_periods=training_periods,
            refit_every=refit_every,
            features=features,
            jump_penalty=jump_penalty,
            forecast_periods=forecast_periods,
            performance_of=performance_of,
            seed=seed,
            limit=limit,
        )
        return await application.regimes.detect(
            arguments, wait_seconds=wait_seconds, on_progress=notifier(context)
        )

    add_tool(server, regime_detector, title="Regime detector", idempotent=True)
