"""A backup as a tar file: the files, then a manifest with their hashes.

The manifest is the last one, so a file that was cut short has none. It is not compressed: candles
are already, and nothing can be larger than it looks.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from pydantic import ValidationError

from jesse_mcp.adapters.backup.failures import damaged, disk_errors, failed, refused
from jesse_mcp.adapters.backup.home_files import belongs
from jesse_mcp.domain.backups import BACKUP_FORMAT, BackupFile, BackupManifest
from jesse_mcp.domain.errors import ResearchError

MANIFEST = "manifest.json"
_FILES = "home/"
_LONGEST_MANIFEST = 256 * 2**20
_CHUNK = 2**20
_NO_BACKUP = "give a file that `jesse-mcp backup` has made"


class ArchiveWriter:
    """Args:
    stream: where the archive goes.
    progress: told the bytes of every piece.
    """

    def __init__(self, stream: IO[bytes], progress: Callable[[int], None]) -> None:
        self._tar = tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._progress = progress
        self.files: list[BackupFile] = []

    def add(self, path: str, file: IO[bytes]) -> None:
        """Add an open file under its path in the home folder.

        Raises:
            OSError: reading or writing fails.
            ResearchError: ``storage_failed`` when the file was changed meanwhile.
        """
        before = os.fstat(file.fileno())
        entry = tarfile.TarInfo(_FILES + path)
        entry.size, entry.mode, entry.mtime = before.st_size, before.st_mode & 0o777, before.st_mtime
        source = _Hashing(file, self._progress)
        try:
            self._tar.addfile(entry, source)
        except OSError:
            # So the library says that the file ended early.
            if source.bytes < before.st_size and os.fstat(file.fileno()).st_size < before.st_size:
                raise _changed(path) from None
            raise
        after = os.fstat(file.fileno())
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise _changed(path)
        self.files.append(BackupFile(path=path, bytes=before.st_size, sha256=source.digest()))

    def finish(self, manifest: BackupManifest) -> None:
        """Raises: OSError: writing fails."""
        content = manifest.model_dump_json().encode()
        entry = tarfile.TarInfo(MANIFEST)
        entry.size, entry.mode = len(content), 0o600
        self._tar.addfile(entry, io.BytesIO(content))
        self._tar.close()


class ArchiveReader:
    """A backup that is open; :func:`opened` makes one.

    Raises:
        ResearchError: ``invalid_argument`` when it is no backup, or holds anything but the files of its
            manifest.
    """

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        members: dict[str, tarfile.TarInfo] = {}
        for member in tar:
            if member.name in members:
                raise damaged(f"{member.name!r} is in it twice")
            members[member.name] = member
        found = members.pop(MANIFEST, None)
        if found is None:
            raise refused(
                "this is no backup, or it was cut short: there is no manifest at its end", _NO_BACKUP
            )
        self.manifest = _parsed(self._content(found))
        self._members = {file.path: members.pop(_FILES + file.path, None) for file in self.manifest.files}
        if len(self._members) < len(self.manifest.files):
            raise damaged("its manifest has a file twice")
        if members:
            raise damaged(f"{min(members)!r} is not in its manifest")

    def check_names(self, folder: Path) -> None:
        """Raises: ResearchError: ``invalid_argument`` for what is no file or would not be in ``folder``."""
        for file in self.manifest.files:
            member = self._members[file.path]
            if member is None:
                raise damaged(f"{file.path!r} is missing")
            if member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or member.size != file.bytes:
                raise damaged(f"{file.path!r} is not the file of its manifest")
            if not _is_inside(file.path) or not belongs(file.path):
                raise refused(f"{file.path!r} does not belong in a home folder", _NO_BACKUP)
            try:
                tarfile.data_filter(member, str(folder))
            except tarfile.FilterError as error:
                raise refused(
                    f"{file.path!r} does not belong in a home folder: {error}", _NO_BACKUP
                ) from None

    def extract(self, folder: Path, progress: Callable[[int], None]) -> None:
        """Write every file below ``folder``, which is empty. Call :meth:`check_names` before.

        Raises:
            OSError: the disk refuses.
            ResearchError: ``invalid_argument`` when a file does not have its hash.
        """
        for file in self.manifest.files:
            member = self._members[file.path]
            assert member is not None  # noqa: S101  (checked before)
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            if self._write(member, target, progress) != file.sha256:
                raise damaged(f"{file.path!r} does not have its hash")

    def _write(self, member: tarfile.TarInfo, target: Path, progress: Callable[[int], None]) -> str:
        content = self._tar.extractfile(member)
        assert content is not None  # noqa: S101  (a file, checked before)
        source = _Hashing(content, progress)
        mode = member.mode & 0o755 | 0o600
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            while chunk := source.read(_CHUNK):
                file.write(chunk)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        return source.digest()

    def _content(self, member: tarfile.TarInfo) -> bytes:
        content = self._tar.extractfile(member) if member.isreg() else None
        if content is None or member.size > _LONGEST_MANIFEST:
            raise refused("this is no backup: its manifest is none", _NO_BACKUP)
        return content.read()


@contextmanager
def opened(path: Path) -> Iterator[ArchiveReader]:
    """Raises: ResearchError: as :class:`ArchiveReader`; ``storage_failed`` when it cannot be read."""
    with disk_errors(f"read {path.name}"):
        try:
            with tarfile.open(path, "r:") as tar:
                yield ArchiveReader(tar)
        except tarfile.TarError:
            raise refused(f"{path.name} is no backup, or it is damaged", _NO_BACKUP) from None


def _parsed(content: bytes) -> BackupManifest:
    try:
        raw = json.loads(content)
        if isinstance(raw, dict) and isinstance(raw.get("format"), int) and raw["format"] > BACKUP_FORMAT:
            raise refused(
                f"the backup has format {raw['format']}, this jesse-mcp knows {BACKUP_FORMAT}",
                f"upgrade jesse-mcp to {raw.get('version')!s:.40}, which made it, or newer",
            )
        return BackupManifest.model_validate_json(content)
    except (ValueError, RecursionError, ValidationError):
        raise damaged("its manifest cannot be read") from None


def _is_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return (
        bool(pure.parts)
        and not pure.is_absolute()
        and ".." not in pure.parts
        and str(pure) == path
        and path.isprintable()
    )


def _changed(path: str) -> ResearchError:
    return failed(f"{path} was changed while it was copied", "try again when nobody writes it")


class _Hashing:
    """A file to read that hashes what is read and tells how much."""

    def __init__(self, file: IO[bytes], progress: Callable[[int], None]) -> None:
        self._file = file
        self._progress = progress
        self._hash = hashlib.sha256()
        self.bytes = 0

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self._hash.update(chunk)
        self.bytes += len(chunk)
        self._progress(len(chunk))
        return chunk

    def digest(self) -> str:
        return self._hash.hexdigest()
