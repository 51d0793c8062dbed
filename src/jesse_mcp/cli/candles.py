"""``jesse-mcp candles``: import candles, look at what is stored, list what there is, delete."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Annotated, TypeVar

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.prompt import Confirm
from rich.table import Table
from rich.text import Text

from jesse_mcp.cli.candle_fetch import fetch_with_progress, list_symbols, pull_with_progress
from jesse_mcp.composition import open_candle_service
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.gaps import ExplainedGap, Gap
from jesse_mcp.domain.model import Value
from jesse_mcp.services.candle_quality import CandleQuality, PriceMoves, SeriesCheck
from jesse_mcp.services.candles import CandleImportResult
from jesse_mcp.settings import Settings

T = TypeVar("T")
Json = Annotated[bool, Parameter(name="--json", negative="", help="print JSON")]


def register(app: App) -> None:
    candles = App(
        name="candles",
        help="One-minute candles: import, pull, list, check, delete; symbols of an exchange.",
    )
    candles.command(import_file, name="import")
    candles.command(pull)
    candles.command(listing, name="list")
    candles.command(check)
    candles.command(symbols)
    candles.command(delete)
    app.command(candles)


def import_file(
    path: str | None = None,
    *,
    exchange: str,
    symbol: tuple[str, ...],
    start_date: str | None = None,
    end_date: str | None = None,
    timestamp_unit: Annotated[str | None, Parameter(help="s, ms, us or ns, if it cannot be told")] = None,
    json_: Json = False,
) -> None:
    """Import one-minute candles: from the exchange since --start-date, or from PATH.

    Parameters
    ----------
    path
        A CSV, Parquet or Feather file, or a folder of such files. A bad file changes nothing.
    exchange
        As Jesse names it, for example "Binance Perpetual Futures".
    symbol
        For example BTC-USDT; repeatable when importing from the exchange.
    start_date
        First day to fetch from the exchange. Only missing minutes are fetched; stop and go on as you like.
    end_date
        Day after the last one; default: up to now.
    """
    if path is None:
        _fetch(exchange, symbol, start_date, end_date, json_=json_)
        return
    if start_date or end_date or len(symbol) != 1:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            "a file is imported whole, as one symbol",
            hint="leave out the dates and give --symbol once, or leave out PATH to fetch from the exchange",
        )
    service = open_candle_service(Settings())
    result = _run(f"importing {path}", service.import_file(path, exchange, symbol[0], timestamp_unit))
    if json_:
        _print_json(result)
    else:
        _print_import(result)


def _fetch(
    exchange: str, symbols: tuple[str, ...], start_date: str | None, end_date: str | None, *, json_: bool
) -> None:
    if start_date is None:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            "neither PATH nor --start-date was given",
            hint="give --start-date to fetch from the exchange, or the PATH of a file",
        )
    result = asyncio.run(
        fetch_with_progress(Settings(prewarm=False), exchange, symbols, start_date, end_date)
    )
    if json_:
        _print_json(result)
        return
    table = Table(
        "symbol", "stored", "of", "missing", title=f"{result.exchange}, {result.start} to {result.end}"
    )
    for one in result.series:
        table.add_row(
            one.symbol, f"{one.present:,}", f"{one.expected:,}", _by_kind(one.missing_by_kind, ", ")
        )
    Console().print(table)
    if result.note is not None:
        Console().print(f"note: {result.note}", markup=False)


def pull(exchange: str, symbol: str, *, json_: Json = False) -> None:
    """Copy a series of the Jesse at JESSE_URL into the store of this machine, for runs on this machine.

    What the store has besides stays. Use it with JESSE_MCP_ENGINE=embedded.

    Parameters
    ----------
    exchange
        As Jesse names it, for example "Binance Perpetual Futures".
    symbol
        For example BTC-USDT.
    """
    result = asyncio.run(pull_with_progress(Settings(prewarm=False, engine="embedded"), exchange, symbol))
    if json_:
        _print_json(result)
        return
    Console(highlight=False, soft_wrap=True).print(
        f"{result.symbol} on {result.exchange} copied from {result.source}: {result.added:,} candles added, "
        f"{result.replaced:,} replaced, {result.unchanged:,} unchanged; stored are {result.rows:,} from "
        f"{result.first} to {result.last}",
        markup=False,
    )


def symbols(exchange: str, *, search: str = "", json_: Json = False) -> None:
    """Symbols an exchange lists now, one per line: what can be imported from it.

    Parameters
    ----------
    exchange
        As Jesse names it, for example "Binance Perpetual Futures".
    search
        Only symbols with this text in them.
    """
    asking = list_symbols(Settings(prewarm=False), exchange, search)
    found = _run(f"asking {exchange}", asking)
    if json_:
        _print_json(found)
        return
    for symbol in found.symbols:
        Console(soft_wrap=True).print(symbol, highlight=False, markup=False)
    if not found.symbols:
        raise ResearchError(
            ErrorCode.SYMBOL_UNKNOWN,
            f"{found.exchange} lists no symbol with {search!r} in it",
            hint="search for less, such as the base currency alone",
        )


def listing(
    *,
    exchange: str | None = None,
    symbol: str | None = None,
    start_date: str | None = None,
    end_date: str | None = None,
    json_: Json = False,
) -> None:
    """Stored series.

    Parameters
    ----------
    start_date
        With --end-date (exclusive): also the coverage of this range, days in UTC.
    """
    service = open_candle_service(Settings())
    found = _run("looking", service.available(exchange, symbol, start_date, end_date))
    if json_:
        _print_json(found)
        return
    table = Table(title=f"{len(found.series)} series")
    for column in ("exchange", "symbol", "first", "last"):
        table.add_column(column, overflow="fold")
    for column in ("candles", "missing", "gaps", "missing by kind", "in range"):
        table.add_column(column, justify="right", overflow="fold")
    for one in found.series:
        inside = "" if one.coverage is None else f"{one.coverage.present:,} of {one.coverage.expected:,}"
        kinds = _by_kind(one.missing_by_kind or {}, "\n")
        counts = ("" if count is None else f"{count:,}" for count in (one.rows, one.missing, one.gap_count))
        numbers = (*counts, kinds, inside)
        table.add_row(one.exchange, one.symbol, one.first, one.last, *numbers)
    Console().print(table)


def check(
    *,
    exchange: str,
    symbol: str,
    start_date: str | None = None,
    end_date: str | None = None,
    json_: Json = False,
) -> int:
    """Read a series whole, report its gaps and suspicious candles; exit status 1 when minutes are missing.

    Parameters
    ----------
    start_date
        First day to look at; default: the first candle.
    end_date
        Day after the last; default: the last candle.
    """
    service = open_candle_service(Settings())
    result = _run("checking", service.check(exchange, symbol, start_date, end_date))
    if json_:
        _print_json(result)
    else:
        _print_check(result)
    return 0 if result.coverage.gap_count == 0 else 1


def delete(
    *,
    exchange: str,
    symbol: str,
    start_date: str | None = None,
    end_date: str | None = None,
    yes: Annotated[bool, Parameter(negative="", help="do not ask")] = False,
    json_: Json = False,
) -> None:
    """Delete a series, or the days of it in a range. There is no undo.

    Parameters
    ----------
    start_date
        First day to delete; default: from the first candle.
    end_date
        Day after the last; default: to the last candle.
    """
    service = open_candle_service(Settings())
    if not yes:
        _confirm(exchange, symbol, start_date, end_date)
    result = _run("deleting", service.delete(exchange, symbol, start_date, end_date))
    if json_:
        _print_json(result)
        return
    Console(highlight=False).print(
        f"{result.deleted:,} candles of {result.symbol} on {result.exchange} deleted, "
        f"{result.remaining:,} remain"
    )


def _confirm(exchange: str, symbol: str, start_date: str | None, end_date: str | None) -> None:
    console = Console(stderr=True)
    if not console.is_terminal:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            "there is nobody to ask whether to delete candles",
            hint="add --yes",
        )
    days = f"from {start_date or 'the first candle'} to {end_date or 'the last candle'}"
    question = Text(f"Delete {symbol} on {exchange} {days}?")
    if not Confirm.ask(question, console=console, default=False):
        raise SystemExit(1)


def _run(doing: str, work: Coroutine[object, object, T]) -> T:
    """Run ``work`` with a spinner on standard error, so that standard output can be piped."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(doing, total=None)
        return asyncio.run(work)


