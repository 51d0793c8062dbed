"""Variables with the prefix of this program that no setting reads."""

import difflib
import os
from collections.abc import Iterable

from jesse_mcp.settings import Settings, variable

PREFIX = "JESSE_MCP_"


def unknown_variables(names: Iterable[str] | None = None) -> list[str]:
    """A sentence about each, with the name that may be meant, and never with its value.

    Args:
        names: of variables; default: those of this process.
    """
    given = sorted({name.upper() for name in (os.environ if names is None else names)})
    known = {_shortened(variable(name)): variable(name) for name in Settings.model_fields}
    read = {PREFIX + name.upper() for name in Settings.model_fields if _is_read_with_prefix(name)}
    found = []
    for name in given:
        if not name.startswith(PREFIX) or name in read:
            continue
        near = difflib.get_close_matches(_shortened(name), known, n=1)
        meant = f"; {known[near[0]]} may be meant" if near else ""
        found.append(f"{name} is the name of no setting, so it changes nothing{meant}")
    return found


def _is_read_with_prefix(name: str) -> bool:
    """Settings that other programs know are read with the prefix too; only their files are not."""
    return variable(name).startswith(PREFIX) or not name.endswith("_file")


def _shortened(name: str) -> str:
    return name.removeprefix(PREFIX)
