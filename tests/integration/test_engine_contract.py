"""What the port of the engine promises, kept by both engines: the embedded one and that of a running Jesse.

What is not here needs a worker process of our own, and is in ``test_engine_isolation.py`` (what a strategy
may do to its process) and ``test_engine_lifecycle.py`` (killing and burying processes). A running Jesse has
workers of its own, which can only be asked to stop: what becomes of those is in ``test_dashboard_engine.py``.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr

from jesse_candles import in_jesse
from jesse_host import PASSWORD, JesseHost
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.engine import DashboardEngine
from jesse_mcp.adapters.dashboard.login import Credentials
from jesse_mcp.adapters.embedded.access import StrategyAccess
from jesse_mcp.adapters.embedded.engine import EmbeddedEngine
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.backtests import BacktestRequest, CandleSlice, EngineOutcome, EngineRun, Route
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.ports.engine import BacktestEngine

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

EXCHANGE = "Gate USDT Perpetual"
SYMBOLS = ("CONTRACT-USDT", "CONTRACTTWO-USDT")
FIRST_MS = 1_704_067_200_000
DAY = 1_440
DAYS = 4
WARM_UP_CANDLES = 5
CAPACITY = 2

STRATEGY = """\
import os, sys, time
from pathlib import Path
from jesse.strategies import Strategy

FOLDER = Path({folder!r})


def announce():
    (FOLDER / str(os.getpid())).touch()


def gate():
    while not (FOLDER / "open").exists():
        time.sleep(0.02)


class Probe(Strategy):
    def hyperparameters(self):
        return [{{"name": "period", "type": int, "min": 1, "max": 9, "default": 6}}]

    def before(self):
        if self.index == 0:
            self.act()

    def should_long(self):
        return self.index % self.hp["period"] == 0

    def should_short(self):
        return self.index % self.hp["period"] == 3

    def go_long(self):
        self.buy = 1, self.price

    def go_short(self):
        self.sell = 1, self.price

    def update_position(self):
        if self.index % 3 == 2:
            self.liquidate()

    def act(self):
{act}
"""

IDLE = """\
from jesse.strategies import Strategy


class Probe(Strategy):
    def should_long(self):
        return False

    def go_long(self):
        pass
"""

HOOKS = [
    "__init__",
    "hyperparameters",
    "dna",
    "candles_pipeline",
    "before",
    "after",
    "update_chart",
    "should_long",
    "should_short",
    "go_long",
    "go_short",
    "filters",
    "filter_of_filters",
    "should_cancel_entry",
    "on_cancel",
    "update_position",
    "on_open_position",
    "on_increased_position",
    "on_reduced_position",
    "on_close_position",
    "on_route_open_position",
    "on_route_increased_position",
    "on_route_reduced_position",
    "on_route_close_position",
    "on_route_canceled",
    "before_terminate",
    "terminate",
]

# Two routes of it pass through every hook; one raises.
HOOKED = """\
from jesse.strategies import Strategy


class Probe(Strategy):
    def should_long(self):
        return self.index % 8 == 0

    def should_short(self):
        return self.index % 8 == 4

    def go_long(self):
        self.buy = [(1, self.price), (1, self.price * 0.9995), (1, self.price * 0.5)]

    def go_short(self):
        self.sell = 1, self.price * 2

    def filters(self):
        return [self.filter_of_filters]

    def filter_of_filters(self):
        return True

    def on_open_position(self, order):
        self.take_profit = [(0.5, self.price * 1.0005), (0.5, self.price * 1.5)]

    def update_position(self):
        if self.index % 8 == 3:
            self.liquidate()


def boom(*_):
    raise RuntimeError("boom in {hook}")


