"""The candles that runs on a Ray cluster read, each series once in the cluster's object store."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray

_COLUMNS = 6


@dataclass
class _Shelved:
    reference: Any
    size: int
    users: set[int] = field(default_factory=set)


class CandleShelf:
    """References to series in the object store, held while runs read them and a while longer.

    Args:
        kept_bytes: of series no run reads at the moment; the oldest are let go of first.
    """

    def __init__(self, kept_bytes: int) -> None:
        self._kept_bytes = kept_bytes
        self._shelf: OrderedDict[str, _Shelved] = OrderedDict()
        self._lock = threading.Lock()
        self._puts = 0

    def references(self, run: int, slices: list[dict[str, Any]]) -> dict[str, list[Any]]:
        """For every series a run reads its name, put into the slices as their path, and its reference.

        Raises:
            OSError: the file is gone.
            ray.exceptions.RayError: the object store is full.
        """
        found: dict[str, list[Any]] = {}
        with self._lock:
            for part in slices:
                name = _name(Path(part["path"]))
                shelved = self._shelf.get(name) or self._put(name, part)
                shelved.users.add(run)
                self._shelf.move_to_end(name)
                found[name] = [shelved.reference]
                part["path"] = name
        return found

    def release(self, run: int) -> None:
        with self._lock:
            for shelved in self._shelf.values():
                shelved.users.discard(run)
            idle = [name for name, shelved in self._shelf.items() if not shelved.users]
            surplus = sum(self._shelf[name].size for name in idle) - self._kept_bytes
            for name in idle:
                if surplus <= 0:
                    return
                surplus -= self._shelf.pop(name).size

    def facts(self) -> dict[str, int]:
        """Series and bytes in the store, and how many were ever put there."""
        with self._lock:
            held = sum(shelved.size for shelved in self._shelf.values())
            return {"series": len(self._shelf), "bytes": held, "puts": self._puts}

    def _put(self, name: str, part: dict[str, Any]) -> _Shelved:
        rows = np.fromfile(part["path"], dtype="<f8", count=int(part["total_rows"]) * _COLUMNS)
        shelved = self._shelf[name] = _Shelved(ray.put(rows), rows.nbytes)
        self._puts += 1
        return shelved


def _name(path: Path) -> str:
    """Of the content: a mapped file is named after it, and replaced rather than changed."""
    state = path.stat()
    return f"{path.stem}-{state.st_ino}-{state.st_size}"
