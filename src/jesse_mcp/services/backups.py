"""Backup and restore of everything a server keeps."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from jesse_mcp.domain.backups import BackupManifest, ByteProgress
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.ports.backups import HomeArchives

_MOST_SHOWN = 5


class BackupMade(Value):
    """Attributes:
    files: how many are in it.
    bytes: of these files.
    notes: what is not in it, and how to keep that.
    """

    path: str
    files: int
    bytes: int
    schema_version: int | None
    notes: tuple[str, ...]


class BackupRestored(Value):
    """Attributes:
    created_at: when the backup was made, UTC.
    put_aside: the folder that has what was in the home folder before; ``None`` when it was empty.
    notes: what was not in the backup.
    """

    home: str
    files: int
    bytes: int
    created_at: str
    put_aside: str | None
    notes: tuple[str, ...]


class BackupService:
    """Args:
    archives: copies of the home folder.
    home: that folder.
    version: of this program.
    database: options of ``pg_dump`` that name the database of the records; ``None`` when they are a file in
        the home folder.
    dashboard: whether strategies and candles are those of a running Jesse.
    """

    def __init__(
        self,
        archives: HomeArchives,
        home: Path,
        version: str,
        *,
        database: Sequence[str] | None = None,
        dashboard: bool = False,
    ) -> None:
        self._archives = archives
        self._home = home
        self._version = version
        self._database = database
        self._dashboard = dashboard

    def back_up(self, target: Path, progress: ByteProgress) -> BackupMade:
        """Copy the home folder to ``target``; servers may go on working. Blocks.

        Raises:
            ResearchError: ``invalid_argument`` for the target, ``storage_failed``.
        """
        records = self._database is None
        manifest = self._archives.write(target, self._version, records=records, progress=progress)
        return BackupMade(
            path=str(target),
            files=len(manifest.files),
            bytes=manifest.total_bytes,
            schema_version=manifest.schema_version,
            notes=tuple(self._not_in_it(manifest)),
        )

    def restore(self, source: Path, progress: ByteProgress, *, replace: bool = False) -> BackupRestored:
        """Put a backup into the home folder. Blocks.

        Args:
            replace: put aside what is there, instead of refusing.

        Raises:
            ResearchError: ``invalid_argument`` for a backup that cannot be restored, or a home folder that is
                not empty; ``storage_failed``. Nothing has changed then.
        """
        manifest = self._archives.manifest(source)
        self._check_records(manifest)
        occupants = self._archives.occupants()
        if occupants and not replace:
            raise _invalid(
                f"the home folder is not empty: it has {_some(occupants)}",
                "set JESSE_MCP_HOME to an empty folder, or add --replace, which puts aside what is there",
            )
        put_aside = self._archives.unpack(source, manifest, progress)
        return BackupRestored(
            home=str(self._home),
            files=len(manifest.files),
            bytes=manifest.total_bytes,
            created_at=manifest.created_at,
            put_aside=put_aside,
            notes=() if manifest.schema_version is not None else (self._no_records(),),
        )

    def _check_records(self, manifest: BackupManifest) -> None:
        found, known = manifest.schema_version, self._archives.known_schema()
        if found is not None and found > known:
            raise _invalid(
                f"the records in the backup have schema version {found}, this jesse-mcp knows {known}",
                f"upgrade jesse-mcp to {manifest.version}, which made it, or newer",
            )
        if found is not None and self._database is not None:
            raise _invalid(
                "the records in the backup are those of a file, and JESSE_MCP_DATABASE_URL is set",
                "unset it to go on with the file",
            )

    def _not_in_it(self, manifest: BackupManifest) -> list[str]:
        notes = []
        if self._database is not None:
            command = shlex.join(["pg_dump", "--format=custom", "--file=records.dump", *self._database])
            notes.append(f"the records are in PostgreSQL and not in this file: {command}")
        if self._dashboard:
            notes.append(
                "strategies and candles of the Jesse at JESSE_URL are not in this file: back up its project "
                "folder and its database"
            )
        if manifest.left_out:
            notes.append(f"links and other things that are no files are left out: {_some(manifest.left_out)}")
        return notes

    def _no_records(self) -> str:
        if self._database is None:
            return "there are no records in this backup"
        command = shlex.join(["pg_restore", "--clean", "--if-exists", *self._database, "records.dump"])
        return f"the records are not in this backup: {command}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_SHOWN
    return ", ".join(names[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
