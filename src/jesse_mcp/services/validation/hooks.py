"""The methods Jesse calls: present, callable as Jesse calls them, and spelt as Jesse spells them."""

import ast
from collections.abc import Iterator

from jesse_mcp.domain.catalog import JesseCatalog
from jesse_mcp.domain.strategies import Finding
from jesse_mcp.services.validation.engine_facts import (
    EARLY_PROPERTIES,
    FORMER_HOOKS,
    HOOKS,
    PROPERTIES,
)
from jesse_mcp.services.validation.findings import closest, error, warning
from jesse_mcp.services.validation.source import Source
from jesse_mcp.services.validation.strategy_class import Method, StrategyClass, inside

_RETURNS = {"should_long": "bool", "go_long": "None", "should_short": "bool", "go_short": "None"}
_EXITS = frozenset({"stop_loss", "take_profit"})


def check_hooks(source: Source, strategy: StrategyClass, catalog: JesseCatalog) -> Iterator[Finding]:
    """Every rule of this module."""
    yield from _missing(strategy, catalog)
    yield from _missing_short(strategy)
    yield from _signatures(strategy)
    yield from _misspelt(source, strategy, catalog)
    yield from _constructor(strategy)
    yield from _entry_orders(strategy)
    yield from _exits_in_go_long(strategy)


def _missing(strategy: StrategyClass, catalog: JesseCatalog) -> Iterator[Finding]:
    if not strategy.complete:
        return
    for name in catalog.abstract_methods:
        if not strategy.defines(name):
            yield error(
                "missing-method",
                f"class {strategy.name} has no method {name}",
                strategy.node,
                f"def {name}(self) -> {_RETURNS.get(name, 'None')}: ...",
            )


def _missing_short(strategy: StrategyClass) -> Iterator[Finding]:
    should_short = strategy.methods.get("should_short")
    if should_short is None or not strategy.complete or strategy.defines("go_short"):
        return
    if not _is_never_true(should_short):
        yield error(
            "missing-method",
            f"class {strategy.name} may go short but has no method go_short",
            should_short.node,
            "def go_short(self) -> None: ... (set self.sell), or let should_short return False",
        )


def _is_never_true(method: Method) -> bool:
    """Whether a method returns only the constants ``False`` and ``None``."""
    returns = [node.value for node in inside(method.node) if isinstance(node, ast.Return)]
    constants = [value is None or (isinstance(value, ast.Constant) and not value.value) for value in returns]
    return all(constants)


def _signatures(strategy: StrategyClass) -> Iterator[Finding]:
    for name, passed in HOOKS.items():
        # An own rule explains what hyperparameters() has to look like.
        if name == "hyperparameters":
            continue
        method = strategy.methods.get(name)
        if method is not None:
            yield from _signature(method, passed)
        elif name in strategy.attributes and _is_data(strategy.attributes[name]):
            yield error(
                "hook-not-a-method",
                f"{name} is assigned a value, but Jesse calls it",
                strategy.attributes[name],
                f"def {name}(self): ...",
            )


def _signature(method: Method, passed: int) -> Iterator[Finding]:
    node, name = method.node, method.name
    if {"property", "cached_property"} & set(method.decorators):
        yield error(
            "hook-not-a-method",
            f"{name} is a property, but Jesse calls it",
            node,
            f"remove the decorator from {name}",
        )
    elif isinstance(node, ast.AsyncFunctionDef):
        yield error(
            "hook-not-a-method",
            f"{name} is async, and Jesse does not await it",
            node,
            f"def {name} without async",
        )
    elif not _accepts(method, passed):
        names = ", ".join(["self", "order", "closed_trade"][: passed + 1])
        names = names.replace("order", "strategy") if name.startswith("on_route_") else names
        yield error(
            "hook-signature",
            f"Jesse calls {name} with {passed} argument{'' if passed == 1 else 's'} besides self",
            node,
            f"def {name}({names})",
        )


def _accepts(method: Method, passed: int) -> bool:
    known = {"staticmethod", "classmethod", "cached", "override"}
    if not set(method.decorators) <= known:
        return True  # a decorator may change anything
    arguments = method.node.args
    given = passed + (0 if "staticmethod" in method.decorators else 1)
    positional = len(arguments.posonlyargs) + len(arguments.args)
    if any(default is None for default in arguments.kw_defaults):
        return False
    return positional - len(arguments.defaults) <= given and (given <= positional or bool(arguments.vararg))


