"""Charts as SVG to be put into an HTML document.

Colours are variables of the document's style sheet, text is text: a chart follows light and dark, and is read
aloud by its description.
"""

import io
import re
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from jesse_mcp.ports.reports import Histogram, LineChart, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 8.6
_ROW_HEIGHT = 1.9
#: Stands for a variable of the style sheet in what matplotlib writes; no other colour is used.
_COLOURS = {
    "#010201": "var(--ink)",
    "#010202": "var(--grid)",
    "#010203": "var(--line)",
    "#010204": "var(--loss)",
    "#010205": "var(--gain)",
    "#010206": "var(--mark)",
}
_INK, _GRID, _LINE, _LOSS, _GAIN, _MARK = _COLOURS
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    # Identifiers are hashes; without a salt they would be drawn at random.
    "svg.hashsalt": "jesse-mcp",
    "timezone": "UTC",
    "font.size": 9.0,
    "path.simplify": False,
    "axes.formatter.useoffset": False,
}
_OUTSIDE = re.compile(r"^.*?(?=<svg\b)", re.DOTALL)
_SIZE = re.compile(r'^<svg [^>]*?viewBox="([^"]+)"[^>]*>', re.DOTALL)
_STYLE = re.compile(r"<defs>\s*<style[^>]*>[^<]*</style>\s*</defs>")
_IDENTIFIED = re.compile(r'(\bid="|href="#|url\(#)')


def svg(chart: LineChart | Histogram) -> str:
    """The chart as one ``<svg>`` element, the same for the same chart.

    The settings of matplotlib are global, and put back as they were: one thread at a time.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for name, setting in _SETTINGS.items():
            matplotlib.rcParams[name] = setting  # type: ignore[index]
        rows = len(chart.panels) if isinstance(chart, LineChart) else 1
        figure = Figure(figsize=(WIDTH, 0.5 + _ROW_HEIGHT * rows), layout="constrained")
        figure.patch.set_alpha(0)
        if isinstance(chart, LineChart):
            _draw_panels(figure, chart)
        else:
            _draw_histogram(figure, chart)
        written = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(written, format="svg", metadata=nothing)
    return _embeddable(written.getvalue(), chart)


def _embeddable(text: str, chart: LineChart | Histogram) -> str:
    text = _OUTSIDE.sub("", text, count=1)
    text = _STYLE.sub("", text)
    # Several charts share one document: what refers to a part has to find its own.
    text = _IDENTIFIED.sub(lambda found: f"{found[0]}{chart.name}-", text)
    for colour, variable in _COLOURS.items():
        text = text.replace(colour, variable)
    box = _SIZE.match(text)
    if box is None:
        raise RuntimeError("the drawing is no SVG element")
    opening = f'<svg class="chart" viewBox="{box[1]}" role="img" aria-label={quoteattr(chart.description)}>'
    return f"{opening}<title>{escape(chart.title)}</title>{text[box.end() :]}"


def _draw_panels(figure: "Figure", chart: LineChart) -> None:
    all_axes = figure.subplots(len(chart.panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(all_axes, chart.panels, strict=True):
        _draw(axes, panel, times=chart.times)
        _plain(axes)
    last = all_axes[-1]
    if chart.times:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator(  # type: ignore[no-untyped-call]
            minticks=3, maxticks=9
        )
        last.xaxis.set_major_locator(locator)
        last.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        last.xaxis.get_offset_text().set_color(_INK)
    else:
        last.set_xlabel(chart.x_label, color=_INK)


def _draw(axes: "Axes", panel: Panel, *, times: bool) -> None:
    from matplotlib.ticker import FuncFormatter, PercentFormatter

    xs: Any = panel.xs.astype("int64").astype("datetime64[ms]") if times else panel.xs
    if panel.drawn == "area":
        axes.fill_between(xs, panel.ys, 0.0, color=_LOSS, alpha=0.35, linewidth=0)
        axes.plot(xs, panel.ys, color=_LOSS, linewidth=0.8)
    elif panel.drawn == "stems":
        colours = np.where(panel.ys < 0, _LOSS, _GAIN).tolist()
        axes.vlines(xs, 0.0, panel.ys, colors=colours, linewidth=_stem_width(len(panel.ys)))
        axes.axhline(0.0, color=_INK, linewidth=0.5)
    else:
        axes.plot(xs, panel.ys, color=_LINE, linewidth=1.2)
    if panel.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(FuncFormatter(_amount))
    if panel.percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(_amount))
    axes.set_title(panel.label, loc="left", fontsize=9, color=_INK)


def _stem_width(count: int) -> float:
    return max(0.4, min(3.0, 300.0 / max(count, 1)))


def _draw_histogram(figure: "Figure", chart: Histogram) -> None:
    from matplotlib.ticker import PercentFormatter

    axes = figure.subplots()
    middles = (chart.edges[:-1] + chart.edges[1:]) / 2
    colours = np.where(middles < 0, _LOSS, _GAIN).tolist()
    axes.bar(
        chart.edges[:-1],
        chart.counts,
        np.diff(chart.edges),
        align="edge",
        color=colours,
        alpha=0.6,
        linewidth=0,
    )
    top = float(chart.counts.max()) if len(chart.counts) else 1.0
    for number, (label, value) in enumerate(chart.marks):
        axes.axvline(value, color=_MARK, linewidth=1.0, linestyle="--")
        axes.annotate(
            label,
            (value, top * (1.0 - 0.12 * number)),
            xytext=(-3, 0),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=8,
            color=_INK,
        )
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylabel("periods", color=_INK)
    _plain(axes)


def _plain(axes: "Axes") -> None:
    axes.patch.set_alpha(0)
    axes.grid(visible=True, color=_GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=_INK, labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(_GRID)


def _amount(value: float, _: object = None) -> str:
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:,.4g}M"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"
