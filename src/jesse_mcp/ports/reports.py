"""A report to be read by people: what it holds, who renders it, who keeps it.

All text is plain: renderers escape it, since names of strategies and titles are written by anybody.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.domain.model import Value

Floats = NDArray[np.float64]
#: What a number or a class means for the reader.
Tone = Literal["good", "fair", "bad", "none"]
Drawn = Literal["line", "area", "stems"]


@dataclass(frozen=True)
class TextTable:
    """``rows`` of as many cells as ``columns``; the first cell names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class HeatCell:
    """``heat`` from -1 to 1 colours it; ``None`` leaves it plain."""

    text: str
    heat: float | None = None


@dataclass(frozen=True)
class HeatTable:
    """A table whose cells are coloured by their value."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[HeatCell, ...]], ...]


@dataclass(frozen=True)
class Panel:
    """One curve over the common x of its chart; NaN is a gap.

    ``percent`` labels fractions as percentages; ``logarithmic`` needs positive values.
    """

    label: str
    xs: Floats
    ys: Floats
    drawn: Drawn = "line"
    percent: bool = False
    logarithmic: bool = False


@dataclass(frozen=True)
class LineChart:
    """Panels one below the other. ``name`` is an identifier, ``description`` says in words what is seen.

    ``times``: whether x is epoch milliseconds (UTC); else it is a count called ``x_label``.
    """

    name: str
    title: str
    description: str
    panels: tuple[Panel, ...]
    times: bool
    x_label: str = ""


@dataclass(frozen=True)
class Histogram:
    """``counts`` shape (n,) between ``edges`` shape (n + 1,), with marks at values of x (fractions)."""

    name: str
    title: str
    description: str
    edges: Floats
    counts: Floats
    marks: tuple[tuple[str, float], ...]


Block = TextTable | HeatTable | LineChart | Histogram


@dataclass(frozen=True)
class ReportSection:
    """A heading, sentences, and what is shown below them."""

    title: str
    sentences: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Report:
    """A whole report. ``headline`` and ``tone`` are the result in a few words."""

    title: str
    subtitle: str
    headline: str
    tone: Tone
    sections: tuple[ReportSection, ...]


class StoredReport(Value):
    """Where a report was written to."""

    path: str
    bytes: int
    sha256: str


class ReportRenderer(Protocol):
    """The same report gives the same characters. Blocks; may be called from several threads."""

    def markdown(self, report: Report) -> str:
        """Text with tables; a chart is its description."""
        ...

    def html(self, report: Report) -> str:
        """One document that needs nothing beside itself and runs no code."""
        ...


class ReportStore(Protocol):
    """Keeps rendered reports where their owner alone can read them. Blocks."""

    def write(self, label: str, html: str) -> StoredReport:
        """Store under a name made of ``label`` and a hash of the content: the same again is the same file.

        Raises:
            ResearchError: ``storage_failed``.
        """
        ...
