"""Jesse without us: ``jesse.research.backtest`` called again and again in one process.

Run by the engine's Python as ``python direct.py CANDLES STRATEGIES``: a file of raw float64 rows of six
columns, and the folder that holds the strategy packages. A request is a line of JSON on standard input, its
answer a line on standard output.
"""

import importlib
import json
import os
import resource
import sys
import time
from typing import Any, TextIO

import numpy as np

_COLUMNS = 6


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Jesse or the strategy prints is no answer
    started = time.perf_counter()
    research: Any = importlib.import_module("jesse.research")
    _answer(answers, {"import_seconds": time.perf_counter() - started})
    rows = np.fromfile(sys.argv[1], dtype="<f8").reshape(-1, _COLUMNS)
    sys.path.insert(0, sys.argv[2])
    for line in sys.stdin:
        _answer(answers, _run(research.backtest, json.loads(line), rows))


def _run(backtest: Any, request: dict[str, Any], rows: Any) -> dict[str, Any]:
    exchange, symbol = request["exchange"], request["symbol"]
    series = {"exchange": exchange, "symbol": symbol}
    key, split = f"{exchange}-{symbol}", request["warm_up_minutes"]
    strategy = getattr(importlib.import_module(request["strategy"]), request["strategy"])
    route = {**series, "timeframe": request["timeframe"], "strategy": strategy}
    cpu, wall = time.process_time(), time.perf_counter()
    result = backtest(
        request["config"],
        [route],
        [],
        {key: {**series, "candles": rows[split:]}},
        {key: {**series, "candles": rows[:split]}},
        hyperparameters=request["hyperparameters"],
        fast_mode=request["fast_mode"],
    )
    return {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "trades": result["metrics"]["total"],
        "finishing_balance": float(result["metrics"]["finishing_balance"]),
        "max_rss_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def _answer(stream: TextIO, message: dict[str, Any]) -> None:
    stream.write(json.dumps(message) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
