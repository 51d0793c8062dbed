"""State that outlives an instance: it leaks between routes of one run."""

import ast
from collections.abc import Iterator

from jesse_mcp.domain.strategies import Finding
from jesse_mcp.services.validation.findings import warning
from jesse_mcp.services.validation.source import Source
from jesse_mcp.services.validation.strategy_class import StrategyClass

_RULE = "shared-state"
_REMEDY = "keep it in self.vars, set up in before() under: if self.index == 0"
_MUTABLE_CALLS = frozenset(
    {"list", "dict", "set", "deque", "defaultdict", "Counter", "OrderedDict", "bytearray"}
)
_MUTATORS = frozenset(
    {
        "add",
        "append",
        "appendleft",
        "clear",
        "discard",
        "extend",
        "insert",
        "pop",
        "popleft",
        "popitem",
        "remove",
        "reverse",
        "setdefault",
        "sort",
        "update",
    }
)


def check_shared_state(source: Source, strategy: StrategyClass | None) -> Iterator[Finding]:
    """Every rule of this module."""
    yield from _globals(source)
    if strategy is not None:
        yield from _class_attributes(source, strategy)


def _is_mutable(value: ast.AST | None) -> bool:
    if isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
        return True
    return isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] in _MUTABLE_CALLS


def _is_changed(source: Source, node: ast.AST) -> bool:
    """Whether the object an expression stands for is changed in place there."""
    parent = source.parent(node)
    if isinstance(parent, ast.Subscript) and parent.value is node:
        return not isinstance(parent.ctx, ast.Load)
    if isinstance(parent, ast.AugAssign) and parent.target is node:
        return True
    if not isinstance(parent, ast.Attribute) or parent.attr not in _MUTATORS:
        return False
    call = source.parent(parent)
    return isinstance(call, ast.Call) and call.func is parent


def _globals(source: Source) -> Iterator[Finding]:
    mutable: set[str] = set()
    for statement in source.tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
        if _is_mutable(getattr(statement, "value", None)):
            mutable |= {target.id for target in targets if isinstance(target, ast.Name)}
    local = _local_names(source)
    reported: set[str] = set()
    for node in source.nodes:
        function = source.function_of(node)
        if function is None:
            continue
        names = node.names if isinstance(node, ast.Global) else []
        if isinstance(node, ast.Name) and node.id in mutable and (id(function), node.id) not in local:
            names = [node.id] if _is_changed(source, node) else []
        for name in names:
            if name not in reported:
                reported.add(name)
                message = f"{name} belongs to the module and is shared by all routes"
                yield warning(
                    _RULE, message, node if isinstance(node, ast.Name | ast.Global) else None, _REMEDY
                )


def _local_names(source: Source) -> set[tuple[int, str]]:
    """Names that a function assigns or takes as parameters, so that they are its own."""
    found: set[tuple[int, str]] = set()
    for node in source.nodes:
        function = source.function_of(node)
        if function is None:
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add((id(function), node.id))
        elif isinstance(node, ast.arg):
            found.add((id(function), node.arg))
    return found


def _class_attributes(source: Source, strategy: StrategyClass) -> Iterator[Finding]:
    mutable = {
        name
        for name, statement in strategy.attributes.items()
        if _is_mutable(getattr(statement, "value", None))
    }
    uses = list(strategy.all_uses())
    own = {
        use.attr
        for use in uses
        if isinstance(use.ctx, ast.Store) and not isinstance(source.parent(use), ast.AugAssign)
    }
    names = {node.name for node in strategy.lineage} | {"cls"}
    uses += [
        node
        for node in source.nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names
    ]
    reported: set[str] = set()
    for use in uses:
        through_class = isinstance(use.value, ast.Name) and use.value.id in names
        if use.attr in own and not through_class:
            continue
        assigned = through_class and isinstance(use.ctx, ast.Store)
        if use.attr not in reported and (assigned or (use.attr in mutable and _is_changed(source, use))):
            reported.add(use.attr)
            message = f"{use.attr} belongs to the class and is shared by all routes"
            yield warning(_RULE, message, use, _REMEDY)
