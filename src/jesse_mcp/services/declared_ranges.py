"""Hyperparameters outside of what a strategy declares: Jesse runs them, and the caller should know."""

from collections.abc import Mapping

from jesse_mcp.domain.backtests import HyperparameterValue
from jesse_mcp.domain.strategies import HyperparameterInfo


def declared_range(info: HyperparameterInfo) -> str:
    """The declared range or options, as a person would write them."""
    if info.options:
        return " | ".join(str(option) for option in info.options)
    if info.min is not None and info.max is not None:
        return f"{info.min:g} to {info.max:g}"
    return f"at least {info.min:g}" if info.max is None else f"at most {info.max:g}"


def outside_declared(
    strategy: str,
    declared: tuple[HyperparameterInfo, ...] | None,
    values: Mapping[str, HyperparameterValue],
) -> list[str]:
    """A warning for each value that its strategy does not declare, with both.

    Args:
        declared: ``None`` when it cannot be read without running the strategy: nothing can be said then.
        values: hyperparameters of a run.
    """
    return [
        f"{strategy}: {info.name} is {values[info.name]}, outside of what it declares, {declared_range(info)}"
        for info in declared or ()
        if info.name in values and is_outside(info, values[info.name])
    ]


def is_outside(info: HyperparameterInfo, value: HyperparameterValue | None) -> bool:
    """Whether a value is none of the declared options, or beyond the declared range."""
    if info.options and value is not None:
        return value not in info.options
    if value is None or isinstance(value, bool | str):
        return False
    below = info.min is not None and value < info.min
    return below or (info.max is not None and value > info.max)
