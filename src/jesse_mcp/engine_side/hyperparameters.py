"""The hyperparameters a run really uses: declared defaults, then what the caller overrides.

Jesse takes one dictionary for every route of a run and replaces a strategy's values by it as a whole, so
it must be complete.
"""

import difflib
from typing import Any

import jesse.helpers as jh
import numpy as np
from failures import RunRejectedError


def complete(classes: dict[str, type[Any]], overrides: dict[str, Any]) -> dict[str, Any] | None:
    """What to pass to Jesse: every declared value with the overrides applied, ``None`` without overrides.

    Strategies are asked for their defaults only when there are overrides; constructing one may have effects.

    Raises:
        RunRejectedError: an override no strategy declares, of the wrong type, or an ambiguous default.
    """
    if not overrides:
        return None
    declared: dict[str, dict[str, Any]] = {}
    defaults: dict[str, dict[str, Any]] = {}
    for name, strategy_class in classes.items():
        own = _defaults(strategy_class)
        for entry in own["entries"]:
            declared.setdefault(entry["name"], entry)
        defaults[name] = own["values"]
    for key, value in overrides.items():
        _check(key, value, declared)
    return _merged(defaults, overrides)


def in_effect(routes: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """The values of all routes as one dictionary, under ``Strategy.name`` where strategies differ.

    Args:
        routes: strategy name and hyperparameters of each route.
    """
    by_strategy = {name: dict(values or {}) for name, values in routes}
    different = list(by_strategy.values())
    if all(values == different[0] for values in different[1:]):
        return different[0] if different else {}
    return {f"{name}.{key}": value for name, values in by_strategy.items() for key, value in values.items()}


def scalar(value: Any) -> Any:
    """A hyperparameter as JSON has it; what is neither number nor text is shown as Python would."""
    if isinstance(value, np.generic):
        value = value.item()
    plain = isinstance(value, bool | int | str) or (isinstance(value, float) and np.isfinite(value))
    return value if plain else repr(value)


def _defaults(strategy_class: type[Any]) -> dict[str, Any]:
    strategy = strategy_class()
    entries = strategy.hyperparameters() or []
    dna = strategy.dna()
    values = jh.dna_to_hp(entries, dna) if dna else {e["name"]: e["default"] for e in entries}
    return {"entries": entries, "values": values}


def _check(key: str, value: Any, declared: dict[str, dict[str, Any]]) -> None:
    if key not in declared:
        close = difflib.get_close_matches(key, declared, n=1)
        known = ", ".join(sorted(declared)) or "none"
        raise RunRejectedError(
            f"hyperparameter {key!r} is declared by no strategy of this run",
            hint=f"did you mean {close[0]!r}?" if close else f"declared are: {known}",
        )
    entry = declared[key]
    kind = getattr(entry["type"], "__name__", str(entry["type"]))
    fits = {
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, int | float) and not isinstance(value, bool),
        "bool": isinstance(value, bool),
    }.get(kind, True)
    if not fits:
        raise RunRejectedError(
            f"hyperparameter {key!r} takes {kind}, received {value!r}",
            hint=f"give it as {kind}; the default is {entry.get('default')!r}",
        )
    options = entry.get("options")
    if options and value not in options:
        raise RunRejectedError(f"hyperparameter {key!r} is {value!r}", hint=f"choose one of {list(options)}")


def _merged(defaults: dict[str, dict[str, Any]], overrides: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for strategy, values in defaults.items():
        for key, value in values.items():
            if key not in overrides and merged.get(key, value) != value:
                raise RunRejectedError(
                    f"hyperparameter {key!r} of {strategy} defaults to {value!r}, of another strategy of "
                    f"this run to {merged[key]!r}; Jesse takes one value for all routes",
                    hint=f"give {key!r} a value explicitly",
                )
            merged[key] = value
    return {**merged, **overrides}
