"""Failures of disks and of backups, as errors that say what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from jesse_mcp.domain.errors import ErrorCode, ResearchError

_HINTS = {
    errno.ENOSPC: "free some disk space, then try again",
    errno.EDQUOT: "free some of your disk quota, then try again",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), then try again",
    errno.ENOENT: "give the path of a file in a folder that exists",
    errno.EXDEV: "unmount what is inside of the home folder, or restore into another one",
    errno.EBUSY: "unmount what is inside of the home folder, or restore into another one",
}


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn ``OSError`` into ``storage_failed``; ``doing`` completes "could not ..."."""
    try:
        yield
    except OSError as error:
        raise ResearchError(
            ErrorCode.STORAGE_FAILED,
            f"could not {doing}: {error.strerror or error}",
            hint=_HINTS.get(error.errno or 0, "run as the user of the server, then try again"),
            details={"errno": error.errno},
        ) from error


def failed(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.STORAGE_FAILED, message, hint=hint)


def refused(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)


def damaged(what: str) -> ResearchError:
    return refused(f"the backup is damaged: {what}", "use another backup; nothing was restored from this one")
