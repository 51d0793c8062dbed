"""What may be asked of a correlation matrix."""

from typing import Literal

from pydantic import Field

from jesse_mcp.analytics.correlation import Method
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.services.price_panel import PanelArguments, PricePanel

CorrelationMethod = Method
Shrinkage = Literal["auto", "none", "ledoit_wolf"]
Include = Literal["matrix"]

FEWEST_RETURNS = 5
FEWEST_ROLLING = 5
MAX_ALPHA = 0.5
MAX_CONFIDENCE = 0.9999
DEFAULT_CONFIDENCE = 0.95
DEFAULT_ALPHA = 0.05
DEFAULT_LIMIT = 5
MAX_LIMIT = 500
#: Numbers looked at by rolling windows, and by what is slow of each; minutes of work.
_MOST_ROLLING = {"pearson": 10_000_000_000, "spearman": 1_000_000_000, "kendall": 20_000_000}
#: Numbers that the call for one short window costs as much as.
_LEAST_COST = 100
_MOST_KENDALL = 1_000_000_000
_MOST_COINTEGRATION = 100_000_000


class CorrelationArguments(Value):
    """Series, and what to say of them; ``limit`` is of pairs at either end of a list."""

    panel: PanelArguments
    method: Method = "pearson"
    rolling_window: int | None = Field(default=None, description="periods")
    shrinkage: Shrinkage = "auto"
    cointegration: bool = False
    alpha: float = DEFAULT_ALPHA
    confidence: float = DEFAULT_CONFIDENCE
    limit: int = DEFAULT_LIMIT
    include: tuple[Include, ...] = ()

    def recorded(self) -> dict[str, object]:
        """What a job keeps of the request: prices of the call are counted, not copied."""
        request = self.model_dump(mode="json", exclude_none=True, exclude={"panel"})
        return {**self.panel.recorded(), **request}


def check(arguments: CorrelationArguments) -> None:
    """Everything that can be checked without reading anything.

    Raises:
        ResearchError: ``invalid_argument`` naming the argument and what it received.
    """
    window, limit = arguments.rolling_window, arguments.limit
    checks: list[tuple[bool, str, object, str]] = [
        (
            window is None or window >= FEWEST_ROLLING,
            "rolling_window",
            window,
            f"a number of periods, {FEWEST_ROLLING} or more",
        ),
        (0 < arguments.alpha <= MAX_ALPHA, "alpha", arguments.alpha, f"above 0 and up to {MAX_ALPHA}"),
        (
            0.5 <= arguments.confidence <= MAX_CONFIDENCE,
            "confidence",
            arguments.confidence,
            f"0.5 to {MAX_CONFIDENCE}",
        ),
        (1 <= limit <= MAX_LIMIT, "limit", limit, f"1 to {MAX_LIMIT}"),
    ]
    for passed, name, received, wanted in checks:
        if not passed:
            raise invalid(f"{name} is {received}", f"{name} is {wanted}")
    if arguments.method == "kendall" and arguments.shrinkage == "ledoit_wolf":
        raise invalid(
            "shrinkage is ledoit_wolf with method kendall",
            "it is of products of deviations, which Kendall's tau is not made of: use pearson or spearman",
        )


def check_panel(arguments: CorrelationArguments, panel: PricePanel) -> None:
    """What can be checked once the prices are there, before anything is computed.

    Raises:
        ResearchError: ``invalid_argument``.
    """
    n, k = len(panel.timestamps) - 1, len(panel.names)
    if n < FEWEST_RETURNS:
        raise invalid(
            f"{k} series have {n + 1} times in common, which is {n} returns",
            f"{FEWEST_RETURNS} returns are needed; a longer range, or without "
            f"{_shortest(panel)}, which has the fewest points",
        )
    window, pairs = arguments.rolling_window, k * (k - 1) // 2
    if window is not None and window >= n:
        raise invalid(
            f"rolling_window is {window}, and there are {n} returns", "give fewer than there are returns"
        )
    shown = min(pairs, 2 * arguments.limit)
    if (
        window is not None
        and (n - window + 1) * max(window, _LEAST_COST) * shown > _MOST_ROLLING[arguments.method]
    ):
        raise invalid(
            f"rolling_window {window} over {n:,} returns of {shown} pairs is too much for {arguments.method}",
            "give a smaller limit, a longer timeframe, or method pearson",
        )
    if arguments.method == "kendall" and n * pairs > _MOST_KENDALL:
        raise invalid(
            f"method kendall is asked of {pairs:,} pairs of {n:,} returns",
            "give fewer series, a longer timeframe, or method spearman",
        )
    if arguments.cointegration and n * pairs > _MOST_COINTEGRATION:
        raise invalid(
            f"cointegration is asked of {pairs:,} pairs of {n:,} prices",
            "give fewer series or a longer timeframe",
        )


def _shortest(panel: PricePanel) -> str:
    return min(zip(panel.names, panel.counts, strict=True), key=lambda one: one[1].points)[0]


def invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
