"""Series as raw rows that any number of processes map into memory at once.

A mapped file is named after the hash of its content and never changes. A run is handed a path and may open
it much later, so a file whose series has changed meanwhile stays until nobody was handed it for
``retention`` seconds; files already open stay readable even then.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock

from jesse_mcp.adapters.candles.atomic import replace_file
from jesse_mcp.domain.candles import CandleArray, MappedSeries, SeriesSummary

ROW_BYTES = 48


class MappedFiles:
    """The ``.f64`` files below ``directory``: little-endian float64, C order, shape (n, 6)."""

    def __init__(self, directory: Path, retention: float, lock_timeout: float) -> None:
        self._directory = directory
        self._retention = retention
        self._lock_timeout = lock_timeout

    def lease(self, summary: SeriesSummary) -> MappedSeries | None:
        """The file of this generation, kept for another ``retention`` seconds; ``None`` if not made yet."""
        path = self._path(summary.content_hash)
        if not path.exists():
            return None
        with self._locked():
            try:
                if path.stat().st_size != summary.rows * ROW_BYTES:
                    return None
                os.utime(path)
            except FileNotFoundError:
                return None
        return _described(path, summary)

    def make(self, summary: SeriesSummary, candles: CandleArray) -> MappedSeries:
        """Write the file of this generation; when another process was faster, the same bytes again."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with self._locked():
            path = self._path(summary.content_hash)
            rows = np.ascontiguousarray(candles, dtype="<f8")
            # Read-only, since strategies run under the same user and this is what results are made of.
            replace_file(path, rows.data.cast("B"), mode=0o444)
        return _described(path, summary)

    def prune(self, current: Callable[[], set[str]]) -> None:
        """Remove files that no series has as its content any more and that nobody was handed of late.

        Args:
            current: the content hashes of all series, asked for while nothing can be handed out.
        """
        if not self._directory.is_dir():
            return
        with self._locked():
            oldest = time.time() - self._retention
            kept = current()
            for path in self._directory.glob(".*.tmp"):
                path.unlink()  # of a process killed while it held this lock
            for path in self._directory.glob("*.f64"):
                if path.stem not in kept and path.stat().st_mtime < oldest:
                    path.unlink()

    def _path(self, content_hash: str) -> Path:
        return self._directory / f"{content_hash}.f64"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self._directory / ".lock"
        with FileLock(lock, timeout=self._lock_timeout, poll_interval=0.005, fallback_to_soft=False):
            yield


def _described(path: Path, summary: SeriesSummary) -> MappedSeries:
    return MappedSeries(path=str(path), rows=summary.rows, content_hash=summary.content_hash)
