"""What this installation is and how it is doing."""

import asyncio
import platform
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field

from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.ports.candle_store import CandleStore
from jesse_mcp.ports.engine import BacktestEngine
from jesse_mcp.ports.records import JobStore, RunStore, TrialLedger
from jesse_mcp.ports.strategy_store import StrategyStore

#: Seconds to wait for what is not on this machine.
_PATIENCE = 6.0


class SystemStatus(Value):
    version: str
    python: str
    engine: dict[str, Any] = Field(description="installed or not, versions, warm or cold, workers, limits")
    store: dict[str, Any] = Field(
        description="folder, database, free disk, counts of what is stored; unknown says why a count is null"
    )
    jobs: dict[str, int] = Field(description="jobs by state")
    trials: int = Field(description="distinct experiments ever run here")


class SystemService:
    def __init__(
        self,
        version: str,
        home: Path,
        engine: BacktestEngine,
        candles: CandleStore,
        strategies: StrategyStore,
        runs: RunStore,
        jobs: JobStore,
        ledger: TrialLedger,
        database: str,
    ) -> None:
        self._version = version
        self._home = home
        self._engine = engine
        self._candles = candles
        self._strategies = strategies
        self._runs = runs
        self._jobs = jobs
        self._ledger = ledger
        self._database = database

    async def status(self) -> SystemStatus:
        """Facts only; nothing is started. What another machine keeps is counted if it answers in time."""
        engine, here, remote = await asyncio.gather(
            self._engine.status(), asyncio.to_thread(self._records), self._kept()
        )
        store, jobs, trials = here
        return SystemStatus(
            version=self._version,
            python=platform.python_version(),
            engine=engine,
            store={**store, **remote},
            jobs=jobs,
            trials=trials,
        )

    def _records(self) -> tuple[dict[str, Any], dict[str, int], int]:
        store = {
            "home": str(self._home),
            "database": self._database,
            "free_disk_mb": shutil.disk_usage(self._home).free // 2**20,
            "runs": self._runs.count(),
        }
        jobs = {state.value: count for state, count in self._jobs.counts().items()}
        return store, jobs, self._ledger.count()

    async def _kept(self) -> dict[str, Any]:
        """How many series and strategies there are; ``None`` with the reason when that cannot be known."""
        counts: dict[str, Any] = {}
        unknown: dict[str, str] = {}
        looks = {"candle_series": self._series, "strategies": self._origins}
        found = await asyncio.gather(*map(_in_time, looks.values()), return_exceptions=True)
        for name, count in zip(looks, found, strict=True):
            counts[name] = None if isinstance(count, BaseException) else count
            if isinstance(count, TimeoutError):
                unknown[name] = f"no answer within {_PATIENCE:g} s"
            elif isinstance(count, ResearchError) and count.code.startswith("jesse_"):
                unknown[name] = count.message
            elif isinstance(count, BaseException):
                raise count
        return {**counts, "unknown": unknown} if unknown else counts

    def _series(self) -> int:
        return len(self._candles.summaries())

    def _origins(self) -> dict[str, int]:
        return dict(sorted(Counter(self._strategies.names().values()).items()))


async def _in_time(look: Callable[[], Any]) -> Any:
    async with asyncio.timeout(_PATIENCE):
        return await asyncio.to_thread(look)
