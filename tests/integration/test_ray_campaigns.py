"""Searches and walks on a Ray cluster: the embedded engine's answers, whatever happens to nodes or server."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mcp_desk import SERIES, Desk, candle_file, environment, http_desk, http_server, stdio_desk, wait_until
from ray_cluster import RayCluster

pytestmark = pytest.mark.timeout(900)

TRIALS = 60
STRATEGY = """
from jesse.strategies import Strategy


class Mine(Strategy):
    def hyperparameters(self):
        return [
            {"name": "every", "type": int, "min": 2, "max": 24, "default": 6},
            {"name": "hold", "type": float, "min": 0.1, "max": 0.9, "default": 0.5},
        ]

    def should_long(self):
        return self.index % self.hp["every"] == 0

    def go_long(self):
        self.buy = 1, self.price

    def update_position(self):
        if self.index % self.hp["every"] >= self.hp["hold"] * self.hp["every"]:
            self.liquidate()
"""
SEARCH: dict[str, Any] = {
    **SERIES,
    "strategy": "Mine",
    "timeframe": "30m",
    "start_date": "2024-01-02",
    "settings": {"warm_up_candles": 24},
    "trials": TRIALS,
    "seed": 11,
    "min_trades": 5,
    "test_start": "2024-01-06",
    "wait_seconds": 0,
}
WALK: dict[str, Any] = {
    **{name: value for name, value in SEARCH.items() if name != "test_start"},
    "train_days": 3,
    "test_days": 2,
    "trials": 12,
}
WINDOWS = 2


@pytest.fixture
def cluster(engine_python: Path) -> Iterator[RayCluster]:
    cluster = RayCluster(engine_python, 0, 1, 1)
    yield cluster
    cluster.close()


def furnish(desk: Desk, candles: Path) -> None:
    desk.call("candles_import", **SERIES, path=str(candles))
    desk.call("strategy_write", name="Mine", code=STRATEGY)


def ready_nodes(desk: Desk) -> int:
    return sum(node["state"] == "ready" for node in desk.call("system_status")["engine"]["nodes"])


def capacity(desk: Desk) -> int:
    engine = desk.call("system_status")["engine"]
    assert engine["kind"] == "ray"
    found: int = engine["workers"]["capacity"]
    return found


def finished(desk: Desk, job_id: str, tool: str = "optimize") -> dict[str, Any]:
    answer: dict[str, Any] = {"result": None}
    while answer["result"] is None:
        answer = desk.call(tool, resume=job_id, wait_seconds=100)
    result: dict[str, Any] = answer["result"]
    return result


def done(desk: Desk, job_id: str) -> float:
    return desk.call("job_get", job_id=job_id)["progress"] or 0.0


def essence(result: dict[str, Any]) -> str:
    """A result without what is drawn at random (ids) and what tells how it came about (new or stored)."""

    def cleaned(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: cleaned(part) for name, part in value.items() if "run" not in name.split("_")}
        return [cleaned(part) for part in value] if isinstance(value, list) else value

    kept = cleaned(result)
    kept["counts"] = {k: v for k, v in result["counts"].items() if not k.startswith("runs_")}
    return json.dumps(kept, sort_keys=True)


def stored(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "home" / "research.sqlite")) as connection:
        return [row[0] for row in connection.execute("SELECT fingerprint FROM runs ORDER BY seq")]


def test_a_search_survives_a_node_and_the_server_and_equals_that_of_the_embedded_engine(
    engine_python: Path, cluster: RayCluster, tmp_path: Path
) -> None:
    candles = candle_file(tmp_path / "btc.csv")
    there = environment(
        tmp_path / "there", engine_python, JESSE_MCP_ENGINE="ray", RAY_ADDRESS=cluster.address
    )
    with http_server(there, tmp_path / "first.log") as (process, url), http_desk(url) as desk:
        furnish(desk, candles)
        # One of them alone could do most of the work before the other is there to be lost.
        wait_until(lambda: ready_nodes(desk) == 2, "both nodes")
        job_id = desk.call("optimize", **SEARCH)["job_id"]
        wait_until(lambda: done(desk, job_id) > 0.2, "a fifth")
        cluster.kill(2)
        wait_until(lambda: done(desk, job_id) > 0.5, "a half")
        wait_until(lambda: capacity(desk) == 1, "the node missed")
        process.kill()
        process.wait()
    before = stored(tmp_path / "there")
    assert 0.4 * TRIALS < len(before) < TRIALS
    with http_server(there, tmp_path / "second.log") as (_, url), http_desk(url) as desk:
        disturbed = finished(desk, job_id)
    after = stored(tmp_path / "there")
    assert after[: len(before)] == before
    assert len(set(after)) == len(after), "no finished trial is run again"
    assert disturbed["counts"]["failed"] == 0

    here = environment(tmp_path / "here", engine_python)
    with stdio_desk(here, tmp_path / "third.log") as desk:
        furnish(desk, candles)
        undisturbed = finished(desk, desk.call("optimize", **SEARCH)["job_id"])
    assert essence(disturbed) == essence(undisturbed)

    same_home = {**here, "JESSE_MCP_HOME": there["JESSE_MCP_HOME"]}
    with stdio_desk(same_home, tmp_path / "fourth.log") as desk:
        again = finished(desk, desk.call("optimize", **SEARCH)["job_id"])
    assert again["counts"]["runs_new"] == 0, "what Ray has computed is the embedded engine's own experiment"
    assert again["best"][0]["test"] == undisturbed["best"][0]["test"]


@pytest.mark.parametrize("then", ["alone", "and the server"])
def test_a_walk_survives_a_node_and_equals_that_of_the_embedded_engine(
    engine_python: Path, cluster: RayCluster, tmp_path: Path, then: str
) -> None:
    candles = candle_file(tmp_path / "btc.csv")
    runs = WINDOWS * (WALK["trials"] + 1)
    there = environment(
        tmp_path / "there", engine_python, JESSE_MCP_ENGINE="ray", RAY_ADDRESS=cluster.address
    )
    before: list[str] = []
    with http_server(there, tmp_path / "first.log") as (process, url), http_desk(url) as desk:
        furnish(desk, candles)
        # One of them alone could do most of the work before the other is there to be lost.
        wait_until(lambda: ready_nodes(desk) == 2, "both nodes")
        job_id = desk.call("walk_forward", **WALK)["job_id"]
        wait_until(lambda: done(desk, job_id) > 0.2, "a fifth")
        cluster.kill(2)
        assert done(desk, job_id) < 1, "the node died in the middle"
        if then == "alone":
            disturbed = finished(desk, job_id, "walk_forward")
            # The last runs may have ended before anybody missed the node.
            wait_until(lambda: capacity(desk) == 1, "the node missed")
        else:
            wait_until(lambda: done(desk, job_id) > 0.5, "a half")
            process.kill()
            process.wait()
            before = stored(tmp_path / "there")
            assert 0.3 * runs < len(before) < runs
    if then != "alone":
        with http_server(there, tmp_path / "second.log") as (_, url), http_desk(url) as desk:
            assert desk.call("job_get", job_id=job_id)["state"] == "lost"
            disturbed = finished(desk, job_id, "walk_forward")
    after = stored(tmp_path / "there")
    assert after[: len(before)] == before
    assert len(set(after)) == len(after) == runs, "no finished trial is run again"

    with stdio_desk(environment(tmp_path / "here", engine_python), tmp_path / "third.log") as desk:
        furnish(desk, candles)
        undisturbed = finished(desk, desk.call("walk_forward", **WALK)["job_id"], "walk_forward")
    assert all(line["missing"] is None for line in undisturbed["windows"])
    assert essence(disturbed) == essence(undisturbed)
