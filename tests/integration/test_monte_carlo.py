"""Monte Carlo through MCP with the real Jesse: its scenarios are those of Jesse's own, number by number."""

import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.domain.candles import SeriesKey
from mcp_desk import (
    RUN,
    SERIES,
    START,
    candle_file,
    environment,
    http_desk,
    http_server,
    stdio_desk,
    strategy,
    wait_until,
)

SCRIPT = Path(__file__).with_name("direct_scenarios.py")
SCENARIOS, SEED, BATCH = 4, 11, 1_440
NOISE = {"close_sigma": 0.02, "high_sigma": 0.01, "low_sigma": 0.01}
WARM_UP_MINUTES = 2 * 1_440
METRICS = ("net_profit_percentage", "max_drawdown", "sharpe_ratio", "win_rate", "total")


def direct(
    engine_python: Path, folder: Path, *, fast_mode: bool = False
) -> dict[str, list[dict[str, float | None]]]:
    project = folder / "project"
    (project / "strategies" / "Mine").mkdir(parents=True)
    (project / "strategies" / "Mine" / "__init__.py").write_text(strategy("Mine"))
    store = ParquetCandleStore(folder / "home" / "candles")
    rows = store.read(SeriesKey(**SERIES))
    assert rows[0, 0] == START
    rows[1_440:].tofile(project / "rows")
    case = {
        **SERIES,
        "strategy": "Mine",
        "timeframe": "1h",
        "rows": str(project / "rows"),
        "warm_up": WARM_UP_MINUTES - 1_440,
        "fast_mode": fast_mode,
        "scenarios": SCENARIOS,
        "seed": SEED,
        "batch_size": BATCH,
        "noise": NOISE,
        "config": {
            "starting_balance": 10_000,
            "fee": 0.0004,
            "type": "futures",
            "futures_leverage": 1,
            "futures_leverage_mode": "cross",
            "exchange": SERIES["exchange"],
            "warm_up_candles": RUN["warm_up_candles"],
        },
    }
    (project / "case.json").write_text(json.dumps(case))
    # Anywhere but in the project: Jesse looks for a database of its own there.
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    answer = subprocess.run(
        [str(engine_python), str(SCRIPT), str(project), str(project / "case.json")],
        capture_output=True,
        text=True,
        check=False,
        cwd=elsewhere,
        env={**os.environ, "HOME": str(folder), "TZ": "UTC", "PYTHONPATH": str(project)},
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    found: dict[str, list[dict[str, float | None]]] = json.loads(answer.stdout.splitlines()[-1])
    return found


def assert_same(stored: list[dict[str, Any]], wanted: list[dict[str, float | None]]) -> None:
    assert len(stored) == len(wanted) == SCENARIOS
    for ours, theirs in zip(stored, wanted, strict=True):
        assert ours["total"] == theirs["total"] > 5  # type: ignore[operator]
        for name, value in theirs.items():
            finite = isinstance(value, int | float) and math.isfinite(value)
            assert ours[name] == (value if finite or not isinstance(value, float) else None), name
    assert len({json.dumps(metrics) for metrics in wanted}) == SCENARIOS, "every scenario is another one"


@pytest.mark.timeout(900)
def test_scenarios_are_those_of_jesse(engine_python: Path, tmp_path: Path) -> None:
    surroundings = environment(tmp_path, engine_python)
    with stdio_desk(surroundings, tmp_path / "log") as desk:
        desk.call("candles_import", **SERIES, path=str(candle_file(tmp_path / "btc.csv")))
        desk.call("strategy_write", name="Mine", code=strategy("Mine"))
        run = desk.call("backtest", **RUN, strategy="Mine", fee=0.0004)["run"]
        asked = {"run_id": run["run_id"], "method": "candles", "simulations": SCENARIOS, "seed": SEED}

        def scenarios(name: str, **parameters: float) -> list[dict[str, Any]]:
            found = desk.call(
                "monte_carlo",
                **asked,
                pipeline=name,
                pipeline_parameters={"batch_size": BATCH, **parameters},
                wait_seconds=120,
            )
            assert found["state"] == "done"
            assert found["result"]["failed"] == []
            runs = desk.call("run_list", kind="scenario", limit=100)["runs"]
            views = [desk.call("run_get", run_id=line["run_id"]) for line in runs]
            own = [view for view in views if view["request"]["pipeline"]["name"] == name]
            own.sort(key=lambda view: view["request"]["pipeline"]["seed"])
            assert [view["request"]["pipeline"]["seed"] for view in own] == list(
                range(SEED, SEED + SCENARIOS)
            )
            check_described(found["result"], run, own)
            return [view["metrics"] for view in own]

        bootstrap = scenarios("moving_block_bootstrap")
        noise = scenarios("gaussian_noise", **NOISE)
    wanted = direct(engine_python, tmp_path)
    assert_same(bootstrap, wanted["bootstrap"])
    assert_same(noise, wanted["noise"])


def check_described(result: dict[str, Any], run: dict[str, Any], views: list[dict[str, Any]]) -> None:
    for name in METRICS:
        shown = result["distributions"][f"jesse_{name}"]
        values = [view["metrics"][name] for view in views]
        assert shown["original"] == run["metrics"][name]
        assert shown["mean"] == pytest.approx(sum(values) / len(values))
    final = result["distributions"]["final_balance"]
    assert final["original"] == pytest.approx(run["metrics"]["finishing_balance"])


@pytest.mark.timeout(900)
def test_a_killed_server_leaves_its_scenarios_and_the_rest_is_run_later(
    engine_python: Path, tmp_path: Path
) -> None:
    surroundings = environment(tmp_path, engine_python, JESSE_MCP_WORKERS="1")
    killed = tmp_path / "killed"
    # So slow that some scenarios are left when the server is killed, and no slower than that.
    slow = f"""import os, time
        if not os.path.exists({str(killed)!r}):
            time.sleep(0.01)"""
    code = strategy("Mine", slow)
    asked: dict[str, Any] = {"method": "candles", "simulations": 12, "seed": 3}
    with stdio_desk(surroundings, tmp_path / "log") as desk:
        desk.call("candles_import", **SERIES, path=str(candle_file(tmp_path / "btc.csv")))
        desk.call("strategy_write", name="Mine", code=code)
        asked["run_id"] = desk.call("backtest", **RUN, strategy="Mine")["run"]["run_id"]
    with http_server(surroundings, tmp_path / "log") as (process, url), http_desk(url) as desk:
        job = desk.call("monte_carlo", **asked, wait_seconds=0)["job_id"]

        def some() -> int:
            total: int = desk.call("run_list", kind="scenario", limit=1)["total"]
            return total if total >= 3 else 0

        wait_until(some, "some scenarios")
        process.kill()
        process.wait()
    killed.touch()
    with stdio_desk(surroundings, tmp_path / "log") as desk:
        assert desk.call("job_get", job_id=job)["state"] == "lost"
        before = desk.call("run_list", kind="scenario", limit=50)["runs"]
        assert 3 <= len(before) < 12
        finished = desk.call("monte_carlo", **asked, wait_seconds=300)["result"]
        after = desk.call("run_list", kind="scenario", limit=50)["runs"]
        assert {line["run_id"] for line in before} <= {line["run_id"] for line in after}
        assert len(after) == 12
    with stdio_desk(environment(tmp_path / "other", engine_python), tmp_path / "log") as desk:
        desk.call("candles_import", **SERIES, path=str(tmp_path / "btc.csv"))
        desk.call("strategy_write", name="Mine", code=code)
        asked["run_id"] = desk.call("backtest", **RUN, strategy="Mine")["run"]["run_id"]
        undisturbed = desk.call("monte_carlo", **asked, wait_seconds=300)["result"]
    for name in ("distributions", "probabilities", "findings"):
        assert finished[name] == undisturbed[name], name
