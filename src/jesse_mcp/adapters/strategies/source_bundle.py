"""Which files a strategy needs: its own folder and the project modules it imports, transitively."""

import ast
from collections.abc import Iterable, Iterator
from typing import Protocol

from jesse_mcp.adapters.strategies.project_files import MAX_FILE_BYTES
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.syntax import parsed

STRATEGIES = "strategies"
#: What Jesse itself reads beside a strategy that predicts with a trained model.
_MODEL_FILES = ("model.pkl", "scaler.pkl")
_MODEL_CALLS = frozenset({"ml_predict", "ml_predict_proba"})


class ProjectReader(Protocol):
    """A project folder, here or elsewhere, addressed by POSIX paths relative to it."""

    def is_file(self, relative: str) -> bool: ...

    def is_text(self, relative: str) -> bool: ...

    def read(self, relative: str) -> str: ...

    def children(self, relative: str) -> list[str]: ...

    def walk(self, relative: str) -> Iterable[str]: ...


class SourceBundle:
    """Collects files from a project, with the bundled strategies as a second place to look.

    Args:
        projects: searched in this order, so that a user's file wins over a bundled one.
    """

    def __init__(self, projects: tuple[ProjectReader, ...]) -> None:
        self._projects = projects
        self.files: dict[str, str] = {}

    def add_strategy(self, name: str) -> None:
        """The whole folder of a strategy, and whatever its modules import from the project.

        Raises:
            ResearchError: ``capability_missing`` when the code uses a file that a run cannot take along.
        """
        folder = f"{STRATEGIES}/{name}"
        project = self._project_with(f"{folder}/__init__.py")
        if project is None or f"{folder}/__init__.py" in self.files:
            return
        self._add_file(f"{STRATEGIES}/__init__.py")
        left_behind: list[str] = []
        modules: list[str] = []
        for relative in project.walk(folder):
            if relative.endswith(".py"):
                modules.append(relative)
            elif project.is_text(relative):
                self.files[relative] = project.read(relative)
            else:
                left_behind.append(relative)
        for relative in modules:
            self.files[relative] = project.read(relative)
        for relative in modules:
            self._refuse_missing(name, relative, left_behind)
            self._follow(relative)

    def _project_with(self, relative: str) -> ProjectReader | None:
        return next((project for project in self._projects if project.is_file(relative)), None)

    def _refuse_missing(self, name: str, module: str, left_behind: list[str]) -> None:
        """A run must not start without a file that its code names."""
        named = _files_named(self.files[module]) if left_behind else frozenset()
        for relative in left_behind:
            if relative.rpartition("/")[2] in named:
                raise ResearchError(
                    ErrorCode.CAPABILITY_MISSING,
                    f"strategy {name} uses {relative}, which a run cannot take along",
                    hint=f"runs carry .py, .json and .csv files of up to {MAX_FILE_BYTES} bytes; "
                    "put what the strategy needs into such a file",
                    details={"path": relative},
                )

    def _follow(self, module: str) -> None:
        for candidate in _imported(module, self.files[module]):
            self._add_module(candidate)

    def _add_module(self, dotted: tuple[str, ...]) -> None:
        """Take along a module and the packages above it; names that are not in the project are no concern."""
        if dotted[0] == "jesse":
            return
        if dotted[0] == STRATEGIES and len(dotted) > 1:
            self.add_strategy(dotted[1])
        for depth in range(1, len(dotted) + 1):
            path = "/".join(dotted[:depth])
            for relative in (f"{path}/__init__.py", f"{path}.py"):
                self._add_file(relative)

    def _add_file(self, relative: str) -> None:
        project = None if relative in self.files else self._project_with(relative)
        if project is None:
            return
        self.files[relative] = project.read(relative)
        folder = relative.rpartition("/")[0]
        for name in project.children(folder) if folder else ():
            beside = f"{folder}/{name}"  # tables that a helper module reads
            if not name.endswith(".py") and project.is_file(beside) and project.is_text(beside):
                self.files.setdefault(beside, project.read(beside))
        self._follow(relative)


def _parse(code: str) -> ast.Module | None:
    """The syntax tree, or ``None``: what cannot be parsed is reported by validation and by the run."""
    try:
        return parsed(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _files_named(code: str) -> frozenset[str]:
    """Last path components of the strings in a module, documentation aside."""
    tree = _parse(code)
    if tree is None:
        return frozenset()
    nodes = list(ast.walk(tree))
    texts = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    named = {
        node.value.replace("\\", "/").rpartition("/")[2]
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts
    }
    if any(isinstance(node, ast.Attribute) and node.attr in _MODEL_CALLS for node in nodes):
        named.update(_MODEL_FILES)
    return frozenset(named)


def _imported(module: str, code: str) -> Iterator[tuple[str, ...]]:
    """Dotted paths that the import statements of a module may mean, deepest first."""
    tree = _parse(code)
    if tree is None:
        return
    package = tuple(module.split("/")[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: max(0, len(package) - node.level + 1)] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            # A name may be a submodule or something defined in the package: either is looked for.
            yield from ((*base, alias.name) for alias in node.names if base)
