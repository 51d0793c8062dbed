"""Strategy classes from the project folder of a run."""

import importlib
import sys
from pathlib import Path
from typing import Any

from failures import RunRejectedError
from jesse.strategies import Strategy


def forget_ourselves() -> None:
    """Free the names of our modules: a project may have a ``worker.py`` or ``engine.py`` of its own.

    Those loaded stay in use; nothing of ours can be imported by name afterwards.
    """
    ours = Path(__file__).parent
    for module in ours.glob("*.py"):
        sys.modules.pop(module.stem, None)
    sys.path[:] = [entry for entry in sys.path if entry != str(ours)]


def write_project(project: Path, source: dict[str, str]) -> None:
    """Write the files of ``source``, whose keys are relative POSIX paths, below ``project``."""
    for relative, text in source.items():
        path = project / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def load_strategies(project: Path, names: list[str]) -> dict[str, type[Any]]:
    """Import ``strategies.<Name>`` from the project and find each one's class."""
    sys.path.insert(0, str(project))
    importlib.invalidate_caches()
    return {name: _strategy_class(name) for name in dict.fromkeys(names)}


def _strategy_class(name: str) -> type[Any]:
    module = importlib.import_module(f"strategies.{name}")
    candidate = getattr(module, name, None)
    if not isinstance(candidate, type) or not issubclass(candidate, Strategy):
        raise RunRejectedError(
            f"strategies/{name}/__init__.py defines no strategy class {name}",
            hint=f"name the class {name} and let it extend jesse.strategies.Strategy",
        )
    return candidate
