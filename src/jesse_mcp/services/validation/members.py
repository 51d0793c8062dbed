"""Names after ``self.``: known to Jesse or to the class, and used as what they are."""

import ast
from collections.abc import Iterator

from jesse_mcp.domain.catalog import JesseCatalog
from jesse_mcp.domain.strategies import Finding
from jesse_mcp.services.validation.engine_facts import (
    HOOKS,
    MEMBER_ALIASES,
    ORDER_ALIASES,
    ORDER_MEMBERS,
    PROPERTIES,
    REMOVED,
)
from jesse_mcp.services.validation.findings import (
    MAX_SUGGESTIONS,
    closest,
    did_you_mean,
    error,
    warning,
)
from jesse_mcp.services.validation.source import Source
from jesse_mcp.services.validation.strategy_class import StrategyClass

#: With any of these a class can have members its source does not show.
_DYNAMIC = frozenset({"__getattr__", "__getattribute__", "__dict__"})
_BY_NAME = frozenset({"setattr", "hasattr", "getattr", "delattr"})
_DICT_METHODS = frozenset(dir(dict))


def check_members(source: Source, strategy: StrategyClass, catalog: JesseCatalog) -> Iterator[Finding]:
    """Every rule of this module."""
    yield from _unknown(source, strategy, catalog)
    yield from _misspelt_orders(source, strategy, catalog)
    replaced = any(use.attr == "hp" and not isinstance(use.ctx, ast.Load) for use in strategy.all_uses())
    for use in strategy.all_uses():
        own = strategy.defines(use.attr)
        if not own and use.attr in REMOVED and isinstance(use.ctx, ast.Load):
            replacement = f"use self.{REMOVED[use.attr]}"
            yield error("removed-member", f"self.{use.attr} only raises in this Jesse", use, replacement)
        elif not own and use.attr in PROPERTIES:
            yield from _property(source, use)
        elif not own and use.attr in HOOKS and isinstance(use.ctx, ast.Store):
            yield warning(
                "hook-overwritten",
                f"self.{use.attr} is a method that Jesse calls; assigning to it replaces that method",
                use,
                f"def {use.attr}(self, ...), or choose another name",
            )
        elif use.attr == "hp" and not replaced and not own:
            yield from _hp_attribute(source, use)


def _property(source: Source, use: ast.Attribute) -> Iterator[Finding]:
    parent = source.parent(use)
    if not isinstance(use.ctx, ast.Load):
        yield error(
            "read-only-member",
            f"self.{use.attr} is computed by Jesse and cannot be assigned",
            use,
            "choose another name"
            if use.attr != "leverage"
            else "leverage is chosen for the run, not by the strategy",
        )
    elif isinstance(parent, ast.Call) and parent.func is use:
        yield error(
            "property-called",
            f"self.{use.attr} is a value, not a method",
            use,
            f"write self.{use.attr} without parentheses",
        )


def _hp_attribute(source: Source, use: ast.Attribute) -> Iterator[Finding]:
    parent = source.parent(use)
    if isinstance(parent, ast.Attribute) and parent.attr not in _DICT_METHODS:
        yield error(
            "hp-attribute",
            f"self.hp is a dictionary and has no attribute {parent.attr}",
            parent,
            f'write self.hp["{parent.attr}"]',
        )


def _unknown(source: Source, strategy: StrategyClass, catalog: JesseCatalog) -> Iterator[Finding]:
    if not strategy.complete or _is_dynamic(source, strategy):
        return
    members = set(catalog.strategy_members)
    known = members | set(strategy.methods) | set(strategy.attributes) | set(_made(source))
    reported = 0
    for use in strategy.all_uses():
        # Names with an underscore are Jesse's inner workings, which are not recorded.
        if use.attr in known or use.attr.startswith("_"):
            continue
        reported += 1
        alias = MEMBER_ALIASES.get(use.attr)
        best = alias or (closest(use.attr, known) if reported <= MAX_SUGGESTIONS else None)
        yield error(
            "unknown-member",
            f"self.{use.attr} is neither Jesse's nor defined in class {strategy.name}",
            use,
            did_you_mean(None if best is None else f"self.{best}"),
        )


def _misspelt_orders(source: Source, strategy: StrategyClass, catalog: JesseCatalog) -> Iterator[Finding]:
    """A stop of another name is no error, and no stop."""
    if not strategy.complete or _is_dynamic(source, strategy):
        return
    uses = [node for node in source.nodes if isinstance(node, ast.Attribute)]
    read = {use.attr for use in uses if isinstance(use.ctx, ast.Load)}
    known = read | set(catalog.strategy_members) | set(_named(source))
    for use in strategy.all_uses():
        if use.attr in known or strategy.defines(use.attr) or not isinstance(use.ctx, ast.Store):
            continue
        meant = ORDER_ALIASES.get(use.attr) or closest(use.attr, ORDER_MEMBERS, cutoff=0.8)
        if meant is not None:
            yield warning(
                "never-read",
                f"nothing reads self.{use.attr}: Jesse makes no order of it",
                use,
                f"assign to self.{meant}, if that is meant",
            )


def _is_dynamic(source: Source, strategy: StrategyClass) -> bool:
    """Whether attributes are made in ways that cannot be followed."""
    if any(strategy.defines(name) for name in _DYNAMIC):
        return True
    for node in source.nodes:
        if isinstance(node, ast.Attribute) and node.attr == "__dict__":
            return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "setattr" and _literal_name(node) is None:
                return True
            if node.func.id == "vars" and node.args:
                return True
    return False


def _made(source: Source) -> Iterator[str]:
    """Attributes assigned on anything in the module, since a helper may be handed the strategy."""
    for node in source.nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
    yield from _named(source)


def _named(source: Source) -> Iterator[str]:
    """Attributes that are reached by a text."""
    for node in source.nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _BY_NAME:
            name = _literal_name(node)
            if name is not None:
                yield name


def _literal_name(call: ast.Call) -> str | None:
    name = call.args[1] if len(call.args) > 1 else None
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else None
