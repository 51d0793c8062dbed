"""Reports as Markdown and HTML: self-contained, always the same bytes, and nothing quoted can act."""

import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from jesse_mcp.adapters.reports.charts import svg
from jesse_mcp.adapters.reports.files import ReportFiles, file_label
from jesse_mcp.adapters.reports.markdown import escaped
from jesse_mcp.adapters.reports.renderer import TemplateRenderer, shade
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.ports.reports import (
    HeatCell,
    HeatTable,
    Histogram,
    LineChart,
    Panel,
    Report,
    ReportSection,
    TextTable,
)

ATTACK = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7*7 }}{% raw %}](http://evil.example) $x_1$"
)
DAY = 86_400_000.0
TIMES = np.array([1_704_067_200_000.0 + DAY * day for day in range(100)])


def line_chart(name: str = "equity", text: str = "Equity") -> LineChart:
    walk = 100 + np.cumsum(np.sin(np.arange(100)))
    gap = walk.copy()
    gap[10:20] = np.nan
    return LineChart(
        name=name,
        title=text,
        description=text,
        panels=(
            Panel("Balance", TIMES, walk, logarithmic=True),
            Panel("Drawdown", TIMES, -walk / 1_000, drawn="area", percent=True),
            Panel("Profit", TIMES, gap - 100, drawn="stems"),
        ),
        times=True,
    )


def histogram(text: str = "Returns") -> Histogram:
    return Histogram(
        name="returns",
        title=text,
        description=text,
        edges=np.linspace(-0.1, 0.1, 11),
        counts=np.arange(10.0),
        marks=(("VaR 95 %", -0.05),),
    )


def report(text: str = "plain") -> Report:
    blocks = (
        TextTable(text, (text, text), ((text, text), (text, text))),
        HeatTable(text, (text, text), ((text, (HeatCell(text, 0.5),)),)),
        line_chart(text=text),
        histogram(text),
    )
    return Report(text, text, text, "bad", (ReportSection(text, (text, text), blocks),))


