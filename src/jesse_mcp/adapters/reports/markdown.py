"""A report as Markdown (GitHub's tables)."""

import re

from jesse_mcp.ports.reports import Block, HeatTable, Report, TextTable

#: What starts a link, an image, code, emphasis, a cell or a tag anywhere in a line.
_SPECIAL = re.compile(r"[\\`*\[\]<>|~&]")
_OPENING = re.compile(r"^(?:#+|[-+=_]+|\d+[.)])(?=\s|$)")
_ADDRESS = re.compile(r"(?i)\b(https?|ftp|mailto|www)(?=[:.])")


def markdown(report: Report) -> str:
    """The report as text; what it quotes is escaped, so that it can neither link nor load anything."""
    lines = [
        f"# {escaped(report.title)}",
        "",
        escaped(report.subtitle),
        "",
        f"**{escaped(report.headline)}**",
    ]
    for section in report.sections:
        lines += ["", f"## {escaped(section.title)}"]
        if section.sentences:
            lines += ["", *(f"- {escaped(sentence)}" for sentence in section.sentences)]
        for block in section.blocks:
            lines += ["", *_block(block)]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Plain text on one line that Markdown shows as it is."""
    line = " ".join(text.split())
    # An address becomes a link without any bracket, unless something unseen is within it.
    line = _ADDRESS.sub(lambda found: found[0] + "\u200b", line)
    line = _SPECIAL.sub(lambda found: "\\" + found[0], line)
    # Beginning a line, these would make a heading, a list or a rule of it.
    return _OPENING.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", line)


def _block(block: Block) -> list[str]:
    if isinstance(block, TextTable):
        rows: list[tuple[str, ...]] = list(block.rows)
        return _table(block.title, block.columns, rows)
    if isinstance(block, HeatTable):
        cells = [(name, *(cell.text for cell in row)) for name, row in block.rows]
        return _table(block.title, block.columns, cells)
    return [f"*{escaped(block.title)}*: {escaped(block.description)}"]


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [f"### {escaped(title)}", ""]
    lines += [_line(columns), _line(("---",) * len(columns), raw=True)]
    return lines + [_line(row) for row in rows]


def _line(cells: tuple[str, ...], *, raw: bool = False) -> str:
    return f"| {' | '.join(cell if raw else escaped(cell) for cell in cells)} |"
