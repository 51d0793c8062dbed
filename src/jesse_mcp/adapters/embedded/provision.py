"""Makes and removes the managed engine environment."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import uv as uv_package

from jesse_mcp.adapters.embedded.environment import (
    SUPPORTED_PYTHONS,
    EngineEnvironment,
    EngineLock,
    PythonFacts,
    engines_directory,
    locate,
    probe,
    write_marker,
)
from jesse_mcp.adapters.embedded.uv_process import ChildFailedError, run_child
from jesse_mcp.domain.errors import ErrorCode, ResearchError

Progress = Callable[[str], None]

_STAGING = ".staging-"
_LOCK = ".lock"
_IMPORT_CHECK = "import jesse.research, jesse.indicators, jesse.strategies, jesse.utils"
_RETRY = "run `jesse-mcp engine install` again: what was downloaded is kept"
# First match wins: (parts of uv's output, what happened, what to do).
_CAUSES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("No space left on device", "os error 28", "Disk quota exceeded", "os error 122"),
        "the disk is full",
        "free about 3 GB for the engine and uv's downloads (JESSE_MCP_CACHE and UV_CACHE_DIR move them),"
        " then run `jesse-mcp engine install` again",
    ),
    (
        ("Hash mismatch",),
        "a download does not have the locked hash, so it was not installed",
        "check UV_DEFAULT_INDEX and any mirror or proxy between here and PyPI, then run "
        "`jesse-mcp engine install` again",
    ),
    (
        ("No interpreter found", "python-build-standalone", "Python downloads"),
        "there is no Python 3.11 or 3.12 here and none could be fetched",
        "install Python 3.12, or set JESSE_PYTHON to a Python that has Jesse",
    ),
    (
        (
            "no usable wheels",
            "no wheels with a matching",
            "platform tag",
            "no matching Python implementation",
        ),
        "a package has no build for this platform",
        "use Linux with glibc or macOS on x86_64 or arm64, or set JESSE_PYTHON to a Python that has Jesse",
    ),
    (
        (
            "error sending request",
            "dns error",
            "client error",
            "Request failed after",
            "Failed to fetch",
            "Failed to download",
            "network was disabled",
            "timed out",
        ),
        "the package index could not be reached",
        f"check the network, HTTPS_PROXY, SSL_CERT_FILE and UV_DEFAULT_INDEX, then {_RETRY}",
    ),
    (
        ("Permission denied", "os error 13", "Read-only file system"),
        "a directory is not writable",
        "set JESSE_MCP_CACHE and UV_CACHE_DIR to writable directories, then run `jesse-mcp engine install`",
    ),
)


def install(
    cache: Path,
    jesse_python: Path | None,
    progress: Progress,
    *,
    force: bool = False,
    lock: EngineLock | None = None,
    uv: Path | None = None,
) -> EngineEnvironment:
    """Make the managed environment unless it is there; any number of processes may try at once.

    The environment appears complete or not at all. An exception raised by ``progress`` cancels: it is passed
    on after every process started here has ended.

    Args:
        cache: where to put it.
        jesse_python: the value of ``JESSE_PYTHON``; when given, there is nothing to install.
        progress: receives what is being done, at least once a second.
        force: make it anew even if it is there.
        lock: what to install; the shipped lock unless told.
        uv: the uv executable; the one of the ``uv`` package unless told.

    Raises:
        ResearchError: ``engine_failed`` with the reason and the end of uv's output.
    """
    if jesse_python is not None:
        progress("JESSE_PYTHON is set: nothing to install")
        return locate(cache, jesse_python)
    lock = lock or EngineLock.shipped()
    installed = None if force else _installed(cache, lock)
    if installed is not None:
        return installed
    try:
        with _exclusive(cache, progress):
            installed = None if force else _installed(cache, lock)
            return installed or _make(cache, lock, progress, Path(uv or uv_package.find_uv_bin()))
    except ChildFailedError as error:
        raise _explain(error) from error
    except OSError as error:
        raise _explain_os(error, cache) from error


def remove(cache: Path, progress: Progress) -> bool:
    """Delete every managed environment of this cache; whether there was one.

    Raises:
        ResearchError: ``engine_failed`` when something cannot be deleted.
    """
    engines = engines_directory(cache)
    if not engines.is_dir():
        return False
    try:
        with _exclusive(cache, progress):
            progress("removing the engine environment")
            found = [entry for entry in engines.iterdir() if _is_environment(entry)]
            for home in found:
                _set_aside(home)
            _delete_leftovers(engines, ignore_errors=False)
    except OSError as error:
        raise _explain_os(error, cache) from error
    return bool(found)


def _installed(cache: Path, lock: EngineLock) -> EngineEnvironment | None:
    try:
        return locate(cache, None, lock)
    except ResearchError:
        return None


@contextmanager
def _exclusive(cache: Path, progress: Progress) -> Iterator[None]:
    """One installation or removal at a time; the kernel frees the lock of a process that dies."""
    engines = engines_directory(cache)
    engines.mkdir(parents=True, exist_ok=True)
    guard = filelock.FileLock(engines / _LOCK)
    while True:
        try:
            guard.acquire(timeout=0.5)
            break
        except filelock.Timeout:
            progress("waiting for another process that is installing the engine")
    try:
        yield
    finally:
        guard.release()


def _make(cache: Path, lock: EngineLock, progress: Progress, uv: Path) -> EngineEnvironment:
    engines = engines_directory(cache)
    _delete_leftovers(engines)
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=engines))
    try:
        built = _build(staging, lock, progress, uv)
        facts = probe(built / "bin" / "python")
        home = lock.home(cache, ".".join(facts.python.split(".")[:2]))
        _put_in_place(built, home, staging, lock, facts)
    finally:
        # Only a killed process leaves it behind, for the next installation to delete.
        shutil.rmtree(staging, ignore_errors=True)
        _delete_leftovers(engines)
    return locate(cache, None, lock)


def _build(staging: Path, lock: EngineLock, progress: Progress, uv: Path) -> Path:
    # An empty project configuration ends uv's search for one in the directories above.
    (staging / "uv.toml").touch()
    target = staging / "env"
    python = target / "bin" / "python"
    run_child(
        # Relocatable: it is renamed into its place when complete.
        [str(uv), "venv", "--no-project", "--relocatable", "--python", _python_request(), str(target)],
        staging,
        progress,
        "creating the environment",
    )
    run_child(
        [
            *(str(uv), "pip", "sync", "--python", str(python)),
            *("--require-hashes", "--build-constraints", str(lock.build_requirements)),
            # Copies, because links would let a run that damages its environment damage uv's cache.
            *("--link-mode", "copy"),
            # Workers never write bytecode, so what is not compiled now is compiled in every run.
            "--compile-bytecode",
            str(lock.requirements),
        ],
        staging,
        progress,
        "installing and compiling packages",
    )
    run_child([str(python), "-s", "-c", _IMPORT_CHECK], staging, progress, "checking that Jesse loads")
    return target


def _python_request() -> str:
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if own in SUPPORTED_PYTHONS and platform.python_implementation() == "CPython" and sys.executable:
        return sys.executable
    return "cpython>=3.11,<3.13"


def _put_in_place(built: Path, home: Path, staging: Path, lock: EngineLock, facts: PythonFacts) -> None:
    """Replace what is at ``home``; when that fails (a disk that is full just now), nothing has changed."""
    before = staging / "before"
    if home.exists():
        home.rename(before)
    built.rename(home)
    try:
        _complete(home, lock, facts)
    except BaseException:
        home.rename(staging / "failed")
        if before.exists():
            before.rename(home)
        raise


def _complete(home: Path, lock: EngineLock, facts: PythonFacts) -> None:
    """Mark it as installed once it has answered from its final place."""
    moved = probe(home / "bin" / "python")
    if moved != facts or moved.jesse is None:
        raise ResearchError(
            ErrorCode.ENGINE_FAILED,
            f"the engine environment changed while it was put in place: {facts} became {moved}",
            hint="run `jesse-mcp engine install` again",
        )
    write_marker(home, lock, moved)


def _is_environment(path: Path) -> bool:
    name = path.name
    return (
        len(name) == 16 and set(name) <= set("0123456789abcdef") and path.is_dir() and not path.is_symlink()
    )


def _set_aside(home: Path) -> None:
    """Gone in one step, for a deletion that may be interrupted."""
    aside = Path(tempfile.mkdtemp(prefix=_STAGING, dir=home.parent))
    home.rename(aside / "old")


def _delete_leftovers(engines: Path, ignore_errors: bool = True) -> None:
    for leftover in engines.glob(f"{_STAGING}*"):
        shutil.rmtree(leftover, ignore_errors=ignore_errors)


def _explain(error: ChildFailedError) -> ResearchError:
    known = (
        (happened, hint) for signs, happened, hint in _CAUSES if any(sign in error.output for sign in signs)
    )
    unknown = ("a step of the installation failed", f"read details.output, then {_RETRY}")
    happened, hint = next(known, unknown)
    reason = next((line for line in error.output.splitlines() if line.startswith("error:")), "")
    return ResearchError(
        ErrorCode.ENGINE_FAILED,
        f"the engine could not be installed: {happened} (exit status {error.status})"
        + (f"; uv said: {reason.removeprefix('error:').strip()}" if reason else ""),
        hint=hint,
        details={"output": error.output},
    )


def _explain_os(error: OSError, cache: Path) -> ResearchError:
    return ResearchError(
        ErrorCode.ENGINE_FAILED,
        f"the engine environment could not be written: {error.strerror or error} ({error.filename or cache})",
        hint="make the cache directory writable and free about 3 GB, or set JESSE_MCP_CACHE to another one",
        details={"errno": os.strerror(error.errno) if error.errno else str(error)},
    )
