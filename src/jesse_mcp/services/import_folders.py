"""Which files of the machine a path of candles may point at, by who gives it."""

from dataclasses import dataclass
from pathlib import Path

from jesse_mcp.domain.access import LOCAL
from jesse_mcp.domain.call_context import current_caller

#: In the home folder: where clients over HTTP find the files that were put there for them.
OF_CLIENTS = "imports"


@dataclass(frozen=True)
class ImportFolders:
    """Whoever started this process may read what the process may, others what was put there for them.

    Attributes:
        home: the home folder.
        named: folders of the setting, which then holds for everybody.
    """

    home: Path
    named: tuple[Path, ...] = ()

    def reachable(self) -> tuple[Path, ...] | None:
        """The folders for whoever makes the current call; ``None``: no bounds."""
        if not self.named and current_caller.get() == LOCAL:
            return None
        return (self.home / OF_CLIENTS, *self.named)
