"""Returns by month, quarter, year and weekday.

A period belongs to the calendar unit (UTC) that its middle lies in: then the balances of a day may be taken a
minute after midnight as well as a minute before.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.measures import Floats, log_growth

CalendarUnit = Literal["month", "quarter", "year"]
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class CalendarReturn:
    """``compounded`` over the ``periods`` in it; ``None`` beyond the range of a float."""

    label: str
    compounded: float | None
    periods: int


@dataclass(frozen=True)
class WeekdayReturns:
    """Of the periods on one weekday: the mean return and the share above zero, ``None`` without any."""

    weekday: str
    periods: int
    mean: float | None
    positive: float | None


@dataclass(frozen=True)
class HourlyTrades:
    """Of the trades opened in one hour of the day, UTC: profits in money, ``None`` without any."""

    hour: int
    trades: int
    profit: float | None
    win_rate: float | None


def middles(timestamps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Middle of each period, epoch milliseconds, shape (n,), from the n + 1 times of the balances."""
    return np.asarray(timestamps[:-1] + np.diff(timestamps) // 2, dtype=np.int64)


def calendar_returns(
    returns: Floats, timestamps: NDArray[np.int64], unit: CalendarUnit
) -> list[CalendarReturn]:
    """Compounded return of each unit that has a period, oldest first.

    Args:
        returns: fractions, shape (n,), finite.
        timestamps: of the balances, epoch milliseconds, ascending, shape (n + 1,).
        unit: of the calendar, UTC.
    """
    if not len(returns):
        return []
    months = middles(timestamps).astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    codes = months // {"month": 1, "quarter": 3, "year": 12}[unit]
    edges = np.flatnonzero(np.diff(codes)) + 1
    parts = np.split(returns, edges)
    firsts = codes[np.concatenate(([0], edges)).astype(np.int64)]
    return [
        CalendarReturn(_label(int(code), unit), _compounded(part), len(part))
        for code, part in zip(firsts, parts, strict=True)
    ]


def weekday_returns(returns: Floats, timestamps: NDArray[np.int64]) -> list[WeekdayReturns]:
    """Seven rows from Monday on. Arguments as in :func:`calendar_returns`."""
    # 1970-01-01 was a Thursday.
    days = (middles(timestamps) // _DAY_MS + 3) % 7 if len(returns) else np.empty(0, dtype=np.int64)
    found = []
    for number, name in enumerate(WEEKDAYS):
        part = returns[days == number]
        some = len(part) > 0
        found.append(
            WeekdayReturns(
                weekday=name,
                periods=len(part),
                mean=float(part.mean()) if some else None,
                positive=float(np.mean(part > 0)) if some else None,
            )
        )
    return found


def hourly_trades(profits: Floats, opened_at: NDArray[np.int64]) -> list[HourlyTrades]:
    """24 rows: trades by the hour (UTC) they were opened in.

    Args:
        profits: in money after fees, shape (n,), finite.
        opened_at: epoch milliseconds, shape (n,).
    """
    hours = opened_at % _DAY_MS // _HOUR_MS
    found = []
    for hour in range(24):
        part = profits[hours == hour]
        some = len(part) > 0
        found.append(
            HourlyTrades(
                hour=hour,
                trades=len(part),
                profit=float(part.sum()) if some else None,
                win_rate=float(np.mean(part > 0)) if some else None,
            )
        )
    return found


def _compounded(returns: Floats) -> float | None:
    growth = log_growth(returns)
    return None if growth > 700 else float(np.expm1(growth))


def _label(code: int, unit: CalendarUnit) -> str:
    if unit == "year":
        return str(1970 + code)
    if unit == "quarter":
        return f"{1970 + code // 4}-Q{code % 4 + 1}"
    return f"{1970 + code // 12}-{code % 12 + 1:02d}"
