"""What a strategy does to its process stays in its process.

Every test lets a strategy misbehave, then looks at three things: the error is clear, the next run has exactly
the result it always has, and nothing is left running or lying about. A running Jesse has its own processes,
which we can neither limit nor look into: none of this can be asked of it. What both engines say of a strategy
that fails is in ``test_engine_contract.py``.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from jesse_mcp.adapters.embedded.access import StrategyAccess
from jesse_mcp.adapters.embedded.engine import EmbeddedEngine
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.backtests import BacktestRequest, CandleSlice, EngineOutcome, EngineRun, Route
from jesse_mcp.domain.errors import ErrorCode, ResearchError

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXCHANGE = "Binance Perpetual Futures"
START_MS = 1_704_067_200_000
DAYS = 10
MEMORY_MB = 512
#: Of runs that are to meet it.
TIMEOUT_SECONDS = 4.0
#: Of all others: how long they take is up to the machine and what else it does.
PATIENCE_SECONDS = 120.0
#: Seconds that programs sleep which strategies start; no other test process uses the same number.
A_WHILE = f"600.{os.getpid()}"
SENTINEL = "sentinel-of-the-isolation-tests"

STRATEGY = """\
import os, sys, threading, time
from jesse.strategies import Strategy


class Probe(Strategy):
    def should_long(self):
        return self.index % 6 == 0

    def should_short(self):
        return self.index % 6 == 3

    def go_long(self):
        self.buy = 1, self.price
        self.misbehave()

    def go_short(self):
        self.sell = 1, self.price

    def update_position(self):
        if self.index % 3 == 2:
            self.liquidate()

    def misbehave(self):
        if self.index:
            return
{misbehaviour}
"""


@dataclass(frozen=True)
class Misbehaviour:
    """Code in the body of a method that is called once, early in the run."""

    name: str
    code: str
    error: ErrorCode | None = None
    message: str = ""


HARMLESS = [
    Misbehaviour("floods standard output", "for _ in range(30): print('x' * 10_000_000)"),
    Misbehaviour("prints without end of line", "print('unfinished', end='')"),
    Misbehaviour("closes standard output", "sys.stdout.close(); sys.stderr.close()"),
    Misbehaviour("has no standard output", "sys.stdout = sys.stderr = None"),
    Misbehaviour("closes what it found at 0, 1 and 2", "for n in range(3): os.close(n)"),
    Misbehaviour("reads standard input", "assert sys.stdin.read() == ''"),
    Misbehaviour("forks a sleeper", "if os.fork() == 0: time.sleep(600); os._exit(0)"),
    Misbehaviour(
        "forks a daemon",
        """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
os.wait()
""",
    ),
    Misbehaviour(
        "forks a daemon that lets go of everything",
        """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        os.closerange(0, 64)
        time.sleep(600)
    os._exit(0)
os.wait()
""",
    ),
    Misbehaviour(
        "forks ten daemons in sessions of their own",
        """
for _ in range(10):
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
        os._exit(0)
""",
    ),
    Misbehaviour(
        "hops from process to process",
        """
if os.fork() == 0:
    os.setsid()
    for _ in range(200_000):
        if os.fork():
            os._exit(0)
    os._exit(0)
""",
    ),
    Misbehaviour(
        "starts another program",
        "import subprocess; subprocess.Popen(['sleep', 'A-WHILE'], start_new_session=True)",
    ),
    Misbehaviour(
        "starts another program without an environment",
        "import subprocess; subprocess.Popen(['sleep', 'A-WHILE'], start_new_session=True, env={}, cwd='/')",
    ),
    Misbehaviour("changes the directory", "os.chdir('/')"),
    Misbehaviour(
        "starts threads that never end",
        "[threading.Thread(target=time.sleep, args=(600,)).start() for _ in range(20)]",
    ),
    Misbehaviour(
        "starts a thread that takes the processor",
        """
def spin():
    while True: pass
