"""7. The candle store, by itself."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from benchmarks.desk import Desk, Steps
from benchmarks.market import END, SERIES, START, year
from benchmarks.report import Figure, Goal, Result, milliseconds, sampled

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.domain.candles import CandleArray
from jesse_mcp.domain.timeframes import parse_date

_REPEATS, _OPENS = 9, 20
_GOAL_MS = 10.0
_BYTES_A_ROW = 48

T = TypeVar("T")


async def measure(desk: Desk, steps: Steps) -> list[Result]:
    """A year written into empty folders, mapped, opened, and looked over."""
    repeats = desk.repeats(_REPEATS)
    steps.expect(repeats)
    rows = year()
    spent: dict[str, list[float]] = {"write": [], "map": [], "open": [], "coverage": []}
    for number in range(repeats):
        _once(desk.folder / f"candle-store-{number}", rows, spent)
        steps.done()
    mib, minutes = 2**20, len(rows)
    stored = next((desk.folder / "candle-store-0").glob("*/*.parquet")).stat().st_size
    a_year = 525_600 / minutes
    figures = (
        sampled("writing it to an empty store", milliseconds(spent["write"]), "ms"),
        Figure("Parquet, for 525,600 minutes", stored * a_year / mib, "MiB"),
        Figure("Parquet, share of the raw rows", 100 * stored / (minutes * _BYTES_A_ROW), "%"),
        sampled("making the mapped form", milliseconds(spent["map"]), "ms"),
        sampled(
            "opening the mapped form, first and last row read",
            milliseconds(spent["open"]),
            "ms",
            Goal("at most", _GOAL_MS),
        ),
        sampled("coverage of the year", milliseconds(spent["coverage"]), "ms"),
    )
    return [Result("candle store", f"{minutes:,} one-minute candles, page cache warm", figures)]


def _once(root: Path, rows: CandleArray, spent: dict[str, list[float]]) -> None:
    store = ParquetCandleStore(root)
    _timed(spent["write"], lambda: store.write(SERIES, rows, "synthetic"))
    _timed(spent["map"], lambda: store.mapped(SERIES))
    for _ in range(_OPENS):
        _timed(spent["open"], lambda: _open(store))
    start, end = parse_date(START, "start"), parse_date(END, "end")
    coverage = _timed(spent["coverage"], lambda: store.coverage(SERIES, start, end))
    if coverage.present != coverage.expected:
        raise RuntimeError(f"the year is not complete: {coverage}")


def _open(store: ParquetCandleStore) -> float:
    mapped = store.mapped(SERIES)
    rows = np.memmap(mapped.path, dtype="<f8", mode="r", shape=(mapped.rows, 6))
    return float(rows[0, 0] + rows[-1, 0])


def _timed(into: list[float], action: Callable[[], T]) -> T:
    started = time.perf_counter()
    answer = action()
    into.append(time.perf_counter() - started)
    return answer
