"""What code of a user is shut into before any of it is loaded."""

import os
import tempfile
from pathlib import Path
from typing import Any

from failures import RunRejectedError
from file_access import FileAccess
from system_calls import SystemCalls


class Sandbox:
    """Made in the template, before any fork."""

    def __init__(self) -> None:
        self._files = FileAccess()
        self._calls = SystemCalls()

    def describe(self) -> dict[str, Any]:
        """What this machine can hold a run to."""
        return {"files": self._files.version > 0, "system_calls": self._calls.filtered}

    def enter(self, project: Path, access: dict[str, Any]) -> None:
        """Confine this process and whatever it starts, for good, if ``access`` asks for it.

        Args:
            project: the one folder that may be written to; becomes the home and the place of temporary files.
            access: ``confined``, and the ``readable`` files and folders of the user.

        Raises:
            RunRejectedError: when the kernel refuses.
        """
        if not access["confined"]:
            return
        os.environ.update(HOME=str(project), TMPDIR=str(project))
        tempfile.tempdir = None
        plots = os.environ.get("MPLCONFIGDIR")
        try:
            self._files.restrict(project, [*access["readable"], *([plots] if plots else [])])
            self._calls.restrict()
        except OSError as error:
            raise RunRejectedError(
                str(error),
                hint="set JESSE_MCP_CONFINEMENT=off to run strategies with all your rights",
            ) from error
