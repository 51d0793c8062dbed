"""How many runs execute at once, and a worker kept ready for the next."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jesse_mcp.adapters.embedded.environment import EngineEnvironment
from jesse_mcp.adapters.embedded.outcomes import no_space
from jesse_mcp.adapters.embedded.scratch import ScratchFolder
from jesse_mcp.adapters.embedded.template_process import TemplateProcess
from jesse_mcp.adapters.embedded.worker_process import Exit, Worker
from jesse_mcp.domain.errors import ErrorCode, ResearchError


class WorkerPool:
    """At most ``capacity`` workers at work, and one in waiting while there is no work.

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
        self._taken = 0
        self._template: TemplateProcess | None = None
        self._scratch: ScratchFolder | None = None
        self._launch: asyncio.Task[TemplateProcess] | None = None
        self._standby: _Standby | None = None
        self._endings: set[asyncio.Task[Exit | None]] = set()
        self._closed = False

    @property
    def busy(self) -> int:
        """Runs at work; one that has answered is not."""
        return self._busy

    @property
    def closed(self) -> bool:
        return self._closed

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
        """A fresh worker for one run; whatever happens inside, it and its children are dead after.

        One that has answered is left to end behind the caller's back. It keeps its slot until it has.

        Raises:
            ResearchError: ``engine_not_installed``, ``engine_failed``.
        """
        await self._slots.acquire()
        self._taken += 1
        self._busy += 1
        ending: asyncio.Task[Exit | None] | None = None
        try:
            template, worker = await self._fresh_worker()
            try:
                yield template, worker
            finally:
                ending = self._ended(template, worker)
                if not worker.answered:
                    # Shielded: a second cancellation must not leave the worker running.
                    await asyncio.shield(ending)
        finally:
            self._busy -= 1
            if ending is None or ending.done():
                self._vacate()
            else:
                ending.add_done_callback(self._vacate)

    def _vacate(self, _ending: "asyncio.Task[Exit | None] | None" = None) -> None:
        """The process of a run is gone, and its slot free."""
        self._taken -= 1
        self._slots.release()
        if self._taken == 0 and self.template is not None:
            # Not earlier: making one ready beside a run costs the run more than it saves the next.
            self._keep_standby(self.template)

    @asynccontextmanager
    async def uncounted_worker(self) -> AsyncIterator[tuple[TemplateProcess, Worker]]:
        """As :meth:`worker`, but without a slot: for work that waits for something else than this machine.

        Raises:
            ResearchError: ``engine_not_installed``, ``engine_failed``.
        """
        template, worker = await self._fresh_worker()
        try:
            yield template, worker
        finally:
            # Shielded: a second cancellation must not leave the worker running.
            await asyncio.shield(self._ended(template, worker))

    async def close(self) -> None:
        """End every process; idempotent. Runs in progress fail."""
        self._closed = True
        if self._launch is not None:
            self._launch.cancel()
            await asyncio.wait([self._launch])
        if self._template is not None:
            await self._discard(self._template)
        await asyncio.gather(*self._endings, return_exceptions=True)

    async def _fresh_worker(self) -> tuple[TemplateProcess, Worker]:
        template = await self._live_template()
        try:
            return template, await self._take(template)
        except ResearchError:
            if template.alive:
                raise
        # It died unnoticed since its last use, which is not this run's fault.
        template = await self._live_template()
        return template, await self._take(template)

    def _ended(self, template: TemplateProcess, worker: Worker) -> "asyncio.Task[Exit | None]":
        # Kept, as the loop itself forgets tasks that nobody holds.
        task = asyncio.create_task(template.settle(worker) if worker.answered else template.end(worker))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        return task

    async def _live_template(self) -> TemplateProcess:
        """The template, started once for all who wait for it."""
        if self._closed:
            raise closed_engine()
        if self.template is not None:
            return self.template
        if self._launch is None or self._launch.done():
            self._launch = asyncio.create_task(self._start())
            self._launch.add_done_callback(_noticed)
        try:
            # Shielded: a cancelled run does not stop the start that others may wait for.
            return await asyncio.shield(self._launch)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            # Not this run was cancelled but the start, and only closing does that.
            raise closed_engine() from None

    async def _start(self) -> TemplateProcess:
        if self._template is not None:
            await self._discard(self._template)
        environment = await asyncio.to_thread(self._locate)
        scratch = await self._new_scratch()
        try:
            self._template = await TemplateProcess.start(
                environment.python, scratch.path, _environment(self._cache, scratch.path)
            )
        except BaseException:
            await asyncio.to_thread(scratch.remove)
            raise
        self._scratch = scratch
        return self._template

    async def _new_scratch(self) -> ScratchFolder:
        try:
            return await self._made_scratch()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise no_space(f"the engine has no place for its files: {reason}") from error

    async def _made_scratch(self) -> ScratchFolder:
        making = asyncio.create_task(asyncio.to_thread(ScratchFolder.create, self._cache))
        try:
            # Shielded: a thread goes on when it is no longer waited for.
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(_remove)
            raise

    async def _discard(self, template: TemplateProcess) -> None:
        self._template = None
        standby, self._standby = self._standby, None
        if standby is not None:
            standby.coming.cancel()
            await asyncio.wait([standby.coming])
            standby.release()
        await template.close()
        if self._scratch is not None:
            await asyncio.to_thread(self._scratch.remove)

    async def _take(self, template: TemplateProcess) -> Worker:
        standby, self._standby = self._standby, None
        if standby is not None and standby.template is template:
            try:
                # Shielded: a run that is cancelled meanwhile leaves it to the next.
                worker = await asyncio.shield(standby.coming)
            except asyncio.CancelledError:
                if self._standby is None and not self._closed:
                    self._standby = standby
                else:
                    standby.release()
                raise
            except ResearchError:
                pass
            else:
                if not worker.exited.done():
                    return worker
        if standby is not None:
            standby.release()
        return await template.spawn(prime=False)

    def _keep_standby(self, template: TemplateProcess) -> None:
        if self._standby is None and not self._closed:
            coming = asyncio.create_task(template.spawn(prime=True))
            coming.add_done_callback(_noticed)
            self._standby = _Standby(template, coming)


@dataclass(frozen=True)
class _Standby:
    """A worker in waiting; workers of different templates must not be confused, they share numbers."""

    template: TemplateProcess
    coming: "asyncio.Task[Worker]"

    def release(self) -> None:
        """Let go of the worker, now or as soon as it has come."""
        self.coming.add_done_callback(_release)


def closed_engine() -> ResearchError:
    """The error for whatever is asked of an engine after, or while, it is closed."""
    return ResearchError(
        ErrorCode.ENGINE_FAILED, "the engine has been closed", hint="the server is going down"
    )


def _release(standby: "asyncio.Task[Worker]") -> None:
    if not standby.cancelled() and standby.exception() is None:
        standby.result().release()


def _remove(making: "asyncio.Task[ScratchFolder]") -> None:
    if not making.cancelled() and making.exception() is None:
        making.result().remove()


def _noticed(task: "asyncio.Task[Any]") -> None:
    """Whoever wanted the result may be gone; an unread exception would be reported as forgotten."""
    if not task.cancelled():
        task.exception()


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
