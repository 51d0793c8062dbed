"""Searches by Optuna, asked and told in an order that others decide."""

import importlib
import random
import warnings
from typing import Any

from jesse_mcp.adapters.search.grid import GridSearch
from jesse_mcp.domain.search import Dimension, Point, SearchSetup, Space, Told, point_at, size_of
from jesse_mcp.ports.search import Search

#: Fewer say little: the evaluator compares the best tenth with the rest.
MIN_FOR_IMPORTANCE = 20
# Proposals in a row that may be repetitions before a point is drawn at random.
_ATTEMPTS = 8
# Points drawn at random in a row that may be repetitions: so many are only where next to nothing is left.
_DRAWS = 1000
_VIOLATION = "violation"


class OptunaSearchMethods:
    """Implements :class:`jesse_mcp.ports.search.SearchMethods`. Optuna is loaded by the first search."""

    def open(self, setup: SearchSetup) -> Search:
        return GridSearch(setup) if setup.sampler == "grid" else _OptunaSearch(setup)

    def importance(
        self, space: Space, points: list[Point], values: list[float], *, maximize: bool
    ) -> dict[str, float]:
        """Watanabe, Bansal and Hutter (2023), PED-ANOVA, https://arxiv.org/abs/2304.10255."""
        if len(points) < MIN_FOR_IMPORTANCE:
            raise ValueError(f"{len(points)} trials can be compared, {MIN_FOR_IMPORTANCE} are needed")
        if min(values) == max(values):
            raise ValueError("every trial has the same value")
        optuna = _optuna()
        study = _study(optuna, (maximize,), None)
        distributions = {dimension.name: _distribution(optuna, dimension) for dimension in space}
        for point, value in zip(points, values, strict=True):
            coordinates = {d.name: _coordinate(d, point) for d in space}
            study.add_trial(
                optuna.trial.create_trial(params=coordinates, distributions=distributions, value=value)
            )
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
        if not sum(shares.values()) > 0:
            raise ValueError("no hyperparameter tells the best trials from the others")
        return {name: float(share) for name, share in shares.items()}


