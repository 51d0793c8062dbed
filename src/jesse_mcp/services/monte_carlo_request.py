"""What may be asked of a Monte Carlo analysis."""

from typing import Literal

from jesse_mcp.domain.backtests import BacktestRequest, CandlePipeline, EngineChoice, PipelineName
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.timeframes import timeframe_minutes

MonteCarloMethod = Literal[
    "trades_shuffle", "trades_bootstrap", "returns_block", "returns_stationary", "candles"
]

DEFAULT_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
DEFAULT_SIMULATIONS = 1_000
DEFAULT_SCENARIOS = 100
#: Each is a backtest that is run and stored.
MAX_SCENARIOS = 1_000
MAX_SIMULATIONS = 1_000_000
#: Of one analysis: simulations times the trades or daily returns of each; about half a minute.
MAX_DRAWS = 10**9
MAX_SEED = 2**31
_WEEK_OF_MINUTES = 10_080

#: What each pipeline takes besides its batch size, and what of it has no default that fits every price.
_PARAMETERS: dict[PipelineName, tuple[frozenset[str], frozenset[str]]] = {
    "moving_block_bootstrap": (frozenset(), frozenset()),
    "gaussian_noise": (
        frozenset({"close_mu", "close_sigma", "high_mu", "high_sigma", "low_mu", "low_sigma"}),
        frozenset({"close_sigma", "high_sigma", "low_sigma"}),
    ),
    "gaussian_resampler": (frozenset({"mu", "sigma"}), frozenset()),
}


class MonteCarloArguments(Value):
    """What a caller may say; ``None`` asks for the default of the method."""

    run_id: str
    method: MonteCarloMethod
    simulations: int | None = None
    seed: int = 0
    block_length: float | None = None
    ruin_threshold: float = 0.5
    quantiles: tuple[float, ...] = DEFAULT_QUANTILES
    pipeline: PipelineName | None = None
    pipeline_parameters: dict[str, float] | None = None
    engine: EngineChoice = "configured"

    @property
    def wanted(self) -> int:
        """How many histories."""
        default = DEFAULT_SCENARIOS if self.method == "candles" else DEFAULT_SIMULATIONS
        return default if self.simulations is None else self.simulations


def check(arguments: MonteCarloArguments) -> None:
    """Everything that can be checked without the run.

    Raises:
        ResearchError: ``invalid_argument`` naming the argument and what it received.
    """
    most = MAX_SCENARIOS if arguments.method == "candles" else MAX_SIMULATIONS
    levels = arguments.quantiles
    checks = [
        (
            1 <= arguments.wanted <= most,
            f"simulations is {arguments.simulations}",
            f"give 1 to {most:,} for method={arguments.method!r}",
        ),
        (0 <= arguments.seed < MAX_SEED, f"seed is {arguments.seed}", f"give 0 to {MAX_SEED - 1}"),
        (
            0 <= arguments.ruin_threshold < 1,
            f"ruin_threshold is {arguments.ruin_threshold}",
            "give a share of the starting balance, 0 up to but not including 1: at or below it is ruin",
        ),
        (
            1 <= len(levels) <= 25 and all(0 <= level <= 1 for level in levels),
            f"quantiles is {list(levels)}",
            "give 1 to 25 levels from 0 to 1, e.g. [0.05, 0.5, 0.95]",
        ),
        (
            arguments.block_length is None or arguments.method.startswith("returns"),
            f"block_length is {arguments.block_length} for method={arguments.method!r}",
            "leave it out: only returns_block and returns_stationary have blocks of days",
        ),
        (
            arguments.method == "candles" or (arguments.pipeline or arguments.pipeline_parameters) is None,
            f"pipeline or pipeline_parameters is given for method={arguments.method!r}",
            "leave them out: only method='candles' alters candles",
        ),
        (
            arguments.method == "candles" or arguments.engine == "configured",
            f"engine is {arguments.engine!r} for method={arguments.method!r}",
            "leave it out: only method='candles' runs backtests",
        ),
    ]
    for passed, message, hint in checks:
        if not passed:
            raise _invalid(message, hint)


def check_draws(arguments: MonteCarloArguments, sample_size: int) -> None:
    """Raises: ResearchError: ``invalid_argument`` for more work than one analysis may be."""
    if arguments.wanted * sample_size <= MAX_DRAWS:
        return
    kind = "closed trades" if arguments.method.startswith("trades") else "daily returns"
    most = MAX_DRAWS // sample_size
    raise _invalid(
        f"simulations is {arguments.wanted:,}, each of {sample_size:,} {kind}: more than {MAX_DRAWS:,} draws",
        f"give simulations={most} at most" if most else "analyse a shorter run",
    )


def check_block_length(arguments: MonteCarloArguments, days: int) -> None:
    """Raises: ResearchError: ``invalid_argument`` for blocks that do not fit ``days`` returns."""
    length = arguments.block_length
    if length is None:
        return
    whole = arguments.method == "returns_stationary" or length == int(length)
    if not (1 <= length <= days and whole):
        kind = "days on average" if arguments.method == "returns_stationary" else "whole days"
        raise _invalid(
            f"block_length is {length:g}, the run has {days} daily returns",
            f"give 1 to {days} {kind}, or leave it out for a length chosen from the data",
        )


def pipeline_of(arguments: MonteCarloArguments, request: BacktestRequest) -> CandlePipeline:
    """The first scenario's pipeline; scenario ``n`` has the seed ``seed + n - 1``, as in Jesse.

    Raises:
        ResearchError: ``invalid_argument`` for parameters the pipeline does not take or lacks, and for a
            batch that is not a multiple of the shortest timeframe traded.
    """
    name = arguments.pipeline or "moving_block_bootstrap"
    parameters = dict(arguments.pipeline_parameters or {})
    batch = parameters.pop("batch_size", _WEEK_OF_MINUTES)
    known, required = _PARAMETERS[name]
    unknown = sorted(parameters.keys() - known)
    if unknown:
        raise _invalid(
            f"pipeline_parameters has {', '.join(unknown)}",
            f"{name} takes {', '.join(sorted({'batch_size', *known}))}",
        )
    lacking = sorted(required - parameters.keys())
    if lacking:
        raise _invalid(
            f"{name} lacks {', '.join(lacking)}",
            "give them in pipeline_parameters, in units of the price a minute",
        )
    negative = sorted(key for key in parameters if key.endswith("sigma") and parameters[key] < 0)
    if negative:
        raise _invalid(
            f"{', '.join(negative)} is negative", "a standard deviation in units of the price, 0 or more"
        )
    traded = [route.timeframe for route in request.routes]
    read = [route.timeframe for route in request.data_routes]
    shortest = min(timeframe_minutes(timeframe) for timeframe in traded + read)
    if batch != int(batch) or not 2 <= batch <= 1_000_000 or batch % shortest:
        raise _invalid(
            f"batch_size is {batch:g} minutes",
            f"give a multiple of the shortest timeframe of the run, {shortest} minutes, at least 2",
        )
    return CandlePipeline(name=name, seed=arguments.seed, batch_size=int(batch), parameters=parameters)


def _invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
