"""From what a caller says to a complete, checked :class:`WalkForwardRequest`."""

from datetime import date, timedelta
from typing import Any

import numpy as np

from jesse_mcp.analytics.walk_forward_schedule import schedule
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value, unusual
from jesse_mcp.domain.search import SamplerName
from jesse_mcp.domain.timeframes import iso_date
from jesse_mcp.services.backtest_request import BacktestArguments
from jesse_mcp.services.campaign import Campaign
from jesse_mcp.services.objectives import parse_objectives
from jesse_mcp.services.optimization_request import (
    OptimizationArguments,
    OptimizationRequest,
    complete_request,
    of_space,
)
from jesse_mcp.services.resumption import pins
from jesse_mcp.services.search_space import Range, union

MAX_WINDOWS = 100
MAX_RUNS = 20_000
_OF_A_SEARCH = ("metric", "space", "sampler", "seed", "min_trades")


class WalkForwardArguments(Value):
    """What a caller may say. ``trials`` of zero tests the hyperparameters as they are."""

    backtest: BacktestArguments
    train_days: int
    test_days: int
    step_days: int | None = None
    anchored: bool = False
    purge_days: int = 0
    keep_partial: bool = True
    metric: str | None = None
    space: dict[str, Range] | None = None
    trials: int = 50
    sampler: SamplerName = "tpe"
    seed: int = 0
    min_trades: int = 10


class Period(Value):
    """A window in ISO dates; ends are exclusive."""

    train_start: str
    train_end: str
    test_start: str
    test_end: str
    partial: bool


class WalkForwardRequest(Value):
    """Everything an answer depends on.

    ``search`` is that of the first window with the seed that was asked for; every window has its own period
    and its own seed. ``None`` for fixed hyperparameters. ``began_at`` is when the walk was first asked for,
    however often it is resumed.
    """

    backtest: BacktestArguments
    windows: tuple[Period, ...]
    rule: str
    search: OptimizationRequest | None
    pinned: dict[str, Any]
    warnings: tuple[str, ...]
    began_at: str | None = None

    def search_of(self, window: Period) -> OptimizationRequest:
        """The search on the training of one window: it is told of no later day.

        Raises:
            ValueError: with fixed hyperparameters.
        """
        if self.search is None:
            raise ValueError("fixed hyperparameters are not searched")
        return self.search.model_copy(
            update={
                "backtest": period_of(self.backtest, window.train_start, window.train_end),
                "seed": seed_of(self.search.seed, self.windows.index(window)),
            }
        )


def seed_of(seed: int, number: int) -> int:
    """The seed of the search of one window, 0 to 2**32 - 1; the same on every machine.

    With one seed for all, every search would begin with the same points, and choices made of few trials would
    agree for that reason alone.

    Args:
        seed: of the walk.
        number: of the window, from 0.
    """
    return int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1)[0])


def period_of(backtest: BacktestArguments, start: str, end: str) -> BacktestArguments:
    """The same over other days. Its warm-up is taken from the days before ``start``."""
    return backtest.model_copy(update={"start_date": start, "end_date": end})


def complete_walk(arguments: WalkForwardArguments, campaign: Campaign) -> WalkForwardRequest:
    """Fill in every default and check all that can be checked without running. Blocks.

    Raises:
        ResearchError: as planning a backtest or a search; ``invalid_argument`` when no window fits, with the
            arithmetic.
    """
    plan = campaign.plan(arguments.backtest)
    start, end = iso_date(plan.run.request.start_ms), iso_date(plan.run.request.end_ms)
    backtest = period_of(arguments.backtest, start, end)
    windows = _windows(arguments, start, end)
    runs = len(windows) * (arguments.trials + 1)
    if len(windows) > MAX_WINDOWS or runs > MAX_RUNS:
        raise _invalid(
            f"{len(windows)} windows of {arguments.trials} trials are {runs} runs",
            f"at most {MAX_WINDOWS} windows and {MAX_RUNS} runs: give longer steps or fewer trials",
        )
    search = _search(arguments, backtest, windows[0], campaign)
    of_search = [] if search is None else of_space(search, search.space, union(campaign.declared(plan)))
    return WalkForwardRequest(
        backtest=backtest,
        windows=windows,
        rule=_rule(arguments),
        search=search,
        pinned=pins(plan),
        warnings=(*plan.warnings, *of_search, *_warnings(arguments, windows, end)),
        began_at=campaign.began_at,
    )


