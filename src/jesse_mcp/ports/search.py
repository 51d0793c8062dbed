"""What proposes hyperparameters."""

from typing import Protocol

from jesse_mcp.domain.search import Point, SearchSetup, Space, Told


class Search(Protocol):
    """One search: the same setup and the same sequence of calls propose the same points. Blocks."""

    def ask(self) -> Point | None:
        """A point not proposed before, trials being numbered from 0 in the order of asking.

        ``None`` when every point of the space was proposed.
        """
        ...

    def tell(self, number: int, told: Told) -> None:
        """What became of a trial, in ascending order of numbers."""
        ...


class SearchMethods(Protocol):
    """Opens searches, and judges what they found. Blocks; the first call may load libraries."""

    def open(self, setup: SearchSetup) -> Search: ...

    def importance(
        self, space: Space, points: list[Point], values: list[float], *, maximize: bool
    ) -> dict[str, float]:
        """Which share of what makes points good each hyperparameter explains; the shares add up to 1.

        Args:
            points: of feasible trials, as many as ``values``.

        Raises:
            ValueError: it cannot be computed, with the reason as a sentence.
        """
        ...
