"""What to do about an argument that a tool refused: the names it takes where the wrong one was."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from jesse_mcp.services.backtest_request import BacktestArguments

_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
Location = tuple[int | str, ...]


def hint_for(tool: str, parameters: Mapping[str, Any], kind: str, where: Location) -> str:
    """The next call to make.

    Args:
        parameters: JSON schema of the arguments of ``tool``.
        kind: of the problem, as pydantic names it.
        where: path to the argument at fault.
    """
    known = list(parameters.get("properties", ()))
    own = f"correct it and call {tool} again; its arguments are: {', '.join(known) or 'none'}"
    name = str(where[-1]) if where else ""
    unknown = kind in _UNKNOWN
    if len(where) > 1:
        fields = _fields_at(parameters, where[:-1])
        if not fields:
            return own
        place = ".".join(str(part) for part in where[:-1])
        meant = _meant(name, fields) if unknown else ""
        return f"{meant}{place} takes: {', '.join(fields)}"
    if unknown and "settings" in known and name in BacktestArguments.model_fields:
        return f"{name} is an argument of backtest: put it in settings={{{name!r}: ...}}; {own}"
    return f"{_meant(name, known) if unknown else ''}{own}"


def _meant(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def _fields_at(parameters: Mapping[str, Any], where: Location) -> list[str]:
    """Names of the fields of the object at ``where``; none when it takes any, or is no object."""
    definitions = parameters.get("$defs", {})
    schemas: list[Mapping[str, Any]] = [parameters]
    for part in where:
        schemas = [inner for schema in schemas for inner in _choices(_inside(schema, part), definitions)]
    return list(dict.fromkeys(name for schema in schemas for name in schema.get("properties", ())))


def _inside(schema: Mapping[str, Any], part: int | str) -> Any:
    if isinstance(part, int):
        return schema.get("items")
    return schema.get("properties", {}).get(part) or schema.get("additionalProperties")


def _choices(schema: Any, definitions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if not isinstance(schema, dict):
        return []
    if "$ref" in schema:
        return _choices(definitions.get(schema["$ref"].rpartition("/")[2]), definitions)
    if "anyOf" in schema:
        return [inner for choice in schema["anyOf"] for inner in _choices(choice, definitions)]
    return [schema]
