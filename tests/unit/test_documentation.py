"""What the documents say of variables is what the code reads."""

from pathlib import Path

import pytest

from jesse_mcp.settings import Settings, variable

DOCS = Path(__file__).parents[2] / "docs"
#: Defaults that depend on the machine, or say more than their value.
OWN_WORDS = {
    "home": "your data folder",
    "cache": "your cache folder",
    "workers": "number of cores",
    "rate_limit_enabled": "where tokens are asked for",
}
#: The first that is about serving; it and all behind it are in another document.
FIRST_OF_OPERATIONS = "log_format"


def row(name: str) -> str:
    field = Settings.model_fields[name]
    return f"| `{variable(name)}` | {OWN_WORDS.get(name) or default(field.default)} | {field.description} |"


def default(value: object) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def table(document: str) -> list[str]:
    text = (DOCS / document).read_text()
    return text[text.index("| variable |") :].split("\n\n")[0].splitlines()[2:]


@pytest.mark.parametrize(("document", "wanted"), [("dashboard.md", False), ("operations.md", True)])
def test_the_tables_have_every_variable_and_no_other(document: str, wanted: bool) -> None:
    names = list(Settings.model_fields)
    first = names.index(FIRST_OF_OPERATIONS)
    assert table(document) == [row(name) for name in (names[first:] if wanted else names[:first])]
