"""Candles in a running Jesse for a whole module of tests."""

from jesse_mcp.adapters.dashboard.candle_export import exported
from jesse_mcp.adapters.dashboard.candle_upload import existing_series, upload_candles
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.domain.candles import CandleArray, SeriesKey


def in_jesse(client: DashboardClient, key: SeriesKey, candles: CandleArray) -> CandleArray:
    """The series as Jesse keeps it, uploaded unless it is there.

    A process that takes tests over from another one may begin a module twice, and Jesse outlives both.
    """
    if key not in existing_series(client):
        upload_candles(client, key, candles)
    return exported(client, key)
