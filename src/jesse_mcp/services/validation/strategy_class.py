"""The strategy class of a module: which one it is, what it inherits, what its methods do with ``self``."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from jesse_mcp.services.validation.source import FUNCTIONS, Function, Source

JESSE_STRATEGY = frozenset({"jesse.strategies.Strategy", "jesse.strategies.Strategy.Strategy"})
_STAR_SOURCES = frozenset({"jesse.strategies", "jesse.strategies.Strategy"})


class Lineage(Enum):
    """What a class descends from."""

    STRATEGY = auto()
    #: Something imported from another module of the project; only running it can tell.
    UNKNOWN = auto()
    OTHER = auto()


@dataclass(frozen=True)
class Method:
    """A function of the class, with the name its first parameter has (``None``: there is no instance)."""

    node: Function
    owner: ast.ClassDef
    self_name: str | None
    decorators: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.node.name


@dataclass(frozen=True)
class StrategyClass:
    """A class with its local base classes, nearest first."""

    node: ast.ClassDef
    lineage: tuple[ast.ClassDef, ...]
    #: Whether everything it inherits is known: local classes and Jesse's own.
    complete: bool
    methods: dict[str, Method]
    #: Every function of the lineage, overridden ones too.
    functions: tuple[Method, ...]
    #: Names assigned in class bodies, with where.
    attributes: dict[str, ast.stmt]

    @property
    def name(self) -> str:
        return self.node.name

    def defines(self, name: str) -> bool:
        """Whether the class or a local base has a member of this name."""
        return name in self.methods or name in self.attributes

    def uses(self, method: Method) -> Iterator[ast.Attribute]:
        """``self.<name>`` in a method, whether read or assigned."""
        name = method.self_name
        for node in inside(method.node, name) if name is not None else ():
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name:
                yield node

    def all_uses(self) -> Iterator[ast.Attribute]:
        """``self.<name>`` in every method of the lineage."""
        for method in self.functions:
            yield from self.uses(method)


def inside(function: Function, name: str | None = None) -> Iterator[ast.AST]:
    """The nodes of a function's body, classes defined in it left out: their ``self`` is another one.

    With ``name``, functions defined in it that take a parameter of this name are left out too.
    """
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, ast.ClassDef) and not _takes(node, name):
            pending.extend(ast.iter_child_nodes(node))


def _takes(node: ast.AST, name: str | None) -> bool:
    if name is None or not isinstance(node, (*FUNCTIONS, ast.Lambda)):
        return False
    return any(part.arg == name for part in ast.walk(node.args) if isinstance(part, ast.arg))


def module_classes(source: Source) -> dict[str, ast.ClassDef]:
    """Classes that are defined when the module is imported."""
    return {node.name: node for node in _top_level(source.tree.body) if isinstance(node, ast.ClassDef)}


def _top_level(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in statements:
        yield statement
        for part in ("body", "orelse", "finalbody"):
            if not isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
                yield from _top_level(getattr(statement, part, []))
        for handler in getattr(statement, "handlers", []):
            yield from _top_level(handler.body)


def lineage_of(node: ast.ClassDef, source: Source, classes: dict[str, ast.ClassDef]) -> Lineage:
    """What a class descends from, through its local bases."""
    found = {_base_lineage(base, source, classes, frozenset({node.name})) for base in node.bases}
    for lineage in (Lineage.STRATEGY, Lineage.UNKNOWN):
        if lineage in found:
            return lineage
    return Lineage.OTHER


def _base_lineage(
    base: ast.expr, source: Source, classes: dict[str, ast.ClassDef], seen: frozenset[str]
) -> Lineage:
    if isinstance(base, ast.Name) and base.id in classes and base.id not in seen:
        node = classes[base.id]
        found = {_base_lineage(above, source, classes, seen | {base.id}) for above in node.bases}
        return next((kind for kind in (Lineage.STRATEGY, Lineage.UNKNOWN) if kind in found), Lineage.OTHER)
    if _is_jesse_strategy(base, source):
        return Lineage.STRATEGY
    origin = source.dotted(base.value if isinstance(base, ast.Subscript) else base)
    if origin is not None:
        standard = origin.partition(".")[0] in sys.stdlib_module_names
        return Lineage.OTHER if standard else Lineage.UNKNOWN
    # A name that nothing binds is a built-in, or undefined, which is another rule's business.
    unbound = isinstance(base, ast.Name) and base.id not in source.bound and not source.stars
    return Lineage.OTHER if unbound else Lineage.UNKNOWN


def _is_jesse_strategy(base: ast.expr, source: Source) -> bool:
    if source.dotted(base) in JESSE_STRATEGY:
        return True
    starred = not _STAR_SOURCES.isdisjoint(source.stars)
    return starred and isinstance(base, ast.Name) and base.id == "Strategy" and base.id not in source.bound


def describe(node: ast.ClassDef, source: Source, classes: dict[str, ast.ClassDef]) -> StrategyClass:
    """Collect what a class has of its own and from its local bases."""
    lineage, complete = _linearise(node, source, classes)
    methods: dict[str, Method] = {}
    attributes: dict[str, ast.stmt] = {}
    functions: list[Method] = []
    for owner in lineage:
        for statement in _top_level(owner.body):
            if isinstance(statement, FUNCTIONS):
                method = _method(statement, owner)
                functions.append(method)
                if statement.name not in attributes:
                    methods.setdefault(statement.name, method)
                continue
            for name in _assigned(statement):
                if name not in methods:
                    attributes.setdefault(name, statement)
    return StrategyClass(node, lineage, complete, methods, tuple(functions), attributes)


def _linearise(
    node: ast.ClassDef, source: Source, classes: dict[str, ast.ClassDef]
) -> tuple[tuple[ast.ClassDef, ...], bool]:
    ordered: list[ast.ClassDef] = []
    complete = not node.decorator_list
    pending = [node]
    while pending:
        current = pending.pop(0)
        if current in ordered:
            continue
        ordered.append(current)
        for base in current.bases:
            if isinstance(base, ast.Name) and base.id in classes:
                pending.append(classes[base.id])
            elif not _is_jesse_strategy(base, source):
                harmless = isinstance(base, ast.Name) and base.id in {"object", "ABC"}
                complete = complete and harmless
        complete = complete and not current.keywords
    return tuple(ordered), complete


def _method(node: Function, owner: ast.ClassDef) -> Method:
    decorators = tuple(ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list)
    parameters = [*node.args.posonlyargs, *node.args.args]
    has_instance = parameters and "staticmethod" not in decorators and "classmethod" not in decorators
    return Method(node, owner, parameters[0].arg if has_instance else None, decorators)


def _assigned(statement: ast.stmt) -> Iterator[str]:
    """Names a statement of a class body gives a value."""
    if isinstance(statement, ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in statement.names)
    elif isinstance(statement, ast.AnnAssign) and statement.value is None:
        return
    else:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
