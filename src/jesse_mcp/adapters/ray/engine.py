"""The engine that runs backtests on the nodes of an existing Ray cluster."""

import asyncio
import os
from pathlib import Path
from typing import Any

from jesse_mcp.adapters.embedded.access import StrategyAccess
from jesse_mcp.adapters.embedded.engine import code_hash, run_message
from jesse_mcp.adapters.embedded.environment import EngineEnvironment, EngineLocator
from jesse_mcp.adapters.embedded.outcomes import crash, failure, timeout, to_outcome, to_trades
from jesse_mcp.adapters.embedded.pool import closed_engine
from jesse_mcp.adapters.embedded.worker_process import Exit
from jesse_mcp.adapters.ray.driver_process import (
    UNFINISHED,
    ClusterSettings,
    Conversation,
    DriverProcess,
    unusable,
)
from jesse_mcp.domain.backtests import EngineOutcome, EngineRun, Trade
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.ports.engine import ProgressCallback

#: Seconds after the last run until the CPUs of the cluster are given back.
IDLE_SECONDS = 300.0
#: Seconds of silence after which a node, or the whole cluster, is taken for lost.
PATIENCE_SECONDS = 30.0


class RayEngine:
    """Implements :class:`jesse_mcp.ports.engine.BacktestEngine`.

    Args:
        cache: where the managed environment is.
        jesse_python: a Python with Jesse and Ray, or ``None`` for the managed environment.
        cluster: where the cluster is, and how much of it to use.
        run_timeout: seconds one run may take, not counting the wait for a free node.
        run_memory_mb: MiB one run may add to the engine's own footprint.
        access: what strategies may reach on a node.
        idle_seconds: the cluster is let go of after so long without a run.
    """

    def __init__(
        self,
        cache: Path,
        jesse_python: Path | None,
        cluster: ClusterSettings,
        run_timeout: float,
        run_memory_mb: int,
        access: StrategyAccess | None = None,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._locator = EngineLocator(cache, jesse_python)
        self._cluster = cluster
        self._run_timeout = run_timeout
        self._run_memory_mb = run_memory_mb
        self._access = access or StrategyAccess()
        self._idle_seconds = idle_seconds
        self._code = code_hash()
        self._driver: DriverProcess | None = None
        self._launch: asyncio.Task[DriverProcess] | None = None
        self._users = 0
        self._idle: asyncio.TimerHandle | None = None
        self._endings: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def capacity(self) -> int:
        """The CPUs of the usable nodes, up to the limit; before the first contact the limit itself."""
        slots = 0 if self._driver is None else self._driver.slots
        return slots or self._cluster.max_runs

    def identity(self) -> str:
        """The embedded engine's: nodes with other versions are refused, so that the numbers are the same."""
        return f"{self._environment().identity} / run code {self._code[:12]}"

    async def warm(self) -> None:
        """Connect, and load Jesse on the nodes.

        Raises:
            ResearchError: ``engine_not_installed``, ``engine_failed``, ``ray_unreachable``, ``ray_unusable``.
        """
        driver = await self._live_driver()
        await driver.usable()
        self._rest()

    async def run(self, run: EngineRun, progress: ProgressCallback) -> EngineOutcome:
        """See the port. Also raises ``ray_unreachable`` and ``ray_unusable``.

        A run whose node is lost begins again on another, at most three times altogether.
        """
        self._users += 1
        try:
            driver = await self._live_driver()
            # The node fills in where its project folder is.
            request = await asyncio.to_thread(run_message, run, Path(), self._run_memory_mb, self._access)
            conversation = driver.begin(request, self._run_timeout)
            try:
                return await self._converse(driver, conversation, progress)
            finally:
                # Shielded: a second cancellation must not leave the run on its node.
                await asyncio.shield(self._kept(driver.end(conversation)))
        finally:
            self._users -= 1
            self._rest()

    async def _converse(
        self, driver: DriverProcess, conversation: Conversation, progress: ProgressCallback
    ) -> EngineOutcome:
        account = _Account(progress)
        while (message := await conversation.receive()) is not None:
            if message["event"] in UNFINISHED:
                raise _unfinished(message, driver)
            if message["event"] == "ended":
                break
            account.enter(message)
        if message is None:
            raise closed_engine() if self._closed else driver.failure or closed_engine()
        answer = account.answer
        if answer is None:
            raise self._no_answer(message)
        if answer["event"] == "failed":
            raise failure(answer, message["log"], self._run_memory_mb)
        return await asyncio.to_thread(to_outcome, answer, account.trades, message["log"])

    def _no_answer(self, ended: dict[str, Any]) -> ResearchError:
        log = str(ended["log"])
        if ended["timed_out"]:
            return timeout(self._run_timeout, ended["fraction"], ended["still"], log)
        end = None if ended["exit"] is None else Exit(*ended["exit"])
        return crash(end, log, self._run_memory_mb)

    async def status(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"kind": "ray", "address": self._cluster.address}
        try:
            environment = await asyncio.to_thread(self._environment)
        except ResearchError as error:
            if error.code not in (ErrorCode.ENGINE_NOT_INSTALLED, ErrorCode.ENGINE_FAILED):
                raise
            return facts | {"installed": False, "problem": error.message, "hint": error.hint}
        driver = self._driver if self._driver is not None and self._driver.alive else None
        cluster = {} if driver is None else driver.facts
        return facts | {
            "installed": True,
            "origin": environment.origin,
            "jesse_version": environment.jesse_version,
            "python_version": environment.python_version,
            "ray_version": None if driver is None else driver.ray_version,
            "identity": environment.identity,
            "state": "cold" if driver is None else "warm",
            "workers": {"capacity": self.capacity, "busy": cluster.get("busy", 0)},
            "nodes": cluster.get("nodes", []),
            "problem": cluster.get("problem"),
            "candles_on_the_cluster": cluster.get("candles"),
            "limits": {
                "runs": self._cluster.max_runs,
                "run_timeout_seconds": self._run_timeout,
                "run_memory_mb": self._run_memory_mb,
            },
        }

    async def close(self) -> None:
        self._closed = True
        if self._idle is not None:
            self._idle.cancel()
        if self._launch is not None:
            self._launch.cancel()
            await asyncio.wait([self._launch])
        if self._driver is not None:
            await self._driver.close()
        await asyncio.gather(*self._endings, return_exceptions=True)

    def _environment(self) -> EngineEnvironment:
        return self._locator()

    async def _live_driver(self) -> DriverProcess:
        """The driver, started once for all who wait for it."""
        if self._closed:
            raise closed_engine()
        if self._idle is not None:
            self._idle.cancel()
        if self._driver is not None and self._driver.alive:
            return self._driver
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
            raise closed_engine() from None

    async def _start(self) -> DriverProcess:
        if self._driver is not None:
            await self._driver.close()
        environment = await asyncio.to_thread(self._environment)
        self._driver = await DriverProcess.start(environment.python, _driver_variables(), self._cluster)
        return self._driver

    def _rest(self) -> None:
        """With nothing to do for a while, others may have the CPUs."""
        if self._idle is not None:
            self._idle.cancel()
        if self._users == 0 and not self._closed:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(self._idle_seconds, self._let_go)

    def _let_go(self) -> None:
        driver, self._driver = self._driver, None
        if driver is not None:
            self._kept(driver.close())

    def _kept(self, ending: Any) -> "asyncio.Task[None]":
        # The loop itself forgets tasks that nobody holds.
        task: asyncio.Task[None] = asyncio.create_task(ending)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        return task


class _Account:
    """What a run has said of itself."""

    def __init__(self, progress: ProgressCallback) -> None:
        self._progress = progress
        self._fraction = 0.0
        self.trades: list[Trade] = []
        self.answer: dict[str, Any] | None = None

    def enter(self, message: dict[str, Any]) -> None:
        try:
            match message["event"]:
                case "placed":
                    # Perhaps for the second time, its node being lost; how far it was shown to be stays.
                    self.trades, self.answer = [], None
                    self._progress(self._fraction, "loading")
                case "progress":
                    self._fraction = min(1.0, max(self._fraction, float(message["fraction"])))
                    self._progress(self._fraction, "simulating")
                case "trades":
                    self.trades += to_trades(message["items"])
                case "result" | "failed":
                    self.answer = message
        except (KeyError, TypeError, ValueError):
            # A worker that answers nonsense is treated like one that died.
            self.answer = None


def _unfinished(message: dict[str, Any], driver: DriverProcess) -> ResearchError:
    """The error for a run that no node has brought to an end."""
    if message["event"] == "lost":
        return ResearchError(
            ErrorCode.WORKER_CRASHED,
            f"the run was begun {message['attempts']} times and never came to an end; "
            f"the last time: {message['reason']}",
            hint="if other runs finish, look for what this strategy does to its machine; "
            "else look at the cluster with `ray status`",
        )
    if message["event"] == "broken":
        return ResearchError(
            ErrorCode.ENGINE_FAILED,
            f"the run could not be handed to the cluster: {message['reason']}",
            hint="call again; if this repeats, look at the cluster's object store with `ray status`",
        )
    return unusable(str(message.get("reason", "the run was cancelled")), driver.facts)


def _noticed(task: "asyncio.Task[Any]") -> None:
    """Whoever wanted the result may be gone; an unread exception would be reported as forgotten."""
    if not task.cancelled():
        task.exception()


_PASSED_ON = (
    *("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    # What a cluster with authentication or encryption asks of all who connect.
    *("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR"),
    *("RAY_USE_TLS", "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"),
)


def _driver_variables() -> dict[str, str]:
    """An allow-list. The driver runs no strategy, and its variables do not reach the nodes."""
    inherited = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # Else Ray would start its workers through a `uv run` that this server may happen to be started by.
    return {**inherited, "PYTHONUTF8": "1", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
