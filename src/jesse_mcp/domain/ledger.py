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
    strategy_shapes: dict[str, str] = Field(
        default_factory=dict, description="the same of each routed strategy by its name; empty when not known"
    )


def family_of(strategies: Iterable[str]) -> str:
    """The family of runs with these strategies: their names in alphabetical order, joined by ``+``."""
    return "+".join(sorted(set(strategies)))


def strategies_of(family: str) -> frozenset[str]:
    """Names of the strategies that :func:`family_of` joined."""
    return frozenset(family.split("+"))


class FamilyCode(Value):
    """Which code was tried under a family: see :class:`Trial`."""

    family: str
    code_shape: str | None = None
    strategy_shapes: dict[str, str] = Field(default_factory=dict)


def lineage_of(family: str, tried: Iterable[FamilyCode]) -> frozenset[str]:
    """Families of which trials count for ``family``, which is among them.

    Two strategies are the same when they have one name or code of one shape was tried under both, and so is
    whatever is the same as either. A family counts when any strategy of it is the same as any of
    ``family``: a route more or a route less does not start anew.

    Company does not carry on: what was tried with A and B together counts for A and counts for B, but what
    was tried with B alone does not count for A. So one strategy routed beside many, such as a hedge, does
    not make one line of all of them, nor does code that they only import.

    Args:
        tried: of the whole ledger; without shapes a family is known by its names.
    """
    shapes: dict[str, set[str]] = {}
    families = {family}
    for one in tried:
        families.add(one.family)
        # Trials of before have the shape of all routes together: it stands for the family as one strategy.
        if one.code_shape is not None:
            shapes.setdefault(one.family, set()).add(one.code_shape)
        for name, shape in one.strategy_shapes.items():
            shapes.setdefault(name, set()).add(shape)
    same = {family, *strategies_of(family)}
    while True:
        own = set().union(*(shapes.get(name, set()) for name in same))
        more = {name for name, found in shapes.items() if found & own}
        if more <= same:
            break
        same |= more
    return frozenset(name for name in families if same & {name, *strategies_of(name)})
