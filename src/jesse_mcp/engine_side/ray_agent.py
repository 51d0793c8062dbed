"""The actor that stands for this engine on a node of a Ray cluster. Sent to the node by value.

Nothing of ours is installed there: the actor brings our modules as text, writes them to a folder of its own
and imports them from it. So this module may import nothing of ours itself.
"""

import fcntl
import functools
import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray

_NEW = "new-"
_ABANDONED_SECONDS = 3600.0


class NodeAgent:
    """One on each node; its methods may run at the same time.

    Args:
        code: our modules, by file name.
        kept_bytes: candles kept while no run reads them.
    """

    def __init__(self, code: dict[str, str], kept_bytes: int) -> None:
        self._code = code
        self._kept_bytes = kept_bytes
        self._runs: Any = None
        self._folder: Path | None = None
        self._lock = -1

    def facts(self) -> dict[str, Any]:
        """What is installed on this node; nothing is started."""
        return installed()

    def open(self) -> None:
        """Load Jesse.

        Raises:
            Exception: it does not come up; the text says why.
        """
        self._folder = self._new_folder()
        code = self._folder / "code"
        code.mkdir()
        for name, text in self._code.items():
            (code / name).write_text(text, encoding="utf-8")
        sys.path.insert(0, str(code))
        try:
            runs = importlib.import_module("node_runs").NodeRuns(code, self._kept_bytes)
        finally:
            sys.path.remove(str(code))
        runs.warm()
        self._runs = runs

    def start(
        self, number: int, request: dict[str, Any], candles: dict[str, list[Any]], seconds: float
    ) -> None:
        """Begin a run. ``candles``: references to rows by name, in lists so that Ray leaves them alone."""
        fetch = {name: functools.partial(ray.get, references[0]) for name, references in candles.items()}
        self._runs.start(number, request, fetch, seconds)

    def kill(self, number: int) -> None:
        self._runs.kill(number)

    def listen(self, seconds: float) -> list[tuple[int, str, Any]]:
        """What runs have said; see ``node_runs``."""
        said: list[tuple[int, str, Any]] = self._runs.listen(seconds)
        return said

    def close(self) -> None:
        """End every process of ours on this node but this one."""
        if self._runs is not None:
            self._runs.close()
            self._runs = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            _sweep(self._folder.parent)
        if self._lock != -1:
            os.close(self._lock)
            self._lock = -1

    def _new_folder(self) -> Path:
        """Locked while this process lives."""
        base = Path(tempfile.gettempdir(), f"jesse-mcp-ray-{os.getuid()}")
        base.mkdir(mode=0o700, exist_ok=True)
        if base.stat().st_uid != os.getuid() or base.is_symlink():
            raise PermissionError(f"{base} belongs to somebody else: set TMPDIR where the node is started")
        _sweep(base)
        # Under another name until it is locked, so that nobody takes it for a leftover.
        new = Path(tempfile.mkdtemp(prefix=_NEW, dir=base))
        self._lock = _locked(new)
        return new.rename(base / new.name.removeprefix(_NEW))


def installed() -> dict[str, Any]:
    """Python, platform and every distribution with its version, of this interpreter."""
    found: dict[str, str] = {}
    for item in importlib.metadata.distributions():
        name = item.metadata["Name"]
        if name:
            found.setdefault(name.lower().replace("_", "-").replace(".", "-"), item.version)
    return {
        "python": platform.python_version(),
        "platform": f"{sys.platform}-{platform.machine()}",
        "packages": found,
    }


def _sweep(base: Path) -> None:
    """Remove what agents have left behind that were killed."""
    for leftover in base.iterdir():
        if not _is_being_made(leftover) and (lock := _locked(leftover)) != -1:
            shutil.rmtree(leftover, ignore_errors=True)
            os.close(lock)


def _is_being_made(folder: Path) -> bool:
    try:
        return folder.name.startswith(_NEW) and time.time() - folder.stat().st_mtime < _ABANDONED_SECONDS
    except OSError:
        return True


def _locked(folder: Path) -> int:
    """A descriptor that holds the lock of a folder, or -1 when somebody has it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return -1
    return descriptor
