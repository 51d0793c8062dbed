"""What the code of a strategy may reach on the machine that runs it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StrategyAccess:
    """See ``engine_side/file_access.py`` and ``engine_side/system_calls.py`` for what ``confined`` means.

    Attributes:
        readable: files and folders of the user that a confined strategy may read, absolute.
    """

    confined: bool = True
    readable: tuple[str, ...] = ()

    def message(self) -> dict[str, Any]:
        """For a worker; JSON."""
        return {"confined": self.confined, "readable": list(self.readable)}
