"""What a backup of the home folder says of itself."""

from collections.abc import Callable
from typing import Literal

from jesse_mcp.domain.model import Value

#: Rises when an older program would misread a backup.
BACKUP_FORMAT: Literal[1] = 1
#: Bytes done, bytes in all.
ByteProgress = Callable[[int, int], None]
#: The name of the records among the files of a backup, and of the home folder.
RECORDS = "research.sqlite"


class BackupFile(Value):
    """One file: its path relative to the home folder, apart by ``/``, its size, its SHA-256."""

    path: str
    bytes: int
    sha256: str


class BackupManifest(Value):
    """Everything in a backup.

    Attributes:
        version: of the program that made it.
        created_at: when it was begun, UTC.
        schema_version: of the records; ``None`` when they are not in it.
        left_out: what was in the home folder and is no file: links, sockets.
    """

    format: Literal[1] = BACKUP_FORMAT
    version: str
    created_at: str
    schema_version: int | None
    left_out: tuple[str, ...]
    files: tuple[BackupFile, ...]

    @property
    def total_bytes(self) -> int:
        return sum(file.bytes for file in self.files)
