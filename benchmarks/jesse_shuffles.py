"""Jesse's own shuffling of trades, timed from its launch of the scenarios to its analysis of them.

Run by the engine's Python as ``python jesse_shuffles.py CANDLES STRATEGIES REQUEST SCENARIOS REPEATS``; the
answer is one line of JSON on standard output. Ray is running and the backtest done before the clock starts.
"""

import importlib
import json
import os
import sys
import time
from typing import Any

import numpy as np

_COLUMNS = 6


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Jesse or Ray prints is no answer
    # By name from the module table: the package attribute of this name is the function.
    module: Any = importlib.import_module("jesse.research.monte_carlo.monte_carlo_trades")
    rows = np.fromfile(sys.argv[1], dtype="<f8").reshape(-1, _COLUMNS)
    sys.path.insert(0, sys.argv[2])
    request, scenarios, repeats = json.loads(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
    arguments = _arguments(request, rows)
    original = module.backtest(**arguments, generate_equity_curve=True)
    cores = os.cpu_count() or 1
    module.initialize_ray(cores)
    module._run_original_backtest = lambda *_args, **_options: original
    module.monte_carlo_trades(**arguments, num_scenarios=10, cpu_cores=cores)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        found = module.monte_carlo_trades(**arguments, num_scenarios=scenarios, cpu_cores=cores)
        seconds.append(time.perf_counter() - started)
        assert found["num_scenarios"] == scenarios, f"{found['num_scenarios']} scenarios came back"
    answers.write(json.dumps({"seconds": seconds, "trades": len(original["trades"])}) + "\n")
    answers.flush()


def _arguments(request: dict[str, Any], rows: Any) -> dict[str, Any]:
    series = {"exchange": request["exchange"], "symbol": request["symbol"]}
    key, split = f"{request['exchange']}-{request['symbol']}", request["warm_up_minutes"]
    strategy = getattr(importlib.import_module(request["strategy"]), request["strategy"])
    return {
        "config": request["config"],
        "routes": [{**series, "timeframe": request["timeframe"], "strategy": strategy}],
        "data_routes": [],
        "candles": {key: {**series, "candles": rows[split:]}},
        "warmup_candles": {key: {**series, "candles": rows[:split]}},
        "fast_mode": request["fast_mode"],
    }


if __name__ == "__main__":
    main()
