"""Jesse's driver of an exchange without us: the pages of a range, one after the other, and nothing kept.

Run by the engine's Python as ``python driver.py EXCHANGE SYMBOL``. A request is a line of JSON on standard
input, its answer a line on standard output. As an import of ours does, it asks for the listing first and
pauses before every page but the first.
"""

import importlib
import json
import os
import sys
import time
from typing import Any, TextIO

_MINUTE_MS = 60_000


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Jesse prints is no answer
    exchange, symbol = sys.argv[1:]
    config: Any = importlib.import_module("jesse.config")
    # As the importer of Jesse's dashboard does; some drivers take the time of the clock only then.
    config.config["app"]["trading_mode"] = "candles"
    driver = importlib.import_module("jesse.modes.import_candles_mode.drivers").drivers[exchange]()
    _answer(answers, {"candles_a_page": driver.count, "pause": driver.sleep_time})
    for line in sys.stdin:
        _answer(answers, _walk(driver, symbol, **json.loads(line)))


def _walk(driver: Any, symbol: str, start_ms: int, end_ms: int, pace: float) -> dict[str, Any]:
    cpu, wall = time.process_time(), time.perf_counter()
    driver.get_starting_time(symbol)
    pages = rows = 0
    for page_start in range(start_ms, end_ms, driver.count * _MINUTE_MS):
        if pages:
            time.sleep(driver.sleep_time * pace)
        rows += sum(row["timestamp"] < end_ms for row in driver.fetch(symbol, page_start, "1m"))
        pages += 1
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall, "cpu": cpu, "pages": pages, "rows": rows}


def _answer(stream: TextIO, message: dict[str, Any]) -> None:
    stream.write(json.dumps(message) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
