"""Candle files as vendors write them, and every way they can be wrong."""

import gzip
import io
import os
import random
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jesse_mcp.adapters.candles import columnar
from jesse_mcp.adapters.candles.columnar import ColumnarDecoder
from jesse_mcp.adapters.candles.file_reader import CandleFiles
from jesse_mcp.adapters.candles.file_table import candles_of
from jesse_mcp.adapters.candles.sources import Room, load
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import CandleArray, ParsedCandles
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.ports.candle_store import CandleFileReader

START = 1_672_531_200_000
ROWS = synthetic_candles(START, 50, 1)
HEADER = "timestamp,open,high,low,close,volume"


def line(row: CandleArray, stamp: object = None, separator: str = ",") -> str:
    """A row as vendors order it."""
    moment, opened, close, high, low, volume = row.tolist()
    stamp = int(moment) if stamp is None else stamp
    return separator.join(str(x) for x in (stamp, opened, high, low, close, volume))


def text(
    rows: CandleArray = ROWS,
    header: str | None = HEADER,
    stamp: Callable[[int], object] = int,
    separator: str = ",",
) -> str:
    lines = [] if header is None else [header.replace(",", separator)]
    return "\n".join(lines + [line(row, stamp(int(row[0])), separator) for row in rows]) + "\n"


def frame(rows: CandleArray = ROWS) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "timestamp": rows[:, 0].astype(np.int64),
            "open": rows[:, 1],
            "high": rows[:, 3],
            "low": rows[:, 4],
            "close": rows[:, 2],
            "volume": rows[:, 5],
        }
    )


