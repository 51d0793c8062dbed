"""Patterns that use a candle before it could have been known."""

import ast
from collections.abc import Iterator

from jesse_mcp.domain.strategies import Finding
from jesse_mcp.services.validation.findings import warning
from jesse_mcp.services.validation.source import Function, Source

#: Local variables, each with its function.
Variables = set[tuple[Function, str]]

_RULE = "look-ahead"
#: Functions that shift by their second argument, and what the argument is called.
_SHIFTS = {"numpy.roll": "shift", "jesse.helpers.np_shift": "num"}
_CENTRED = frozenset({"scipy.signal.filtfilt", "scipy.signal.sosfiltfilt", "scipy.signal.savgol_filter"})
_PAST = "a value of the past only, for example shift(1) or index -2"


def check_look_ahead(source: Source) -> Iterator[Finding]:
    """Every rule of this module."""
    candles, reversed_variables = _candle_variables(source), _reversed_variables(source)
    for node in source.nodes:
        if isinstance(node, ast.Call):
            yield from _shift(source, node)
            yield from _centred(source, node)
            yield from _reversed_argument(source, node, reversed_variables)
        elif isinstance(node, ast.Subscript):
            yield from _forward(source, node, candles)
            yield from _reversed_index(source, node, candles)


def _shift(source: Source, call: ast.Call) -> Iterator[Finding]:
    dotted = source.dotted(call.func) or ""
    amount: ast.expr | None = None
    if dotted in _SHIFTS:
        amount = _argument(call, 1, _SHIFTS[dotted])
    elif isinstance(call.func, ast.Attribute) and call.func.attr in {"shift", "diff", "pct_change"}:
        amount = _argument(call, 0, "periods")
    if amount is not None and _is_negative(amount):
        yield warning(
            _RULE, f"{ast.unparse(call.func)} by a negative number brings later values forward", call, _PAST
        )


def _argument(call: ast.Call, position: int, name: str) -> ast.expr | None:
    named = next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
    return named or (call.args[position] if len(call.args) > position else None)


def _is_negative(node: ast.expr) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)


def _centred(source: Source, call: ast.Call) -> Iterator[Finding]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    centre = next((keyword.value for keyword in call.keywords if keyword.arg == "center"), None)
    if name == "rolling" and isinstance(centre, ast.Constant) and centre.value is True:
        yield warning(_RULE, "a centred window holds later values", call, "leave center out")
    elif name in {"bfill", "backfill"}:
        yield warning(_RULE, f"{name} fills gaps with later values", call, "use ffill()")
    elif source.dotted(call.func) in _CENTRED:
        yield warning(
            _RULE, f"{ast.unparse(call.func)} smooths with later values", call, "use a causal filter"
        )


def _candle_variables(source: Source) -> Variables:
    """Local variables that hold candles or columns of them."""
    found: Variables = set()
    for node in source.nodes:
        function = source.function_of(node)
        if (
            isinstance(node, ast.Assign)
            and function is not None
            and _reads_candles(node.value, function, found)
        ):
            found |= {(function, target.id) for target in node.targets if isinstance(target, ast.Name)}
    return found


def _reads_candles(node: ast.expr, function: Function | None, variables: Variables) -> bool:
    while isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        return function is not None and (function, node.id) in variables
    if isinstance(node, ast.Call):
        node = node.func
    return isinstance(node, ast.Attribute) and node.attr in {"candles", "get_candles"}


def _forward(source: Source, node: ast.Subscript, variables: Variables) -> Iterator[Finding]:
    index = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) and node.slice.elts else node.slice
    if not isinstance(index, ast.BinOp) or not isinstance(index.op, ast.Add):
        return
    sides = (index.left, index.right)
    positive = any(
        isinstance(side, ast.Constant) and isinstance(side.value, int) and side.value > 0 for side in sides
    )
    # -n + 1 counts from the end and stays in the past.
    named = any(isinstance(side, ast.Name) for side in sides)
    if positive and named and _reads_candles(node.value, source.function_of(node), variables):
        yield warning(
            _RULE,
            f"{ast.unparse(node)} reads the candle after the one at hand",
            node,
            f"decide with {_PAST}; a pivot is known only after the candles that confirm it",
        )


def _is_reversed(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return ast.unparse(node.func).endswith((".flip", ".flipud"))
    if not isinstance(node, ast.Subscript):
        return False
    index = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) and node.slice.elts else node.slice
    step = index.step if isinstance(index, ast.Slice) else None
    return step is not None and _is_negative(step)


def _reversed_variables(source: Source) -> Variables:
    found: Variables = set()
    for node in source.nodes:
        function = source.function_of(node)
        if isinstance(node, ast.Assign) and function is not None and _is_reversed(node.value):
            found |= {(function, target.id) for target in node.targets if isinstance(target, ast.Name)}
    return found


def _reversed_argument(source: Source, call: ast.Call, variables: Variables) -> Iterator[Finding]:
    if not (source.dotted(call.func) or "").startswith("jesse.indicators."):
        return
    function = source.function_of(call)
    for argument in call.args:
        named = isinstance(argument, ast.Name) and (function, argument.id) in variables
        if named or _is_reversed(argument):
            yield warning(
                "reversed-series",
                "an indicator over a reversed series runs from the future to the past",
                call,
                "pass the series as it is; the newest value is at index -1",
            )


def _reversed_index(source: Source, node: ast.Subscript, variables: Variables) -> Iterator[Finding]:
    if isinstance(node.slice, ast.Slice) or not _is_reversed(node.value):
        return
    if isinstance(node.value, ast.Subscript) and _reads_candles(
        node.value.value, source.function_of(node), variables
    ):
        yield warning(
            "reversed-series",
            f"in {ast.unparse(node)} index 0 is the newest candle, and larger ones are older",
            node,
            "index from the end instead: -1 is the newest",
        )