def _is_data(statement: ast.stmt) -> bool:
    value = getattr(statement, "value", None)
    return isinstance(value, ast.Constant | ast.List | ast.Dict | ast.Tuple | ast.Set | ast.JoinedStr)


def _misspelt(source: Source, strategy: StrategyClass, catalog: JesseCatalog) -> Iterator[Finding]:
    used = {node.attr for node in source.nodes if isinstance(node, ast.Attribute)}
    members = set(catalog.strategy_members)
    for name, method in strategy.methods.items():
        if name in FORMER_HOOKS and name not in members:
            yield warning(
                "never-called",
                f"Jesse never calls {name}",
                method.node,
                f"rename it to {FORMER_HOOKS[name]}",
            )
        elif name not in members and name not in used and not method.decorators:
            hook = closest(name, HOOKS, cutoff=0.85)
            if hook is not None and not strategy.defines(hook):
                yield warning(
                    "never-called",
                    f"nothing calls {name}",
                    method.node,
                    f"rename it to {hook}, if that is meant",
                )


def _constructor(strategy: StrategyClass) -> Iterator[Finding]:
    method = strategy.methods.get("__init__")
    if method is None:
        return
    calls = [node for node in inside(method.node) if isinstance(node, ast.Call)]
    if not any(isinstance(call.func, ast.Attribute) and call.func.attr == "__init__" for call in calls):
        yield error(
            "init-without-super",
            "__init__ does not call the constructor of Strategy, which sets up everything else",
            method.node,
            "call super().__init__() first, or set variables in before()",
        )
    if not _accepts(method, 0):
        yield error(
            "hook-signature", "Jesse creates a strategy without arguments", method.node, "def __init__(self)"
        )
    early = PROPERTIES - EARLY_PROPERTIES
    for use in strategy.uses(method):
        if use.attr in early and isinstance(use.ctx, ast.Load) and not strategy.defines(use.attr):
            yield warning(
                "used-in-init",
                f"self.{use.attr} is not available in __init__: the strategy has no route yet",
                use,
                "move this to before(), under: if self.index == 0",
            )


def _entry_orders(strategy: StrategyClass) -> Iterator[Finding]:
    """An entry without an order stops the run."""
    if not strategy.complete:
        return
    assigned = {use.attr for use in strategy.all_uses() if not isinstance(use.ctx, ast.Load)}
    for enter, signal, order in (("go_long", "should_long", "buy"), ("go_short", "should_short", "sell")):
        method, should = strategy.methods.get(enter), strategy.methods.get(signal)
        if method is None or should is None or order in assigned or _is_never_true(should):
            continue
        yield warning(
            "no-entry-order",
            f"{enter} never sets self.{order}, which Jesse requires once {signal} is true",
            method.node,
            f"self.{order} = qty, price",
        )


def _exits_in_go_long(strategy: StrategyClass) -> Iterator[Finding]:
    """Jesse refuses these orders on a spot exchange, where there is nothing to sell yet."""
    exits = [
        use
        for method in _reached(strategy, "go_long")
        for use in strategy.uses(method)
        if use.attr in _EXITS and isinstance(use.ctx, ast.Store)
    ]
    if exits:
        names = " and ".join(f"self.{name}" for name in sorted({use.attr for use in exits}))
        yield warning(
            "exit-in-go-long",
            f"{names} set in go_long: fine on futures, but Jesse stops the run on a spot exchange",
            min(exits, key=lambda use: use.lineno),
            "set it in on_open_position(self, order), which works on spot and futures",
        )


def _reached(strategy: StrategyClass, start: str) -> Iterator[Method]:
    """A method and those it calls, except where one tells spot from futures itself."""
    seen: set[str] = set()
    pending = [start]
    while pending:
        name = pending.pop()
        method = strategy.methods.get(name)
        if name in seen or method is None:
            continue
        seen.add(name)
        used = {use.attr for use in strategy.uses(method)}
        if used.isdisjoint({"is_spot_trading", "is_futures_trading", "exchange_type"}):
            yield method
            pending += sorted(used)
