"""Reports as files of one folder, named by what they are of and what they hold."""

import errno
import hashlib
import os
import re
import tempfile
from pathlib import Path

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.ports.reports import StoredReport

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_LABEL = 60
_HASH_CHARACTERS = 16


class ReportFiles:
    """Implements :class:`~jesse_mcp.ports.reports.ReportStore`; the folder is made by the first report."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, label: str, html: str) -> StoredReport:
        content = html.encode()
        digest = hashlib.sha256(content).hexdigest()
        name = f"{file_label(label)}-{digest[:_HASH_CHARACTERS]}.html"
        self._refuse_a_link()
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._replace(self._folder / name, content)
        except OSError as error:
            hint = "make the folder writable, or set JESSE_MCP_HOME elsewhere"
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                hint = "free some disk space, then repeat the call"
            raise ResearchError(
                ErrorCode.STORAGE_FAILED,
                f"the report could not be written to {self._folder}: {error.strerror or error}",
                hint=hint,
            ) from error
        return StoredReport(path=str(self._folder / name), bytes=len(content), sha256=digest)

    def _refuse_a_link(self) -> None:
        """Whoever put a link there would choose which folder is written to."""
        if self._folder.is_symlink():
            raise ResearchError(
                ErrorCode.STORAGE_FAILED,
                f"{self._folder} is a symbolic link: no report is written through it",
                hint="replace the link by a folder, or set JESSE_MCP_HOME to where reports may be written",
            )

    def _replace(self, target: Path, content: bytes) -> None:
        """All or nothing, readable by the owner alone: such is a file that ``mkstemp`` makes."""
        descriptor, temporary = tempfile.mkstemp(dir=self._folder, prefix=".report-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def file_label(label: str) -> str:
    """Letters, digits, ``-`` and ``_`` of a label, never empty and never a path."""
    return _NOT_IN_NAMES.sub("-", label)[:_LONGEST_LABEL].strip("-") or "report"
