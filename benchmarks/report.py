"""Figures with their goals, and the tables people read."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.table import Table

START = "<!-- figures: written by run.py --write -->"
END = "<!-- end of figures -->"
_HEADINGS = ("figure", "value", "quartiles", "goal", "verdict")


@dataclass(frozen=True)
class Goal:
    """What a figure should be; ``unit`` is the figure's own."""

    kind: Literal["at most", "at least"]
    limit: float

    def met(self, value: float) -> bool:
        return value <= self.limit if self.kind == "at most" else value >= self.limit


@dataclass(frozen=True)
class Figure:
    """One number that was measured, or derived from measured ones.

    Args:
        name: what it is.
        value: the median when it was measured more than once.
        unit: ``ms``, ``s``, ``%``, ``x`` or ``MiB``.
        low: first quartile, when it was measured more than once.
        high: third quartile.
        goal: what it should be, where one is set.
    """

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    goal: Goal | None = None

    @property
    def met(self) -> bool | None:
        return None if self.goal is None else self.goal.met(self.value)


@dataclass(frozen=True)
class Result:
    """What one benchmark found; ``title`` says under which conditions."""

    name: str
    title: str
    figures: tuple[Figure, ...]


def sampled(name: str, values: Sequence[float], unit: str, goal: Goal | None = None) -> Figure:
    """A figure from repeated measurements.

    Raises:
        ValueError: without measurements there is no figure.
    """
    if not values:
        raise ValueError(f"{name} was not measured")
    if len(values) == 1:
        return Figure(name, values[0], unit, goal=goal)
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Figure(name, middle, unit, low, high, goal)


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that ``percent`` of the measurements do not exceed, interpolated."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def milliseconds(seconds: Iterable[float]) -> list[float]:
    return [1000 * value for value in seconds]


def number(value: float, unit: str) -> str:
    """Three significant digits from 1 up, three decimals below; never an exponent."""
    decimals = 3 if abs(value) < 1 else max(0, 3 - len(f"{int(abs(value))}"))
    return f"{value:,.{decimals}f} {unit}"


def cells(figure: Figure) -> tuple[str, str, str, str, str]:
    """A row of either table."""
    low, high = figure.low, figure.high
    spread = "" if low is None or high is None else f"{number(low, '')}to {number(high, '')}".rstrip()
    goal = "" if figure.goal is None else f"{figure.goal.kind} {number(figure.goal.limit, figure.unit)}"
    verdict = {True: "met", False: "not met", None: ""}[figure.met]
    return figure.name, number(figure.value, figure.unit), spread, goal, verdict


def markdown(results: Iterable[Result], facts: dict[str, str]) -> str:
    """Every result as Markdown: the machine first, then a table for each benchmark."""
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    for result in results:
        lines += ["", f"### {result.name}", "", result.title, ""]
        lines += [_row(_HEADINGS), "|---|--:|--:|--:|---|"]
        lines += [_row(cells(figure)) for figure in result.figures]
    return "\n".join(lines) + "\n"


def _row(texts: Iterable[str]) -> str:
    return f"| {' | '.join(text.replace('|', chr(92) + '|') for text in texts)} |"


def replaced(document: str, figures: str) -> str:
    """``document`` with ``figures`` in place of what is between the two marks.

    Raises:
        ValueError: the document does not have both marks, once each and in order.
    """
    before, start, rest = document.partition(START)
    old, end, after = rest.partition(END)
    if not start or not end or START in old + after or END in before + after:
        raise ValueError(f"the document needs {START!r} and {END!r} once each")
    return f"{before}{START}\n\n{figures}\n{END}{after}"


def screen(result: Result) -> Table:
    """The same for a terminal."""
    table = Table(title=f"{result.name}: {result.title}", title_justify="left", title_style="bold")
    for heading, justify in zip(_HEADINGS, ("left", "right", "right", "right", "left"), strict=True):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for figure in result.figures:
        style = {True: "green", False: "red", None: ""}[figure.met]
        table.add_row(*cells(figure), style=style)
    return table


def as_json(results: Iterable[Result], facts: dict[str, str]) -> str:
    """Everything, unrounded."""
    found: dict[str, Any] = {"facts": facts, "results": []}
    for result in results:
        figures = [{**asdict(figure), "met": figure.met} for figure in result.figures]
        found["results"].append({**asdict(result), "figures": figures})
    return json.dumps(found, indent=1) + "\n"
