"""``hyperparameters()``: its form, what it declares, and how ``self.hp`` is used."""

import ast
import math
from collections.abc import Iterator
from dataclasses import dataclass

from jesse_mcp.domain.strategies import Finding, HyperparameterInfo
from jesse_mcp.services.validation.findings import MAX_SUGGESTIONS, closest, did_you_mean, error, warning
from jesse_mcp.services.validation.literals import UNKNOWN, Literals
from jesse_mcp.services.validation.source import Source
from jesse_mcp.services.validation.strategy_class import Method, StrategyClass, inside

_METHOD = "hyperparameters"
#: What Jesse's optimizer accepts, as a type or as its name.
_TYPES = frozenset({"int", "float", "categorical"})
Entry = dict[str, object]


@dataclass(frozen=True)
class Declared:
    """What could be read; ``infos`` is ``None`` when the list is computed."""

    infos: tuple[HyperparameterInfo, ...] | None
    findings: tuple[Finding, ...] = ()


def check_hyperparameters(source: Source, strategy: StrategyClass) -> Declared:
    """Every rule of this module."""
    method = strategy.methods.get(_METHOD)
    if method is None:
        return _without_method(strategy)
    findings = list(_form(strategy, method))
    elements = _elements(method)
    if elements is None:
        return Declared(None, tuple(findings))
    literals = Literals(source)
    entries: list[tuple[ast.expr, Entry]] = []
    for element in elements:
        entry = literals.mapping(element)
        if entry is None:
            findings += _not_an_entry(element)
            return Declared(None, tuple(findings))
        entries.append((element, entry))
        findings += _entry(element, entry)
    names = [entry.get("name") for _, entry in entries]
    findings += _duplicates(entries)
    if not all(isinstance(name, str) for name in names):
        return Declared(None, tuple(findings))
    findings += _usage(source, strategy, [str(name) for name in names])
    return Declared(tuple(_info(entry) for _, entry in entries), tuple(findings))


def _without_method(strategy: StrategyClass) -> Declared:
    statement = strategy.attributes.get(_METHOD)
    if statement is None:
        return Declared(() if strategy.complete else None)
    value = getattr(statement, "value", None)
    if not isinstance(value, ast.List | ast.Tuple | ast.Dict | ast.Constant | ast.ListComp):
        return Declared(None)
    remedy = f"def {_METHOD}(self): return [...]"
    return Declared(
        None,
        (
            error(
                "hyperparameters-form",
                f"{_METHOD} is assigned a value, but Jesse calls it",
                statement,
                remedy,
            ),
        ),
    )


def _form(strategy: StrategyClass, method: Method) -> Iterator[Finding]:
    node, rule, remedy = method.node, "hyperparameters-form", f"def {_METHOD}(self): return [...]"
    parameters = [*node.args.posonlyargs, *node.args.args]
    required = len(parameters) - len(node.args.defaults)
    expected = 0 if "staticmethod" in method.decorators else 1
    yields = any(isinstance(part, ast.Yield | ast.YieldFrom) for part in inside(node))
    if {"property", "cached_property"} & set(method.decorators):
        yield error(rule, f"{_METHOD} is a property, but Jesse calls it", node, remedy)
    elif isinstance(node, ast.AsyncFunctionDef):
        yield error(rule, f"{_METHOD} is async, and Jesse does not await it", node, remedy)
    elif yields:
        yield error(rule, f"{_METHOD} is a generator, but Jesse takes its length", node, remedy)
    elif required > expected or (not parameters and expected and node.args.vararg is None):
        yield error(rule, f"Jesse calls {_METHOD} with no argument besides self", node, remedy)
    elif {"staticmethod", "classmethod"} & set(method.decorators):
        yield warning(rule, f"Jesse's optimizer cannot call a {method.decorators[0]}", node, remedy)
    elif next(strategy.uses(method), None) is not None:
        yield warning(
            rule,
            f"Jesse's optimizer calls {_METHOD} without a strategy, so self is None there",
            node,
            "use constants only",
        )


def _elements(method: Method) -> list[ast.expr] | None:
    """The list a method returns, when that is all it does."""
    statements = [
        statement
        for statement in method.node.body
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
    ]
    if len(statements) != 1 or not isinstance(statements[0], ast.Return):
        return None
    value = statements[0].value
    return value.elts if isinstance(value, ast.List | ast.Tuple) else None


def _not_an_entry(element: ast.expr) -> Iterator[Finding]:
    if isinstance(element, ast.Constant | ast.List | ast.Tuple | ast.Set):
        yield error(
            "hyperparameter-entry",
            "an element of hyperparameters() is not a dictionary",
            element,
            '{"name": "period", "type": int, "min": 5, "max": 50, "default": 20}',
        )


