"""Searches and batches on the real engine: the same answer whatever happens to the processes below them."""

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from jesse_mcp.analytics.synthetic import synthetic_candles
from mcp_desk import (
    SERIES,
    START,
    Desk,
    environment,
    http_desk,
    http_server,
    stdio_desk,
    wait_until,
)

pytestmark = pytest.mark.timeout(900)

DAYS = 10
TEST_START = 7  # days after the first candle
TRIALS = 60
STRATEGY = '''
from jesse.strategies import Strategy


class {name}(Strategy):
    """Long at every nth candle, for a share of the time between."""

    def hyperparameters(self):
        return [
            {{"name": "every", "type": int, "min": 2, "max": 24, "default": 6}},
            {{"name": "hold", "type": float, "min": 0.1, "max": 0.9, "default": 0.5}},
            {{"name": "size", "type": "categorical", "options": [1, 2], "default": 1}},
        ]

    def should_long(self):
        {before}
        return self.index % self.hp["every"] == 0

    def go_long(self):
        self.buy = self.hp["size"], self.price

    def update_position(self):
        if self.index % self.hp["every"] >= self.hp["hold"] * self.hp["every"]:
            self.liquidate()
'''
ONE = {
    **SERIES,
    "strategy": "Mine",
    "timeframe": "30m",
    "start_date": "2024-01-02",
    "settings": {"warm_up_candles": 24},
}
SEARCH: dict[str, Any] = {
    **ONE,
    "trials": TRIALS,
    "seed": 11,
    "min_trades": 5,
    "test_start": "2024-01-08",
    "wait_seconds": 100,
}


def strategy(name: str, before: str = "pass") -> str:
    return STRATEGY.format(name=name, before=before)


def candle_file(path: Path, *, shuffled_after: int | None = None) -> Path:
    """Days of candles; from ``shuffled_after`` (days) on, those of that time in another order."""
    rows = synthetic_candles(START, DAYS * 1440, 5)
    if shuffled_after is not None:
        first = shuffled_after * 1440
        order = np.random.default_rng(1).permutation(len(rows) - first) + first
        rows[first:, 1:] = rows[order, 1:]
    header = "timestamp,open,high,low,close,volume"
    columns = rows[:, [0, 1, 3, 4, 2, 5]]
    np.savetxt(path, columns, delimiter=",", header=header, comments="", fmt="%.10g")
    return path


def furnish(desk: Desk, candles: Path) -> None:
    desk.call("candles_import", **SERIES, path=str(candles))
    desk.call("strategy_write", name="Mine", code=strategy("Mine"))


@contextmanager
def furnished(folder: Path, engine_python: Path, candles: Path, workers: int = 2) -> Iterator[Desk]:
    folder.mkdir(exist_ok=True)
    surroundings = environment(folder, engine_python, JESSE_MCP_WORKERS=str(workers))
    with stdio_desk(surroundings, folder / "log") as desk:
        furnish(desk, candles)
        yield desk


def finished(desk: Desk, answer: dict[str, Any], tool: str = "optimize") -> dict[str, Any]:
    """The result of a job, however long it takes."""
    while answer["result"] is None:
        answer = desk.call(tool, resume=answer["job_id"], wait_seconds=100)
    result: dict[str, Any] = answer["result"]
    return result


def essence(result: dict[str, Any]) -> str:
    """A result without what is drawn at random (ids) and what tells how it came about (new or stored)."""

    def cleaned(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: cleaned(part) for name, part in value.items() if "run" not in name.split("_")}
        return [cleaned(part) for part in value] if isinstance(value, list) else value

    kept = cleaned(result)
    kept["counts"] = {k: v for k, v in result["counts"].items() if not k.startswith("runs_")}
    return json.dumps(kept, sort_keys=True)


@dataclass(frozen=True)
class Undisturbed:
    result: dict[str, Any]
    candles: Path


@pytest.fixture(scope="module")
def undisturbed(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    candles = candle_file(folder / "btc.csv")
    with furnished(folder, engine_python, candles) as desk:
        return Undisturbed(finished(desk, desk.call("optimize", **SEARCH)), candles)


def stored_fingerprints(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "home" / "research.sqlite")) as connection:
        return [row[0] for row in connection.execute("SELECT fingerprint FROM runs ORDER BY seq")]


def test_the_answer_says_what_has_to_be_known(undisturbed: Undisturbed) -> None:
    result = undisturbed.result
    counts = result["counts"]
    assert counts["trials"] == TRIALS
    assert counts["complete"] + counts["infeasible"] == TRIALS
    assert (counts["runs_new"], counts["runs_cached"], counts["tests"]) == (TRIALS, 0, 5)
    assert counts["ledger"] == TRIALS + 5
    assert result["periods"] == {"train": "2024-01-02 to 2024-01-08", "test": "2024-01-08 to 2024-01-11"}
    values = [line["values"][0] for line in result["top"]]
    assert values == sorted(values, reverse=True)
    assert [step[1] for step in result["convergence"]] == sorted(step[1] for step in result["convergence"])
    assert result["convergence"][-1][1] == values[0] == result["best"][0]["train"]["sharpe_ratio"]
    assert all(candidate["test"]["sharpe_ratio"] is not None for candidate in result["best"])
    assert all(line["trades"] >= 5 for line in result["top"])
    assert sum(result["importance"]["sharpe_ratio"].values()) == pytest.approx(1)
    assert str(counts["ledger"]) in result["warnings"][-1]


