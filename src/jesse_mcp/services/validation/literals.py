"""Values that can be read from the source without running it."""

import ast
from typing import Final

from jesse_mcp.services.validation.source import Source

_NUMBER = int | float


class _Unknown:
    """A value that only running the code would tell."""

    def __repr__(self) -> str:
        return "a computed value"


UNKNOWN: Final = _Unknown()
_TYPE_NAMES = frozenset({"int", "float", "str", "bool"})


def _is_plain(value: object) -> bool:
    """Whether a constant can be shown: no lone surrogates, no numbers of thousands of digits."""
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    return not isinstance(value, int) or abs(value) < 10**300


class Literals:
    """Evaluates constants, and module constants that are assigned exactly once."""

    def __init__(self, source: Source) -> None:
        stores: dict[str, int] = {}
        for node in source.nodes:
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                stores[node.id] = stores.get(node.id, 0) + 1
        self._constants = {
            target.id: statement.value
            for statement in source.tree.body
            if isinstance(statement, ast.Assign)
            for target in statement.targets
            if isinstance(target, ast.Name) and stores[target.id] == 1
        }
        self._bound = source.bound

    def value(self, node: ast.expr) -> object:
        """The value of an expression, a type as its name, :data:`UNKNOWN` for what is computed."""
        if isinstance(node, ast.Constant):
            return node.value if _is_plain(node.value) else UNKNOWN
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            number = self.value(node.operand)
            return -number if isinstance(number, _NUMBER) else UNKNOWN
        if isinstance(node, ast.List | ast.Tuple):
            return [self.value(element) for element in node.elts]
        if isinstance(node, ast.Name):
            return self._named(node.id)
        return UNKNOWN

    def mapping(self, node: ast.expr) -> dict[str, object] | None:
        """A dictionary with constant keys, written as a display or with ``dict()``."""
        if isinstance(node, ast.Dict):
            keys = [self.value(key) if key is not None else UNKNOWN for key in node.keys]
            if all(isinstance(key, str) for key in keys):
                return {str(key): self.value(value) for key, value in zip(keys, node.values, strict=True)}
        elif self._is_dict_call(node) and isinstance(node, ast.Call) and all(k.arg for k in node.keywords):
            return {str(item.arg): self.value(item.value) for item in node.keywords}
        return None

    def _is_dict_call(self, node: ast.expr) -> bool:
        called = node.func if isinstance(node, ast.Call) and not node.args else None
        return isinstance(called, ast.Name) and called.id == "dict" and "dict" not in self._bound

    def _named(self, name: str) -> object:
        if name in _TYPE_NAMES and name not in self._bound:
            return name
        constant = self._constants.get(name)
        # One step only: a constant defined by another one is rare, and a cycle would never end.
        return constant.value if isinstance(constant, ast.Constant) else UNKNOWN
