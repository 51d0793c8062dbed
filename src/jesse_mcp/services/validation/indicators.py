"""Calls of ``jesse.indicators`` and ``jesse.utils``: names, arguments, and the fields of results."""

import ast
from collections.abc import Iterator

from jesse_mcp.domain.catalog import JesseCatalog
from jesse_mcp.domain.strategies import Finding, IndicatorInfo
from jesse_mcp.domain.syntax import parsed
from jesse_mcp.services.validation.engine_facts import INDICATOR_ALIASES
from jesse_mcp.services.validation.findings import MAX_SUGGESTIONS, Located, closest, did_you_mean, error
from jesse_mcp.services.validation.source import Source
from jesse_mcp.services.validation.strategy_class import StrategyClass, inside

_INDICATORS = "jesse.indicators"
_UTILS = "jesse.utils"
_TUPLE_METHODS = frozenset(name for name in dir(tuple) if not name.startswith("__")) | {
    "_asdict",
    "_replace",
    "_fields",
}


def check_calls(source: Source, strategy: StrategyClass | None, catalog: JesseCatalog) -> Iterator[Finding]:
    """Every rule of this module."""
    known = {indicator.name: indicator for indicator in catalog.indicators}
    yield from _unknown(source, _INDICATORS, "indicator", set(known), INDICATOR_ALIASES)
    yield from _unknown(source, _UTILS, "utility", set(catalog.utils), {})
    for call in source.calls():
        indicator = _called(source, call, known)
        if indicator is not None:
            yield from _arguments(call, indicator)
            yield from _result(source, call, indicator)
    if strategy is not None:
        yield from _result_of_members(source, strategy, known)


def _unknown(
    source: Source, module: str, what: str, known: set[str], aliases: dict[str, str]
) -> Iterator[Finding]:
    uses: list[tuple[str, Located]] = [
        (item.origin.removeprefix(f"{module}."), item.node)
        for item in source.imports
        if item.origin.startswith(f"{module}.") and isinstance(item.node, ast.ImportFrom)
    ]
    for node in source.nodes:
        # A longer chain goes through a submodule, such as jesse.indicators.stochastic.
        if not isinstance(node, ast.Attribute) or isinstance(source.parent(node), ast.Attribute):
            continue
        if source.dotted(node.value) == module:
            uses.append((node.attr, node))
    unknown = [
        use for use in uses if use[0] not in known and not use[0].startswith("_") and "." not in use[0]
    ]
    for count, (name, at) in enumerate(unknown):
        best = aliases.get(name) or (closest(name, known) if count < MAX_SUGGESTIONS else None)
        yield error(f"unknown-{what}", f"{module} has no {name}", at, did_you_mean(best))


def _called(source: Source, call: ast.AST, known: dict[str, IndicatorInfo]) -> IndicatorInfo | None:
    if not isinstance(call, ast.Call):
        return None
    module, _, name = (source.dotted(call.func) or "").rpartition(".")
    return known.get(name) if module == _INDICATORS else None


def _arguments(call: ast.Call, indicator: IndicatorInfo) -> Iterator[Finding]:
    arguments = _parameters(indicator)
    names = [argument.arg for argument in arguments.args]
    given = [keyword.arg for keyword in call.keywords]
    starred = any(isinstance(value, ast.Starred) for value in call.args)
    problem: str | None = None
    best: str | None = None
    for name in given:
        if name is not None and name not in names and arguments.kwarg is None:
            problem = f"{indicator.name} has no parameter {name}"
            best = closest(name, names)
        elif name in names[: 0 if starred else len(call.args)]:
            problem = f"{indicator.name} is given {name} twice"
    if not starred and len(call.args) > len(names) and arguments.vararg is None:
        problem = f"{indicator.name} takes {len(names)} arguments, {len(call.args)} are given"
    if problem is None and not starred and None not in given:
        required = names[len(call.args) : len(names) - len(arguments.defaults)]
        missing = [name for name in required if name not in given]
        problem = f"{indicator.name} needs {', '.join(missing)}" if missing else None
    if problem is not None:
        usage = f"the signature is {indicator.signature}"
        yield error("indicator-arguments", problem, call, f"use {best}; {usage}" if best else usage)


def _parameters(indicator: IndicatorInfo) -> ast.arguments:
    function = parsed(f"def {indicator.signature}: ...").body[0]
    if not isinstance(function, ast.FunctionDef):
        raise TypeError(f"the catalog's signature of {indicator.name} is no function")
    return function.args


def _result(source: Source, call: ast.Call, indicator: IndicatorInfo) -> Iterator[Finding]:
    """How the result is used where it is made, and through the variable it is put in."""
    parent = source.parent(call)
    if not indicator.returns:
        return
    if isinstance(parent, ast.Attribute):
        yield from _field(parent, indicator)
    elif isinstance(parent, ast.Assign) and len(parent.targets) == 1:
        target = parent.targets[0]
        if isinstance(target, ast.Name):
            yield from _fields_of_variable(source, target, indicator)
        elif isinstance(target, ast.Tuple | ast.List):
            yield from _unpacking(target, indicator)


def _field(use: ast.Attribute, indicator: IndicatorInfo) -> Iterator[Finding]:
    if use.attr in indicator.returns or use.attr in _TUPLE_METHODS:
        return
    fields = ", ".join(indicator.returns)
    best = closest(use.attr, indicator.returns)
    yield error(
        "unknown-result-field",
        f"the result of {indicator.name} has no field {use.attr}",
        use,
        f"use {best}; the fields are {fields}" if best else f"the fields are {fields}",
    )


def _fields_of_variable(source: Source, target: ast.Name, indicator: IndicatorInfo) -> Iterator[Finding]:
    function = source.function_of(target)
    if function is None:
        return
    same = source.names_in(function, target.id)
    parameters = {node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)}
    stores = sum(not isinstance(node.ctx, ast.Load) for node in same)
    if target.id in parameters | source.shared or stores != 1:
        return  # it may hold something else
    for node in same:
        parent = source.parent(node)
        if isinstance(parent, ast.Attribute):
            yield from _field(parent, indicator)


def _unpacking(target: ast.Tuple | ast.List, indicator: IndicatorInfo) -> Iterator[Finding]:
    if any(isinstance(element, ast.Starred) for element in target.elts):
        return
    if len(target.elts) != len(indicator.returns):
        yield error(
            "unknown-result-field",
            f"{indicator.name} returns {len(indicator.returns)} values, not {len(target.elts)}",
            target,
            f"the fields are {', '.join(indicator.returns)}",
        )


def _result_of_members(
    source: Source, strategy: StrategyClass, known: dict[str, IndicatorInfo]
) -> Iterator[Finding]:
    """``self.bands.upper`` where ``bands`` is a property that returns one indicator's result."""
    results: dict[str, IndicatorInfo] = {}
    for name, method in strategy.methods.items():
        returned = [node.value for node in inside(method.node) if isinstance(node, ast.Return)]
        indicator = _called(source, returned[0], known) if len(returned) == 1 and returned[0] else None
        if indicator is not None and indicator.returns and "property" in method.decorators:
            results[name] = indicator
    for use in strategy.all_uses():
        parent = source.parent(use)
        if use.attr in results and isinstance(parent, ast.Attribute):
            yield from _field(parent, results[use.attr])