def test_one_worker_gives_the_same_bits(
    engine_python: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    with furnished(tmp_path / "one", engine_python, undisturbed.candles, workers=1) as desk:
        result = finished(desk, desk.call("optimize", **SEARCH))
    assert essence(result) == essence(undisturbed.result)


def killed_during_a_search(surroundings: dict[str, str], folder: Path, candles: Path) -> str:
    """Of a server that is gone now, the job."""
    with http_server(surroundings, folder / "first.log") as (process, url), http_desk(url) as desk:
        furnish(desk, candles)
        job_id: str = desk.call("optimize", **{**SEARCH, "wait_seconds": 0})["job_id"]
        wait_until(lambda: (desk.call("job_get", job_id=job_id)["progress"] or 0) > 0.4, "two fifths")
        process.send_signal(signal.SIGKILL)
        process.wait()
    return job_id


def test_kill_nine_of_the_server_loses_no_trial(
    engine_python: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        surroundings = environment(folder, engine_python)
        job_id = killed_during_a_search(surroundings, folder, undisturbed.candles)
        before = stored_fingerprints(folder)
        # Else we stood still for so long that it was killed when it had ended: once more.
        if len(before) < TRIALS:
            break
    assert 0.3 * TRIALS < len(before) < TRIALS
    with http_server(surroundings, folder / "second.log") as (_, url), http_desk(url) as desk:
        lost = desk.call("job_get", job_id=job_id)
        assert (lost["state"], lost["error"]["code"]) == ("lost", "job_lost")
        assert "resume" in lost["error"]["hint"]
        result = finished(desk, desk.call("optimize", resume=job_id, wait_seconds=100))
        again = desk.call("optimize", resume=job_id, wait_seconds=100)
    after = stored_fingerprints(folder)
    assert after[: len(before)] == before
    assert len(set(after)) == len(after), "no finished trial is run again"
    assert result["counts"]["runs_cached"] == len(before)
    assert essence(result) == essence(undisturbed.result)
    assert essence(again["result"]) == essence(result)


def test_two_servers_that_resume_one_job_share_it(
    engine_python: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    surroundings = environment(tmp_path, engine_python)
    with stdio_desk(surroundings, tmp_path / "first.log") as one:
        furnish(one, undisturbed.candles)
        job_id = one.call("optimize", **{**SEARCH, "wait_seconds": 0})["job_id"]
        wait_until(lambda: (one.call("job_get", job_id=job_id)["progress"] or 0) > 0.2, "a fifth")
        one.call("job_cancel", job_id=job_id)
        with stdio_desk(surroundings, tmp_path / "second.log") as other:
            first, second = (desk.call("optimize", resume=job_id, wait_seconds=0) for desk in (one, other))
            assert first["job_id"] == second["job_id"] != job_id
            found = [finished(desk, first) for desk in (other, one)]
    assert essence(found[0]) == essence(found[1]) == essence(undisturbed.result)
    ran = stored_fingerprints(tmp_path)
    assert len(set(ran)) == len(ran), "no trial is run twice"


def running_workers(server: psutil.Process) -> list[psutil.Process]:
    """Those that have begun their run: a worker goes to a folder of its own then."""
    found = []
    for process in server.children(recursive=True):
        with suppress(psutil.Error):
            if Path(process.cwd()).name.startswith("run-"):
                found.append(process)
    return found


def test_kill_nine_of_a_worker_changes_nothing(
    engine_python: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    surroundings = environment(tmp_path, engine_python)
    with http_server(surroundings, tmp_path / "log") as (process, url), http_desk(url) as desk:
        furnish(desk, undisturbed.candles)
        job_id = desk.call("optimize", **{**SEARCH, "wait_seconds": 0})["job_id"]
        server = psutil.Process(process.pid)
        wait_until(lambda: (desk.call("job_get", job_id=job_id)["progress"] or 0) > 0.2, "a fifth")

        def killed() -> bool:
            for worker in running_workers(server):
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)
                    return True
            return False

        wait_until(killed, "a worker killed in its run")
        result = finished(desk, desk.call("optimize", resume=job_id, wait_seconds=100))
    assert result["counts"]["failed"] == 0
    assert essence(result) == essence(undisturbed.result)


def test_nothing_is_chosen_by_candles_after_the_training(
    engine_python: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    """With every later candle shuffled the search is the same, and only the test differs."""
    candles = candle_file(tmp_path / "shuffled.csv", shuffled_after=TEST_START)
    with furnished(tmp_path / "home", engine_python, candles) as desk:
        result = finished(desk, desk.call("optimize", **SEARCH))

    def training(found: dict[str, Any]) -> Any:
        best = [{name: line[name] for name in ("trial", "parameters", "train")} for line in found["best"]]
        top = [{**line, "run_id": None} for line in found["top"]]
        return best, top, found["convergence"], found["importance"], found["stopped"]

    assert training(result) == training(undisturbed.result)
    tests = [[line["test"] for line in found["best"]] for found in (result, undisturbed.result)]
    assert tests[0] != tests[1]
