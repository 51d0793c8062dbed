"""A module's syntax tree with the questions that rules ask of it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_NAMED = (*FUNCTIONS, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)


@dataclass(frozen=True)
class Import:
    """One name an import statement brings in."""

    origin: str
    bound_as: str
    node: ast.Import | ast.ImportFrom


@dataclass(frozen=True)
class Source:
    """A parsed module. Names are resolved for the module as a whole, whatever the scope."""

    tree: ast.Module
    nodes: tuple[ast.AST, ...]
    imports: tuple[Import, ...]
    stars: tuple[str, ...] = field(metadata={"doc": "modules of which everything is imported"})
    bound: frozenset[str] = field(metadata={"doc": "every name that is given a value anywhere"})
    origins: dict[str, str] = field(metadata={"doc": "names that always mean one imported thing"})
    shared: frozenset[str] = field(metadata={"doc": "names declared global or nonlocal somewhere"})
    parents: dict[int, ast.AST]
    functions: dict[int, Function] = field(metadata={"doc": "the innermost function around a node"})
    names: dict[tuple[int, str], tuple[ast.Name, ...]] = field(
        metadata={"doc": "uses of a name, by the innermost function around them"}
    )

    def dotted(self, node: ast.AST) -> str | None:
        """What an expression such as ``ta.ema`` means in full, as far as imports tell."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self.origins:
            return None
        return ".".join([self.origins[node.id], *reversed(attributes)])

    def calls(self) -> Iterator[ast.Call]:
        """Every call in the module."""
        return (node for node in self.nodes if isinstance(node, ast.Call))

    def parent(self, node: ast.AST) -> ast.AST | None:
        """The node that holds ``node``."""
        return self.parents.get(id(node))

    def function_of(self, node: ast.AST) -> Function | None:
        """The innermost function around ``node``."""
        return self.functions.get(id(node))

    def names_in(self, function: Function, name: str) -> tuple[ast.Name, ...]:
        """Where a function itself, not one defined in it, uses ``name``."""
        return self.names.get((id(function), name), ())

    def is_builtin(self, node: ast.AST, name: str) -> bool:
        """Whether an expression is the built-in ``name`` and nothing of the module's own."""
        return isinstance(node, ast.Name) and node.id == name and name not in self.bound


def read(tree: ast.Module) -> Source:
    """Prepare a tree for questions."""
    nodes = tuple(ast.walk(tree))
    imports = tuple(_imports(nodes))
    functions = _functions(tree)
    rebound = frozenset(name for node in nodes for name in _bindings(node))
    meanings: dict[str, set[str]] = {}
    for item in imports:
        meanings.setdefault(item.bound_as, set()).add(item.origin)
    return Source(
        tree=tree,
        nodes=nodes,
        imports=imports,
        stars=tuple(_stars(nodes)),
        bound=rebound | frozenset(meanings),
        origins={
            name: next(iter(origins))
            for name, origins in meanings.items()
            if len(origins) == 1 and name not in rebound
        },
        shared=frozenset(
            name for node in nodes if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names
        ),
        parents={id(child): parent for parent in nodes for child in ast.iter_child_nodes(parent)},
        functions=functions,
        names=_names(nodes, functions),
    )


def _functions(tree: ast.Module) -> dict[int, Function]:
    found: dict[int, Function] = {}
    pending: list[tuple[ast.AST, Function | None]] = [(tree, None)]
    while pending:
        node, function = pending.pop()
        if function is not None:
            found[id(node)] = function
        inner = node if isinstance(node, FUNCTIONS) else function
        pending.extend((child, inner) for child in ast.iter_child_nodes(node))
    return found


def _names(
    nodes: tuple[ast.AST, ...], functions: dict[int, Function]
) -> dict[tuple[int, str], tuple[ast.Name, ...]]:
    found: dict[tuple[int, str], list[ast.Name]] = {}
    for node in nodes:
        if isinstance(node, ast.Name) and id(node) in functions:
            found.setdefault((id(functions[id(node)]), node.id), []).append(node)
    return {key: tuple(uses) for key, uses in found.items()}


def _imports(nodes: tuple[ast.AST, ...]) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                yield Import(alias.name if alias.asname else top, alias.asname or top, node)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                if alias.name != "*":
                    yield Import(f"{base}.{alias.name}", alias.asname or alias.name, node)


def _stars(nodes: tuple[ast.AST, ...]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            yield node.module or ""


def _bindings(node: ast.AST) -> Iterator[str]:
    """Names that ``node`` gives a value by other means than an import."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, _NAMED):
        yield from [node.name] if node.name else []
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest
    elif isinstance(node, ast.Global | ast.Nonlocal):
        yield from node.names
    elif type(node).__name__ in {"TypeVar", "ParamSpec", "TypeVarTuple"}:  # since Python 3.12
        yield str(getattr(node, "name", ""))
