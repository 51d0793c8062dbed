"""Which Python has Jesse installed, and what exactly is installed there."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from jesse_mcp.domain.errors import ErrorCode, ResearchError

#: Jesse's numpy has wheels for these and for nothing newer.
SUPPORTED_PYTHONS = ("3.11", "3.12")
JESSE_SERIES = "3.5."
INSTALL_HINT = "run `jesse-mcp engine install`"
REINSTALL_HINT = "run `jesse-mcp engine install --force`"

_State = tuple[tuple[str, int], ...]
_MARKER = "engine.json"
_PROBE_SECONDS = 60.0
_PROBE = """
import hashlib, importlib.metadata, json, os, platform, sys
found = {}
for item in importlib.metadata.distributions():
    name = item.metadata["Name"]
    if name:
        found.setdefault(name.lower().replace("_", "-").replace(".", "-"), item.version)
listing = "\\n".join(f"{name}=={found[name]}" for name in sorted(found))
print(json.dumps({
    "jesse": found.get("jesse"),
    "python": platform.python_version(),
    "platform": sys.platform + "-" + platform.machine(),
    "packages": hashlib.sha256(listing.encode()).hexdigest(),
    "directories": [entry for entry in sys.path if os.path.isdir(entry)],
}))
"""


@dataclass(frozen=True)
class EngineEnvironment:
    """A Python that runs Jesse.

    Args:
        python: the interpreter.
        origin: who decided on it: the user, or the managed environment.
        jesse_version: for example ``3.5.3``.
        python_version: for example ``3.11.7``.
        identity: what the numbers of a run depend on: versions, platform, and the lock (managed) or a hash
            over every installed distribution (``JESSE_PYTHON``).
    """

    python: Path
    origin: Literal["JESSE_PYTHON", "managed"]
    jesse_version: str
    python_version: str
    identity: str


@dataclass(frozen=True)
class EngineLock:
    """The exact distributions of a managed environment, as two requirements files with hashes."""

    requirements: Path
    build_requirements: Path

    @classmethod
    def shipped(cls) -> "EngineLock":
        """The lock that is part of this package."""
        here = Path(__file__)
        return cls(here.with_name("requirements.txt"), here.with_name("build-requirements.txt"))

    def digest(self) -> str:
        """Hex SHA-256 over the content of both files."""
        content = self.requirements.read_bytes() + b"\0" + self.build_requirements.read_bytes()
        return hashlib.sha256(content).hexdigest()

    def home(self, cache: Path, python: str) -> Path:
        """Where the environment of this lock belongs.

        Args:
            cache: the cache directory of jesse-mcp.
            python: major and minor version, for example ``3.11``.
        """
        name = f"{self.digest()} python {python} {sys.platform}-{platform.machine()}"
        return engines_directory(cache) / hashlib.sha256(name.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class PythonFacts:
    """What an interpreter says about itself."""

    jesse: str | None
    python: str
    platform: str
    packages: str
    #: Where it looks for packages; not part of what it is.
    directories: tuple[str, ...] = field(default=(), compare=False)


def engines_directory(cache: Path) -> Path:
    """The directory of all managed environments."""
    return cache / "engines"


def locate(cache: Path, jesse_python: Path | None, lock: EngineLock | None = None) -> EngineEnvironment:
    """Find the Python with Jesse. Reads one small file, and starts Python only for ``jesse_python``.

    Args:
        cache: where the managed environment is.
        jesse_python: the value of ``JESSE_PYTHON``; it alone decides when it is given.
        lock: which managed environment; the shipped one unless told.

    Raises:
        ResearchError: ``engine_not_installed``; ``engine_failed`` when ``jesse_python`` is not a Python with
            a supported Jesse.
    """
    if jesse_python is not None:
        return _describe_chosen(jesse_python)[0]
    lock = lock or EngineLock.shipped()
    for python in _preferred_pythons():
        environment = _read_managed(lock.home(cache, python))
        if environment is not None:
            return environment
    raise ResearchError(
        ErrorCode.ENGINE_NOT_INSTALLED,
        f"the engine environment (Jesse {JESSE_SERIES}x) is not installed in {engines_directory(cache)}",
        hint=f"{INSTALL_HINT}, or set JESSE_PYTHON to a Python that has Jesse {JESSE_SERIES}x",
    )


class EngineLocator:
    """:func:`locate` for repeated use: a ``JESSE_PYTHON`` is asked again (0.3 s) only when it has changed."""

    def __init__(self, cache: Path, jesse_python: Path | None, lock: EngineLock | None = None) -> None:
        self._cache = cache
        self._jesse_python = jesse_python
        self._lock = lock
        self._known: tuple[_State, EngineEnvironment] | None = None
        self._directories: tuple[str, ...] = ()

    def __call__(self) -> EngineEnvironment:
        """Find the Python with Jesse.

        Raises:
            ResearchError: as :func:`locate`.
        """
        if self._jesse_python is None:
            return locate(self._cache, None, self._lock)
        if self._known is not None and self._known[0] == _state(self._jesse_python, self._directories):
            return self._known[1]
        environment, facts = _describe_chosen(self._jesse_python)
        self._directories = facts.directories
        state = _state(self._jesse_python, self._directories)
        self._known = None if state is None else (state, environment)
        return environment


def probe(python: Path) -> PythonFacts:
    """Ask an interpreter for its versions without importing Jesse (about 0.1 s).

    Raises:
        ResearchError: ``engine_failed`` when it does not run or does not answer as Python does.
    """
    try:
        answer = subprocess.run(  # noqa: S603 - the user's own choice of interpreter
            [str(python), "-s", "-c", _PROBE],
            check=True,
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            env=python_environment(),
            stdin=subprocess.DEVNULL,
            cwd="/",  # `-c` puts the working directory first on the path; nothing of Jesse's is here
        )
        # Start-up hooks of an environment may print before the answer.
        facts = PythonFacts(**json.loads(answer.stdout.splitlines()[-1]))
        return replace(facts, directories=tuple(facts.directories))
    except subprocess.CalledProcessError as error:
        raise _not_python(python, f"it ended with status {error.returncode}", error.stderr) from error
    except subprocess.TimeoutExpired as error:
        raise _not_python(python, f"it did not answer within {_PROBE_SECONDS:g} s") from error
    except OSError as error:
        raise _not_python(python, error.strerror or str(error)) from error
    except (ValueError, TypeError, IndexError) as error:
        raise _not_python(python, "its answer is not that of a Python", answer.stdout) from error


def python_environment() -> dict[str, str]:
    """Our variables without those that would lead another Python to our packages."""
    own = {"VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__"}
    return {k: v for k, v in os.environ.items() if k not in own and not k.startswith("PYTHON")}


def write_marker(home: Path, lock: EngineLock, facts: PythonFacts) -> None:
    """Declare the environment in ``home`` complete: the last step of an installation."""
    record = {"facts": asdict(facts), "lock": lock.digest(), "interpreter": _stamp(_python_of(home))}
    partial = home / f"{_MARKER}.partial"
    with partial.open("w", encoding="utf-8") as stream:
        json.dump(record, stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(home / _MARKER)


def _preferred_pythons() -> list[str]:
    """Our own version first: its interpreter certainly exists. Else the newest."""
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return sorted(SUPPORTED_PYTHONS, key=lambda python: (python == own, python), reverse=True)


def _read_managed(home: Path) -> EngineEnvironment | None:
    try:
        record = json.loads((home / _MARKER).read_text(encoding="utf-8"))
        facts = PythonFacts(**record["facts"])
        installed_stamp, digest = record["interpreter"], str(record["lock"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    python = _python_of(home)
    try:
        if _stamp(python) != installed_stamp:
            # The system updated the interpreter that the environment links to.
            facts = probe(python)
    except OSError as error:
        raise _lost_interpreter(home, f"{error.filename} is gone") from error
    if facts.jesse is None:
        raise _lost_interpreter(home, f"it is now Python {facts.python}")
    identity = _identity(facts, f"lock {digest[:8]}")
    return EngineEnvironment(python, "managed", facts.jesse, facts.python, identity)


def _lost_interpreter(home: Path, how: str) -> ResearchError:
    return ResearchError(
        ErrorCode.ENGINE_NOT_INSTALLED,
        f"the engine environment {home} lost the interpreter it was made with: {how}",
        hint=INSTALL_HINT,
    )


def _describe_chosen(python: Path) -> tuple[EngineEnvironment, PythonFacts]:
    if not python.is_file() or not os.access(python, os.X_OK):
        inside = " (a directory: name the interpreter in it)" if python.is_dir() else ""
        raise ResearchError(
            ErrorCode.ENGINE_FAILED,
            f"JESSE_PYTHON is {python}, which is not an executable file{inside}",
            hint=f"set it to the `python` of the environment with Jesse, or unset it and {INSTALL_HINT}",
        )
    facts = probe(python)
    series = tuple(int(part) for part in facts.python.split(".")[:2])
    if facts.jesse is None or not facts.jesse.startswith(JESSE_SERIES) or series < (3, 11):
        found = f"Jesse {facts.jesse}" if facts.jesse else "no Jesse"
        raise ResearchError(
            ErrorCode.ENGINE_FAILED,
            f"JESSE_PYTHON is {python}: Python {facts.python} with {found};"
            f" needed are Python 3.11 or newer and Jesse {JESSE_SERIES}x",
            hint=f"install jesse=={JESSE_SERIES}* there, or unset JESSE_PYTHON and {INSTALL_HINT}",
        )
    identity = _identity(facts, f"packages {facts.packages[:8]}")
    return EngineEnvironment(python, "JESSE_PYTHON", facts.jesse, facts.python, identity), facts


def _identity(facts: PythonFacts, contents: str) -> str:
    return f"jesse {facts.jesse} / python {facts.python} / {facts.platform} / {contents}"


def _python_of(home: Path) -> Path:
    return home / "bin" / "python"


def _stamp(python: Path) -> dict[str, object]:
    """Changes whenever the interpreter behind the link does; raises ``OSError`` when it is gone."""
    real = python.resolve(strict=True)
    state = real.stat()
    return {"path": str(real), "bytes": state.st_size, "modified_ns": state.st_mtime_ns}


def _state(python: Path, directories: tuple[str, ...]) -> _State | None:
    """Changes when the interpreter does or a package is added or removed; ``None`` when it is gone."""
    try:
        looked_at = [python.resolve(strict=True), *map(Path, directories)]
        return tuple((str(path), path.stat().st_mtime_ns) for path in looked_at)
    except OSError:
        return None


def _not_python(python: Path, reason: str, output: str = "") -> ResearchError:
    return ResearchError(
        ErrorCode.ENGINE_FAILED,
        f"{python} does not run as a Python: {reason}",
        hint=f"point JESSE_PYTHON at a working Python with Jesse, or unset it and {REINSTALL_HINT}",
        details={"output": output[-2000:]} if output else None,
    )
