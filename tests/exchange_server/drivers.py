"""Jesse's own drivers, asking the imitated exchanges from a process of their own."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SCRIPT = Path(__file__).with_name("driver_script.py")


class DriverError(Exception):
    """What a driver raised; ``kind`` is the name of its type."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


class Drivers:
    """A process that has imported Jesse, for as many requests as there are."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.names: list[str] = self._read()

    def ask(self, exchange: str, do: str, symbol: str = "", start: float = 0, end: float = 0) -> Any:
        """Have the driver ``do`` one of ``symbols``, ``starting_time``, ``fetch``, ``page`` and ``walk``.

        Raises:
            DriverError: when the driver raises anything.
        """
        request = {"exchange": exchange, "do": do, "symbol": symbol, "start": int(start), "end": int(end)}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        if "error" in answer:
            raise DriverError(answer["error"], answer["message"])
        return answer["result"]

    def _read(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())


@contextmanager
def running_drivers(python: Path, environment: Mapping[str, str], directory: Path) -> Iterator[Drivers]:
    """Drivers under ``python``, with ``environment`` on top of this process's; they work in ``directory``."""
    with subprocess.Popen(
        [python, _SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=directory,
        env={**os.environ, **environment},
    ) as process:
        try:
            yield Drivers(process)
        finally:
            process.kill()
