"""How many runs execute at once, and a worker kept ready for the next."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from jesse_mcp.adapters.embedded.environment import EngineEnvironment
from jesse_mcp.adapters.embedded.template_process import TemplateProcess, Worker


class WorkerPool:
    """At most ``capacity`` workers at work, one more in waiting while there is room.

    Args:
        locate: finds the engine's Python; called when a template is started, so that an engine installed
            while the server runs is found.
        cache: folder for scratch space and caches of the engine.
    """

    def __init__(self, locate: Callable[[], EngineEnvironment], cache: Path, capacity: int) -> None:
        self.capacity = capacity
        self._locate = locate
        self._cache = cache
        self._slots = asyncio.Semaphore(capacity)
        self._busy = 0
        self._template: TemplateProcess | None = None
        self._starting = asyncio.Lock()
        self._standby: asyncio.Task[Worker] | None = None
        self._closed = False

    @property
    def busy(self) -> int:
        return self._busy

    @property
    def template(self) -> TemplateProcess | None:
        """The live template, if there is one."""
        return self._template if self._template is not None and self._template.alive else None

    async def warm(self) -> None:
        """Have a template and a waiting worker.

        Raises:
            ResearchError: ``engine_not_installed``, ``engine_failed``.
        """
        self._keep_standby(await self._live_template())

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[tuple[TemplateProcess, Worker]]:
        """A fresh worker for one run; whatever happens inside, it and its children are dead after."""
        async with self._slots:
            self._busy += 1
            try:
                template = await self._live_template()
                worker = await self._take(template)
                try:
                    if self._busy < self.capacity:
                        self._keep_standby(template)
                    yield template, worker
                finally:
                    # Shielded: a second cancellation must not leave the worker running.
                    await asyncio.shield(asyncio.ensure_future(template.end(worker)))
            finally:
                self._busy -= 1
                if self._busy == 0 and self.template is not None and not self._closed:
                    self._keep_standby(self.template)

    async def close(self) -> None:
        """End every process; idempotent."""
        self._closed = True
        if self._standby is not None:
            self._standby.cancel()
            await asyncio.gather(self._standby, return_exceptions=True)
            self._standby = None
        if self._template is not None:
            scratch = self._template.scratch
            await self._template.close()
            self._template = None
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)

    async def _live_template(self) -> TemplateProcess:
        async with self._starting:
            if self.template is not None:
                return self.template
            if self._template is not None:
                await self._discard(self._template)
            environment = await asyncio.to_thread(self._locate)
            scratch = await asyncio.to_thread(_new_scratch, self._cache)
            try:
                self._template = await TemplateProcess.start(
                    environment.python, scratch, _environment(self._cache, scratch)
                )
            except BaseException:
                await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
                raise
            return self._template

    async def _discard(self, template: TemplateProcess) -> None:
        self._template = None
        self._standby = None
        await template.close()
        await asyncio.to_thread(shutil.rmtree, template.scratch, ignore_errors=True)

    async def _take(self, template: TemplateProcess) -> Worker:
        standby, self._standby = self._standby, None
        if standby is not None:
            (outcome,) = await asyncio.gather(standby, return_exceptions=True)
            if isinstance(outcome, Worker) and not outcome.exited.done():
                return outcome
        return await template.spawn(prime=False)

    def _keep_standby(self, template: TemplateProcess) -> None:
        if self._standby is None and not self._closed:
            self._standby = asyncio.create_task(template.spawn(prime=True))


def _new_scratch(cache: Path) -> Path:
    """A scratch folder of this process; those of dead processes are swept away first."""
    base = cache / "scratch"
    base.mkdir(parents=True, exist_ok=True)
    for leftover in base.iterdir():
        pid = leftover.name.partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(leftover, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=base))


_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "SYSTEMROOT", "DYLD_LIBRARY_PATH", "LD_LIBRARY_PATH")


def _environment(cache: Path, scratch: Path) -> dict[str, str]:
    """An allow-list: no secret of the server's environment exists in a worker."""
    inherited = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    plots = cache / "matplotlib"
    plots.mkdir(parents=True, exist_ok=True)
    threads = dict.fromkeys(
        # One thread each: the pool is the parallelism, and a single-threaded template can fork.
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"),
        "1",
    )
    return {
        **inherited,
        **threads,
        # Jesse orders candle series through a set of strings.
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        "TZ": "UTC",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "MPLCONFIGDIR": str(plots),
    }
