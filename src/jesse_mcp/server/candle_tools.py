"""``candles_import``, ``candles_available``, ``candles_delete``."""

from typing import Annotated, Literal

from fastmcp import FastMCP
from pydantic import Field

from jesse_mcp.composition import Application
from jesse_mcp.server.registration import add_tool
from jesse_mcp.services.candles import CandleImportResult, CandlesAvailable, CandlesDeleted

TimestampUnit = Literal["s", "ms", "us", "ns"]


def register(server: FastMCP, application: Application) -> None:
    async def candles_import(
        path: Annotated[
            str, Field(description="CSV, Parquet or Feather file of 1m candles, or a folder of them")
        ],
        exchange: Annotated[str, Field(description="as Jesse names it, e.g. 'Binance Perpetual Futures'")],
        symbol: Annotated[str, Field(description="e.g. BTC-USDT")],
        timestamp_unit: Annotated[
            TimestampUnit | None, Field(description="only if the error says it cannot be told")
        ] = None,
    ) -> CandleImportResult:
        """Import one-minute candles from a file on the server's machine into the candle store.

        Columns and timestamp unit are detected, every row is checked; a bad file changes nothing and the
        error names its first bad rows. Importing again merges.
        """
        return await application.candles.import_file(path, exchange, symbol, timestamp_unit)

    async def candles_available(
        exchange: Annotated[str | None, Field(description="only this exchange")] = None,
        symbol: Annotated[str | None, Field(description="only this symbol")] = None,
        start_date: Annotated[str | None, Field(description="with end_date: coverage of this range")] = None,
        end_date: Annotated[str | None, Field(description="exclusive")] = None,
    ) -> CandlesAvailable:
        """Stored candle series: range, rows, missing minutes; with a range, each gap in it."""
        return await application.candles.available(exchange, symbol, start_date, end_date)

    async def candles_delete(
        exchange: str,
        symbol: str,
        start_date: Annotated[str | None, Field(description="default: from the first candle")] = None,
        end_date: Annotated[str | None, Field(description="exclusive; default: to the last candle")] = None,
    ) -> CandlesDeleted:
        """Delete stored candles of one series: a range of days, or all of it. There is no undo."""
        return await application.candles.delete(exchange, symbol, start_date, end_date)

    add_tool(server, candles_import, title="Import candles", idempotent=True)
    add_tool(server, candles_available, title="Available candles", read_only=True)
    add_tool(server, candles_delete, title="Delete candles", destructive=True)
