"""``jesse-mcp doctor``: is everything a backtest needs in place, and if not, what to do."""

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cyclopts import App
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jesse_mcp.composition import Application, make_home
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.settings import Settings, variable
from jesse_mcp.unknown_variables import unknown_variables

_WANTED_DISK_MB = 2048


@dataclass(frozen=True)
class Check:
    name: str
    passed: bool
    found: str
    hint: str | None = None


def register(app: App) -> None:
    app.command(doctor)


def doctor() -> int:
    """Show the settings in effect; check the home folder, disk, engine, store and a real start of Jesse.

    The exit status is 1 when there is a problem.
    """
    settings = Settings()
    console = Console()
    console.print(_settings_table(settings))
    checks = [variables_check(), *asyncio.run(examine(settings))]
    table = Table("check", "", "found")
    for check in checks:
        mark = "[green]ok[/]" if check.passed else "[red]problem[/]"
        table.add_row(check.name, mark, Text("\n".join(filter(None, (check.found, check.hint)))))
    console.print(table)
    return 0 if all(check.passed for check in checks) else 1


def _settings_table(settings: Settings) -> Table:
    table = Table("setting", "value", "from")
    for name, value in settings.model_dump(mode="json").items():
        origin = "environment" if name in settings.model_fields_set else "default"
        unset = "managed" if name == "jesse_python" else "not set"
        table.add_row(variable(name), Text(unset if value is None else str(value)), origin)
    return table


async def examine(settings: Settings) -> list[Check]:
    """Every check in order; later ones are left out when an earlier one makes them pointless."""
    checks = [_attempt("home folder", lambda: _home(settings))]
    if not checks[0].passed:
        return checks
    checks.append(_disk(settings))
    try:
        application = Application(settings.model_copy(update={"prewarm": False}))
    except ResearchError as error:
        return [*checks, Check("store", False, error.message, error.hint)]
    try:
        if settings.uses_dashboard:
            return [*checks, await _store(application), *dashboard_checks(await application.engine.status())]
        engine = _attempt("engine", application.engine.identity)
        checks += [engine, await _store(application)]
        if engine.passed:
            checks.append(await _starts(application))
    finally:
        await application.close()
    return checks


def variables_check() -> Check:
    """Whether every variable with our prefix is a setting."""
    unknown = unknown_variables()
    if not unknown:
        return Check("variables", True, "every JESSE_MCP_ variable is a setting")
    return Check("variables", False, "\n".join(unknown), "correct their names, or unset them")


def _attempt(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except ResearchError as error:
        return Check(name, False, error.message, error.hint)


def _home(settings: Settings) -> str:
    make_home(settings.home)
    if not os.access(settings.home, os.W_OK | os.X_OK):
        raise ResearchError(
            ErrorCode.STORAGE_FAILED,
            f"{settings.home} is not writable",
            hint="set JESSE_MCP_HOME to a folder you may write to",
        )
    return str(settings.home)


def _disk(settings: Settings) -> Check:
    free = shutil.disk_usage(settings.home).free // 2**20
    enough = free >= _WANTED_DISK_MB
    return Check("disk", enough, f"{free:,} MiB free", None if enough else f"free {_WANTED_DISK_MB:,} MiB")


async def _store(application: Application) -> Check:
    try:
        await application.start()
        counts = (await application.system.status()).store
    except ResearchError as error:
        return Check("store", False, error.message, error.hint)
    series = "" if "unknown" in counts else f"{counts['candle_series']} candle series, "
    return Check("store", True, f"{series}{counts['runs']} runs in the {counts['database']}")


async def _starts(application: Application) -> Check:
    try:
        await application.backend.warm()
    except ResearchError as error:
        return Check("Jesse starts", False, error.message, error.hint)
    return Check("Jesse starts", True, "loaded and ready for a run")


def dashboard_checks(status: dict[str, Any]) -> list[Check]:
    """One check for each thing that may be in the way of a running Jesse, up to the one that is.

    Args:
        status: of the dashboard engine.
    """
    state, version = status["state"], status["jesse_version"]
    checks: list[Check] = []
    for obstacle, name, found in (
        ("unreachable", "Jesse answers", status["url"]),
        ("not_jesse", "it is Jesse", "its API"),
        ("unauthorized", "login", "accepted"),
        ("unsupported", "version", f"Jesse {version}"),
        ("database", "Jesse's database", "answers"),
        ("failed", "Jesse works", "it says so"),
    ):
        if state == obstacle:
            return [*checks, Check(name, False, status["problem"], status["hint"])]
        checks.append(Check(name, True, found))
    plugin = "installed" if status["live_plugin"] else "not installed, and not needed for research"
    return [*checks, Check("live plugin", True, plugin)]
