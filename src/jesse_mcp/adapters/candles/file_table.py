"""One table to the candles in it, with everything that is wrong named by row."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jesse_mcp.adapters.candles.columnar import ColumnarDecoder
from jesse_mcp.adapters.candles.columns import Columns, find_columns
from jesse_mcp.adapters.candles.sources import Source
from jesse_mcp.adapters.candles.tables import Table, invalid, read_table, shown
from jesse_mcp.adapters.candles.timestamps import Moments, read_moments
from jesse_mcp.adapters.candles.validation import Problem, order_problems, price_problems, refuse
from jesse_mcp.domain.candles import CLOSE, HIGH, LOW, OPEN, TIMESTAMP, VOLUME, ParsedCandles
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_minute

_ROLES = {"open": OPEN, "close": CLOSE, "high": HIGH, "low": LOW, "volume": VOLUME}
_HINT = "correct the rows named, then repeat the call; nothing was stored"
_HINT_WITHOUT_HEADER = (
    "correct the rows named, or, if the columns are in another order than timestamp, open, high, low, close, "
    "volume, add a first line that names them; nothing was stored"
)
_REVERSED = "rows were newest first and have been reversed"


@dataclass(frozen=True)
class _Clock:
    """The moments of the rows and the columns they come from."""

    moments: Moments
    columns: str


def candles_of(source: Source, timestamp_unit: str | None, decoder: ColumnarDecoder) -> ParsedCandles:
    """Read and check one file.

    Raises:
        ResearchError: ``candles_invalid`` with the first offending rows, ``invalid_argument`` when
            ``timestamp_unit`` does not apply.
    """
    table = read_table(source, decoder)
    columns = find_columns(source.name, table)
    clock = _clock(source.name, table, columns, timestamp_unit)
    candles = np.empty((len(clock.moments.ms), 6), dtype=np.float64)
    candles[:, TIMESTAMP] = clock.moments.ms
    for role, position in columns.prices.items():
        candles[:, _ROLES[role]] = _numbers(table.columns[position])

    problems = clock.moments.problems + [
        _in_the_words_of_the_file(problem, candles, table, columns) for problem in price_problems(candles)
    ]
    ms = clock.moments.ms
    newest_first = len(ms) > 1 and bool((np.diff(ms) < 0).all())
    if not clock.moments.problems and not newest_first:
        problems += order_problems(ms)
    hint = _HINT if table.headed else _HINT_WITHOUT_HEADER
    refuse(source.name, problems, row_number=lambda row: table.first_row + row, hint=hint)
    if newest_first:
        candles = np.ascontiguousarray(candles[::-1])
    _check_spacing(source.name, candles[:, TIMESTAMP].astype(np.int64))
    return ParsedCandles(
        candles,
        _detected(source, table, columns, clock),
        (_REVERSED,) if newest_first else (),
    )


def _clock(name: str, table: Table, columns: Columns, unit: str | None) -> _Clock:
    """Moments from the timestamp column, or from several that say the same, or from a date and a time."""
    positions = columns.timestamps
    if len(positions) == 2 and (joined := _date_and_time(table, positions)) is not None:
        both = " and ".join(table.names[i] for i in positions)
        return _Clock(read_moments(name, joined, unit), both)
    numeric = [i for i in positions if _is_numeric(table.columns[i])]
    # A unit can only be meant for numbers; without any, the one column left says why it is refused.
    clocks = [
        (i, read_moments(name, table.columns[i], unit if i in numeric or not numeric else None))
        for i in positions
    ]
    first, moments = clocks[0]
    for other, others in clocks[1:]:
        _check_agreement(name, table, (first, moments), (other, others))
    return _Clock(moments, table.names[first])


def _check_agreement(name: str, table: Table, one: tuple[int, Moments], two: tuple[int, Moments]) -> None:
    rows = np.flatnonzero(one[1].ms != two[1].ms)
    named = f"{table.names[one[0]]!r} and {table.names[two[0]]!r}"
    if two[1].problems and not one[1].problems:
        reason = two[1].problems[0].reason(int(two[1].problems[0].rows[0]))
        raise invalid(name, f"columns {named} could both be the time, but {reason}", f"keep one of {named}")
    if len(rows) and not one[1].problems:
        row = int(rows[0])
        times = f"{iso_minute(int(one[1].ms[row]))} and {iso_minute(int(two[1].ms[row]))}"
        raise invalid(
            name,
            f"columns {named} disagree in {len(rows)} rows, first in row {table.first_row + row}: {times}",
            f"keep one of {named}",
        )


def _date_and_time(table: Table, positions: tuple[int, ...]) -> pl.Series | None:
    """Text columns ``date`` and ``time`` of which only the second has a time of day, put together."""
    by_name = {table.names[i].strip("<> ").lower(): table.columns[i] for i in positions}
    if set(by_name) != {"date", "time"}:
        return None
    day, time = by_name["date"], by_name["time"]
    if day.dtype != pl.String or time.dtype != pl.String:
        return None
    if day.str.contains(":").any() or not time.str.contains(r"^\s*\d{1,2}:\d{2}").all():
        return None
    return day.str.strip_chars() + " " + time.str.strip_chars()


def _is_numeric(column: pl.Series) -> bool:
    if column.dtype != pl.String:
        return column.dtype.is_numeric()
    sample = column.drop_nulls().head(1).str.strip_chars().cast(pl.Float64, strict=False)
    return bool(len(sample)) and sample.null_count() == 0


def _numbers(column: pl.Series) -> NDArray[np.float64]:
    """The column as float64; NaN where there is nothing or nothing numeric."""
    text = column.str.strip_chars() if column.dtype == pl.String else column
    if not (text.dtype.is_numeric() or text.dtype == pl.String):
        return np.full(len(text), np.nan)
    return text.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()


def _in_the_words_of_the_file(
    problem: Problem, candles: NDArray[np.float64], table: Table, columns: Columns
) -> Problem:
    """A value that is no number is shown as it was written, if it looks like one."""
    if problem.kind != "not_a_number":
        return problem

    def reason(row: int) -> str:
        role = next(r for r, position in _ROLES.items() if not np.isfinite(candles[row, position]))
        written = table.columns[columns.prices[role]][row]
        return f"{role} is missing" if written is None else f"{role} is {shown(written)}, not a number"

    return replace(problem, reason=reason)


def _check_spacing(name: str, ms: NDArray[np.int64]) -> None:
    """Refuse longer bars: the usual distance between rows must be one minute, gaps are the exception."""
    distances, counts = np.unique(np.diff(ms), return_counts=True)
    if not len(distances) or (distances[0] == MINUTE_MS and counts[0] == counts.max()):
        return
    minutes = int(distances[np.argmax(counts)]) // MINUTE_MS
    raise invalid(
        name,
        f"bars are {_duration(minutes)} apart, not 1m",
        "import one-minute candles; longer timeframes are built from them",
        {"problems": {"wrong_spacing": int(counts.max())}, "spacing_minutes": minutes},
    )


def _duration(minutes: int) -> str:
    for length, unit in ((1_440, "D"), (60, "h")):
        if minutes % length == 0:
            return f"{minutes // length}{unit}"
    return f"{minutes}m"


def _detected(source: Source, table: Table, columns: Columns, clock: _Clock) -> dict[str, str]:
    found = {
        "format": table.format + (f", {source.packing}" if source.packing else ""),
        "timestamp": f"{clock.columns} ({clock.moments.unit})",
    }
    renamed = [f"{role}={table.names[i]}" for role, i in columns.prices.items() if table.names[i] != role]
    if renamed:
        found["columns"] = ", ".join(renamed)
    ignored = [name[:40] for i, name in enumerate(table.names) if i not in columns.used]
    if ignored:
        found["ignored"] = ", ".join(ignored[:20])
    return found
