"""Strategies in folders: ``<root>/strategies/<Name>/__init__.py``, the layout of a Jesse project."""

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from jesse_mcp.adapters.strategies.changes import check_writable, encoded, is_name, not_found, read_only
from jesse_mcp.adapters.strategies.project_files import ProjectFiles
from jesse_mcp.adapters.strategies.source_bundle import STRATEGIES, SourceBundle
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.strategies import StrategySource, parse_strategy_name


class FolderStrategyStore:
    """User strategies below ``root``; the bundled ones are readable beside them, never written.

    A user strategy wins over a bundled one of the same name, because a project folder may have come with
    one.

    Args:
        root: a Jesse project folder, or any folder; created by the first write.
        lock_seconds: how long to wait for another process that is changing strategies.
    """

    def __init__(self, root: Path, lock_seconds: float = 30.0) -> None:
        self._lock_seconds = lock_seconds
        self._user = ProjectFiles(root)
        self._bundled = bundled_strategies()

    def names(self) -> dict[str, str]:
        """Name to origin (``'user'`` or ``'bundled'``), in alphabetical order."""
        found = dict.fromkeys(self._names_in(self._bundled), "bundled")
        found.update(dict.fromkeys(self._names_in(self._user), "user"))
        return dict(sorted(found.items()))

    def read(self, name: str) -> str:
        """Source of the strategy's main module.

        Raises:
            ResearchError: ``strategy_not_found`` with the closest names, ``invalid_argument`` for a name
                that is none or a link that leaves the project, ``strategy_invalid`` for what is not text.
        """
        return self._project_of(name).read(main_module(name))

    def source(self, names: frozenset[str]) -> StrategySource:
        """The files needed to run these strategies, helpers they import from the project included.

        Raises:
            ResearchError: as :meth:`read`, and ``capability_missing`` when the code uses a file that a run
                cannot take along.
        """
        bundle = SourceBundle((self._user, self._bundled))
        for name in sorted(names):
            self._project_of(name)
            bundle.add_strategy(name)
        return StrategySource(files=dict(sorted(bundle.files.items())))

    def write(self, name: str, code: str, overwrite: bool) -> None:
        """Create or replace a user strategy, atomically.

        Raises:
            ResearchError: ``strategy_exists`` (also when the name differs from another only in upper and
                lower case, which some file systems cannot tell apart), ``strategy_read_only`` for a
                bundled name, ``storage_failed``.
        """
        parse_strategy_name(name)
        content = encoded(code)
        with self._changing(name):
            check_writable(name, self.names(), overwrite)
            folder = self._user.path(f"{STRATEGIES}/{name}")
            created = not folder.exists()
            folder.mkdir(exist_ok=True)
            try:
                _replace(folder / "__init__.py", content)
            except OSError:
                if created:
                    folder.rmdir()
                raise

    def delete(self, name: str) -> None:
        """Remove a user strategy with its folder.

        Raises:
            ResearchError: ``strategy_not_found``, ``strategy_read_only``, ``storage_failed``.
        """
        project = self._project_of(name)
        if project is self._bundled:
            raise read_only(name)
        with self._changing(name):
            self._project_of(name)  # another process may have been faster
            folder = self._user.path(f"{STRATEGIES}/{name}")
            # One rename makes it disappear as a whole, however long the removal takes.
            doomed = folder.with_name(f".deleted-{name}-{uuid.uuid4().hex}")
            folder.rename(doomed)
            if doomed.is_symlink():
                doomed.unlink()
            else:
                shutil.rmtree(doomed)

    def _names_in(self, project: ProjectFiles) -> list[str]:
        return [
            name
            for name in project.children(STRATEGIES)
            if is_name(name) and project.holds(main_module(name))
        ]

    def _project_of(self, name: str) -> ProjectFiles:
        """Where a strategy is. The listing decides, not the file system, which may ignore case."""
        parse_strategy_name(name)
        origin = self.names().get(name)
        if origin is None:
            self._user.path(main_module(name))  # says so if it is there but leads out of the project
            raise not_found(name, self.names())
        return self._user if origin == "user" else self._bundled

    @contextlib.contextmanager
    def _changing(self, name: str) -> Iterator[None]:
        """One change at a time, over all processes; failures of the file system become one error."""
        try:
            folder = self._user.path(STRATEGIES)
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".lock", timeout=self._lock_seconds):
                yield
        except OSError as error:
            reason = error.strerror or "another process holds the lock on the strategies folder"
            raise ResearchError(
                ErrorCode.STORAGE_FAILED,
                f"cannot change strategy {name}: {reason}",
                hint="check that the project folder can be written to and the disk is not full",
            ) from error


def bundled_strategies() -> ProjectFiles:
    """The strategies that come with this package, as part of a project."""
    return ProjectFiles(Path(__file__).parent / "bundled", mounted_at=STRATEGIES)


def main_module(name: str) -> str:
    """Where a strategy's class is, relative to the project."""
    return f"{STRATEGIES}/{name}/__init__.py"


def _replace(target: Path, content: bytes) -> None:
    """Write beside ``target``, then rename: a reader sees the old file or the new one, never half of it."""
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".write-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
            os.fchmod(stream.fileno(), 0o644)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
