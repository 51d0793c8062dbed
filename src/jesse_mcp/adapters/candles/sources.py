"""Getting the bytes of candle files, and nothing else, out of what a path names."""

import gzip
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from jesse_mcp.domain.errors import ErrorCode, ResearchError

#: Suffixes looked for in a folder, by what is inside. A single file is read by its content instead.
SUFFIXES = {
    "CSV": (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".zip"),
    "Parquet": (".parquet", ".pq"),
    "Arrow": (".feather", ".arrow", ".ipc"),
}

#: A file without any of these is not looked into: a path may be that of a secret.
_KNOWN = (*(suffix for ends in SUFFIXES.values() for suffix in ends), ".txt", ".gz")


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Room:
    """Bytes an import may still take, of all it may."""

    left: int
    limit: int


@dataclass(frozen=True)
class Source:
    """The content of one file, unpacked; ``packing`` is ``"gzip"``, ``"zip"`` or ``None``."""

    name: str
    content: bytes
    packing: str | None


def refuse_path(message: str, hint: str) -> ResearchError:
    """The error for a path that cannot be imported."""
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)


def find_files(path: Path, within: Sequence[Path] | None = None) -> tuple[list[Path], list[str]]:
    """The files to read, symbolic links followed, and the names of files in the folder that are passed over.

    Args:
        path: a file or a folder.
        within: folders they must be in; ``None``: anywhere.

    Raises:
        ResearchError: ``forbidden`` for what is not ``within``, ``invalid_argument`` when there is nothing to
            read or a folder mixes file types.
    """
    _check_within(path, path, within)
    try:
        found = path.expanduser().resolve(strict=True)
        if not found.is_dir():
            _check_known(found)
            return [found], []
        entries = sorted(entry for entry in found.iterdir() if not entry.name.startswith("."))
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise refuse_path(
            f"path is {str(path)!r}: {reason}",
            "give the absolute path of a candle file, or of a folder of them, on the machine of the server",
        ) from error
    by_kind = {kind: [e for e in entries if e.name.lower().endswith(ends)] for kind, ends in SUFFIXES.items()}
    kinds = [kind for kind, files in by_kind.items() if files]
    if len(kinds) != 1:
        held = " and ".join(kinds) + " files" if kinds else "no candle files"
        known = ", ".join(suffix for ends in SUFFIXES.values() for suffix in ends)
        raise refuse_path(
            f"the folder {str(path)!r} holds {held}",
            f"import a folder of candle files of one type ({known}), or one file by its path",
        )
    files = by_kind[kinds[0]]
    for file in files:
        # By what it leads to, as with a single file.
        _check_within(file, path, within)
        _check_known(Path(os.path.realpath(file)))
    return files, [entry.name for entry in entries if entry not in files and entry.is_file()]


def _check_within(file: Path, given: Path, folders: Sequence[Path] | None) -> None:
    """Refuse a file outside of ``folders``, in the same words whether it exists or not."""
    if folders is None or any(_leads_into(file, folder) for folder in folders):
        return
    named = "" if file == given else f", where {file.name} leads elsewhere"
    raise ResearchError(
        ErrorCode.FORBIDDEN,
        f"path is {str(given)!r}{named}: it is not in a folder that candles may be imported from",
        hint=f"give the absolute path of something in {' or '.join(map(str, folders))}, on the machine of "
        "the server; who runs it names more folders in JESSE_MCP_IMPORT_FOLDERS",
    )


def _leads_into(file: Path, folder: Path) -> bool:
    try:
        # Of Path, expanduser tells which users there are.
        found = os.path.realpath(os.path.expanduser(file))  # noqa: PTH111
    except ValueError:
        # No path of any file: there is a NUL in it, or half a character.
        return False
    return Path(found).is_relative_to(os.path.realpath(folder))


def _check_known(found: Path) -> None:
    if found.is_file() and not found.name.lower().endswith(_KNOWN):
        raise refuse_path(
            f"{found.name} does not look like a candle file",
            f"its name must end in one of {', '.join(_KNOWN)}",
        )


def load(path: Path, room: Room) -> Source:
    """Read one file, unpacking gzip and zip.

    Raises:
        ResearchError: ``invalid_argument`` when it is no regular file, cannot be read or is larger than
            ``room`` (unpacked), ``candles_invalid`` for a damaged archive.
    """
    try:
        # Non-blocking, so that opening a FIFO returns at once; what was opened is what is checked.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise refuse_path(
            f"path is {str(path)!r}: {error.strerror}",
            "give a file that the user running the server may read",
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise refuse_path(f"path is {str(path)!r}, which is not a regular file", "give a candle file")
        try:
            return _unpacked(path.name, file, room)
        except (OSError, EOFError, RuntimeError, UnicodeError, zlib.error, zipfile.BadZipFile) as error:
            raise ResearchError(
                ErrorCode.CANDLES_INVALID,
                f"{path.name} cannot be unpacked: {error}",
                hint="download the file again, or unpack it yourself and import what is inside",
            ) from error


def _unpacked(name: str, file: BinaryIO, room: Room) -> Source:
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == b"\x1f\x8b":
        with gzip.open(file) as unpacked:
            return Source(name, _bounded(name, unpacked, room), "gzip")
    if magic == b"PK\x03\x04":
        with zipfile.ZipFile(file) as archive, archive.open(_only_member(name, archive)) as member:
            return Source(name, _bounded(name, member, room), "zip")
    return Source(name, _bounded(name, file, room), None)


def _bounded(name: str, file: _Readable, room: Room) -> bytes:
    content = file.read(room.left + 1)
    if len(content) > room.left:
        raise refuse_path(
            f"{name} takes this import over the limit of {room.limit:,} bytes",
            "import less at a time, for example a year",
        )
    return content


def _only_member(name: str, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = list(_files_of(archive))
    if len(members) != 1:
        raise refuse_path(
            f"the archive {name} holds {len(members)} files, not one",
            "unpack it into a folder and import the folder",
        )
    return members[0]


def _files_of(archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    for member in archive.infolist():
        last = member.filename.rsplit("/", 1)[-1]
        # What macOS adds to every archive is not data.
        if last and not last.startswith(".") and not member.filename.startswith("__MACOSX/"):
            yield member
