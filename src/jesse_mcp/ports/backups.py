"""Copies of the home folder in single files. Implementations block for as long as disks take."""

from pathlib import Path
from typing import Protocol

from jesse_mcp.domain.backups import BackupManifest, ByteProgress


class HomeArchives(Protocol):
    """Every method raises ``storage_failed`` when a disk refuses."""

    def write(self, target: Path, version: str, *, records: bool, progress: ByteProgress) -> BackupManifest:
        """Copy the home folder, which may be in use, to ``target``: all of it or nothing.

        Args:
            target: must not exist.
            version: of this program.
            records: whether the records in it belong to the backup.
            progress: told of every piece.

        Raises:
            ResearchError: ``invalid_argument`` for a target that exists, is in the home folder or in none.
        """
        ...

    def manifest(self, source: Path) -> BackupManifest:
        """What a backup says it holds.

        Raises:
            ResearchError: ``invalid_argument`` when it is none, is incomplete, or of a newer format.
        """
        ...

    def known_schema(self) -> int:
        """The latest version of records that this program can read."""
        ...

    def occupants(self) -> tuple[str, ...]:
        """Names of what is in the home folder."""
        ...

    def unpack(self, source: Path, manifest: BackupManifest, progress: ByteProgress) -> str | None:
        """Check every file and put all of them into the home folder, or none.

        Returns:
            The folder, in the home folder, that has what was there before; ``None`` when it was empty.

        Raises:
            ResearchError: ``invalid_argument`` for a backup that is damaged or would write anywhere else,
                ``storage_failed`` also while a server uses the home folder.
        """
        ...
