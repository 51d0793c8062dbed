"""Output schemas are shorter and say the same."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import Field, TypeAdapter

from jesse_mcp.domain.model import Value
from jesse_mcp.server.schemas import compact, result_or_error


class Inner(Value):
    #: Fields named as keywords of a schema.
    default: int | None = None
    properties: dict[str, float | int | str | None] = Field(default_factory=dict)
    anyOf: list[int | None] = Field(default_factory=list)  # noqa: N815


class Outer(Value):
    number: float
    inner: Inner | None = None
    free: dict[str, Any] = Field(default_factory=dict, description="anything")


SCHEMA = TypeAdapter(Outer).json_schema(mode="serialization")
ANSWERS: list[tuple[Any, bool]] = [
    ({"number": 1.5}, True),
    ({"number": 1, "inner": None, "free": {"a": [1, {"b": None}]}}, True),
    (
        {
            "number": 1,
            "inner": {"default": 3, "properties": {"x": None, "y": "z", "n": 2}, "anyOf": [1, None]},
        },
        True,
    ),
    ({"number": 1, "inner": {"default": "3"}}, False),
    ({"number": 1, "inner": {"properties": {"x": []}}}, False),
    ({"number": 1, "inner": {"anyOf": ["1"]}}, False),
    ({"number": "1"}, False),
    ({"number": 1, "free": 1}, False),
    ({"number": 1, "more": 1}, False),
    ({}, False),
]


@pytest.mark.parametrize(("answer", "fits"), ANSWERS)
def test_what_fits_still_fits_and_nothing_else(answer: Any, fits: bool) -> None:
    assert Draft202012Validator(SCHEMA).is_valid(answer) is fits, "of the schema as it was"
    assert Draft202012Validator(compact(SCHEMA)).is_valid(answer) is fits
    assert Draft202012Validator(result_or_error(SCHEMA)).is_valid(answer) is fits


def test_it_is_shorter() -> None:
    assert len(str(compact(SCHEMA))) < 0.85 * len(str(SCHEMA))


def test_an_error_fits_in_place_of_a_result() -> None:
    schema = Draft202012Validator(result_or_error(SCHEMA))
    assert schema.is_valid({"error": {"code": "x"}})
    assert not schema.is_valid({"error": "x"})
    assert not Draft202012Validator(SCHEMA).is_valid({"error": {"code": "x"}})
    assert result_or_error(SCHEMA)["type"] == "object", "the protocol wants it at the root"


def test_a_result_keeps_an_error_field_of_its_own() -> None:
    class Told(Value):
        name: str
        error: dict[str, Any] | None = None

    schema = Draft202012Validator(result_or_error(TypeAdapter(Told).json_schema(mode="serialization")))
    assert schema.is_valid({"name": "x", "error": None})
    assert schema.is_valid({"error": {"code": "x"}})
    assert not schema.is_valid({"name": 1, "error": None})
