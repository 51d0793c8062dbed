"""The embedded engine: runs backtests in worker processes on this machine."""

import asyncio
import hashlib
import time
from pathlib import Path
from typing import Any

from jesse_mcp.adapters.embedded.access import StrategyAccess
from jesse_mcp.adapters.embedded.environment import EngineEnvironment, EngineLocator
from jesse_mcp.adapters.embedded.outcomes import crash, failure, timeout, to_outcome, to_trades
from jesse_mcp.adapters.embedded.pool import WorkerPool, closed_engine
from jesse_mcp.adapters.embedded.template_process import ENGINE_SIDE, TemplateProcess
from jesse_mcp.adapters.embedded.worker_process import Worker
from jesse_mcp.domain.backtests import BacktestRequest, EngineOutcome, EngineRun, Trade
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper import PaperRequest
from jesse_mcp.ports.engine import ProgressCallback


class _NeverStartedError(ResearchError):
    """The worker ended before it had read the run."""

    def __init__(self, error: ResearchError) -> None:
        super().__init__(error.code, error.message, error.hint, error.details)


class EmbeddedEngine:
    """Implements :class:`jesse_mcp.ports.engine.BacktestEngine`.

    Args:
        cache: where the managed environment and scratch space live.
        jesse_python: a Python with Jesse, or ``None`` for the managed environment.
        capacity: runs at the same time.
        run_timeout: seconds one run may take.
        run_memory_mb: MiB one run may add to the engine's own footprint.
        access: what strategies may reach.
    """

    def __init__(
        self,
        cache: Path,
        jesse_python: Path | None,
        capacity: int,
        run_timeout: float,
        run_memory_mb: int,
        access: StrategyAccess | None = None,
    ) -> None:
        self._locator = EngineLocator(cache, jesse_python)
        self._run_timeout = run_timeout
        self._run_memory_mb = run_memory_mb
        self._access = access or StrategyAccess()
        self._code = code_hash()
        self.pool = WorkerPool(self.environment, cache, capacity)

    @property
    def capacity(self) -> int:
        return self.pool.capacity

    def environment(self) -> EngineEnvironment:
        """Raises: ResearchError: ``engine_not_installed``, ``engine_failed``."""
        return self._locator()

    def identity(self) -> str:
        return f"{self.environment().identity} / run code {self._code[:12]}"

    async def warm(self) -> None:
        """Load Jesse ahead of the first run.

        Raises:
            ResearchError: ``engine_not_installed``, ``engine_failed``.
        """
        await self.pool.warm()

    async def run(self, run: EngineRun, progress: ProgressCallback) -> EngineOutcome:
        """See the port. Only an answer is given before every process of the run is gone: these are ended
        behind it, in the slot of the run, and :meth:`close` waits for them."""
        try:
            return await self._run_once(run, progress)
        except _NeverStartedError:
            # The worker in waiting had died, through something this run has no part in.
            return await self._run_once(run, progress)

    async def _run_once(self, run: EngineRun, progress: ProgressCallback) -> EngineOutcome:
        async with self.pool.worker() as (template, worker):
            progress(0.0, "loading")
            message, trades = await self._converse(template, worker, run, progress)
            if message is None:
                raise await self._crash(template, worker)
            # It printed before it answered.
            log = worker.log.text_so_far()
            try:
                answer = await asyncio.to_thread(self._understood, message, trades, log)
            except (KeyError, TypeError, ValueError):
                # A strategy can write to the channel too, and what is no answer is a crash.
                raise await self._crash(template, worker) from None
            worker.answered = True
            if isinstance(answer, ResearchError):
                raise answer
            return answer

    def _understood(
        self, message: dict[str, Any], trades: list[Trade], log: str
    ) -> EngineOutcome | ResearchError:
        if message["event"] == "failed":
            return failure(message, log, self._run_memory_mb)
        return to_outcome(message, trades, log)

    async def _crash(self, template: TemplateProcess, worker: Worker) -> ResearchError:
        # Its end closes the log, so that nothing it printed is missed.
        ended = await template.settle(worker)
        if self.pool.closed:
            return closed_engine()
        error = crash(ended, worker.log.text(), self._run_memory_mb)
        return error if worker.started else _NeverStartedError(error)

    async def _converse(
        self, template: TemplateProcess, worker: Worker, run: EngineRun, progress: ProgressCallback
    ) -> tuple[dict[str, Any] | None, list[Trade]]:
        project = template.scratch / f"run-{worker.number}"
        request = await asyncio.to_thread(run_message, run, project, self._run_memory_mb, self._access)
        trades: list[Trade] = []
        fraction = 0.0
        moved = time.monotonic()
        try:
            async with asyncio.timeout(self._run_timeout):
                await worker.send(request)
                while (message := await worker.receive()) is not None:
                    match message.get("event"):
                        case "started":
                            worker.started = True
                        case "progress":
                            if float(message["fraction"]) > fraction:
                                fraction = min(1.0, float(message["fraction"]))
                                moved = time.monotonic()
                            progress(fraction, "simulating")
                        case "trades":
                            trades += to_trades(message["items"])
                        case "result" | "failed":
                            return message, trades
        except TimeoutError:
            still = time.monotonic() - moved
            raise timeout(self._run_timeout, fraction, still, worker.log.text()) from None
        except (ConnectionError, KeyError, TypeError, ValueError):
            # A worker that answers nonsense is treated like one that died.
            return None, trades
        return None, trades

    async def status(self) -> dict[str, Any]:
        try:
            environment = await asyncio.to_thread(self.environment)
        except ResearchError as error:
            if error.code not in (ErrorCode.ENGINE_NOT_INSTALLED, ErrorCode.ENGINE_FAILED):
                raise
            return {"kind": "embedded", "installed": False, "problem": error.message, "hint": error.hint}
        template = self.pool.template
        return {
            "kind": "embedded",
            "installed": True,
            "origin": environment.origin,
            "jesse_version": environment.jesse_version,
            "python_version": environment.python_version,
            "identity": environment.identity,
            "state": "cold" if template is None else "warm",
            "workers": {"capacity": self.pool.capacity, "busy": self.pool.busy},
            "limits": {"run_timeout_seconds": self._run_timeout, "run_memory_mb": self._run_memory_mb},
            "strategies_confined": {
                "asked_for": self._access.confined,
                **({} if template is None else template.confinement),
            },
        }

    async def close(self) -> None:
        await self.pool.close()