original = getattr(Probe, "{hook}", None)
Probe.{hook} = boom
"""


class Bench:
    """An engine, candles that it knows, and runs of a strategy that acts once."""

    def __init__(self, kind: str, folder: Path, rows: dict[str, CandleArray]) -> None:
        self.kind = kind
        self.reports = folder / "reports"
        self.reports.mkdir()
        self._folder = folder
        self._rows = {symbol: len(found) for symbol, found in rows.items()}
        for symbol, found in rows.items():
            found.astype("<f8").tofile(folder / symbol)
        self.engine: BacktestEngine = self.another()

    def another(self) -> BacktestEngine:
        """An engine of its own for a test that closes it."""
        raise NotImplementedError

    @property
    def embedded(self) -> bool:
        return self.kind == "embedded"

    def run(
        self,
        act: str = "pass",
        *,
        code: str | None = None,
        symbols: Iterable[str] = SYMBOLS[:1],
        hyperparameters: dict[str, Any] | None = None,
    ) -> EngineRun:
        body = "\n".join(f"        {line}" for line in act.strip("\n").splitlines())
        text = STRATEGY.format(folder=str(self.reports), act=body) if code is None else code
        names = tuple(symbols)
        request = BacktestRequest(
            exchange=EXCHANGE,
            exchange_type="futures",
            routes=tuple(Route(strategy="Probe", symbol=name, timeframe="1h") for name in names),
            start_ms=FIRST_MS + DAY * 60_000,
            end_ms=FIRST_MS + DAYS * DAY * 60_000,
            starting_balance=10_000.0,
            fee=0.0004,
            hyperparameters=hyperparameters or {},
            warm_up_candles=WARM_UP_CANDLES,
            fast_mode=True,
        )
        parts = tuple(
            CandleSlice(
                exchange=EXCHANGE,
                symbol=name,
                path=str(self._folder / name),
                total_rows=self._rows[name],
                start_row=DAY - WARM_UP_CANDLES * 60,
                trading_row=DAY,
                end_row=DAYS * DAY,
                content_hash="the same",
            )
            for name in names
        )
        return EngineRun(request=request, source={"strategies/Probe/__init__.py": text}, candles=parts)

    def reported(self) -> int:
        """How many runs have announced themselves."""
        return sum(path.name.isdigit() for path in self.reports.iterdir())

    def open_gate(self) -> None:
        (self.reports / "open").touch()

    def forget_reports(self) -> None:
        for path in self.reports.iterdir():
            path.unlink()


class EmbeddedBench(Bench):
    def __init__(self, python: Path, folder: Path) -> None:
        self._python = python
        self._cache = folder / "cache"
        rows = {name: synthetic_candles(FIRST_MS, DAYS * DAY, seed) for seed, name in enumerate(SYMBOLS)}
        super().__init__("embedded", folder, rows)

    def another(self) -> BacktestEngine:
        # The strategies here write files to say where they are.
        return EmbeddedEngine(self._cache, self._python, CAPACITY, 120, 1024, StrategyAccess(confined=False))


class DashboardBench(Bench):
    def __init__(self, host: JesseHost, client: DashboardClient, folder: Path) -> None:
        self._client = client
        self._strategies = host.project / "strategies"
        rows = {}
        for seed, name in enumerate(SYMBOLS):
            key = SeriesKey(exchange=EXCHANGE, symbol=name)
            rows[name] = in_jesse(client, key, synthetic_candles(FIRST_MS, DAYS * DAY, seed))
        super().__init__("dashboard", folder, rows)

    def another(self) -> BacktestEngine:
        return DashboardEngine(self._client, CAPACITY, run_timeout=120, stall_seconds=60)

    def left_in_project(self) -> list[str]:
        return [path.name for path in self._strategies.iterdir() if path.name.startswith("Probe_mcp_")]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["embedded", "dashboard"])
async def shared(
    request: pytest.FixtureRequest, engine_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "embedded":
        bench: Bench = EmbeddedBench(engine_python, folder)
        yield bench
        await bench.engine.close()
        return
    host: JesseHost = request.getfixturevalue("jesse_host")
    client = DashboardClient(host.url, Credentials(password=SecretStr(PASSWORD)))
    of_jesse = DashboardBench(host, client, folder)
    yield of_jesse
    await of_jesse.engine.close()
    assert of_jesse.left_in_project() == []
    client.close()


@pytest.fixture
def bench(shared: Bench) -> Bench:
    shared.forget_reports()
    return shared


def silent(_fraction: float, _message: str) -> None:
    return None


def start(engine: BacktestEngine, run: EngineRun) -> "asyncio.Task[EngineOutcome]":
    return asyncio.create_task(engine.run(run, silent))


async def failure_of(awaitable: Awaitable[Any]) -> ResearchError:
    with pytest.raises(ResearchError) as raised:
        await awaitable
    return raised.value


async def failures_of(bench: Bench, runs: Iterable[EngineRun]) -> list[ResearchError]:
    return await asyncio.gather(*(failure_of(bench.engine.run(run, silent)) for run in runs))


async def until(condition: Callable[[], object], otherwise: str, seconds: float = 120) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)
    assert condition(), otherwise


def numbers(outcome: EngineOutcome) -> dict[str, Any]:
    return outcome.model_dump(include={"metrics", "undefined", "trades", "equity", "hyperparameters"})


async def test_an_exception_in_any_hook_is_shown_where_it_was_raised(bench: Bench) -> None:
    # An exception takes one way out of Jesse whatever hook it comes from, and a run there costs seconds.
    hooks = HOOKS if bench.embedded else HOOKS[::3]
    codes = [HOOKED.replace("{hook}", hook) for hook in hooks]
    errors = await failures_of(bench, (bench.run(code=code, symbols=SYMBOLS) for code in codes))
    for hook, code, error in zip(hooks, codes, errors, strict=True):
        assert (error.code, error.message) == (
            ErrorCode.STRATEGY_RAISED,
            f"the strategy raised RuntimeError: boom in {hook}",
        ), error.to_dict()
        line = code.splitlines().index(f'    raise RuntimeError("boom in {hook}")') + 1
        assert error.details["line"] == line, hook
        assert f"strategies/Probe/__init__.py:{line} in boom" in str(error.details["traceback"]), hook
        assert "engine_side" not in str(error.details["traceback"]), hook
        assert error.hint, hook


#: Jesse's own worker dies of these when it takes down the message: crashes there, and one is enough.
UNPRINTABLE = "class Mute(Exception):\n    def __str__(self): raise SystemExit\nraise Mute"
HALF_A_CHARACTER = r"raise ValueError('half \ud83d')"
#: What is done, what the message says of it.
EXPLAINED = {
    "import no_such_package": "raised ModuleNotFoundError: No module named 'no_such_package'",
    "self.act()": "raised RecursionError",
    UNPRINTABLE: "raised Mute: (its message could not be rendered)",
    HALF_A_CHARACTER: "half ?",
    "raise ValueError('x' * 5_000_000)": "raised ValueError: xxx",
    "import jesse.helpers as jh; jh.app_currency = None": "raised TypeError",
}


async def test_what_a_strategy_raises_is_explained(bench: Bench) -> None:
    acts = {act: says for act, says in EXPLAINED.items() if bench.embedded or act != UNPRINTABLE}
    errors = await failures_of(bench, map(bench.run, acts))
    for (act, says), error in zip(acts.items(), errors, strict=True):
        assert error.hint
        if act == HALF_A_CHARACTER and not bench.embedded:
            assert error.code is ErrorCode.WORKER_CRASHED
            continue
        assert error.code is ErrorCode.STRATEGY_RAISED, (act, error.to_dict())
        assert says in error.message, (act, error.message[:500])
        assert len(str(error.to_dict())) < 30_000, act


#: Code of a module, how its run ends, what the message says, and the line it names.
MODULES = {
    "syntax": ("x = 1\nclass Probe(\n", ErrorCode.STRATEGY_RAISED, "raised SyntaxError", 2),
    "import": (
        f"import no_such_package\n{IDLE}",
        ErrorCode.STRATEGY_RAISED,
        "raised ModuleNotFoundError: No module named 'no_such_package'",
        1,
    ),
    "nothing": ("x = 1\n", ErrorCode.RUN_REJECTED, "no strategy class Probe", None),
    "no strategy": ("class Probe: pass\n", ErrorCode.RUN_REJECTED, "no strategy class Probe", None),
    "abstract": (
        "from jesse.strategies import Strategy\nclass Probe(Strategy): pass\n",
        ErrorCode.STRATEGY_RAISED,
        "mandatory methods",
        None,
    ),
}


async def test_a_module_that_cannot_be_loaded(bench: Bench) -> None:
    errors = await failures_of(bench, (bench.run(code=code) for code, *_ in MODULES.values()))
    for (name, (_, code, says, line)), error in zip(MODULES.items(), errors, strict=True):
        assert error.code is code, (name, error.to_dict())
        assert says in error.message, (name, error.message)
        assert error.details.get("line") == line, name
        assert error.hint, name


async def test_a_module_that_leaves_is_a_crash(bench: Bench) -> None:
    error = await failure_of(bench.engine.run(bench.run(code=f"import os\nos._exit(9)\n{IDLE}"), silent))
    assert error.code is ErrorCode.WORKER_CRASHED
    assert "exit status 9" in error.message


async def test_a_run_beside_a_crash_is_not_affected(bench: Bench) -> None:
    crashing, calm = bench.run("import ctypes; ctypes.string_at(0)"), bench.run()
    before, crash, after = await asyncio.gather(
        *(bench.engine.run(run, silent) for run in (calm, crashing, calm)), return_exceptions=True
    )
    assert isinstance(before, EngineOutcome)
    assert isinstance(after, EngineOutcome)
    assert len(before.trades) > 10
    assert numbers(before) == numbers(after)
    assert isinstance(crash, ResearchError)
    assert crash.code is ErrorCode.WORKER_CRASHED
    assert "SIGSEGV" in crash.message


async def test_a_result_does_not_depend_on_the_runs_before_it(bench: Bench) -> None:
    patching = bench.run(
        "from jesse.config import config; [e.update(fee=9) for e in config['env']['exchanges'].values()]",
        symbols=SYMBOLS,
    )
    first = await bench.engine.run(bench.run(hyperparameters={"period": 4}), silent)
    await asyncio.gather(bench.engine.run(patching, silent), return_exceptions=True)
    again = await bench.engine.run(bench.run(hyperparameters={"period": 4}), silent)
    assert len(first.trades) > 10
    assert numbers(again) == numbers(first)
    assert first.hyperparameters == {"period": 4}


async def test_no_trade_at_all(bench: Bench) -> None:
    outcome = await bench.engine.run(
        bench.run(
            "type(self).should_long = lambda self: False\ntype(self).should_short = lambda self: False"
        ),
        silent,
    )
    assert outcome.trades == ()
    assert outcome.metrics == {"total": 0, "win_rate": 0, "net_profit_percentage": 0, "annualization": 365}
    assert {point.balance for point in outcome.equity} == {10_000.0}
    assert len(outcome.equity) == DAYS


async def test_hyperparameters_of_any_type_are_reported(bench: Bench) -> None:
    code = bench.run().source["strategies/Probe/__init__.py"].replace('self.hp["period"]', "6")
    code += """
    def hyperparameters(self):
        import numpy as np
        values = dict(n=None, np=np.float64(1.5), t=(1, 2), nan=float('nan'), yes=True, symbol=self.symbol)
        return [dict(name=name, type=type(value), default=value) for name, value in values.items()]
