"""The bytes of a file as named columns, whatever its format."""

import csv
import re
from dataclasses import dataclass

import polars as pl

from jesse_mcp.adapters.candles.columnar import ColumnarDecoder
from jesse_mcp.adapters.candles.sources import Source
from jesse_mcp.domain.errors import ErrorCode, ResearchError

PLAIN = ("timestamp", "open", "high", "low", "close", "volume")
BINANCE = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
)
_LAYOUTS = {6: ("timestamp, open, high, low, close, volume", PLAIN), 12: ("Binance klines", BINANCE)}
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_DATE = re.compile(r"\s*\d{4}[-/.]\d{2}[-/.]\d{2}([T ].*)?")
_PREAMBLE = re.compile(r"\s*(https?://|www\.|#)|\s*$", re.IGNORECASE)
_MAX_PREAMBLE = 20
_NUMBER_OR_TIME = re.compile(r"[\d\s:./,+eTZ-]{1,40}|[+-]?(nan|inf|infinity)", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """Columns of equal height under the names the file gives them (not necessarily unique).

    ``first_row`` is the number by which the user knows the first row: the line of a text file, else 1.
    ``headed`` is false when the names come from a known layout and not from the file.
    """

    names: tuple[str, ...]
    columns: tuple[pl.Series, ...]
    first_row: int
    format: str
    headed: bool = True


def invalid(name: str, message: str, hint: str, details: dict[str, object] | None = None) -> ResearchError:
    """``candles_invalid`` about a whole file."""
    return ResearchError(ErrorCode.CANDLES_INVALID, f"{name}: {message}", hint=hint, details=details)


def shown(value: object) -> str:
    """A value for an error: numbers and times, but no text, which may be from another file than was meant."""
    if value is None:
        return "(missing)"
    if not _NUMBER_OR_TIME.fullmatch(str(value)):
        return "(text)"
    return repr(value) if isinstance(value, str) else str(value)


def read_table(source: Source, decoder: ColumnarDecoder) -> Table:
    """The table in a Parquet, Arrow IPC (Feather 2) or delimited text file, told apart by content.

    Raises:
        ResearchError: ``candles_invalid`` when the content is damaged or of no known format.
    """
    table = _table(source, decoder)
    if not table.columns or not len(table.columns[0]):
        raise _no_rows(source.name)
    return table


def _no_rows(name: str) -> ResearchError:
    return invalid(name, "there are no rows in the table", "export the candles again")


def _table(source: Source, decoder: ColumnarDecoder) -> Table:
    content = source.content
    if content.startswith(b"PAR1"):
        return _columnar(source, "Parquet", decoder)
    if content.startswith(b"ARROW1"):
        return _columnar(source, "Arrow", decoder)
    if not content.strip():
        raise invalid(source.name, "the file is empty", "export the candles again")
    if content.startswith((b"FEA1", b"PK", b"\x1f\x8b")) or b"\0" in content[:8192]:
        raise invalid(
            source.name,
            "this is not CSV, Parquet or Arrow",
            "convert it to UTF-8 CSV with the columns timestamp, open, high, low, close, volume",
        )
    return _delimited(source)


def _columnar(source: Source, kind: str, decoder: ColumnarDecoder) -> Table:
    frame = decoder.decode(source.name, kind, source.content)
    return Table(tuple(frame.columns), tuple(frame.get_columns()), 1, kind)


def _damaged(name: str) -> ResearchError:
    return invalid(name, "the CSV file cannot be read: it is damaged", "export or download it again")


def _delimited(source: Source) -> Table:
    content = source.content.removeprefix(b"\xef\xbb\xbf").rstrip()
    head = _head(source.name, content)
    skipped = next((i for i, line in enumerate(head) if not _PREAMBLE.match(line)), len(head))
    if skipped == len(head):
        raise invalid(source.name, "there is no table in the file", "export the candles again")
    separator, fields = _split(source.name, head[skipped], skipped + 1)
    headed = not (_NUMBER.fullmatch(fields[0]) or _DATE.fullmatch(fields[0]))
    first = skipped + headed
    frame = _parse(source.name, content, separator, first, len(fields))
    if headed:
        names, layout = tuple(field.strip() for field in fields), "header"
    else:
        layout, names = _layout(source.name, len(fields))
    return Table(
        names,
        tuple(frame.get_columns()),
        first + 1,
        f"CSV, {_SEPARATORS[separator]} separated, columns from {layout}",
        headed,
    )


def _head(name: str, content: bytes) -> list[str]:
    try:
        # Cut at a line end, so that no character is split.
        start = b"\n".join(content[:65_536].split(b"\n")[: _MAX_PREAMBLE + 2])
        return start.decode("utf-8", errors="strict" if len(content) <= 65_536 else "ignore").splitlines()
    except UnicodeDecodeError as error:
        raise invalid(name, f"the text is not UTF-8 ({error.reason})", "save it as UTF-8 CSV") from error


def _split(name: str, line: str, number: int) -> tuple[str, list[str]]:
    """The separator of a line and its fields: the one that makes six columns or more."""
    split = {separator: next(csv.reader([line], delimiter=separator), []) for separator in _SEPARATORS}
    candidates = {separator: fields for separator, fields in split.items() if len(fields) >= len(PLAIN)}
    if len(candidates) != 1:
        counted = ", ".join(f"{len(split[separator])} by {word}" for separator, word in _SEPARATORS.items())
        raise invalid(
            name,
            f"line {number} does not split into six columns or more in one way: {counted}",
            "separate timestamp, open, high, low, close, volume by commas, semicolons or tabs",
        )
    return candidates.popitem()


def _layout(name: str, width: int) -> tuple[str, tuple[str, ...]]:
    if width not in _LAYOUTS:
        raise invalid(
            name,
            f"there is no header, and {width} columns are not a known layout",
            "add a first line that names the columns, such as timestamp,open,high,low,close,volume",
        )
    layout, names = _LAYOUTS[width]
    return f"layout ({layout})", names


def _parse(name: str, content: bytes, separator: str, skip: int, width: int) -> pl.DataFrame:
    """All fields as text: numbers are read later, where a bad one can be named."""
    try:
        return pl.read_csv(
            content,
            has_header=False,
            separator=separator,
            skip_rows=skip,
            schema={f"c{i}": pl.String for i in range(width)},
            missing_columns="insert",
        )
    except pl.exceptions.NoDataError as error:
        raise _no_rows(name) from error
    except pl.exceptions.PolarsError as error:
        raise _malformed(name, content, separator, width) or _damaged(name) from error
    except pl.exceptions.PanicException:
        raise _damaged(name) from None


def _malformed(name: str, content: bytes, separator: str, width: int) -> ResearchError | None:
    """Which line has too many fields or is not text."""
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            fields = next(csv.reader([line.decode()], delimiter=separator), [])
        except (UnicodeDecodeError, csv.Error) as error:
            return invalid(name, f"row {number}: {error}", "save it as UTF-8 CSV", _row(number, str(error)))
        if len(fields) > width:
            reason = f"{len(fields)} fields where {width} were expected"
            return invalid(name, f"row {number}: {reason}", "correct that line", _row(number, reason))
    return None


def _row(number: int, reason: str) -> dict[str, object]:
    return {"problems": {"malformed_line": 1}, "rows": [{"row": number, "reason": reason}]}
