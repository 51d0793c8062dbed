"""Walk forwards on the real engine: what was chosen, on which days, and that nothing can disturb it."""

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
    strategy,
    wait_until,
)

pytestmark = pytest.mark.timeout(900)

DAYS = 10
WALK: dict[str, Any] = {
    **SERIES,
    "strategy": "Mine",
    "timeframe": "30m",
    "start_date": "2024-01-02",
    "settings": {"warm_up_candles": 24},
    "train_days": 3,
    "test_days": 2,
    "trials": 7,
    "seed": 4,
    "min_trades": 5,
    "wait_seconds": 100,
}


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


def furnish(desk: Desk, candles: Path, before: str = "pass") -> None:
    desk.call("candles_import", **SERIES, path=str(candles))
    desk.call("strategy_write", name="Mine", code=strategy("Mine", before))


def held_in_last_training(gate: Path) -> str:
    """Trials of the last window wait until ``gate`` is there, so that the walk is not over before."""
    first = START + 5 * 86_400_000
    return f"""import os, time
        while self.index == 0 and 0 <= self.time - {first} < 86_400_000 and not os.path.exists({str(gate)!r}):
            time.sleep(0.01)"""


@contextmanager
def furnished(folder: Path, engine_python: Path, candles: Path, workers: int = 2) -> Iterator[Desk]:
    folder.mkdir(exist_ok=True)
    surroundings = environment(folder, engine_python, JESSE_MCP_WORKERS=str(workers))
    with stdio_desk(surroundings, folder / "log") as desk:
        furnish(desk, candles)
        yield desk


def finished(desk: Desk, answer: dict[str, Any]) -> dict[str, Any]:
    """The result of a walk, however long it takes."""
    while answer["result"] is None:
        answer = desk.call("walk_forward", resume=answer["job_id"], wait_seconds=100)
    result: dict[str, Any] = answer["result"]
    return result


def essence(result: dict[str, Any]) -> str:
    """A result without the ids, which are drawn at random."""
    windows = [
        {name: value for name, value in line.items() if not name.endswith("run_id")}
        for line in result["windows"]
    ]
    return json.dumps({**result, "windows": windows}, sort_keys=True)


@dataclass(frozen=True)
class Undisturbed:
    result: dict[str, Any]
    candles: Path
    equities: list[list[float]]


@pytest.fixture(scope="module")
def undisturbed(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    candles = candle_file(folder / "btc.csv")
    with furnished(folder, engine_python, candles) as desk:
        result = finished(desk, desk.call("walk_forward", **WALK))
        equities = []
        for line in result["windows"]:
            run = desk.call("run_get", run_id=line["test_run_id"], include=["equity"])
            assert run["request"]["hyperparameters"] == line["parameters"]
            assert f"{run['request']['start_date']} to {run['request']['end_date']}" == line["test"]
            equities.append([point["balance"] for point in run["equity"]])
        return Undisturbed(result, candles, equities)


def stored_fingerprints(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "home" / "research.sqlite")) as connection:
        return [row[0] for row in connection.execute("SELECT fingerprint FROM runs ORDER BY seq")]


def test_the_windows_are_those_computed_by_hand(undisturbed: Undisturbed) -> None:
    assert [(line["train"], line["test"], line["partial"]) for line in undisturbed.result["windows"]] == [
        ("2024-01-02 to 2024-01-05", "2024-01-05 to 2024-01-07", False),
        ("2024-01-04 to 2024-01-07", "2024-01-07 to 2024-01-09", False),
        ("2024-01-06 to 2024-01-09", "2024-01-09 to 2024-01-11", False),
    ]
    counts = undisturbed.result["counts"]
    assert (counts["windows"], counts["tested"], counts["trials"]) == (3, 3, 21)
    assert counts["ledger"] == 21 + 3


def test_the_tests_are_one_equity(undisturbed: Undisturbed) -> None:
    result = undisturbed.result
    balance = 10_000.0
    for line, equity in zip(result["windows"], undisturbed.equities, strict=True):
        assert line["test_return"] == pytest.approx(equity[-1] / equity[0] - 1, abs=1e-12)
        balance *= equity[-1] / equity[0]
        assert line["balance_after"] == pytest.approx(balance)
    whole = result["out_of_sample"]
    assert whole["final_balance"] == pytest.approx(balance)
    assert result["equity"][-1] == [whole["days"], whole["final_balance"]]
    assert result["equity"][0] == [0, 10_000.0]
    assert (result["efficiency"] is None) == ("efficiency" in result["undefined"])
    assert result["parameters"]["every"]["distinct"] >= 1


