"""The engine environment without a network: what is found, what is refused, what a failure leaves behind.

A stand-in for uv plays the failures; real installations are in the integration tests.
"""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import psutil
import pytest
from cyclopts import App

from jesse_mcp.adapters.embedded import provision
from jesse_mcp.adapters.embedded.environment import (
    EngineLocator,
    EngineLock,
    PythonFacts,
    engines_directory,
    locate,
    write_marker,
)
from jesse_mcp.cli import engine as commands
from jesse_mcp.domain.errors import ErrorCode, ResearchError

DEADLINE = 30.0
LOCK = EngineLock.shipped()
PYTHON = "3.11"
FACTS = PythonFacts("3.5.3", "3.11.7", "linux-x86_64", "0" * 64)


def silent(message: str) -> None:
    pass


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def failing_uv(directory: Path, output: str, status: int = 2) -> Path:
    """Makes half an environment, then fails as uv does."""
    said = directory / "said.txt"
    said.write_text(output)
    half = """[ "$1" = venv ] && { eval "target=\\${$#}"; mkdir -p "$target/bin"; exit 0; }"""
    return script(directory / "uv", f'{half}\ncat "{said}" >&2\nexit {status}')


def hanging_uv(directory: Path) -> Path:
    """Starts a child of its own, writes both process ids, and never ends."""
    pids = directory / "pids"
    return script(
        directory / "uv",
        f'sleep 1000 &\necho "$$ $!" > "{pids}.new"\nmv "{pids}.new" "{pids}"\necho ready\nwait',
    )


def fake_python(path: Path, **said: object) -> Path:
    """Answers every question with these facts, and counts the questions."""
    facts = {"jesse": "3.5.3", "python": "3.11.7", "platform": "linux-x86_64", "packages": "ab" * 32, **said}
    answer = json.dumps({**facts, "directories": []})
    return script(path, f'echo x >> "{path}.asked"\ncat <<"EOF"\n{answer}\nEOF')


def managed(cache: Path, python: Path, lock: EngineLock = LOCK) -> Path:
    home = lock.home(cache, PYTHON)
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python").symlink_to(python)
    write_marker(home, lock, FACTS)
    return home


def until(condition: Callable[[], bool], what: str) -> None:
    pause = threading.Event()
    for _ in range(int(DEADLINE / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    pytest.fail(f"not within {DEADLINE} s: {what}")


def running(pids: list[int]) -> list[int]:
    alive = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                alive.append(pid)
        except psutil.NoSuchProcess:
            continue
    return alive


def left_in(cache: Path) -> list[str]:
    return sorted(p.name for p in engines_directory(cache).iterdir() if p.name != ".lock")


# --- finding -------------------------------------------------------------------------------------------


def test_nothing_installed_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ResearchError) as caught:
        locate(tmp_path, None)
    assert caught.value.code is ErrorCode.ENGINE_NOT_INSTALLED
    assert str(tmp_path) in caught.value.message
    assert "jesse-mcp engine install" in (caught.value.hint or "")


def test_managed_environment_is_described_without_starting_python(tmp_path: Path) -> None:
    python = script(tmp_path / "python", "exit 1")  # would fail if it were asked
    home = managed(tmp_path, python)
    found = locate(tmp_path, None)
    assert (found.python, found.origin) == (home / "bin" / "python", "managed")
    assert found.identity == f"jesse 3.5.3 / python 3.11.7 / linux-x86_64 / lock {LOCK.digest()[:8]}"


@pytest.mark.parametrize("content", ["", "{", "null", "[]", '{"facts": {}}', '{"facts": {"jesse": 1}}'])
def test_a_damaged_marker_is_not_an_installation(tmp_path: Path, content: str) -> None:
    home = managed(tmp_path, Path(sys.executable))
    (home / "engine.json").write_text(content)
    with pytest.raises(ResearchError) as caught:
        locate(tmp_path, None)
    assert caught.value.code is ErrorCode.ENGINE_NOT_INSTALLED


def test_an_environment_without_marker_is_not_an_installation(tmp_path: Path) -> None:
    (managed(tmp_path, Path(sys.executable)) / "engine.json").unlink()
    with pytest.raises(ResearchError, match="is not installed"):
        locate(tmp_path, None)


def test_an_updated_interpreter_is_asked_again(tmp_path: Path) -> None:
    python = fake_python(tmp_path / "python")
    managed(tmp_path, python)
    fake_python(python, python="3.11.9")
    os.utime(python, ns=(1, 1))
    assert "python 3.11.9" in locate(tmp_path, None).identity


@pytest.mark.parametrize("how", ["gone", "other version"])
def test_a_lost_interpreter_is_named(tmp_path: Path, how: str) -> None:
    python = fake_python(tmp_path / "python")
    managed(tmp_path, python)
    if how == "gone":
        python.unlink()
    else:
        fake_python(python, python="3.13.1", jesse=None)
        os.utime(python, ns=(1, 1))
    with pytest.raises(ResearchError, match="lost the interpreter") as caught:
        locate(tmp_path, None)
    assert caught.value.code is ErrorCode.ENGINE_NOT_INSTALLED


def test_another_lock_is_another_environment(tmp_path: Path) -> None:
    managed(tmp_path, Path(sys.executable))
    other = EngineLock(tmp_path / "r.txt", LOCK.build_requirements)
    other.requirements.write_bytes(LOCK.requirements.read_bytes() + b"\n")
    with pytest.raises(ResearchError, match="is not installed"):
        locate(tmp_path, None, other)


# --- JESSE_PYTHON --------------------------------------------------------------------------------------


def test_chosen_python_is_described_by_its_packages(tmp_path: Path) -> None:
    managed(tmp_path, Path(sys.executable))
    python = fake_python(tmp_path / "python", jesse="3.5.1")
    found = locate(tmp_path, python)
    assert (found.python, found.origin, found.jesse_version) == (python, "JESSE_PYTHON", "3.5.1")
    assert found.identity == "jesse 3.5.1 / python 3.11.7 / linux-x86_64 / packages abababab"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"jesse": None}, "no Jesse"),
        ({"jesse": "3.4.0"}, "Jesse 3.4.0"),
        ({"jesse": "4.0.0"}, "Jesse 4.0.0"),
        ({"python": "3.10.4"}, "Python 3.10.4"),
    ],
)
def test_chosen_python_with_something_else_is_refused(
    tmp_path: Path, said: dict[str, object], expected: str
) -> None:
    with pytest.raises(ResearchError, match=expected) as caught:
        locate(tmp_path, fake_python(tmp_path / "python", **said))
    assert caught.value.code is ErrorCode.ENGINE_FAILED
    assert "unset JESSE_PYTHON" in (caught.value.hint or "")


