"""What may be asked of a risk report."""

from typing import Literal

from pydantic import Field

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.services.analysis_source import SourceArguments
from jesse_mcp.services.risk_limits import LIMITS
from jesse_mcp.services.significance_request import MAX_TRIALS

ReportFormat = Literal["json", "markdown", "html"]


class RiskArguments(Value):
    """A source, the limits it has to keep, and how the report is wanted."""

    source: SourceArguments
    limits: dict[str, float] = Field(default_factory=dict)
    trials: int | None = None
    format: ReportFormat = "json"


def check(arguments: RiskArguments) -> None:
    """Everything that can be checked without the source.

    Raises:
        ResearchError: ``invalid_argument`` naming the argument and what it received.
    """
    trials = arguments.trials
    if trials is not None and not 1 <= trials <= MAX_TRIALS:
        raise invalid(f"trials is {trials}", f"trials is 1 to {MAX_TRIALS:,}")
    unknown = [name for name in arguments.limits if name not in LIMITS]
    if unknown:
        raise invalid(f"limits has {', '.join(unknown)[:200]}", f"the limits are {', '.join(LIMITS)}")
    for name, bound in arguments.limits.items():
        most = LIMITS[name].most
        if not 0 <= bound <= most:
            what = "a fraction: 0.2 is 20 %" if most == 1 else "0 or more"
            raise invalid(f"limits[{name!r}] is {bound}", f"give {what}, at most {most:,g}")


def invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
