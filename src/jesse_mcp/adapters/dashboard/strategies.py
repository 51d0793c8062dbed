"""The strategies of a running Jesse, with the bundled ones readable beside them."""

import httpx2

from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.project import JesseProject
from jesse_mcp.adapters.dashboard.staging import is_ours
from jesse_mcp.adapters.dashboard.temporary_names import is_temporary
from jesse_mcp.adapters.strategies.changes import check_writable, encoded, is_name, not_found, read_only
from jesse_mcp.adapters.strategies.folder_store import bundled_strategies, main_module
from jesse_mcp.adapters.strategies.source_bundle import STRATEGIES, SourceBundle
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.strategies import StrategySource, parse_strategy_name


class DashboardStrategyStore:
    """Implements :class:`jesse_mcp.ports.strategy_store.StrategyStore`. Keeps nothing: Jesse is asked.

    Jesse does not look at the names it is given, so this class does. What it shows is what the runs of a
    dashboard import: a folder that Jesse's API will not read (a link) is refused with ``capability_missing``.

    Every method also raises what :meth:`DashboardClient.call` raises.
    """

    def __init__(self, client: DashboardClient) -> None:
        self._client = client
        self._bundled = bundled_strategies()

    def names(self) -> dict[str, str]:
        """Name to origin (``'user'`` or ``'bundled'``), in alphabetical order.

        A folder of the project is a strategy by its name; Jesse does not tell what is in it.
        """
        found = {name: "bundled" for name in self._bundled.children(STRATEGIES) if is_name(name)}
        folders = self._client.get("/strategy/all")["strategies"]
        project = JesseProject(self._client)
        found |= {name: "user" for name in folders if is_name(name) and not is_ours(project, name)}
        return dict(sorted(found.items()))

    def read(self, name: str) -> str:
        """Source of the strategy's main module.

        Raises:
            ResearchError: ``strategy_not_found`` with the closest names, ``strategy_invalid`` for a folder
                without a main module or one that is not text.
        """
        if self._origin(name) == "bundled":
            return self._bundled.read(main_module(name))
        code = JesseProject(self._client).text(main_module(name))
        if code is None:
            raise _no_module(name)
        return code

    def source(self, names: frozenset[str]) -> StrategySource:
        """The files needed to run these strategies: their folders and what they import of the project.

        Pinned is what Jesse's API can read: the folders ``strategies`` and ``research_scripts``. Modules
        that lie elsewhere in the project, and the packages installed beside Jesse, are not; a run says
        which of them its code imports.

        Raises:
            ResearchError: as :meth:`read`, and ``capability_missing`` when the code uses a file that a run
                cannot take along.
        """
        project = JesseProject(self._client)
        bundle = SourceBundle((project, self._bundled))
        for name in sorted(names):
            if self._origin(name) == "user" and not project.is_file(main_module(name)):
                raise _no_module(name)
            bundle.add_strategy(name)
        return StrategySource(files=dict(sorted(bundle.files.items())))

    def write(self, name: str, code: str, overwrite: bool) -> None:
        """Create or replace a user strategy, atomically. Other files of its folder stay.

        Raises:
            ResearchError: ``strategy_exists``, ``strategy_read_only`` for a bundled name,
                ``invalid_argument`` for a name that is none, or code that is no text or too much.
        """
        parse_strategy_name(name)
        if is_temporary(name):
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"strategy name is {name!r}, of the kind that runs use for a while and remove",
                hint="choose another name",
            )
        encoded(code)
        check_writable(name, self.names(), overwrite)
        try:
            JesseProject(self._client).write(main_module(name), code, overwrite)
        except ResearchError as error:
            # Somebody else was faster.
            if error.details.get("status") == httpx2.codes.CONFLICT and not overwrite:
                check_writable(name, {name: "user"}, overwrite)
            raise

    def delete(self, name: str) -> None:
        """Remove a user strategy with its folder, Jesse's reports on it included.

        Raises:
            ResearchError: ``strategy_not_found``, ``strategy_read_only``.
        """
        if self._origin(name) == "bundled":
            raise read_only(name)
        self._client.post("/strategy/delete", {"name": name})

    def _origin(self, name: str) -> str:
        parse_strategy_name(name)
        names = self.names()
        if name not in names:
            raise not_found(name, names)
        return names[name]


def _no_module(name: str) -> ResearchError:
    return ResearchError(
        ErrorCode.STRATEGY_INVALID,
        f"the folder {STRATEGIES}/{name} of Jesse's project has no __init__.py",
        hint="write one with strategy_write, or delete the folder",
    )
