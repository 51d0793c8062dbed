"""A strategy that goes after the server's secrets, files, network and processes: all of it must fail."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp_desk import RUN, SERIES, Desk, candle_file, environment, stdio_desk, strategy

SENTINEL = "sentinel-5b2c9e"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strategies are confined on Linux only")

_ATTEMPTS = """
import ctypes, json, os, pathlib, socket, subprocess, sys, tempfile

FOLDER, TCP, UDP, LOCAL, STRANGER = {folder!r}, {tcp}, {udp}, {local!r}, {stranger}


def ancestors():
    found, pid = [], os.getppid()
    while pid > 1:
        found.append(pid)
        pid = int(pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()[1])
    return found


def environments():
    found = []
    for pid in range(1, 100_000):
        if pid != os.getpid():
            try:
                found.append(open("/proc/%d/environ" % pid).read())
            except OSError:
                pass
    if not found:
        raise PermissionError
    return found


def link(kind):
    os.unlink("way") if os.path.lexists("way") else None
    kind(os.path.join(FOLDER, "secret"), "way")
    return open("way").read()


def traced():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, os.getppid(), 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def read_memory():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(310, os.getppid(), None, 0, None, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "process_vm_readv")


def sent(kind, address, family=socket.AF_INET):
    with socket.socket(family, kind) as one:
        one.settimeout(5)
        one.connect(address)
        one.send(b"secret")


ATTEMPTS = {{
    "environment of the engine": lambda: open("/proc/%d/environ" % os.getppid()).read(),
    "environment of every process": environments,
    "its ancestors": ancestors,
    "a file": lambda: open(os.path.join(FOLDER, "secret")).read(),
    "a file by a symbolic link": lambda: link(os.symlink),
    "a file by a hard link": lambda: link(os.link),
    "a file through /proc": lambda: open("/proc/self/root" + os.path.join(FOLDER, "secret")).read(),
    "a file through another program": lambda: subprocess.check_output(["cat", FOLDER + "/secret"]),
    "the database": lambda: open(os.path.join(FOLDER, "home", "research.sqlite"), "rb").read(),
    "the list of the home folder": lambda: os.listdir(os.path.join(FOLDER, "home")),
    "the strategies of others": lambda: os.listdir(os.path.join(FOLDER, "home", "strategies")),
    "runs beside it": lambda: os.listdir(os.path.dirname(os.getcwd())),
    "writing a file": lambda: open(os.path.join(FOLDER, "secret"), "w"),
    "making a file": lambda: open(os.path.join(FOLDER, "new"), "w"),
    "removing a file": lambda: os.remove(os.path.join(FOLDER, "secret")),
    "truncating a file": lambda: os.truncate(os.path.join(FOLDER, "secret"), 0),
    "writing to the engine's packages": lambda: open(os.path.dirname(json.__file__) + "/x.py", "w"),
    "accounts": lambda: open("/etc/shadow").read(),
    "its own candles": lambda: open({candles!r}, "r+b"),
    "TCP": lambda: sent(socket.SOCK_STREAM, ("127.0.0.1", TCP)),
    "UDP": lambda: sent(socket.SOCK_DGRAM, ("127.0.0.1", UDP)),
    "a socket in the file system": lambda: sent(socket.SOCK_STREAM, LOCAL, socket.AF_UNIX),
    "a signal to the engine": lambda: os.kill(os.getppid(), 0),
    "a signal to another process": lambda: os.kill(STRANGER, 0),
    "tracing the engine": traced,
    "reading the engine's memory": read_memory,
    "a new root": lambda: os.chroot("/"),
    "becoming another user": lambda: os.setuid(12345),
    "higher limits": lambda: __import__("resource").setrlimit(4, (1 << 40, 1 << 40)),
}}


