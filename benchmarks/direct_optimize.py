"""Jesse's own optimisation without us: ``jesse.research.optimize`` once, Ray already running.

Run by the engine's Python in a folder whose ``strategies`` holds the strategy packages, as
``python direct_optimize.py CANDLES REQUEST``: raw float64 rows of six columns, and JSON. Its answer is the
last line on standard output.
"""

import json
import sys
import time
from typing import Any

import numpy as np

_COLUMNS = 6
_TEST_MINUTES = 7 * 1440


def main() -> None:
    request = json.loads(sys.argv[2])
    rows = np.fromfile(sys.argv[1], dtype="<f8").reshape(-1, _COLUMNS)
    import ray
    from jesse.research import optimize

    _without_a_database()
    ray.init(
        num_cpus=request["cores"],
        include_dashboard=False,
        runtime_env={"worker_process_setup_hook": _without_a_database},
    )
    started = time.perf_counter()
    result = optimize(**_arguments(request, rows), progress_bar=False)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "trials": result["completed_trials"]}), flush=True)


def _without_a_database() -> None:
    """Jesse makes a folder `storage`; beside `strategies` that means a project, which has a database."""
    import jesse.helpers as jh

    jh.is_jesse_project = lambda: False


def _arguments(request: dict[str, Any], rows: Any) -> dict[str, Any]:
    series = {"exchange": request["exchange"], "symbol": request["symbol"]}
    key, split = f"{request['exchange']}-{request['symbol']}", request["warm_up_minutes"]

    def candles(start: int, end: int | None) -> dict[str, Any]:
        return {key: {**series, "candles": rows[start:end]}}

    config = request["config"]
    exchange = {name: value for name, value in config.items() if name.startswith("futures")}
    exchange |= {
        "name": request["exchange"],
        "balance": config["starting_balance"],
        "fee": config["fee"],
        "type": config["type"],
    }
    route = {name: request[name] for name in ("strategy", "symbol", "timeframe")}
    return {
        "config": {"exchange": exchange, "warm_up_candles": config["warm_up_candles"]},
        "routes": [route],
        "data_routes": [],
        "training_candles": candles(split, None),
        "training_warmup_candles": candles(0, split),
        # It cannot do without a test; a week of it costs little.
        "testing_candles": candles(-_TEST_MINUTES, None),
        "testing_warmup_candles": candles(-_TEST_MINUTES - split, -_TEST_MINUTES),
        "fast_mode": request["fast_mode"],
        "cpu_cores": request["cores"],
        "trials": request["trials_per_hyperparameter"],
        "objective_function": "sharpe",
    }


if __name__ == "__main__":
    main()
