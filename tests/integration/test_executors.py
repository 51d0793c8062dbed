"""Batches, searches, walks and altered candles: one worker, two, or the nodes of Ray give the same bits."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mcp_desk import SERIES, Desk, candle_file, environment, stdio_desk, strategy
from ray_cluster import RayCluster

pytestmark = pytest.mark.timeout(900)

ONE: dict[str, Any] = {
    **SERIES,
    "strategy": "Mine",
    "timeframe": "30m",
    "start_date": "2024-01-02",
    "settings": {"warm_up_candles": 24, "fee": 0.0004},
}
SEARCHED = {"seed": 3, "min_trades": 2}
JOBS: dict[str, dict[str, Any]] = {
    "backtest_batch": {
        **{name: value for name, value in ONE.items() if name != "timeframe"},
        "vary": {
            "timeframes": ["30m", "1h"],
            "hyperparameters": [{"every": every} for every in (2, 4, 7, 12)],
        },
    },
    "optimize": {**ONE, **SEARCHED, "trials": 9},
    "walk_forward": {**ONE, **SEARCHED, "train_days": 3, "test_days": 2, "trials": 5},
    "monte_carlo": {
        "method": "candles",
        "simulations": 6,
        "seed": 5,
        "pipeline_parameters": {"batch_size": 720},
    },
}
#: Some points cannot be run: failures have to be the same too.
BEFORE = "assert self.hp['every'] > 3, 'too often'"
EXECUTORS = ("one worker", "two workers", "Ray")
Answers = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def answers(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answers]:
    """What every executor answers to the same calls on a desk of its own, by executor and tool."""
    cluster = RayCluster(engine_python, 0, 1, 1)
    settings = {
        "one worker": {"JESSE_MCP_WORKERS": "1"},
        "two workers": {"JESSE_MCP_WORKERS": "2"},
        "Ray": {"JESSE_MCP_ENGINE": "ray", "RAY_ADDRESS": cluster.address},
    }
    found = {}
    try:
        for name in EXECUTORS:
            folder = tmp_path_factory.mktemp(name.replace(" ", "-"))
            surroundings = environment(folder, engine_python, **settings[name])
            with stdio_desk(surroundings, folder / "log") as desk:
                found[name] = asked(desk, folder)
    finally:
        cluster.close()
    return found


def asked(desk: Desk, folder: Path) -> Answers:
    desk.call("candles_import", **SERIES, path=str(candle_file(folder / "btc.csv")))
    desk.call("strategy_write", name="Mine", code=strategy("Mine", BEFORE))
    flat = {name: value for name, value in ONE.items() if name != "settings"} | ONE["settings"]
    run = desk.call("backtest", **flat, wait_seconds=100)["run"]
    answers = {}
    for tool, arguments in JOBS.items():
        of_a_run = {"run_id": run["run_id"]} if tool == "monte_carlo" else {}
        answer = desk.call(tool, **arguments, **of_a_run, wait_seconds=0)
        ended = desk.call("job_get", job_id=answer["job_id"], wait_seconds=100)
        while ended["state"] in ("queued", "running"):
            ended = desk.call("job_get", job_id=answer["job_id"], wait_seconds=100)
        # Asked for again: the stored answer, or the same from stored runs.
        resumed = of_a_run | arguments if of_a_run else {"resume": answer["job_id"]}
        result = desk.call(tool, **resumed, wait_seconds=100)["result"]
        answers[tool] = without_ids(result)
    with closing(sqlite3.connect(folder / "home" / "research.sqlite")) as connection:
        query = "SELECT kind, fingerprint FROM runs ORDER BY kind, fingerprint"
        answers["runs"] = {"runs": connection.execute(query).fetchall()}
    return answers


def without_ids(value: Any) -> Any:
    """An answer without what is drawn at random."""
    if isinstance(value, dict):
        return {name: without_ids(part) for name, part in value.items() if "id" not in name.split("_")}
    if isinstance(value, list):
        return [without_ids(part) for part in value]
    return "an id" if isinstance(value, str) and value.startswith("run_") else value


@pytest.mark.parametrize("tool", [*JOBS, "runs"])
def test_every_executor_gives_the_same_bits(answers: dict[str, Answers], tool: str) -> None:
    one, two, ray = (answers[name][tool] for name in EXECUTORS)
    assert one == two
    assert one == ray


def test_what_is_compared_is_worth_it(answers: dict[str, Answers]) -> None:
    found = answers["Ray"]
    assert (found["backtest_batch"]["total"], found["backtest_batch"]["failed"]) == (8, 2)
    assert found["optimize"]["counts"]["failed"] >= 1
    assert found["optimize"]["best"][0]["test"] is not None
    assert found["walk_forward"]["counts"]["tested"] == 2
    assert found["monte_carlo"]["simulations"] == 6
    deviation = found["monte_carlo"]["distributions"]["final_balance"]["standard_deviation"]
    assert deviation > 0
    kinds = [kind for kind, _ in found["runs"]["runs"]]
    assert {kind: kinds.count(kind) for kind in ("backtest", "batch", "scenario")} == {
        "backtest": 1,
        "batch": 6,
        "scenario": 6,
    }
