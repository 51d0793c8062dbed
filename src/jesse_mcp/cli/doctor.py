"""``jesse-mcp doctor``: is everything a backtest needs in place, and if not, what to do."""

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from cyclopts import App
from rich.console import Console
from rich.table import Table

from jesse_mcp.composition import Application, make_home
from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.settings import Settings

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
    """Check the home folder, disk, engine, store and a real start of Jesse; exit status 1 on a problem."""
    settings = Settings()
    checks = asyncio.run(examine(settings))
    table = Table("check", "", "found")
    for check in checks:
        mark = "[green]ok[/]" if check.passed else "[red]problem[/]"
        table.add_row(check.name, mark, check.found if check.hint is None else f"{check.found}\n{check.hint}")
    Console().print(table)
    return 0 if all(check.passed for check in checks) else 1


async def examine(settings: Settings) -> list[Check]:
    """Every check in order; later ones are left out when an earlier one makes them pointless."""
    checks = [_attempt("home folder", lambda: _home(settings))]
    if not checks[0].passed:
        return checks
    checks.append(_disk(settings))
    application = Application(settings.model_copy(update={"prewarm": False}))
    try:
        checks.append(_attempt("engine", application.engine.identity))
        try:
            await application.start()
            status = await application.system.status()
            counts = status.store
            checks.append(
                Check("store", True, f"{counts['candle_series']} candle series, {counts['runs']} runs")
            )
        except ResearchError as error:
            checks.append(Check("store", False, error.message, error.hint))
        if checks[2].passed:
            checks.append(await _starts(application))
    finally:
        await application.close()
    return checks


def _attempt(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except ResearchError as error:
        return Check(name, False, error.message, error.hint)


def _home(settings: Settings) -> str:
    make_home(settings.home)
    writable = os.access(settings.home, os.W_OK)
    return f"{settings.home}{'' if writable else ' (not writable)'}"


def _disk(settings: Settings) -> Check:
    free = shutil.disk_usage(settings.home).free // 2**20
    enough = free >= _WANTED_DISK_MB
    return Check("disk", enough, f"{free:,} MiB free", None if enough else f"free {_WANTED_DISK_MB:,} MiB")


async def _starts(application: Application) -> Check:
    try:
        await application.engine.warm()
    except ResearchError as error:
        return Check("Jesse starts", False, error.message, error.hint)
    return Check("Jesse starts", True, "loaded and ready for a run")