threading.Thread(target=spin).start()
""",
    ),
    Misbehaviour("hangs at exit", "import atexit; atexit.register(time.sleep, 600)"),
    Misbehaviour(
        "ignores signals",
        "import signal; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 3, 13, 14, 15)]",
    ),
    Misbehaviour("blocks signals", "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))"),
    Misbehaviour("replaces os._exit", "os._exit = lambda *_: None"),
    Misbehaviour(
        "replaces Jesse's metrics",
        "import jesse.services.metrics as m; m.trades = lambda *_, **__: {'total': 1}",
    ),
    Misbehaviour(
        "replaces Jesse's fees",
        "from jesse.config import config; [e.update(fee=9) for e in config['env']['exchanges'].values()]",
    ),
    Misbehaviour(
        "replaces the base class",
        "Strategy.should_short = lambda self: False; Strategy._reset = lambda self: None",
    ),
    Misbehaviour("replaces print", "import builtins; builtins.print = None"),
    Misbehaviour(
        "sets variables",
        "os.environ.update(HOME='/', PATH='', LD_PRELOAD='/nonexistent', PYTHONHASHSEED='7')",
    ),
    Misbehaviour("rewrites its own source", "open(__file__, 'w').write('raise SystemExit')"),
    Misbehaviour("deletes its own source", "import shutil; shutil.rmtree(os.path.dirname(__file__))"),
    Misbehaviour(
        "deletes the scratch folder",
        """
import shutil
home = os.environ['HOME']
assert os.sep + 'scratch' + os.sep in home and 'pytest' in home
shutil.rmtree(home, ignore_errors=True)
""",
    ),
    Misbehaviour("writes where Jesse looks for a project", "os.makedirs('storage/logs')"),
    Misbehaviour(
        "litters",
        "open(os.path.join(os.environ['HOME'], f'run-litter-{os.getpid()}'), 'w').close(); os.mkdir('deep')",
    ),
    Misbehaviour("becomes nice", "os.nice(5)"),
    Misbehaviour(
        "lowers its limits", "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))"
    ),
]

FATAL = [
    Misbehaviour("loops for ever", "while True: pass", ErrorCode.RUN_TIMEOUT, "stopped after 4 s"),
    Misbehaviour(
        "never lets go of the interpreter", "any(iter(int, 1))", ErrorCode.RUN_TIMEOUT, "stopped after 4 s"
    ),
    Misbehaviour("sleeps for ever", "time.sleep(1e6)", ErrorCode.RUN_TIMEOUT, "stopped after 4 s"),
    Misbehaviour(
        "swallows every exception",
        """
import signal
for n in (1, 2, 3, 15): signal.signal(n, signal.SIG_IGN)
while True:
    try:
        while True: sys.exit(1)
    except BaseException:
        pass
