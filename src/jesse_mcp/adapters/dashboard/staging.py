"""The pinned code of a run in Jesse's project: what is there as it is, the rest under names of our own."""

import ast
from pathlib import Path

from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.project import JesseProject
from jesse_mcp.adapters.dashboard.temporary_names import (
    SPOOLS,
    age,
    is_temporary,
    spool_path,
    temporary_name,
)
from jesse_mcp.adapters.strategies.folder_store import main_module
from jesse_mcp.adapters.strategies.source_bundle import STRATEGIES
from jesse_mcp.domain.backtests import EngineRun
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.syntax import parsed

_ENGINE_SIDE = Path(__file__).parents[2] / "engine_side"
#: Modules of the engine's side that complete and check hyperparameters, under names that do not clash.
_CHECKS = {"failures": "_jesse_mcp_failures", "hyperparameters": "_jesse_mcp_hyperparameters"}
#: A file in every folder of ours, written before all others: a name alone is no leave to remove anything.
_MARK = "_jesse_mcp_temporary.py"
_ABANDONED_SECONDS = 86_400.0
_SUBCLASS = """

# What follows was added by jesse-mcp for one run.
def _jesse_mcp_class({strategy}):
    import importlib
    import json

    from .{failures} import RunRejectedError
    from .{hyperparameters} import complete

    class {name}({strategy}):
        def __init__(self):
            super().__init__()
            classes = {{
                name: getattr(importlib.import_module(module), name)
                for name, module in {modules!r}.items()
            }}
            classes[{strategy!r}] = {strategy}
            try:
                self.hp = complete(classes, {overrides!r})
            except RunRejectedError as error:
                raise RunRejectedError(json.dumps([str(error), error.hint])) from None

        def dna(self):
            # It is in the values already; Jesse would put it in their place.
            return ""

    {name}.__module__ = __name__
    {name}.__qualname__ = {name!r}
    return {name}


{name} = _jesse_mcp_class({strategy})
"""


class StagedStrategies:
    """Decides on making, changes Jesse's project in :meth:`put`, restores it in :meth:`remove`. Blocking.

    A strategy of the user's runs under its own name, provided that its files are still those of the run.
    One that is not in Jesse, and every strategy of a run with hyperparameters, since Jesse's dashboard
    takes none, gets a folder under a temporary name.

    Args:
        client: where Jesse is.
        run: names the strategies and holds their files.
    """

    def __init__(self, client: DashboardClient, run: EngineRun) -> None:
        self._client = client
        self._run = run
        self._project = JesseProject(client)
        wanted = list(dict.fromkeys(route.strategy for route in run.request.routes))
        #: Strategy of the run to its name in Jesse; complete after :meth:`put`.
        self.names = dict.fromkeys(wanted, "")
        #: Name in Jesse to the text of its main module.
        self.modules: dict[str, str] = {}
        self._folders: list[str] = []
        #: Path in Jesse's project to the text the run is to read there.
        self._placed: dict[str, str] = {}

    def put(self) -> None:
        """Check what is there and write what is not.

        Raises:
            ResearchError: ``run_rejected`` when Jesse's files are not those of the run, or a module defines
                no class of its name; ``capability_missing`` for files Jesse's API cannot take; what
                :meth:`DashboardClient.call` raises.
        """
        for name in self.names:
            _check_class(name, self._run.source.get(main_module(name)))
        absent = self._absent()
        overridden = bool(self._run.request.hyperparameters)
        for name in self.names:
            temporary = name in absent or overridden
            self.names[name] = temporary_name(name) if temporary else name
        for name, used in self.names.items():
            if used == name:
                self.modules[name] = self._run.source[main_module(name)]
            else:
                self._folders.append(f"{STRATEGIES}/{used}")
                self._write(name, used, name in absent)

    def remove(self) -> None:
        """Take away every folder of ours. Raises as :meth:`DashboardClient.call`; may be called again."""
        while self._folders:
            self._project.remove(self._folders[-1])
            self._folders.pop()

    def check_unchanged(self) -> None:
        """Compare every pinned file again, after the run; one that was changed and restored does not show.

        Raises:
            ResearchError: ``run_rejected`` when a file is not what it was, and what
                :meth:`DashboardClient.call` raises.
        """
        for path, text in self._placed.items():
            if self._project.text(path) != text:
                raise ResearchError(
                    ErrorCode.RUN_REJECTED,
                    f"{path} was changed in Jesse's project while the run that uses it went on",
                    hint="run it again: the run is then planned with the new code",
                    details={"path": path},
                )

    def _put_file(self, path: str, text: str) -> None:
        self._project.write(path, text, True)
        self._placed[path] = text

    def _absent(self) -> set[str]:
        """Strategies of the run that Jesse does not have; everything else must be there and equal."""
        absent = {name for name in self.names if self._project.text(main_module(name)) is None}
        for path, text in self._run.source.items():
            if any(path.startswith(f"{STRATEGIES}/{name}/") for name in absent):
                continue
            there = self._project.text(path)
            if there is None and path == f"{STRATEGIES}/__init__.py" and not text.strip():
                continue
            if there is None:
                raise ResearchError(
                    ErrorCode.CAPABILITY_MISSING,
                    f"the run needs {path}, which is not in Jesse's project or not in reach of its API",
                    hint="put it below strategies/ of Jesse's project, or run on the embedded engine",
                    details={"path": path},
                )
            if there != text:
                raise ResearchError(
                    ErrorCode.RUN_REJECTED,
                    f"{path} has changed in Jesse's project since this run was planned",
                    hint="call again: the run is then planned with the new code",
                    details={"path": path},
                )
            self._placed[path] = text
        return absent

    def _write(self, name: str, used: str, absent: bool) -> None:
        overrides = self._run.request.hyperparameters
        folder = f"{STRATEGIES}/{name}/"
        place_mark(self._project, used)
        if absent:
            code = self._run.source[main_module(name)]
            for path, text in self._run.source.items():
                if path.startswith(folder) and path != main_module(name):
                    self._put_file(f"{STRATEGIES}/{used}/{path.removeprefix(folder)}", text)
        else:
            code = f"from {STRATEGIES}.{name} import {name}\n"
        if overrides:
            others = {
                other: f"{STRATEGIES}.{in_jesse}"
                for other, in_jesse in self.names.items()
                if other != name and in_jesse
            }
            code = code.rstrip() + _SUBCLASS.format(
                name=used, strategy=name, modules=others, overrides=dict(overrides), **_CHECKS
            )
            self._write_checks(used)
        else:
            code = f"{code.rstrip()}\n\n\n{used} = type({used!r}, ({name},), {{'__module__': __name__}})\n"
        self.modules[used] = code
        # Last, so that nobody finds half a strategy.
        self._put_file(main_module(used), code)

    def _write_checks(self, used: str) -> None:
        for module, called in _CHECKS.items():
            text = (_ENGINE_SIDE / f"{module}.py").read_text()
            text = text.replace("from failures import", f"from .{_CHECKS['failures']} import")
            self._put_file(f"{STRATEGIES}/{used}/{called}.py", text)


