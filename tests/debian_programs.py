"""Programs of Debian for tests: those of this machine, else unpacked from their packages.

They are kept in the user's cache. Nothing is installed and no script of a package runs. Fetched once, in
Debian 12: 9 MB of package lists for all of them, nginx 0.5 MB, logrotate 0.1 MB, prometheus 19 MB.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import platformdirs
from filelock import FileLock, Timeout

_SYSTEM_STATUS = "/var/lib/dpkg/status"
#: Seconds for one call of apt-get.
_PATIENCE = 300


@dataclass(frozen=True)
class Package:
    """Where a program comes from.

    Attributes:
        names: what to unpack, without what a script of the package would set up.
        libraries: packages with the shared libraries, for a machine that lacks one.
        place: of the program in it.
    """

    names: tuple[str, ...]
    libraries: tuple[str, ...]
    place: str


@dataclass(frozen=True)
class Program:
    """A program and the environment to start it with."""

    path: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))


class UnavailableError(Exception):
    """There is no such program here, and why it could not be fetched."""


PACKAGES = {
    "nginx": Package(("nginx",), ("libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g"), "usr/sbin/nginx"),
    "logrotate": Package(
        ("logrotate",), ("libacl1", "libselinux1", "libpopt0", "libpcre2-8-0"), "usr/sbin/logrotate"
    ),
    "prometheus": Package(("prometheus",), (), "usr/bin/prometheus"),
    "promtool": Package(("prometheus",), (), "usr/bin/promtool"),
}


def program(name: str, cache: Path | None = None) -> Program:
    """The program on the path, or the one of its package.

    Args:
        name: one of ``PACKAGES``.
        cache: where packages are unpacked; the user's cache when not given.

    Raises:
        UnavailableError: there is neither.
    """
    here = shutil.which(name)
    if here is not None:
        return Program(Path(here))
    package = PACKAGES[name]
    root = cache or platformdirs.user_cache_path("jesse-mcp", appauthor=False) / "test-programs"
    folder = root / "-".join((*package.names, _release()))
    try:
        root.mkdir(parents=True, exist_ok=True)
        # One at a time: the others find what the first has unpacked.
        with FileLock(root / "lock", timeout=3 * _PATIENCE):
            if not (folder / package.place).exists():
                _fetch(package, folder, root)
    except (OSError, Timeout, subprocess.SubprocessError) as error:
        raise UnavailableError(f"{name} is not here, nor is its package: {_said(error)}") from error
    return Program(folder / package.place, _environment(folder))


def _fetch(package: Package, folder: Path, root: Path) -> None:
    """Unpack a package beside its place and move it there as a whole."""
    for needed in ("apt-get", "dpkg-deb"):
        if shutil.which(needed) is None:
            raise FileNotFoundError(f"there is no {needed}")
    with TemporaryDirectory(dir=root, prefix="staged-") as temporary:
        staged = Path(temporary)
        apt = _Apt(root / "apt", staged)
        apt.call("update")
        apt.unpack(package.names)
        if _lacks_libraries(staged / "unpacked" / package.place):
            apt.unpack(package.libraries)
        shutil.rmtree(folder, ignore_errors=True)
        (staged / "unpacked").rename(folder)


class _Apt:
    """``apt-get`` with the sources of this machine and lists of its own."""

    def __init__(self, state: Path, staged: Path) -> None:
        for made in (state / "lists" / "partial", state / "cache" / "archives" / "partial"):
            made.mkdir(parents=True, exist_ok=True)
        self._staged = staged
        options = {
            "Dir::State::lists": f"{state / 'lists'}",
            "Dir::Cache": f"{state / 'cache'}",
            "Dir::State::status": _SYSTEM_STATUS,
            "Acquire::Retries": "1",
            "Acquire::http::Timeout": "20",
            "Acquire::https::Timeout": "20",
            # Another user could not write to a cache that is closed to others.
            "APT::Sandbox::User": "",
        }
        self._options = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]

    def call(self, *words: str) -> None:
        """Run in the staging folder, where downloads go."""
        _run(["apt-get", "-q", *self._options, *words], self._staged)

    def unpack(self, names: tuple[str, ...]) -> None:
        self.call("download", *names)
        for file in self._staged.glob("*.deb"):
            _run(["dpkg-deb", "-x", str(file), "unpacked"], self._staged)
            file.unlink()


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=_PATIENCE)


def _lacks_libraries(path: Path) -> bool:
    found = subprocess.run(["ldd", path], capture_output=True, text=True, check=False, timeout=_PATIENCE)
    return "not found" in found.stdout


def _environment(folder: Path) -> dict[str, str]:
    """With the libraries that were unpacked, if there are any."""
    places = sorted({str(library.parent) for library in folder.glob("**/*.so.*")})
    if not places:
        return dict(os.environ)
    known = os.environ.get("LD_LIBRARY_PATH")
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join([*places, *([known] if known else [])])}


def _release() -> str:
    """Of the system: programs fit its libraries and no others."""
    try:
        text = Path("/etc/os-release").read_text()
    except FileNotFoundError:
        return os.uname().machine
    found = dict(re.findall(r'^(ID|VERSION_ID)="?([\w.]+)', text, re.MULTILINE))
    return "-".join((found.get("ID", "linux"), found.get("VERSION_ID", "0"), os.uname().machine))


def _said(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = str(error.stderr).strip().splitlines()
        return f"{error.cmd[0]}: {lines[-1] if lines else error.returncode}"
    return str(error)