def _entry(element: ast.expr, entry: Entry) -> Iterator[Finding]:
    rule, name = "hyperparameter-entry", entry.get("name", "?")
    for key in ("name", "default"):
        if key not in entry:
            yield error(rule, f'hyperparameter {name!r} has no "{key}"', element, f'add "{key}"')
    if name is not UNKNOWN and not isinstance(name, str):
        yield error(rule, f"the name of a hyperparameter is {name!r}, not text", element)
    kind = _kind(entry)
    if kind is not None and kind not in _TYPES:
        yield warning(
            "hyperparameter-type",
            f"hyperparameter {name!r} has type {kind}, which Jesse's optimizer refuses",
            element,
            "use int, float, or 'categorical' with options",
        )
    if "type" not in entry:
        yield warning("hyperparameter-type", f'hyperparameter {name!r} has no "type"', element, 'add "type"')
    yield from _options(element, entry) if kind == "categorical" else _range(element, entry)


def _options(element: ast.expr, entry: Entry) -> Iterator[Finding]:
    rule, options = "hyperparameter-range", entry.get("options")
    if "options" not in entry:
        yield warning(
            rule, f"hyperparameter {entry.get('name')!r} is categorical but has no options", element
        )
    elif isinstance(options, list) and UNKNOWN not in options:
        default = entry.get("default", UNKNOWN)
        if default is not UNKNOWN and default not in options:
            yield warning(rule, f"the default {default!r} is not among the options", element)


def _range(element: ast.expr, entry: Entry) -> Iterator[Finding]:
    rule, name = "hyperparameter-range", entry.get("name")
    low, high, default, step = (_number(entry.get(key)) for key in ("min", "max", "default", "step"))
    if _kind(entry) in {"int", "float"} and not {"min", "max"} <= set(entry):
        yield warning(rule, f"hyperparameter {name!r} has no range to search", element, 'add "min" and "max"')
    if low is not None and high is not None and low > high:
        yield error(rule, f"hyperparameter {name!r} has min {low:g} above max {high:g}", element, "swap them")
    elif default is not None and (
        (low is not None and default < low) or (high is not None and default > high)
    ):
        yield warning(
            rule, f"the default {default:g} of hyperparameter {name!r} is out of its range", element
        )
    if step is not None and step <= 0:
        yield warning(
            rule, f"the step of hyperparameter {name!r} is {step:g}", element, "use a positive step"
        )


def _duplicates(entries: list[tuple[ast.expr, Entry]]) -> Iterator[Finding]:
    seen: set[str] = set()
    for element, entry in entries:
        name = entry.get("name")
        if isinstance(name, str) and name in seen:
            yield error("hyperparameter-duplicate", f"hyperparameter {name!r} is declared twice", element)
        elif isinstance(name, str):
            seen.add(name)


def _usage(source: Source, strategy: StrategyClass, declared: list[str]) -> Iterator[Finding]:
    used: set[str] = set()
    stored: set[str] = set()
    reads: list[tuple[str, ast.expr]] = []
    for use in strategy.all_uses():
        if use.attr != "hp":
            continue
        parent = source.parent(use)
        key = parent.slice if isinstance(parent, ast.Subscript) else None
        if not isinstance(parent, ast.Subscript) or not isinstance(key, ast.Constant):
            used.update(declared)  # the dictionary is passed around: anything may be read
        elif isinstance(parent.ctx, ast.Store):
            stored.add(str(key.value))
        else:
            reads.append((str(key.value), parent))
    known = stored | set(declared)
    used.update(name for name, _ in reads)
    unknown = [read for read in reads if read[0] not in known and strategy.complete]
    for count, (name, at) in enumerate(unknown):
        best = closest(name, declared) if count < MAX_SUGGESTIONS else None
        yield warning(
            "unknown-hyperparameter",
            f"no hyperparameter is named {name!r}",
            at,
            did_you_mean(best and f'self.hp["{best}"]') or "declare it in hyperparameters()",
        )
    for name in declared:
        if name not in used and strategy.complete:
            yield warning(
                "unused-hyperparameter",
                f"hyperparameter {name!r} is declared but never read",
                strategy.methods[_METHOD].node,
            )


def _kind(entry: Entry) -> str | None:
    """The declared type by name; ``None`` when it is missing or computed."""
    kind = entry.get("type", UNKNOWN)
    return None if kind is UNKNOWN else str(kind).strip("'\"")


def _number(value: object) -> float | None:
    """``value`` as a finite number; ``None`` for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _scalar(value: object) -> bool | int | float | str | None:
    # A whole number stays one: a strategy may count with it.
    return value if isinstance(value, bool | int | str) else _number(value)


def _info(entry: Entry) -> HyperparameterInfo:
    options = entry.get("options")
    scalars = [_scalar(option) for option in options] if isinstance(options, list) else None
    known = None if scalars is None else tuple(option for option in scalars if option is not None)
    return HyperparameterInfo(
        name=str(entry["name"]),
        type=_kind(entry),
        min=_number(entry.get("min")),
        max=_number(entry.get("max")),
        step=_number(entry.get("step")),
        default=_scalar(entry.get("default")),
        options=known,
    )
