"""What a search over hyperparameters looks in, and what it is told."""

from decimal import Decimal
from math import prod
from typing import Literal

from pydantic import Field

from jesse_mcp.domain.backtests import HyperparameterValue
from jesse_mcp.domain.model import Value

SamplerName = Literal["tpe", "random", "grid", "cmaes", "nsga2"]
Point = dict[str, HyperparameterValue]


class Dimension(Value):
    """The values one hyperparameter may take: a range in steps, a continuous range, or options.

    ``low``, ``high`` (inclusive) and ``step`` are set for ``int`` and ``float``; a ``float`` without a step
    is continuous, unless ``low`` equals ``high``. ``options`` is set for ``choice`` alone.
    """

    name: str
    type: Literal["int", "float", "choice"]
    low: float | None = None
    high: float | None = None
    step: float | None = None
    options: tuple[HyperparameterValue, ...] | None = None

    @property
    def size(self) -> int | None:
        """How many values there are; ``None`` for a continuous range."""
        if self.options is not None:
            return len(self.options)
        if self.low is None or self.high is None:
            raise ValueError(f"{self.name} has neither a range nor options")
        if self.low == self.high:
            return 1
        if self.step is None:
            return None
        return int((Decimal(str(self.high)) - Decimal(str(self.low))) // Decimal(str(self.step))) + 1

    def value(self, index: int) -> HyperparameterValue:
        """The value at ``index`` (0 to ``size`` - 1) of a range that is not continuous, or of options.

        Counted in decimals, so that 0.05 in steps of 0.05 gives 0.15 and not its neighbour.
        """
        if self.options is not None:
            return self.options[index]
        # Index 0 is all there is of a single value, which needs no step.
        exact = Decimal(str(self.low)) + index * Decimal(str(self.step or 0))
        return int(exact) if self.type == "int" else float(exact)

    def index_of(self, value: HyperparameterValue) -> int:
        """Inverse of :meth:`value`."""
        if self.options is not None:
            # True equals 1, and is another option.
            kinds = [(type(option), option) for option in self.options]
            return kinds.index((type(value), value))
        if self.low == self.high:
            return 0
        return int((Decimal(str(value)) - Decimal(str(self.low))) / Decimal(str(self.step)))


Space = tuple[Dimension, ...]


def size_of(space: Space) -> int | None:
    """How many points a space has; ``None`` when a dimension is continuous."""
    sizes = [dimension.size for dimension in space]
    return None if None in sizes else prod(size for size in sizes if size is not None)


def point_at(space: Space, index: int) -> Point:
    """Point ``index`` of a space without continuous dimensions, the last dimension counting fastest."""
    point: Point = {}
    for dimension in reversed(space):
        size = dimension.size
        if size is None:
            raise ValueError(f"{dimension.name} is continuous")
        index, digit = divmod(index, size)
        point[dimension.name] = dimension.value(digit)
    return {dimension.name: point[dimension.name] for dimension in space}


class SearchSetup(Value):
    """Everything a search depends on besides what it is told."""

    space: Space
    maximize: tuple[bool, ...] = Field(description="for each metric; the others are minimized")
    sampler: SamplerName
    seed: int
    trials: int


class Told(Value):
    """What became of a trial.

    ``values`` has one number per metric when the trial is ``complete`` and feasible. ``violation`` is by how
    much a trial missed a constraint, 0 when it met all. A ``pruned`` trial has what was seen on its slices:
    share of the whole, value.
    """

    state: Literal["complete", "pruned", "failed"]
    values: tuple[float, ...] = ()
    violation: float = 0.0
    slices: tuple[tuple[float, float], ...] = ()
