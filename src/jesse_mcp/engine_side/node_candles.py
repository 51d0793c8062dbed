"""Candles on a node of a cluster: fetched from the object store once, mapped by every run that reads them.

A run's process is no process of Ray's and cannot map the object store itself. So the rows are written to a
file without a name, which the kernel frees when the agent is gone, whatever its end; runs open it by the
agent's descriptor.
"""

import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class _Series:
    descriptor: int
    size: int
    users: set[int] = field(default_factory=set)


class NodeCandles:
    """The series of this node.

    Args:
        folder: where the nameless files are made.
        kept_bytes: of series no run reads at the moment.
    """

    def __init__(self, folder: Path, kept_bytes: int) -> None:
        self._folder = folder
        self._kept_bytes = kept_bytes
        self._series: OrderedDict[str, _Series] = OrderedDict()
        self._lock = threading.Lock()

    def path(self, key: str, run: int, fetch: Callable[[], Any]) -> str:
        """Where ``run`` finds a series, until :meth:`release`.

        Args:
            fetch: the rows, as a contiguous float64 array; called when this node has not got them.

        Raises:
            OSError: no space.
        """
        with self._lock:
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = _write(self._folder, fetch())
            self._series.move_to_end(key)
            series.users.add(run)
            return f"/proc/{os.getpid()}/fd/{series.descriptor}"

    def release(self, run: int) -> None:
        with self._lock:
            for series in self._series.values():
                series.users.discard(run)
            idle = [key for key, series in self._series.items() if not series.users]
            surplus = sum(self._series[key].size for key in idle) - self._kept_bytes
            for key in idle:
                if surplus <= 0:
                    return
                series = self._series.pop(key)
                os.close(series.descriptor)
                surplus -= series.size


def _write(folder: Path, rows: Any) -> _Series:
    with tempfile.NamedTemporaryFile(dir=folder, delete=True) as file:
        file.write(memoryview(rows).cast("B"))
        file.flush()
        os.fchmod(file.fileno(), 0o444)
        # Opened anew, so that no run is handed a descriptor that can write.
        return _Series(os.open(file.name, os.O_RDONLY), rows.nbytes)
