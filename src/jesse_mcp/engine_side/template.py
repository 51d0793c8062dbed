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
import time
import traceback
from functools import partial
from os import _exit as leave
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).parent))

from confinement import Kernel, children_of, kill_group, kill_members

_DESCRIPTORS_PER_SPAWN = 2
_STRAYS_SECONDS = 5.0


class ServeRun(Protocol):
    """Executes one run in a process that was just forked, and never returns."""

    def __call__(self, channel_descriptor: int, log_descriptor: int, *, prime: bool) -> None: ...


class Template:
    def __init__(self, control: socket.socket, scratch: str, serve_run: ServeRun) -> None:
        self._control = control
        self._scratch = scratch
        self._serve_run = serve_run
        self._kernel = Kernel()
        self._runs: dict[int, int] = {}
        self._killed: set[int] = set()
        self._buffer = b""
        self._descriptors: list[int] = []
        self._wake = os.pipe()

    def serve(self) -> None:
        """Until the server closes the control socket."""
        self._kernel.adopt_orphans()
        wake_read, wake_write = self._wake
        for descriptor in self._wake:
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
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
        try:
            data, ancillary, _, _ = self._control.recvmsg(65536, space)
        except ConnectionError:
            return False
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
                for descriptor in received:
                    # A program started by a strategy must not hold its run's channel open.
                    os.set_inheritable(descriptor, False)
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
            # What has ended by itself meanwhile is buried as that.
            self._reap()
            for pid, run in self._runs.items():
                if run == message["id"]:
                    self._killed.add(run)
                    kill_group(pid)

    def _spawn(self, run: int, *, prime: bool) -> None:
        channel, log = self._descriptors[:_DESCRIPTORS_PER_SPAWN]
        del self._descriptors[:_DESCRIPTORS_PER_SPAWN]
        parent = os.getpid()
        try:
            pid = os.fork()
            if pid == 0:
                self._become_worker(parent, channel, log, prime=prime)
            self._runs[pid] = run
            self._tell({"event": "spawned", "id": run, "pid": pid})
        except OSError as error:
            # The system is out of processes or memory; runs in progress go on.
            self._tell({"event": "refused", "id": run, "reason": error.strerror or str(error)})
        finally:
            os.close(channel)
            os.close(log)

    def _become_worker(self, parent: int, channel: int, log: int, *, prime: bool) -> None:
        """In the child; never returns."""
        try:
            # What a run must not hold, or be able to destroy, is gone before its code exists.
            self._runs.clear()
            self._scratch = os.devnull
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            self._control.close()
            for descriptor in (*self._wake, *self._descriptors):
                os.close(descriptor)
            self._kernel.die_with_parent(parent)
            self._kernel.adopt_orphans()
            self._serve_run(channel, log, prime=prime)
        except BaseException:  # noqa: BLE001 - a child must never return into the template's loop
            traceback.print_exc()
        finally:
            leave(70)

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
            kill_members(pid)
            self._kill_strays()
            shutil.rmtree(Path(self._scratch, f"run-{run}"), ignore_errors=True)
            ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            self._tell(
                {
                    "event": "exited",
                    "id": run,
                    "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1,
                    "signal": ended_by,
                    "max_rss_kb": usage.ru_maxrss,
                    # One that was about to end has its own status all the same.
                    "killed": run in self._killed and ended_by == signal.SIGKILL,
                }
            )
            self._killed.discard(run)

    def _kill_strays(self) -> None:
        """Processes a finished run left behind were handed to us; a run in progress keeps its own."""
        give_up = time.monotonic() + _STRAYS_SECONDS
        while strays := [pid for pid in children_of(os.getpid()) if pid not in self._runs]:
            for pid in strays:
                kill_group(pid)
            for pid in strays:
                try:
                    os.waitpid(pid, 0)
                except ChildProcessError:
                    continue
            if time.monotonic() > give_up:
                # They multiply faster than they die; the next run that ends tries again.
                return

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


def main() -> None:
    control, scratch = socket.socket(fileno=int(sys.argv[1])), sys.argv[2]
    control.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Asked to leave, it cleans up first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Jesse writes `storage/` into the working directory and would load a `.env` found there.
    os.chdir(scratch)
    sys.dont_write_bytecode = True
    try:
        import engine
        from sandbox import Sandbox
        from worker import serve_one_run

        versions = engine.warm_up()
        gc.collect()
        # Objects of the template move out of the collector's sight, or every child would copy their pages.
        gc.freeze()
        sandbox = Sandbox()
        template = Template(control, scratch, partial(serve_one_run, sandbox=sandbox))
        ready = {"event": "ready", **versions, "confinement": sandbox.describe()}
        control.sendall(json.dumps(ready).encode() + b"\n")
        template.serve()
    except BrokenPipeError:
        # The server went while Jesse was loading.
        return
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
