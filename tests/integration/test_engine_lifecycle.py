"""Starting, cancelling, queueing, killing and closing the engine with its processes.

A running Jesse's processes are not ours to start, to limit or to kill: what can be asked of both engines is
in ``test_engine_contract.py``.
"""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from jesse_mcp.adapters.embedded.access import StrategyAccess
from jesse_mcp.adapters.embedded.engine import EmbeddedEngine
from jesse_mcp.adapters.embedded.scratch import ScratchFolder
from jesse_mcp.adapters.embedded.template_process import ENGINE_SIDE
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.backtests import BacktestRequest, CandleSlice, EngineOutcome, EngineRun, Route
from jesse_mcp.domain.errors import ErrorCode, ResearchError

EXCHANGE = "Binance Perpetual Futures"
START_MS = 1_704_067_200_000
DAYS = 30
#: What is asked of a cancellation.
CANCELLED_WITHIN_SECONDS = 1.0
#: Of what has a limit in seconds: a machine that stands still for a moment spoils one, a fault all of them.
ATTEMPTS = 3
#: Far from what it takes, and far from the minutes that the runs here would go on for.
CLOSED_WITHIN_SECONDS = 30.0
#: For what only takes long when the machine is busy, such as loading Jesse.
DEADLINE = 120.0

STRATEGY = """\
import json, os, sys, time
from pathlib import Path
from jesse.strategies import Strategy

FOLDER = Path({folder!r})


def announce(*others):
    partial = FOLDER / f"{{os.getpid()}}.partial"
    partial.write_text(json.dumps([os.getpid(), *others]))
    partial.rename(FOLDER / f"{{os.getpid()}}.pids")


def daemon():
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
        os.write(write, str(pid).encode())
        os._exit(0)
    os.wait()
    return int(os.read(read, 20))


def sleeper():
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
    return pid


def gate():
    while not (FOLDER / "open").exists():
        time.sleep(0.005)


class Probe(Strategy):
    def should_long(self):
        return self.index % 6 == 0

    def go_long(self):
        self.buy = 1, self.price

    def update_position(self):
        if self.index % 6 == 3:
            self.liquidate()

    def before(self):
        if self.index != {at}:
            return
{act}
"""

DAEMONS = "announce(sleeper(), daemon()); time.sleep(600)"

# A server of its own, with an engine and two runs on it.
HOST = """\
import asyncio, json, sys
from pathlib import Path
from jesse_mcp.adapters.embedded.access import StrategyAccess
from jesse_mcp.adapters.embedded.engine import EmbeddedEngine
from jesse_mcp.domain.backtests import EngineRun


async def main():
    cache, python, run = sys.argv[1:]
    engine = EmbeddedEngine(Path(cache), Path(python), 3, 600, 1024, StrategyAccess(confined=False))
    runs = [EngineRun.model_validate_json(Path(run).read_text()) for _ in range(2)]
    await asyncio.gather(*(engine.run(run, lambda *_: None) for run in runs))


asyncio.run(main())
"""