def code_hash() -> str:
    """Hex SHA-256 of the run code, which is part of what a number depends on."""
    digest = hashlib.sha256()
    for path in sorted(ENGINE_SIDE.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def run_message(run: EngineRun, project: Path, memory_mb: int, access: StrategyAccess) -> dict[str, Any]:
    """What a worker is told of its run; JSON.

    Args:
        project: the folder it writes the source to.
        memory_mb: MiB it may add.
        access: what its strategies may reach.
    """
    request = run.request
    return {
        "project": str(project),
        "memory_mb": memory_mb,
        "access": access.message(),
        "source": run.source,
        "end_ms": request.end_ms,
        **simulation(request),
        "candles": [part.model_dump() for part in run.candles],
        "fast_mode": request.fast_mode,
        "pipeline": None if request.pipeline is None else request.pipeline.model_dump(),
    }


def simulation(request: BacktestRequest | PaperRequest) -> dict[str, Any]:
    """What Jesse is to be set up for, the same for a run and a session; JSON."""
    return {
        "start_ms": request.start_ms,
        "config": _config(request),
        "routes": [
            {
                "exchange": request.exchange,
                "symbol": r.symbol,
                "timeframe": r.timeframe,
                "strategy": r.strategy,
            }
            for r in request.routes
        ],
        "data_routes": [
            {"exchange": d.exchange or request.exchange, "symbol": d.symbol, "timeframe": d.timeframe}
            for d in request.data_routes
        ],
        "hyperparameters": request.hyperparameters,
    }


def _config(request: BacktestRequest | PaperRequest) -> dict[str, Any]:
    config: dict[str, Any] = {
        "starting_balance": request.starting_balance,
        "fee": request.fee,
        "type": request.exchange_type,
        "exchange": request.exchange,
        "warm_up_candles": request.warm_up_candles,
    }
    if request.exchange_type == "futures":
        config["futures_leverage"] = request.leverage
        config["futures_leverage_mode"] = request.leverage_mode
    return config
