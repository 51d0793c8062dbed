"""Progress of a job as MCP progress notifications."""

from fastmcp import Context

from jesse_mcp.services.jobs import ProgressListener


def notifier(context: Context) -> ProgressListener:
    """Forwards every change to the caller, if it asked for progress."""

    async def notify(fraction: float | None, message: str | None) -> None:
        await context.report_progress(fraction or 0.0, 1.0, message)

    return notify
