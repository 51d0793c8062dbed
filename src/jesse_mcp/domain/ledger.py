"""Every backtest ever tried, because the number of trials decides what a good result is worth."""

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from jesse_mcp.domain.model import Value


class Trial(Value):
    """One experiment, counted once whatever became of it and however often it was asked for."""

    trial_id: str
    created_at: str = Field(description="UTC, ISO 8601")
    family: str = Field(description="strategies tried together; see family_of")
    code_hash: str
    parameters: dict[str, Any] = Field(default_factory=dict, description="hyperparameters")
    market: dict[str, Any] = Field(default_factory=dict, description="exchange, symbols, timeframes")
    start_ms: int
    end_ms: int = Field(description="exclusive")
    fingerprint: str = Field(description="identity of the experiment; unique in the ledger")
    run_id: str | None = Field(default=None, description="null when no run was kept")
    sharpe: float | None = Field(default=None, description="null when it is undefined")
    daily_returns: tuple[float, ...] | None = Field(
        default=None, description="fractions, oldest first; -1 and no further one when everything was lost"
    )
    code_shape: str | None = Field(
        default=None, description="equal for copies of the code under other names; null when not known"
    )


def family_of(strategies: Iterable[str]) -> str:
    """The family of runs with these strategies: their names in alphabetical order, joined by ``+``."""
    return "+".join(sorted(set(strategies)))


def lineage_of(family: str, shapes: Iterable[tuple[str, str | None]]) -> frozenset[str]:
    """Families that are one and the same under several names, ``family`` among them.

    Two families are related when code of one shape was tried under both, and with one's relatives one is
    related as well: what was learnt from trials of the one is in the other.

    Args:
        shapes: family and ``code_shape`` of trials; without a shape a trial relates nothing.
    """
    known = [(name, shape) for name, shape in shapes if shape is not None]
    found = {family}
    while True:
        own = {shape for name, shape in known if name in found}
        more = {name for name, shape in known if shape in own}
        if more <= found:
            return frozenset(found)
        found |= more
