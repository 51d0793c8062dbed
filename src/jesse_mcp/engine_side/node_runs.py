"""What the agent on a node of a cluster does: runs on forked workers, told as a stream of messages.

Knows nothing of Ray: it is imported from a folder that the agent has written to its node.
"""

import contextlib
import json
import os
import select
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from node_candles import NodeCandles
from node_template import Fork, NodeTemplate, TemplateError

_HEADER = struct.Struct(">I")
_MAX_MESSAGE = 256 * 1024 * 1024
_LOG_TAIL = 16 * 1024
# Of a strategy that prints faster than anyone reads.
_LOG_AT_ONCE = 1024 * 1024
_SETTLE_SECONDS = 2.0
_LOG_SECONDS = 1.0
#: What is told of the end of a process.
_EXIT = ("code", "signal", "max_rss_kb", "killed")
#: What a worker says; all else in a run's stream of messages is ours.
_EVENTS = {"ready", "progress", "trades", "result", "failed"}

#: Number of the run, and what: ``worker`` with a message of it, still as JSON; ``ended`` with the facts of
#: its end, the last a run says; ``free`` when its processes are gone, which may be a little later.
Said = tuple[int, str, Any]


@dataclass
class _Run:
    """A run between its arrival and the end of its processes."""

    number: int
    seconds: float
    killed: bool = False
    fork: Fork | None = None
    answered: bool = False
    started: bool = False
    timed_out: bool = False
    fraction: float = 0.0
    moved: float = field(default_factory=time.monotonic)
    log: bytearray = field(default_factory=bytearray)

    def end(self, problem: str | None = None) -> dict[str, Any]:
        """The last message of every run: what else its asker needs to name what happened."""
        ended = self.fork.end if self.fork is not None else None
        return {
            "event": "ended",
            "problem": problem,
            "answered": self.answered,
            "started": self.started,
            "timed_out": self.timed_out,
            "fraction": self.fraction,
            "still": time.monotonic() - self.moved,
            "exit": None if ended is None else [ended[name] for name in _EXIT],
            "log": _kept(self.log),
        }


