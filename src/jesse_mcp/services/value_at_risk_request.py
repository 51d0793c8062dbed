"""What may be asked of value at risk."""

from collections.abc import Sequence

from pydantic import Field

from jesse_mcp.analytics.rolling_value_at_risk import RiskMethod
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.services.analysis_source import SourceArguments

VarMethod = RiskMethod
DEFAULT_METHODS: tuple[RiskMethod, ...] = (
    "historical",
    "gaussian",
    "cornish_fisher",
    "ewma",
    "garch_t",
    "filtered_historical",
)
DEFAULT_CONFIDENCES = (0.95, 0.99)
DEFAULT_HORIZONS = (1, 10)
DEFAULT_WINDOW = 250
MAX_HORIZON = 365
MAX_WINDOW = 10_000
MAX_SEED = 2**31
#: Returns in all windows of a rolling test; some twenty seconds a method.
MAX_WINDOWED = 2_500_000_000
_MOST_LISTED = 10
_ALWAYS_SIMULATED = {"monte_carlo_normal", "monte_carlo_t"}
_SIMULATED_AHEAD = {"garch_normal", "garch_t", "filtered_historical"}


class VarArguments(Value):
    """``window`` is ``None`` without ``backtest``; ``value`` is money, ``None`` for the last balance."""

    source: SourceArguments
    methods: tuple[RiskMethod, ...] = DEFAULT_METHODS
    confidences: tuple[float, ...] = DEFAULT_CONFIDENCES
    horizons: tuple[int, ...] = Field(default=DEFAULT_HORIZONS, description="periods")
    backtest: bool = False
    window: int | None = None
    seed: int = 0
    value: float | None = None

    @property
    def wanted_window(self) -> int:
        return DEFAULT_WINDOW if self.window is None else self.window

    def recorded(self) -> dict[str, object]:
        """What a job keeps of the request: long series of the call are counted, not copied."""
        request = self.model_dump(mode="json", exclude_none=True)
        for name in ("returns", "balances"):
            if name in request["source"]:
                request["source"][name] = f"{len(request['source'][name])} values"
        return request


def check(arguments: VarArguments) -> None:
    """Everything that can be checked without reading anything.

    Raises:
        ResearchError: ``invalid_argument`` naming the argument and what it received.
    """
    levels, horizons, window = arguments.confidences, arguments.horizons, arguments.window
    checks = [
        (_listed(arguments.methods), f"methods is {list(arguments.methods)}", "name each method once"),
        (
            _listed(levels) and all(0.5 < level <= 0.9999 for level in levels),
            f"confidence is {list(levels)}",
            f"give 1 to {_MOST_LISTED} levels above 0.5 and up to 0.9999, each once, e.g. [0.95, 0.99]",
        ),
        (
            _listed(horizons) and all(1 <= horizon <= MAX_HORIZON for horizon in horizons),
            f"horizon is {list(horizons)}",
            f"give 1 to {_MOST_LISTED} numbers of periods from 1 to {MAX_HORIZON}, each once",
        ),
        (
            window is None or arguments.backtest,
            f"window is {window} without backtest",
            "add backtest=true, or leave window out: risks are of all returns",
        ),
        (
            window is None or 20 <= window <= MAX_WINDOW,
            f"window is {window}",
            f"give 20 to {MAX_WINDOW:,} periods; methods with GARCH need 250",
        ),
        (0 <= arguments.seed < MAX_SEED, f"seed is {arguments.seed}", f"give 0 to {MAX_SEED - 1}"),
        (
            arguments.seed == 0 or _simulates(arguments),
            f"seed is {arguments.seed}, and none of {', '.join(arguments.methods)} is simulated here",
            "leave seed out, or add monte_carlo_t, or a GARCH method with a horizon above 1",
        ),
        (
            arguments.value is None or 0 < arguments.value <= 1e15,
            f"value is {arguments.value}",
            "give the money at risk, positive, or leave it out for the last balance",
        ),
    ]
    for passed, message, hint in checks:
        if not passed:
            raise invalid(message, hint)


def check_work(arguments: VarArguments, returns: int) -> None:
    """Raises: ResearchError: ``invalid_argument`` for a rolling test of more work than one call may be."""
    if arguments.backtest and arguments.wanted_window * returns > MAX_WINDOWED:
        raise invalid(
            f"window is {arguments.wanted_window} for {returns:,} returns: more than {MAX_WINDOWED:,} in all "
            "windows",
            f"give window={MAX_WINDOWED // returns} at most, or a longer timeframe",
        )


def invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)


def _listed(values: Sequence[object]) -> bool:
    return 1 <= len(values) <= _MOST_LISTED and len(set(values)) == len(values)


def _simulates(arguments: VarArguments) -> bool:
    methods = set(arguments.methods)
    ahead = max(arguments.horizons, default=1) > 1
    return bool(methods & _ALWAYS_SIMULATED or (ahead and methods & _SIMULATED_AHEAD))
