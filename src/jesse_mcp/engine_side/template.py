"""The template: imports Jesse once, then forks one fresh, warm process for every run.

Started as ``python template.py CONTROL_FD SCRATCH``. The control socket carries one JSON object a line;
``spawn`` comes with two descriptors, the run channel and the log. The end of the control socket means the
server is gone: every run is killed, the scratch folder removed, and the template leaves.
"""

import array
import gc
import json
import os
import select
import shutil
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from confinement import Kernel, children_of, kill_group

_DESCRIPTORS_PER_SPAWN = 2


class Template:
    def __init__(self, control: socket.socket, scratch: str) -> None:
        self._control = control
        self._scratch = scratch
        self._kernel = Kernel()
        self._runs: dict[int, int] = {}
        self._buffer = b""
        self._descriptors: list[int] = []

    def serve(self) -> None:
        """Until the server closes the control socket."""
        self._kernel.adopt_orphans()
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            while True:
                ready, _, _ = select.select([self._control.fileno(), wake_read], [], [])
                if wake_read in ready:
                    os.read(wake_read, 4096)
                    self._reap()
                if self._control.fileno() in ready and not self._receive():
                    return
        finally:
            self._end_everything()

    def _receive(self) -> bool:
        space = socket.CMSG_SPACE(array.array("i").itemsize * _DESCRIPTORS_PER_SPAWN)
        data, ancillary, _, _ = self._control.recvmsg(65536, space)
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
                self._descriptors += received
        if not data:
            return False
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))
        return True

    def _obey(self, message: dict[str, Any]) -> None:
        if message["op"] == "spawn":
            self._spawn(message["id"], prime=bool(message["prime"]))
        elif message["op"] == "kill":
            for pid, run in self._runs.items():
                if run == message["id"]:
                    kill_group(pid)

    def _spawn(self, run: int, *, prime: bool) -> None:
        channel, log = self._descriptors[:_DESCRIPTORS_PER_SPAWN]
        del self._descriptors[:_DESCRIPTORS_PER_SPAWN]
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_worker(parent, channel, log, prime=prime)
        os.close(channel)
        os.close(log)
        self._runs[pid] = run
        self._tell({"event": "spawned", "id": run, "pid": pid})

    def _become_worker(self, parent: int, channel: int, log: int, *, prime: bool) -> None:
        """In the child; never returns."""
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            self._control.close()
            self._kernel.die_with_parent(parent)
            self._kernel.adopt_orphans()
            import worker

            worker.serve_one_run(channel, log, prime=prime)
        except BaseException:  # noqa: BLE001 - a child must never return into the template's loop
            traceback.print_exc()
        finally:
            os._exit(70)

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            run = self._runs.pop(pid, None)
            if run is None:
                continue
            kill_group(pid)
            self._kill_strays()
            shutil.rmtree(Path(self._scratch, f"run-{run}"), ignore_errors=True)
            self._tell(
                {
                    "event": "exited",
                    "id": run,
                    "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1,
                    "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
                    "max_rss_kb": usage.ru_maxrss,
                }
            )

    def _kill_strays(self) -> None:
        """Processes a finished run left behind were handed to us; a run in progress keeps its own."""
        while strays := [pid for pid in children_of(os.getpid()) if pid not in self._runs]:
            for pid in strays:
                kill_group(pid)
                try:
                    os.waitpid(pid, 0)
                except ChildProcessError:
                    continue

    def _tell(self, message: dict[str, object]) -> None:
        try:
            self._control.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            # The server is gone; the next read of the control socket says so and ends the loop.
            return

    def _end_everything(self) -> None:
        for pid in list(self._runs):
            kill_group(pid)
        self._runs.clear()
        self._kill_strays()
        shutil.rmtree(self._scratch, ignore_errors=True)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    # Jesse writes `storage/` into the working directory and would load a `.env` found there.
    os.chdir(sys.argv[2])
    sys.dont_write_bytecode = True
    template = Template(control, sys.argv[2])
    import engine

    versions = engine.warm_up()
    gc.collect()
    # Objects of the template move out of the collector's sight, or every child would copy their pages.
    gc.freeze()
    control.sendall(json.dumps({"event": "ready", **versions}).encode() + b"\n")
    template.serve()


if __name__ == "__main__":
    main()
