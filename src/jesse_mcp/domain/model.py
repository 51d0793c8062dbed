"""Base of every value object: immutable, closed to unknown fields, finite numbers only."""

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """Immutable; unknown fields are refused, NaN and Infinity too (JSON knows neither)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
