"""What may be asked of a performance analysis."""

from typing import Literal

from pydantic import Field

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.services.analysis_source import SourceArguments

PerformanceSection = Literal[
    "trades",
    "drawdowns",
    "calendar",
    "rolling",
    "excursions",
    "distribution",
    "intervals",
    "benchmark",
    "jesse",
]
DEFAULT_WINDOW = 90
MAX_WINDOW = 100_000
MAX_SEED = 2**31


class PerformanceArguments(Value):
    """The source, the sections beside the headline, and what the numbers depend on.

    ``include`` of ``None`` is trades, where the source knows of any.
    """

    source: SourceArguments
    include: tuple[PerformanceSection, ...] | None = None
    risk_free_rate: float = 0.0
    target_return: float = 0.0
    rolling_window: int = Field(default=DEFAULT_WINDOW, description="periods")
    seed: int = 0
    benchmark_returns: tuple[float, ...] | None = None

    @property
    def sections(self) -> tuple[PerformanceSection, ...]:
        return ("trades",) if self.include is None else tuple(dict.fromkeys(self.include))


def check(arguments: PerformanceArguments) -> None:
    """Everything that can be checked without the source.

    Raises:
        ResearchError: ``invalid_argument`` naming the argument and what it received.
    """
    sections = arguments.sections
    rates = {"risk_free_rate": arguments.risk_free_rate, "target_return": arguments.target_return}
    checks = [
        *(
            (-1 < rate < 10, f"{name} is {rate}", "give a fraction a year: 0.04 is 4 %")
            for name, rate in rates.items()
        ),
        (
            2 <= arguments.rolling_window <= MAX_WINDOW,
            f"rolling_window is {arguments.rolling_window}",
            f"give 2 to {MAX_WINDOW:,} periods",
        ),
        (
            arguments.rolling_window == DEFAULT_WINDOW or "rolling" in sections,
            f"rolling_window is {arguments.rolling_window} and include has no 'rolling'",
            "add 'rolling' to include, or leave rolling_window out",
        ),
        (0 <= arguments.seed < MAX_SEED, f"seed is {arguments.seed}", f"give 0 to {MAX_SEED - 1}"),
        (
            arguments.seed == 0 or "intervals" in sections,
            f"seed is {arguments.seed} and include has no 'intervals'",
            "add 'intervals' to include, or leave seed out: nothing else is drawn",
        ),
        (
            arguments.benchmark_returns is None or "benchmark" in sections,
            "benchmark_returns is given and include has no 'benchmark'",
            "add 'benchmark' to include, or leave benchmark_returns out",
        ),
    ]
    for passed, message, hint in checks:
        if not passed:
            raise ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
