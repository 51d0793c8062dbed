"""The programs of others that judge the server, in the cache: MCP's conformance suite, and mcpscore."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import uv
from filelock import FileLock

_SUITE = "@modelcontextprotocol/conformance"
#: The first that knows both generations of the protocol. It needs Node 22, which npm installs as well.
SUITE_VERSION, NODE_VERSION = "0.2.0-alpha.12", "22.23.3"
MCPSCORE_VERSION = "1.29.0"
_MINUTES = 10


class NotInstalledError(Exception):
    """Why a program cannot be had here."""


@dataclass(frozen=True)
class Programs:
    """What to run."""

    suite: tuple[str, ...]
    mcpscore: Path


def installed(cache: Path) -> Programs:
    """Both, downloaded where the cache does not have them in these versions.

    Raises:
        NotInstalledError: npm is missing, or a registry does not answer.
    """
    folder = cache / "conformance"
    names = {"suite": f"suite-{SUITE_VERSION}-node-{NODE_VERSION}", "score": f"mcpscore-{MCPSCORE_VERSION}"}
    suite, score = (folder / name for name in names.values())
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not suite.is_dir():
            _install_suite(suite)
        if not (score / "bin" / "mcpscore").is_file():
            _install_mcpscore(score)
    modules = suite / "node_modules"
    script = modules / _SUITE / "dist" / "index.js"
    return Programs((str(modules / "node" / "bin" / "node"), str(script)), score / "bin" / "mcpscore")


def _install_suite(target: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NotInstalledError("there is no npm here")
    with tempfile.TemporaryDirectory(dir=target.parent) as staging:
        made = Path(staging) / "made"
        made.mkdir()
        packages = (f"{_SUITE}@{SUITE_VERSION}", f"node@{NODE_VERSION}")
        _run([npm, "install", "--no-audit", "--no-fund", "--prefix", str(made), *packages])
        node = made / "node_modules" / "node" / "bin" / "node"
        _run([str(node), "--version"])
        made.rename(target)


def _install_mcpscore(target: Path) -> None:
    """Where it stays: a virtual environment cannot be moved."""
    _run([uv.find_uv_bin(), "venv", "--quiet", "--clear", str(target)])
    python = str(target / "bin" / "python")
    package = f"mcpscore=={MCPSCORE_VERSION}"
    _run([uv.find_uv_bin(), "pip", "install", "--quiet", "--python", python, package])


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60 * _MINUTES, check=False, env=_own_variables()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalledError(f"{command[0]}: {error}") from None
    if done.returncode:
        raise NotInstalledError(f"{' '.join(command[:3])} failed: {done.stderr.strip()[:300]}")


def _own_variables() -> dict[str, str]:
    """Without the environment this command runs in, which uv would take for the target."""
    return {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
