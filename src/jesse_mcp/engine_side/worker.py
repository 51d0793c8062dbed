"""One run in one process: receive it, execute it, answer, leave."""

import io
import os
import sys
import threading
from os import _exit as leave
from pathlib import Path
from typing import Any

import engine
import priming
from channel import Channel, ChannelClosedError
from confinement import allow_report, limit_memory, private_streams
from failures import describe
from projects import forget_ourselves, write_project
from sandbox import Sandbox

# Each beat costs the simulation a few milliseconds: the interpreter changes threads, twice.
_FIRST_BEAT_SECONDS = 0.1
_LONGEST_BEAT_SECONDS = 0.5
_TRADES_PER_MESSAGE = 200


class Heartbeat:
    """Tells from a thread how far the simulated clock has come.

    The simulation is one long call; its clock is the only sign of progress Jesse gives without slowing
    the run down.
    """

    def __init__(self, channel: Channel, start_ms: int, end_ms: int) -> None:
        self._channel = channel
        self._start = start_ms
        self._span = max(1, end_ms - start_ms)
        self._furthest = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _beat(self) -> None:
        pause = _FIRST_BEAT_SECONDS
        while not self._stopped.wait(pause):
            pause = min(2 * pause, _LONGEST_BEAT_SECONDS)
            now = engine.simulated_time()
            if now is None:
                continue
            # Jesse's clock steps back a little from one symbol to the next of the same batch.
            self._furthest = max(self._furthest, min(1.0, (now - self._start) / self._span))
            try:
                self._channel.send({"event": "progress", "fraction": self._furthest})
            except OSError:
                return


def serve_one_run(channel_descriptor: int, log_descriptor: int, *, prime: bool, sandbox: Sandbox) -> None:
    """Never returns: the process ends with the run, so nothing it did can reach the next one."""
    private_streams(log_descriptor)
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    for stream in streams:
        # By the line, so that a crash loses nothing printed before it.
        stream.reconfigure(line_buffering=True, errors="replace")
    os.umask(0o077)
    channel = Channel(channel_descriptor)
    if prime:
        priming.touch()
    channel.send({"event": "ready"})
    try:
        request = channel.receive()
    except ChannelClosedError:
        leave(0)
    try:
        answer = _answer(channel, request, sandbox)
    except ChannelClosedError:
        # Nobody is left to answer.
        leave(0)
    # In portions: the server parses each between other work.
    trades = answer.pop("trades", [])
    for start in range(0, len(trades), _TRADES_PER_MESSAGE):
        channel.send({"event": "trades", "items": trades[start : start + _TRADES_PER_MESSAGE]})
    for stream in streams:
        _flush(stream)
    channel.send(answer)
    leave(0)


def _answer(channel: Channel, request: dict[str, Any], sandbox: Sandbox) -> dict[str, Any]:
    if request.get("kind", "backtest") == "backtest":
        return _execute(channel, request, sandbox)
    # Only here: they load what no backtest needs.
    if request["kind"] == "paper":
        import paper

        return paper.serve(channel, request, sandbox)
    import market_data

    return market_data.serve(channel, request)


def _execute(channel: Channel, request: dict[str, Any], sandbox: Sandbox) -> dict[str, Any]:
    project = Path(request["project"])
    capture = engine.Capture()
    try:
        forget_ourselves()
        write_project(project, request["source"])
        os.chdir(project)
        candles = engine.mapped(request["candles"])
        limit_memory(request["memory_mb"])
        sandbox.enter(project, request["access"])
        channel.send({"event": "started"})
        with Heartbeat(channel, request["start_ms"], request["end_ms"]):
            outcome = engine.run(request, candles, project, capture)
    except BaseException as error:  # noqa: BLE001 - a strategy may raise anything, SystemExit included
        allow_report()
        return {"event": "failed", "log": capture.log, **describe(error, project)}
    return {"event": "result", "trades": outcome.pop("trades"), "outcome": outcome}


def _flush(stream: io.TextIOWrapper) -> None:
    """Unfinished lines too; a strategy may have closed the stream."""
    try:
        stream.flush()
    except (OSError, ValueError):
        return
