"""Which files of the home folder belong to a backup."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jesse_mcp.domain.backups import RECORDS

#: What a restore makes in the home folder.
STAGING = ".restoring-"
REPLACED = ".replaced-"
RESTORE_LOCK = ".restore.lock"
_CANDLES = "candles"
_SERIES = {".parquet", ".journal"}
#: What can be made again, is half written, or means something only while a process lives.
_FOLDERS = re.compile(
    r"candles/\.mapped|logs|(.*/)?__pycache__|(.*/)?\.deleted-[^/]*|\.(restoring|replaced)-[^/]*"
)
_FILES = re.compile(
    rf"{re.escape(RECORDS)}(-wal|-shm|-journal|\.lock)|tokens\.json\.(lock|new)"
    r"|(.*/)?\.([^/]*\.)?lock|(.*/)?\.[^/]*\.tmp|(.*/)?\.(write|report)-[^/]*"
)


@dataclass(frozen=True)
class HomeListing:
    """Paths relative to the home folder, apart by ``/``, in alphabetical order.

    Attributes:
        files: to be copied; without the records.
        series: candle series, without the suffix of their files, which are copied together.
        left_out: links and other things that are no files.
    """

    files: tuple[str, ...]
    series: tuple[str, ...]
    left_out: tuple[str, ...]


def list_home(home: Path) -> HomeListing:
    """What there is now.

    Raises:
        OSError: a folder cannot be read.
    """
    files: list[str] = []
    series: set[str] = set()
    left_out: list[str] = []
    for path, regular in _walk(home, ""):
        if path == RECORDS:
            continue
        if not regular:
            left_out.append(path)
        elif _is_series(path):
            series.add(path.rpartition(".")[0])
        else:
            files.append(path)
    return HomeListing(tuple(sorted(files)), tuple(sorted(series)), tuple(sorted(left_out)))


def belongs(path: str) -> bool:
    """Whether a backup may hold a file of this path."""
    parts = path.split("/")
    folders = ("/".join(parts[:count]) for count in range(1, len(parts)))
    return not _FILES.fullmatch(path) and not any(map(_FOLDERS.fullmatch, folders))


def _walk(home: Path, folder: str) -> Iterator[tuple[str, bool]]:
    try:
        with os.scandir(home / folder) as entries:
            found = list(entries)
    except FileNotFoundError:
        if folder:
            return
        raise
    for entry in found:
        path = f"{folder}/{entry.name}" if folder else entry.name
        try:
            mode = entry.stat(follow_symlinks=False).st_mode
        except FileNotFoundError:
            # Servers at work write beside a file and rename, and delete.
            continue
        if stat.S_ISDIR(mode):
            if not _FOLDERS.fullmatch(path):
                yield from _walk(home, path)
        elif not _FILES.fullmatch(path):
            yield path, stat.S_ISREG(mode)


def _is_series(path: str) -> bool:
    parts = path.split("/")
    return len(parts) == 3 and parts[0] == _CANDLES and Path(path).suffix in _SERIES
