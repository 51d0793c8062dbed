"""Finds what a template that is gone has left running."""

import time
from pathlib import Path

import psutil

_PATIENCE_SECONDS = 10.0
_DEATH_SECONDS = 0.5


def kill_strays(scratch: Path) -> None:
    """SIGKILL every process of the template that owned this scratch folder, itself included.

    The template does this for its runs. This is for when it was killed: a run that has left its session is
    then the child of init, and all it still has of us is its environment and its working directory.
    """
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while found := [process for process in psutil.process_iter() if _belongs(process, scratch)]:
        for process in found:
            try:
                process.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(found, timeout=_DEATH_SECONDS)
        if time.monotonic() > give_up:
            return


def _belongs(process: psutil.Process, scratch: Path) -> bool:
    try:
        if process.environ().get("HOME") == str(scratch):
            return True
        return Path(process.cwd()).is_relative_to(scratch)
    except (psutil.Error, OSError):
        # Another user's, a zombie, or gone meanwhile.
        return False
