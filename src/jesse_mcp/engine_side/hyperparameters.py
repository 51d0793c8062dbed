"""The hyperparameters a run really uses: declared defaults, then what the caller overrides.

Jesse takes one dictionary for every route of a run and replaces a strategy's values by it as a whole, so
it must be complete.
"""

import difflib
from typing import Any

import jesse.helpers as jh
from failures import RunRejectedError


def resolve(
    classes: dict[str, type[Any]], overrides: dict[str, Any]
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """What to pass to Jesse (``None`` to leave its own defaults alone) and the values in effect.

    Raises:
        RunRejectedError: an override no strategy declares, of the wrong type, or an ambiguous default.
    """
    declared: dict[str, dict[str, Any]] = {}
    defaults: dict[str, dict[str, Any]] = {}
    for name, strategy_class in classes.items():
        own = _defaults(strategy_class)
        for entry in own["entries"]:
            declared.setdefault(entry["name"], entry)
        defaults[name] = own["values"]
    for key, value in overrides.items():
        _check(key, value, declared)
    if not overrides:
        return None, _flat(defaults)
    merged = _merged(defaults, overrides)
    return merged, merged


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
        raise RunRejectedError(f"hyperparameter {key!r} takes {kind}, received {value!r}")
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


def _flat(defaults: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Several strategies that disagree are reported as ``Strategy.name``."""
    if len(defaults) == 1:
        return next(iter(defaults.values()))
    return {
        f"{strategy}.{key}": value for strategy, values in defaults.items() for key, value in values.items()
    }
