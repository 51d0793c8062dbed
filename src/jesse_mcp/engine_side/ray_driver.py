"""The driver: connects to a Ray cluster that exists and runs backtests on its nodes.

Started as ``python ray_driver.py CONTROL_FD SERVER_PID`` by the server, which never imports Ray itself. The
first message says where the cluster is; frames of number 0 are about the cluster, others about the run of
that number. The end of the control socket means the server is gone: every agent is ended and the driver
leaves.
"""

import json
import signal
import socket
import struct
import sys
import threading
from os import _exit as leave
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from confinement import Kernel

_HEADER = struct.Struct(">IQ")
_CONNECT_SECONDS = 5.0
#: More than the agents have to close.
_GRACE_SECONDS = 11.0
#: Of the object store of the smallest node, the share for candles no run reads at the moment.
_SHELF_SHARE = 0.3
_KEPT_ON_NODES = 2 * 1024**3


class Control:
    """Frames to and from the server."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)
        self._lock = threading.Lock()

    def send(self, number: int, payload: bytes) -> None:
        with self._lock:
            try:
                self._socket.sendall(_HEADER.pack(len(payload), number) + payload)
            except OSError:
                # The server is gone; the thread that reads hears of it.
                return

    def tell(self, **message: Any) -> None:
        self.send(0, json.dumps(message).encode())

    def receive(self) -> dict[str, Any] | None:
        """The next message; ``None`` at the end."""
        header = self._read(_HEADER.size)
        if header is None:
            return None
        payload = self._read(_HEADER.unpack(header)[0])
        if payload is None:
            return None
        message: dict[str, Any] = json.loads(payload)
        return message

    def _read(self, size: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < size:
            try:
                chunk = self._socket.recv(size - len(parts))
            except OSError:
                return None
            if not chunk:
                return None
            parts += chunk
        return bytes(parts)


class RefusedError(Exception):
    """The cluster is not there, or not one we can use."""


def connect(address: str) -> None:
    """Raises: RefusedError."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            # Ray itself tries for a minute and more.
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        except (OSError, ValueError) as error:
            raise RefusedError(f"nothing answers at {address}: {error}") from error
    import ray

    try:
        # With an address given it never starts a cluster.
        ray.init(address=address, log_to_driver=False, configure_logging=False, namespace="jesse-mcp")
    except Exception as error:
        raise RefusedError(" ".join(str(error).split())) from error


def serve(control: Control, settings: dict[str, Any]) -> None:
    """Until the server closes the control socket."""
    import ray
    import ray_agent
    from ray_candles import CandleShelf
    from ray_nodes import Nodes
    from ray_schedule import Run, Schedule

    ray.cloudpickle.register_pickle_by_value(ray_agent)
    stores = [
        node["Resources"].get("object_store_memory", 0) for node in ray.nodes() if node.get("Resources")
    ]
    shelf = CandleShelf(int(_SHELF_SHARE * min(stores, default=0)))
    schedule = Schedule(control.send, shelf)
    code = {path.name: path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*.py")}

    def changed() -> None:
        control.tell(event="cluster", **nodes.facts(), candles=shelf.facts(), busy=schedule.busy)

    nodes = Nodes(schedule, code, settings["max_runs"], _KEPT_ON_NODES, settings["patience"], changed)
    control.tell(event="connected", ray=ray.__version__)
    for task in (lambda: nodes.watch_for_ever(changed), schedule.dispatch_for_ever):
        threading.Thread(target=_or_die, args=(control, task), daemon=True).start()
    while (message := control.receive()) is not None:
        if message["op"] == "run":
            schedule.add(Run(message["number"], message["request"], message["seconds"]))
        elif message["op"] == "cancel":
            schedule.cancel(message["number"])
    # Whatever Ray is waiting for, this process is gone soon.
    threading.Timer(_GRACE_SECONDS, leave, [1]).start()
    nodes.close()
    ray.shutdown()


def _or_die(control: Control, task: Any) -> None:
    try:
        task()
    except BaseException as error:  # noqa: BLE001 - without this thread runs would wait for ever
        control.tell(event="failed", reason=f"{type(error).__name__}: {' '.join(str(error).split())}")
        leave(1)


def main() -> None:
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    Kernel().die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.dont_write_bytecode = True
    control = Control(descriptor)
    settings = control.receive()
    if settings is None:
        return
    try:
        connect(settings["address"])
    except RefusedError as error:
        control.tell(event="failed", reason=str(error))
        leave(1)
    serve(control, settings)
    leave(0)


if __name__ == "__main__":
    main()
