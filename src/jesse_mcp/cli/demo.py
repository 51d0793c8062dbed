"""``jesse-mcp demo``: a real backtest through the MCP server, in a folder that is thrown away."""

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape

from jesse_mcp.adapters.embedded import provision
from jesse_mcp.analytics.synthetic import synthetic_candles, synthetic_source
from jesse_mcp.cli.engine import installation_progress
from jesse_mcp.cli.results import metrics_table, progress_bar
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.timeframes import DAY_MS, MINUTE_MS, iso_date, parse_minute, timeframe_minutes
from jesse_mcp.settings import Settings

if TYPE_CHECKING:
    from fastmcp import Client

_SEED = 7
_SYNTHETIC_START_MS = 1_735_689_600_000
_SYNTHETIC_DAYS = 200
_WARM_UP_CANDLES = 240
_OF_OTHERS = ("JESSE_MCP_DATABASE_URL", "JESSE_MCP_JOBS_WEBHOOK", "OTEL_")
_QUOTES = "USDT|USDC|FDUSD|BUSD|USD|EUR|BTC|ETH"


def register(app: App) -> None:
    app.command(demo)


def demo(
    *,
    candles: Path | None = None,
    strategy: str = "TrendFollowing",
    exchange: str = "Binance Perpetual Futures",
    symbol: str | None = None,
    timeframe: str = "1h",
    exchange_type: Literal["spot", "futures"] | None = None,
    timestamp_unit: Annotated[str | None, Parameter(help="s, ms, us or ns, if it cannot be told")] = None,
) -> None:
    """Install the engine if needed, start the MCP server, and backtest a bundled strategy through it.

    Parameters
    ----------
    candles
        One-minute candles as CSV, Parquet or Feather. Without it, synthetic candles are made, and the
        result says nothing about any market.
    symbol
        What the candles are of; default: told by the file name.
    """
    settings = Settings()
    # Before anything is installed: what is wrong with the command itself.
    of = _symbol(candles, symbol, timestamp_unit)
    with installation_progress() as progress:
        provision.install(settings.cache, settings.jesse_python, progress)
    with tempfile.TemporaryDirectory(prefix="jesse-mcp-demo-") as folder:
        path = _synthetic_file(Path(folder)) if candles is None else candles.resolve()
        show = _Demo(strategy, exchange, of, timeframe, exchange_type)
        asyncio.run(show.play(Path(folder), path, timestamp_unit, synthetic=candles is None))


