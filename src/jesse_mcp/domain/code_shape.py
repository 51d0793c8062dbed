"""What stays of code when names, numbers and layout are taken away: copies of a strategy have one shape."""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping

from jesse_mcp.domain.syntax import parsed

_FOLDER = "strategies"
_ANY = "_"
#: Said for people and tools, and without effect on a run.
_WITHOUT_EFFECT = frozenset({"annotation", "returns", "type_comment", "kind", "simple", "ctx", "type_params"})
#: Fields that hold a name its author was free to choose.
_GIVEN_NAMES = frozenset(
    {
        ("Name", "id"),
        ("arg", "arg"),
        ("alias", "asname"),
        ("ClassDef", "name"),
        ("ExceptHandler", "name"),
        ("Global", "names"),
        ("Nonlocal", "names"),
    }
)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def code_shape(files: Mapping[str, str]) -> str:
    """A digest that is the same for code that differs in these alone.

    Names of strategies, classes, modules' variables, arguments and local variables; numbers; comments,
    documentation, annotations and layout; the order of methods and of statements outside functions. Names of
    methods and attributes, strings, and every operation count. Files that are no Python do not.

    Args:
        files: text by POSIX path, such as ``strategies/Trend/__init__.py``.

    Returns:
        64 hexadecimal digits. What cannot be parsed has the shape of its text.
    """
    own = frozenset(parts[1] for path in files if len(parts := path.split("/")) > 2 and parts[0] == _FOLDER)
    shapes = {_module(text, own) for path, text in files.items() if path.endswith(".py") and text.strip()}
    return hashlib.sha256("\n".join(sorted(shapes)).encode("utf-8", "surrogatepass")).hexdigest()


def strategy_shapes(files: Mapping[str, str], strategies: Iterable[str]) -> dict[str, str]:
    """The shape of each strategy by itself, by name: of its folder and of what it imports, however far.

    What else is there does not matter, so a strategy keeps its shape in whatever company it is run. A helper
    that two strategies import makes no shape of theirs alike; only strategies alike in all of it are.

    Args:
        files: text by POSIX path, as for :func:`code_shape`.
        strategies: names of folders below ``strategies``; one without a file is left out.
    """
    folders: dict[str, dict[str, str]] = {}
    shared: dict[str, str] = {}
    for path, text in files.items():
        parts = path.split("/")
        within = len(parts) > 2 and parts[0] == _FOLDER
        (folders.setdefault(parts[1], {}) if within else shared)[path] = text
    imported = {name: _imported(of.values()) & folders.keys() for name, of in folders.items()}
    found = {}
    for name in sorted(set(strategies) & folders.keys()):
        needed: set[str] = set()
        waiting = {name}
        while waiting:
            needed |= waiting
            waiting = {more for one in waiting for more in imported[one]} - needed
        own = {path: text for one in needed for path, text in folders[one].items()}
        found[name] = code_shape(shared | own)
    return found


def _imported(texts: Iterable[str]) -> set[str]:
    """Every part of every name that is imported; of what cannot be parsed nothing is."""
    found: set[str] = set()
    for text in texts:
        try:
            nodes = list(ast.walk(parsed(text)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in nodes:
            if isinstance(node, ast.ImportFrom):
                found |= set((node.module or "").split("."))
            if isinstance(node, ast.Import | ast.ImportFrom):
                found |= {part for alias in node.names for part in alias.name.split(".")}
    return found


def _module(text: str, own: frozenset[str]) -> str:
    try:
        tree = parsed(text)
        outside = own | _bound_outside_functions(tree)
        return _Writer(own, dict.fromkeys(outside, _ANY)).node(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return f"text {hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


class _Writer:
    """Writes nodes with their names replaced.

    Args:
        own: names of strategies, which do not matter anywhere.
        names: those given in this scope, and what they become.
        variables: how many of them are of the functions around.
    """

    def __init__(self, own: frozenset[str], names: dict[str, str], variables: int = 0) -> None:
        self._own = own
        self._names = names
        self._variables = variables

    def node(self, node: ast.AST) -> str:
        match node:
            case ast.Constant(value=value):
                return self._constant(value)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=value)) if _number(value):
                return self._constant(value)
            case ast.AnnAssign(target=target, value=value):
                return "" if value is None else f"Assign([{self.node(target)}],{self.node(value)})"
        if _says_nothing(node):
            return ""
        writer, kind = self._inside(node), type(node).__name__
        parts = [writer.field(kind, name, value) for name, value in ast.iter_fields(node)]
        return f"{kind}({','.join(part for part in parts if part)})"

    def field(self, kind: str, name: str, value: object) -> str:
        if name in _WITHOUT_EFFECT or value is None:
            return ""
        if isinstance(value, ast.AST):
            return self.node(value)
        if isinstance(value, list):
            written = [part for item in value if (part := self.field(kind, name, item))]
            return f"[{','.join(written)}]" if written else ""
        if not isinstance(value, str):
            return repr(value)
        if (kind, name) in _GIVEN_NAMES:
            return self._names.get(value, value)
        return ".".join(_ANY if part in self._own else part for part in value.split("."))

    def _inside(self, node: ast.AST) -> "_Writer":
        """A scope of its own for a function, a fixed order for what is defined side by side."""
        if isinstance(node, _FUNCTIONS):
            own = dict.fromkeys(_bound(node))
            numbered = {name: f"v{number}" for number, name in enumerate(own, self._variables)}
            return _Writer(self._own, self._names | numbered, self._variables + len(numbered))
        if isinstance(node, ast.Module | ast.ClassDef):
            return _Sorted(self._own, self._names, self._variables)
        return self

    def _constant(self, value: object) -> str:
        if _number(value):
            return "number"
        return _ANY if isinstance(value, str) and value in self._own else repr(value)


class _Sorted(_Writer):
    """For the body of a module or a class, whose order rarely matters."""

    def field(self, kind: str, name: str, value: object) -> str:
        if name != "body" or not isinstance(value, list):
            return super().field(kind, name, value)
        plain = _Writer(self._own, self._names, self._variables)
        return f"[{','.join(sorted(part for item in value if (part := plain.node(item))))}]"


def _number(value: object) -> bool:
    return isinstance(value, int | float | complex) and not isinstance(value, bool)


def _says_nothing(node: ast.AST) -> bool:
    documents = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return documents or isinstance(node, ast.Pass)


def _bound(tree: ast.AST) -> Iterator[str]:
    """Names given to something anywhere below, in the order of the source as far as ``ast`` walks it."""
    for node in ast.walk(tree):
        match node:
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.alias(asname=str(name)):
                yield name
            case ast.ExceptHandler(name=str(name)):
                yield name


def _bound_outside_functions(tree: ast.Module) -> frozenset[str]:
    found: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        if isinstance(node, ast.alias) and node.asname is not None:
            found.add(node.asname)
        waiting += [child for child in ast.iter_child_nodes(node) if not isinstance(child, _FUNCTIONS)]
    return frozenset(found)
