"""Backups of a home folder on this machine."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from jesse_mcp.adapters.backup.archive import ArchiveWriter, opened
from jesse_mcp.adapters.backup.failures import damaged, disk_errors, failed, refused
from jesse_mcp.adapters.backup.home_files import REPLACED, RESTORE_LOCK, STAGING, HomeListing, list_home
from jesse_mcp.adapters.backup.records_copy import KNOWN_SCHEMA, check_unused, copy_records, schema_of
from jesse_mcp.domain.backups import RECORDS, BackupManifest, ByteProgress
from jesse_mcp.domain.identity import iso_utc

_LOCK_SECONDS = 120.0
_SERIES_LOCK = "another process keeps writing the candles of {}"


class LocalHomeArchives:
    """A :class:`~jesse_mcp.ports.backups.HomeArchives`.

    Args:
        home: the folder; it exists.
    """

    def __init__(self, home: Path) -> None:
        self._home = home

    def known_schema(self) -> int:
        return KNOWN_SCHEMA

    def occupants(self) -> tuple[str, ...]:
        with disk_errors("look into the home folder"):
            return _occupants(self._home)

    def manifest(self, source: Path) -> BackupManifest:
        with opened(source) as archive:
            return archive.manifest

    def write(self, target: Path, version: str, *, records: bool, progress: ByteProgress) -> BackupManifest:
        target = target.absolute()
        self._check_target(target)
        with (
            disk_errors(f"write the backup {target.name}"),
            tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch,
        ):
            partial = Path(scratch) / "archive"
            with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as stream:
                manifest = self._fill(stream, Path(scratch), version, records, progress)
                stream.flush()
                os.fsync(stream.fileno())
            partial.rename(target)
            _sync(target.parent)
        return manifest

    def _fill(
        self, stream: IO[bytes], scratch: Path, version: str, records: bool, progress: ByteProgress
    ) -> BackupManifest:
        created_at = iso_utc(time.time())
        listing = list_home(self._home)
        copy = scratch / RECORDS
        used = self._home / RECORDS
        schema = copy_records(used, copy) if records and used.exists() else None
        total = _total(self._home, listing) + (copy.stat().st_size if schema is not None else 0)
        writer = ArchiveWriter(stream, _counted(progress, total))
        if schema is not None:
            with copy.open("rb") as file:
                writer.add(RECORDS, file)
            copy.unlink()
        for path in listing.files:
            self._add(writer, path)
        for series in listing.series:
            with self._still(series):
                # Both at one moment: the one says how much of the other it has taken over.
                self._add(writer, f"{series}.parquet")
                self._add(writer, f"{series}.journal")
        manifest = BackupManifest(
            version=version,
            created_at=created_at,
            schema_version=schema,
            left_out=listing.left_out,
            files=tuple(writer.files),
        )
        writer.finish(manifest)
        return manifest

    def _add(self, writer: ArchiveWriter, path: str) -> None:
        # What was deleted since it was listed does not belong to the backup.
        with suppress(FileNotFoundError):
            descriptor = os.open(self._home / path, os.O_RDONLY | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as file:
                writer.add(path, file)

    @contextmanager
    def _still(self, series: str) -> Iterator[None]:
        """Nobody writes the files of a series meanwhile: the lock is that of the candle store."""
        path = self._home / f"{series}.parquet"
        try:
            with FileLock(
                path.with_name(f".{path.name}.lock"), timeout=_LOCK_SECONDS, fallback_to_soft=False
            ):
                yield
        except Timeout as error:
            raise failed(_SERIES_LOCK.format(path.stem), "try again when that import has finished") from error

    def _check_target(self, target: Path) -> None:
        if target.exists() or target.is_symlink():
            raise refused(f"{target} exists already", "give the name of a new file")
        if not target.parent.is_dir():
            raise refused(f"there is no folder {target.parent}", "make it first, or give another path")
        if target.resolve().is_relative_to(self._home.resolve()):
            raise refused(
                f"{target} is in the home folder, which it is a backup of",
                "give a path elsewhere, best on another disk",
            )

    def unpack(self, source: Path, manifest: BackupManifest, progress: ByteProgress) -> str | None:
        with (
            disk_errors("restore the backup"),
            self._alone(),
            opened(source) as archive,
            ExitStack() as after,
        ):
            if archive.manifest != manifest:
                raise damaged("it has changed while it was read")
            for stale in self._home.glob(f"{STAGING}*"):
                shutil.rmtree(stale)
            free = shutil.disk_usage(self._home).free
            if manifest.total_bytes > free:
                needed = manifest.total_bytes
                raise failed(
                    f"the backup needs {needed:,} bytes, and {free:,} are free", "free some disk space"
                )
            staging = Path(tempfile.mkdtemp(dir=self._home, prefix=STAGING))
            after.callback(shutil.rmtree, staging, ignore_errors=True)
            archive.check_names(staging)
            archive.extract(staging, _counted(progress, manifest.total_bytes))
            _check_records(staging / RECORDS, manifest)
            check_unused(self._home / RECORDS)
            return self._exchange(staging)

    def _exchange(self, staging: Path) -> str | None:
        """Put what is there aside, and what is in ``staging`` in its place: all of it, or none."""
        there = _occupants(self._home)
        aside = Path(tempfile.mkdtemp(dir=self._home, prefix=REPLACED)) if there else None
        moves = [(self._home / name, aside / name) for name in there] if aside else []
        # The records last: without them a server would begin new ones.
        new = sorted((child.name for child in staging.iterdir()), key=lambda name: (name == RECORDS, name))
        moves += [(staging / name, self._home / name) for name in new]
        done: list[tuple[Path, Path]] = []
        try:
            for old, fresh in moves:
                old.rename(fresh)
                done.append((old, fresh))
        except BaseException:
            for old, fresh in reversed(done):
                fresh.rename(old)
            if aside is not None:
                aside.rmdir()
            raise
        _sync(self._home)
        return None if aside is None else aside.name

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            with FileLock(self._home / RESTORE_LOCK, timeout=0, mode=0o600):
                yield
        except Timeout as error:
            raise failed("another restore is at work in the home folder", "wait until it is done") from error


def _occupants(home: Path) -> tuple[str, ...]:
    ours = (STAGING, REPLACED, RESTORE_LOCK)
    return tuple(sorted(child.name for child in home.iterdir() if not child.name.startswith(ours)))


def _check_records(path: Path, manifest: BackupManifest) -> None:
    """What the manifest says of the records is true."""
    found = schema_of(path) if path.exists() else None
    if found != manifest.schema_version:
        raise damaged(f"its records have schema version {found}, its manifest says {manifest.schema_version}")


def _total(home: Path, listing: HomeListing) -> int:
    paths = [
        *listing.files,
        *(f"{series}.{kind}" for series in listing.series for kind in ("parquet", "journal")),
    ]
    total = 0
    for path in paths:
        with suppress(FileNotFoundError):
            total += (home / path).stat().st_size
    return total


def _counted(progress: ByteProgress, total: int) -> Callable[[int], None]:
    done = 0

    def count(piece: int) -> None:
        nonlocal done
        done += piece
        progress(done, total)

    return count


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