class Bench:
    """Engines with a common cache, and runs whose strategy reports what it has started."""

    def __init__(self, python: Path, folder: Path, candles: Path) -> None:
        self.python = python
        self.cache = folder / "cache"
        self.reports = folder / "reports"
        self.reports.mkdir()
        self._candles = candles
        self._engines: list[EmbeddedEngine] = []

    @property
    def first(self) -> EmbeddedEngine:
        return self._engines[0]

    def engine(self, **changes: Any) -> EmbeddedEngine:
        arguments: dict[str, Any] = {"jesse_python": self.python, "capacity": 2, "run_timeout": 60}
        # The strategies here write files to say where they are.
        arguments |= {"run_memory_mb": 512, "access": StrategyAccess(confined=False)}
        engine = EmbeddedEngine(self.cache, **(arguments | changes))
        self._engines.append(engine)
        return engine

    def run(
        self,
        act: str = "pass",
        *,
        at: int = 1,
        fast_mode: bool = True,
        symbols: tuple[str, ...] = ("BTC-USDT",),
    ) -> EngineRun:
        body = "\n".join(f"        {line}" for line in act.splitlines())
        code = STRATEGY.format(folder=str(self.reports), at=at, act=body)
        minutes = DAYS * 1_440
        request = BacktestRequest(
            exchange=EXCHANGE,
            exchange_type="futures",
            routes=tuple(Route(strategy="Probe", symbol=symbol, timeframe="1h") for symbol in symbols),
            start_ms=START_MS,
            end_ms=START_MS + minutes * 60_000,
            starting_balance=10_000.0,
            fee=0.0004,
            warm_up_candles=0,
            fast_mode=fast_mode,
        )
        slices = tuple(
            CandleSlice(
                exchange=EXCHANGE,
                symbol=symbol,
                path=str(self._candles),
                total_rows=minutes,
                start_row=0,
                trading_row=0,
                end_row=minutes,
                content_hash="the same",
            )
            for symbol in symbols
        )
        return EngineRun(request=request, source={"strategies/Probe/__init__.py": code}, candles=slices)

    def reported(self) -> list[list[int]]:
        """Of each run that has announced itself: its process and what it has started."""
        return [eval(path.read_text(), {}) for path in self.reports.glob("*.pids")]  # noqa: S307 - numbers

    def open_gate(self) -> None:
        (self.reports / "open").touch()

    def scratch(self) -> list[Path]:
        base = self.cache / "scratch"
        return list(base.iterdir()) if base.exists() else []

    def strangers(self) -> list[str]:
        """Every process of any engine of this bench."""
        return [str(process) for process in self._ours()]

    def _ours(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return str(self.cache) in process.environ().get("HOME", "")
        except psutil.Error:
            return False

    def forget_reports(self) -> None:
        for path in self.reports.iterdir():
            path.unlink()

    async def close(self) -> None:
        """Nothing may be left of the engines."""
        for engine in self._engines:
            await engine.close()
        try:
            await until(lambda: not self.strangers(), "the engines left processes")
        finally:
            for process in self._ours():
                process.kill()
        assert self.scratch() == []


@pytest.fixture(scope="session")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("candles") / "series.f64"
    synthetic_candles(START_MS, DAYS * 1_440, seed=4).astype("<f8").tofile(path)
    return path


@pytest.fixture
async def bench(engine_python: Path, tmp_path: Path, candles: Path) -> AsyncIterator[Bench]:
    """For tests that kill or close their engine, or want one of their own kind."""
    bench = Bench(engine_python, tmp_path, candles)
    yield bench
    await bench.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench_of_the_module(
    engine_python: Path, tmp_path_factory: pytest.TempPathFactory, candles: Path
) -> AsyncIterator[Bench]:
    bench = Bench(engine_python, tmp_path_factory.mktemp("shared"), candles)
    bench.engine(run_memory_mb=256)
    yield bench
    await bench.close()


@pytest.fixture
def shared(bench_of_the_module: Bench) -> Bench:
    """With one engine that many tests use; starting it takes longer than most of them."""
    bench_of_the_module.forget_reports()
    return bench_of_the_module


shares_engine = pytest.mark.asyncio(loop_scope="module")


async def until(condition: Callable[[], object], otherwise: str, seconds: float = DEADLINE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        await asyncio.sleep(0.01)


def silent(_fraction: float, _message: str) -> None:
    return None


def start(engine: EmbeddedEngine, run: EngineRun) -> "asyncio.Task[EngineOutcome]":
    return asyncio.create_task(engine.run(run, silent))


async def cancelled(task: "asyncio.Task[Any]") -> float:
    """Seconds it took."""
    began = time.monotonic()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    took = time.monotonic() - began
    assert task.cancelled()
    return took


async def assert_prompt(cancellation: Callable[[], Awaitable[float]]) -> None:
    took = [await cancellation()]
    while took[-1] >= CANCELLED_WITHIN_SECONDS:
        assert len(took) < ATTEMPTS, took
        took.append(await cancellation())


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def all_gone(pids: list[int]) -> bool:
    return all(gone(pid) for pid in pids)


async def failure_of(awaitable: Awaitable[Any]) -> ResearchError:
    with pytest.raises(ResearchError) as raised:
        await awaitable
    return raised.value


def template_of(bench: Bench, server: int | None = None) -> psutil.Process:
    """The one template that a server (this process unless told) has started for the bench."""
    children = psutil.Process(server).children()
    (template,) = [child for child in children if str(bench.cache) in " ".join(child.cmdline())]
    return template


@shares_engine
@pytest.mark.parametrize("fast_mode", [True, False], ids=["fast", "step"])
@pytest.mark.parametrize(
    "act",
    [
        "announce(sleeper())\nwhile True: pass",
        "announce(sleeper())\ntime.sleep(600)",
        "announce(sleeper())\nany(iter(int, 1))",
        "announce(sleeper(), daemon())\nwhile True:\n    try: time.sleep(9)\n    except BaseException: pass",
    ],
    ids=["endless loop", "sleeping in C", "never lets go of the interpreter", "daemon"],
)
async def test_a_cancelled_run_is_dead_within_a_second(act: str, fast_mode: bool, shared: Bench) -> None:
    async def cancellation() -> float:
        shared.forget_reports()
        task = start(shared.first, shared.run(act, fast_mode=fast_mode))
        await until(shared.reported, "the strategy never ran")
        ((worker, *others),) = shared.reported()
        assert not gone(worker)
        took = await cancelled(task)
        assert all_gone([worker, *others])
        return took

    await assert_prompt(cancellation)


@shares_engine
async def test_cancelling_a_simulation_in_step_mode(shared: Bench) -> None:
    """Nobody waits in the strategy here: the processor is busy in Jesse's own loop."""
    symbols = ("BTC-USDT", "ETH-USDT", "SOL-USDT", "ADA-USDT")

    async def cancellation() -> float:
        shared.forget_reports()
        task = start(shared.first, shared.run("announce()", fast_mode=False, symbols=symbols))
        await until(shared.reported, "the strategy never ran")
        took = await cancelled(task)
        assert all_gone([pid for pids in shared.reported() for pid in pids])
        return took

    await assert_prompt(cancellation)


@shares_engine
async def test_cancelling_twice_leaves_nothing(shared: Bench) -> None:
    engine = shared.first
    task = start(engine, shared.run(DAEMONS))
    await until(shared.reported, "the strategy never ran")
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await until(lambda: all_gone(shared.reported()[0]), "the run outlived its cancellation")
    assert (await engine.run(shared.run(), silent)).trades


async def test_cancelling_while_the_engine_starts(bench: Bench) -> None:
    async def cancellation() -> float:
        engine = bench.engine()
        task = start(engine, bench.run())
        await until(bench.strangers, "the engine never started")
        took = await cancelled(task)
        assert (await engine.run(bench.run(), silent)).trades
        await engine.close()
        await until(lambda: not bench.strangers(), "the engine left processes")
        return took

    await assert_prompt(cancellation)


@pytest.mark.parametrize("when", ["running", "loading"])
async def test_nothing_survives_the_server(when: str, bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(bench.run(DAEMONS).model_dump_json())
    host = subprocess.Popen([sys.executable, "-c", HOST, bench.cache, bench.python, file], cwd=tmp_path)
    try:
        if when == "running":
            await until(lambda: len(bench.reported()) == 2, "the runs never started")
        else:
            await until(lambda: psutil.Process(host.pid).children(), "the engine never started")
        started = [child.pid for child in psutil.Process(host.pid).children(recursive=True)]
    finally:
        host.kill()
        host.wait()
    started += [pid for pids in bench.reported() for pid in pids]
    assert len(started) >= (6 if when == "running" else 1)
    # One that is loading Jesse hears of it when it is done.
    await until(lambda: all_gone(started) and not bench.strangers(), "orphans")
    await until(lambda: not bench.scratch(), "the scratch folder was left behind")


async def test_the_next_server_sweeps_up_after_one_killed_with_its_template(
    bench: Bench, tmp_path: Path
) -> None:
    file = tmp_path / "run.json"
    file.write_text(bench.run(DAEMONS).model_dump_json())
    host = subprocess.Popen([sys.executable, "-c", HOST, bench.cache, bench.python, file], cwd=tmp_path)
    try:
        await until(lambda: len(bench.reported()) == 2, "the runs never started")
        template = template_of(bench, host.pid)
        template.suspend()
    finally:
        host.kill()
        host.wait()
    template.kill()
    (left_behind,) = bench.scratch()
    engine = bench.engine()
    await engine.warm()
    assert all_gone([pid for pids in bench.reported() for pid in pids])
    assert not left_behind.exists()
    assert len(bench.scratch()) == 1


async def test_a_server_leaves_the_folders_of_others_alone(bench: Bench) -> None:
    """Also of those whose processes it cannot see, as in another container."""
    others = ScratchFolder.create(bench.cache)
    unseen = others.path.with_name("4194304-elsewhere")
    others.path.rename(unseen)
    abandoned = unseen.with_name("4194304-abandoned")
    abandoned.mkdir()
    await bench.engine().warm()
    assert unseen.exists()
    assert not abandoned.exists()
    ScratchFolder(unseen, -1).remove()
    others.remove()


async def test_a_killed_template_fails_its_runs_and_is_replaced(bench: Bench) -> None:
    engine = bench.engine()
    task = start(engine, bench.run(DAEMONS))
    await until(bench.reported, "the strategy never ran")
    template_of(bench).kill()
    error = await failure_of(task)
    assert (error.code, error.message) == (
        ErrorCode.WORKER_CRASHED,
        "the run ended without an answer: its engine process was killed",
    )
    assert all_gone(bench.reported()[0])
    assert (await engine.run(bench.run(), silent)).trades


async def test_a_template_killed_between_runs_is_replaced_unnoticed(bench: Bench) -> None:
    engine = bench.engine()
    await engine.warm()
    template = template_of(bench)
    await until(template.children, "no worker is waiting")
    pids = [process.pid for process in (template, *template.children())]
    template.kill()
    while not all_gone(pids):
        # Without giving way to the loop, so that the engine cannot hear of it before it is used.
        time.sleep(0.005)
    assert (await engine.run(bench.run(), silent)).trades


async def test_a_template_asked_to_leave_takes_everything_with_it(bench: Bench) -> None:
    engine = bench.engine()
    task = start(engine, bench.run(DAEMONS))
    await until(bench.reported, "the strategy never ran")
    template_of(bench).send_signal(signal.SIGTERM)
    assert (await failure_of(task)).code is ErrorCode.WORKER_CRASHED
    assert all_gone(bench.reported()[0])


async def test_closing_ends_the_runs(bench: Bench) -> None:
    engine = bench.engine()
    tasks = [start(engine, bench.run(DAEMONS)) for _ in range(3)]
    await until(lambda: len(bench.reported()) == 2, "the runs never started")
    began = time.monotonic()
    await engine.close()
    assert time.monotonic() - began < CLOSED_WITHIN_SECONDS
    assert all_gone([pid for pids in bench.reported() for pid in pids])
    assert bench.scratch() == []
    for task in tasks:
        error = await failure_of(task)
        assert error.code is ErrorCode.ENGINE_FAILED
        assert error.message == "the engine has been closed"
    await engine.close()
    assert (await failure_of(engine.run(bench.run(), silent))).message == "the engine has been closed"


async def test_closing_while_it_starts(bench: Bench) -> None:
    engine = bench.engine()
    task = start(engine, bench.run())
    await until(bench.strangers, "the engine never started")
    await engine.close()
    assert (await failure_of(task)).message == "the engine has been closed"
    assert not bench.strangers()


@pytest.mark.parametrize("milliseconds", [0, 1, 5, 20, 50, 200, 1_000])
async def test_closing_at_any_moment(milliseconds: int, bench: Bench) -> None:
    engine = bench.engine()
    tasks = [start(engine, bench.run()) for _ in range(3)]
    await asyncio.wait(tasks, timeout=milliseconds / 1_000)
    await engine.close()
    for task in tasks:
        assert (await failure_of(task)).message == "the engine has been closed"
    await until(lambda: not bench.scratch(), "the scratch folder was left behind")


async def test_closing_what_never_ran(bench: Bench) -> None:
    await bench.engine().close()


@shares_engine
async def test_no_more_runs_at_once_than_the_capacity(shared: Bench) -> None:
    engine = shared.first
    heard: list[list[str]] = [[], [], []]

    def listener(messages: list[str]) -> Callable[[float, str], None]:
        return lambda _fraction, message: messages.append(message)

    run = shared.run("announce(); gate()")
    tasks = [asyncio.create_task(engine.run(run, listener(messages))) for messages in heard]
    await until(lambda: len(shared.reported()) == 2, "two runs at once are allowed")
    assert (await engine.status())["workers"] == {"capacity": 2, "busy": 2}
    assert sorted(map(bool, heard)) == [False, True, True], "a queued run has nothing to say"
    assert not tasks[heard.index([])].done()
    shared.open_gate()
    outcomes = await asyncio.gather(*tasks)
    assert len(shared.reported()) == 3
    assert all(outcome.trades == outcomes[0].trades for outcome in outcomes)
    assert (await engine.status())["workers"]["busy"] == 0


@shares_engine
async def test_a_queued_run_can_be_cancelled(shared: Bench) -> None:
    engine = shared.first
    running = [start(engine, shared.run("announce(); gate()")) for _ in range(engine.capacity)]
    await until(lambda: len(shared.reported()) == engine.capacity, "the runs never started")
    queued = start(engine, shared.run("announce()"))
    third = start(engine, shared.run())
    await asyncio.sleep(0)
    queued.cancel()
    await asyncio.wait([queued], timeout=CANCELLED_WITHIN_SECONDS)
    assert queued.cancelled()
    shared.open_gate()
    outcomes = await asyncio.gather(*running, third)
    assert all(outcome.trades == outcomes[0].trades for outcome in outcomes)
    assert len(shared.reported()) == engine.capacity, "what was cancelled in the queue never ran"


@shares_engine
async def test_progress_only_grows(shared: Bench) -> None:
    heard: list[tuple[float, str]] = []
    engine = shared.first
    run = shared.run("type(self).after = lambda self: time.sleep(0.002)", symbols=("BTC-USDT", "ETH-USDT"))
    await engine.run(run, lambda fraction, message: heard.append((fraction, message)))
    assert heard[0] == (0.0, "loading")
    fractions = [fraction for fraction, message in heard if message == "simulating"]
    assert len(fractions) > 3
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] < 0.5 < fractions[-1] <= 1


async def test_the_time_limit(bench: Bench) -> None:
    # Long enough to come half the way on a machine that is busy.
    engine = bench.engine(run_timeout=10)
    error = await failure_of(engine.run(bench.run("announce(sleeper()); time.sleep(600)", at=360), silent))
    assert error.code is ErrorCode.RUN_TIMEOUT
    assert error.message == "the run was stopped after 10 s, 50% of the candles done"
    assert "endless loop" in str(error.hint)
    assert all_gone(bench.reported()[0])


async def test_the_time_limit_of_a_run_that_gets_on(bench: Bench) -> None:
    # Half of it without a sign of life is taken for a loop.
    engine = bench.engine(run_timeout=10)
    slow = bench.run("type(self).after = lambda self: time.sleep(0.03)")
    error = await failure_of(engine.run(slow, silent))
    assert error.code is ErrorCode.RUN_TIMEOUT
    assert "fast_mode" in str(error.hint)


@shares_engine
async def test_the_memory_limit(shared: Bench) -> None:
    engine = shared.first
    fill = "import numpy as np; x = np.ones({} * 131_072); print(x.sum())"
    assert "26214400.0" in (await engine.run(shared.run(fill.format(200)), silent)).log_tail
    error = await failure_of(engine.run(shared.run(fill.format(300)), silent))
    assert error.code is ErrorCode.MEMORY_LIMIT
    assert "256 MiB" in error.message
    assert error.details["line"]


async def test_an_engine_that_is_not_installed(bench: Bench) -> None:
    engine = bench.engine(jesse_python=None)
    error = await failure_of(engine.run(bench.run(), silent))
    assert error.code is ErrorCode.ENGINE_NOT_INSTALLED
    assert "jesse-mcp engine install" in str(error.hint)
    assert (await failure_of(engine.warm())).code is ErrorCode.ENGINE_NOT_INSTALLED
    assert (await engine.status())["installed"] is False


async def test_a_python_without_jesse(bench: Bench) -> None:
    engine = bench.engine(jesse_python=Path(sys.executable))
    error = await failure_of(engine.run(bench.run(), silent))
    assert error.code is ErrorCode.ENGINE_FAILED
    assert "jesse" in error.message.lower()
    assert error.hint


def wrapper(folder: Path, python: Path, instead: str) -> Path:
    """A Python that does something else when it is to be the template."""
    script = folder / "python"
    script.write_text(f'#!/bin/sh\ncase "$*" in *template.py*) {instead};; esac\nexec {python} "$@"\n')
    script.chmod(0o755)
    return script


async def test_a_template_that_does_not_come_up(bench: Bench, tmp_path: Path) -> None:
    broken = wrapper(tmp_path, bench.python, 'echo "ImportError: libsomething.so" >&2; exit 3')
    engine = bench.engine(jesse_python=broken)
    for _ in range(2):
        error = await failure_of(engine.run(bench.run(), silent))
        assert error.code is ErrorCode.ENGINE_FAILED
        assert error.message == "the engine process ended unexpectedly: ImportError: libsomething.so"
        assert error.hint
        assert bench.scratch() == []
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {bench.python} "$@"\n')
    assert (await engine.run(bench.run(), silent)).trades


async def test_closing_an_engine_that_hangs_while_it_starts(bench: Bench, tmp_path: Path) -> None:
    engine = bench.engine(jesse_python=wrapper(tmp_path, bench.python, "exec sleep 600"))
    task = start(engine, bench.run())
    await until(bench.strangers, "the engine never started")
    began = time.monotonic()
    await engine.close()
    assert time.monotonic() - began < CLOSED_WITHIN_SECONDS
    assert (await failure_of(task)).message == "the engine has been closed"


async def test_an_answer_does_not_wait_for_the_end_of_its_process(bench: Bench) -> None:
    engine = bench.engine()
    await engine.warm()
    template = template_of(bench)
    outcome = await engine.run(bench.run("print('heard'); os.kill(os.getppid(), 19)"), silent)
    assert template.status() == psutil.STATUS_STOPPED, "nobody can have buried the worker"
    assert outcome.trades
    assert outcome.log_tail.endswith("heard\n")
    assert (await engine.status())["workers"]["busy"] == 0
    (run,) = bench.scratch()[0].glob("run-*")
    template.resume()
    await until(lambda: not run.exists(), "the worker was not buried")
    assert (await engine.run(bench.run(), silent)).trades


@shares_engine
async def test_no_descriptor_and_no_folder_is_left_open(shared: Bench) -> None:
    engine = shared.first
    acts = ["pass", "1 / 0", "os._exit(1)", DAEMONS, "pass"]

    async def all_of_them() -> None:
        for act in acts:
            task = start(engine, shared.run(act))
            if act is DAEMONS:
                await until(shared.reported, "the strategy never ran")
                task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()
        await engine.warm()
        template = template_of(shared)
        await until(lambda: len(template.children()) == 1, "only a worker in waiting should be left")

    await all_of_them()
    before = psutil.Process().num_fds()
    await all_of_them()
    await until(lambda: psutil.Process().num_fds() <= before, "descriptors were left open")
    (scratch,) = shared.scratch()
    await until(lambda: not list(scratch.glob("run-*")), "folders of runs were left behind")


def test_children_are_found_by_either_way() -> None:
    """Not every kernel lists them."""
    code = f"""
import os, subprocess, sys
sys.path.insert(0, {str(ENGINE_SIDE)!r})
import confinement
children = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
found = [confinement.children_of(os.getpid()), confinement._children_by_search(os.getpid())]
assert list(map(sorted, found)) == [sorted(child.pid for child in children)] * 2
for child in children: child.kill(), child.wait()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


async def test_a_warm_engine_has_a_worker_in_waiting(bench: Bench) -> None:
    engine = bench.engine()
    assert (await engine.status())["state"] == "cold"
    await engine.warm()
    assert (await engine.status())["state"] == "warm"
    template = template_of(bench)
    await until(template.children, "no worker is waiting")
    (waiting,) = template.children()
    await engine.run(bench.run("announce()"), silent)
    assert bench.reported()[0][0] == waiting.pid
    await until(lambda: len(template.children()) == 1, "the next worker is not waiting")
