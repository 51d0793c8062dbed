"""What the documents say of variables is what the code reads."""

from pathlib import Path

import pytest

from jesse_mcp.settings import Settings, variable

DOCS = Path(__file__).parents[2] / "docs"
#: Defaults that depend on the machine.
OWN_WORDS = {"home": "your data folder", "cache": "your cache folder", "workers": "number of cores"}


def row(name: str) -> str:
    field = Settings.model_fields[name]
    return f"| `{variable(name)}` | {OWN_WORDS.get(name) or default(field.default)} | {field.description} |"


def default(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_variable_is_in_the_table(name: str) -> None:
    assert row(name) in (DOCS / "dashboard.md").read_text().splitlines()


def test_the_table_has_no_other_variable() -> None:
    text = (DOCS / "dashboard.md").read_text()
    table = text[text.index("| variable |") :].split("\n\n")[0].splitlines()[2:]
    assert table == [row(name) for name in Settings.model_fields]
