"""A template process on a node of a cluster: started by the node's agent, replaced when it is gone.

The agent has threads of its own and therefore cannot fork runs itself; it starts ``template.py`` as the
server does on its own machine, and speaks the same protocol with it.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

_START_SECONDS = 120.0
_SPAWN_SECONDS = 30.0
#: For the template to bury what it has started, more than it gives itself. Nobody else finds all of that, and
#: the runs beside go with a template that is killed.
_BURIAL_SECONDS = 6.0
_LAST_SECONDS = 1.0
_WORDS = 500
_OUTPUT_TAIL = 4096
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_SINGLE_THREADED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


class TemplateError(Exception):
    """The template did not come up, is gone, or cannot fork."""


class Fork:
    """One forked process as the template tells of it."""

    def __init__(self) -> None:
        self.spawned = threading.Event()
        self.exited = threading.Event()
        self.refusal: str | None = None
        #: ``None`` when the template was gone first.
        self.end: dict[str, Any] | None = None


class NodeTemplate:
    """Starts the template and waits until Jesse is loaded.

    Args:
        code: folder with ``template.py`` and all it imports.
        folder: for its scratch space and what it prints; must exist.

    Raises:
        TemplateError: it did not come up.
    """

    def __init__(self, code: Path, folder: Path) -> None:
        self.scratch = folder / "scratch"
        self.scratch.mkdir(mode=0o700)
        self._forks: dict[int, Fork] = {}
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._gone = threading.Event()
        self._control, theirs = socket.socketpair()
        self._process = subprocess.Popen(  # noqa: S603 - our own program under our own interpreter
            [sys.executable, "-s", "-B", str(code / "template.py"), str(theirs.fileno()), str(self.scratch)],
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            cwd=self.scratch,
            env=_environment(folder, self.scratch),
            stdin=subprocess.DEVNULL,
            # No file: a run puts a pipe in its place, and the interpreter remembers what could seek.
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        theirs.close()
        self._output = bytearray()
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()
        threading.Thread(target=self._listen, daemon=True).start()
        if not self._ready.wait(_START_SECONDS) or self._gone.is_set():
            self.close()
            raise TemplateError(f"Jesse could not be loaded: {self._last_words()}")

    @property
    def alive(self) -> bool:
        return not self._gone.is_set() and self._process.poll() is None

    def spawn(self, number: int) -> tuple[Fork, socket.socket, int]:
        """Fork a worker; its channel, and the descriptor what it prints comes out of.

        Raises:
            TemplateError: the template is gone or cannot fork.
        """
        fork = Fork()
        ours, theirs = socket.socketpair()
        log_read, log_write = os.pipe()
        try:
            with self._lock:
                self._forks[number] = fork
                message = json.dumps({"op": "spawn", "id": number, "prime": False}).encode() + b"\n"
                socket.send_fds(self._control, [message], [theirs.fileno(), log_write])
            if not fork.spawned.wait(_SPAWN_SECONDS) or self._gone.is_set():
                raise TemplateError("the process that forks runs is gone or does not answer")
            if fork.refusal is not None:
                raise TemplateError(f"no process could be forked: {fork.refusal}")
        except BaseException as error:
            ours.close()
            os.close(log_read)
            if isinstance(error, OSError):
                raise TemplateError("the process that forks runs is gone") from error
            raise
        finally:
            theirs.close()
            os.close(log_write)
        return fork, ours, log_read

    def kill(self, number: int, fork: Fork) -> None:
        """SIGKILL a worker and all it has started; a template that does not obey goes with it."""
        try:
            with self._lock:
                self._control.sendall(json.dumps({"op": "kill", "id": number}).encode() + b"\n")
            if fork.exited.wait(_BURIAL_SECONDS):
                return
        except OSError:
            pass
        self._kill_group()
        self._gone.wait(_LAST_SECONDS)

    def close(self) -> None:
        """End it and everything below it."""
        self._hang_up()
        try:
            self._process.wait(_BURIAL_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill_group()
            self._process.wait()

    def _hang_up(self) -> None:
        try:
            # Closing alone would not wake the thread that reads it.
            self._control.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def _kill_group(self) -> None:
        for kill in (os.killpg, os.kill):
            try:
                kill(self._process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue

    def _listen(self) -> None:
        try:
            with self._control.makefile("rb") as lines:
                for line in lines:
                    self._hear(json.loads(line))
        except (OSError, ValueError):
            pass
        finally:
            self._gone.set()
            self._ready.set()
            self._control.close()
            for fork in list(self._forks.values()):
                fork.spawned.set()
                fork.exited.set()

    def _hear(self, message: dict[str, Any]) -> None:
        if message["event"] == "ready":
            self._ready.set()
            return
        fork = self._forks[message["id"]]
        if message["event"] == "refused":
            fork.refusal = message["reason"]
        if message["event"] == "exited":
            fork.end = message
        if message["event"] != "spawned":
            del self._forks[message["id"]]
            fork.exited.set()
        fork.spawned.set()

    def _read_output(self) -> None:
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - asked for above
        with stream:
            while chunk := os.read(stream.fileno(), 65536):
                self._output += chunk
                del self._output[:-_OUTPUT_TAIL]

    def _last_words(self) -> str:
        self._reader.join(_LAST_SECONDS)
        words = bytes(self._output).decode(errors="replace").strip().splitlines()
        return words[-1][:_WORDS] if words else "it ended without a word"


def _environment(folder: Path, scratch: Path) -> dict[str, str]:
    """The one a run has on the server's own machine: nothing of the node's secrets exists in a worker."""
    inherited = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        **inherited,
        **dict.fromkeys(_SINGLE_THREADED, "1"),
        # Jesse orders candle series through a set of strings.
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        "TZ": "UTC",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "MPLCONFIGDIR": str(folder),
    }
