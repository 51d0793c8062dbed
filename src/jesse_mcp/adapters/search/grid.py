"""Every point of a space, or as many of them as there may be trials."""

import random
import sys

from jesse_mcp.domain.search import Point, SearchSetup, Told, point_at, size_of


class GridSearch:
    """Implements :class:`jesse_mcp.ports.search.Search`. Learns nothing.

    A grid with more points than trials is sampled without repetition: its first points would leave the
    first hyperparameters where they start.
    """

    def __init__(self, setup: SearchSetup) -> None:
        size = size_of(setup.space)
        if size is None:
            raise ValueError("a continuous range has no grid")
        self._space = setup.space
        self._left = iter(range(size) if size <= setup.trials else _sampled(size, setup.trials, setup.seed))

    def ask(self) -> Point | None:
        index = next(self._left, None)
        return None if index is None else point_at(self._space, index)

    def tell(self, number: int, told: Told) -> None:
        """Nothing follows from it."""


def _sampled(size: int, count: int, seed: int) -> list[int]:
    # A sample for reproducible research, not a secret.
    source = random.Random(seed)  # noqa: S311
    if size <= sys.maxsize:
        return source.sample(range(size), count)
    # Python cannot sample a range it cannot count; out of so many, hardly one is drawn twice.
    chosen: dict[int, None] = {}
    while len(chosen) < count:
        chosen[source.randrange(size)] = None
    return list(chosen)
