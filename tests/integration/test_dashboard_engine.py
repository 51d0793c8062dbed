"""Runs through a real Jesse that go wrong, are cancelled, or are not what they seem.

Where the embedded engine would say the same, it is asked too. What both engines promise is tested for both
in ``test_engine_contract.py``.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import pytest_asyncio
from pydantic import SecretStr

from jesse_candles import in_jesse
from jesse_host import PASSWORD, JesseHost
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.engine import DashboardEngine
from jesse_mcp.adapters.dashboard.login import Credentials
from jesse_mcp.adapters.dashboard.sessions import BacktestSessions
from jesse_mcp.adapters.dashboard.strategies import DashboardStrategyStore
from jesse_mcp.adapters.dashboard.temporary_names import temporary_name
from jesse_mcp.adapters.embedded.engine import EmbeddedEngine
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.backtests import BacktestRequest, CandleSlice, EngineRun, HyperparameterValue, Route
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = SeriesKey(exchange="Gate USDT Perpetual", symbol="ENGINE-USDT")
FIRST_MS = 1_704_067_200_000
DAY_MS = 86_400_000
DAYS = 4

STRATEGY = """\
import os, sys, time
from pathlib import Path
from jesse.strategies import Strategy

FOLDER = Path({folder!r})


def announce():
    (FOLDER / str(os.getpid())).touch()