""",
        ErrorCode.RUN_TIMEOUT,
        "stopped after 4 s",
    ),
    Misbehaviour(
        "floods without end", "while True: os.write(1, b'x' * 65_536)", ErrorCode.RUN_TIMEOUT, "stopped after"
    ),
    Misbehaviour(
        "allocates lists", "x = []\nwhile True: x.append(' ' * 1_000_000)", ErrorCode.MEMORY_LIMIT, "512 MiB"
    ),
    Misbehaviour(
        "allocates little by little",
        "x = []\nwhile True: x.append(bytes(90))",
        ErrorCode.MEMORY_LIMIT,
        "512 MiB",
    ),
    Misbehaviour(
        "allocates arrays",
        "import numpy as np; x = [np.ones(10**6) for _ in range(1_000)]",
        ErrorCode.MEMORY_LIMIT,
        "512 MiB",
    ),
    Misbehaviour(
        "allocates shared memory", "import mmap; mmap.mmap(-1, 64 * 2**30)", ErrorCode.MEMORY_LIMIT, "512 MiB"
    ),
    Misbehaviour("exits", "sys.exit(3)", ErrorCode.STRATEGY_RAISED, "raised SystemExit: 3"),
    Misbehaviour(
        "interrupts", "raise KeyboardInterrupt", ErrorCode.STRATEGY_RAISED, "raised KeyboardInterrupt"
    ),
    Misbehaviour("leaves at once", "os._exit(7)", ErrorCode.WORKER_CRASHED, "exit status 7"),
    Misbehaviour("leaves as if all were well", "os._exit(0)", ErrorCode.WORKER_CRASHED, "exit status 0"),
    Misbehaviour("aborts", "os.abort()", ErrorCode.WORKER_CRASHED, "SIGABRT"),
    Misbehaviour(
        "crashes the interpreter", "import ctypes; ctypes.string_at(0)", ErrorCode.WORKER_CRASHED, "SIGSEGV"
    ),
    Misbehaviour("kills itself", "os.kill(os.getpid(), 9)", ErrorCode.WORKER_CRASHED, "SIGKILL"),
    Misbehaviour("kills its group", "os.killpg(0, 15)", ErrorCode.WORKER_CRASHED, "SIGTERM"),
    Misbehaviour(
        "becomes another program", "os.execvp('sleep', ['sleep', 'A-WHILE'])", ErrorCode.WORKER_CRASHED, ""
    ),
    Misbehaviour(
        "closes all descriptors", "os.closerange(0, 256)", ErrorCode.WORKER_CRASHED, "could not hand over"
    ),
    Misbehaviour(
        "closes all descriptors and stays",
        "os.closerange(0, 256); time.sleep(600)",
        ErrorCode.WORKER_CRASHED,
        "could not hand over",
    ),
    Misbehaviour("replaces os.write", "os.write = None", ErrorCode.WORKER_CRASHED, "could not hand over"),
    Misbehaviour("recurses", "self.misbehave()", ErrorCode.STRATEGY_RAISED, "raised RecursionError"),
    Misbehaviour(
        "recurses in C",
        "sys.setrecursionlimit(10**9)\nx, y = [], []\nfor _ in range(10**6): x, y = [x], [y]\nx == y",
        ErrorCode.WORKER_CRASHED,
        "SIGSEGV",
    ),
    Misbehaviour(
        "starts threads without end",
        "while True: threading.Thread(target=time.sleep, args=(600,)).start()",
        ErrorCode.STRATEGY_RAISED,
        "can't start new thread",
    ),
    Misbehaviour(
        "imports what is not there",
        "import no_such_package",
        ErrorCode.STRATEGY_RAISED,
        "No module named 'no_such_package'",
    ),
    Misbehaviour(
        "raises what cannot be printed",
        """
class Mute(Exception):
    def __str__(self): raise SystemExit
raise Mute
""",
        ErrorCode.STRATEGY_RAISED,
        "raised Mute: \\(its message could not be rendered\\)",
    ),
    Misbehaviour(
        "raises half a character", r"raise ValueError('half \ud83d')", ErrorCode.STRATEGY_RAISED, r"half \?"
    ),
    Misbehaviour(
        "raises a book",
        "raise ValueError('x' * 50_000_000)",
        ErrorCode.STRATEGY_RAISED,
        "raised ValueError: xxx",
    ),
    Misbehaviour(
        "has Jesse fail",
        "import jesse.helpers as jh; jh.app_currency = None",
        ErrorCode.STRATEGY_RAISED,
        "raised TypeError",
    ),
]

# These take the template with them, so that each costs a new one.
#: To every socket it has, for one of them leads to us.
_SAID = """
import json, socket, struct
text = json.dumps({said}).encode()
for n in range(3, 64):
    try:
        socket.socket(fileno=os.dup(n)).sendall(struct.pack(">I", len(text)) + text)
    except OSError:
        pass
"""
FATAL += [
    Misbehaviour(
        f"answers {said}", _SAID.format(said=said), ErrorCode.WORKER_CRASHED, "ended|exit|left|killed"
    )
    for said in ("{'event': 'result'}", "{'event': 'failed'}", "{'event': 'result', 'metrics': 7}")
]
FATAL_TO_ALL = [
    Misbehaviour(
        "kills the template",
        "os.kill(os.getppid(), 9)",
        ErrorCode.WORKER_CRASHED,
        "engine process was killed",
    ),
    Misbehaviour(
        "stops the template",
        "os.kill(os.getppid(), 19); os._exit(1)",
        ErrorCode.WORKER_CRASHED,
        "engine process was killed",
    ),
    Misbehaviour(
        "leaves daemons and kills the template",
        """
import ctypes, subprocess
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
        time.sleep(600)
    os._exit(0)
if os.fork() == 0:
    time.sleep(600)
