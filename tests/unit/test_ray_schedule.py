"""Queueing, retries and bounded candles of the Ray engine, on places and a store that are made up."""

import importlib
import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jesse_mcp.adapters.embedded.template_process import ENGINE_SIDE

ENDED = {"problem": None, "answered": True, "started": True, "timed_out": False}
ROW_BYTES = 48


@dataclass(eq=False)
class Machine:
    """A node that only notes what it is asked for."""

    label: str
    slots: int = 1
    running: set[int] = field(default_factory=set)
    started: list[int] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)
    broken: bool = False

    def start(self, ticket: int, *_: Any) -> None:
        if self.broken:
            raise ConnectionError("gone")
        self.started.append(ticket)

    def kill(self, ticket: int) -> None:
        self.killed.append(ticket)


class Desk:
    """A schedule, and what it has told of every run."""

    def __init__(self, ray_schedule: ModuleType, shelf: Any) -> None:
        self._news = threading.Condition()
        self.told: dict[int, list[Any]] = {}
        self._module = ray_schedule
        self.schedule = ray_schedule.Schedule(self._tell, shelf)
        threading.Thread(target=self.schedule.dispatch_for_ever, daemon=True).start()

    def _tell(self, number: int, payload: bytes) -> None:
        with self._news:
            self.told.setdefault(number, []).append(json.loads(payload))
            self._news.notify_all()

    def add(self, number: int, path: str) -> None:
        part = {"path": path, "total_rows": 2}
        self.schedule.add(self._module.Run(number, {"candles": [part]}, 1.0))

    def until(self, condition: Callable[[], object]) -> None:
        with self._news:
            assert self._news.wait_for(condition, 10)

    def events(self, number: int) -> list[str]:
        return [message["event"] for message in self.told.get(number, [])]


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The engine's side is no package, and its Ray is not installed here."""
    store = ModuleType("ray")
    store.put = lambda rows: rows.copy()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", store)
    monkeypatch.syspath_prepend(str(ENGINE_SIDE))
    names = ("ray_candles", "ray_schedule", "node_candles")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    return found


@pytest.fixture
def desk(modules: SimpleNamespace) -> Desk:
    return Desk(modules.ray_schedule, modules.ray_candles.CandleShelf(0))


@pytest.fixture
def series(tmp_path: Path) -> str:
    return series_of(tmp_path, "one")


def series_of(folder: Path, name: str, rows: int = 2) -> str:
    path = folder / f"{name}.f64"
    np.arange(rows * 6, dtype="<f8").tofile(path)
    return str(path)


def test_a_run_whose_nodes_are_lost_is_begun_three_times(desk: Desk, series: str) -> None:
    desk.add(1, series)
    for attempt in range(3):
        machine = Machine(str(attempt))
        running = machine.running
        desk.schedule.joined(machine)
        desk.until(running.__len__)
        desk.schedule.left(machine, f"loss {attempt}")
    assert desk.events(1) == ["placed", "placed", "placed", "lost"]
    assert desk.told[1][-1] == {"event": "lost", "attempts": 3, "reason": "loss 2"}
    assert not desk.schedule.waiting


def test_a_run_that_ended_by_itself_is_not_begun_again(desk: Desk, series: str) -> None:
    machine = Machine("one")
    desk.schedule.joined(machine)
    desk.add(1, series)
    desk.until(lambda: machine.running)
    (ticket,) = machine.running
    desk.schedule.said(machine, ticket, "ended", {"event": "ended", **ENDED, "answered": False})
    desk.schedule.left(machine, "too late to matter")
    assert desk.events(1) == ["placed", "ended"]


def test_a_worker_that_died_before_its_run_began_is_no_end_of_the_run(desk: Desk, series: str) -> None:
    machine = Machine("one")
    desk.schedule.joined(machine)
    desk.add(1, series)
    desk.until(lambda: machine.running)
    (ticket,) = machine.running
    ended = {
        "event": "ended",
        **ENDED,
        "answered": False,
        "started": False,
        "log": "",
        "exit": [-1, 9, 0, False],
    }
    desk.schedule.said(machine, ticket, "ended", ended)
    desk.schedule.said(machine, ticket, "free", None)
    desk.until(lambda: desk.events(1) == ["placed", "placed"])
    assert machine.running == {ticket + 1}


def test_what_a_lost_attempt_still_says_is_not_passed_on(desk: Desk, series: str) -> None:
    first, second = Machine("first"), Machine("second")
    desk.schedule.joined(first)
    desk.add(1, series)
    desk.until(lambda: first.running)
    (ticket,) = first.running
    desk.schedule.left(first, "silent for long")
    desk.schedule.joined(second)
    desk.until(lambda: second.running)
    desk.schedule.said(first, ticket, "worker", b'{"event":"result"}')
    desk.schedule.said(first, ticket, "ended", {"event": "ended", **ENDED})
    assert desk.events(1) == ["placed", "placed"]