def test_a_real_python_without_jesse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResearchError, match="no Jesse"):
        locate(tmp_path, Path(sys.executable))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("echo broken >&2; exit 3", "ended with status 3"),
        ("echo hello", "not that of a Python"),
        ("echo '{}'", "not that of a Python"),
        ("true", "not that of a Python"),
    ],
)
def test_what_is_no_python_is_refused(tmp_path: Path, body: str, expected: str) -> None:
    with pytest.raises(ResearchError, match=expected) as caught:
        locate(tmp_path, script(tmp_path / "python", body))
    assert caught.value.code is ErrorCode.ENGINE_FAILED


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ResearchError, match="not an executable file"):
        locate(tmp_path, tmp_path / "absent")
    with pytest.raises(ResearchError, match="a directory: name the interpreter"):
        locate(tmp_path, tmp_path)


def test_locator_asks_again_only_after_a_change(tmp_path: Path) -> None:
    python = fake_python(tmp_path / "python")
    find = EngineLocator(tmp_path, python)
    assert find() == find() == find()
    asked = Path(f"{python}.asked")
    assert asked.read_text().count("x") == 1
    fake_python(python, jesse="3.5.9")
    os.utime(python, ns=(1, 1))
    assert find().jesse_version == "3.5.9"
    assert asked.read_text().count("x") == 2


def test_chosen_python_is_never_installed_over(tmp_path: Path) -> None:
    python = fake_python(tmp_path / "python")
    uv = failing_uv(tmp_path, "error: must not be called")
    assert provision.install(tmp_path, python, silent, force=True, uv=uv).python == python
    assert not engines_directory(tmp_path).exists()


# --- failures of an installation -----------------------------------------------------------------------