def _print_json(value: Value) -> None:
    text = json.dumps(value.model_dump(mode="json"), indent=2)
    Console(soft_wrap=True).print(text, highlight=False, markup=False)


def _print_import(result: CandleImportResult) -> None:
    table = Table("", "", show_header=False, title=f"{result.symbol} on {result.exchange}")
    table.add_row("candles in the file", f"{result.rows_in_file:,}")
    table.add_row("from, to (UTC)", f"{result.first}, {result.last}")
    table.add_row("added", f"{result.added:,}")
    table.add_row("replaced", f"{result.replaced:,}")
    table.add_row("unchanged", f"{result.unchanged:,}")
    table.add_row("missing minutes", f"{result.missing:,} in {result.gap_count:,} gaps")
    for name, value in result.detected.items():
        table.add_row(name, Text(value))  # names of columns may look like markup
    console = Console()
    console.print(table)
    _print_gaps(console, result.longest_gaps)
    for note in result.notes:
        console.print(f"note: {note}", markup=False)


def _print_check(result: SeriesCheck) -> None:
    console = Console(highlight=False)
    coverage = result.coverage
    console.print(
        f"{result.symbol} on {result.exchange}, {result.start} to {result.end}: "
        f"{coverage.present:,} of {coverage.expected:,} minutes, {coverage.gap_count:,} gaps; "
        "the stored candles match their hash"
    )
    if coverage.missing_by_kind:
        console.print(f"missing: {_by_kind(coverage.missing_by_kind, ', ')}")
    _print_gaps(console, coverage.gaps)
    _print_quality(console, result.quality)


