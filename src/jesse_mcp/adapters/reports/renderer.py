"""A report as HTML or Markdown; jinja2 and matplotlib are loaded by the first HTML."""

from importlib.resources import files
from threading import Lock

from jesse_mcp.adapters.reports.markdown import markdown
from jesse_mcp.ports.reports import HeatCell, HeatTable, Histogram, LineChart, Report, TextTable

_TEMPLATE = "report.html.j2"
_SHADES = 4


class TemplateRenderer:
    """Implements :class:`~jesse_mcp.ports.reports.ReportRenderer`."""

    def __init__(self) -> None:
        self._drawing = Lock()

    def markdown(self, report: Report) -> str:
        return markdown(report)

    def html(self, report: Report) -> str:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup

        from jesse_mcp.adapters.reports.charts import svg

        def drawn(chart: LineChart | Histogram) -> Markup:
            with self._drawing:
                drawing = svg(chart)
            # Its own text is escaped where it is drawn; the rest is matplotlib's.
            return Markup(drawing)  # noqa: S704

        environment = Environment(
            autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        environment.tests |= {
            "text_table": lambda block: isinstance(block, TextTable),
            "heat_table": lambda block: isinstance(block, HeatTable),
        }
        environment.filters |= {"drawn": drawn, "shade": shade}
        template = environment.from_string(
            files("jesse_mcp.adapters.reports").joinpath(_TEMPLATE).read_text(encoding="utf-8")
        )
        return template.render(report=report)


def shade(cell: HeatCell) -> str:
    """Class of a cell by its heat: g1 to g4, l1 to l4, or none."""
    if cell.heat is None or cell.heat == 0:
        return ""
    strength = min(_SHADES, 1 + int(abs(cell.heat) * _SHADES))
    return f"{'g' if cell.heat > 0 else 'l'}{strength}"
