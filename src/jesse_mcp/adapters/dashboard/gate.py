"""Many requests to a Jesse at once, or one download alone.

Jesse makes each piece of a download in whichever of its threads is free, and its database connections belong
to threads. When another request takes the thread in between, the download breaks off, and the thread it began
in keeps a failed transaction that every later request there runs into, until Jesse is restarted.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from jesse_mcp.domain.errors import ErrorCode, ResearchError

_PAUSE = 0.01
#: Seconds. A process that was stopped keeps its lock, and nobody is to wait for it for ever.
_PATIENCE = 120.0


class RequestGate:
    """Holds for all processes with the same cache folder that speak to the same Jesse; thread-safe.

    Args:
        url: of Jesse.
        folder: where the locks are, made when it is missing; default: in the user's cache. They stay there:
            to remove a lock is to lose who waits for it.
        patience: seconds to wait for others where no end is given.
    """

    def __init__(self, url: str, folder: Path | None = None, patience: float = _PATIENCE) -> None:
        self.patience = patience
        name = hashlib.sha256(url.encode()).hexdigest()[:16]
        if folder is None:
            folder = Path(platformdirs.user_cache_dir("jesse-mcp", appauthor=False)) / "locks"
        self._room = folder / f"{name}.room"
        self._door = folder / f"{name}.door"

    @contextmanager
    def beside_others(self, end: float | None = None) -> Iterator[None]:
        """For a request.

        Args:
            end: on the monotonic clock; how long to wait for a download that is going on, or for one that
                waits itself.

        Raises:
            TimeoutError: it went on for longer.
            ResearchError: ``storage_failed``.
        """
        end = time.monotonic() + self.patience if end is None else end
        # Whoever waits to be alone holds the door, so that it gets its turn.
        with _held(self._door, fcntl.LOCK_SH, end):
            room = _acquired(self._room, fcntl.LOCK_SH, end)
        try:
            yield
        finally:
            os.close(room)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For a download.

        Raises:
            TimeoutError: other requests or downloads went on for longer than the patience.
            ResearchError: ``storage_failed``.
        """
        end = time.monotonic() + self.patience
        with _held(self._door, fcntl.LOCK_EX, end), _held(self._room, fcntl.LOCK_EX, end):
            yield


@contextmanager
def _held(path: Path, kind: int, end: float) -> Iterator[None]:
    lock = _acquired(path, kind, end)
    try:
        yield
    finally:
        os.close(lock)


def _acquired(path: Path, kind: int, end: float) -> int:
    """An open file whose closing gives the lock back."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ResearchError(
            ErrorCode.STORAGE_FAILED,
            f"the lock {path} cannot be opened: {error.strerror}",
            hint="make it writable, or set JESSE_MCP_CACHE to a folder of your own",
        ) from error
    try:
        while True:
            try:
                fcntl.flock(opened, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise TimeoutError from None
                time.sleep(_PAUSE)
            else:
                return opened
    except BaseException:
        os.close(opened)
        raise
