"""``significance_test``."""

from typing import Annotated

from fastmcp import Context, FastMCP
from pydantic import Field, FiniteFloat

from jesse_mcp.composition import Application
from jesse_mcp.server.common_arguments import Seed
from jesse_mcp.server.progress import notifier
from jesse_mcp.server.registration import add_tool
from jesse_mcp.server.source_arguments import Balances, Market, PeriodsPerYear, Returns, RunId, SessionId
from jesse_mcp.services.analysis_source import source_arguments
from jesse_mcp.services.significance import SignificanceAnswer
from jesse_mcp.services.significance_request import (
    DEFAULT_CONFIDENCE,
    DEFAULT_PBO_SPLITS,
    SignificanceArguments,
    invalid,
)


def register(server: FastMCP, application: Application) -> None:
    async def significance_test(
        context: Context,
        run_id: RunId = None,
        returns: Returns = None,
        balances: Balances = None,
        market: Market = None,
        periods_per_year: PeriodsPerYear = None,
        session_id: SessionId = None,
        run_ids: Annotated[
            list[str] | None, Field(description="instead: runs to compare, of which the best is judged")
        ] = None,
        trials: Annotated[
            int | None, Field(description="how many variants were tried in all, if more than the ledger has")
        ] = None,
        benchmark_sharpe: Annotated[FiniteFloat, Field(description="annual")] = 0.0,
        confidence: Annotated[
            FiniteFloat, Field(description="of interval and record length")
        ] = DEFAULT_CONFIDENCE,
        splits: Annotated[int, Field(description="of the days, for pbo")] = DEFAULT_PBO_SPLITS,
        seed: Seed = 0,
        wait_seconds: Annotated[
            float, Field(ge=0, le=600, description="then the job goes on: follow it with job_get")
        ] = 45,
    ) -> SignificanceAnswer:
        """Is a result more than luck, given everything that was tried? Ask before you believe a backtest.

        Probabilistic and deflated Sharpe ratio against all experiments with this code in the ledger, minimum
        track record, probability of backtest overfitting; of several runs also SPA and corrected p-values.
        """
        single = (run_id, returns, balances, market, periods_per_year, session_id)
        if run_ids is not None and any(given is not None for given in single):
            raise invalid("run_ids is given with another source", "give either run_ids or one source")
        return await application.significance.test(
            SignificanceArguments(
                source=None if run_ids is not None else source_arguments(*single),
                run_ids=None if run_ids is None else tuple(run_ids),
                trials=trials,
                benchmark_sharpe=benchmark_sharpe,
                confidence=confidence,
                splits=splits,
                seed=seed,
            ),
            wait_seconds=wait_seconds,
            on_progress=notifier(context),
        )

    add_tool(server, significance_test, title="Significance test", idempotent=True)
