"""Can this installation take work now? Cheap enough to be asked every few seconds."""

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.ports.engine import BacktestEngine

logger = logging.getLogger("jesse_mcp.readiness")

#: Seconds; whoever does not answer by then is not ready.
_PATIENCE = 5.0
#: Seconds an answer is good for, so that asking costs nothing.
_FRESH = 2.0


class ReadinessService:
    """Args:
    engine: asked for its status; nothing is started.
    home: where free space is needed.
    cache: where the engine needs some too; it may not be there yet.
    check_store: blocks; raises ``ResearchError`` when the records cannot be written.
    min_free_mb: MiB of free disk below which no work should come.
    """

    def __init__(
        self,
        engine: BacktestEngine,
        home: Path,
        cache: Path,
        check_store: Callable[[], None],
        min_free_mb: int,
    ) -> None:
        self._engine = engine
        self._home = home
        self._cache = cache
        self._check_store = check_store
        self._min_free_mb = min_free_mb
        self._asking = asyncio.Lock()
        self._known: tuple[float, tuple[str, ...]] | None = None

    async def problems(self) -> tuple[str, ...]:
        """What stands in the way, each in a few words without paths; the log has the details."""
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if self._known is None or now - self._known[0] > _FRESH:
                found = await asyncio.gather(self._engine_problem(), self._store_problem())
                problems = (*found, self._disk_problem(), self._engine_disk_problem())
                self._known = (now, tuple(problem for problem in problems if problem))
            return self._known[1]

    async def _engine_problem(self) -> str | None:
        try:
            async with asyncio.timeout(_PATIENCE):
                status = await self._engine.status()
        except TimeoutError:
            return "engine: no answer"
        except ResearchError as error:
            return _logged("engine", error.message)
        problem = status.get("problem")
        return _logged("engine", str(problem)) if problem else None

    async def _store_problem(self) -> str | None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await asyncio.to_thread(self._check_store)
        except TimeoutError:
            return "store: no answer"
        except ResearchError as error:
            return _logged("store", error.message)
        return None

    def _disk_problem(self) -> str | None:
        return self._lack_of_space("disk", self._home)

    def _engine_disk_problem(self) -> str | None:
        cache = next(place for place in (self._cache, *self._cache.absolute().parents) if place.exists())
        if self._home.exists() and cache.stat().st_dev == self._home.stat().st_dev:
            return None
        return self._lack_of_space("disk of the engine", cache)

    def _lack_of_space(self, name: str, folder: Path) -> str | None:
        try:
            free = shutil.disk_usage(folder).free // 2**20
        except OSError as error:
            return _logged(name, str(error))
        return f"{name}: less than {self._min_free_mb} MiB free" if free < self._min_free_mb else None


def _logged(part: str, details: str) -> str:
    logger.warning("not ready, %s: %s", part, details)
    return f"{part}: not usable"
