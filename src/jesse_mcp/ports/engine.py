"""What runs backtests."""

from collections.abc import Callable
from typing import Any, Protocol

from jesse_mcp.domain.backtests import EngineOutcome, EngineRun

#: Called with the fraction done (0..1) and a short message.
ProgressCallback = Callable[[float, str], None]


class BacktestEngine(Protocol):
    """Runs pinned backtests, several at once."""

    @property
    def capacity(self) -> int:
        """How many runs execute at the same time."""
        ...

    def identity(self) -> str:
        """What the numbers depend on besides the request: versions of Jesse, Python and the run code.

        Known without starting the engine, so that a stored answer can be found first.

        Raises:
            ResearchError: ``engine_not_installed``.
        """
        ...

    async def run(self, run: EngineRun, progress: ProgressCallback) -> EngineOutcome:
        """Execute one run. Cancelling the awaiting task kills everything the run started.

        Raises:
            ResearchError: ``strategy_raised``, ``run_timeout``, ``memory_limit``, ``worker_crashed``,
                ``run_rejected``, ``engine_not_installed``, ``engine_failed``.
        """
        ...

    async def status(self) -> dict[str, Any]:
        """Facts for ``system_status``: kind, installed, versions, workers by state. Starts nothing."""
        ...

    async def close(self) -> None:
        """Stop every process. Idempotent."""
        ...
