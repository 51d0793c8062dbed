"""The files of a Jesse project, read and written over its API."""

from collections.abc import Iterator
from typing import Any

import httpx2

from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.strategies.project_files import MAX_FILE_BYTES, TEXT_SUFFIXES
from jesse_mcp.domain.errors import ErrorCode, ResearchError

#: The only folders of a project that Jesse's API gives access to.
ROOTS = ("strategies", "research_scripts")
_LISTED = 1_000
_LINES = 2_000


class JesseProject:
    """A Jesse project as :class:`~jesse_mcp.adapters.strategies.source_bundle.ProjectReader`.

    What it has listed once it does not ask for again: one object serves one question.

    Every method raises what :meth:`DashboardClient.call` raises, and ``capability_missing`` for a link,
    which Jesse's API does not follow.
    """

    def __init__(self, client: DashboardClient) -> None:
        self._client = client
        self._listed: dict[str, dict[str, dict[str, Any]]] = {}

    def is_file(self, relative: str) -> bool:
        entry = self._entry(relative)
        return entry is not None and entry["type"] == "file"

    def is_text(self, relative: str) -> bool:
        entry = self._entry(relative)
        suffix = "." + relative.rpartition(".")[2]
        return entry is not None and suffix in TEXT_SUFFIXES and entry["size_bytes"] <= MAX_FILE_BYTES

    def children(self, relative: str) -> list[str]:
        names = (path.rpartition("/")[2] for path in self._folder(relative))
        return sorted(name for name in names if not name.startswith("."))

    def walk(self, relative: str) -> Iterator[str]:
        for name in self.children(relative):
            path = f"{relative}/{name}"
            entry = self._folder(relative)[path]
            if entry["type"] == "symlink":
                raise _linked(path)
            if entry["type"] == "file":
                yield path
            elif entry["type"] == "directory" and name != "__pycache__":
                yield from self.walk(path)

    def read(self, relative: str) -> str:
        """The file as text, line endings as they are.

        Raises:
            ResearchError: also ``strategy_invalid`` when it is too large or not UTF-8.
        """
        content: str = ""
        line = 1
        while True:
            page = self._page(relative, line)
            content += str(page["content"])
            if not page["has_more"]:
                return content
            if page.get("line_truncated") or len(content) > MAX_FILE_BYTES:
                raise _invalid(f"{relative} is too large to be read through Jesse", "move data out of it")
            line = page["next_start_line"]

    def text(self, relative: str) -> str | None:
        """As :meth:`read`, ``None`` when there is no such file."""
        if relative.split("/", maxsplit=1)[0] not in ROOTS:
            return None
        try:
            return self.read(relative)
        except ResearchError as error:
            if error.details.get("status") == httpx2.codes.NOT_FOUND:
                return None
            raise

    def write(self, relative: str, content: str, overwrite: bool) -> None:
        """Put a file in place, whole or not at all; folders above it are made."""
        body = {"path": relative, "content": content, "overwrite": overwrite}
        self._client.post("/project-files/write", body)

    def remove(self, folder: str) -> None:
        """Remove a folder and all that is in it; it need not be there."""
        try:
            self._client.post("/project-files/delete", {"path": folder, "recursive": True})
        except ResearchError as error:
            if error.details.get("status") != httpx2.codes.NOT_FOUND:
                raise

    def _page(self, relative: str, line: int) -> dict[str, Any]:
        body = {"path": relative, "start_line": line, "max_lines": _LINES}
        try:
            page = self._client.read("/project-files/read", body)
        except ResearchError as error:
            if error.details.get("status") == httpx2.codes.FORBIDDEN:
                raise _linked(relative) from error
            raise
        if page["kind"] != "text":
            raise _invalid(f"{relative} is not UTF-8 text", "save the file as UTF-8")
        return page

    def _entry(self, relative: str) -> dict[str, Any] | None:
        folder, _, _ = relative.rpartition("/")
        entry = self._folder(folder).get(relative)
        if entry is not None and entry["type"] == "symlink":
            raise _linked(relative)
        return entry

    def _folder(self, relative: str) -> dict[str, dict[str, Any]]:
        """Path to entry of what is directly in a folder; empty when it is not there or not accessible."""
        if relative.split("/", maxsplit=1)[0] not in ROOTS:
            return {}
        if relative not in self._listed:
            self._listed[relative] = self._asked(relative)
        return self._listed[relative]

    def _asked(self, relative: str) -> dict[str, dict[str, Any]]:
        body = {"path": relative, "recursive": False, "max_entries": _LISTED}
        try:
            answer = self._client.read("/project-files/list", body)
        except ResearchError as error:
            match error.details.get("status"):
                case httpx2.codes.NOT_FOUND | httpx2.codes.CONFLICT:
                    return {}
                case httpx2.codes.FORBIDDEN:
                    raise _linked(relative) from error
                case _:
                    raise
        if answer["truncated"]:
            raise _invalid(
                f"{relative} holds more than {_LISTED} files, which is more than Jesse lists",
                "keep what a strategy needs in a folder of its own",
            )
        return {entry["path"]: entry for entry in answer["entries"]}


def _linked(relative: str) -> ResearchError:
    return ResearchError(
        ErrorCode.CAPABILITY_MISSING,
        f"{relative} is a link, which Jesse's API does not follow",
        hint="put the files themselves into Jesse's project folder",
        details={"path": relative},
    )


def _invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.STRATEGY_INVALID, message, hint=hint)
