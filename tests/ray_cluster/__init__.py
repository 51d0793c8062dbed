"""A real Ray of several nodes on this machine, while a test needs it."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

HOST = Path(__file__).with_name("host.py")


class RayCluster:
    """Nodes that die with this process, however it ends.

    Args:
        engine_python: a Python that has Jesse and its Ray.
        cpus: of each node, the head first.
    """

    def __init__(self, engine_python: Path, *cpus: int) -> None:
        # Short, as sockets are made below it.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        with (self.folder / "host.log").open("w") as log:
            self._process = subprocess.Popen(
                [str(engine_python), "-s", "-B", str(HOST)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(self.folder),
                cwd=self.folder,
                text=True,
            )
        self.nodes: list[dict[str, Any]] = []
        for count in cpus:
            self.add(count)

    @property
    def address(self) -> str:
        return str(self.nodes[0]["address"])

    def add(self, cpus: int, python_path: Path | None = None) -> dict[str, Any]:
        """Another node: the cluster's ``address``, the ``node``'s id, and the pid of its ``raylet``.

        Args:
            python_path: where its Python looks for packages first.
        """
        node = self._told("add", cpus, None if python_path is None else str(python_path))
        self.nodes.append(node)
        return node

    def kill(self, index: int) -> None:
        """SIGKILL to everything of a node."""
        self._told("kill", index)

    def close(self) -> None:
        self._process.communicate(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _told(self, *command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, (self.folder / "host.log").read_text()[-3000:]
        answer: dict[str, Any] = json.loads(line)
        return answer


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    return {
        **kept,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    }
