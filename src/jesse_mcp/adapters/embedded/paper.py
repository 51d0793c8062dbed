"""Paper sessions in worker processes of the embedded engine, each dedicated to one."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from jesse_mcp.adapters.embedded.access import StrategyAccess
from jesse_mcp.adapters.embedded.engine import simulation
from jesse_mcp.adapters.embedded.outcomes import crash, failure, to_outcome, to_trades
from jesse_mcp.adapters.embedded.pool import WorkerPool, closed_engine
from jesse_mcp.adapters.embedded.template_process import TemplateProcess
from jesse_mcp.adapters.embedded.worker_process import Worker
from jesse_mcp.domain.backtests import EngineOutcome
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper import STEP_MINUTES, Minute, PaperRequest, PaperStep
from jesse_mcp.domain.timeframes import MINUTE_MS
from jesse_mcp.ports.paper import PaperSetup

_LOG_IN_ERROR = 4000


class EmbeddedPaperEngine:
    """Implements :class:`jesse_mcp.ports.paper.PaperEngine`.

    Args:
        pool: sessions wait for the market most of the time, so they do not count against its capacity.
        step_timeout: seconds a process may take for one answer.
        memory_mb: MiB a session may add to the engine's own footprint.
        access: what strategies may reach.
    """

    def __init__(
        self,
        pool: WorkerPool,
        step_timeout: float,
        memory_mb: int,
        access: StrategyAccess | None = None,
    ) -> None:
        self._pool = pool
        self._step_timeout = step_timeout
        self._memory_mb = memory_mb
        self._access = access or StrategyAccess()

    async def open(self, setup: PaperSetup) -> "EmbeddedPaperProcess":
        """See the port."""
        process = await self._started(setup)
        if process is None:
            # The worker in waiting had died, through something this session has no part in.
            process = await self._started(setup)
        if process is None:
            raise ResearchError(
                ErrorCode.ENGINE_FAILED,
                "the engine's processes end before they have read their session",
                hint="call again; if this repeats, run `jesse-mcp doctor`",
            )
        return process

    async def _started(self, setup: PaperSetup) -> "EmbeddedPaperProcess | None":
        """``None`` when the process ended before it had read anything."""
        stack = AsyncExitStack()
        try:
            template, worker = await stack.enter_async_context(self._pool.uncounted_worker())
            process = EmbeddedPaperProcess(
                setup.request, self._pool, template, worker, stack, self._step_timeout, self._memory_mb
            )
            try:
                await process.load(setup, self._access)
            except ResearchError:
                if worker.started or self._pool.closed:
                    raise
                await stack.aclose()
                return None
        except BaseException:
            await stack.aclose()
            raise
        return process


class EmbeddedPaperProcess:
    """Implements :class:`jesse_mcp.ports.paper.PaperProcess`.

    One question at a time. After an answer that never came, or was none, the process is of no more use.
    """

    def __init__(
        self,
        request: PaperRequest,
        pool: WorkerPool,
        template: TemplateProcess,
        worker: Worker,
        held: AsyncExitStack,
        step_timeout: float,
        memory_mb: int,
    ) -> None:
        self._request = request
        self._pool = pool
        self._template = template
        self._worker = worker
        self._held = held
        self._step_timeout = step_timeout
        self._memory_mb = memory_mb
        self._lock = asyncio.Lock()
        self._last: int | None = None
        self._over: ResearchError | None = None

    @property
    def pid(self) -> int:
        return self._worker.pid

    async def load(self, setup: PaperSetup, access: StrategyAccess) -> None:
        """Have the session set up; called once, before anything else."""
        project = self._template.scratch / f"run-{self._worker.number}"
        message = await asyncio.to_thread(_opening, setup, project, self._memory_mb, access)
        answer = await self._asked(message, "opened", "failed")
        if answer["event"] == "failed":
            raise self._ended(self._failure(answer, str(answer["log"])))

    async def step(self, minutes: Sequence[Minute]) -> PaperStep:
        """See the port."""
        async with self._lock:
            self._check(minutes)
            answer = await self._asked({"op": "step", "minutes": _plain(minutes)}, "step")
            try:
                step = await asyncio.to_thread(self._understood, answer, minutes)
            except (KeyError, TypeError, ValueError):
                # A strategy can write to the channel too, and what is no answer is a crash.
                raise await self._crashed() from None
            except asyncio.CancelledError:
                self._ended(_broken_off())
                raise
            if minutes:
                self._last = minutes[-1].timestamp
            if step.error is not None:
                self._ended(ResearchError.from_dict(step.error))
            return step

    async def set_leverage(self, leverage: int) -> bool:
        """See the port."""
        if self._request.exchange_type != "futures":
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"leverage is {leverage}, but {self._request.exchange} is traded as spot, which has none",
                hint="start a session on a futures exchange",
            )
        if leverage < 1:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT, f"leverage is {leverage}", hint="give a whole number from 1 on"
            )
        async with self._lock:
            answer = await self._asked({"op": "leverage", "leverage": leverage}, "changed", "refused")
            if answer["event"] == "refused":
                raise self._failure(answer, "")
            return bool(answer["in_force"])

    async def finish(self) -> EngineOutcome:
        """See the port."""
        async with self._lock:
            answer = await self._asked({"op": "finish"}, "result", "failed", portions="trades")
            try:
                if answer["event"] == "failed":
                    error = self._failure(answer, self._worker.log.text_so_far())
                    raise self._ended(error)
                outcome = await asyncio.to_thread(
                    lambda: to_outcome(answer, to_trades(answer["trades"]), self._worker.log.text_so_far())
                )
            except (KeyError, TypeError, ValueError):
                raise await self._crashed() from None
            self._worker.answered = True
            self._ended(_finished())
            return outcome

    async def close(self) -> None:
        """See the port."""
        if self._over is None:
            self._over = _finished()
        await self._held.aclose()

    def _check(self, minutes: Sequence[Minute]) -> None:
        """Raises: ResearchError: ``invalid_argument`` for what cannot be worked through."""
        if len(minutes) > STEP_MINUTES:
            raise _invalid(f"{len(minutes)} minutes in one step", f"give {STEP_MINUTES} at most")
        earliest = self._request.start_ms if self._last is None else self._last + MINUTE_MS
        places = range(len(self._request.series))
        for minute in minutes:
            if minute.timestamp < earliest or minute.timestamp % MINUTE_MS:
                raise _invalid(
                    f"minute {minute.timestamp}", f"give whole minutes in order, from {earliest} on"
                )
            if not minute.rows or any(place not in places for place in minute.rows):
                raise _invalid(
                    f"minute {minute.timestamp} with candles of series {sorted(minute.rows)}",
                    f"give each minute at least one candle, of series 0 to {places.stop - 1}",
                )
            earliest = minute.timestamp + MINUTE_MS

    async def _asked(
        self, message: dict[str, Any], *answers: str, portions: str | None = None
    ) -> dict[str, Any]:
        """The first message whose event is one of ``answers``, with the items of ``portions`` before it."""
        if self._over is not None:
            raise ResearchError.from_dict(self._over.to_dict())
        items: list[Any] = []
        try:
            async with asyncio.timeout(self._step_timeout):
                await self._worker.send(message)
                while (answer := await self._worker.receive()) is not None:
                    event = answer.get("event")
                    # "ready" is said by every worker, before it is asked anything.
                    self._worker.started = self._worker.started or event != "ready"
                    match event:
                        case "ready" | "started":
                            continue
                        case _ if event in answers:
                            return answer | {portions: items} if portions else answer
                        case _ if portions is not None and event == portions:
                            items += answer["items"]
                        case _:
                            break
        except TimeoutError:
            raise await self._stalled() from None
        except (ConnectionError, KeyError, TypeError):
            # It can neither be asked nor answer.
            raise await self._crashed() from None
        except asyncio.CancelledError:
            # Its answer would be taken for that to the next question.
            self._ended(_broken_off())
            raise
        raise await self._crashed()

    def _understood(self, answer: dict[str, Any], asked: Sequence[Minute]) -> PaperStep:
        error = None
        worked = len(asked)
        if answer["failure"] is not None:
            error = self._failure({"log": answer["log"], **answer["failure"]}, "").to_dict()
            worked = int(answer["minutes"])
        points = [*answer["equity"], *([answer["broken_off"]] if error is not None else [])]
        equity = [
            {"timestamp": int(time), "equity": value, "unrealized_pnl": open_profit}
            for time, value, open_profit in points
        ]
        # A strategy that forks answers twice, and the second answer is none to the next question.
        closes = [minute.closes_at for minute in asked[: len(points)]]
        if answer["minutes"] != worked or [point["timestamp"] for point in equity] != closes:
            raise ValueError(answer["minutes"])
        told = {"minutes", "trades", "orders", "daily", "positions", "open_orders", "log", "seconds"}
        told |= {"leverage", "leverage_changes"}
        return PaperStep.model_validate(
            {**{name: answer[name] for name in told}, "equity": equity, "error": error}
        )

    def _failure(self, message: dict[str, Any], printed: str) -> ResearchError:
        return failure(message, printed, self._memory_mb)

    def _ended(self, error: ResearchError) -> ResearchError:
        """Have every further question answered by ``error``."""
        self._over = self._over or error
        return error

    async def _stalled(self) -> ResearchError:
        error = ResearchError(
            ErrorCode.RUN_TIMEOUT,
            f"the session's process has not answered for {self._step_timeout:g} s",
            hint="look for an endless loop in the strategy; the limit is JESSE_MCP_RUN_TIMEOUT",
            details={"log_tail": self._worker.log.text_so_far()[-_LOG_IN_ERROR:]},
        )
        self._ended(error)
        await self._held.aclose()
        return error

    async def _crashed(self) -> ResearchError:
        # Its end closes the log, so that nothing it printed is missed.
        ended = await self._template.settle(self._worker)
        if self._over is not None:
            return ResearchError.from_dict(self._over.to_dict())
        if self._pool.closed:
            return self._ended(closed_engine())
        log = self._worker.log.text()
        return self._ended(crash(ended, log, self._memory_mb))


def _opening(setup: PaperSetup, project: Path, memory_mb: int, access: StrategyAccess) -> dict[str, Any]:
    """What a worker is told of its session; JSON. Blocks: warm-up candles go by files."""
    project.mkdir(mode=0o700)
    series = []
    for place, (key, rows) in enumerate(zip(setup.request.series, setup.warm_up, strict=True)):
        path = project / f"warm-up-{place}"
        rows.astype("<f8").tofile(path)
        series.append({"exchange": key.exchange, "symbol": key.symbol, "path": str(path)})
    return {
        "kind": "paper",
        "project": str(project),
        "memory_mb": memory_mb,
        "access": access.message(),
        "source": setup.source,
        "series": series,
        "minute_order": setup.request.minute_order,
        **simulation(setup.request),
    }


def _plain(minutes: Sequence[Minute]) -> list[list[Any]]:
    return [
        [minute.timestamp, *([place, *minute.rows[place]] for place in sorted(minute.rows))]
        for minute in minutes
    ]


def _invalid(what: str, instead: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, f"received {what}", hint=instead)


def _finished() -> ResearchError:
    return ResearchError(
        ErrorCode.WORKER_CRASHED, "the session's process has ended", hint="open the session again"
    )


def _broken_off() -> ResearchError:
    return ResearchError(
        ErrorCode.WORKER_CRASHED,
        "the session's process was asked something whose answer nobody waited for",
        hint="open the session again",
    )