subprocess.Popen(['sleep', 'A-WHILE'], start_new_session=True, env={})
subprocess.Popen(['sleep', 'A-WHILE'], start_new_session=True, cwd='/')
ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
os.kill(os.getppid(), 9)
time.sleep(600)
""",
        ErrorCode.WORKER_CRASHED,
        "engine process was killed",
    ),
]


def project(code: str, **others: str) -> dict[str, str]:
    return {"strategies/Probe/__init__.py": code} | others


def probe(misbehaviour: str) -> dict[str, str]:
    code = misbehaviour.strip("\n").replace("A-WHILE", A_WHILE)
    body = "\n".join(f"        {line}" for line in code.splitlines())
    return project(STRATEGY.format(misbehaviour=body))


MakeRun = Callable[..., EngineRun]


@pytest.fixture(scope="module")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    path = tmp_path_factory.mktemp("candles") / "series.f64"
    minutes = DAYS * 1_440
    synthetic_candles(START_MS, minutes, seed=4).astype("<f8").tofile(path)

    def make(source: dict[str, str], symbols: tuple[str, ...] = ("BTC-USDT",)) -> EngineRun:
        request = BacktestRequest(
            exchange=EXCHANGE,
            exchange_type="futures",
            routes=tuple(Route(strategy="Probe", symbol=symbol, timeframe="1h") for symbol in symbols),
            start_ms=START_MS,
            end_ms=START_MS + minutes * 60_000,
            starting_balance=10_000.0,
            fee=0.0004,
            warm_up_candles=0,
            fast_mode=True,
        )
        slices = tuple(
            CandleSlice(
                exchange=EXCHANGE,
                symbol=symbol,
                path=str(path),
                total_rows=minutes,
                start_row=0,
                trading_row=0,
                end_row=minutes,
                content_hash="the same",
            )
            for symbol in symbols
        )
        return EngineRun(request=request, source=source, candles=slices)

    return make


class Laboratory:
    """An engine, what a run on it has to answer, and what it may leave behind: nothing."""

    def __init__(self, engine: EmbeddedEngine, cache: Path, reference: EngineRun) -> None:
        self.engine = engine
        self._cache = cache
        self._reference_run = reference
        self._reference: EngineOutcome | None = None

    async def run(self, run: EngineRun) -> EngineOutcome:
        return await self.engine.run(run, lambda _fraction, _message: None)

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Runs meet the time limit soon, as one engine has to serve them all."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.engine, "_run_timeout", TIMEOUT_SECONDS)
            yield

    async def calibrate(self) -> None:
        self._reference = await self.run(self._reference_run)
        assert len(self._reference.trades) > 20

    def same(self, outcome: EngineOutcome) -> bool:
        assert self._reference is not None
        ignored = {"timings", "log_tail"}
        return outcome.model_dump(exclude=ignored) == self._reference.model_dump(exclude=ignored)

    async def assert_untouched(self) -> None:
        """The next run is what it always was, and nothing is left of any run before it."""
        assert self.same(await self.run(self._reference_run))
        await eventually(self._is_clean, lambda: f"{self._strangers()} {self._litter()}")

    def _is_clean(self) -> bool:
        return not self._strangers() and not self._litter()

    def _strangers(self) -> list[str]:
        """Processes of this engine other than one template and one worker in waiting; none escape by name."""
        templates = psutil.Process().children()
        ours = self.processes()
        template = [process for process in ours if process in templates]
        standby = [process for one in template for process in children_of(one) if process in ours]
        expected = set(template[:1] + standby[:1])
        return [str(process) for process in ours if process not in expected]

    def processes(self) -> list[psutil.Process]:
        """Every process of this engine, wherever it hangs in the tree."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            marked = str(self._cache) in process.environ().get("HOME", "")
            # One whose environment was taken away is told by its argument.
            return marked or process.cmdline() == ["sleep", A_WHILE]
        except psutil.Error:
            return False

    def _litter(self) -> list[str]:
        scratch = list((self._cache / "scratch").iterdir())
        runs = [path for folder in scratch for path in folder.glob("run-*") if path.is_dir()]
        return [str(path) for path in (*scratch[1:], *runs)]


def children_of(process: psutil.Process) -> list[psutil.Process]:
    """None of one that ends while it is looked at."""
    try:
        return process.children()
    except psutil.Error:
        return []