class NodeRuns:
    """Executes runs and collects what they say.

    Args:
        code: folder with this module and its siblings.
        kept_bytes: candles kept while no run reads them.
    """

    def __init__(self, code: Path, kept_bytes: int) -> None:
        self._code = code
        self._folder = code.parent
        self._candles = NodeCandles(self._folder, kept_bytes)
        self._template: NodeTemplate | None = None
        self._templates = 0
        self._starting = threading.Lock()
        self._closed = False
        self._runs: dict[int, _Run] = {}
        self._unwanted: set[int] = set()
        self._said: deque[Said] = deque()
        self._news = threading.Condition()

    def warm(self) -> None:
        """Have a template.

        Raises:
            TemplateError: it does not come up.
        """
        self._live_template()

    def start(
        self, number: int, request: dict[str, Any], fetch: dict[str, Callable[[], Any]], seconds: float
    ) -> None:
        """Begin a run; what becomes of it comes out of :meth:`listen`, failures too.

        Args:
            fetch: how to get the rows of a series, by the name the request has in place of its path.
        """
        run = _Run(number, seconds)
        with self._news:
            if number in self._unwanted:
                self._unwanted.discard(number)
                run.killed = True
            self._runs[number] = run
        try:
            if not run.killed:
                for part in request["candles"]:
                    part["path"] = self._candles.path(part["path"], number, fetch[part["path"]])
        except Exception as error:  # noqa: BLE001 - whatever the object store or the disk has to say
            self._finish(run, f"its candles could not be brought to the node: {error}")
            return
        threading.Thread(target=self._execute, args=(run, request), daemon=True).start()

    def kill(self, number: int) -> None:
        """End a run, whether it has arrived or not."""
        with self._news:
            run = self._runs.get(number)
            if run is None:
                self._unwanted.add(number)
                return
            run.killed = True
            fork, template = run.fork, self._template
        if fork is not None and template is not None:
            template.kill(number, fork)

    def listen(self, seconds: float) -> list[Said]:
        """Everything said since the last call; waits for something to be said, but not for ever."""
        with self._news:
            self._news.wait_for(lambda: self._said, seconds)
            said = list(self._said)
            self._said.clear()
        return said

    def close(self) -> None:
        """End every process; runs that are still to come start none."""
        self._closed = True
        if self._template is not None:
            self._template.close()

    def _live_template(self) -> NodeTemplate:
        with self._starting:
            if self._closed:
                raise TemplateError("the node has been given back")
            if self._template is None or not self._template.alive:
                if self._template is not None:
                    self._template.close()
                self._templates += 1
                folder = self._folder / f"template-{self._templates}"
                folder.mkdir(mode=0o700)
                self._template = NodeTemplate(self._code, folder)
            return self._template

    def _execute(self, run: _Run, request: dict[str, Any]) -> None:
        problem = None
        try:
            template = self._live_template()
            fork, channel, log = template.spawn(run.number)
            with contextlib.closing(channel), _closing(log):
                with self._news:
                    run.fork = fork
                    killed = run.killed
                if killed:
                    template.kill(run.number, fork)
                request["project"] = str(template.scratch / f"run-{run.number}")
                self._converse(run, channel, log, request)
                if run.answered:
                    # It printed before it answered: nobody has to wait for its end.
                    _read_log(log, run.log, 0)
                    self._say(run.number, "ended", run.end())
                if not fork.exited.wait(_SETTLE_SECONDS if not run.timed_out else 0):
                    template.kill(run.number, fork)
                _read_log(log, run.log, _LOG_SECONDS)
        except (TemplateError, OSError) as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - a run must always be answered for
            problem = f"{type(error).__name__}: {error}"
        self._finish(run, problem)

    def _finish(self, run: _Run, problem: str | None) -> None:
        self._candles.release(run.number)
        if not run.answered:
            self._say(run.number, "ended", run.end(problem))
        with self._news:
            del self._runs[run.number]
        self._say(run.number, "free", None)

    def _say(self, number: int, kind: str, what: Any) -> None:
        with self._news:
            self._said.append((number, kind, what))
            self._news.notify_all()

    def _converse(self, run: _Run, channel: socket.socket, log: int, request: dict[str, Any]) -> None:
        payload = json.dumps(request).encode()
        deadline = time.monotonic() + run.seconds
        buffer = bytearray()
        with selectors.DefaultSelector() as selector, contextlib.suppress(ConnectionError):
            os.set_blocking(log, False)
            selector.register(channel, selectors.EVENT_READ)
            selector.register(log, selectors.EVENT_READ)
            channel.sendall(_HEADER.pack(len(payload)) + payload)
            while not run.answered:
                left = deadline - time.monotonic()
                if left <= 0:
                    run.timed_out = True
                    return
                for key, _ in selector.select(left):
                    if key.fileobj is channel:
                        chunk = channel.recv(1 << 18)
                        buffer += chunk
                        if not chunk or not self._take(run, buffer):
                            return
                    elif not _read_log(log, run.log, 0):
                        selector.unregister(log)

    def _take(self, run: _Run, buffer: bytearray) -> bool:
        """Pass on every whole message; False when what came is none, as from a worker that died."""
        while len(buffer) >= _HEADER.size:
            (size,) = _HEADER.unpack_from(buffer)
            if size > _MAX_MESSAGE:
                return False
            if len(buffer) < _HEADER.size + size:
                return True
            payload = bytes(buffer[_HEADER.size : _HEADER.size + size])
            del buffer[: _HEADER.size + size]
            try:
                self._note(run, json.loads(payload))
            except (ValueError, KeyError, TypeError, AttributeError):
                return False
            self._say(run.number, "worker", payload)
            if run.answered:
                return True
        return True

    def _note(self, run: _Run, message: dict[str, Any]) -> None:
        event = message.get("event")
        if event == "started":
            run.started = True
        elif event == "progress" and float(message["fraction"]) > run.fraction:
            run.fraction = min(1.0, float(message["fraction"]))
            run.moved = time.monotonic()
        elif event not in _EVENTS:
            raise ValueError(event)
        run.answered = event in ("result", "failed")


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


def _kept(log: bytearray) -> str:
    """The end of a log, with a first line that says so when it is not everything."""
    cut = f"[cut: only the last {_LOG_TAIL} bytes were kept]\n" if len(log) > _LOG_TAIL else ""
    return cut + bytes(log[-_LOG_TAIL:]).decode(errors="replace")


def _read_log(descriptor: int, log: bytearray, seconds: float) -> bool:
    """Read what there is, and until the last writer is gone when ``seconds`` allow; False at the end."""
    deadline = time.monotonic() + seconds
    unread = _LOG_AT_ONCE
    while unread > 0:
        try:
            chunk = os.read(descriptor, 65536)
        except BlockingIOError:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                return True
            continue
        if not chunk:
            return False
        unread -= len(chunk)
        log += chunk
        if len(log) > 2 * _LOG_TAIL:
            # One byte more than is shown, so that what was cut stays known.
            del log[: -_LOG_TAIL - 1]
    return True
