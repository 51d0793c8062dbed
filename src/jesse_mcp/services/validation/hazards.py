"""Code that reaches out of the run, or whose result differs from run to run."""

import ast
from collections.abc import Iterator

from jesse_mcp.domain.strategies import Finding
from jesse_mcp.services.validation.findings import warning
from jesse_mcp.services.validation.source import Source

_CODE = frozenset({"exec", "eval", "compile", "__import__"})
_CODE_MODULES = frozenset({"importlib", "runpy", "pickle", "marshal", "dill", "cloudpickle", "joblib"})
_NETWORK = frozenset(
    {
        "aiohttp",
        "asyncio",
        "ccxt",
        "ftplib",
        "http",
        "httpx",
        "requests",
        "smtplib",
        "socket",
        "socketserver",
        "ssl",
        "telnetlib",
        "urllib",
        "urllib3",
        "websocket",
        "websockets",
        "xmlrpc",
    }
)
_PROCESSES = frozenset(
    {"_thread", "concurrent", "ctypes", "multiprocessing", "pty", "ray", "signal", "subprocess", "threading"}
)
_FILES = frozenset({"glob", "pathlib", "shutil", "sqlite3", "tempfile"})
_OS_PROCESSES = ("system", "popen", "exec", "spawn", "fork", "posix_spawn", "kill", "startfile", "_exit")
_OS_FILES = frozenset(
    {
        "chdir",
        "chmod",
        "link",
        "listdir",
        "makedirs",
        "mkdir",
        "open",
        "remove",
        "removedirs",
        "rename",
        "replace",
        "rmdir",
        "scandir",
        "symlink",
        "truncate",
        "unlink",
        "walk",
    }
)
_BLOCKING = frozenset({"input", "breakpoint", "exit", "quit"})
_BLOCKING_CALLS = frozenset({"sys.exit", "time.sleep", "pdb.set_trace", "jesse.utils.dd", "jesse.helpers.dd"})
_CLOCKS = frozenset(
    {
        "datetime.datetime.now",
        "datetime.datetime.utcnow",
        "datetime.datetime.today",
        "datetime.date.today",
        "arrow.now",
        "arrow.utcnow",
        "time.time",
        "time.time_ns",
        "time.monotonic",
        "time.perf_counter",
        "time.localtime",
        "time.gmtime",
        "time.strftime",
        "time.ctime",
    }
)
_ENTROPY = frozenset(
    {
        "os.urandom",
        "os.getpid",
        "random.SystemRandom",
        "secrets",
        "uuid.uuid1",
        "uuid.uuid4",
        "os.getenv",
        "os.environ",
    }
)
_GENERATORS = frozenset(
    {
        "random.Random",
        "numpy.random.default_rng",
        "numpy.random.RandomState",
        "numpy.random.SeedSequence",
        "numpy.random.PCG64",
    }
)
_SEEDS = {"random": "random.seed", "numpy.random": "numpy.random.seed"}
_CLASSES = frozenset({"Generator", "BitGenerator", "PCG64", "MT19937", "Philox", "seed"})


def check_hazards(source: Source) -> Iterator[Finding]:
    """Every rule of this module."""
    yield from _modules(source)
    for call in source.calls():
        yield from _call(source, call)
    yield from _irreproducible(source)


def _modules(source: Source) -> Iterator[Finding]:
    rules = (
        ("network-access", _NETWORK, "can reach the network; a run has none to rely on"),
        ("process-access", _PROCESSES, "can start or steer other processes and threads"),
        ("file-access", _FILES, "can read and write files; a run sees only the strategy's own"),
        ("dynamic-code", _CODE_MODULES, "can load code that is not part of the strategy"),
    )
    seen: set[tuple[str, int]] = set()
    for item in source.imports:
        top = item.origin.partition(".")[0]
        if (top, item.node.lineno) in seen:
            continue
        seen.add((top, item.node.lineno))
        for rule, modules, danger in rules:
            if top in modules:
                yield warning(rule, f"module {top} {danger}", item.node)


def _call(source: Source, call: ast.Call) -> Iterator[Finding]:
    builtin = call.func.id if isinstance(call.func, ast.Name) and call.func.id not in source.bound else None
    dotted = source.dotted(call.func) or ""
    module, _, name = dotted.rpartition(".")
    if builtin in _CODE:
        yield warning("dynamic-code", f"{builtin} runs code that cannot be checked", call)
    elif builtin == "open" or (module == "os" and name in _OS_FILES):
        yield warning(
            "file-access", f"{builtin or dotted} reaches files; a run sees only the strategy's own", call
        )
    elif module == "os" and name.startswith(_OS_PROCESSES):
        yield warning("process-access", f"{dotted} steers other processes or ends this one", call)
    elif builtin in _BLOCKING or dotted in _BLOCKING_CALLS:
        yield warning(
            "stops-the-run", f"{builtin or dotted} stops or delays the whole run", call, "remove it"
        )


def _irreproducible(source: Source) -> Iterator[Finding]:
    seeded = {
        module
        for module, seed in _SEEDS.items()
        if any(source.dotted(call.func) == seed and (call.args or call.keywords) for call in source.calls())
    }
    rule = "not-reproducible"
    for node in source.nodes:
        # The longest chain only, so that np.random.normal is seen once.
        if not isinstance(node, ast.Attribute | ast.Name) or isinstance(source.parent(node), ast.Attribute):
            continue
        dotted = source.dotted(node) or ""
        if dotted in _CLOCKS:
            yield warning(
                rule,
                f"{dotted} reads the clock of the machine, not of the market",
                node,
                "use self.time (UTC milliseconds of the market)",
            )
        elif dotted in _ENTROPY or dotted.startswith(("secrets.", "os.environ.")):
            yield warning(rule, f"{dotted} differs from run to run", node)
        elif _is_unseeded(source, node, dotted, seeded):
            yield warning(
                rule,
                f"{dotted} draws without a fixed seed",
                node,
                "draw from numpy.random.default_rng(<a fixed number>)",
            )


def _is_unseeded(source: Source, node: ast.AST, dotted: str, seeded: set[str]) -> bool:
    parent = source.parent(node)
    called = parent if isinstance(parent, ast.Call) and parent.func is node else None
    if dotted in _GENERATORS:
        return called is not None and not called.args and not called.keywords
    module, _, name = dotted.rpartition(".")
    return called is not None and module in _SEEDS and module not in seeded and name not in _CLASSES
