"""Recorded answers of the real exchanges, where there are any, against the imitated ones."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_CANDLES = re.compile(r"kline|candle|ohlc", re.IGNORECASE)
_MARKET = re.compile(r"[A-Z0-9]{5,}")


def compare(directory: Path, pages: Iterable[tuple[str, Any]]) -> tuple[list[str], dict[str, bool]]:
    """Every recording, and of those that are pages of candles whether a page of ours has that shape.

    ``pages`` are families of exchanges and a page of each. A recording is a JSON file; which family it is of
    and that it is of candles is told by its path.
    """
    shapes = [(family, shape(page)) for family, page in pages]
    names: list[str] = []
    fitting: dict[str, bool] = {}
    for path in sorted(directory.rglob("*.json")):
        name = path.relative_to(directory).as_posix()
        names.append(name)
        ours = [wanted for family, wanted in shapes if family in name.lower()]
        if ours and _CANDLES.search(name):
            recorded = shape(_answer(json.loads(path.read_text())))
            fitting[name] = any(fits(wanted, recorded) for wanted in ours)
    return names, fitting


def shape(value: Any) -> Any:
    """Keys and types, of rows the first; the names of markets are all the same."""
    if isinstance(value, dict):
        return {"MARKET" if _MARKET.fullmatch(key) else key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        has_rows = bool(value) and isinstance(value[0], dict | list)
        return [shape(inner) for inner in (value[:1] if has_rows else value)]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if is_number else type(value).__name__


def fits(ours: Any, recorded: Any) -> bool:
    """Whether everything of ours is there; a recording may have more keys, or no rows to compare."""
    if isinstance(ours, dict) and isinstance(recorded, dict):
        return all(key in recorded and fits(inner, recorded[key]) for key, inner in ours.items())
    if isinstance(ours, list) and isinstance(recorded, list):
        return not recorded or (len(ours) == len(recorded) and all(map(fits, ours, recorded)))
    return bool(ours == recorded)


def _answer(recording: Any) -> Any:
    """The answer itself, if it is kept inside of something that describes it."""
    for key in ("response", "body", "json"):
        if isinstance(recording, dict) and key in recording:
            recording = recording[key]
    return json.loads(recording) if isinstance(recording, str) else recording
