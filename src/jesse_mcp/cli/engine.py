"""``jesse-mcp engine``: install, inspect and remove the environment Jesse runs in."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from jesse_mcp.adapters.embedded import provision
from jesse_mcp.adapters.embedded.environment import (
    EngineEnvironment,
    EngineLock,
    engines_directory,
    locate,
)
from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.settings import Settings


def register(app: App) -> None:
    """Add the ``engine`` commands to the command line. They raise ``ResearchError``."""
    engine = App(name="engine", help="The Python environment that Jesse runs in.")
    engine.command(install)
    engine.command(status)
    engine.command(remove)
    app.command(engine)


def install(*, force: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Install Jesse into an environment of its own (about 1 GB); does nothing when it is there.

    Parameters
    ----------
    force
        Install it anew.
    """
    settings = Settings()
    with installation_progress() as progress:
        environment = provision.install(settings.cache, settings.jesse_python, progress, force=force)
    _output().print(f"{environment.identity}\n{environment.python}", highlight=False, soft_wrap=True)


def status(*, json_: Annotated[bool, Parameter(name="--json", negative="")] = False) -> int:
    """Show which Python runs Jesse. The exit status is 1 when there is none.

    Parameters
    ----------
    json_
        One JSON object on standard output.
    """
    settings = Settings()
    facts: dict[str, object] = {
        "installed": False,
        "lock": EngineLock.shipped().digest(),
        "engines_directory": str(engines_directory(settings.cache)),
    }
    try:
        facts |= _describe(locate(settings.cache, settings.jesse_python))
    except ResearchError as error:
        facts["error"] = error.to_dict()
    if json_:
        _output().print(json.dumps(facts, indent=2), highlight=False, soft_wrap=True, markup=False)
    else:
        _print_status(facts)
    return 0 if facts["installed"] else 1


def remove() -> None:
    """Delete every environment that `engine install` made; JESSE_PYTHON is never touched."""
    settings = Settings()
    with installation_progress() as progress:
        removed = provision.remove(settings.cache, progress)
    directory = engines_directory(settings.cache)
    found = f"removed the engine from {directory}" if removed else f"no engine was installed in {directory}"
    _output().print(found, highlight=False, soft_wrap=True)


def _describe(environment: EngineEnvironment) -> dict[str, object]:
    return {"installed": True, **asdict(environment), "python": str(environment.python)}


def _print_status(facts: dict[str, object]) -> None:
    output = _output()
    error = facts.pop("error", None)
    width = max(map(len, facts))
    for name, value in facts.items():
        shown = ("yes" if value else "no") if isinstance(value, bool) else value
        output.print(f"{name:<{width}}  {shown}", highlight=False, soft_wrap=True, markup=False)
    if isinstance(error, dict):
        output.print(f"{error['message']}\n{error['hint']}", highlight=False, soft_wrap=True, markup=False)


def _output() -> Console:
    return Console()


@contextmanager
def installation_progress() -> Iterator[Callable[[str], None]]:
    """A spinner with the elapsed time on standard error; plain lines where that is not a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines(console)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as display:
        task = display.add_task("")
        yield lambda message: display.update(task, description=message)


def _plain_lines(console: Console) -> Callable[[str], None]:
    started = time.monotonic()
    last = ""

    def show(message: str) -> None:
        nonlocal last
        if message != last:
            last = message
            line = f"[{time.monotonic() - started:6.1f} s] {message}"
            console.print(line, highlight=False, soft_wrap=True, markup=False)

    return show