def outcome(attempt):
    try:
        return "did it: " + repr(attempt())[:200]
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        return type(error).__name__
"""

_REPORT = """if self.index == 0:
            print("OUTCOMES " + json.dumps({name: outcome(one) for name, one in ATTEMPTS.items()}))"""

_ALLOWED = """if self.index == 0:
            import json, multiprocessing, os, pathlib, tempfile, time
            with tempfile.NamedTemporaryFile("w") as own:
                own.write("x")
            pathlib.Path("storage").mkdir(exist_ok=True)
            pathlib.Path("storage/notes.txt").write_text("mine")
            assert pathlib.Path("storage/notes.txt").read_text() == "mine"
            assert os.path.expanduser("~") == os.getcwd()
            import scipy.stats, pandas, numpy
            assert multiprocessing.cpu_count() > 0 and time.localtime()
            print("READ " + pathlib.Path({path!r}).read_text())"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("confined")
    (folder / "secret").write_text(SENTINEL)
    (folder / "shared").mkdir()
    (folder / "shared" / "model.json").write_text("weights")
    return folder


@pytest.fixture(scope="module")
def desk(folder: Path, engine_python: Path) -> Iterator[Desk]:
    surroundings = environment(
        folder,
        engine_python,
        JESSE_API_TOKEN=SENTINEL,
        JESSE_MCP_STRATEGY_READS=str(folder / "shared"),
    )
    with stdio_desk(surroundings, folder / "log") as desk:
        desk.call("candles_import", **SERIES, path=str(candle_file(folder / "btc.csv")))
        ran(desk, "Plain", strategy("Plain"))
        yield desk


def ran(desk: Desk, name: str, code: str) -> str:
    desk.call("strategy_write", name=name, code=code)
    answer = desk.call("backtest", **RUN, strategy=name)
    log: str = desk.call("run_get", run_id=answer["run"]["run_id"], include=["log"])["log"]
    return log


@pytest.fixture(scope="module")
def outcomes(desk: Desk, folder: Path) -> dict[str, str]:
    mapped = next(path for path in (folder / "home" / "candles").rglob("*") if path.is_file())
    local = str(folder / "socket")
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        udp.bind(("127.0.0.1", 0))
        unix.bind(local)
        unix.listen()
        attempts = _ATTEMPTS.format(
            folder=str(folder),
            tcp=tcp.getsockname()[1],
            udp=udp.getsockname()[1],
            local=local,
            candles=str(mapped),
            stranger=os.getpid(),
        )
        log = ran(desk, "Thief", attempts + strategy("Thief", _REPORT))
    line = next(line for line in log.splitlines() if line.startswith("OUTCOMES "))
    found: dict[str, str] = json.loads(line.removeprefix("OUTCOMES "))
    return found


def test_every_attempt_fails(outcomes: dict[str, str], folder: Path) -> None:
    assert {name: what for name, what in outcomes.items() if what.startswith("did it")} == {}
    assert len(outcomes) > 25
    assert (folder / "secret").read_text() == SENTINEL
    assert not (folder / "new").exists()
    assert SENTINEL not in json.dumps(outcomes)


def test_what_strategies_need_works_and_named_folders_can_be_read(desk: Desk, folder: Path) -> None:
    before = _ALLOWED.format(path=str(folder / "shared" / "model.json"))
    assert "READ weights" in ran(desk, "Honest", strategy("Honest", before))


def test_the_status_says_what_holds(desk: Desk) -> None:
    confined: dict[str, Any] = desk.call("system_status")["engine"]["strategies_confined"]
    assert confined == {"asked_for": True, "files": True, "system_calls": True}


def test_a_refused_file_says_what_can_be_done(desk: Desk, folder: Path) -> None:
    code = strategy("Curious", f"open({str(folder / 'secret')!r})")
    desk.call("strategy_write", name="Curious", code=code)
    error = desk.refused("backtest", **RUN, strategy="Curious")
    assert error["code"] == "strategy_raised"
    assert "JESSE_MCP_STRATEGY_READS" in error["hint"]


def test_switched_off_a_strategy_has_the_rights_of_its_user(
    folder: Path, engine_python: Path, tmp_path: Path
) -> None:
    surroundings = environment(tmp_path, engine_python, JESSE_MCP_CONFINEMENT="off")
    with stdio_desk(surroundings, tmp_path / "log") as desk:
        desk.call("candles_import", **SERIES, path=str(candle_file(tmp_path / "btc.csv")))
        reading = f"if self.index == 0: print('READ ' + open({str(folder / 'secret')!r}).read())"
        assert f"READ {SENTINEL}" in ran(desk, "Free", strategy("Free", reading))
        assert desk.call("system_status")["engine"]["strategies_confined"]["asked_for"] is False
