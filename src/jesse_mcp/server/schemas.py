"""Schemas as clients need them: short, and those of results true of errors too."""

from typing import Any


def result_or_error(schema: dict[str, Any]) -> dict[str, Any]:
    """``schema`` of a result, widened to the ``error`` that may come in its place.

    The TypeScript SDK checks the structured content of failed calls as well: an error that does not match
    would reach the agent as a complaint about the schema, without the message and the hint.
    """
    whole: dict[str, Any] = compact(schema)
    required = whole.pop("required", None)
    # A job has an error of its own, null while there is none.
    whole["properties"] = {"error": {"type": "object"}, **whole["properties"]}
    if required:
        whole["anyOf"] = [{"required": required}, {"required": ["error"]}]
    return whole


def compact(schema: Any) -> Any:
    """The same schema in fewer characters; every agent reads all of them at the start of a conversation."""
    if isinstance(schema, list):
        return [compact(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    short = {
        key: {name: compact(value) for name, value in part.items()} if key == "properties" else compact(part)
        for key, part in schema.items()
        if (key, part) != ("additionalProperties", True) and key != "default"
    }
    return _merged(short)


def without_null_defaults(schema: Any) -> Any:
    """The same schema of arguments; one that may be left out and may be null is null when left out."""
    if isinstance(schema, list):
        return [without_null_defaults(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: without_null_defaults(value) for name, value in part.items()}
        if key == "properties"
        else without_null_defaults(part)
        for key, part in schema.items()
        if (key, part) != ("default", None)
    }


def _merged(schema: dict[str, Any]) -> dict[str, Any]:
    """A choice of plain types as a list of types."""
    choices = schema.get("anyOf")
    if choices is None or any(choice.keys() != {"type"} for choice in choices):
        return schema
    types = [choice["type"] for choice in choices]
    if "number" in types and "integer" in types:
        types.remove("integer")
    return {"type": types, **{key: part for key, part in schema.items() if key != "anyOf"}}
