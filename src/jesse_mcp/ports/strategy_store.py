"""Where strategies live. Implementations block; services call them in a thread."""

from typing import Protocol

from jesse_mcp.domain.strategies import StrategySource


class StrategyStore(Protocol):
    """User strategies, with the bundled ones readable beside them."""

    def names(self) -> dict[str, str]:
        """Name to origin (``'user'`` or ``'bundled'``), in alphabetical order."""
        ...

    def read(self, name: str) -> str:
        """Source of the strategy's main module.

        Raises:
            ResearchError: ``strategy_not_found`` with the closest names.
        """
        ...

    def source(self, names: frozenset[str]) -> StrategySource:
        """The files needed to run these strategies, helpers they import from the project included.

        Raises:
            ResearchError: ``strategy_not_found``.
        """
        ...

    def write(self, name: str, code: str, overwrite: bool) -> None:
        """Create or replace a user strategy, atomically.

        Raises:
            ResearchError: ``strategy_exists``, ``strategy_read_only`` for a bundled name,
                ``storage_failed``.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove a user strategy.

        Raises:
            ResearchError: ``strategy_not_found``, ``strategy_read_only``.
        """
        ...
