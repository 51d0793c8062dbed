"""Timestamps of any notation as epoch milliseconds; what is ambiguous is refused, not guessed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jesse_mcp.adapters.candles.tables import invalid, shown
from jesse_mcp.adapters.candles.validation import END_OF_TIME_MS, Problem
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.timeframes import MINUTE_MS

#: Units in one millisecond, and in words. Seconds are a thousandth, hence the float.
UNITS = {"s": 0.001, "ms": 1.0, "us": 1_000.0, "ns": 1_000_000.0}
UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
#: A number is read as the unit that puts it between these years; the ranges of two units never meet.
_EARLIEST_MS = datetime(1990, 1, 1, tzinfo=UTC).timestamp() * 1000
_LATEST_MS = datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000
_UNIT_HINT = f"give timestamp_unit: {', '.join(f'{unit} ({name})' for unit, name in UNIT_NAMES.items())}"

_NAIVE = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
_ZONED = ("%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M%#z")
_ZONE = r"(Z|[+-]\d{2}(:?\d{2})?)$"
_NUMBER = r"^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$"


@dataclass(frozen=True)
class Moments:
    """``ms``: epoch ms of every row, undefined in the rows of ``problems``; ``unit``: how it was written."""

    ms: NDArray[np.int64]
    unit: str
    problems: list[Problem]


def check_unit(unit: str | None) -> None:
    """Raises: ResearchError: ``invalid_argument`` for a unit there is none of."""
    if unit is not None and unit not in UNITS:
        raise ResearchError(ErrorCode.INVALID_ARGUMENT, f"timestamp_unit is {unit!r}", hint=_UNIT_HINT)


def read_moments(name: str, column: pl.Series, unit: str | None) -> Moments:
    """Epoch milliseconds of a timestamp column: numbers, text or a date type. Without a zone it is UTC.

    Args:
        name: of the file, for errors.
        column: as it is in the file.
        unit: of numeric timestamps; detected from their size when ``None``.

    Raises:
        ResearchError: ``candles_invalid`` when the unit cannot be told, ``invalid_argument`` when one was
            given for timestamps that are not numbers.
    """
    if column.dtype == pl.String:
        column = column.str.strip_chars()
        samples = column.drop_nulls().head(1)
        if len(samples) and not samples.str.contains(_NUMBER)[0]:
            _refuse_unit(name, column, unit)
            return _from_dates(column, _read_text(column))
        whole = column.cast(pl.Int64, strict=False)
        numbers = (
            whole if whole.null_count() == column.null_count() else column.cast(pl.Float64, strict=False)
        )
        return _from_numbers(name, column, numbers, unit)
    if isinstance(column.dtype, pl.Datetime | pl.Date):
        _refuse_unit(name, column, unit)
        return _from_dates(column, column)
    if not column.dtype.is_numeric():
        raise invalid(
            name,
            f"the timestamp column {column.name!r} is of type {column.dtype}",
            "store timestamps as numbers, as text or as a date type",
        )
    kind = pl.Int64 if column.dtype.is_integer() else pl.Float64
    return _from_numbers(name, column, column.cast(kind, strict=False), unit)


def _refuse_unit(name: str, column: pl.Series, unit: str | None) -> None:
    if unit is not None:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"timestamp_unit is {unit!r}, but the timestamps of {name} are dates, not numbers",
            hint="leave timestamp_unit out",
            details={"dtype": str(column.dtype)},
        )


def _read_text(column: pl.Series) -> pl.Series:
    """Dates that begin with the year; rows in another notation than the first become null."""
    text = (
        column.str.replace(r"^(\d{4})[./](\d{2})[./](\d{2})", "${1}-${2}-${3}")
        .str.replace(r"^(\d{4}-\d{2}-\d{2})T", "${1} ")
        .str.replace(r" ?(UTC|GMT)$", "Z")
        .str.replace(r" ([+-]\d{2}:?\d{2})$", "${1}")
    )
    zoned = text.str.slice(10).str.contains(_ZONE)
    first = bool(zoned.drop_nulls().head(1).to_list()[0])
    text = text.set((zoned != first).fill_null(False), None)
    result: pl.Series | None = None
    for notation in _ZONED if first else _NAIVE:
        parsed = text.str.to_datetime(
            notation, strict=False, time_unit="us", time_zone="UTC" if first else None
        )
        result = parsed if result is None else result.zip_with(result.is_not_null(), parsed)
        if result.null_count() == text.null_count():
            break
    assert result is not None  # noqa: S101  # there is at least one notation
    return result


def _from_dates(column: pl.Series, dates: pl.Series) -> Moments:
    dtype = dates.dtype
    if isinstance(dtype, pl.Datetime):
        zone, unit = dtype.time_zone, dtype.time_unit
    else:
        dates, zone, unit = dates.cast(pl.Datetime("ms")), None, "ms"
    moments = _scaled(column, dates.to_physical(), unit, _any_time)
    return Moments(
        moments.ms, "dates without zone, read as UTC" if zone is None else "dates with zone", moments.problems
    )


def _from_numbers(name: str, column: pl.Series, numbers: pl.Series, unit: str | None) -> Moments:
    if unit is not None:
        return _scaled(column, numbers, unit, _any_time)
    values = numbers.cast(pl.Float64).drop_nulls().to_numpy()
    votes = {known: rows for known in UNITS if (rows := int(_plausible(values / UNITS[known]).sum()))}
    if not votes:
        extremes = f"{values.min():.17g} to {values.max():.17g}" if len(values) else "missing"
        raise invalid(name, f"timestamps are {extremes}: no unit puts them between 1990 and 2100", _UNIT_HINT)
    if len(votes) > 1:
        counted = ", ".join(f"{rows} rows in {UNIT_NAMES[known]}" for known, rows in votes.items())
        raise invalid(
            name,
            f"timestamps are in more than one unit: {counted}",
            "split the file where the unit changes; both parts can be imported from one folder",
        )
    return _scaled(column, numbers, next(iter(votes)), _plausible)


def _plausible(ms: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (ms >= _EARLIEST_MS) & (ms < _LATEST_MS)


def _any_time(ms: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (ms >= 0) & (ms < END_OF_TIME_MS)


def _scaled(
    column: pl.Series,
    numbers: pl.Series,
    unit: str,
    allowed: Callable[[NDArray[np.float64]], NDArray[np.bool_]],
) -> Moments:
    """Numbers of ``unit`` as milliseconds. Whole minutes are counted first, so that nothing is rounded."""
    missing = numbers.is_null().to_numpy()
    values = numbers.fill_null(0).to_numpy()
    minute = int(MINUTE_MS * UNITS[unit])
    with np.errstate(invalid="ignore"):
        outside = ~missing & ~allowed(values / UNITS[unit])
        off = ~missing & ~outside & (values % minute != 0)
        ms = np.where(missing | outside, 0, values // minute).astype(np.int64) * MINUTE_MS
    rules: list[tuple[str, NDArray[np.bool_], str]] = [
        ("timestamp_unreadable", missing, "timestamp {} cannot be read"),
        ("timestamp_out_of_range", outside, f"timestamp {{}} in {UNIT_NAMES[unit]} is out of range"),
        ("timestamp_not_a_minute", off, "timestamp {} is not on a minute"),
    ]
    return Moments(
        ms, UNIT_NAMES[unit], [_problem(kind, mask, says, column) for kind, mask, says in rules if mask.any()]
    )


def _problem(kind: str, mask: NDArray[np.bool_], says: str, column: pl.Series) -> Problem:
    return Problem(kind, np.flatnonzero(mask), lambda row: says.format(shown(column[row])))
