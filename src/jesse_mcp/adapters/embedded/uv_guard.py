"""Runs a command and dies with it when the process that asked for it is gone. Run as a script.

    python -I uv_guard.py COMMAND...

Standard input is a pipe that nobody writes to; its end means that the other side has died, even by
``kill -9``. Then the whole process group ends, so it must be started as the leader of its own session.
"""

import os
import signal
import subprocess
import sys
import threading


def _die_with_parent() -> None:
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)


def main() -> int:
    """Run the command of the command line; its exit status, or 128 + the signal that ended it."""
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)  # noqa: S603
    threading.Thread(target=_die_with_parent, daemon=True).start()
    status = child.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
