"""The status of a desk whose candles and strategies may be on another machine."""

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.services import system as system_module
from jesse_mcp.services.system import SystemService

AWAY = ResearchError(ErrorCode.JESSE_UNREACHABLE, "Jesse does not answer", hint="start it")


class Engine:
    async def status(self) -> dict[str, Any]:
        return {"kind": "dashboard", "state": "unreachable"}


class Runs:
    def count(self) -> int:
        return 3


class Jobs:
    def counts(self) -> dict[JobState, int]:
        return {JobState.QUEUED: 0, JobState.DONE: 5}


class Trials:
    def count(self) -> int:
        return 7


class Kept:
    """Both stores: raises, hangs until released, or answers."""

    def __init__(self, failure: Exception | None = None, hanging: threading.Event | None = None) -> None:
        self._failure = failure
        self._hanging = hanging

    def _answer(self) -> None:
        if self._hanging is not None:
            self._hanging.wait(30)
        if self._failure is not None:
            raise self._failure

    def summaries(self) -> list[int]:
        self._answer()
        return [1, 2]

    def names(self) -> dict[str, str]:
        self._answer()
        return {"A": "user", "B": "bundled", "C": "bundled"}


def service(kept: Kept, home: Path) -> SystemService:
    stores = cast("Any", kept)
    engine, runs, jobs, trials = (cast("Any", each) for each in (Engine(), Runs(), Jobs(), Trials()))
    return SystemService("1", home, engine, stores, stores, runs, jobs, trials, "SQLite file x")


async def test_everything_is_counted(tmp_path: Path) -> None:
    status = await service(Kept(), tmp_path).status()
    assert status.store["candle_series"] == 2
    assert status.store["strategies"] == {"bundled": 2, "user": 1}
    assert (status.store["runs"], status.trials) == (3, 7)
    assert status.jobs == {"queued": 0, "done": 5}
    assert status.store["database"] == "SQLite file x"
    assert "unknown" not in status.store


async def test_what_jesse_keeps_is_unknown_while_it_is_away(tmp_path: Path) -> None:
    status = await service(Kept(AWAY), tmp_path).status()
    assert (status.store["candle_series"], status.store["strategies"]) == (None, None)
    assert status.store["unknown"] == dict.fromkeys(["candle_series", "strategies"], AWAY.message)
    assert status.store["runs"] == 3


async def test_a_store_that_hangs_does_not_hold_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_module, "_PATIENCE", 0.1)
    release = threading.Event()
    try:
        status = await service(Kept(hanging=release), tmp_path).status()
    finally:
        release.set()
    assert status.store["candle_series"] is None
    assert status.store["unknown"]["candle_series"] == "no answer within 0.1 s"


async def test_a_fault_of_this_machine_is_no_secret(tmp_path: Path) -> None:
    failure = ResearchError(ErrorCode.STORAGE_FAILED, "the disk refuses", hint="look")
    with pytest.raises(ResearchError, match="the disk refuses"):
        await service(Kept(failure), tmp_path).status()