def _by_kind(minutes: dict[str, int], separator: str) -> str:
    return separator.join(f"{kind.replace('_', ' ')} {count:,}" for kind, count in minutes.items())


def _print_quality(console: Console, quality: CandleQuality) -> None:
    """Only what there is; the store takes no invalid, repeated or unordered rows, so these are not shown."""
    frozen, empty = quality.frozen, quality.zero_volume
    table = Table("suspicious", title=f"{quality.rows:,} candles looked at")
    table.add_column("count", justify="right")
    table.add_column("first")
    if frozen.count:
        seen = ", ".join(f"{run.start} ({run.minutes:,} min)" for run in frozen.first)
        table.add_row(f"frozen prices ({frozen.traded:,} with volume)", f"{frozen.count:,}", seen)
    if empty.count:
        longest = f"at most {empty.longest:,} min in a row, from {empty.longest_start}"
        table.add_row(f"no volume ({empty.share:.2%})", f"{empty.count:,}", longest)
    for name, moves in (
        ("outliers", quality.outliers),
        ("spikes that revert", quality.spikes),
        ("long wicks", quality.wicks),
        ("jumps across gaps", quality.jumps),
    ):
        if moves.count:
            table.add_row(name, f"{moves.count:,}", _seen(moves))
    console.print(table if table.rows else "nothing suspicious about the candles")


def _seen(moves: PriceMoves) -> str:
    return ", ".join(f"{move.at} ({move.percent:+.2f}%)" for move in moves.first)


def _print_gaps(console: Console, gaps: tuple[ExplainedGap, ...] | tuple[Gap, ...]) -> None:
    if not gaps:
        return
    table = Table("first missing", "last missing", title="longest gaps")
    table.add_column("minutes", justify="right")
    if isinstance(gaps[0], ExplainedGap):
        table.add_column("why")
    for gap in gaps:
        why = (gap.kind.replace("_", " "),) if isinstance(gap, ExplainedGap) else ()
        table.add_row(gap.start, gap.end, f"{gap.minutes:,}", *why)
    console.print(table)
