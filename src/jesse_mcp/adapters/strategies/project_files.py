"""Reading a Jesse project folder safely: nothing outside it, nothing that is not text."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from jesse_mcp.domain.errors import ErrorCode, ResearchError

#: What a run takes along. Trained models and other binaries stay behind.
TEXT_SUFFIXES = frozenset({".py", ".json", ".csv"})
MAX_FILE_BYTES = 1 << 20


class ProjectFiles:
    """Files below ``root``, addressed by POSIX paths relative to the project.

    Args:
        root: the project folder; it need not exist.
        mounted_at: where ``root`` sits in the project, when it is only a part of one.
    """

    def __init__(self, root: Path, mounted_at: str = "") -> None:
        self._root = root
        self._prefix = f"{mounted_at}/" if mounted_at else ""

    def path(self, relative: str) -> Path:
        """Absolute path of ``relative``, which may not exist.

        Raises:
            ResearchError: ``invalid_argument`` when a link leads out of the project.
        """
        path = self._root / f"{relative}/".removeprefix(self._prefix)
        real_root, real = os.path.realpath(self._root), os.path.realpath(path)
        if real != real_root and not real.startswith(os.path.join(real_root, "")):  # noqa: PTH118
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"{relative} is a link that leads out of the project folder",
                hint="put the files themselves into the project folder",
                details={"path": relative},
            )
        return path

    def is_file(self, relative: str) -> bool:
        """Whether a regular file is there.

        Raises:
            ResearchError: as :meth:`path`.
        """
        return relative.startswith(self._prefix) and self.path(relative).is_file()

    def holds(self, relative: str) -> bool:
        """As :meth:`is_file`, but ``False`` for what a link places outside the project."""
        try:
            return self.is_file(relative)
        except ResearchError:
            return False

    def is_text(self, relative: str) -> bool:
        """Whether a run takes this file along: by its name, and small enough."""
        path = self.path(relative)
        with _reading(relative):
            return path.suffix in TEXT_SUFFIXES and path.stat().st_size <= MAX_FILE_BYTES

    def read(self, relative: str) -> str:
        """The file as text, line endings as they are.

        Raises:
            ResearchError: ``strategy_invalid`` when it is too large or not UTF-8, ``storage_failed`` when
                it cannot be read.
        """
        path = self.path(relative)
        with _reading(relative), path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ResearchError(
                ErrorCode.STRATEGY_INVALID,
                f"{relative} is larger than {MAX_FILE_BYTES} bytes",
                hint="move the data out of the source file",
            )
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise ResearchError(
                ErrorCode.STRATEGY_INVALID,
                f"{relative} is not UTF-8 text (byte {error.start})",
                hint="save the file as UTF-8",
            ) from None

    def children(self, relative: str) -> list[str]:
        """Names directly inside a folder, hidden ones left out; empty when there is no such folder."""
        folder = self.path(relative)
        if not folder.is_dir():
            return []
        with _reading(relative):
            return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))

    def walk(self, relative: str) -> Iterator[str]:
        """Every file below a folder, hidden ones and compiled code left out, in a stable order.

        Raises:
            ResearchError: as :meth:`path`, for a link anywhere below.
        """
        yield from self._walk(relative, set())

    def _walk(self, relative: str, seen: set[str]) -> Iterator[str]:
        real = os.path.realpath(self.path(relative))
        if real in seen:  # a link to a folder above
            return
        seen.add(real)
        for name in self.children(relative):
            child = f"{relative}/{name}"
            path = self.path(child)
            if path.is_dir() and name != "__pycache__":
                yield from self._walk(child, seen)
            elif path.is_file():
                yield child


@contextlib.contextmanager
def _reading(relative: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResearchError(
            ErrorCode.STORAGE_FAILED,
            f"cannot read {relative}: {error.strerror}",
            hint="check the permissions of the project folder",
        ) from error
