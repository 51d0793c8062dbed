"""``risk_report``."""

from typing import Annotated

from fastmcp import FastMCP
from pydantic import Field, FiniteFloat

from jesse_mcp.composition import Application
from jesse_mcp.server.registration import add_tool
from jesse_mcp.server.source_arguments import Balances, Market, PeriodsPerYear, Returns, RunId, SessionId
from jesse_mcp.services.analysis_source import source_arguments
from jesse_mcp.services.risk_report import RiskReportResult
from jesse_mcp.services.risk_request import ReportFormat, RiskArguments


def register(server: FastMCP, application: Application) -> None:
    async def risk_report(
        run_id: RunId = None,
        returns: Returns = None,
        balances: Balances = None,
        market: Market = None,
        periods_per_year: PeriodsPerYear = None,
        session_id: SessionId = None,
        limits: Annotated[
            dict[str, FiniteFloat] | None,
            Field(
                description="such as max_drawdown, es_95, leverage, loss_streak, min_trades; an unknown name "
                "is answered with all of them"
            ),
        ] = None,
        trials: Annotated[int | None, Field(description="tried in all, if more than the ledger has")] = None,
        format: Annotated[  # noqa: A002
            ReportFormat, Field(description="html writes a file and answers its path")
        ] = "json",
    ) -> RiskReportResult:
        """How risky is it: score with its parts and reasons, rating, broken limits, findings.

        Drawdown, expected shortfall, volatility, liquidation, evidence, concentration. What cannot be
        computed earns no points; a total loss is 0. Markdown and HTML (with charts) are for people.
        """
        return await application.risk_reports.report(
            RiskArguments(
                source=source_arguments(run_id, returns, balances, market, periods_per_year, session_id),
                limits=limits or {},
                trials=trials,
                format=format,
            )
        )

    add_tool(server, risk_report, title="Risk report", idempotent=True)
