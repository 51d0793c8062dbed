"""A real Jesse dashboard over a real PostgreSQL, both from PyPI packages, while a test needs them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

HOST = Path(__file__).with_name("host.py")
PASSWORD = "correct horse"  # noqa: S105  (of a server that lives for a test)


class JesseHost:
    """The running pair. Everything dies with this process, however it ends.

    Args:
        engine_python: a Python that has Jesse.
        folder: an empty folder for the project and the database.
        environment: more variables for Jesse, such as a proxy.
    """

    def __init__(
        self, engine_python: Path, folder: Path, environment: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HOST), str(engine_python), str(folder), PASSWORD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**_environment(folder), **environment},
            text=True,
        )
        self.project = folder / "project"
        self.log = folder / "jesse.log"
        self._facts = self._answer()

    @property
    def url(self) -> str:
        return str(self._facts["url"])

    @property
    def jesse_pid(self) -> int:
        """The dashboard's process, whose children run the backtests."""
        return int(self._facts["jesse_pid"])

    @property
    def postgres_pid(self) -> int:
        return int(self._facts["postgres_pid"])

    def kill_jesse(self) -> None:
        """SIGKILL to the dashboard and its children."""
        self._told("kill-jesse")

    def start_jesse(self) -> None:
        """Start it anew, at the same address."""
        self._told("start-jesse")

    def kill_postgres(self) -> None:
        """SIGQUIT, which PostgreSQL obeys at once and without a clean shutdown."""
        self._told("kill-postgres")

    def start_postgres(self) -> None:
        self._told("start-postgres")

    def sql(self, command: str) -> str:
        """What ``psql`` prints."""
        return str(self._told("sql", command)["output"])

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _told(self, command: str, argument: str = "") -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([command, argument]) + "\n")
        self._process.stdin.flush()
        self._facts = self._answer()
        return self._facts

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError(f"the Jesse host ended; its log: {self.log.read_text()[-4000:]}")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        return answer


@contextmanager
def running_jesse(engine_python: Path) -> Iterator[JesseHost]:
    """A host in a folder of its own.

    Not in pytest's: every session of pytest takes the rights to that from other users, and the database of
    root's tests runs as one.
    """
    with TemporaryDirectory(prefix="jesse-host-") as folder:
        host = JesseHost(engine_python, Path(folder))
        try:
            yield host
        finally:
            host.close()


def _environment(folder: Path) -> dict[str, str]:
    # Jesse looks for signs of pytest and then behaves as in its own tests.
    kept = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    return {**kept, "XDG_RUNTIME_DIR": str(folder)}
