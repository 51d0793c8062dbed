"""Folders for the files of runs, one for each template, swept up after servers that died."""

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

from jesse_mcp.adapters.embedded.strays import kill_strays

_NEW = "new-"
_ABANDONED_SECONDS = 3600.0


class ScratchFolder:
    """A folder in use: locked until :meth:`remove` or the end of this process, whatever that end is.

    A lock says who is alive where a process number does not: a cache may be shared between containers.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, cache: Path) -> "ScratchFolder":
        """A new folder; what dead servers have left in this cache is removed first, processes too."""
        base = cache / "scratch"
        base.mkdir(parents=True, exist_ok=True)
        for leftover in base.iterdir():
            _sweep(leftover)
        # Under another name until it is locked, so that nobody takes it for a leftover.
        new = Path(tempfile.mkdtemp(prefix=f"{_NEW}{os.getpid()}-", dir=base))
        lock = os.open(new, os.O_RDONLY)
        _locked(lock)
        return cls(new.rename(base / new.name.removeprefix(_NEW)), lock)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock != -1:
            os.close(self._lock)
            self._lock = -1


def _sweep(folder: Path) -> None:
    try:
        if folder.name.startswith(_NEW) and time.time() - folder.stat().st_mtime < _ABANDONED_SECONDS:
            return
        lock = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        if _locked(lock):
            kill_strays(folder)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _locked(descriptor: int) -> bool:
    """Whether we have the lock now; a file system without locks is as if others had them all."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
