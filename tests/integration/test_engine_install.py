"""Real installations from the package index into temporary caches."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from jesse_mcp.adapters.embedded import provision
from jesse_mcp.adapters.embedded.environment import EngineLock, engines_directory, locate
from jesse_mcp.domain.errors import ErrorCode, ResearchError

DEADLINE = 600.0
SHIPPED = EngineLock.shipped()
INSTALLER = """
import sys
from pathlib import Path
from jesse_mcp.adapters.embedded import provision
environment = provision.install(Path(sys.argv[1]), None, lambda message: print(message, flush=True))
print("done", environment.identity)
"""


def silent(message: str) -> None:
    pass


def start_installer(cache: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", INSTALLER, str(cache)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def running_in(cache: Path) -> list[psutil.Process]:
    """Processes that work on this cache, by their command line."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(cache) in part for part in process.info["cmdline"] or ())
    ]


def environments(cache: Path) -> list[Path]:
    return [path for path in engines_directory(cache).iterdir() if path.name != ".lock"]


def one_package(directory: Path, name: str) -> EngineLock:
    """The part of the shipped lock that is about one package."""
    lines = SHIPPED.requirements.read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"{name}=="))
    end = next(n for n in range(start, len(lines)) if not lines[n].endswith("\\"))
    options = [line for line in lines if line.startswith("--no-binary")]
    path = directory / "requirements.txt"
    path.write_text("\n".join([*options, *lines[start : end + 1]]) + "\n")
    return EngineLock(path, SHIPPED.build_requirements)


def tampered(path: Path, directory: Path) -> Path:
    copy = directory / f"tampered-{path.name}"
    copy.write_text(re.sub(r"sha256:.{8}", "sha256:00000000", path.read_text()))
    return copy


def test_killed_then_installed_by_two_at_once(tmp_path: Path) -> None:
    first = start_installer(tmp_path)
    assert first.stdout is not None
    for line in first.stdout:
        if "installing" in line:
            break
    first.kill()
    first.communicate()
    # The children notice on their own; whether they did is the point.
    gone, alive = psutil.wait_procs(running_in(tmp_path), timeout=30)
    assert not alive, f"orphans after kill -9: {alive} (ended: {gone})"
    assert [p.name[:9] for p in environments(tmp_path)] == [".staging-"]
    with pytest.raises(ResearchError, match="is not installed"):
        locate(tmp_path, None)

    both = [start_installer(tmp_path), start_installer(tmp_path)]
    said = [process.communicate(timeout=DEADLINE)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]

    found = locate(tmp_path, None)
    assert [text.splitlines()[-1] for text in said] == [f"done {found.identity}"] * 2
    assert sorted("checking that Jesse loads" in text for text in said) == [False, True]
    assert sorted("waiting for another process" in text for text in said) == [False, True]
    assert environments(tmp_path) == [found.python.parents[1]]
    assert found.jesse_version == "3.5.3"
    assert found.python_version.startswith(("3.11.", "3.12."))
    loaded = subprocess.run(
        [found.python, "-c", "import jesse.research, sys; print(sys.prefix)"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert Path(loaded.stdout.strip()) == found.python.parents[1]
    assert provision.install(tmp_path, None, pytest.fail) == found
    assert provision.remove(tmp_path, silent) is True
    assert environments(tmp_path) == []


def test_a_tampered_download_is_refused(tmp_path: Path) -> None:
    honest = one_package(tmp_path, "six")
    with pytest.raises(ResearchError) as control:
        provision.install(tmp_path / "cache", None, silent, lock=honest)
    assert "No module named 'jesse'" in str(control.value.details["output"])  # the hash was accepted

    forged = EngineLock(tampered(honest.requirements, tmp_path), honest.build_requirements)
    with pytest.raises(ResearchError, match="does not have the locked hash") as caught:
        provision.install(tmp_path / "cache", None, silent, lock=forged)
    assert caught.value.code is ErrorCode.ENGINE_FAILED
    assert environments(tmp_path / "cache") == []


def test_a_tampered_build_tool_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its own download cache, because what was built before needs no build tool.
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    honest = one_package(tmp_path, "timeloop")
    forged = EngineLock(honest.requirements, tampered(honest.build_requirements, tmp_path))
    with pytest.raises(ResearchError, match="does not have the locked hash"):
        provision.install(tmp_path / "cache", None, silent, lock=forged)
    assert environments(tmp_path / "cache") == []


@pytest.mark.parametrize("how", ["offline", "unreachable"])
def test_without_a_network_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    if how == "offline":
        monkeypatch.setenv("UV_OFFLINE", "1")
    else:
        monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    with pytest.raises(ResearchError, match="package index could not be reached") as caught:
        provision.install(tmp_path / "cache", None, silent)
    assert "HTTPS_PROXY" in (caught.value.hint or "")
    assert environments(tmp_path / "cache") == []


def test_the_shared_engine_loads_jesse(engine_python: Path, tmp_path: Path) -> None:
    subprocess.run([engine_python, "-c", "import jesse.research"], check=True, cwd=tmp_path)
