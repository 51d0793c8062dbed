"""What may be asked of a search for regimes."""

from typing import Any, Literal

from pydantic import Field

from jesse_mcp.analytics import regime_hmm
from jesse_mcp.analytics.regime_fit import LEAST_PERIODS, VOLATILITY_WINDOW
from jesse_mcp.analytics.regime_jump import JUMP_PENALTY
from jesse_mcp.analytics.regime_selection import MOST_REGIMES
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.services.analysis_source import SourceArguments

HmmFeatures = regime_hmm.Features
RegimeMethod = Literal["hmm", "markov_switching", "jump_model", "change_points", "volatility"]

DEFAULT_TRAINING, LEAST_TRAINING = 500, 100
DEFAULT_REFIT, LEAST_REFIT = 250, 20
DEFAULT_HORIZON, MAX_HORIZON = 5, 1_000
DEFAULT_LIMIT, MAX_LIMIT = 20, 500
MAX_PERIODS = {
    "hmm": 50_000,
    "markov_switching": 20_000,
    "jump_model": 20_000,
    "change_points": 20_000,
    "volatility": 500_000,
}
MAX_REFITS = 200
MAX_SEED = 2**31
MAX_PENALTY = 1e6

#: What each method makes use of, beside the source; a method that would ignore an argument refuses it.
_USES = {
    "hmm": {
        "regimes",
        "training_periods",
        "refit_every",
        "features",
        "forecast_periods",
        "performance_of",
        "seed",
    },
    "markov_switching": {
        "regimes",
        "training_periods",
        "refit_every",
        "forecast_periods",
        "performance_of",
        "seed",
    },
    "jump_model": {
        "regimes",
        "training_periods",
        "refit_every",
        "jump_penalty",
        "forecast_periods",
        "performance_of",
        "seed",
    },
    "change_points": set[str](),
    "volatility": {"regimes", "training_periods", "refit_every", "forecast_periods", "performance_of"},
}
#: Number of regimes of the methods without a likelihood, which no criterion can choose.
DEFAULT_REGIMES = {"jump_model": 2, "volatility": 3}


class RegimeArguments(Value):
    """``None`` is the default; what a method makes no use of has to be ``None``."""

    source: SourceArguments
    method: RegimeMethod = "hmm"
    regimes: int | None = None
    training_periods: int | None = None
    refit_every: int | None = None
    features: HmmFeatures | None = None
    jump_penalty: float | None = None
    forecast_periods: int | None = None
    performance_of: str | None = None
    seed: int | None = None
    limit: int = Field(default=DEFAULT_LIMIT, description="spells, the latest")

    @property
    def training(self) -> int:
        return DEFAULT_TRAINING if self.training_periods is None else self.training_periods

    @property
    def every(self) -> int:
        return DEFAULT_REFIT if self.refit_every is None else self.refit_every

    @property
    def horizon(self) -> int:
        return DEFAULT_HORIZON if self.forecast_periods is None else self.forecast_periods

    @property
    def penalty(self) -> float:
        return JUMP_PENALTY if self.jump_penalty is None else self.jump_penalty

    def recorded(self) -> dict[str, object]:
        """What a job keeps of the request: long series of the call are counted, not copied."""
        request: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        for name in ("returns", "balances"):
            if name in request["source"]:
                request["source"][name] = f"{len(request['source'][name])} values"
        return request


def check(arguments: RegimeArguments) -> None:
    """Everything that can be checked without reading anything.

    Raises:
        ResearchError: ``invalid_argument`` naming the argument and what it received.
    """
    method = arguments.method
    optional = set().union(*_USES.values())
    unused = sorted(name for name in optional - _USES[method] if getattr(arguments, name) is not None)
    if unused:
        name = unused[0]
        users = " and ".join(one for one, used in _USES.items() if name in used)
        raise invalid(
            f"{name} is {getattr(arguments, name)}, which {method} makes no use of",
            f"leave {name} out; it is of {users}",
        )
    regimes, performance_of = arguments.regimes, arguments.performance_of
    least = max(LEAST_TRAINING, VOLATILITY_WINDOW + (regimes or MOST_REGIMES) * LEAST_PERIODS)
    checks: list[tuple[bool, str, object, str]] = [
        (
            regimes is None or 2 <= regimes <= MOST_REGIMES,
            "regimes",
            regimes,
            f"2 to {MOST_REGIMES}, or left out",
        ),
        (
            arguments.training >= least,
            "training_periods",
            arguments.training_periods,
            f"{least} or more; default {DEFAULT_TRAINING}",
        ),
        (
            arguments.every >= LEAST_REFIT,
            "refit_every",
            arguments.refit_every,
            f"{LEAST_REFIT} or more; default {DEFAULT_REFIT}",
        ),
        (
            0 <= arguments.penalty <= MAX_PENALTY,
            "jump_penalty",
            arguments.jump_penalty,
            f"0 to {MAX_PENALTY:g}; default {JUMP_PENALTY:g}",
        ),
        (
            1 <= arguments.horizon <= MAX_HORIZON,
            "forecast_periods",
            arguments.forecast_periods,
            f"1 to {MAX_HORIZON}",
        ),
        (performance_of is None or bool(performance_of), "performance_of", "''", "a run_id of run_list"),
        (0 <= (arguments.seed or 0) < MAX_SEED, "seed", arguments.seed, f"0 to {MAX_SEED - 1}"),
        (1 <= arguments.limit <= MAX_LIMIT, "limit", arguments.limit, f"1 to {MAX_LIMIT}"),
    ]
    for passed, name, received, wanted in checks:
        if not passed:
            raise invalid(f"{name} is {received}", f"{name} is {wanted}")
    if arguments.features == "return_and_volatility" and regimes is None:
        raise invalid(
            "features is return_and_volatility and regimes is not given",
            "give regimes, 2 to 5: windows of volatility overlap, so no criterion can choose the number",
        )


def check_length(arguments: RegimeArguments, periods: int) -> None:
    """That there is enough to label, and not more than can be computed.

    Raises:
        ResearchError: ``invalid_argument``.
    """
    most = MAX_PERIODS[arguments.method]
    if periods > most:
        raise invalid(
            f"there are {periods:,} periods, {arguments.method} takes {most:,}",
            "give a longer timeframe or fewer days",
        )
    if arguments.method == "change_points":
        return
    if periods <= arguments.training:
        raise invalid(
            f"there are {periods:,} periods and training_periods is {arguments.training:,}: none would have "
            "a regime",
            f"give a longer series, or training_periods from {LEAST_TRAINING} to less than that"
            if periods > LEAST_TRAINING
            else f"give a series of more than {LEAST_TRAINING} periods, or of a shorter timeframe",
        )
    refits = -(-(periods - arguments.training) // arguments.every)
    if refits > MAX_REFITS:
        needed = -(-(periods - arguments.training) // MAX_REFITS)
        raise invalid(
            f"refit_every is {arguments.every}: that is {refits:,} fits, {MAX_REFITS} at most",
            f"give refit_every of {needed} or more",
        )


def invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
