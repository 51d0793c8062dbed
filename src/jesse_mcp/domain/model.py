"""Base of every value object: immutable, closed to unknown fields, finite numbers only."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """Immutable; unknown fields are refused, NaN and Infinity too (JSON knows neither)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def unusual(model: type[Value], given: dict[str, Any]) -> dict[str, Any]:
    """Those of the ``given`` fields that are neither ``None`` nor left at their default in ``model``."""
    fields = model.model_fields
    return {
        name: value
        for name, value in given.items()
        if value is not None and (fields[name].is_required() or value != fields[name].default)
    }