FAILURES = {
    "no network": (
        "error: Failed to fetch: `https://pypi.org/simple/jesse/`\n  cause: dns error",
        "package index could not be reached",
        "HTTPS_PROXY",
    ),
    "disk full": (
        "error: Failed to install: ray-2.60.0.whl\n  cause: No space left on device (os error 28)",
        "disk is full",
        "free about 3 GB",
    ),
    "tampered": (
        "error: Failed to download `six==1.17.0`\n  cause: Hash mismatch for `six==1.17.0`",
        "does not have the locked hash",
        "mirror",
    ),
    "no interpreter": (
        "error: No interpreter found for CPython >=3.11, <3.13",
        "no Python 3.11 or 3.12",
        "JESSE_PYTHON",
    ),
    "platform": (
        "error: No solution found\n  cause: Because jesse-rust==1.3.1 has no usable wheels",
        "no build for this platform",
        "glibc",
    ),
    "not writable": ("error: Permission denied (os error 13)", "not writable", "JESSE_MCP_CACHE"),
    "unknown": ("error: something new", "something new", "details.output"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failure_teaches_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    output, happened, hint = FAILURES[name]
    with pytest.raises(ResearchError) as caught:
        provision.install(tmp_path, None, silent, uv=failing_uv(tmp_path, output))
    assert caught.value.code is ErrorCode.ENGINE_FAILED
    assert happened in caught.value.message
    assert hint in (caught.value.hint or "")
    assert caught.value.details["output"] == output
    assert left_in(tmp_path) == []
    with pytest.raises(ResearchError, match="is not installed"):
        locate(tmp_path, None)


def test_a_failed_reinstallation_keeps_the_old_one(tmp_path: Path) -> None:
    managed(tmp_path, Path(sys.executable))
    before = locate(tmp_path, None)
    with pytest.raises(ResearchError):
        provision.install(tmp_path, None, silent, force=True, uv=failing_uv(tmp_path, "error: no"))
    assert locate(tmp_path, None) == before


def test_a_disk_that_fills_at_the_last_step_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = fake_python(tmp_path / "answering")
    uv = script(
        tmp_path / "uv",
        '[ "$1" = venv ] || exit 0\neval "target=\\${$#}"\nmkdir -p "$target/bin"\n'
        f'cp "{answering}" "$target/bin/python"',
    )

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(provision, "write_marker", full)
        with pytest.raises(ResearchError, match="No space left on device"):
            provision.install(tmp_path, None, silent, uv=uv)
    assert left_in(tmp_path) == []

    before = provision.install(tmp_path, None, silent, uv=uv)
    with monkeypatch.context() as patch:
        patch.setattr(provision, "write_marker", full)
        with pytest.raises(ResearchError, match="No space left on device"):
            provision.install(tmp_path, None, silent, force=True, uv=uv)
    assert locate(tmp_path, None) == before
    assert left_in(tmp_path) == [before.python.parents[1].name]


def test_an_environment_that_cannot_load_jesse_is_not_installed(tmp_path: Path) -> None:
    # An environment that has everything but Jesse: the check of the import must catch it.
    uv = script(
        tmp_path / "uv",
        '[ "$1" = venv ] || exit 0\neval "target=\\${$#}"\nmkdir -p "$target/bin"\n'
        f'ln -s "{sys.executable}" "$target/bin/python"',
    )
    with pytest.raises(ResearchError, match="could not be installed") as caught:
        provision.install(tmp_path, None, silent, uv=uv)
    assert "No module named 'jesse'" in str(caught.value.details["output"])
    assert left_in(tmp_path) == []


def test_a_file_in_the_way_of_the_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(ResearchError) as caught:
        provision.install(tmp_path / "cache", None, silent)
    assert caught.value.code is ErrorCode.ENGINE_FAILED
    assert str(tmp_path / "cache") in caught.value.message


def test_credentials_of_an_index_are_not_repeated(tmp_path: Path) -> None:
    uv = failing_uv(tmp_path, "error: Failed to fetch: `https://user:s3cret@mirror.example/simple/`")
    with pytest.raises(ResearchError) as caught:
        provision.install(tmp_path, None, silent, uv=uv)
    assert "s3cret" not in json.dumps(caught.value.to_dict())


def test_uv_sees_the_users_network_settings_and_no_other_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "SSL_CERT_FILE": "/certificates.pem",
        "PIP_INDEX_URL": "https://mirror.example/simple",
    }
    dropped = (
        "VIRTUAL_ENV",
        "PYTHONPATH",
        "PYTHONHOME",
        "PYTHONDONTWRITEBYTECODE",
        "UV_PYTHON",
        "CONDA_PREFIX",
    )
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    for name in dropped:
        monkeypatch.setenv(name, str(tmp_path))
    seen = tmp_path / "seen"
    uv = script(tmp_path / "uv", f'env > "{seen}"; exit 2')
    with pytest.raises(ResearchError):
        provision.install(tmp_path / "cache", None, silent, uv=uv)
    variables = dict(line.split("=", 1) for line in seen.read_text().splitlines() if "=" in line)
    assert {name: variables.get(name) for name in kept} == kept
    assert not variables.keys() & set(dropped)


# --- interruption --------------------------------------------------------------------------------------


class CancelledError(Exception):
    pass


@pytest.mark.parametrize("interruption", [CancelledError, KeyboardInterrupt])
def test_an_interruption_leaves_no_process_and_no_files(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    def interrupt_once_running(message: str) -> None:
        if "ready" in message:
            raise interruption

    with pytest.raises(interruption):
        provision.install(tmp_path, None, interrupt_once_running, uv=hanging_uv(tmp_path))
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    until(lambda: not running(pids), "uv and its child are gone")
    assert left_in(tmp_path) == []


INSTALLER = """
import sys
from pathlib import Path
from jesse_mcp.adapters.embedded import provision
provision.install(Path(sys.argv[1]), None, lambda message: None, uv=Path(sys.argv[2]))
"""


@pytest.fixture
def installer(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", INSTALLER, str(tmp_path), str(hanging_uv(tmp_path))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    yield process
    process.kill()
    process.wait()


def test_a_killed_installation_leaves_no_process_and_is_cleaned_by_the_next(
    tmp_path: Path, installer: "subprocess.Popen[bytes]"
) -> None:
    until((tmp_path / "pids").exists, "uv runs")
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    installer.send_signal(signal.SIGKILL)
    installer.wait()
    until(lambda: not running(pids), "uv and its child died with their parent")
    assert [name[:9] for name in left_in(tmp_path)] == [".staging-"]
    with pytest.raises(ResearchError, match="is not installed"):
        locate(tmp_path, None)
    with pytest.raises(ResearchError, match="could not be installed"):
        provision.install(tmp_path, None, silent, uv=failing_uv(tmp_path, "error: no"))
    assert left_in(tmp_path) == []


def test_the_second_installation_waits_and_finds_the_work_done(tmp_path: Path) -> None:
    engines_directory(tmp_path).mkdir()
    waiting = threading.Event()
    messages: list[str] = []
    found: list[str] = []

    def note(message: str) -> None:
        messages.append(message)
        waiting.set()

    def second() -> None:
        uv = failing_uv(tmp_path, "error: must not be called")
        found.append(provision.install(tmp_path, None, note, uv=uv).identity)

    thread = threading.Thread(target=second)
    with filelock.FileLock(engines_directory(tmp_path) / ".lock"):
        thread.start()
        assert waiting.wait(DEADLINE)
        managed(tmp_path, Path(sys.executable))
    thread.join(DEADLINE)
    assert found == [locate(tmp_path, None).identity]
    assert set(messages) == {"waiting for another process that is installing the engine"}


# --- removal, lock, command line -----------------------------------------------------------------------


def test_remove_deletes_environments_and_nothing_else(tmp_path: Path) -> None:
    assert provision.remove(tmp_path, silent) is False
    outside = tmp_path / "outside"
    outside.mkdir()
    managed(tmp_path, Path(sys.executable))
    (engines_directory(tmp_path) / "notes.txt").write_text("mine")
    (engines_directory(tmp_path) / ("a" * 16)).symlink_to(outside)
    assert provision.remove(tmp_path, silent) is True
    assert left_in(tmp_path) == ["a" * 16, "notes.txt"]
    assert outside.is_dir()
    assert provision.remove(tmp_path, silent) is False


def test_the_lock_is_complete_and_names_no_place() -> None:
    for path in (LOCK.requirements, LOCK.build_requirements):
        text = path.read_text()
        assert not [
            word for word in ("http:", "https:", "file:", "index-url", "find-links", " /") if word in text
        ]
        requirements = [line for line in text.splitlines() if "==" in line and "--hash" not in line]
        assert requirements
        assert all(line.endswith("\\") for line in requirements)  # each is followed by its hashes
    assert "jesse==3.5.3 \\" in LOCK.requirements.read_text()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setenv("JESSE_MCP_CACHE", str(tmp_path))
    monkeypatch.delenv("JESSE_PYTHON", raising=False)
    application = App(name="jesse-mcp", result_action="return_value")
    commands.register(application)
    return application


def test_status_command(tmp_path: Path, app: App, capsys: pytest.CaptureFixture[str]) -> None:
    assert app(["engine", "status", "--json"]) == 1
    missing = json.loads(capsys.readouterr().out)
    assert missing["installed"] is False
    assert missing["error"]["code"] == "engine_not_installed"
    managed(tmp_path, Path(sys.executable))
    assert app(["engine", "status", "--json"]) == 0
    present = json.loads(capsys.readouterr().out)
    assert present["identity"] == locate(tmp_path, None).identity
    assert app(["engine", "status"]) == 0
    assert present["identity"] in capsys.readouterr().out


def test_install_and_remove_commands(tmp_path: Path, app: App, capsys: pytest.CaptureFixture[str]) -> None:
    home = managed(tmp_path, Path(sys.executable))
    app(["engine", "install"])
    assert str(home / "bin" / "python") in capsys.readouterr().out
    app(["engine", "remove"])
    said = capsys.readouterr()
    assert "removed the engine" in said.out
    assert "removing the engine environment" in said.err
    assert not home.exists()
    app(["engine", "remove"])
    assert "no engine was installed" in capsys.readouterr().out
    shutil.rmtree(engines_directory(tmp_path))
