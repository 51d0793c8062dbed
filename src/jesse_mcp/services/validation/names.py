"""Names that nothing defines: they raise as soon as they are reached."""

import ast
import builtins
from collections.abc import Iterator

from jesse_mcp.domain.catalog import JesseCatalog
from jesse_mcp.domain.strategies import Finding
from jesse_mcp.services.validation.findings import MAX_SUGGESTIONS, closest, did_you_mean, error
from jesse_mcp.services.validation.source import FUNCTIONS, Source

_IMPORTS = {
    "np": "import numpy as np",
    "numpy": "import numpy",
    "pd": "import pandas as pd",
    "math": "import math",
    "ta": "import jesse.indicators as ta",
    "utils": "from jesse import utils",
    "jh": "import jesse.helpers as jh",
    "cached": "from jesse.strategies import cached",
    "Strategy": "from jesse.strategies import Strategy",
    "Order": "from jesse.models import Order",
}


def check_names(source: Source, catalog: JesseCatalog) -> Iterator[Finding]:
    """Report every undefined name once, where it first appears."""
    if source.stars or _is_dynamic(source):
        return
    ignored = _never_evaluated(source)
    indicators = {indicator.name for indicator in catalog.indicators}
    reported: set[str] = set()
    loads = [node for node in source.nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    for node in sorted(loads, key=lambda load: (load.lineno, load.col_offset)):
        name = node.id
        if name in source.bound or name in reported or id(node) in ignored:
            continue
        if hasattr(builtins, name) or (name.startswith("__") and name.endswith("__")):
            continue
        reported.add(name)
        remedy = _remedy(name, source.bound, indicators) if len(reported) <= MAX_SUGGESTIONS else None
        yield error("undefined-name", f"{name} is not defined", node, remedy)


def _remedy(name: str, bound: frozenset[str], indicators: set[str]) -> str | None:
    if name in _IMPORTS:
        return _IMPORTS[name]
    if name in indicators:
        return f"import jesse.indicators as ta, then ta.{name}"
    return did_you_mean(closest(name, bound, cutoff=0.75))


def _is_dynamic(source: Source) -> bool:
    """Whether names may be made at run time, or their absence is handled."""
    for node in source.nodes:
        if isinstance(node, ast.Name) and node.id in {"globals", "locals", "exec", "eval"}:
            return True
        if (
            isinstance(node, ast.ExceptHandler)
            and node.type is not None
            and "NameError" in ast.unparse(node.type)
        ):
            return True
    return False


def _never_evaluated(source: Source) -> set[int]:
    """Annotations, where they are kept as text."""
    postponed = any(item.origin == "__future__.annotations" for item in source.imports)
    annotations: list[ast.expr] = []
    for node in source.nodes:
        if isinstance(node, ast.AnnAssign) and (postponed or source.function_of(node) is not None):
            annotations.append(node.annotation)
        elif postponed and isinstance(node, FUNCTIONS) and node.returns is not None:
            annotations.append(node.returns)
        elif postponed and isinstance(node, ast.arg) and node.annotation is not None:
            annotations.append(node.annotation)
    return {id(part) for annotation in annotations for part in ast.walk(annotation)}
