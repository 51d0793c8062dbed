"""Arguments of which saying what is wrong with each entry would take too long are refused whole."""

from typing import Any

import pytest

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.server.argument_sizes import MOST_ENTRIES, check_sizes

NUMBERS: dict[str, Any] = {"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "null"}]}
PAIRS = {
    "type": "array",
    "items": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "number"}]},
}
SCHEMA: dict[str, Any] = {
    "properties": {
        "returns": NUMBERS,
        "balances": PAIRS,
        "prices": {"anyOf": [{"type": "object", "additionalProperties": PAIRS}]},
        "ids": {"type": "array", "items": {"type": "string"}},
    }
}
MANY = MOST_ENTRIES + 1

FINE: list[dict[str, Any]] = [
    {},
    {"ids": ["a"] * (MOST_ENTRIES - 1)},
    {"returns": [0.5] * 500_000},
    {"returns": [1] * 500_000, "balances": [[1, 0.5]] * 200_000},
    {"prices": {"A": [[1, 2]] * 100_000, "B": [[1, 0.5]] * 100_000}},
    {"unknown": "x" * 1_000_000},
]
LARGE: list[dict[str, Any]] = [
    {"ids": ["a"] * MANY},
    {"ids": [1] * MANY},
    {"unknown": [1] * MANY},
    {"unknown": {str(number): 1 for number in range(MANY)}},
    {str(number): 1 for number in range(MANY)},
    {"unknown": [[1] * 100] * 1_000},
    {"returns": ["a"] * MANY},
    {"returns": [True] * MANY},
    {"returns": [None] * MANY},
    {"returns": [1.5] * MANY + ["a"]},
    {"returns": [float("nan")] * MANY},
    {"returns": [float("inf")] * MANY},
    {"returns": [10**400] * MANY},
    {"returns": [1.5] * MANY + [[1, 2.5]]},
    {"balances": [[0.5, 1]] * MANY},
    {"balances": [[1, float("nan")]] * MANY},
    {"balances": [[1, 2, 3]] * MANY},
    {"balances": [[1, "a"]] * MANY},
    {"prices": {"A": [[1, "a"]] * 20_000, "B": [[1, "a"]] * 20_000}},
]


@pytest.mark.parametrize("number", range(len(FINE)))
def test_what_a_caller_may_need_is_let_through(number: int) -> None:
    check_sizes(FINE[number], SCHEMA)


@pytest.mark.parametrize("number", range(len(LARGE)))
def test_what_nobody_needs_is_refused_whole(number: int) -> None:
    with pytest.raises(ResearchError) as caught:
        check_sizes(LARGE[number], SCHEMA)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert len(str(caught.value.to_dict())) < 1_000
