"""Options that commands share which search hyperparameters, and the way to their answers."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from cyclopts import Parameter
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from jesse_mcp.cli.results import listening
from jesse_mcp.composition import Application
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.search import SamplerName
from jesse_mcp.services.jobs import ProgressListener
from jesse_mcp.services.search_space import Range
from jesse_mcp.settings import Settings

T = TypeVar("T")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Where and how is searched.

    Parameters
    ----------
    space
        NAME=MIN:MAX, NAME=MIN:MAX:STEP or NAME=[OPTIONS] (in JSON); repeatable. Default: every
        hyperparameter declared with a range.
    min_trades
        Trials with fewer never win.
    """

    space: tuple[str, ...] = ()
    sampler: SamplerName = "tpe"
    seed: int = 0
    min_trades: int = 10

    def ranges(self) -> dict[str, Range] | None:
        """What to search, ``None`` for what is declared.

        Raises:
            ResearchError: ``invalid_argument`` for text that is no range, or a name given twice.
        """
        ranges: dict[str, Range] = {}
        for text in self.space:
            name, found = _range(text)
            if name in ranges:
                raise ResearchError(
                    ErrorCode.INVALID_ARGUMENT, f"--space {name} was given twice", hint="give it once"
                )
            ranges[name] = found
        return ranges or None


def answer_of(ask: Callable[[Application, ProgressListener], Awaitable[T]]) -> T:
    """What a service answers, with a bar on the terminal until it does.

    Raises:
        ResearchError: what the service raises.
    """

    async def go() -> T:
        application = Application(Settings())
        await application.start()
        try:
            with listening() as show:
                return await ask(application, show)
        finally:
            await application.close()

    return asyncio.run(go())


def print_warnings(warnings: tuple[str, ...]) -> None:
    console = Console()
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)


def settings_text(parameters: dict[str, object] | None) -> str:
    """Hyperparameters in one cell of a table, safe from being read as markup."""
    shown = {
        name: f"{value:.4g}" if isinstance(value, float) else value
        for name, value in (parameters or {}).items()
    }
    return escape(", ".join(f"{name}={value}" for name, value in shown.items()))


def _range(text: str) -> tuple[str, Range]:
    name, separator, value = text.partition("=")
    try:
        if not separator:
            raise ValueError("no =")
        if value.startswith("["):
            return name, Range(options=tuple(json.loads(value)))
        low, high, *step = (float(part) for part in value.split(":"))
        if len(step) > 1:
            raise ValueError("more than three numbers")
        return name, Range(min=low, max=high, step=step[0] if step else None)
    except (ValueError, ValidationError):
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"--space is {text!r}",
            hint='write NAME=MIN:MAX, NAME=MIN:MAX:STEP or NAME=["one", "other"], e.g. period=5:40:5',
        ) from None