class {name}(Strategy):
    def __init__(self):
        super().__init__()
        self.act("__init__")

    def hyperparameters(self):
        return [{{"name": "period", "type": int, "min": 1, "max": 9, "default": 6}}]

    def before(self):
        self.act("before")

    def should_long(self):
        self.act("should_long")
        return self.index % self.hp["period"] == 0

    def go_long(self):
        self.buy = 1, self.price
        self.act("go_long")

    def update_position(self):
        self.act("update_position")
        if self.index % 6 == 3:
            self.liquidate()

    def terminate(self):
        self.act("terminate")

    def act(self, hook):
        if hook != {hook!r}:
            return
{act}
"""


class Bench:
    """Both engines, one series in Jesse, and runs of a strategy that misbehaves in one of its methods."""

    def __init__(self, host: JesseHost, client: DashboardClient, python: Path, folder: Path) -> None:
        self.host = host
        self.client = client
        self.sessions = BacktestSessions(client)
        self.store = DashboardStrategyStore(client)
        self.reports = folder / "reports"
        self.reports.mkdir()
        self.strategies = host.project / "strategies"
        self.embedded = EmbeddedEngine(folder / "cache", python, 1, 60, 1024)
        self.dashboard = self.engine()
        rows = in_jesse(client, KEY, synthetic_candles(FIRST_MS, DAYS * 1_440, 1))
        self._candles = folder / "candles.f64"
        rows.astype("<f8").tofile(self._candles)

    def engine(
        self, client: DashboardClient | None = None, run_timeout: float = 90, stall_seconds: float = 60
    ) -> DashboardEngine:
        return DashboardEngine(client or self.client, 2, run_timeout, stall_seconds)

    def run(
        self,
        act: str = "pass",
        hook: str = "none",
        name: str = "Probe",
        source: dict[str, str] | None = None,
        hyperparameters: dict[str, HyperparameterValue] | None = None,
        symbol: str = KEY.symbol,
    ) -> EngineRun:
        body = "\n".join(f"        {line}" for line in act.splitlines())
        code = STRATEGY.format(folder=str(self.reports), name=name, hook=hook, act=body)
        request = BacktestRequest(
            exchange=KEY.exchange,
            exchange_type="futures",
            routes=(Route(strategy=name, symbol=symbol, timeframe="1h"),),
            start_ms=FIRST_MS + DAY_MS,
            end_ms=FIRST_MS + DAYS * DAY_MS,
            starting_balance=10_000.0,
            fee=0.0004,
            hyperparameters=hyperparameters or {},
            warm_up_candles=5,
            fast_mode=True,
        )
        part = CandleSlice(
            exchange=KEY.exchange,
            symbol=symbol,
            path=str(self._candles),
            total_rows=DAYS * 1_440,
            start_row=1_440 - 300,
            trading_row=1_440,
            end_row=DAYS * 1_440,
            content_hash="the same",
        )
        files = source or {f"strategies/{name}/__init__.py": code}
        return EngineRun(request=request, source=files, candles=(part,))

    def workers(self) -> list[psutil.Process]:
        """Of the runs that have announced themselves."""
        found = []
        for path in self.reports.iterdir():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(path.name)))
        return found

    def started(self, before: frozenset[str]) -> frozenset[str]:
        """Sessions at work that were not ``before``; Jesse takes seconds to forget those that crashed."""
        return self.sessions.active() - before

    def left_in_project(self) -> list[str]:
        return [path.name for path in self.strategies.iterdir() if "_mcp_" in path.name]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    jesse_host: JesseHost, engine_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bench]:
    client = DashboardClient(jesse_host.url, Credentials(password=SecretStr(PASSWORD)))
    bench = Bench(jesse_host, client, engine_python, tmp_path_factory.mktemp("bench"))
    yield bench
    await bench.dashboard.close()
    await bench.embedded.close()
    client.close()


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
    yield shared
    for process in shared.workers():
        # It may be about to leave by itself.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    for path in shared.reports.iterdir():
        path.unlink()
    assert shared.left_in_project() == []


def silent(_fraction: float, _message: str) -> None:
    pass


async def failure_of(awaitable: Any) -> ResearchError:
    with pytest.raises(ResearchError) as caught:
        await awaitable
    return caught.value


async def until(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.05)
    assert condition(), what


async def test_a_strategy_that_raises(bench: Bench) -> None:
    run = bench.run("value = None\nvalue.upper()", "update_position")
    ours, theirs = await asyncio.gather(
        failure_of(bench.dashboard.run(run, silent)), failure_of(bench.embedded.run(run, silent))
    )
    assert ours.code is ErrorCode.STRATEGY_RAISED
    assert (ours.code, ours.message, ours.hint) == (theirs.code, theirs.message, theirs.hint)
    assert ours.details["line"] == theirs.details["line"]
    assert ours.details["exception"] == "AttributeError"
    last = str(ours.details["traceback"]).splitlines()[-3:]
    assert last == str(theirs.details["traceback"]).splitlines()[-3:]
    assert last[0].startswith("strategies/Probe/__init__.py:")
    assert str(ours.details["session_url"]).startswith(f"{bench.host.url}/#/backtest/")


@pytest.mark.parametrize(
    ("act", "status"),
    [("sys.exit(3)", 3), ("os._exit(7)", 7), ("os.kill(0, 0); os.kill(os.getpid(), 9)", -9)],
)
async def test_a_worker_that_leaves(bench: Bench, act: str, status: int) -> None:
    error = await failure_of(bench.dashboard.run(bench.run(act, "go_long"), silent))
    assert error.code is ErrorCode.WORKER_CRASHED
    assert error.details["exit_status"] == status


@pytest.mark.parametrize(
    ("limits", "words"),
    # Longer than Jesse needs to start a worker while the machine is busy.
    [({"run_timeout": 30.0}, "stopped after 30 s"), ({"stall_seconds": 25.0}, "stood still for")],
    ids=["time limit", "stall"],
)
async def test_a_strategy_that_loops(bench: Bench, limits: dict[str, float], words: str) -> None:
    engine = bench.engine(**limits)  # type: ignore[arg-type]
    run = bench.run("announce()\nwhile True: pass", "go_long")
    error = await failure_of(engine.run(run, silent))
    assert error.code is ErrorCode.RUN_TIMEOUT
    assert words in error.message
    assert "may run on" in error.message
    assert ("stall_seconds" in limits) <= ("endless loop" in str(error.hint))
    assert "restart Jesse" in str(error.hint)
    (worker,) = bench.workers()
    assert worker.is_running()
    session_id = str(error.details["session_url"]).rpartition("/")[2]
    assert (await engine.status())["cancelled_but_running"] == [session_id]
    assert bench.sessions.look(session_id).status == "cancelled"
    await engine.close()


SLOW = "announce() if self.index == 0 else time.sleep(0.2)"


async def test_cancelling_ends_the_worker(bench: Bench) -> None:
    before = await asyncio.to_thread(bench.sessions.active)
    task = asyncio.create_task(bench.dashboard.run(bench.run(SLOW, "before"), silent))
    await until(bench.workers, "the run never started")
    (worker,) = bench.workers()
    task.cancel()
    await asyncio.wait([task], timeout=60)
    assert task.cancelled()
    await until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, "it runs on")
    assert "cancelled_but_running" not in await bench.dashboard.status()
    assert bench.started(before) == frozenset()


async def test_somebody_cancels_in_the_dashboard(bench: Bench) -> None:
    before = await asyncio.to_thread(bench.sessions.active)
    task = asyncio.create_task(bench.dashboard.run(bench.run(SLOW, "before"), silent))
    await until(bench.workers, "the run never started")
    (session_id,) = await asyncio.to_thread(bench.started, before)
    await asyncio.to_thread(bench.sessions.cancel, session_id)
    error = await failure_of(task)
    assert error.code is ErrorCode.JOB_CANCELLED
    assert "cancelled in Jesse's dashboard" in error.message


class Deaf(DashboardClient):
    """A client whose websocket address leads nowhere."""

    def websocket_url(self) -> str:
        return "ws://127.0.0.1:9/ws"


async def test_without_the_websocket_the_answer_is_the_same(bench: Bench) -> None:
    client = Deaf(bench.host.url, Credentials(password=SecretStr(PASSWORD)))
    engine = bench.engine(client)
    heard: list[str] = []
    run = bench.run()
    polled = await engine.run(run, lambda _fraction, message: heard.append(message))
    theirs = await bench.embedded.run(run, silent)
    assert polled.trades
    assert (polled.metrics, polled.trades) == (theirs.metrics, theirs.trades)
    assert heard[:2] == ["preparing", "loading"]
    await engine.close()
    client.close()


async def test_hyperparameters_of_a_strategy_of_the_user(bench: Bench) -> None:
    """The strategy itself stays as it is; the session shows what ran."""
    path = "strategies/Tuned/__init__.py"
    helper = "strategies/Tuned/rules.py"
    code = bench.run(name="Tuned").source[path].replace("import os", "from . import rules\nimport os")
    bench.store.write("Tuned", code, overwrite=True)
    (bench.strategies / "Tuned" / "rules.py").write_text("LIMIT = 1\n")
    source = bench.store.source(frozenset({"Tuned"})).files
    assert set(source) == {path, helper}
    run = bench.run(name="Tuned", source=source, hyperparameters={"period": 4})
    ours, theirs = await asyncio.gather(bench.dashboard.run(run, silent), bench.embedded.run(run, silent))
    assert ours.hyperparameters == theirs.hyperparameters == {"period": 4}
    assert ours.trades
    assert (ours.metrics, ours.trades) == (theirs.metrics, theirs.trades)
    assert bench.store.read("Tuned") == code
    sessions = bench.client.read("/backtest/sessions")["sessions"]
    (session,) = [one for one in sessions if one["id"] == ours.engine["session_id"]]
    assert session["title"] == "Tuned | ENGINE-USDT 1h | 2024-01-02 to 2024-01-05 | period=4 (jesse-mcp)"
    assert "period = 4" in session["description"]
    assert session["status"] == "finished"


async def test_hyperparameters_of_two_strategies(bench: Bench) -> None:
    """One is in Jesse, the other is uploaded; one set of values is for both."""
    second = SeriesKey(exchange=KEY.exchange, symbol="ENGINETWO-USDT")
    copy = {
        "exchange": KEY.exchange,
        "symbol": KEY.symbol,
        "target_exchange": second.exchange,
        "target_symbol": second.symbol,
        "delete_source": False,
    }
    bench.client.post("/candles/copy", copy)
    one = bench.run(name="Paired")
    bench.store.write("Paired", one.source["strategies/Paired/__init__.py"], overwrite=True)
    routes = (
        *one.request.routes,
        Route(strategy="Second", symbol=second.symbol, timeframe="15m"),
    )
    run = EngineRun(
        request=one.request.model_copy(update={"routes": routes, "hyperparameters": {"period": 5}}),
        source=one.source | bench.run(name="Second").source,
        candles=(*one.candles, one.candles[0].model_copy(update={"symbol": second.symbol})),
    )
    ours, theirs = await asyncio.gather(bench.dashboard.run(run, silent), bench.embedded.run(run, silent))
    assert {trade.strategy for trade in ours.trades} == {"Paired", "Second"}
    assert ours.trades == theirs.trades
    assert ours.metrics.keys() == theirs.metrics.keys()
    for name, value in theirs.metrics.items():
        # The sum over two positions is taken in an order that Python's random hash seed decides.
        assert ours.metrics[name] == (None if value is None else pytest.approx(value, rel=1e-9)), name
    assert ours.hyperparameters == theirs.hyperparameters
    assert "Paired only" in ours.engine["hyperparameters"]


async def test_a_strategy_that_has_changed_since(bench: Bench) -> None:
    bench.store.write("Edited", bench.run(name="Edited").source["strategies/Edited/__init__.py"], True)
    run = bench.run("print(1)", "before", name="Edited")
    error = await failure_of(bench.dashboard.run(run, silent))
    assert error.code is ErrorCode.RUN_REJECTED
    assert "strategies/Edited/__init__.py has changed" in error.message


async def test_a_strategy_that_changes_while_it_runs(bench: Bench, tmp_path: Path) -> None:
    gate = tmp_path / "open"
    wait = f"announce()\nwhile not Path({str(gate)!r}).exists(): time.sleep(0.02)"
    run = bench.run(wait, "before", name="Unsteady")
    bench.store.write("Unsteady", run.source["strategies/Unsteady/__init__.py"], True)
    task = asyncio.create_task(bench.dashboard.run(run, silent))
    await until(bench.workers, "the run never started")
    bench.store.write("Unsteady", "# another\n", True)
    gate.touch()
    error = await failure_of(task)
    assert error.code is ErrorCode.RUN_REJECTED
    assert "changed in Jesse while it ran" in error.message


async def test_a_class_of_another_name(bench: Bench) -> None:
    """Jesse would rewrite the file of such a strategy."""
    code = bench.run(name="Other").source["strategies/Other/__init__.py"]
    bench.store.write("Misnamed", code, True)
    run = bench.run(name="Misnamed", source={"strategies/Misnamed/__init__.py": code})
    ours, theirs = await asyncio.gather(
        failure_of(bench.dashboard.run(run, silent)), failure_of(bench.embedded.run(run, silent))
    )
    assert (ours.code, ours.message, ours.hint) == (theirs.code, theirs.message, theirs.hint)
    assert bench.store.read("Misnamed") == code


async def test_candles_that_jesse_does_not_have(bench: Bench) -> None:
    error = await failure_of(bench.dashboard.run(bench.run(symbol="NOWHERE-USDT"), silent))
    assert error.code is ErrorCode.CANDLES_MISSING
    assert "NOWHERE-USDT on Gate USDT Perpetual" in error.message
    assert "candles_import" in str(error.hint)


async def test_a_data_route_that_jesse_adds_by_itself(bench: Bench) -> None:
    act = 'self.get_candles(self.exchange, self.symbol, "2h")'
    error = await failure_of(bench.dashboard.run(bench.run(act, "before"), silent))
    assert error.code is ErrorCode.RUN_REJECTED
    assert '"2h"' in error.message
    assert "data_routes" in str(error.hint)


async def test_code_that_is_not_pinned_is_named(bench: Bench) -> None:
    (bench.host.project / "desk_rules.py").write_text("LIMIT = 1\n")
    path = "strategies/Probe/__init__.py"
    run = bench.run(source={path: f"import desk_rules, numpy, jesse\n{bench.run().source[path]}"})
    outcome = await bench.dashboard.run(run, silent)
    assert outcome.engine["not_pinned"].startswith("desk_rules:")
    assert outcome.engine["kind"] == "dashboard"
    assert outcome.engine["jesse"] == "3.5.3"


def mark_as_ours(folder: Path) -> None:
    folder.mkdir()
    text = f"# jesse-mcp made {folder.name} for one run, and removes it afterwards.\n"
    (folder / "_jesse_mcp_temporary.py").write_text(text)


async def test_identity_is_known_while_jesse_is_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    abandoned, young = "Old_mcp_1600000000_0123abcd", temporary_name("Young")
    for name in (abandoned, young):
        mark_as_ours(bench.strategies / name)
    of_the_user = bench.strategies / "Grid_mcp_1600000000_deadbeef"
    of_the_user.mkdir()
    (of_the_user / "notes.md").write_text("precious")
    engine = bench.engine()
    identity = await asyncio.to_thread(engine.identity)
    left = bench.left_in_project()
    assert sorted(left) == sorted([young, of_the_user.name]), "only ours, and only after a day"
    assert (of_the_user / "notes.md").read_text() == "precious"
    shutil.rmtree(bench.strategies / young)
    shutil.rmtree(of_the_user)
    assert identity == f"Jesse 3.5.3 at {bench.host.url}"
    monkeypatch.setattr(bench.client, "get", None)
    assert engine.identity() == identity


async def test_a_jesse_that_was_never_there(bench: Bench) -> None:
    nowhere = DashboardClient("http://127.0.0.1:9", Credentials(token=SecretStr("x")))
    engine = bench.engine(nowhere)
    for attempt in (asyncio.to_thread(engine.identity), engine.warm(), engine.run(bench.run(), silent)):
        assert (await failure_of(attempt)).code is ErrorCode.JESSE_UNREACHABLE
    status = await engine.status()
    assert (status["kind"], status["state"]) == ("dashboard", "unreachable")
    await engine.close()
    nowhere.close()


async def test_a_helper_file_that_changes_while_the_run_goes_on(bench: Bench) -> None:
    path = "strategies/Helped/__init__.py"
    code = bench.run(name="Helped").source[path].replace("import os", "from . import rules\nimport os")
    bench.store.write("Helped", code, overwrite=True)
    rules = bench.strategies / "Helped" / "rules.py"
    rules.write_text("LIMIT = 1\n")
    run = bench.run(name="Helped", source=bench.store.source(frozenset({"Helped"})).files)

    def edit(_fraction: float, message: str) -> None:
        if message == "loading":
            rules.write_text("LIMIT = 2\n")

    error = await failure_of(bench.dashboard.run(run, edit))
    assert error.code is ErrorCode.RUN_REJECTED
    assert error.details["path"] == "strategies/Helped/rules.py"
    assert "while the run" in error.message


async def test_other_candles_in_jesse_than_those_pinned_are_told_of(bench: Bench, tmp_path: Path) -> None:
    run = bench.run()
    (part,) = run.candles
    rows = np.fromfile(part.path, dtype="<f8").reshape(-1, 6)
    rows[:, 1:5] *= 1.5
    rows.tofile(tmp_path / "pinned")
    pinned = part.model_copy(update={"path": str(tmp_path / "pinned")})
    doubted = await bench.dashboard.run(run.model_copy(update={"candles": (pinned,)}), silent)
    assert "run it again" in doubted.engine["candles_doubtful"]
    assert "candles_doubtful" not in (await bench.dashboard.run(run, silent)).engine


async def test_the_worker_is_killed_from_outside(bench: Bench) -> None:
    task = asyncio.create_task(bench.dashboard.run(bench.run(SLOW, "before"), silent))
    await until(bench.workers, "the run never started")
    (worker,) = bench.workers()
    os.kill(worker.pid, signal.SIGKILL)
    error = await failure_of(task)
    assert error.code is ErrorCode.WORKER_CRASHED
    assert error.details["exit_status"] == -signal.SIGKILL


async def test_what_could_not_be_removed_is_removed_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = DashboardClient(bench.host.url, Credentials(password=SecretStr(PASSWORD)))
    engine = bench.engine(client)
    post = client.post

    def failing(path: str, body: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        if path == "/project-files/delete":
            raise ResearchError(ErrorCode.JESSE_FAILED, "not now")
        return post(path, body, patience)

    monkeypatch.setattr(client, "post", failing)
    run = bench.run("1 / 0", "before")
    assert (await failure_of(engine.run(run, silent))).code is ErrorCode.STRATEGY_RAISED
    assert len(bench.left_in_project()) == 1
    monkeypatch.undo()
    await failure_of(engine.run(run, silent))
    assert bench.left_in_project() == []
    await engine.close()
    client.close()
