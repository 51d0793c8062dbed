"""A worker that serves one paper session for as long as its channel is open."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from channel import Channel
from confinement import allow_report, limit_memory
from engine import log_text
from failures import describe
from jesse.store import store
from paper_session import PaperSession
from paper_setup import read_series
from projects import forget_ourselves, write_project
from sandbox import Sandbox


def serve(channel: Channel, request: dict[str, Any], sandbox: Sandbox) -> dict[str, Any]:
    """Answer what is asked until the session is to finish; its outcome, or how it failed.

    Raises:
        ChannelClosedError: nobody asks any more.
    """
    project = Path(request["project"])
    try:
        forget_ourselves()
        # Before the project's files: one of them may have the name of a warm-up file.
        series = read_series(request["series"])
        for part in request["series"]:
            Path(part["path"]).unlink()
        write_project(project, request["source"])
        os.chdir(project)
        limit_memory(request["memory_mb"])
        sandbox.enter(project, request["access"])
        channel.send({"event": "started"})
        session = PaperSession(request, project, series)
    except BaseException as error:  # noqa: BLE001 - a strategy may raise anything, SystemExit included
        return _failed(error, project)
    channel.send({"event": "opened"})
    while True:
        asked = channel.receive()
        if asked["op"] == "finish":
            return _finish(session, project)
        channel.send(_answered(session, asked, project))


def _answered(session: PaperSession, asked: dict[str, Any], project: Path) -> dict[str, Any]:
    if asked["op"] == "step":
        return _step(session, asked["minutes"], project)
    try:
        return {"event": "changed", "in_force": session.change_leverage(asked["leverage"])}
    except BaseException as error:  # noqa: BLE001 - the session goes on
        return {"event": "refused", **describe(error, project)}


def _step(session: PaperSession, minutes: list[list[Any]], project: Path) -> dict[str, Any]:
    started = time.process_time()
    equity: list[list[float]] = []
    failure = broken_off = None
    try:
        for timestamp, *candles in minutes:
            rows = {place: np.array([timestamp, *values], dtype=np.float64) for place, *values in candles}
            equity.append(session.work(timestamp, rows))
    except BaseException as error:  # noqa: BLE001 - a strategy may raise anything, SystemExit included
        allow_report()
        failure = describe(error, project)
        broken_off = session.broken_off(minutes[len(equity)][0])
    return {
        "event": "step",
        "minutes": len(equity),
        "equity": equity,
        "failure": failure,
        "broken_off": broken_off,
        **session.take(),
        "seconds": time.process_time() - started,
    }


def _finish(session: PaperSession, project: Path) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        outcome = session.finish()
    except BaseException as error:  # noqa: BLE001 - a strategy may raise anything, SystemExit included
        return _failed(error, project)
    outcome["timings"] = {"collect": time.perf_counter() - started}
    return {"event": "result", "trades": outcome.pop("trades"), "outcome": outcome}


def _failed(error: BaseException, project: Path) -> dict[str, Any]:
    allow_report()
    return {"event": "failed", "log": log_text(store.logs.info), **describe(error, project)}
