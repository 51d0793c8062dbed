"""Progress of a job as MCP progress notifications."""

from fastmcp import Context

from jesse_mcp.services.jobs import ProgressListener


def notifier(context: Context) -> ProgressListener:
    """Forwards every step forward to the caller, if it asked for progress.

    The protocol wants each value to be greater than the one before, so a change of the message alone waits
    for the next step.
    """
    reached = -1.0

    async def notify(fraction: float | None, message: str | None) -> None:
        nonlocal reached
        if (fraction or 0.0) > reached:
            reached = fraction or 0.0
            await context.report_progress(reached, 1.0, message)

    return notify
