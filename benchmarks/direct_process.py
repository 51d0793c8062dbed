"""The process of ``direct.py``, from outside."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.desk import Desk
from benchmarks.market import direct_request

import jesse_mcp

_SCRIPT = Path(__file__).with_name("direct.py")
_STRATEGIES = Path(jesse_mcp.__file__).parent / "adapters" / "strategies" / "bundled"
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


@dataclass(frozen=True)
class DirectRun:
    """Seconds that one ``research.backtest`` took, and enough of its answer to compare."""

    wall: float
    cpu: float
    trades: int
    finishing_balance: float
    max_rss_kb: int


class DirectProcess:
    """Jesse in a process of its own, warm after the first run."""

    def __init__(self, process: asyncio.subprocess.Process, import_seconds: float) -> None:
        self._process = process
        self.import_seconds = import_seconds

    @property
    def pid(self) -> int:
        return self._process.pid

    async def run(self, *, fast_mode: bool, hyperparameters: dict[str, Any] | None = None) -> DirectRun:
        assert self._process.stdin is not None
        request = direct_request(fast_mode, hyperparameters)
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        return DirectRun(**await _answer(self._process))


@asynccontextmanager
async def direct(desk: Desk) -> AsyncIterator[DirectProcess]:
    """A direct process that has imported Jesse; ended with the block."""
    scratch = desk.folder / "direct"  # Jesse writes into the working directory
    scratch.mkdir(exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        *(str(desk.python), "-s", "-B", str(_SCRIPT), str(desk.mapped), str(_STRATEGIES)),
        cwd=scratch,
        env=engine_environment(scratch),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        greeting = await _answer(process)
        yield DirectProcess(process, greeting["import_seconds"])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def import_seconds(desk: Desk) -> float:
    """From starting the engine's Python to its end, when all it does is ``import jesse.research``."""
    scratch = desk.folder / "direct"
    scratch.mkdir(exist_ok=True)
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(str(desk.python), "-s", "-B", "-c", "import jesse.research"),
        cwd=scratch,
        env=engine_environment(scratch),
        stdout=asyncio.subprocess.DEVNULL,
    )
    status = await process.wait()
    if status != 0:
        raise RuntimeError(f"importing Jesse ended with status {status}")
    return time.perf_counter() - started


def engine_environment(scratch: Path) -> dict[str, str]:
    """As little as a worker of ours gets, so that neither has an advantage."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    threads = dict.fromkeys(_THREADS, "1")
    plots = scratch / "matplotlib"
    plots.mkdir(exist_ok=True)
    fixed = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "TZ": "UTC", "HOME": str(scratch)}
    return {**kept, **threads, **fixed, "MPLCONFIGDIR": str(plots)}


async def _answer(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError(f"the direct process ended with status {await process.wait()}")
    answer: dict[str, Any] = json.loads(line)
    return answer
