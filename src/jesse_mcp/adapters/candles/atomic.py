"""Replacing a file so that a crash at any moment leaves the old content or the new, never a mixture."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jesse_mcp.domain.errors import ErrorCode, ResearchError

_HINTS = {
    errno.ENOSPC: "free some disk space, then repeat the call",
    errno.EDQUOT: "free some of your disk quota, then repeat the call",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), then repeat the call",
    errno.EACCES: "make the candle folder writable for the user that runs the server",
    errno.EPERM: "make the candle folder writable for the user that runs the server",
    errno.EROFS: "the candle folder is on a read-only file system; set JESSE_MCP_HOME elsewhere",
}


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turn ``OSError`` into ``storage_failed``; ``doing`` completes "could not ..."."""
    try:
        yield
    except OSError as error:
        raise ResearchError(
            ErrorCode.STORAGE_FAILED,
            f"could not {doing}: {error.strerror or error}",
            hint=_HINTS.get(error.errno or 0, "check the disk that holds the candles, then repeat the call"),
            details={"errno": error.errno},
        ) from error


def replace_file(target: Path, content: memoryview | bytes, *, mode: int | None = None) -> None:
    """Write ``content`` to ``target``, durably and all or nothing.

    The caller holds the lock of ``target``: the temporary file has a fixed name, so that one left by a
    killed process is overwritten by the next writer instead of staying behind for ever.

    Args:
        target: the file; its folder exists.
        content: all of it.
        mode: permission bits; those of any new file when ``None``.

    Raises:
        OSError: ``target`` is as before and the temporary file is gone.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        with temporary.open("wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)  # noqa: PTH105  # the name every reader of this code knows
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(target.parent)


def sync_directory(directory: Path) -> None:
    """Make renames and removals inside ``directory`` survive a power failure."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
