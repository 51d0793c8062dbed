"""``jesse-mcp report``."""

import asyncio
import sys

from cyclopts import App
from rich.console import Console

from jesse_mcp.composition import Application
from jesse_mcp.services.analysis_source import SourceArguments
from jesse_mcp.services.risk_report import RiskReportResult
from jesse_mcp.services.risk_request import ReportFormat, RiskArguments
from jesse_mcp.settings import Settings


def register(app: App) -> None:
    app.command(report)


def report(run_id: str, *, format: ReportFormat = "markdown") -> None:  # noqa: A002
    """The risk report of a finished run.

    Parameters
    ----------
    format
        markdown and json are printed, html is written to a file whose path is printed.
    """
    result = asyncio.run(_reported(RiskArguments(source=SourceArguments(run_id=run_id), format=format)))
    if result.markdown is not None:
        sys.stdout.write(result.markdown)
    elif result.html is not None:
        sys.stdout.write(f"{result.html['path']}\n")
    else:
        Console(soft_wrap=True).print(result.model_dump_json(indent=2), highlight=False, markup=False)


async def _reported(arguments: RiskArguments) -> RiskReportResult:
    application = Application(Settings(prewarm=False))
    await application.start()
    try:
        return await application.risk_reports.report(arguments)
    finally:
        await application.close()
