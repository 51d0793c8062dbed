"""Runs Jesse's drivers for the tests, in the engine's Python: JSON lines in, JSON lines out.

Nothing of Jesse is replaced. Pages are walked as Jesse's importer walks them, without its pauses.
"""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from jesse.config import config
from jesse.modes.import_candles_mode.drivers import drivers
from jesse.services.historical_data import HistoricalCandleRange, HistoricalCandleRequest

MINUTE_MS = 60_000
COLUMNS = ("timestamp", "open", "close", "high", "low", "volume")


def page(driver: Any, symbol: str, start: int, end: int) -> tuple[list[list[float]], int | None]:
    """Candles of one page, and where the next are when the page has none."""
    wanted = HistoricalCandleRequest(symbol, "1m", HistoricalCandleRange(start, end))
    batch = driver.fetch_candles(wanted)
    rows = [[getattr(candle, name) for name in COLUMNS] for candle in batch.candles]
    return rows, batch.next_available_timestamp


def walk(driver: Any, symbol: str, start: int, end: int) -> Iterator[list[float]]:
    """Every candle of the range, in pages of the size the driver declares."""
    while start < end:
        stop = min(end, start + driver.capabilities.max_candles_per_request * MINUTE_MS)
        rows, ahead = page(driver, symbol, start, stop)
        yield from rows
        start = min(max(stop, ahead or stop), end)


def fetched(driver: Any, symbol: str, start: int) -> list[list[float]]:
    """What the driver itself makes of one answer."""
    return [[row[name] for name in COLUMNS] for row in driver.fetch(symbol, start, "1m")]


def perform(request: dict[str, Any]) -> Any:
    driver = drivers[request["exchange"]]()
    symbol, start, end = request["symbol"], request["start"], request["end"]
    if request["do"] == "symbols":
        return driver.get_available_symbols()
    if request["do"] == "starting_time":
        return driver.get_starting_time(symbol)
    if request["do"] == "fetch":
        return fetched(driver, symbol, start)
    if request["do"] == "page":
        return page(driver, symbol, start, end)
    return list(walk(driver, symbol, start, end))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": perform(request)}
    except Exception as error:  # noqa: BLE001 - what drivers raise is what is asked about
        return {"error": type(error).__name__, "message": str(error)}


def main() -> None:
    # As the importer of Jesse's dashboard does; some drivers take the time of the clock only then.
    config["app"]["trading_mode"] = "candles"
    answers = os.fdopen(os.dup(1), "w")
    # Whatever Jesse prints must not come between the answers.
    os.dup2(2, 1)
    print(json.dumps(sorted(drivers)), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
