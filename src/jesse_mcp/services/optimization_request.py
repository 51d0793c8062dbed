"""From what a caller says to a complete, checked :class:`OptimizationRequest`."""

from typing import Any

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.search import SamplerName, Space, size_of
from jesse_mcp.domain.timeframes import DAY_MS, iso_date, parse_date
from jesse_mcp.services.backtest_plan import Plan
from jesse_mcp.services.backtest_request import BacktestArguments
from jesse_mcp.services.campaign import Campaign
from jesse_mcp.services.objectives import Objective, parse_objectives
from jesse_mcp.services.resumption import pins
from jesse_mcp.services.search_space import Declared, Range, beyond, space_of, union

MAX_TRIALS = 10_000
MAX_IN_FLIGHT = 64
DEFAULT_TEST_FRACTION = 0.3
#: Shares of the training period after which a hopeless trial may be given up. Each is a run of its own, from
#: the start again, so late slices cost more than they save.
SLICES = (0.1, 0.25)
_MIN_DAYS_TO_SLICE = 8


class OptimizationArguments(Value):
    """What a caller may say."""

    backtest: BacktestArguments
    metrics: tuple[str, ...] = ("sharpe_ratio",)
    space: dict[str, Range] | None = None
    trials: int = 100
    sampler: SamplerName = "tpe"
    seed: int = 0
    min_trades: int = 10
    test_fraction: float | None = None
    test_start: str | None = None
    early_stop: int | None = None
    pruning: bool = False
    in_flight: int = 8


class OptimizationRequest(Value):
    """Everything an answer depends on, nothing left to a default that may change.

    ``backtest`` has the whole period; training ends, and the test begins, at ``test_start`` (ISO date).
    ``began_at`` is when it was first asked for, however often it is resumed.
    """

    backtest: BacktestArguments
    metrics: tuple[str, ...]
    space: Space
    trials: int
    sampler: SamplerName
    seed: int
    min_trades: int
    test_start: str | None
    early_stop: int | None
    pruning: bool
    in_flight: int
    pinned: dict[str, Any]
    warnings: tuple[str, ...]
    began_at: str | None = None

    @property
    def objectives(self) -> tuple[Objective, ...]:
        return parse_objectives(self.metrics)

    @property
    def train_start(self) -> str:
        return self.backtest.start_date

    @property
    def train_end(self) -> str:
        return self.test_start or self.end

    @property
    def end(self) -> str:
        if self.backtest.end_date is None:
            raise ValueError("the end of a request is always known")
        return self.backtest.end_date

    @property
    def slice_ends(self) -> tuple[tuple[float, str], ...]:
        """Share of the training period and the day it ends, for each slice that may end a trial."""
        if not self.pruning:
            return ()
        start, end = parse_date(self.train_start, "start_date"), parse_date(self.train_end, "end_date")
        days = (end - start) // DAY_MS
        return tuple((share, iso_date(start + round(share * days) * DAY_MS)) for share in SLICES)


def complete_request(arguments: OptimizationArguments, campaign: Campaign) -> OptimizationRequest:
    """Fill in every default and check all that can be checked without running. Blocks.

    Raises:
        ResearchError: as planning a backtest, and ``invalid_argument`` naming the argument at fault.
    """
    objectives = parse_objectives(arguments.metrics)
    _check_numbers(arguments)
    plan = campaign.plan(arguments.backtest)
    request = plan.run.request
    declared = union(campaign.declared(plan))
    space = space_of(declared, arguments.backtest.hyperparameters or {}, arguments.space)
    _check_sampler(arguments, space, objectives)
    test_start = _test_start(arguments, request.start_ms, request.end_ms)
    _check_pruning(arguments, request.start_ms, test_start or request.end_ms, objectives)
    backtest = arguments.backtest.model_copy(update={"end_date": iso_date(request.end_ms)})
    return OptimizationRequest(
        backtest=backtest,
        metrics=tuple(objective.text for objective in objectives),
        space=space,
        trials=arguments.trials,
        sampler=arguments.sampler,
        seed=arguments.seed,
        min_trades=arguments.min_trades,
        test_start=None if test_start is None else iso_date(test_start),
        early_stop=arguments.early_stop,
        pruning=arguments.pruning,
        in_flight=arguments.in_flight,
        pinned=pins(plan),
        warnings=(*_warnings(plan, test_start), *of_space(arguments, space, declared)),
        began_at=campaign.began_at,
    )


