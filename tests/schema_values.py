"""Values that fit the schema of a tool's arguments, for Hypothesis.

hypothesis-jsonschema would know all of JSON Schema, but fails with the Hypothesis of today; this knows what
the schemas of the tools are made of, and stumbles over anything else.
"""

from typing import Any

from hypothesis import strategies as st

_ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
#: Says nothing about what fits.
_SILENT = {"default", "description", "title"}
_MOST = 4


def values(schema: dict[str, Any] | bool) -> st.SearchStrategy[Any]:
    """Whatever fits ``schema``.

    Raises:
        KeyError: for a schema that is made of something else.
    """
    if schema is True or (isinstance(schema, dict) and set(schema) <= _SILENT):
        return _ANYTHING
    assert isinstance(schema, dict)
    if "anyOf" in schema:
        return st.one_of([values(part) for part in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "const" in schema:
        return st.just(schema["const"])
    return _OF_TYPE[schema["type"]](schema)


def _text(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    return st.text(min_size=schema.get("minLength", 0), max_size=min(schema.get("maxLength", 40), 40))


def _integer(schema: dict[str, Any]) -> st.SearchStrategy[int]:
    return st.integers(schema.get("minimum"), schema.get("maximum"))


def _number(schema: dict[str, Any]) -> st.SearchStrategy[float]:
    low, high = schema.get("minimum"), schema.get("maximum")
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


def _array(schema: dict[str, Any]) -> st.SearchStrategy[list[Any]]:
    if "prefixItems" in schema:
        return st.tuples(*(values(part) for part in schema["prefixItems"])).map(list)
    least = schema.get("minItems", 0)
    return st.lists(values(schema["items"]), min_size=least, max_size=max(least, _MOST))


def _object(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    if "properties" not in schema:
        return st.dictionaries(st.text(max_size=10), values(schema["additionalProperties"]), max_size=_MOST)
    required = schema.get("required", [])
    parts = {name: values(part) for name, part in schema["properties"].items()}
    return st.fixed_dictionaries(
        {name: parts[name] for name in required},
        optional={name: part for name, part in parts.items() if name not in required},
    )


_OF_TYPE = {
    "null": lambda _: st.none(),
    "boolean": lambda _: st.booleans(),
    "string": _text,
    "integer": _integer,
    "number": _number,
    "array": _array,
    "object": _object,
}
