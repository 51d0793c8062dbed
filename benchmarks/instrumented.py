"""The server inside this process, with stopwatches around its ports. The product knows nothing of them."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

from benchmarks.desk import Desk
from fastmcp import Client

from jesse_mcp.composition import Application
from jesse_mcp.domain.backtests import EngineOutcome, EngineRun
from jesse_mcp.ports.engine import ProgressCallback
from jesse_mcp.server.assembly import build_server

#: In the order they happen; together they are the whole call.
PARTS = (
    "planning, candles aside",
    "candle slice and hash",
    "taking a worker",
    "loading in the worker",
    "simulating",
    "collecting in the worker",
    "handing over, request and result",
    "storing run and trial",
    "job records and threads",
    "MCP in memory",
)


class Instrumented:
    """A connected client, and how long each part of a call took."""

    def __init__(self, application: Application) -> None:
        self.client: Client[Any]
        self._seconds: dict[str, float] = {}
        self._timings: dict[str, float] = {}
        service = application.backtests
        self._watch(service._planner, "plan")
        self._watch(service._planner._slicer, "cut")
        self._watch(service._experiments, "_store")
        self._watch_async(service, "backtest")
        self._watch_engine(application)

    async def backtest(self, **arguments: Any) -> dict[str, float]:
        """Seconds by part of one call of the tool."""
        self._seconds.clear()
        started = time.perf_counter()
        await self.client.call_tool("backtest", arguments)
        return self._parts(time.perf_counter() - started)

    def _parts(self, whole: float) -> dict[str, float]:
        spent, told = self._seconds, self._timings
        named = ("plan", "run", "_store")
        values = (
            spent["plan"] - spent["cut"],
            spent["cut"],
            spent["taken"],
            told["load"],
            told["simulate"],
            told["collect"],
            spent["run"] - spent["taken"] - sum(told[name] for name in ("load", "simulate", "collect")),
            spent["_store"],
            spent["backtest"] - sum(spent[name] for name in named),
            whole - spent["backtest"],
        )
        return dict(zip(PARTS, values, strict=True))

    def _watch(self, owner: Any, name: str) -> None:
        function: Callable[..., Any] = getattr(owner, name)

        @wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._seconds[name] = time.perf_counter() - started

        setattr(owner, name, watched)

    def _watch_async(self, owner: Any, name: str) -> None:
        function: Callable[..., Any] = getattr(owner, name)

        @wraps(function)
        async def watched(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return await function(*args, **kwargs)
            finally:
                self._seconds[name] = time.perf_counter() - started

        setattr(owner, name, watched)

    def _watch_engine(self, application: Application) -> None:
        engine, name = application.engine, "run"
        function = engine.run

        async def watched(run: EngineRun, progress: ProgressCallback) -> EngineOutcome:
            started = time.perf_counter()

            def first(fraction: float, message: str) -> None:
                # The engine's first word is that it has a worker.
                self._seconds.setdefault("taken", time.perf_counter() - started)
                progress(fraction, message)

            outcome = await function(run, first)
            self._seconds["run"] = time.perf_counter() - started
            self._timings = outcome.timings
            return outcome

        setattr(engine, name, watched)


@asynccontextmanager
async def instrumented(desk: Desk) -> AsyncIterator[Instrumented]:
    """A server over a home of its own, connected through memory."""
    application = Application(desk.settings.model_copy(update={"home": desk.home("instrumented")}))
    inside = Instrumented(application)
    async with Client(build_server(application)) as client:
        inside.client = client
        yield inside
