"""Jesse's own Monte Carlo over candles, called as its documentation shows. Run by a Python that has Jesse.

``python direct_scenarios.py PROJECT CASE.json``: the metrics of every scenario as JSON on standard output.
"""

import importlib
import json
import sys
from typing import Any

import numpy as np
from jesse.candle_pipelines import GaussianNoiseCandlesPipeline, MovingBlockBootstrapCandlesPipeline
from jesse.research import backtest

# By name from the module table: the package attribute of this name is the function.
monte_carlo_candles: Any = importlib.import_module("jesse.research.monte_carlo.monte_carlo_candles")


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr
    sys.path.insert(0, sys.argv[1])
    with open(sys.argv[2]) as file:  # noqa: PTH123
        case = json.load(file)
    every = {"bootstrap": bootstrap(case), "noise": noise(case)}
    json.dump(
        every, answers, default=lambda value: value.item() if isinstance(value, np.generic) else str(value)
    )


def arguments(case: dict[str, Any]) -> dict[str, Any]:
    identity = {"exchange": case["exchange"], "symbol": case["symbol"]}
    key = f"{case['exchange']}-{case['symbol']}"
    rows = np.fromfile(case["rows"]).reshape(-1, 6)
    name = case["strategy"]
    strategy = getattr(__import__(f"strategies.{name}", fromlist=[name]), name)
    return {
        "config": case["config"],
        "routes": [{**identity, "strategy": strategy, "timeframe": case["timeframe"]}],
        "data_routes": [],
        "candles": {key: {**identity, "candles": rows[case["warm_up"] :]}},
        "warmup_candles": {key: {**identity, "candles": rows[: case["warm_up"]]}},
        "fast_mode": case["fast_mode"],
    }


def bootstrap(case: dict[str, Any]) -> list[dict[str, Any]]:
    """What Jesse hands to Ray for each scenario, called here without it."""
    scenario = monte_carlo_candles._ray_run_scenario_monte_carlo_candles._function
    asked = {**arguments(case), "hyperparameters": None}
    found = [
        scenario(
            **asked,
            scenario_index=number,
            candles_pipeline_class=MovingBlockBootstrapCandlesPipeline,
            candles_pipeline_kwargs={"batch_size": case["batch_size"], "seed": case["seed"]},
        )
        for number in range(1, case["scenarios"] + 1)
    ]
    failed = [answer["log"] for answer in found if answer["error"]]
    if failed:
        raise SystemExit(failed[0])
    return [answer["result"]["metrics"] for answer in found]


def noise(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Jesse leaves the state that this pipeline draws from to chance, so it is seeded here."""
    metrics = []
    for number in range(case["scenarios"]):
        np.random.seed(case["seed"] + number)
        result = backtest(
            **arguments(case),
            candles_pipeline_class=GaussianNoiseCandlesPipeline,
            candles_pipeline_kwargs={"batch_size": case["batch_size"], **case["noise"]},
        )
        metrics.append(result["metrics"])
    return metrics


if __name__ == "__main__":
    main()
