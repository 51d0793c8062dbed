"""The analysis tools over a million returns: their time against plain NumPy's, and their memory."""

import asyncio
import json
import math
import sys
from pathlib import Path
from typing import Any

from benchmarks.connection import Served, serving
from benchmarks.desk import Desk, Steps
from benchmarks.market import EXCHANGE, SERIES, SYMBOL
from benchmarks.report import Figure, Goal, Result, milliseconds, sampled

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.analytics.synthetic import synthetic_candles, synthetic_source
from jesse_mcp.domain.timeframes import DAY_MS, iso_date, parse_date

_START, _DAYS, _SEED = "2022-01-01", 730, 7
_REPEATS = 5
_MEMORY = Goal("at most", 1024)
_CLOSE = 1e-6
_MARKET = {"exchange": EXCHANGE, "symbols": [SYMBOL], "timeframe": "1m", "start_date": _START}
#: With what each tool answers the numbers that the script works out, and with all it has.
_CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "analyze_results": (
        {"include": []},
        {"include": ["drawdowns", "calendar", "rolling", "distribution", "intervals"]},
    ),
    "var_calculation": (
        {"methods": ["historical", "gaussian"], "horizon": [1], "wait_seconds": 600},
        {"wait_seconds": 600},
    ),
    "significance_test": ({"wait_seconds": 600},) * 2,
    "stress_test": ({"wait_seconds": 600},) * 2,
}


async def measure(desk: Desk, steps: Steps) -> list[Result]:
    """Both read the closes of one mapped file; the tool answers over MCP, with findings and all."""
    repeats = desk.repeats(_REPEATS)
    days = 30 if desk.quick else _DAYS
    start = parse_date(_START, "start")
    home = desk.folder / "analysis"
    store = ParquetCandleStore(home / "candles")
    store.write(SERIES, synthetic_candles(start, days * 1_440, _SEED), synthetic_source(_SEED))
    steps.expect(2 * len(_CALLS) + 1)
    steps.doing("plain NumPy")
    plain = await _plain(Path(store.mapped(SERIES).path), repeats)
    steps.done()
    market = {**_MARKET, "end_date": iso_date(start + days * DAY_MS)}
    figures: list[Figure] = []
    async with serving(home, PREWARM="false") as served:
        for tool, (headline, _) in _CALLS.items():
            steps.doing(tool)
            ours = [await _timed(served, tool, market, headline, plain[tool]) for _ in range(repeats)]
            theirs = plain[tool]["seconds"]
            figures += [
                sampled(f"{tool}: the tool", milliseconds(ours), "ms"),
                sampled(f"{tool}: plain NumPy", milliseconds(theirs), "ms"),
                sampled(f"{tool}: the tool's time over NumPy's", [o / t for o in ours for t in theirs], "x"),
            ]
            steps.done()
        for tool, (_, everything) in _CALLS.items():
            steps.doing(f"{tool}, everything")
            await served.call(tool, market=market, **everything)
            steps.done()
        figures.append(Figure("peak resident memory of the server", _peak(served), "MiB", goal=_MEMORY))
    title = f"{days * 1_440 - 1:,} returns of stored one-minute candles"
    return [Result("analysis", title, tuple(figures))]


async def _timed(
    served: Served, tool: str, market: dict[str, Any], arguments: dict[str, Any], plain: dict[str, Any]
) -> float:
    seconds, answer = await served.timed(tool, market=market, **arguments)
    found = dict(_numbers(answer.get("result") or answer))
    for name, value in plain["numbers"].items():
        # Resampled numbers differ by chance.
        tolerance = 0.2 if name == "p_bootstrap" else _CLOSE
        if not math.isclose(found[name], value, rel_tol=tolerance, abs_tol=tolerance):
            raise RuntimeError(f"{tool} says {name} is {found[name]}, NumPy {value}")
    return seconds


def _numbers(answer: dict[str, Any]) -> list[tuple[str, float]]:
    """What the script works out too, under the same names."""
    if "risks" in answer:
        return [(f"{row['method']} {row['confidence']}", row["var"]) for row in answer["risks"]]
    if "volatility" in answer:
        return [("max_drawdown", answer["volatility"]["stressed"]["max_drawdown"])]
    if "mean_return" in answer:
        return [
            ("p_bootstrap", answer["mean_return"]["p_bootstrap"]),
            ("probabilistic_sharpe_ratio", answer["sharpe"]["probabilistic_sharpe_ratio"]),
        ]
    return list(answer["performance"].items())


async def _plain(mapped: Path, repeats: int) -> dict[str, Any]:
    script = Path(__file__).with_name("plain_analysis.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), str(mapped), str(repeats), stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"{script.name} ended with status {process.returncode}")
    answer: dict[str, Any] = json.loads(output)
    return answer


def _peak(served: Served) -> float:
    """MiB."""
    status = Path(f"/proc/{served.process.pid}/status")
    if not status.exists():
        return served.process.memory_info().rss / 2**20  # macOS: what it holds now
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024
