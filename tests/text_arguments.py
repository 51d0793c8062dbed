"""Every place of a tool's arguments that takes text, found in its schema, and names that try to be paths."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Steps to a value: names, positions, and :data:`NAME` for a name that the caller makes up.
Place = tuple[str | int, ...]
NAME = "*"


def places(schema: Any, whole: dict[str, Any], at: Place = ()) -> Iterator[Place]:
    """Where ``schema``, a part of ``whole``, takes any text, as a value or as a name."""
    if schema is True or (isinstance(schema, dict) and not schema.keys() - {"description", "title"}):
        yield at
        return
    if "$ref" in schema:
        yield from places(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole, at)
        return
    for choice in schema.get("anyOf", ()):
        yield from places(choice, whole, at)
    kinds = schema.get("type", ())
    if "string" in ((kinds,) if isinstance(kinds, str) else kinds) and not {"enum", "const"} & schema.keys():
        yield at
    for name, part in schema.get("properties", {}).items():
        yield from places(part, whole, (*at, name))
    more = schema.get("additionalProperties", "properties" not in schema and "object" in kinds)
    if more is not False and "object" in kinds:
        yield (*at, NAME)
        yield from places(more, whole, (*at, "name"))
    for position, part in enumerate(
        schema.get("prefixItems", [schema["items"]] if "items" in schema else ())
    ):
        yield from places(part, whole, (*at, position))


def placed(arguments: dict[str, Any], place: Place, text: str) -> dict[str, Any]:
    """``arguments`` with ``text`` at ``place``; what leads there is made where it is missing."""
    changed = copy.deepcopy(arguments)
    _put(changed, place, text)
    return changed


def _put(inside: Any, place: Place, text: str) -> None:
    step: Any = place[0]
    rest = place[1:]
    if step == NAME:
        inside[text] = 1
        return
    if isinstance(inside, list) and not inside:
        inside.append(None)
    if not rest:
        inside[step] = text
        return
    held = inside[step] if isinstance(inside, list) else inside.get(step)
    wanted = list if isinstance(rest[0], int) else dict
    if not isinstance(held, wanted):
        inside[step] = wanted()
    _put(inside[step], rest, text)


def paths_as_names(outside: Path) -> list[str]:
    """Names by which ``outside/Bait`` might be reached from a folder near it, in every spelling known."""
    up = [f"{'../' * depth}outside/Bait" for depth in (1, 2, 3, 4)]
    return [
        *up,
        f"{outside}/Bait",
        f"{outside}/Bait/__init__.py",
        f"BTC-USDT/../../../{outside.name}/Bait",
        f"Bait/../{up[2]}\0.csv",
        up[2].replace("/", "\\"),
        f"C:{up[2]}".replace("/", "\\"),
        "\\\\127.0.0.1\\share\\Bait",
        "//127.0.0.1/share/Bait",
        f"file://{outside}/Bait",
        up[2].replace("../", "%2e%2e%2f"),
        up[2].replace("../", "%252e%252e%252f"),
        # Fullwidth dots and slashes, one-dot leaders, division slashes: NFKC makes dots and slashes of them.
        up[2].replace(".", "\uff0e").replace("/", "\uff0f"),
        up[2].replace("..", "\u2025").replace("/", "\u2215"),
        up[2].replace("../", "..\u2044"),
        "..\n../outside/Bait",
        f"{up[2]}\r\n",
        "../" * 1500 + str(outside).lstrip("/") + "/Bait",
        "~/Bait",
        "$HOME/Bait",
        "B\u0430it",
    ]
