"""Every point of a space, or as many of them as there may be trials."""

import random

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
        whole = range(size)
        # A sample for reproducible research, not a secret.
        chosen = whole if size <= setup.trials else random.Random(setup.seed).sample(whole, setup.trials)  # noqa: S311
        self._space = setup.space
        self._left = iter(chosen)

    def ask(self) -> Point | None:
        index = next(self._left, None)
        return None if index is None else point_at(self._space, index)

    def tell(self, number: int, told: Told) -> None:
        """Nothing follows from it."""