def test_a_cancelled_run_is_killed_where_it_is_and_not_begun_again(desk: Desk, series: str) -> None:
    machine = Machine("one")
    desk.schedule.joined(machine)
    for number in (1, 2):
        desk.add(number, series)
    desk.until(lambda: machine.running)
    desk.schedule.cancel(2)
    desk.schedule.cancel(1)
    desk.schedule.cancel(99)
    assert desk.events(2) == ["cancelled"]
    assert machine.killed == list(machine.running)
    assert desk.schedule.stubborn(60.0) == []
    assert desk.schedule.stubborn(-1.0) == [machine]
    desk.schedule.left(machine, "it did not end")
    assert desk.events(1) == ["placed", "cancelled"]


def test_a_node_that_goes_while_it_is_handed_a_run(desk: Desk, series: str) -> None:
    desk.schedule.joined(Machine("gone", broken=True))
    desk.add(1, series)
    desk.until(lambda: "lost" in desk.events(1))
    assert desk.told[1][-1]["reason"] == "ConnectionError: gone"


def test_candles_that_cannot_be_read_end_the_run_at_once(desk: Desk, tmp_path: Path) -> None:
    desk.schedule.joined(Machine("one"))
    desk.add(1, str(tmp_path / "missing"))
    desk.until(lambda: desk.events(1) == ["placed", "broken"])
    assert "missing" in desk.told[1][-1]["reason"]


def test_the_freest_node_is_next(desk: Desk, series: str) -> None:
    small, large = Machine("small", slots=1), Machine("large", slots=3)
    for machine in (small, large):
        desk.schedule.joined(machine)
    for number in range(4):
        desk.add(number, series)
    desk.until(lambda: desk.schedule.busy == 4)
    assert [message["node"] for messages in desk.told.values() for message in messages] == [
        *("large", "large"),
        *("small", "large"),
    ]


def test_waiting_runs_are_told_that_there_is_no_node(desk: Desk, series: str) -> None:
    desk.add(1, series)
    desk.schedule.refuse_waiting("no node")
    assert desk.told[1] == [{"event": "unplaceable", "reason": "no node"}]


def test_the_store_holds_each_series_once_and_no_more_than_it_may(
    modules: SimpleNamespace, tmp_path: Path
) -> None:
    shelf = modules.ray_candles.CandleShelf(2 * 2 * ROW_BYTES)

    def read(run: int, name: str) -> Any:
        part = {"path": series_of(tmp_path, name), "total_rows": 2}
        ((key, (reference,)),) = shelf.references(run, [part]).items()
        assert part["path"] == key
        return reference

    rows = read(1, "a")
    assert rows.tolist() == list(range(12))
    assert read(2, "a") is rows
    for run, name in enumerate("bcd", 3):
        read(run, name)
    assert shelf.facts() == {"series": 4, "bytes": 8 * ROW_BYTES, "puts": 4}
    shelf.release(1)
    assert shelf.facts()["series"] == 4, "another run still reads it"
    for run in (2, 3, 4, 5):
        shelf.release(run)
    assert shelf.facts() == {"series": 2, "bytes": 4 * ROW_BYTES, "puts": 4}
    assert read(6, "a") is not rows


def test_a_series_that_was_replaced_is_another(modules: SimpleNamespace, tmp_path: Path) -> None:
    shelf = modules.ray_candles.CandleShelf(10**6)
    path = series_of(tmp_path, "a")
    shelf.references(1, [{"path": path, "total_rows": 2}])
    new = Path(series_of(tmp_path, "new", rows=3))
    new.replace(path)
    shelf.references(2, [{"path": path, "total_rows": 3}])
    assert shelf.facts()["puts"] == 2


def test_a_node_keeps_series_in_files_without_a_name(modules: SimpleNamespace, tmp_path: Path) -> None:
    candles = modules.node_candles.NodeCandles(tmp_path, 12 * 8)
    fetched: list[str] = []

    def path(key: str, run: int) -> str:
        def fetch() -> Any:
            fetched.append(key)
            return np.full(12, float(len(key)))

        found: str = candles.path(key, run, fetch)
        return found

    first = path("a", 1)
    assert path("a", 2) == first
    assert np.fromfile(first).tolist() == [1.0] * 12
    assert Path(first).stat().st_mode & 0o777 == 0o444
    assert not list(tmp_path.iterdir())
    path("bb", 3)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for run in (1, 2, 3):
        candles.release(run)
    assert len(os.listdir("/proc/self/fd")) == before - 1  # noqa: PTH208
    path("bb", 4)
    path("a", 5)
    assert fetched == ["a", "bb", "a"]
