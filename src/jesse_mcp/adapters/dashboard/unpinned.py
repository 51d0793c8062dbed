"""Which code of a run is not among its pinned files."""

import ast
import sys
from collections.abc import Mapping

from jesse_mcp.domain.syntax import parsed

#: Installed with Jesse, so part of its version.
_WITH_JESSE = frozenset(
    {
        "jesse", "jesse_rust", "numpy", "pandas", "scipy", "talib", "tulipy", "sklearn", "joblib", "arrow",
        "matplotlib", "optuna", "ray", "requests", "statsmodels", "numba",
    }
)  # fmt: skip


def unpinned_imports(source: Mapping[str, str]) -> list[str]:
    """Top-level modules that the code imports and that are neither pinned nor of Python or Jesse.

    A change of theirs changes the answer without changing what identifies the run.

    Args:
        source: project files by relative POSIX path.
    """
    pinned = {path.split("/")[0].removesuffix(".py") for path in source}
    known = _WITH_JESSE | sys.stdlib_module_names | pinned
    found: set[str] = set()
    for path, text in source.items():
        if path.endswith(".py"):
            found |= _imported(text)
    return sorted(found - known)


def _imported(code: str) -> set[str]:
    try:
        tree = parsed(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.split(".")[0])
    return names
