"""The engine on a Ray cluster: several real nodes on this machine, killed where a test says so."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from jesse_mcp.adapters.embedded.access import StrategyAccess
from jesse_mcp.adapters.embedded.engine import EmbeddedEngine
from jesse_mcp.adapters.ray.driver_process import ClusterSettings
from jesse_mcp.adapters.ray.engine import RayEngine
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.backtests import BacktestRequest, CandleSlice, EngineOutcome, EngineRun, Route
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from ray_cluster import RayCluster

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXCHANGE = "Binance Perpetual Futures"
START_MS = 1_704_067_200_000
DAYS = 30
PATIENCE = 10.0
#: For what only takes long when the machine is busy, such as loading Jesse on two nodes.
DEADLINE = 120.0
#: What is asked of a cancellation.
CANCELLED_WITHIN_SECONDS = 5.0
#: Of what has a limit in seconds: a machine that stands still for a moment spoils one, a fault all of them.
ATTEMPTS = 3
#: How long a run may go on, for its asker, after its cluster is gone.
NOTICED_WITHIN_SECONDS = PATIENCE + 10

STRATEGY = """\
import json, os, signal, sys, time
from pathlib import Path
from jesse.strategies import Strategy

FOLDER = Path({folder!r})


def parent_of(pid):
    return int(Path(f"/proc/{{pid}}/stat").read_text().rpartition(")")[2].split()[1])


def announce():
    node = parent_of(parent_of(parent_of(os.getpid())))
    partial = FOLDER / f"{{os.getpid()}}.partial"
    partial.write_text(json.dumps([os.getpid(), node]))
    partial.rename(FOLDER / f"{{os.getpid()}}.pids")


def gate():
    while not (FOLDER / "open").exists():
        time.sleep(0.005)


class Probe(Strategy):
    def hyperparameters(self):
        return [{{"name": "every", "type": int, "min": 2, "max": 12, "default": 6}}]

    def should_long(self):
        return self.index % self.hp["every"] == 0

    def go_long(self):
        self.buy = 1, self.price

    def update_position(self):
        if self.index % self.hp["every"] == self.hp["every"] // 2:
            self.liquidate()

    def before(self):
        if self.index != {at}:
            return
{act}
"""

# A server of its own, with a run on the cluster.
HOST = """\
import asyncio, sys
from pathlib import Path
from jesse_mcp.adapters.embedded.access import StrategyAccess
from jesse_mcp.adapters.ray.driver_process import ClusterSettings
from jesse_mcp.adapters.ray.engine import RayEngine
from jesse_mcp.domain.backtests import EngineRun


async def main():
    cache, python, address, run = sys.argv[1:]
    cluster, access = ClusterSettings(address, 1, 10.0), StrategyAccess(confined=False)
    engine = RayEngine(Path(cache), Path(python), cluster, 600, 1024, access)
    await engine.run(EngineRun.model_validate_json(Path(run).read_text()), lambda *_: None)


