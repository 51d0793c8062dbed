"""A file of lines that several processes write and none lets grow for ever."""

import logging
import os
from io import TextIOWrapper
from logging.handlers import QueueListener, RotatingFileHandler
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from filelock import FileLock, Timeout

MAX_BYTES = 10_000_000
KEPT = 10
_LOCK_SECONDS = 5


class SharedRotatingFile(RotatingFileHandler):
    """Rotates at ``MAX_BYTES``, keeps ``KEPT`` old files, readable by the owner only. Blocks; use a thread.

    The handler of the standard library goes on writing to a file that another process has renamed, and
    renames it once more.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> None:
        super().__init__(path, maxBytes=max_bytes, backupCount=kept, encoding="utf-8", delay=True)
        self._turn = FileLock(f"{path}.lock", timeout=_LOCK_SECONDS, mode=0o600)
        self._complained = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._turn:
                self._follow()
                super().emit(record)
        except (OSError, Timeout):
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802
        """Say once that lines are lost; the disk may be full for long."""
        if not self._complained:
            self._complained = True
            logging.getLogger("jesse_mcp.logs").error(
                "%s cannot be written: lines are lost", self.baseFilename
            )

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding=self.encoding, opener=_private)

    def _follow(self) -> None:
        """Let go of a file that is not the one of this name any more."""
        if self.stream is None:
            return
        try:
            there = os.stat(self.baseFilename)  # noqa: PTH116
            mine = os.fstat(self.stream.fileno())
            moved = (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino)
        except FileNotFoundError:
            moved = True
        if moved:
            self.stream.close()
            self.stream = None


class BackgroundFile:
    """A thread that writes what is put into :attr:`lines` to a :class:`SharedRotatingFile`."""

    def __init__(self, path: Path) -> None:
        self.lines: SimpleQueue[Any] = SimpleQueue()
        self._path = path
        self._running: tuple[QueueListener, SharedRotatingFile] | None = None

    def start(self) -> None:
        if self._running is None:
            file = SharedRotatingFile(self._path)
            self._running = QueueListener(self.lines, file), file
            self._running[0].start()

    def close(self) -> None:
        """Write what is left and stop. Blocks. Idempotent."""
        running, self._running = self._running, None
        if running is not None:
            listener, file = running
            listener.stop()
            file.close()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
