"""On which engine a paper session runs."""

from collections.abc import Callable
from dataclasses import dataclass

from jesse_mcp.domain.backtests import EngineChoice
from jesse_mcp.domain.errors import ResearchError


@dataclass(frozen=True)
class PaperEngines:
    """Sessions run on the machine of the server, whatever engine the settings name.

    Attributes:
        identity: of the embedded engine; blocks; raises ``engine_not_installed``.
        refusal: why the engine of the settings runs no session; blocks; ``None`` when it is the embedded one.
    """

    identity: Callable[[], str]
    refusal: Callable[[], ResearchError] | None = None

    def check(self, choice: EngineChoice) -> None:
        """Blocks.

        Raises:
            ResearchError: ``capability_missing`` when the engine of the settings is asked for and cannot.
        """
        if choice == "configured" and self.refusal is not None:
            raise self.refusal()
