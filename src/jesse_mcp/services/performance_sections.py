"""The longer tables of a performance analysis, each from a return series."""

from dataclasses import asdict, fields
from typing import Any

import numpy as np

from jesse_mcp.analytics.benchmark_relative import relative_to_benchmark
from jesse_mcp.analytics.bootstrap_intervals import bootstrap_intervals
from jesse_mcp.analytics.calendar_returns import CalendarUnit, calendar_returns, weekday_returns
from jesse_mcp.analytics.distribution_shape import distribution_shape
from jesse_mcp.analytics.drawdowns import largest_drawdowns
from jesse_mcp.analytics.excursions import row_of
from jesse_mcp.analytics.measures import separated
from jesse_mcp.analytics.performance import annual_return, total_return
from jesse_mcp.analytics.return_series import ReturnSeries
from jesse_mcp.analytics.rolling import rolling
from jesse_mcp.domain.candles import CLOSE, OPEN
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_minute
from jesse_mcp.services.performance_request import PerformanceArguments
from jesse_mcp.services.run_candles import TradedCandles

#: A section, and why parts of it are missing.
Section = tuple[dict[str, Any], dict[str, str]]

_DRAWDOWNS_SHOWN = 10
_ROLLING_POINTS = 60
_CONFIDENCE = 0.95
_UNITS: dict[str, CalendarUnit] = {"months": "month", "quarters": "quarter", "years": "year"}
NO_TIMES = "the source has no timestamps"


def drawdowns_section(series: ReturnSeries) -> Section:
    """The deepest drawdowns; times when they are known, positions in the balances always."""

    def moment(place: int | None) -> str | None:
        if place is None or series.timestamps is None:
            return None
        return iso_minute(int(series.timestamps[place]))

    rows = [
        {
            "depth": found.depth,
            "length": found.length,
            "recovered": found.recovery is not None,
            "peak": found.peak,
            "trough": found.trough,
            "peak_time": moment(found.peak),
            "trough_time": moment(found.trough),
            "recovery_time": moment(found.recovery),
        }
        for found in largest_drawdowns(series.balances, _DRAWDOWNS_SHOWN)
    ]
    undefined = {"drawdowns.peak_time": NO_TIMES} if series.timestamps is None else {}
    return {"deepest": rows}, undefined


def calendar_section(series: ReturnSeries) -> Section:
    """Compounded returns of months, quarters and years; mean returns of weekdays."""
    if series.timestamps is None:
        return {}, {"calendar": NO_TIMES}
    section: dict[str, Any] = {"columns": ["label", "return", "periods"]}
    for name, unit in _UNITS.items():
        found = calendar_returns(series.returns, series.timestamps, unit)
        section[name] = [[row.label, row.compounded, row.periods] for row in found]
    section["weekdays"] = [asdict(row) for row in weekday_returns(series.returns, series.timestamps)]
    return section, {}


def rolling_section(series: ReturnSeries, window: int) -> Section:
    """Latest, lowest, median and highest of each measure, and evenly spaced windows from first to last."""
    count = len(series.returns) - window + 1
    if count < 1:
        reason = f"{len(series.returns)} returns are fewer than the window of {window}"
        return {}, {"rolling": reason}
    found = rolling(series.returns, window, series.periods_per_year)
    columns = {part.name: getattr(found, part.name) for part in fields(found)}
    summary: dict[str, Any] = {}
    undefined: dict[str, str] = {}
    for name, values in columns.items():
        known = np.array([value for value in values if value is not None], dtype=np.float64)
        if not len(known):
            undefined[f"rolling.{name}"] = "undefined in every window"
        summary[name] = {
            "latest": values[-1],
            "lowest": float(known.min()) if len(known) else None,
            "median": float(np.median(known)) if len(known) else None,
            "highest": float(known.max()) if len(known) else None,
        }
    chosen = np.unique(np.linspace(0, count - 1, min(count, _ROLLING_POINTS)).round().astype(int)).tolist()
    ends = series.return_timestamps
    rows = [
        [
            window + at if ends is None else iso_minute(int(ends[window + at - 1])),
            *(values[at] for values in columns.values()),
        ]
        for at in chosen
    ]
    return {
        "window": window,
        "windows": count,
        "summary": summary,
        "columns": ["end", *columns],
        "rows": rows,
    }, undefined


def distribution_section(series: ReturnSeries) -> Section:
    values, undefined = separated(distribution_shape(series.returns))
    return dict(values), {f"distribution.{name}": reason for name, reason in undefined.items()}


def intervals_section(series: ReturnSeries, arguments: PerformanceArguments) -> Section:
    """95 % intervals of the stationary bootstrap, as ``[low, median, high]``."""
    found = bootstrap_intervals(
        series.returns,
        series.periods_per_year,
        confidence=_CONFIDENCE,
        seed=arguments.seed,
        risk_free_rate=arguments.risk_free_rate,
        target_return=arguments.target_return,
    )
    section: dict[str, Any] = {
        "confidence": _CONFIDENCE,
        "draws": found.draws,
        "block_length": found.block_length,
        "seed": arguments.seed,
        **{name: [part.low, part.median, part.high] for name, part in found.found.items()},
        **dict.fromkeys(found.undefined),
    }
    return section, {f"intervals.{name}": reason for name, reason in found.undefined.items()}


def benchmark_section(
    series: ReturnSeries, arguments: PerformanceArguments, candles: TradedCandles | None
) -> Section:
    """Beside the returns given, or beside buying and holding what the run traded, in equal parts."""
    if arguments.benchmark_returns is not None:
        returns = np.array(arguments.benchmark_returns, dtype=np.float64)
        what = "benchmark_returns"
    else:
        if candles is None:
            reason = "only a run has one of its own: give benchmark_returns"
        elif candles.reason is not None or series.timestamps is None:
            reason = candles.reason or NO_TIMES
        else:
            reason = None
        if reason is not None or candles is None:
            return {}, {"benchmark": reason or NO_TIMES}
        returns = _buy_and_hold(candles, series)
        what = f"buy and hold of {', '.join(candles.rows)}"
    year, free = series.periods_per_year, arguments.risk_free_rate
    values, undefined = separated(
        {
            **relative_to_benchmark(series.returns, returns, year, free),
            "benchmark_total_return": total_return(returns),
            "benchmark_annual_return": annual_return(returns, year),
        }
    )
    reasons = {f"benchmark.{name}": reason for name, reason in undefined.items()}
    return {"benchmark": what, **values}, reasons


def _buy_and_hold(candles: TradedCandles, series: ReturnSeries) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Returns over the very periods of the run, of equal parts bought at the first open and held."""
    times = [] if series.timestamps is None else series.timestamps.tolist()
    growths = []
    for rows in candles.rows.values():
        closes = [float(rows[max(0, row_of(rows, time - MINUTE_MS + 1) - 1), CLOSE]) for time in times[1:]]
        growths.append(np.array([1.0, *(close / float(rows[0, OPEN]) for close in closes)]))
    value = np.mean(growths, axis=0)
    return np.asarray(value[1:] / value[:-1] - 1, dtype=np.float64)