def server_environment(folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Of a server that leaves nothing behind: with a home in ``folder``, and in nobody's running Jesse or
    records, and that tells nobody of it."""
    own = {name: value for name, value in variables.items() if not name.startswith(_OF_OTHERS)}
    return {
        **own,
        "JESSE_MCP_HOME": str(folder / "home"),
        "JESSE_MCP_ENGINE": "embedded",
        "JESSE_MCP_LOG_LEVEL": "ERROR",
    }


class _Demo:
    def __init__(
        self, strategy: str, exchange: str, symbol: str, timeframe: str, exchange_type: str | None
    ) -> None:
        self._console = Console(highlight=False)
        self._series = {"exchange": exchange, "symbol": symbol}
        self._route = {"strategy": strategy, "symbol": symbol, "timeframe": timeframe}
        self._exchange_type = exchange_type
        self._timeframe = timeframe

    async def play(self, folder: Path, candles: Path, timestamp_unit: str | None, *, synthetic: bool) -> None:
        from fastmcp import Client
        from fastmcp.client.transports import StdioTransport

        transport = StdioTransport(
            sys.executable,
            ["-P", "-m", "jesse_mcp", "serve"],
            env=server_environment(folder, os.environ),
            keep_alive=False,
        )
        async with Client(transport) as client:
            tools = await client.list_tools()
            self._console.print(f"connected to the MCP server: {len(tools)} tools")
            answer = await self._call(
                client, "candles_import", path=str(candles), timestamp_unit=timestamp_unit, **self._series
            )
            imported = answer["file"]
            self._console.print(f"  {imported['added']:,} candles, {imported['first']} to {imported['last']}")
            start, end = self._period(imported)
            run = await self._backtest(client, start, end)
            self._console.print(metrics_table(run))
        for warning in run["warnings"]:
            self._console.print(f"warning: {warning}", style="yellow", markup=False)
        if synthetic:
            self._console.print(
                f"These candles are made up ({synthetic_source(_SEED)}): the result is a true backtest "
                "of them and says nothing about any market. Use --candles FILE for real ones.",
                style="bold yellow",
            )

    async def _call(self, client: "Client[Any]", tool: str, **arguments: Any) -> dict[str, Any]:
        given = {name: value for name, value in arguments.items() if value is not None}
        shown = ", ".join(f"{name}={value!r}" for name, value in given.items())
        self._console.print(f"[bold]{tool}[/]({escape(shown)})")
        return await self._call_quietly(client, tool, **given)

    async def _backtest(self, client: "Client[Any]", start: str, end: str) -> dict[str, Any]:
        answer = await self._call(
            client,
            "backtest",
            **self._route,
            exchange=self._series["exchange"],
            exchange_type=self._exchange_type,
            start_date=start,
            end_date=end,
            warm_up_candles=_WARM_UP_CANDLES,
            benchmark=True,
        )
        with progress_bar() as bar:
            task = bar.add_task("simulating", total=1.0)
            while answer["run"] is None:
                job = await self._call_quietly(client, "job_get", job_id=answer["job_id"], wait_seconds=5)
                bar.update(task, completed=job["progress"] or 0.0)
                if job["error"]:
                    raise ResearchError.from_dict(job["error"])
                if job["run_id"]:
                    return await self._call_quietly(client, "run_get", run_id=job["run_id"])
        run: dict[str, Any] = answer["run"]
        return run

    async def _call_quietly(self, client: "Client[Any]", tool: str, **arguments: Any) -> dict[str, Any]:
        result = await client.call_tool(tool, arguments, raise_on_error=False)
        content = result.structured_content or {}
        if result.is_error:
            raise ResearchError.from_dict(content["error"])
        return content

    def _period(self, imported: dict[str, Any]) -> tuple[str, str]:
        """From the first day after warm-up to the last full day."""
        warm_up = _WARM_UP_CANDLES * timeframe_minutes(self._timeframe) * MINUTE_MS
        start = -(-(parse_minute(imported["first"]) + warm_up) // DAY_MS) * DAY_MS
        end = (parse_minute(imported["last"]) + MINUTE_MS) // DAY_MS * DAY_MS
        if end <= start:
            raise ResearchError(
                ErrorCode.CANDLES_MISSING,
                f"the file holds {imported['first']} to {imported['last']}: {_WARM_UP_CANDLES} warm-up "
                f"candles of {self._timeframe} leave no full day to trade",
                hint="use a longer file or a shorter --timeframe",
            )
        return iso_date(start), iso_date(end)


def _synthetic_file(folder: Path) -> Path:
    import polars as pl

    rows = synthetic_candles(_SYNTHETIC_START_MS, _SYNTHETIC_DAYS * 1440, _SEED)
    path = folder / "synthetic.parquet"
    columns = ["timestamp", "open", "close", "high", "low", "volume"]
    frame = pl.DataFrame(rows, schema=columns).with_columns(pl.col("timestamp").cast(pl.Int64))
    frame.write_parquet(path)
    return path


def _symbol(candles: Path | None, symbol: str | None, timestamp_unit: str | None) -> str:
    if candles is not None:
        return symbol or _symbol_of(candles)
    for option, value in {"--symbol": symbol, "--timestamp-unit": timestamp_unit}.items():
        if value is not None:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"{option} was given without candles it could be about",
                hint="add --candles FILE, or leave it out",
            )
    return "SYNTH-USDT"


def _symbol_of(path: Path) -> str:
    match = re.match(rf"([A-Z0-9]{{2,12}}?)[-_/]?({_QUOTES})(?![A-Z0-9])", path.name.upper())
    if match is None:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"{path.name} does not tell which symbol it holds",
            hint="add --symbol, for example --symbol BTC-USDT",
        )
    return f"{match[1]}-{match[2]}"