"""
    outcome = await bench.engine.run(bench.run(code=code), silent)
    assert outcome.hyperparameters == {
        "n": "None",
        "np": 1.5,
        # Jesse hands them out as JSON, which has neither tuples nor NaN.
        "t": "(1, 2)" if bench.embedded else "[1, 2]",
        "nan": "nan" if bench.embedded else "None",
        "yes": True,
        "symbol": SYMBOLS[0],
    }


async def test_hyperparameters_that_do_not_fit_are_named(bench: Bench) -> None:
    values: list[dict[str, Any]] = [{"perod": 4}, {"period": 4.5}]
    errors = await failures_of(bench, (bench.run(hyperparameters=one) for one in values))
    assert [error.code for error in errors] == [ErrorCode.RUN_REJECTED] * 2
    assert errors[0].message == "hyperparameter 'perod' is declared by no strategy of this run"
    assert errors[0].hint == "did you mean 'period'?"
    assert "int" in errors[1].message
    assert errors[1].hint


async def test_a_log_of_many_entries_says_that_it_was_cut(bench: Bench) -> None:
    many = "[self.log(f'entry {number} of it') for number in range(250)]"
    tail = (await bench.engine.run(bench.run(many), silent)).log_tail
    said, *lines = tail.splitlines()
    assert said == "[cut: only the last 200 entries were kept]"
    assert sum(line.startswith("2024-01-") for line in lines) == 200, "some entries have many lines"
    assert "entry 0 of it" not in tail


async def test_a_failed_run_shows_what_was_logged_before(bench: Bench) -> None:
    error = await failure_of(bench.engine.run(bench.run("self.log('logged')\n1 / 0"), silent))
    assert error.code is ErrorCode.STRATEGY_RAISED
    assert "logged" in str(error.details["log_tail"])


async def test_progress_only_grows(bench: Bench) -> None:
    heard: list[tuple[float, str]] = []
    run = bench.run("type(self).after = lambda self: time.sleep(0.02)")
    await bench.engine.run(run, lambda fraction, message: heard.append((fraction, message)))
    assert heard[0][0] == 0.0
    assert (0.0, "loading") in heard
    fractions = [fraction for fraction, message in heard if message == "simulating"]
    assert fractions
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] <= fractions[-1] <= 1


async def test_no_more_runs_at_once_than_the_capacity_and_a_queued_one_can_be_cancelled(bench: Bench) -> None:
    engine = bench.engine
    assert engine.capacity == CAPACITY
    running = [start(engine, bench.run("announce(); gate()")) for _ in range(CAPACITY)]
    await until(lambda: bench.reported() == CAPACITY, "the runs never started")
    queued = start(engine, bench.run("announce()"))
    third = start(engine, bench.run())
    await asyncio.sleep(0)
    assert (await engine.status())["workers"] == {"capacity": CAPACITY, "busy": CAPACITY}
    queued.cancel()
    await asyncio.wait([queued])
    assert queued.cancelled()
    bench.open_gate()
    outcomes = await asyncio.gather(*running, third)
    assert all(numbers(outcome) == numbers(outcomes[0]) for outcome in outcomes)
    assert bench.reported() == CAPACITY, "what was cancelled in the queue never ran"
    assert (await engine.status())["workers"]["busy"] == 0


async def test_a_run_cancelled_twice_is_cancelled(bench: Bench) -> None:
    task = start(bench.engine, bench.run("announce()\ntype(self).after = lambda self: time.sleep(0.2)"))
    await until(bench.reported, "the strategy never ran")
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert (await bench.engine.status())["workers"]["busy"] == 0


async def test_closing_ends_the_runs(bench: Bench) -> None:
    engine = bench.another()
    slow = bench.run("announce()\ntype(self).after = lambda self: time.sleep(0.2)")
    tasks = [start(engine, slow) for _ in range(CAPACITY + 1)]
    await until(lambda: bench.reported() == CAPACITY, "the runs never started")
    await engine.close()
    for refused in (*tasks, engine.run(slow, silent)):
        error = await failure_of(refused)
        assert (error.code, error.message) == (ErrorCode.ENGINE_FAILED, "the engine has been closed")
    await engine.close()


async def test_closing_what_never_ran(bench: Bench) -> None:
    await bench.another().close()


async def test_an_engine_is_known_before_it_runs(bench: Bench) -> None:
    """The identity is part of what identifies a stored answer, and looking at an engine starts nothing."""
    engines = [bench.another(), bench.another()]
    identities = {await asyncio.to_thread(engine.identity) for engine in engines}
    assert len(identities) == 1
    assert "3.5.3" in identities.pop()
    status = await engines[0].status()
    assert status["kind"] == bench.kind
    assert status["workers"] == {"capacity": CAPACITY, "busy": 0}
    for engine in engines:
        await engine.close()