def _check_numbers(arguments: OptimizationArguments) -> None:
    early = arguments.early_stop
    checks: list[tuple[bool, str, Any, str]] = [
        (1 <= arguments.trials <= MAX_TRIALS, "trials", arguments.trials, f"1 to {MAX_TRIALS}"),
        (0 <= arguments.seed < 2**32, "seed", arguments.seed, "0 to 4294967295"),
        (0 <= arguments.min_trades <= 1_000_000, "min_trades", arguments.min_trades, "0 or more"),
        (early is None or 1 <= early <= MAX_TRIALS, "early_stop", early, "1 or more trials"),
        (
            1 <= arguments.in_flight <= MAX_IN_FLIGHT,
            "in_flight",
            arguments.in_flight,
            f"1 to {MAX_IN_FLIGHT}",
        ),
    ]
    for passed, name, received, wanted in checks:
        if not passed:
            raise _invalid(f"{name} is {received}", f"{name} must be {wanted}")


def _check_sampler(arguments: OptimizationArguments, space: Space, objectives: tuple[Objective, ...]) -> None:
    sampler = arguments.sampler
    continuous = [dimension.name for dimension in space if dimension.size is None]
    if sampler == "grid" and continuous:
        raise _invalid(
            f"sampler is 'grid', but {continuous[0]} has no step",
            f"give space={{{continuous[0]!r}: {{'step': ...}}}}, or another sampler",
        )
    if sampler != "cmaes":
        return
    choices = [dimension.name for dimension in space if dimension.options is not None]
    varied = [dimension for dimension in space if dimension.size != 1]
    if len(objectives) > 1:
        raise _invalid("sampler 'cmaes' pursues one metric", "use 'nsga2' or 'tpe' for two")
    if choices:
        raise _invalid(
            f"sampler 'cmaes' works on numbers, and {choices[0]} has options",
            f"fix {choices[0]} in hyperparameters, or use 'tpe'",
        )
    if len(varied) < 2:
        raise _invalid("sampler 'cmaes' needs two hyperparameters at least", "use 'tpe' or 'grid'")


def _test_start(arguments: OptimizationArguments, start_ms: int, end_ms: int) -> int | None:
    fraction, text = arguments.test_fraction, arguments.test_start
    if text is not None:
        if fraction is not None:
            raise _invalid("both test_fraction and test_start were given", "give one of them")
        moment = parse_date(text, "test_start")
        if not start_ms < moment < end_ms:
            raise _invalid(
                f"test_start is {text}, the period is {iso_date(start_ms)} to {iso_date(end_ms)}",
                "test_start lies inside the period: training is before it, the test after",
            )
        return moment
    fraction = DEFAULT_TEST_FRACTION if fraction is None else fraction
    if not 0 <= fraction < 1:
        raise _invalid(f"test_fraction is {fraction}", "test_fraction is 0 (no test) to below 1")
    if fraction == 0:
        return None
    days = (end_ms - start_ms) // DAY_MS
    test_days = max(1, round(fraction * days))
    if test_days >= days:
        raise _invalid(
            f"of {days} days, {test_days} would be the test", "use a longer period, or test_fraction=0"
        )
    return end_ms - test_days * DAY_MS


def _check_pruning(
    arguments: OptimizationArguments, start_ms: int, end_ms: int, objectives: tuple[Objective, ...]
) -> None:
    if not arguments.pruning:
        return
    if len(objectives) > 1:
        raise _invalid("pruning judges one metric, two were given", "leave pruning out")
    days = (end_ms - start_ms) // DAY_MS
    if days < _MIN_DAYS_TO_SLICE:
        raise _invalid(
            f"pruning slices the training period, which has {days} days",
            f"{_MIN_DAYS_TO_SLICE} days are needed",
        )


def _warnings(plan: Plan, test_start: int | None) -> list[str]:
    warnings = list(plan.warnings)
    if test_start is None:
        warnings.append(
            "there is no test period: every number is from the data that chose it, so how much of it is luck "
            "is unknown"
        )
    return warnings


def of_space(
    arguments: OptimizationArguments | OptimizationRequest, space: Space, declared: Declared | None
) -> list[str]:
    """What has to be said of where a search looks."""
    warnings = []
    outside = beyond(declared, space)
    if outside:
        warnings.append(f"searched beyond the range its strategy declares: {', '.join(outside)}")
    size = size_of(space)
    if size is not None and arguments.sampler == "grid" and size > arguments.trials:
        warnings.append(
            f"the grid has {size} points: {arguments.trials} of them, drawn at random, were tried"
        )
    return warnings


def _invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