class Page(HTMLParser):
    """Elements, attributes and text of a document, and whether every element is closed."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def attacked() -> Page:
    return Page(TemplateRenderer().html(report(ATTACK)))


def test_nothing_quoted_becomes_an_element(attacked: Page) -> None:
    names = {name for name, _ in attacked.elements}
    assert names.isdisjoint({"script", "img", "iframe", "object", "embed", "link", "a", "base", "form"})
    for name, attributes in attacked.elements:
        assert not [key for key in attributes if key.startswith("on")], name
    assert attacked.open == []
    assert "".join(attacked.text).count("<script>alert(1)</script>") >= 10


def test_nothing_is_loaded(attacked: Page) -> None:
    for name, attributes in attacked.elements:
        for key, value in attributes.items():
            if key in {"src", "srcset", "action", "data", "poster"}:
                pytest.fail(f"{name} loads {value}")
            if key in {"href", "xlink:href"}:
                assert (value or "").startswith("#"), name
            if key == "style":
                assert "url(" not in (value or "").replace("url(#", "")
    (policy,) = [
        meta["content"]
        for meta in attacked.named("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy == ("default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'")


def test_no_style_sheet_reaches_outside() -> None:
    text = TemplateRenderer().html(report())
    sheet = text[text.index("<style>") : text.index("</style>")]
    assert text.count("<style") == 1
    assert "@import" not in sheet
    assert "url(" not in sheet


def test_the_page_is_accessible(attacked: Page) -> None:
    assert attacked.named("html")[0]["lang"] == "en"
    charts = attacked.named("svg")
    assert len(charts) == 2
    for chart in charts:
        assert chart["role"] == "img"
        assert chart["aria-label"] == ATTACK
    assert len(attacked.named("caption")) == len(attacked.named("table")) == 2
    assert {cell["scope"] for cell in attacked.named("th")} == {"col", "row"}


def test_identifiers_are_unique_and_found() -> None:
    blocks = (line_chart("one"), line_chart("two"), histogram())
    page = Page(TemplateRenderer().html(Report("t", "s", "h", "good", (ReportSection("x", (), blocks),))))
    counted = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert set(counted.values()) == {1}
    for _, attributes in page.elements:
        for key, value in attributes.items():
            if key in {"href", "xlink:href"}:
                assert (value or "")[1:] in counted
            elif "url(#" in (value or ""):
                assert (value or "").split("url(#")[1].split(")")[0] in counted


def test_the_same_report_gives_the_same_bytes() -> None:
    renderer = TemplateRenderer()
    first = renderer.html(report())
    assert renderer.html(report()) == first
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: renderer.html(report()), range(8))) == {first}
    assert renderer.markdown(report()) == renderer.markdown(report())


def test_another_process_gives_the_same_bytes() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import hashlib; import test_report_rendering as t; "
        "print(hashlib.sha256(t.TemplateRenderer().html(t.report()).encode()).hexdigest(), "
        "'matplotlib.pyplot' in sys.modules)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent)],
            env={"PYTHONHASHSEED": seed, "TZ": zone, "PATH": "", "HOME": str(Path.home())},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    (said,) = found
    assert said.split()[1] == "False", "pyplot would keep every figure"


def in_effect() -> list[object]:
    found = matplotlib.rcParams
    return [found["svg.hashsalt"], found["svg.fonttype"], found["timezone"], found["font.size"]]


def test_settings_of_matplotlib_are_left_alone() -> None:
    with matplotlib.rc_context({"font.size": 17.0, "svg.fonttype": "path", "timezone": "Asia/Tokyo"}):
        before = in_effect()
        inside = svg(line_chart())
        assert in_effect() == before
    assert inside == svg(line_chart()), "what a user has set changes no chart"


def test_colours_follow_the_style_sheet() -> None:
    drawing = svg(line_chart()) + svg(histogram())
    for variable in ("ink", "grid", "line", "loss", "gain", "mark"):
        assert f"var(--{variable})" in drawing, variable
    assert "#0102" not in drawing
    assert "stroke: #" not in drawing
    for metadata in ("dc:date", "rdf:RDF", "<!DOCTYPE", "<?xml", "<style"):
        assert metadata not in drawing, metadata


@pytest.mark.parametrize(
    "panel",
    [
        Panel("one point", TIMES[:1], np.array([5.0])),
        Panel("constant", TIMES, np.full(100, 5.0)),
        Panel("nothing at all", TIMES, np.full(100, np.nan)),
        Panel("ruin", TIMES, np.concatenate((np.full(99, 5.0), [0.0])), drawn="area"),
        Panel("very large", TIMES, np.geomspace(1, 1e100, 100), logarithmic=True),
        Panel("very small", TIMES, np.full(100, 1e-300), drawn="stems"),
    ],
    ids=lambda panel: panel.label,
)
@pytest.mark.parametrize("times", [True, False])
def test_a_chart_of_anything(panel: Panel, times: bool) -> None:
    chart = LineChart("x", "title", "description", (panel,), times=times, x_label="periods")
    assert svg(chart).startswith("<svg")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain_text -5.2 % of 3", "plain_text -5.2 % of 3"),
        ("a | b", r"a \| b"),
        ("![x](http://evil.example)", "!\\[x\\](http\u200b://evil.example)"),
        ("see www.evil.example", "see www\u200b.evil.example"),
        ("<b>&amp;`*", r"\<b\>\&amp;\`\*"),
        ("two\n\n# lines", "two # lines"),
        ("# heading", r"\# heading"),
        ("### heading", r"##\# heading"),
        ("- item", r"\- item"),
        ("-5 %", "-5 %"),
        ("12. item", r"12\. item"),
        ("", ""),
    ],
)
def test_markdown_is_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_markdown_holds_every_table() -> None:
    text = TemplateRenderer().markdown(report(ATTACK))
    assert "<script>" not in text
    assert text.count("\n| --- |") == 2
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.replace("\\|", "").count("|") == 3


@pytest.mark.parametrize(
    ("heat", "name"), [(None, ""), (0, ""), (0.1, "g1"), (0.3, "g2"), (1, "g4"), (-0.6, "l3"), (-1, "l4")]
)
def test_shades(heat: float | None, name: str) -> None:
    assert shade(HeatCell("x", heat)) == name


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("run_abc", "run_abc"),
        ("../../etc/passwd", "etc-passwd"),
        ("", "report"),
        ("a/b\0c", "a-b-c"),
        ("x" * 500, "x" * 60),
        ("日本", "report"),
    ],
)
def test_names_of_files_are_no_paths(label: str, expected: str, tmp_path: Path) -> None:
    assert file_label(label) == expected
    stored = ReportFiles(tmp_path / "reports").write(label, "<p>ä</p>")
    assert Path(stored.path).parent == tmp_path / "reports"
    assert Path(stored.path).read_text(encoding="utf-8") == "<p>ä</p>"
    assert stored.bytes == 9


def test_a_link_in_the_way_is_replaced_not_followed(tmp_path: Path) -> None:
    files = ReportFiles(tmp_path / "reports")
    path = Path(files.write("run", "one").path)
    sentinel = tmp_path / "sentinel"
    sentinel.write_text("untouched")
    path.unlink()
    path.symlink_to(sentinel)
    assert Path(files.write("run", "one").path).read_text() == "one"
    assert sentinel.read_text() == "untouched"
    assert not path.is_symlink()


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_that_is_a_link_is_not_written_through(tmp_path: Path, exists: bool) -> None:
    outside = tmp_path / "outside"
    if exists:
        outside.mkdir()
    folder = tmp_path / "home" / "reports"
    folder.parent.mkdir()
    folder.symlink_to(outside, target_is_directory=True)
    with pytest.raises(ResearchError) as caught:
        ReportFiles(folder).write("run", "one")
    assert caught.value.code is ErrorCode.STORAGE_FAILED
    assert "is a symbolic link" in caught.value.message
    assert "JESSE_MCP_HOME" in str(caught.value.hint)
    assert folder.is_symlink()
    assert (list(outside.iterdir()) == []) if exists else not outside.exists()


def test_a_home_that_is_a_link_is_the_choice_of_its_owner(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    assert Path(ReportFiles(tmp_path / "home" / "reports").write("run", "one").path).read_text() == "one"


def test_the_libraries_are_loaded_by_the_first_html_only() -> None:
    code = (
        "import sys, jesse_mcp.server.assembly, jesse_mcp.adapters.reports.renderer as r;"
        "r.TemplateRenderer();"
        "print(sorted({'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