def test_every_choice_is_the_best_of_its_own_search(
    engine_python: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    """The tool ``optimize`` over the same training, with the seed of the window, chooses the same."""
    with furnished(tmp_path, engine_python, undisturbed.candles) as desk:
        for line in undisturbed.result["windows"][:2]:
            start, _, end = line["train"].partition(" to ")
            search = {
                name: WALK[name] for name in ("exchange", "symbol", "strategy", "timeframe", "settings")
            }
            found = desk.call(
                "optimize",
                **search,
                start_date=start,
                end_date=end,
                trials=WALK["trials"],
                seed=line["seed"],
                min_trades=WALK["min_trades"],
                test_fraction=0,
                wait_seconds=200,
            )["result"]["best"][0]
            assert found["parameters"] == line["parameters"]
            assert found["train"]["sharpe_ratio"] == line["train_metrics"]["sharpe_ratio"]


def test_one_worker_gives_the_same_bits(
    engine_python: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    with furnished(tmp_path, engine_python, undisturbed.candles, workers=1) as desk:
        result = finished(desk, desk.call("walk_forward", **WALK))
    assert essence(result) == essence(undisturbed.result)


def test_kill_nine_of_the_server_loses_no_trial(
    engine_python: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    surroundings = environment(tmp_path, engine_python)
    gate = tmp_path / "gate"
    with http_server(surroundings, tmp_path / "first.log") as (process, url), http_desk(url) as desk:
        furnish(desk, undisturbed.candles, held_in_last_training(gate))
        job_id = desk.call("walk_forward", **{**WALK, "wait_seconds": 0})["job_id"]
        wait_until(lambda: (desk.call("job_get", job_id=job_id)["progress"] or 0) > 0.45, "nearly half")
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = stored_fingerprints(tmp_path)
    assert 7 < len(before) < 24
    gate.touch()
    with http_server(surroundings, tmp_path / "second.log") as (_, url), http_desk(url) as desk:
        lost = desk.call("job_get", job_id=job_id)
        assert (lost["state"], lost["error"]["code"]) == ("lost", "job_lost")
        result = finished(desk, desk.call("walk_forward", resume=job_id, wait_seconds=100))
        refused = desk.refused("optimize", resume=job_id)
        assert "walk_forward" in refused["message"]
    after = stored_fingerprints(tmp_path)
    assert after[: len(before)] == before
    assert len(set(after)) == len(after) == 24, "no finished trial is run again"
    assert all("time.sleep" in text for text in result["warnings"]), "only what has held it is pointed out"
    assert essence({**result, "warnings": []}) == essence(undisturbed.result)


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
        job_id = desk.call("walk_forward", **{**WALK, "wait_seconds": 0})["job_id"]
        server = psutil.Process(process.pid)
        wait_until(lambda: (desk.call("job_get", job_id=job_id)["progress"] or 0) > 0.2, "a fifth")

        def killed() -> bool:
            for worker in running_workers(server):
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)
                    return True
            return False

        wait_until(killed, "a worker killed in its run")
        result = finished(desk, desk.call("walk_forward", resume=job_id, wait_seconds=100))
    assert essence(result) == essence(undisturbed.result)


@pytest.mark.parametrize(("day", "windows"), [(4, 1), (6, 2)])
def test_nothing_is_chosen_by_candles_after_the_training(
    engine_python: Path, tmp_path: Path, undisturbed: Undisturbed, day: int, windows: int
) -> None:
    """With every candle after a training shuffled, its choice and its numbers are the same."""
    candles = candle_file(tmp_path / "shuffled.csv", shuffled_after=day)
    with furnished(tmp_path, engine_python, candles) as desk:
        result = finished(desk, desk.call("walk_forward", **WALK))

    def chosen(found: dict[str, Any]) -> Any:
        kept = ("train", "parameters", "train_return", "train_metrics")
        return [{name: line[name] for name in kept} for line in found["windows"][:windows]]

    assert chosen(result) == chosen(undisturbed.result)
    last = windows - 1
    assert result["windows"][last]["test_metrics"] != undisturbed.result["windows"][last]["test_metrics"]


def test_changed_code_is_not_taken_up_again(
    engine_python: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    with furnished(tmp_path, engine_python, undisturbed.candles) as desk:
        job_id = desk.call("walk_forward", **{**WALK, "wait_seconds": 0})["job_id"]
        desk.call("job_cancel", job_id=job_id)
        desk.call("strategy_write", name="Mine", code=strategy("Mine", "self.index"), overwrite=True)
        assert "code of the strategy" in desk.refused("walk_forward", resume=job_id)["message"]
