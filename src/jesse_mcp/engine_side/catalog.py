"""Print, as JSON, what the installed Jesse offers to a strategy author.

Run by the Python that has Jesse: ``python catalog.py``. Nothing is executed but imports and one empty
strategy's constructor. The output is what the server keeps as its record of the supported release.
"""

import ast
import inspect
import json
import sys
import textwrap
from types import FunctionType, ModuleType

import jesse.indicators
import jesse.utils
from jesse.info import exchange_info
from jesse.strategies import Strategy
from jesse.version import __version__


class _Probe(Strategy):  # type: ignore[misc]  # the type checker runs where Jesse is not installed
    """The smallest strategy, so that attributes set by the constructor can be listed."""

    def should_long(self) -> bool:
        return False

    def go_long(self) -> None:
        return None


def exchanges() -> list[dict[str, object]]:
    """Every exchange Jesse knows, in alphabetical order."""
    return [
        {
            "name": name,
            "type": info["type"],
            "fee": info["fee"],
            "settlement_currency": info.get("settlement_currency"),
            "backtesting": info["modes"]["backtesting"],
        }
        for name, info in sorted(exchange_info.items())
    ]


def strategy_members() -> list[str]:
    """Public names of a live strategy: methods, properties and what its constructor sets."""
    return sorted(name for name in dir(_Probe()) if not name.startswith("_"))


def public_functions(module: ModuleType) -> dict[str, FunctionType]:
    """Functions a module offers under names without an underscore, in alphabetical order."""
    return {
        name: value
        for name, value in sorted(vars(module).items())
        if isinstance(value, FunctionType) and not name.startswith("_")
    }


def signature_of(name: str, function: FunctionType) -> str:
    """``name`` with its parameters, as Python would accept them in a ``def``."""
    signature = inspect.signature(function).replace(return_annotation=inspect.Signature.empty)
    return f"{name}{signature}"


def named_fields(value: object) -> list[str]:
    """Fields of a namedtuple class; empty for anything else."""
    fields = getattr(value, "_fields", None)
    return list(fields) if isinstance(value, type) and isinstance(fields, tuple) else []


def result_fields(function: FunctionType) -> list[str]:
    """Fields of the namedtuple a function returns, by its annotation or else by its return statements."""
    annotated = named_fields(inspect.signature(function).return_annotation)
    if annotated:
        return annotated
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Call):
            called = node.value.func
            if isinstance(called, ast.Name):
                fields = named_fields(function.__globals__.get(called.id))
                if fields:
                    return fields
    return []


def summary_of(function: FunctionType) -> str | None:
    """First line of the docstring that describes the function (not its parameters, not its author)."""
    for line in (inspect.getdoc(function) or "").splitlines():
        text = line.strip()
        if text.startswith(":"):
            return None
        if text and not text.startswith("@"):
            return text
    return None


def indicators() -> list[dict[str, object]]:
    """Every indicator with what an author has to know to call it."""
    return [
        {
            "name": name,
            "signature": signature_of(name, function),
            "returns": result_fields(function),
            "summary": summary_of(function),
        }
        for name, function in public_functions(jesse.indicators).items()
    ]


def catalog() -> dict[str, object]:
    """The whole record."""
    return {
        "jesse_version": __version__,
        "exchanges": exchanges(),
        "strategy_members": strategy_members(),
        "abstract_methods": sorted(Strategy.__abstractmethods__),
        "indicators": indicators(),
        "utils": [
            name
            for name, function in public_functions(jesse.utils).items()
            if function.__module__ == jesse.utils.__name__
        ],
    }


if __name__ == "__main__":
    json.dump(catalog(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
