"""``candles_import``, ``candles_available``, ``candles_delete``."""

from typing import Annotated, Literal

from fastmcp import Context, FastMCP
from pydantic import Field

from jesse_mcp.composition import Application
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.server.progress import notifier
from jesse_mcp.server.registration import add_tool
from jesse_mcp.services.candle_import import ExchangeImport, ListedSymbols
from jesse_mcp.services.candle_pull import CandlesPulled
from jesse_mcp.services.candles import CandleImportResult, CandlesDeleted, StoredSeries

TimestampUnit = Literal["s", "ms", "us", "ns"]


class CandlesImported(Value):
    file: CandleImportResult | None = None
    fetched: ExchangeImport | None = None
    pulled: CandlesPulled | None = None


class CandlesAvailableOrListed(Value):
    series: tuple[StoredSeries, ...]
    listed: ListedSymbols | None = None


def _refuse(beside: str, **given: object) -> None:
    """No argument is accepted and ignored."""
    for name, value in given.items():
        if value is not None:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"{name} was given beside {beside}, where it means nothing",
                hint=f"leave out {name}",
            )


def _missing(name: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, f"{name} was not given", hint=hint)


def _needed(name: str, value: str | None, hint: str) -> str:
    if value is None:
        raise _missing(name, hint)
    return value


def register(server: FastMCP, application: Application) -> None:
    async def candles_import(
        context: Context,
        exchange: Annotated[str, Field(description="as Jesse names it, e.g. 'Binance Perpetual Futures'")],
        symbol: Annotated[str | None, Field(description="e.g. BTC-USDT")] = None,
        symbols: Annotated[list[str] | None, Field(description="instead of symbol, up to 100")] = None,
        start_date: Annotated[str | None, Field(description="from the exchange: first day, UTC")] = None,
        end_date: Annotated[str | None, Field(description="exclusive; default: now")] = None,
        path: Annotated[
            str | None, Field(description="from a CSV, Parquet or Feather file, or a folder of them")
        ] = None,
        timestamp_unit: Annotated[
            TimestampUnit | None, Field(description="of a file, if the error says it cannot be told")
        ] = None,
        source: Annotated[
            Literal["dashboard"] | None,
            Field(description="copy all of symbol from the Jesse at JESSE_URL, to run on this machine"),
        ] = None,
        wait_seconds: Annotated[float, Field(ge=0, le=600, description="then follow it with job_get")] = 45,
    ) -> CandlesImported:
        """Import one-minute candles into the store: from the exchange (start_date), or from a file (path).

        From the exchange only missing minutes are fetched, so a stopped import goes on when called again.
        Files are on the server's machine; a bad one changes nothing and the error names its bad rows.
        """
        if source is not None:
            others = {"path": path, "timestamp_unit": timestamp_unit, "symbols": symbols}
            _refuse("source", start_date=start_date, end_date=end_date, **others)
            pulled = await application.candle_pulls.pull(
                exchange,
                _needed("symbol", symbol, "name the one symbol to copy"),
                wait_seconds=wait_seconds,
                on_progress=notifier(context),
            )
            return CandlesImported(pulled=pulled)
        if path is not None:
            _refuse("path", start_date=start_date, end_date=end_date, symbols=symbols)
            symbol = _needed("symbol", symbol, "a file holds one symbol: name it")
            imported = await application.candles.import_file(path, exchange, symbol, timestamp_unit)
            return CandlesImported(file=imported)
        _refuse("an import from the exchange", timestamp_unit=timestamp_unit)
        start_date = _needed(
            "start_date", start_date, "give it to fetch from the exchange, or path for a file"
        )
        if (symbol is None) is (symbols is None):
            raise _missing("either symbol or symbols", "give one of them")
        fetched = await application.candle_imports.import_from_exchange(
            exchange,
            (symbol,) if symbol is not None else tuple(symbols or ()),
            start_date,
            end_date,
            wait_seconds=wait_seconds,
            on_progress=notifier(context),
        )
        return CandlesImported(fetched=fetched)

    async def candles_available(
        exchange: Annotated[str | None, Field(description="only this exchange")] = None,
        symbol: Annotated[str | None, Field(description="only this symbol")] = None,
        start_date: Annotated[str | None, Field(description="with end_date: coverage of this range")] = None,
        end_date: Annotated[str | None, Field(description="exclusive")] = None,
        listed: Annotated[
            str | None, Field(description="instead: symbols the exchange lists with this text in them")
        ] = None,
    ) -> CandlesAvailableOrListed:
        """Stored candle series: range, rows, missing minutes; with a range, each gap in it.

        With listed, what could be imported: the symbols on the exchange now, '' for all.
        """
        if listed is None:
            found = await application.candles.available(exchange, symbol, start_date, end_date)
            return CandlesAvailableOrListed(series=found.series)
        _refuse("listed", symbol=symbol, start_date=start_date, end_date=end_date)
        if exchange is None:
            raise _missing("exchange", "name the exchange whose symbols to list")
        symbols = await application.candle_imports.listed(exchange, listed)
        return CandlesAvailableOrListed(series=(), listed=symbols)

    async def candles_delete(
        exchange: Annotated[str, Field(description="as candles_available names it")],
        symbol: Annotated[str, Field(description="e.g. BTC-USDT")],
        start_date: Annotated[str | None, Field(description="default: from the first candle")] = None,
        end_date: Annotated[str | None, Field(description="exclusive; default: to the last candle")] = None,
    ) -> CandlesDeleted:
        """Delete stored candles of one series: a range of days, or all of it. There is no undo."""
        return await application.candles.delete(exchange, symbol, start_date, end_date)

    add_tool(server, candles_import, title="Import candles", idempotent=True, open_world=True)
    add_tool(server, candles_available, title="Available candles", read_only=True, open_world=True)
    add_tool(server, candles_delete, title="Delete candles", destructive=True)
