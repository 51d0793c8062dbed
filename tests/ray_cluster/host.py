"""Several Ray nodes on this machine; runs under the engine's Python until its standard input ends.

Started as ``python host.py CPUS...``: one node for each number, the first is the head. Commands come as JSON
lines, answers too.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

_STORE_BYTES = 200 * 1024 * 1024


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    # Ray is talkative.
    os.dup2(2, 1)
    cluster = Cluster()
    nodes: list[Any] = []

    def add(cpus: int, python_path: str | None = None) -> dict[str, Any]:
        if python_path is not None:
            os.environ["PYTHONPATH"] = python_path
        node = cluster.add_node(
            num_cpus=cpus,
            object_store_memory=_STORE_BYTES,
            include_dashboard=False,
            include_log_monitor=False,
        )
        os.environ.pop("PYTHONPATH", None)
        nodes.append(node)
        return {"address": cluster.address, "node": node.node_id, "raylet": _raylet(node)}

    def kill(index: int) -> dict[str, Any]:
        """Everything of one node with SIGKILL, as when a machine loses its power."""
        cluster.remove_node(nodes[index], allow_graceful=False)
        return {}

    commands: dict[str, Callable[..., dict[str, Any]]] = {"add": add, "kill": kill}
    try:
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            answers.write(json.dumps(commands[name](*arguments)) + "\n")
            answers.flush()
    finally:
        for node in [*cluster.worker_nodes, *([cluster.head_node] if cluster.head_node else [])]:
            node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        # Here too, for a test process that was killed.
        shutil.rmtree(os.environ["RAY_TMPDIR"], ignore_errors=True)


def _raylet(node: Any) -> int:
    (info,) = node.all_processes["raylet"]
    return int(info.process.pid)


if __name__ == "__main__":
    sys.path = [entry for entry in sys.path if Path(entry) != Path(__file__).parent]
    main()