class _OptunaSearch:
    """Implements :class:`jesse_mcp.ports.search.Search`.

    Optuna is handed positions in the ranges, so that the values themselves are exact.
    """

    def __init__(self, setup: SearchSetup) -> None:
        optuna = _optuna()
        self._states = optuna.trial.TrialState
        self._setup = setup
        self._distributions = {d.name: _distribution(optuna, d) for d in setup.space}
        self._study = _study(optuna, setup.maximize, _sampler(optuna, setup))
        self._constrained = setup.sampler in ("tpe", "nsga2")
        self._trials: list[Any] = []
        self._size = size_of(setup.space)
        self._proposed: set[tuple[Any, ...]] = set()
        # For points that the sampler does not come to by itself; no secret.
        self._random = random.Random(setup.seed)  # noqa: S311

    def ask(self) -> Point | None:
        if len(self._proposed) == self._size:
            return None
        trial = self._new_trial()
        if trial is None:
            return None
        self._trials.append(trial)
        return {d.name: _value(d, trial.params[d.name]) for d in self._setup.space}

    def _new_trial(self) -> Any:
        """A backtest gives the same again, so a point that was proposed before is given back unused.

        ``None`` when there is no other point.
        """
        for _ in range(_ATTEMPTS):
            trial = self._study.ask(self._distributions)
            if self._is_new(trial):
                return trial
            self._study.tell(trial, state=self._states.FAIL)
        untried = self._untried()
        if untried is None:
            return None
        self._study.enqueue_trial(untried)
        trial = self._study.ask(self._distributions)
        self._proposed.add(self._coordinates(trial.params))
        return trial

    def _untried(self) -> dict[str, float] | None:
        space = self._setup.space
        for _ in range(_DRAWS):
            point = {d.name: self._drawn(d) for d in space}
            if self._coordinates(point) not in self._proposed:
                return point
        if self._size is None:
            # A continuous range may be so narrow that few floating point numbers lie in it.
            return None
        # Of one point more than were proposed, in any order, one is new.
        first = self._random.randrange(self._size)
        for offset in range(len(self._proposed) + 1):
            found = point_at(space, (first + offset) % self._size)
            point = {d.name: _coordinate(d, found) for d in space}
            if self._coordinates(point) not in self._proposed:
                return point
        return None

    def _drawn(self, dimension: Dimension) -> float:
        low, high, size = dimension.low, dimension.high, dimension.size
        if size is not None:
            return self._random.randrange(size)
        if low is None or high is None:
            raise ValueError(f"{dimension.name} has neither a range nor options")
        # Rounding may lead a unit in the last place beyond.
        return min(max(self._random.uniform(low, high), low), high)

    def _is_new(self, trial: Any) -> bool:
        coordinates = self._coordinates(trial.params)
        if coordinates in self._proposed:
            return False
        self._proposed.add(coordinates)
        return True

    def _coordinates(self, params: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(params[dimension.name] for dimension in self._setup.space)

    def tell(self, number: int, told: Told) -> None:
        trial = self._trials[number]
        values, state = told.values, self._states.COMPLETE
        if told.violation > 0:
            # Samplers with constraints rank these trials by the violation and never look at their values; the
            # others are spared a number that would be made up.
            values = (0.0,) * len(self._setup.maximize)
            state = self._states.COMPLETE if self._constrained else self._states.FAIL
        elif told.state != "complete":
            state = self._states.PRUNED if told.state == "pruned" else self._states.FAIL
        trial.set_user_attr(_VIOLATION, told.violation)
        if state is self._states.PRUNED:
            for step, (_, value) in enumerate(told.slices):
                trial.report(value, step)
        self._study.tell(trial, values if state is self._states.COMPLETE else None, state)


def _optuna() -> Any:
    # Loading it takes a quarter of a second, which only a search should wait for.
    optuna = importlib.import_module("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # There is a test of all that is used of it, whatever it considers experimental.
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    return optuna


def _study(optuna: Any, maximize: tuple[bool, ...], sampler: Any) -> Any:
    return optuna.create_study(
        sampler=sampler,
        # Which trials are hopeless is decided elsewhere, from results in their order.
        pruner=optuna.pruners.NopPruner(),
        directions=["maximize" if wanted else "minimize" for wanted in maximize],
    )


def _sampler(optuna: Any, setup: SearchSetup) -> Any:
    samplers, seed = optuna.samplers, setup.seed
    match setup.sampler:
        case "tpe":
            # Trials under way count as bad ones, so that several at once do not all ask the same.
            return samplers.TPESampler(
                seed=seed, multivariate=True, constant_liar=True, constraints_func=_constraints
            )
        case "cmaes":
            return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case "nsga2":
            size = min(50, max(10, setup.trials // 10))
            return samplers.NSGAIISampler(seed=seed, population_size=size, constraints_func=_constraints)
    return samplers.RandomSampler(seed=seed)


def _constraints(trial: Any) -> tuple[float]:
    return (float(trial.user_attrs[_VIOLATION]),)


def _distribution(optuna: Any, dimension: Dimension) -> Any:
    distributions, size = optuna.distributions, dimension.size
    if size is None:
        return distributions.FloatDistribution(dimension.low, dimension.high)
    if dimension.options is not None:
        return distributions.CategoricalDistribution(tuple(range(size)))
    return distributions.IntDistribution(0, size - 1)


def _value(dimension: Dimension, coordinate: Any) -> Any:
    return float(coordinate) if dimension.size is None else dimension.value(int(coordinate))


def _coordinate(dimension: Dimension, point: Point) -> Any:
    value = point[dimension.name]
    return value if dimension.size is None else dimension.index_of(value)