def _windows(arguments: WalkForwardArguments, start: str, end: str) -> tuple[Period, ...]:
    longest = 100_000
    for name in ("train_days", "test_days", "step_days", "purge_days"):
        value = getattr(arguments, name)
        if value is not None and not 0 <= value <= longest:
            raise _invalid(f"{name} is {value}", f"give 1 to {longest} days, 0 only for purge_days")
    try:
        found = schedule(
            date.fromisoformat(start),
            date.fromisoformat(end),
            arguments.train_days,
            arguments.test_days,
            step_days=arguments.step_days,
            anchored=arguments.anchored,
            purge_days=arguments.purge_days,
            keep_partial=arguments.keep_partial,
        )
    except ValueError as error:
        raise _invalid(
            str(error), "give shorter train_days or test_days, or import more candles with candles_import"
        ) from error
    return tuple(
        Period(
            train_start=window.train_start.isoformat(),
            train_end=window.train_end.isoformat(),
            test_start=window.test_start.isoformat(),
            test_end=window.test_end.isoformat(),
            partial=window.partial,
        )
        for window in found
    )


def _search(
    arguments: WalkForwardArguments, backtest: BacktestArguments, first: Period, campaign: Campaign
) -> OptimizationRequest | None:
    if arguments.trials == 0:
        wanted = {name: getattr(arguments, name) for name in _OF_A_SEARCH}
        given = unusual(WalkForwardArguments, wanted)
        if given:
            raise _invalid(
                f"{', '.join(given)} is given, and trials is 0",
                "leave it out: with trials=0 nothing is searched, the hyperparameters are tested as they are",
            )
        return None
    metric = arguments.metric or "sharpe_ratio"
    parse_objectives((metric,))
    return complete_request(
        OptimizationArguments(
            backtest=period_of(backtest, first.train_start, first.train_end),
            metrics=(metric,),
            space=arguments.space,
            trials=arguments.trials,
            sampler=arguments.sampler,
            seed=arguments.seed,
            min_trades=arguments.min_trades,
            test_fraction=0,
        ),
        campaign,
    )


def _rule(arguments: WalkForwardArguments) -> str:
    kind = "anchored" if arguments.anchored else "rolling"
    step = arguments.test_days if arguments.step_days is None else arguments.step_days
    last = "kept" if arguments.keep_partial else "dropped"
    purge = f", {arguments.purge_days} days of purge" if arguments.purge_days else ""
    return (
        f"{kind}: {arguments.train_days} days of training{purge}, {arguments.test_days} of test, a step of "
        f"{step}; a last test cut short is {last}"
    )


def _warnings(arguments: WalkForwardArguments, windows: tuple[Period, ...], end: str) -> list[str]:
    warnings = []
    if arguments.step_days is not None and arguments.step_days > arguments.test_days:
        gap = arguments.step_days - arguments.test_days
        warnings.append(f"between two tests, {gap} days are not tested")
    if windows[-1].partial:
        last = windows[-1]
        length = (date.fromisoformat(last.test_end) - date.fromisoformat(last.test_start)).days
        warnings.append(f"the last test has {length} of {arguments.test_days} days")
    left = date.fromisoformat(end) - date.fromisoformat(windows[-1].test_end)
    if left > timedelta(0):
        warnings.append(f"the last {left.days} days are in no window")
    return warnings


def _invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