class Folder:
    """Writes files and reads them back with the reader under test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reader = CandleFiles()

    def read(self, content: str | bytes, name: str = "btc.csv", unit: str | None = None) -> ParsedCandles:
        file = self.path / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return self.reader.read(file, unit)

    def accepts(self, content: str | bytes, name: str = "btc.csv", unit: str | None = None) -> ParsedCandles:
        parsed = self.read(content, name, unit)
        np.testing.assert_array_equal(parsed.candles, ROWS)
        assert parsed.candles.flags.c_contiguous
        return parsed

    def refuses(
        self, content: str | bytes, says: str, name: str = "btc.csv", unit: str | None = None
    ) -> ResearchError:
        with refused(ErrorCode.CANDLES_INVALID, says) as caught:
            self.read(content, name, unit)
        return caught[0]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@contextmanager
def refused(code: ErrorCode, says: str) -> Iterator[list[ResearchError]]:
    caught: list[ResearchError] = []
    with pytest.raises(ResearchError) as info:
        yield caught
    caught.append(info.value)
    assert info.value.code is code
    assert says in info.value.message
    assert info.value.hint


def test_it_is_a_candle_file_reader(folder: Folder) -> None:
    port: CandleFileReader = folder.reader
    assert port is folder.reader


# --- formats ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("separator", "called"), [(",", "comma"), (";", "semicolon"), ("\t", "tab")])
def test_separators(folder: Folder, separator: str, called: str) -> None:
    parsed = folder.accepts(text(separator=separator))
    assert parsed.detected == {
        "format": f"CSV, {called} separated, columns from header",
        "timestamp": "timestamp (milliseconds)",
    }
    assert parsed.notes == ()


def test_without_a_header(folder: Folder) -> None:
    parsed = folder.accepts(text(header=None))
    assert "layout (timestamp, open, high, low, close, volume)" in parsed.detected["format"]


@pytest.mark.parametrize(
    "change", [str.encode, lambda t: b"\xef\xbb\xbf" + t.encode(), lambda t: t.replace("\n", "\r\n")]
)
def test_text_conventions(folder: Folder, change: Callable[[str], bytes]) -> None:
    folder.accepts(change(text()))
    folder.accepts(change(text() + "\n\n"))
    folder.accepts(change(text().rstrip("\n")))
    folder.accepts(change(text().replace(",", " , ")))
    folder.accepts(change(text().replace("open", '"open"')))


def binance(rows: CandleArray, factor: int, header: bool = False) -> str:
    names = (
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
        "taker_buy_quote_volume,ignore\n"
    )
    lines = [
        f"{line(row, int(row[0]) * factor)},{int(row[0] + 59_999) * factor},1.5,3,0.5,0.7,0\n" for row in rows
    ]
    return (names if header else "") + "".join(lines)


def zipped(content: str | bytes, *names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ("BTCUSDT-1m-2025-01.csv",):
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(("factor", "unit"), [(1, "milliseconds"), (1_000, "microseconds")])
@pytest.mark.parametrize("header", [False, True])
def test_binance_archives(folder: Folder, factor: int, unit: str, header: bool) -> None:
    parsed = folder.accepts(zipped(binance(ROWS, factor, header)), "BTCUSDT-1m-2025-01.zip")
    assert parsed.detected["timestamp"] == f"open_time ({unit})"
    assert parsed.detected["format"].endswith(", zip")
    assert "close_time" in parsed.detected["ignored"]


def test_what_macos_adds_to_archives_is_no_candle_file(folder: Folder) -> None:
    folder.accepts(zipped(text(), "btc.csv", "__MACOSX/._btc.csv", ".DS_Store", "folder/"))


def test_gzip(folder: Folder) -> None:
    assert folder.accepts(gzip.compress(text().encode())).detected["format"].endswith(", gzip")


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.txt"])
def test_parquet_is_known_by_its_content(folder: Folder, name: str) -> None:
    buffer = io.BytesIO()
    frame().write_parquet(buffer)
    assert folder.accepts(buffer.getvalue(), name).detected["format"] == "Parquet"


@pytest.mark.parametrize(
    ("column", "described"),
    [
        (pl.col("timestamp"), "milliseconds"),
        (pl.col("timestamp").cast(pl.Float64), "milliseconds"),
        (pl.col("timestamp") // 1_000, "seconds"),
        ((pl.col("timestamp") // 1_000).cast(pl.UInt32), "seconds"),
        (pl.col("timestamp") * 1_000_000, "nanoseconds"),
        (pl.col("timestamp").cast(pl.Datetime("ms")), "dates without zone, read as UTC"),
        (
            pl.from_epoch("timestamp", time_unit="ms").cast(pl.Datetime("ns")).dt.replace_time_zone("UTC"),
            "dates with zone",
        ),
        (
            pl.from_epoch("timestamp", time_unit="ms")
            .dt.replace_time_zone("UTC")
            .dt.convert_time_zone("Asia/Tokyo"),
            "dates with zone",
        ),
        (pl.from_epoch("timestamp", time_unit="ms").dt.strftime("%Y-%m-%dT%H:%M:%SZ"), "dates with zone"),
    ],
)
def test_feather_with_any_type_of_timestamp(folder: Folder, column: pl.Expr, described: str) -> None:
    buffer = io.BytesIO()
    frame().with_columns(timestamp=column).write_ipc(buffer)
    parsed = folder.accepts(buffer.getvalue(), "btc.feather")
    assert parsed.detected == {"format": "Arrow", "timestamp": f"timestamp ({described})"}


def test_numeric_columns_of_other_types(folder: Folder) -> None:
    buffer = io.BytesIO()
    frame().with_columns(
        pl.col("open").cast(pl.String), pl.col("high").cast(pl.Decimal(18, 6))
    ).write_parquet(buffer)
    folder.accepts(buffer.getvalue(), "btc.parquet")


def test_a_time_index_without_a_name(folder: Folder) -> None:
    moments = pl.from_epoch("timestamp", time_unit="ms").alias("__index_level_0__")
    buffer = io.BytesIO()
    frame().select("open", "high", "low", "close", "volume", moments).write_parquet(buffer)
    assert "__index_level_0__" in folder.accepts(buffer.getvalue(), "a.parquet").detected["timestamp"]
    folder.accepts(text(header=",open,high,low,close,volume", stamp=iso("%Y-%m-%d %H:%M:%S")))


# --- columns ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "Open time,Open,High,Low,Close,Volume",
        "UNIX,o,h,l,c,v",
        "<DATETIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>",
        "Unix Timestamp,open_price,high_price,low_price,close_price,base_volume",
        "t,Open,High,Low,Close,Volume (BTC)",
    ],
)
def test_names_of_columns(folder: Folder, header: str) -> None:
    parsed = folder.accepts(text(header=header))
    assert f"open={header.split(',')[1]}" in parsed.detected["columns"]


def test_columns_in_the_order_of_jesse(folder: Folder) -> None:
    lines = [f"{int(r[0])},{r[1]},{r[2]},{r[3]},{r[4]},{r[5]}" for r in ROWS.tolist()]
    folder.accepts("timestamp,open,close,high,low,volume\n" + "\n".join(lines))


def test_another_order_without_a_header_is_refused_with_a_way_out(folder: Folder) -> None:
    content = "\n".join(f"{int(r[0])},{r[1]},{r[2]},{r[3]},{r[4]},{r[5]}" for r in ROWS.tolist())
    error = folder.refuses(content, "the first is row 1: ")
    assert error.hint is not None
    assert "add a first line that names them" in error.hint


def crypto_data_download(rows: CandleArray, columns: str = "Volume BTC,Volume USDT") -> str:
    lines = [
        "https://www.CryptoDataDownload.com",
        f"unix,date,symbol,open,high,low,close,{columns},tradecount",
    ]
    for row in rows[::-1]:
        moment, opened, close, high, low, volume = row.tolist()
        date = iso("%Y-%m-%d %H:%M:%S")(int(moment))
        volumes = [volume, volume * close]
        if columns.startswith("Volume USDT"):
            volumes.reverse()
        lines.append(
            f"{int(moment)},{date},BTC/USDT,{opened},{high},{low},{close},{volumes[0]},{volumes[1]},17"
        )
    return "\n".join(lines)


@pytest.mark.parametrize("columns", ["Volume BTC,Volume USDT", "Volume USDT,Volume BTC"])
def test_crypto_data_download(folder: Folder, columns: str) -> None:
    parsed = folder.accepts(crypto_data_download(ROWS, columns))
    assert parsed.notes == ("rows were newest first and have been reversed",)
    assert parsed.detected["timestamp"] == "unix (milliseconds)"
    assert "volume=Volume BTC" in parsed.detected["columns"]


def test_date_and_time_in_two_columns(folder: Folder) -> None:
    content = text(header="<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>", stamp=iso("%Y.%m.%d,%H:%M:%S"))
    assert folder.accepts(content).detected["timestamp"].startswith("<DATE> and <TIME>")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (
            "timestamp,open,high,low,close,weight",
            "no column for volume; of 6 columns are known: timestamp (column 1), open (column 2), ",
        ),
        ("when,first,high,low,close,volume", "no column for timestamp, open; of 6 columns are known: high"),
        ("timestamp,open,high,low,close,o", "'open', 'o' could each be the open"),
        ("timestamp,open,high,low,volume,volume", "'volume', 'volume' could each be the volume"),
    ],
)
def test_columns_that_cannot_be_told(folder: Folder, header: str, says: str) -> None:
    error = folder.refuses(text(header=header), says)
    assert error.hint == "name the columns timestamp, open, high, low, close, volume, each once"


def test_two_volumes_without_a_symbol_are_ambiguous(folder: Folder) -> None:
    header = "timestamp,open,high,low,close,Volume BTC,Volume USDT"
    folder.refuses(text(header=header), "'Volume BTC', 'Volume USDT' could each be the volume")


def test_an_unknown_layout_needs_a_header(folder: Folder) -> None:
    content = "\n".join(line(row) + ",1" for row in ROWS)
    error = folder.refuses(content, "there is no header, and 7 columns are not a known layout")
    assert (
        error.hint == "add a first line that names the columns, such as timestamp,open,high,low,close,volume"
    )


@pytest.mark.parametrize(
    "content",
    [
        "SECRET;SECRET\n",
        "SECRET " * 40,
        "SECRET,SECRET,SECRET,SECRET,SECRET,SECRET,SECRET\nSECRET,1,2,3,4,5,6\n",
        "open,high,low,close,volume,date,time\n1,1,1,1,1,SECRET,SECRET\n",
        "timestamp,open,high,low,close,volume\nSECRET,1,1,1,1,1\n",
        "timestamp,open,high,low,close,volume\n60000,SECRET,1,1,1,1\n",
        "2023-01-01,SECRET,SECRET,SECRET,SECRET,SECRET\n",
        "2023-01-01,1,1,1,1,1\n2023-01-01,1,1,1,1,1,SECRET\n",
        'timestamp,open,high,low,close,volume\n"SECRET\n',
        "timestamp,open,high,low,close,volume,SECRET\n1,2,3,4,5,6,SECRET\n",
    ],
)
def test_no_error_quotes_text_of_the_file(folder: Folder, content: str) -> None:
    with pytest.raises(ResearchError) as caught:
        folder.read(content)
    assert "SECRET" not in str(caught.value.to_dict())


def test_a_line_without_enough_columns(folder: Folder) -> None:
    folder.refuses(
        "timestamp,price\n1,2\n",
        "line 1 does not split into six columns or more in one way: 2 by comma, 1 by semi",
    )


# --- timestamps ------------------------------------------------------------------------------------------


def iso(notation: str) -> Callable[[int], str]:
    def write(ms: int) -> str:
        return str(pl.select(pl.from_epoch(pl.lit(ms), time_unit="ms").dt.strftime(notation)).item())

    return write


@pytest.mark.parametrize(
    ("notation", "described"),
    [
        ("%Y-%m-%d %H:%M:%S", "dates without zone, read as UTC"),
        ("%Y-%m-%d %H:%M", "dates without zone, read as UTC"),
        ("%Y/%m/%d %H:%M:%S", "dates without zone, read as UTC"),
        ("%Y-%m-%dT%H:%M:%S", "dates without zone, read as UTC"),
        ("%Y-%m-%d %H:%M:%S.000", "dates without zone, read as UTC"),
        ("%Y-%m-%dT%H:%M:%S.000Z", "dates with zone"),
        ("%Y-%m-%dT%H:%MZ", "dates with zone"),
        ("%Y-%m-%d %H:%M:%S UTC", "dates with zone"),
        ("%Y-%m-%d %H:%M:%S+00:00", "dates with zone"),
        ("%Y-%m-%d %H:%M:%S +0000", "dates with zone"),
    ],
)
def test_dates_as_text(folder: Folder, notation: str, described: str) -> None:
    parsed = folder.accepts(text(stamp=iso(notation)))
    assert parsed.detected["timestamp"] == f"timestamp ({described})"


def test_an_offset_is_applied(folder: Folder) -> None:
    parsed = folder.read(text(stamp=iso("%Y-%m-%d %H:%M:%S+05:30")))
    np.testing.assert_array_equal(parsed.candles[:, 0], ROWS[:, 0] - 19_800_000)


@pytest.mark.parametrize(
    ("stamp", "described"),
    [
        (lambda ms: ms // 1_000, "seconds"),
        (lambda ms: f"{ms / 1_000:.1f}", "seconds"),
        (lambda ms: f"{ms}.0", "milliseconds"),
        (lambda ms: f"{ms / 1e12!r}e12", "milliseconds"),
        (lambda ms: ms * 1_000, "microseconds"),
        (lambda ms: ms * 1_000_000, "nanoseconds"),
        (lambda ms: f"{ms}000000.0", "nanoseconds"),
    ],
)
@pytest.mark.parametrize("forced", [False, True])
def test_units(folder: Folder, stamp: Callable[[int], object], described: str, forced: bool) -> None:
    unit = {"seconds": "s", "milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}[described]
    parsed = folder.accepts(text(stamp=stamp), unit=unit if forced else None)
    assert parsed.detected["timestamp"] == f"timestamp ({described})"


@given(minute=st.integers(10_519_200, 68_374_000), unit=st.sampled_from(["s", "ms", "us", "ns"]))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_minute_from_1990_to_2099_has_one_unit(folder: Folder, minute: int, unit: str) -> None:
    factor = {"s": 60, "ms": 60_000, "us": 60_000_000, "ns": 60_000_000_000}[unit]
    rows = [f"{(minute + i) * factor},2,2,2,2,1" for i in range(2)]
    parsed = folder.read("\n".join(rows))
    np.testing.assert_array_equal(parsed.candles[:, 0], [minute * 60_000, (minute + 1) * 60_000])


def test_a_time_before_1990_needs_its_unit(folder: Folder) -> None:
    rows = "\n".join(f"{60 * i},2,2,2,2,1" for i in range(3))
    error = folder.refuses(rows, "timestamps are 0 to 120: no unit puts them between 1990 and 2100")
    assert error.hint is not None
    assert error.hint.startswith("give timestamp_unit: s (seconds), ms")
    assert folder.read(rows, unit="s").candles[:, 0].tolist() == [0, 60_000, 120_000]


def test_a_change_of_unit_inside_a_file(folder: Folder) -> None:
    content = text(stamp=lambda ms: ms if ms < START + 600_000 else ms * 1_000)
    folder.refuses(
        content, "timestamps are in more than one unit: 10 rows in milliseconds, 40 rows in microseconds"
    )


def test_the_wrong_unit(folder: Folder) -> None:
    error = folder.refuses(text(), "row 2: timestamp '1672531200000' in seconds is out of range", unit="s")
    assert error.details["problems"] == {"timestamp_out_of_range": 50}


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_a_unit_for_dates_is_refused(folder: Folder, unit: str) -> None:
    with refused(ErrorCode.INVALID_ARGUMENT, "the timestamps of btc.csv are dates, not numbers"):
        folder.read(text(stamp=iso("%Y-%m-%d %H:%M:%S")), unit=unit)


def test_a_unit_there_is_none_of(folder: Folder) -> None:
    with refused(ErrorCode.INVALID_ARGUMENT, "timestamp_unit is 'minutes'"):
        folder.read(text(), unit="minutes")


def test_day_first_dates_are_ambiguous(folder: Folder) -> None:
    folder.refuses(text(stamp=iso("%d/%m/%Y %H:%M")), "timestamp '01/01/2023 00:00' cannot be read")


def test_zones_here_and_there(folder: Folder) -> None:
    content = text(stamp=lambda ms: iso("%Y-%m-%d %H:%M:%S" + ("Z" if ms > START else ""))(ms))
    folder.refuses(content, "row 3: timestamp '2023-01-01 00:01:00Z' cannot be read")


def test_two_time_columns_that_disagree(folder: Folder) -> None:
    content = crypto_data_download(ROWS).replace("2023-01-01 00:07:00", "2023-01-01 00:08:00")
    folder.refuses(
        content,
        "columns 'unix' and 'date' disagree in 1 rows, first in row 45: "
        "2023-01-01T00:07Z and 2023-01-01T00:08Z",
    )


def test_two_time_columns_of_which_one_is_unreadable(folder: Folder) -> None:
    content = crypto_data_download(ROWS).replace("2023-01-01 00:07:00", "7 past midnight")
    folder.refuses(content, "columns 'unix' and 'date' could both be the time, but timestamp (text) cannot")


# --- bad rows --------------------------------------------------------------------------------------------


def altered(changes: dict[int, str]) -> str:
    """The file with these lines (counted from 1, header included) replaced."""
    lines = text().splitlines()
    for number, content in changes.items():
        lines[number - 1] = content
    return "\n".join(lines)


T3 = START + 3 * 60_000


@pytest.mark.parametrize(
    ("row", "kind", "reason"),
    [
        (f"{T3},100,101,99,abc,1", "not_a_number", "close is (text), not a number"),
        (f"{T3},,101,99,100,1", "not_a_number", "open is missing"),
        (f"{T3},nan,101,99,100,1", "not_a_number", "open is 'nan', not a number"),
        (f"{T3},100,101,99,100,inf", "not_a_number", "volume is 'inf', not a number"),
        (f"{T3},100,101,99,100", "not_a_number", "volume is missing"),
        (f'{T3},"1,000.5",1001,99,100,1', "not_a_number", "open is '1,000.5', not a number"),
        ("", "timestamp_unreadable", "timestamp (missing) cannot be read"),
        (",100,101,99,100,1", "timestamp_unreadable", "timestamp (missing) cannot be read"),
        ("soon,100,101,99,100,1", "timestamp_unreadable", "timestamp (text) cannot be read"),
        ("17,100,101,99,100,1", "timestamp_out_of_range", "timestamp '17' in milliseconds is out of range"),
        (f"{T3 + 1},100,101,99,100,1", "timestamp_not_a_minute", f"timestamp '{T3 + 1}' is not on a minute"),
        (f"{T3},-1,101,-2,100,1", "price_not_positive", "a price is not above zero (open -1.0"),
        (f"{T3},100,101,0,100,1", "price_not_positive", "low 0.0)"),
        (f"{T3},100,99,98,98.5,1", "high_not_highest", "high 99.0 is below the open 100.0 or the close 98.5"),
        (f"{T3},100,101,100.5,100.7,1", "low_not_lowest", "low 100.5 is above the open 100.0"),
        (f"{T3},100,101,99,100,-3", "negative_volume", "volume -3.0 is negative"),
        (f"{T3 - 60_000},100,101,99,100,1", "duplicate_timestamp", "2023-01-01T00:02Z is there twice"),
        (
            f"{T3 - 600_000},100,101,99,100,1",
            "out_of_order",
            "2022-12-31T23:53Z comes after 2023-01-01T00:02Z",
        ),
    ],
)
def test_a_bad_row_is_named(folder: Folder, row: str, kind: str, reason: str) -> None:
    error = folder.refuses(altered({5: row}), "btc.csv: 1 bad row, the first is row 5: ")
    problems = error.details["problems"]
    assert isinstance(problems, dict)
    assert problems[kind] == 1
    named = error.details["rows"]
    assert isinstance(named, list)
    assert named[0]["row"] == 5
    assert reason in named[0]["reason"]
    assert reason in error.message


def test_many_problems_are_counted_and_five_rows_named(folder: Folder) -> None:
    bad = {n: f"{START + (n - 2) * 60_000},100,101,99,100,{'x' if n % 2 else -1}" for n in range(10, 30)}
    error = folder.refuses(altered(bad), "20 bad rows, the first is row 10: volume -1.0 is negative")
    assert error.details["problems"] == {"not_a_number": 10, "negative_volume": 10}
    rows = error.details["rows"]
    assert isinstance(rows, list)
    assert [row["row"] for row in rows] == [10, 11, 12, 13, 14]


def test_identical_duplicates_are_refused_too(folder: Folder) -> None:
    lines = text().splitlines()
    error = folder.refuses(
        "\n".join([*lines[:4], lines[3], *lines[4:]]), "row 5: 2023-01-01T00:02Z is there twice"
    )
    assert error.details["problems"] == {"duplicate_timestamp": 1}


def test_a_newest_first_file_with_one_row_astray_is_not_reversed(folder: Folder) -> None:
    rows = ROWS[::-1].copy()
    rows[[10, 11]] = rows[[11, 10]]
    error = folder.refuses(text(rows), "2023-01-01T00:48Z comes after 2023-01-01T00:49Z")
    assert error.details["problems"] == {"out_of_order": 49}


def test_row_numbers_count_from_one_in_binary_files(folder: Folder) -> None:
    buffer = io.BytesIO()
    volume = pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise(pl.col("volume"))
    frame().with_columns(volume=volume).write_parquet(buffer)
    folder.refuses(buffer.getvalue(), "row 4: volume is missing", "a.parquet")


def test_row_numbers_count_the_lines_above_the_header(folder: Folder) -> None:
    content = crypto_data_download(ROWS).splitlines()
    content[4] = content[4].replace("BTC/USDT,", "BTC/USDT,-")
    folder.refuses("\n".join(content), "the first is row 5: a price is not above zero")


@pytest.mark.parametrize(
    ("minutes", "called"), [(60, "1h"), (5, "5m"), (1_440, "1D"), (90, "90m"), (240, "4h"), (2_880, "2D")]
)
def test_longer_bars(folder: Folder, minutes: int, called: str) -> None:
    rows = ROWS.copy()
    rows[:, 0] = START + np.arange(len(rows)) * minutes * 60_000.0
    error = folder.refuses(text(rows), f"btc.csv: bars are {called} apart, not 1m")
    assert error.details["spacing_minutes"] == minutes
    folder.refuses(text(rows[::-1]), f"bars are {called} apart")


def test_daily_dates_are_longer_bars(folder: Folder) -> None:
    rows = ROWS.copy()
    rows[:, 0] = START + np.arange(len(rows)) * 86_400_000.0
    folder.refuses(text(rows, stamp=iso("%Y-%m-%d")), "bars are 1D apart, not 1m")


def test_gaps_are_no_spacing(folder: Folder) -> None:
    kept = np.delete(ROWS, [3, 4, 10, 20, 21, 22], axis=0)
    np.testing.assert_array_equal(folder.read(text(kept)).candles, kept)


def test_one_row(folder: Folder) -> None:
    assert len(folder.read(text(ROWS[:1])).candles) == 1


# --- files that are no tables ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "btc.csv: the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"https://vendor.example\n", "there is no table in the file"),
        (HEADER.encode(), "there are no rows in the table"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "this is not CSV, Parquet or Arrow"),
        (b"FEA1 and so on", "this is not CSV, Parquet or Arrow"),
        (text().encode("utf-16"), "this is not CSV, Parquet or Arrow"),
        ("größe,a,b,c,d,e\n".encode("latin-1"), "the text is not UTF-8"),
        (text().replace("100.", "1\xa000.").encode("latin-1"), "not UTF-8"),
        (b"PAR1", "the Parquet file cannot be read"),
        (b"ARROW1\0\0", "the Arrow file cannot be read"),
        (gzip.compress(text().encode())[:-20], "btc.csv cannot be unpacked"),
        (zipped(text())[:200], "btc.csv cannot be unpacked"),
        (gzip.compress(gzip.compress(b"1,2,3")), "this is not CSV, Parquet or Arrow"),
    ],
    ids=range(14),
)
def test_files_that_hold_no_table(folder: Folder, content: bytes, says: str) -> None:
    folder.refuses(content, says)


def test_a_line_with_too_many_fields(folder: Folder) -> None:
    error = folder.refuses(altered({9: "1,2,3,4,5,6,7"}), "row 9: 7 fields where 6 were expected")
    assert error.details["rows"] == [{"row": 9, "reason": "7 fields where 6 were expected"}]


def test_an_archive_of_several_files(folder: Folder) -> None:
    with refused(ErrorCode.INVALID_ARGUMENT, "the archive btc.zip holds 2 files, not one"):
        folder.read(zipped(text(), "a.csv", "b.csv"), "btc.zip")


@pytest.fixture(scope="module")
def decoder() -> Iterator[ColumnarDecoder]:
    with ColumnarDecoder(10**9) as shared:
        yield shared


def parquet() -> bytes:
    buffer = io.BytesIO()
    frame().write_parquet(buffer)
    return buffer.getvalue()


def test_a_file_that_kills_the_decoder_is_damaged_and_the_next_one_is_read(
    decoder: ColumnarDecoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deadly = tmp_path / "child.py"
    deadly.write_text("import os, sys\nsys.stdin.buffer.read(100)\nos.abort()\n")
    with monkeypatch.context() as patch, ColumnarDecoder(10**9) as own:
        patch.setattr(columnar, "_CHILD", deadly)
        for content in (parquet(), bytes(10_000_000)):
            with refused(
                ErrorCode.CANDLES_INVALID, "a.parquet: the Parquet file cannot be read: it is damaged"
            ):
                own.decode("a.parquet", "Parquet", content)
        patch.undo()
        assert own.decode("a.parquet", "Parquet", parquet()).equals(frame())


def test_a_file_that_keeps_the_decoder_busy_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    endless = tmp_path / "child.py"
    endless.write_text("import signal\nsignal.pause()\n")
    monkeypatch.setattr(columnar, "_CHILD", endless)
    with (
        ColumnarDecoder(10**9, timeout=0.05) as decoder,
        refused(ErrorCode.CANDLES_INVALID, "stops the decoder"),
    ):
        decoder.decode("a.parquet", "Parquet", parquet())


def test_a_table_larger_than_the_limit() -> None:
    with (
        ColumnarDecoder(1_000) as decoder,
        refused(ErrorCode.CANDLES_INVALID, "it unpacks to more than 1,000 bytes"),
    ):
        decoder.decode("a.parquet", "Parquet", parquet())


@given(data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@pytest.mark.parametrize("kind", ["parquet", "feather", "zip", "gzip", "csv"])
def test_damaged_files_are_refused_or_read_whole(
    folder: Folder, decoder: ColumnarDecoder, kind: str, data: st.DataObject
) -> None:
    """Whatever is damaged: an error that teaches or valid candles, never another exception."""
    buffer = io.BytesIO()
    if kind == "parquet":
        frame().write_parquet(buffer)
    elif kind == "feather":
        frame().write_ipc(buffer)
    plain = text().encode()
    content = bytearray(
        {"zip": zipped(plain), "gzip": gzip.compress(plain), "csv": plain}.get(kind, buffer.getvalue())
    )
    chance = random.Random(data.draw(st.integers(0, 2**32)))  # noqa: S311
    for _ in range(chance.randint(1, 8)):
        content[chance.randrange(len(content))] = chance.randrange(256)
    if chance.random() < 0.3:
        del content[chance.randrange(len(content)) :]
    (folder.path / "x").write_bytes(content)
    try:
        parsed = candles_of(load(folder.path / "x", Room(10**6, 10**6)), None, decoder)
    except ResearchError as error:
        assert error.code in {ErrorCode.CANDLES_INVALID, ErrorCode.INVALID_ARGUMENT}  # noqa: PT017
    else:
        assert np.isfinite(parsed.candles).all()
        assert (np.diff(parsed.candles[:, 0]) > 0).all()


# --- paths -----------------------------------------------------------------------------------------------


def test_a_link_is_followed(folder: Folder) -> None:
    (folder.path / "real.csv").write_text(text())
    link = folder.path / "link.csv"
    link.symlink_to("real.csv")
    np.testing.assert_array_equal(folder.reader.read(link).candles, ROWS)


@pytest.mark.parametrize("path", ["nothing.csv", "a\0b", "loop", "dangling"])
def test_paths_to_nothing(folder: Folder, path: str) -> None:
    (folder.path / "loop").symlink_to("loop")
    (folder.path / "dangling").symlink_to("nowhere")
    with refused(ErrorCode.INVALID_ARGUMENT, "path is "):
        folder.reader.read(folder.path / path)


def test_devices_and_pipes_are_refused_at_once(folder: Folder) -> None:
    os.mkfifo(folder.path / "pipe.csv")
    for path in (folder.path / "pipe.csv", Path("/dev/zero"), Path("/dev/null")):
        with refused(ErrorCode.INVALID_ARGUMENT, "not a regular file"):
            folder.reader.read(path)


@pytest.mark.parametrize("packed", [False, True])
def test_the_size_limit_is_that_of_the_unpacked_file(folder: Folder, packed: bool) -> None:
    reader = CandleFiles(max_bytes=1_000)
    path = folder.path / "btc.csv"
    path.write_bytes(gzip.compress(text().encode()) if packed else text().encode())
    with refused(ErrorCode.INVALID_ARGUMENT, "btc.csv takes this import over the limit of 1,000 bytes"):
        reader.read(path)


def test_a_bomb_is_not_unpacked(folder: Folder) -> None:
    path = folder.path / "btc.zip"
    path.write_bytes(zipped(b"0" * 50_000_000))
    assert path.stat().st_size < 100_000
    with refused(ErrorCode.INVALID_ARGUMENT, "over the limit of 200,000 bytes"):
        CandleFiles(max_bytes=200_000).read(path)


# --- folders ---------------------------------------------------------------------------------------------


def days(folder: Folder, *parts: CandleArray) -> Path:
    path = folder.path / "days"
    path.mkdir()
    for number, rows in enumerate(parts):
        (path / f"{number}.csv").write_text(text(rows))
    return path


def test_a_folder_is_one_series_in_time_order(folder: Folder) -> None:
    path = days(folder, ROWS[30:], ROWS[:10], ROWS[10:30][::-1])
    (path / "README.txt").write_text("about")
    (path / ".hidden.csv").write_text("not looked at")
    (path / "deeper").mkdir()
    parsed = folder.reader.read(path)
    np.testing.assert_array_equal(parsed.candles, ROWS)
    assert parsed.detected["files"] == "3"
    assert parsed.notes == (
        "rows were newest first and have been reversed (1 of 3 files)",
        "other files in the folder were ignored: README.txt",
    )


def test_files_of_a_folder_may_differ_in_unit(folder: Folder) -> None:
    path = days(folder)
    (path / "2024.zip").write_bytes(zipped(binance(ROWS[:20], 1)))
    (path / "2025.zip").write_bytes(zipped(binance(ROWS[20:], 1_000)))
    parsed = folder.reader.read(path)
    np.testing.assert_array_equal(parsed.candles, ROWS)
    assert parsed.detected["timestamp"] == "open_time (milliseconds); open_time (microseconds)"


def test_files_may_overlap_with_equal_values(folder: Folder) -> None:
    parsed = folder.reader.read(days(folder, ROWS[:30], ROWS[28:]))
    np.testing.assert_array_equal(parsed.candles, ROWS)
    assert parsed.notes == ("2 minutes were in more than one file, with the same values",)


def test_files_may_not_contradict_each_other(folder: Folder) -> None:
    other = ROWS[28:].copy()
    other[1, 5] += 1
    with refused(ErrorCode.CANDLES_INVALID, "disagree about 1 minutes, the first is") as caught:
        folder.reader.read(days(folder, ROWS[:30], other))
    assert caught[0].details["rows"] == ["2023-01-01T00:29Z in 0.csv and 1.csv"]


def test_one_bad_file_spoils_the_folder(folder: Folder) -> None:
    path = days(folder, ROWS[:10], ROWS[10:])
    (path / "1.csv").write_text("timestamp,open\n")
    with refused(ErrorCode.CANDLES_INVALID, "1.csv: line 1 does not split"):
        folder.reader.read(path)


def test_a_folder_of_several_types(folder: Folder) -> None:
    path = days(folder, ROWS)
    frame().write_parquet(path / "a.parquet")
    with refused(ErrorCode.INVALID_ARGUMENT, "holds CSV and Parquet files"):
        folder.reader.read(path)


def test_a_folder_without_candle_files(folder: Folder) -> None:
    with refused(ErrorCode.INVALID_ARGUMENT, "holds no candle files"):
        folder.reader.read(days(folder))


def test_the_size_limit_is_that_of_the_folder(folder: Folder) -> None:
    path = days(folder, ROWS[:25], ROWS[25:])
    reader = CandleFiles(max_bytes=(path / "0.csv").stat().st_size + 10)
    with refused(ErrorCode.INVALID_ARGUMENT, "1.csv takes this import over the limit"):
        reader.read(path)


def test_a_file_of_another_kind_is_not_looked_into(tmp_path: Path) -> None:
    secret = tmp_path / "credentials"
    secret.write_text("password: hunter2\n")
    (tmp_path / "link.csv").symlink_to(secret)
    for path in (secret, tmp_path / "link.csv"):
        with pytest.raises(ResearchError) as caught:
            CandleFiles().read(path)
        assert caught.value.code is ErrorCode.INVALID_ARGUMENT
        assert "hunter2" not in str(caught.value.to_dict())


def test_a_link_in_a_folder_is_known_by_what_it_leads_to(folder: Folder, tmp_path: Path) -> None:
    path = days(folder, ROWS[:25])
    (tmp_path / "credentials").write_text("password: hunter2\n")
    (path / "1.csv").symlink_to(tmp_path / "credentials")
    with pytest.raises(ResearchError) as caught:
        CandleFiles().read(path)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.message == "credentials does not look like a candle file"
    (path / "1.csv").unlink()
    (path / "1.csv").symlink_to(path / "0.csv")
    assert len(CandleFiles().read(path).candles) == 25
