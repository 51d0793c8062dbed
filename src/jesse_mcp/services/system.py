"""What this installation is and how it is doing."""

import asyncio
import platform
import shutil
from pathlib import Path
from typing import Any

from pydantic import Field

from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.model import Value
from jesse_mcp.ports.candle_store import CandleStore
from jesse_mcp.ports.engine import BacktestEngine
from jesse_mcp.ports.records import JobStore, RunStore, TrialLedger
from jesse_mcp.ports.strategy_store import StrategyStore


class SystemStatus(Value):
    version: str
    python: str
    engine: dict[str, Any] = Field(description="installed or not, versions, warm or cold, workers, limits")
    store: dict[str, Any] = Field(description="folder, free disk, counts of what is stored")
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
    ) -> None:
        self._version = version
        self._home = home
        self._engine = engine
        self._candles = candles
        self._strategies = strategies
        self._runs = runs
        self._jobs = jobs
        self._ledger = ledger

    async def status(self) -> SystemStatus:
        """Facts only; nothing is started."""
        engine, stored = await asyncio.gather(self._engine.status(), asyncio.to_thread(self._stored))
        store, jobs, trials = stored
        return SystemStatus(
            version=self._version,
            python=platform.python_version(),
            engine=engine,
            store=store,
            jobs=jobs,
            trials=trials,
        )

    def _stored(self) -> tuple[dict[str, Any], dict[str, int], int]:
        origins = list(self._strategies.names().values())
        store = {
            "home": str(self._home),
            "free_disk_mb": shutil.disk_usage(self._home).free // 2**20,
            "candle_series": len(self._candles.summaries()),
            "strategies": {origin: origins.count(origin) for origin in sorted(set(origins))},
            "runs": self._runs.page(limit=1)[1],
        }
        jobs = {state.value: self._jobs.page(state=state, limit=1)[1] for state in JobState}
        return store, jobs, self._ledger.count()