asyncio.run(main())
"""


#: The strategies here write files to say where they are.
REPORTING = StrategyAccess(confined=False)


class Bench:
    """Engines of both kinds, and runs whose strategy reports where it is."""

    def __init__(self, python: Path, folder: Path, cluster: RayCluster) -> None:
        self.python = python
        self.folder = folder
        self.cluster = cluster
        self.reports = folder / "reports"
        self.reports.mkdir()
        self.candles = folder / "series.f64"
        synthetic_candles(START_MS, DAYS * 1_440, seed=4).astype("<f8").tofile(self.candles)
        self.embedded = EmbeddedEngine(folder / "cache", python, 1, 60, 256, REPORTING)
        self.shared = self.engine()

    def engine(self, **changes: Any) -> RayEngine:
        settings: dict[str, Any] = {"address": self.cluster.address, "max_runs": 8, "patience": PATIENCE}
        settings |= {name: changes.pop(name) for name in list(changes) if name in settings}
        arguments: dict[str, Any] = {"run_timeout": 60, "run_memory_mb": 256, "access": REPORTING, **changes}
        return RayEngine(self.folder / "cache", self.python, ClusterSettings(**settings), **arguments)

    def run(
        self, act: str = "pass", *, at: int = 1, candles: Path | None = None, **changes: Any
    ) -> EngineRun:
        body = "\n".join(f"        {line}" for line in act.splitlines())
        code = STRATEGY.format(folder=str(self.reports), at=at, act=body)
        minutes = DAYS * 1_440
        request = BacktestRequest(
            **{
                "exchange": EXCHANGE,
                "exchange_type": "futures",
                "routes": (Route(strategy="Probe", symbol="BTC-USDT", timeframe="1h"),),
                "start_ms": START_MS + 2 * 86_400_000,
                "end_ms": START_MS + minutes * 60_000,
                "starting_balance": 10_000.0,
                "fee": 0.0004,
                "warm_up_candles": 24,
                "fast_mode": True,
            }
            | changes
        )
        part = CandleSlice(
            exchange=EXCHANGE,
            symbol="BTC-USDT",
            path=str(candles or self.candles),
            total_rows=minutes,
            start_row=1_440,
            trading_row=2_880,
            end_row=minutes,
            content_hash="not looked at",
        )
        return EngineRun(request=request, source={"strategies/Probe/__init__.py": code}, candles=(part,))

    def reported(self) -> list[tuple[int, int]]:
        """Of each attempt of a run that has announced itself: its process, and its node's Ray."""
        return [tuple(json.loads(path.read_text())) for path in self.reports.glob("*.pids")]

    def forget_reports(self) -> None:
        for path in self.reports.iterdir():
            path.unlink()

    def open_gate(self) -> None:
        (self.reports / "open").touch()

    def on_the_nodes(self) -> list[int]:
        """Every process of ours that strategies are run by."""
        return [process.pid for process in psutil.process_iter() if self._is_on_a_node(process)]

    def _is_on_a_node(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            return process.environ().get("HOME", "").startswith(f"{self.cluster.folder}/jesse-mcp-ray-")
        return False

    async def two_nodes(self) -> None:
        """The cluster as it was before a test took a node from it, and Jesse loaded on both."""
        while sum(psutil.pid_exists(node["raylet"]) for node in self.cluster.nodes[1:]) < 2:
            await asyncio.to_thread(self.cluster.add, 1)
        await self.shared.warm()
        await until(lambda: self.shared.capacity == 2, "the nodes did not become ready")


@pytest.fixture(scope="module")
def cluster(engine_python: Path) -> Iterator[RayCluster]:
    """A head without CPUs, and two nodes."""
    cluster = RayCluster(engine_python, 0, 1, 1)
    yield cluster
    cluster.close()
    assert not cluster.folder.exists()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench_of_the_module(
    engine_python: Path, cluster: RayCluster, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bench]:
    bench = Bench(engine_python, tmp_path_factory.mktemp("ray"), cluster)
    yield bench
    await bench.embedded.close()
    await bench.shared.close()
    await until(lambda: not bench.on_the_nodes(), "something was left on the nodes")


@pytest_asyncio.fixture(loop_scope="module")
async def bench(bench_of_the_module: Bench) -> Bench:
    bench_of_the_module.forget_reports()
    return bench_of_the_module


async def until(condition: Callable[[], object], otherwise: str, seconds: float = DEADLINE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        await asyncio.sleep(0.02)


def silent(_fraction: float, _message: str) -> None:
    return None


def start(engine: RayEngine, run: EngineRun) -> "asyncio.Task[EngineOutcome]":
    return asyncio.create_task(engine.run(run, silent))


async def failure_of(awaitable: Awaitable[Any]) -> ResearchError:
    with pytest.raises(ResearchError) as raised:
        await awaitable
    return raised.value


async def cancelled(task: "asyncio.Task[Any]") -> float:
    """Seconds it took."""
    began = time.monotonic()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    return time.monotonic() - began


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


def all_gone(reported: list[tuple[int, int]]) -> bool:
    return all(gone(worker) for worker, _ in reported)


def but_for_time(outcome: EngineOutcome) -> EngineOutcome:
    return outcome.model_copy(update={"timings": {}})


def driver() -> psutil.Process:
    (found,) = [p for p in psutil.Process().children() if "ray_driver.py" in " ".join(p.cmdline())]
    return found


async def test_strategies_are_confined_on_the_nodes_too(bench: Bench) -> None:
    await bench.shared.close()
    bench.shared = bench.engine()
    engine = bench.engine(access=StrategyAccess())
    try:
        assert (await engine.run(bench.run(), silent)).trades
        error = await failure_of(engine.run(bench.run("announce()"), silent))
    finally:
        await engine.close()
    assert (error.code, error.details["exception"]) == (ErrorCode.STRATEGY_RAISED, "PermissionError")
    assert not bench.reported()


async def test_outcomes_are_those_of_the_embedded_engine(bench: Bench) -> None:
    await bench.two_nodes()
    runs = [
        bench.run(),
        bench.run("print('seen'); self.log('told')"),
        bench.run(fast_mode=False),
        bench.run(hyperparameters={"every": 9}),
        bench.run(exchange_type="spot", starting_balance=1_000_000.0),
        bench.run("import random, numpy; print(random.random(), numpy.random.random())"),
    ]
    there = await asyncio.gather(*(bench.shared.run(run, silent) for run in runs))
    here = [await bench.embedded.run(run, silent) for run in runs]
    assert list(map(but_for_time, there)) == list(map(but_for_time, here))
    assert all(outcome.trades for outcome in there)
    assert bench.shared.identity() == bench.embedded.identity()


@pytest.mark.parametrize(
    "act",
    [
        "1 / 0",
        "raise SystemExit",
        "os._exit(3)",
        "os.kill(os.getpid(), 9)",
        "import numpy; numpy.ones(2**26)",
    ],
)
async def test_failures_are_those_of_the_embedded_engine(act: str, bench: Bench) -> None:
    run = bench.run(f"print('before', flush=True); announce(); {act}")
    there = await failure_of(bench.shared.run(run, silent))
    assert len(bench.reported()) == 1, "what a run does to itself is not tried again"
    here = await failure_of(bench.embedded.run(run, silent))
    assert there.to_dict() == here.to_dict()


async def test_a_refused_run_names_why(bench: Bench) -> None:
    run = bench.run(hyperparameters={"unheard_of": 1})
    there = await failure_of(bench.shared.run(run, silent))
    assert there.code is ErrorCode.RUN_REJECTED
    assert there.to_dict() == (await failure_of(bench.embedded.run(run, silent))).to_dict()


async def test_progress_only_grows(bench: Bench) -> None:
    heard: list[tuple[float, str]] = []
    run = bench.run("type(self).after = lambda self: time.sleep(0.005)")
    await bench.shared.run(run, lambda fraction, message: heard.append((fraction, message)))
    assert heard[0] == (0.0, "loading")
    fractions = [fraction for fraction, message in heard if message == "simulating"]
    assert len(fractions) > 2
    assert fractions == sorted(fractions)
    assert fractions[-1] > 0.5


async def test_candles_are_stored_once_for_all_runs(bench: Bench, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.f64"
    shutil.copy(bench.candles, fresh)

    async def facts() -> dict[str, int]:
        found: dict[str, int] | None = (await bench.shared.status())["candles_on_the_cluster"]
        # Nothing is known before the first run.
        return found or {"puts": 0, "bytes": 0}

    before = await facts()
    outcomes = await asyncio.gather(*(bench.shared.run(bench.run(candles=fresh), silent) for _ in range(5)))
    assert all(but_for_time(outcome) == but_for_time(outcomes[0]) for outcome in outcomes)
    size = fresh.stat().st_size
    after = await facts()
    while after["puts"] == before["puts"]:
        # Said twice a second.
        after = await facts()
        await asyncio.sleep(0.02)
    assert after["puts"] == before["puts"] + 1
    assert after["bytes"] == before["bytes"] + size


async def test_no_more_runs_at_once_than_nodes_have_processors(bench: Bench) -> None:
    await bench.two_nodes()
    tasks = [start(bench.shared, bench.run("announce(); gate()")) for _ in range(3)]
    await until(lambda: len(bench.reported()) == 2, "two nodes take a run each")
    assert len({node for _, node in bench.reported()}) == 2

    async def cancellation() -> float:
        waiting = start(bench.shared, bench.run("announce()"))
        await asyncio.sleep(0)
        return await cancelled(waiting)

    await assert_prompt(cancellation)
    bench.open_gate()
    await asyncio.gather(*tasks)
    assert len(bench.reported()) == 3, "what was cancelled in the queue never ran"


@pytest.mark.parametrize("act", ["while True: pass", "time.sleep(600)", "any(iter(int, 1))"])
async def test_a_cancelled_run_is_dead_within_seconds(act: str, bench: Bench) -> None:
    async def cancellation() -> float:
        bench.forget_reports()
        task = start(bench.shared, bench.run(f"announce()\n{act}"))
        await until(bench.reported, "the strategy never ran")
        took = await cancelled(task)
        assert all_gone(bench.reported())
        return took

    await assert_prompt(cancellation)
    assert (await bench.shared.run(bench.run(), silent)).trades


async def test_a_killed_worker_is_not_tried_again(bench: Bench) -> None:
    task = start(bench.shared, bench.run("announce(); gate()"))
    await until(bench.reported, "the strategy never ran")
    psutil.Process(bench.reported()[0][0]).kill()
    error = await failure_of(task)
    assert error.code is ErrorCode.WORKER_CRASHED
    assert "SIGKILL" in error.message
    assert len(bench.reported()) == 1


async def test_the_runs_of_a_lost_node_finish_elsewhere(bench: Bench) -> None:
    await bench.two_nodes()
    expected = but_for_time(await bench.embedded.run(bench.run(), silent))
    tasks = [start(bench.shared, bench.run("announce(); gate()")) for _ in range(4)]
    await until(lambda: len(bench.reported()) == 2, "two nodes take a run each")
    lost = len(bench.cluster.nodes) - 1
    doomed = [one for one in bench.reported() if one[1] == bench.cluster.nodes[lost]["raylet"]]
    assert len(doomed) == 1
    await asyncio.to_thread(bench.cluster.kill, lost)
    # Its processes end when they miss it; until then one could still deliver.
    await until(lambda: all_gone(doomed), "the run of the lost node went on")
    bench.open_gate()
    outcomes = await asyncio.gather(*tasks)
    assert [but_for_time(outcome).trades for outcome in outcomes] == [expected.trades] * 4
    assert len(bench.reported()) == 5, "one run of the four was begun twice"
    await until(lambda: bench.shared.capacity == 1, "the lost node is still counted")


async def test_the_runs_of_a_node_that_hangs_finish_elsewhere(bench: Bench) -> None:
    await bench.two_nodes()
    tasks = [start(bench.shared, bench.run("announce(); gate()")) for _ in range(2)]
    await until(lambda: len(bench.reported()) == 2, "two nodes take a run each")
    worker = bench.reported()[0][0]
    template = psutil.Process(worker).parent()
    assert template is not None
    agent = template.parent()
    assert agent is not None
    agent.suspend()
    try:
        bench.open_gate()
        outcomes = await asyncio.gather(*tasks)
        assert len(bench.reported()) == 3
        assert outcomes[0].trades == outcomes[1].trades
        await until(lambda: gone(agent.pid) and gone(worker), "what hung was left on its node")
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            agent.resume()


async def test_a_run_that_takes_its_node_along_is_given_up(bench: Bench) -> None:
    run = bench.run("announce(); os.kill(parent_of(os.getppid()), signal.SIGKILL); time.sleep(600)")
    error = await failure_of(bench.shared.run(run, silent))
    assert error.code is ErrorCode.WORKER_CRASHED
    assert "begun 3 times" in error.message
    assert len(bench.reported()) == 3
    await until(lambda: all_gone(bench.reported()), "a run outlived its agent")


async def test_a_killed_driver_fails_its_runs_and_is_replaced(bench: Bench) -> None:
    task = start(bench.shared, bench.run("announce(); time.sleep(600)"))
    await until(bench.reported, "the strategy never ran")
    driver().kill()
    error = await failure_of(task)
    assert error.code is ErrorCode.ENGINE_FAILED
    assert "driver" in error.message
    assert error.hint
    await until(lambda: all_gone(bench.reported()), "the run outlived its driver")
    assert (await bench.shared.run(bench.run(), silent)).trades


async def test_closing_leaves_nothing_on_the_cluster(bench: Bench) -> None:
    await bench.two_nodes()
    tasks = [start(bench.shared, bench.run("announce(); time.sleep(600)")) for _ in range(3)]
    await until(lambda: len(bench.reported()) == 2, "the runs never started")
    process = driver()
    await bench.shared.close()
    closed, bench.shared = bench.shared, bench.engine()
    for task in [*tasks, asyncio.ensure_future(closed.run(bench.run(), silent))]:
        error = await failure_of(task)
        assert (error.code, error.message) == (ErrorCode.ENGINE_FAILED, "the engine has been closed")
    await closed.close()
    assert gone(process.pid)
    assert not bench.on_the_nodes()
    assert all_gone(bench.reported())
    (base,) = bench.cluster.folder.glob("jesse-mcp-ray-*")
    assert not list(base.iterdir())


async def test_nothing_survives_the_server(bench: Bench, tmp_path: Path) -> None:
    await bench.shared.close()
    bench.shared = bench.engine()
    file = tmp_path / "run.json"
    file.write_text(bench.run("announce(); time.sleep(600)").model_dump_json())
    arguments = [str(bench.folder / "cache"), str(bench.python), bench.cluster.address, str(file)]
    host = subprocess.Popen([sys.executable, "-c", HOST, *arguments], cwd=tmp_path)
    try:
        await until(bench.reported, "the run never started")
        drivers = [child.pid for child in psutil.Process(host.pid).children()]
    finally:
        host.kill()
        host.wait()
    assert drivers
    await until(lambda: all(map(gone, drivers)), "the driver outlived its server")
    await until(lambda: not bench.on_the_nodes(), "the run outlived its server")


async def test_the_time_limit_and_an_idle_engine_that_gives_the_processors_back(bench: Bench) -> None:
    """One test, as every engine loads Jesse on the nodes."""
    await bench.shared.close()
    bench.shared = bench.engine()
    # Long enough to come half the way on a machine that is busy.
    engine = bench.engine(run_timeout=10, idle_seconds=0.1, max_runs=1)
    try:
        error = await failure_of(engine.run(bench.run("announce(); time.sleep(600)", at=336), silent))
        assert error.code is ErrorCode.RUN_TIMEOUT
        assert error.message == "the run was stopped after 10 s, 50% of the candles done"
        assert all_gone(bench.reported())
        await until(lambda: not bench.on_the_nodes(), "the nodes are still held")
        assert (await engine.status())["state"] == "cold"
        assert (await engine.run(bench.run(), silent)).trades
    finally:
        await engine.close()


async def test_a_cluster_that_is_busy_with_the_work_of_others(bench: Bench) -> None:
    await bench.two_nodes()
    engine = bench.engine()
    try:
        error = await failure_of(engine.run(bench.run(), silent))
        assert error.code is ErrorCode.RAY_UNUSABLE
        assert "in use by others" in error.message
        assert error.details["nodes"]
    finally:
        await engine.close()


async def test_candles_that_are_gone(bench: Bench) -> None:
    error = await failure_of(bench.shared.run(bench.run(candles=bench.folder / "none.f64"), silent))
    assert error.code is ErrorCode.ENGINE_FAILED
    assert "none.f64" in error.message


async def test_no_cluster_at_the_address(bench: Bench) -> None:
    engine = bench.engine(address="127.0.0.1:1")
    began = time.monotonic()
    error = await failure_of(engine.run(bench.run(), silent))
    assert time.monotonic() - began < 15
    assert error.code is ErrorCode.RAY_UNREACHABLE
    assert "127.0.0.1:1" in error.message
    assert "RAY_ADDRESS" in str(error.hint)
    assert (await engine.status())["state"] == "cold"
    await engine.close()


async def test_a_cluster_of_others_versions_and_one_that_goes_away(
    bench: Bench, engine_python: Path, tmp_path: Path
) -> None:
    """One test, as each cluster takes seconds to start."""
    other = tmp_path / "jesse-3.5.2.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: jesse\nVersion: 3.5.2\n")
    cluster = await asyncio.to_thread(RayCluster, engine_python, 0)
    engine = bench.engine(address=cluster.address)
    try:
        await asyncio.to_thread(cluster.add, 1, tmp_path)
        error = await failure_of(engine.run(bench.run(), silent))
        assert error.code is ErrorCode.RAY_UNUSABLE
        assert "jesse is 3.5.2, needed is 3.5.3" in error.message
        (refused,) = [node for node in (await engine.status())["nodes"] if node["cpus"]]
        assert refused["state"] == "refused"
        await asyncio.to_thread(cluster.add, 1)
        await until(lambda: engine.capacity == 1, "the node that fits is not used")
        task = start(engine, bench.run("announce(); time.sleep(600)"))
        await until(bench.reported, "the strategy never ran")
        for index in (2, 1, 0):
            await asyncio.to_thread(cluster.kill, index)
        began = time.monotonic()
        error = await failure_of(task)
        assert time.monotonic() - began < NOTICED_WITHIN_SECONDS
        assert error.code in (ErrorCode.RAY_UNREACHABLE, ErrorCode.ENGINE_FAILED)
        error = await failure_of(engine.run(bench.run(), silent))
        assert error.code is ErrorCode.RAY_UNREACHABLE
    finally:
        await engine.close()
        await asyncio.to_thread(cluster.close)
