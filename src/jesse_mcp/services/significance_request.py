"""What may be asked of a significance test."""

from pydantic import Field

from jesse_mcp.analytics.overfitting import DEFAULT_SPLITS, MAX_SPLITS
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.services.analysis_source import SourceArguments

MAX_RUNS = 100
MAX_TRIALS = 1_000_000_000
MAX_SEED = 2**31
MAX_BENCHMARK = 100
MAX_CONFIDENCE = 0.9999
DEFAULT_CONFIDENCE = 0.95
DEFAULT_PBO_SPLITS = DEFAULT_SPLITS


class SignificanceArguments(Value):
    """One source, or several runs of which the best is judged."""

    source: SourceArguments | None = None
    run_ids: tuple[str, ...] | None = None
    trials: int | None = None
    benchmark_sharpe: float = Field(default=0.0, description="annual")
    confidence: float = DEFAULT_CONFIDENCE
    splits: int = DEFAULT_PBO_SPLITS
    seed: int = 0

    def recorded(self) -> dict[str, object]:
        """What a job keeps of the request: long series of the call are counted, not copied."""
        request = self.model_dump(mode="json", exclude_none=True, exclude={"source"})
        if self.source is not None:
            given = self.source.model_dump(mode="json", exclude_none=True)
            for name in ("returns", "balances"):
                if name in given:
                    given[name] = f"{len(given[name])} values"
            request["source"] = given
        return request


def check(arguments: SignificanceArguments) -> None:
    """Everything that can be checked without reading anything.

    Raises:
        ResearchError: ``invalid_argument`` naming the argument and what it received.
    """
    runs, trials = arguments.run_ids, arguments.trials
    if runs is not None and not (2 <= len(runs) <= MAX_RUNS and len(set(runs)) == len(runs)):
        raise invalid(
            f"run_ids has {len(runs)} runs, {len(set(runs))} of them different",
            f"give 2 to {MAX_RUNS} different runs, or one as run_id",
        )
    checks: list[tuple[bool, str, object, str]] = [
        (trials is None or 1 <= trials <= MAX_TRIALS, "trials", trials, f"1 to {MAX_TRIALS:,}"),
        (
            0 <= arguments.benchmark_sharpe <= MAX_BENCHMARK,
            "benchmark_sharpe",
            arguments.benchmark_sharpe,
            f"an annual Sharpe ratio to be above, 0 to {MAX_BENCHMARK}; below zero losses would pass",
        ),
        (
            0.5 < arguments.confidence <= MAX_CONFIDENCE,
            "confidence",
            arguments.confidence,
            f"above 0.5 and up to {MAX_CONFIDENCE}",
        ),
        (
            2 <= arguments.splits <= MAX_SPLITS and arguments.splits % 2 == 0,
            "splits",
            arguments.splits,
            f"an even number, 2 to {MAX_SPLITS}",
        ),
        (0 <= arguments.seed < MAX_SEED, "seed", arguments.seed, f"0 to {MAX_SEED - 1}"),
    ]
    for passed, name, received, wanted in checks:
        if not passed:
            raise invalid(f"{name} is {received}", f"{name} is {wanted}")


def invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