async def eventually(condition: Callable[[], bool], describe: Callable[[], str], seconds: float = 60) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, describe()
        await asyncio.sleep(0.02)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def laboratory(
    engine_python: Path, tmp_path_factory: pytest.TempPathFactory, make_run: MakeRun
) -> AsyncIterator[Laboratory]:
    async with opened(engine_python, tmp_path_factory.mktemp("cache"), make_run, StrategyAccess()) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def unlocked(
    engine_python: Path, tmp_path_factory: pytest.TempPathFactory, make_run: MakeRun
) -> AsyncIterator[Laboratory]:
    """What holds where the system confines nothing."""
    access = StrategyAccess(confined=False)
    async with opened(engine_python, tmp_path_factory.mktemp("cache"), make_run, access) as found:
        yield found


@asynccontextmanager
async def opened(
    engine_python: Path, cache: Path, make_run: MakeRun, access: StrategyAccess
) -> AsyncIterator[Laboratory]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JESSE_MCP_TEST_SECRET", SENTINEL)
        patch.setenv("HTTPS_PROXY", f"http://user:{SENTINEL}@127.0.0.1:9")
        engine = EmbeddedEngine(cache, engine_python, 2, PATIENCE_SECONDS, MEMORY_MB, access)
        laboratory = Laboratory(engine, cache, make_run(probe("pass")))
        await laboratory.calibrate()
        yield laboratory
        await engine.close()
    left = laboratory.processes()
    for process in left:
        process.kill()
    assert not left
    assert not list((cache / "scratch").iterdir())


@pytest.mark.parametrize("case", HARMLESS, ids=lambda case: case.name)
async def test_runs_to_its_end_and_harms_nobody(
    case: Misbehaviour, laboratory: Laboratory, make_run: MakeRun
) -> None:
    outcome = await laboratory.run(make_run(probe(case.code)))
    assert outcome.metrics["total"] or outcome.trades
    await laboratory.assert_untouched()


@pytest.mark.parametrize("case", FATAL_TO_ALL, ids=lambda case: case.name)
async def test_cannot_reach_the_template(
    case: Misbehaviour, laboratory: Laboratory, make_run: MakeRun
) -> None:
    with pytest.raises(ResearchError) as raised:
        await laboratory.run(make_run(probe(case.code)))
    assert raised.value.code is ErrorCode.STRATEGY_RAISED, raised.value.to_dict()
    assert raised.value.details["exception"] == "PermissionError"
    assert "JESSE_MCP_STRATEGY_READS" in str(raised.value.hint)
    await laboratory.assert_untouched()


@pytest.mark.parametrize("case", FATAL_TO_ALL, ids=lambda case: case.name)
async def test_takes_the_template_with_it_where_nothing_holds_it(
    case: Misbehaviour, unlocked: Laboratory, make_run: MakeRun
) -> None:
    with pytest.raises(ResearchError) as raised:
        await unlocked.run(make_run(probe(case.code)))
    assert raised.value.code is case.error, raised.value.to_dict()
    assert re.search(case.message, raised.value.message), raised.value.to_dict()
    await unlocked.assert_untouched()


@pytest.mark.parametrize("case", FATAL, ids=lambda case: case.name)
async def test_fails_alone_and_says_why(
    case: Misbehaviour, laboratory: Laboratory, make_run: MakeRun
) -> None:
    limited = laboratory.limited() if case.error is ErrorCode.RUN_TIMEOUT else nullcontext()
    with limited, pytest.raises(ResearchError) as raised:
        await laboratory.run(make_run(probe(case.code)))
    assert raised.value.code is case.error, raised.value.to_dict()
    assert re.search(case.message, raised.value.message), raised.value.to_dict()
    assert raised.value.hint
    assert len(str(raised.value.to_dict())) < 30_000
    await laboratory.assert_untouched()


