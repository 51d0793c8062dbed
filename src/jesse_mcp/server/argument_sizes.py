"""Arguments too large to be looked at entry by entry are refused at once."""

import math
from collections.abc import Mapping
from itertools import chain
from typing import Any

from jesse_mcp.domain.errors import ErrorCode, ResearchError

#: Entries of all lists and objects together, apart from series of numbers. Were each of them wrong, to say so
#: would keep everybody waiting for a second.
MOST_ENTRIES = 50_000


def check_sizes(arguments: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Refuse ``arguments`` of a tool that hold too many entries.

    A long list of finite numbers, or of pairs of a whole number and a finite one, is not counted where the
    tool takes such: there is nothing in it that could be wrong.

    Args:
        parameters: JSON schema of the arguments.

    Raises:
        ResearchError: ``invalid_argument``.
    """
    properties = parameters.get("properties", {})
    left = MOST_ENTRIES - len(arguments)
    for name, value in arguments.items():
        left = _left(value, left, series=_takes_series(properties.get(name)))
        if left < 0:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"with {str(name)[:100]} the arguments hold more than {MOST_ENTRIES:,} entries that are no "
                "series of finite numbers",
                hint="send less at a time; a series is a list of numbers, or of [epoch ms, number]",
            )


def _left(value: Any, left: int, *, series: bool) -> int:
    """``left`` without the entries of ``value``; negative when there are more."""
    waiting = [value]
    while waiting and left >= 0:
        held = waiting.pop()
        if isinstance(held, list | dict) and not (series and isinstance(held, list) and _is_series(held)):
            left -= len(held)
            if left >= 0:
                waiting.extend(held.values() if isinstance(held, dict) else held)
    return left


def _takes_series(schema: Any) -> bool:
    """Whether an argument may be a list of numbers or of pairs, or several by name."""
    if not isinstance(schema, dict):
        return False
    inner = [*schema.get("anyOf", ()), schema.get("additionalProperties")]
    items = schema.get("items")
    numeric = isinstance(items, dict) and (
        items.get("type") in {"number", "integer"} or "prefixItems" in items
    )
    return numeric or any(map(_takes_series, inner))


def _is_series(values: list[Any]) -> bool:
    kinds = set(map(type, values))
    if kinds <= {int, float}:
        return _are_finite(values)
    if kinds != {list} or set(map(len, values)) != {2}:
        return False
    return {type(pair[0]) for pair in values} == {int} and (
        set(map(type, chain.from_iterable(values))) <= {int, float}
        and _are_finite(list(chain.from_iterable(values)))
    )


def _are_finite(numbers: list[float]) -> bool:
    try:
        return all(map(math.isfinite, numbers))
    except OverflowError:
        return False