def remove_abandoned(client: DashboardClient) -> None:
    """Remove what is left in Jesse's project of those who could not tidy up. Raises as the client's calls."""
    project = JesseProject(client)
    for spool in project.children(SPOOLS):
        name = spool.removesuffix(".csv")
        if spool == f"{name}.csv" and is_temporary(name) and age(name) > _ABANDONED_SECONDS:
            project.remove(spool_path(name))
    for name in client.get("/strategy/all")["strategies"]:
        if is_temporary(name) and age(name) > _ABANDONED_SECONDS and is_ours(project, name):
            project.remove(f"{STRATEGIES}/{name}")


def place_mark(project: JesseProject, name: str) -> None:
    """Make the folder of a temporary strategy, and mark it as ours. Raises as :meth:`JesseProject.write`."""
    project.write(_mark_path(name), _mark(name), True)


def is_ours(project: JesseProject, name: str) -> bool:
    """Whether we put this strategy into Jesse's project, and not the user.

    Asks Jesse only when the name is of the kind that runs use. Raises as :meth:`JesseProject.text`.
    """
    return is_temporary(name) and project.text(_mark_path(name)) == _mark(name)


def _mark_path(used: str) -> str:
    return f"{STRATEGIES}/{used}/{_MARK}"


def _mark(used: str) -> str:
    return f"# jesse-mcp made {used} for one run, and removes it afterwards.\n"


def _check_class(name: str, code: str | None) -> None:
    """Jesse rewrites the file of a strategy whose class is called otherwise; that must not happen."""
    if code is None:
        raise ResearchError(ErrorCode.STRATEGY_NOT_FOUND, f"the run has no code for strategy {name!r}")
    try:
        tree = parsed(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # Jesse says where
    # A class that extends nothing is no strategy, which Jesse would only notice in the middle of it.
    bound = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and (node.bases or node.keywords or node.decorator_list)
    }
    bound |= {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    bound |= {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    if name not in bound and "*" not in bound:
        raise ResearchError(
            ErrorCode.RUN_REJECTED,
            f"{main_module(name)} defines no strategy class {name}",
            hint=f"name the class {name} and let it extend jesse.strategies.Strategy",
        )
