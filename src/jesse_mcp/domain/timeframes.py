"""Timeframes as Jesse names them, and UTC dates as epoch milliseconds."""

from datetime import UTC, date, datetime, timedelta

from jesse_mcp.domain.errors import ErrorCode, ResearchError

MINUTE_MS = 60_000
DAY_MS = 86_400_000

#: Minutes in each timeframe Jesse 3.5 accepts for a route (``jesse.constants.TIMEFRAME_TO_ONE_MINUTES``).
TIMEFRAME_MINUTES: dict[str, int] = {
    "1m": 1,
    "3m": 3,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "45m": 45,
    "1h": 60,
    "2h": 120,
    "3h": 180,
    "4h": 240,
    "6h": 360,
    "8h": 480,
    "12h": 720,
    "1D": 1_440,
    "3D": 4_320,
    "1W": 10_080,
    "1M": 43_200,
}


def timeframe_minutes(timeframe: str) -> int:
    """Minutes in ``timeframe``.

    Raises:
        ResearchError: ``invalid_argument`` when Jesse has no such timeframe.
    """
    try:
        return TIMEFRAME_MINUTES[timeframe]
    except KeyError:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"unknown timeframe {timeframe!r}",
            hint=f"use one of {', '.join(TIMEFRAME_MINUTES)} (m is minute, M is month)",
        ) from None


def parse_date(text: str, argument: str) -> int:
    """Midnight UTC of an ISO date (``YYYY-MM-DD``), in epoch milliseconds.

    Raises:
        ResearchError: ``invalid_argument`` naming ``argument`` when it is not a calendar date since 1970.
    """
    try:
        day = date.fromisoformat(text)
        if len(text) != 10 or day.year < 1970:
            raise ValueError(text)
    except ValueError:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"{argument} is {text!r}, not a calendar date since 1970",
            hint=f"give {argument} as YYYY-MM-DD (UTC)",
        ) from None
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def iso_minute(timestamp_ms: int) -> str:
    """``timestamp_ms`` as ``YYYY-MM-DDTHH:MMZ``."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=timestamp_ms)
    return moment.strftime("%Y-%m-%dT%H:%MZ")


def iso_date(timestamp_ms: int) -> str:
    """The UTC calendar day of ``timestamp_ms`` as ``YYYY-MM-DD``."""
    return iso_minute(timestamp_ms)[:10]


def parse_minute(text: str) -> int:
    """Inverse of :func:`iso_minute`: epoch milliseconds."""
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC).timestamp() * 1000)