@pytest.mark.parametrize(
    ("code", "error", "message", "line"),
    [
        ("import sys\nsys.exit('bye')\n", ErrorCode.STRATEGY_RAISED, "raised SystemExit: bye", 2),
        ("import os\nos._exit(9)\n", ErrorCode.WORKER_CRASHED, "exit status 9", None),
        ("while True: pass\n", ErrorCode.RUN_TIMEOUT, "0% of the candles done", None),
    ],
    ids=["exit", "leave", "loop"],
)
async def test_a_module_that_does_not_let_itself_be_loaded(
    code: str,
    error: ErrorCode,
    message: str,
    line: int | None,
    laboratory: Laboratory,
    make_run: MakeRun,
) -> None:
    limited = laboratory.limited() if error is ErrorCode.RUN_TIMEOUT else nullcontext()
    with limited, pytest.raises(ResearchError) as raised:
        await laboratory.run(make_run(project(code)))
    assert raised.value.code is error, raised.value.to_dict()
    assert message in raised.value.message
    assert raised.value.details.get("line") == line
    await laboratory.assert_untouched()


async def test_no_secret_of_the_server_is_in_the_environment(
    laboratory: Laboratory, make_run: MakeRun
) -> None:
    assert os.environ["JESSE_MCP_TEST_SECRET"] == SENTINEL
    code = f"""
seen = str(dict(os.environ)).encode()
seen += open('/proc/self/environ', 'rb').read()
assert {SENTINEL[:8]!r}.encode() not in seen, 'a secret is visible'
print('looked at', len(seen))
"""
    outcome = await laboratory.run(make_run(probe(code)))
    assert "looked at" in outcome.log_tail


async def test_what_is_printed_is_kept_in_order(laboratory: Laboratory, make_run: MakeRun) -> None:
    """A running Jesse prints it on its own terminal."""
    code = """
import subprocess
print('one')
os.write(1, b'two\\n')
os.write(2, b'three\\n')
subprocess.run(['echo', 'four'])
sys.stderr.write('five\\n')
print('six', end='')
"""
    outcome = await laboratory.run(make_run(probe(code)))
    assert outcome.log_tail.endswith("one\ntwo\nthree\nfour\nfive\nsix")


async def test_the_log_of_a_flood_is_bounded(laboratory: Laboratory, make_run: MakeRun) -> None:
    outcome = await laboratory.run(make_run(probe("print('x' * 50_000_000)\nprint('the end')")))
    assert outcome.log_tail.endswith("x\nthe end\n")
    assert "[cut: only the last 16384 bytes were kept]\nxxx" in outcome.log_tail
    assert len(outcome.log_tail) < 64 * 1024


async def test_a_failed_run_shows_what_was_logged_and_printed_before(
    laboratory: Laboratory, make_run: MakeRun
) -> None:
    with pytest.raises(ResearchError) as raised:
        await laboratory.run(make_run(probe("self.log('logged')\nprint('printed')\n1 / 0")))
    tail = str(raised.value.details["log_tail"])
    assert "logged" in tail
    assert tail.endswith("printed\n")


async def test_a_project_may_use_the_names_of_our_modules(laboratory: Laboratory, make_run: MakeRun) -> None:
    """In a running Jesse there are none of ours."""
    names = ("engine", "worker", "channel", "projects", "failures", "priming", "template", "confinement")
    imports = "\n".join(f"import {name}; assert {name}.own" for name in names)
    others = {f"{name}.py": "own = True" for name in names}
    outcome = await laboratory.run(
        make_run(project(probe(imports)["strategies/Probe/__init__.py"], **others))
    )
    assert laboratory.same(outcome)


async def test_random_numbers_repeat(laboratory: Laboratory, make_run: MakeRun) -> None:
    """A running Jesse does not seed them."""
    code = "import random, numpy as np; print('drawn', random.random(), np.random.rand())"
    logs = [(await laboratory.run(make_run(probe(code)))).log_tail for _ in range(2)]
    assert "drawn 0." in logs[0]
    assert logs[0] == logs[1]


async def test_a_run_beside_a_crash_is_not_affected(laboratory: Laboratory, make_run: MakeRun) -> None:
    crashing = make_run(probe("import ctypes; ctypes.string_at(0)"))
    calm = make_run(probe("pass"))
    outcomes = await asyncio.gather(
        *(laboratory.run(run) for run in (calm, crashing, calm, crashing, calm)), return_exceptions=True
    )
    for outcome in outcomes[::2]:
        assert isinstance(outcome, EngineOutcome)
        assert laboratory.same(outcome)
    for error in outcomes[1::2]:
        assert isinstance(error, ResearchError)
        assert error.code is ErrorCode.WORKER_CRASHED
    await laboratory.assert_untouched()
