"""The candle service over the real store and reader."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jesse_mcp.adapters.candles.file_reader import CandleFiles
from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import CLOSE, HIGH, LOW, OPEN, CandleArray, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.services.candles import CandleService
from jesse_mcp.services.import_folders import ImportFolders

START = 1_672_531_200_000
DAY = 1_440
KEY = SeriesKey(exchange="Binance Spot", symbol="BTC-USDT")
ROWS = synthetic_candles(START, 3 * DAY, 1)


def resolve(name: str) -> str:
    known = {"binance spot": "Binance Spot", "bybit spot": "Bybit Spot"}
    if name.lower() not in known:
        raise ResearchError(ErrorCode.INVALID_ARGUMENT, f"unknown exchange {name!r}", hint="use another")
    return known[name.lower()]


@pytest.fixture
def store(tmp_path: Path) -> ParquetCandleStore:
    return ParquetCandleStore(tmp_path / "candles")


@pytest.fixture
def service(store: ParquetCandleStore, tmp_path: Path) -> CandleService:
    return CandleService(store, CandleFiles(), resolve, ImportFolders(tmp_path / "home"))


def write(path: Path, rows: CandleArray = ROWS) -> str:
    frame = pl.DataFrame(rows, schema=["timestamp", "open", "close", "high", "low", "volume"], orient="row")
    frame.with_columns(pl.col("timestamp").cast(pl.Int64)).write_csv(path)
    return str(path)


async def refused(call: Awaitable[object], code: ErrorCode, says: str) -> ResearchError:
    with pytest.raises(ResearchError) as caught:
        await call
    assert caught.value.code is code
    assert says in caught.value.message
    assert caught.value.hint
    return caught.value


async def test_importing_a_file(service: CandleService, store: ParquetCandleStore, tmp_path: Path) -> None:
    rows = np.delete(ROWS, [100, 101, 2_000], axis=0)
    result = await service.import_file(write(tmp_path / "btc.csv", rows), "binance SPOT", "btc/usdt")
    assert result.model_dump() == {
        "exchange": "Binance Spot",
        "symbol": "BTC-USDT",
        "first": "2023-01-01T00:00Z",
        "last": "2023-01-03T23:59Z",
        "rows_in_file": 4_317,
        "added": 4_317,
        "replaced": 0,
        "unchanged": 0,
        "missing": 3,
        "gap_count": 2,
        "longest_gaps": (
            {"start": "2023-01-01T01:40Z", "end": "2023-01-01T01:41Z", "minutes": 2},
            {"start": "2023-01-02T09:20Z", "end": "2023-01-02T09:20Z", "minutes": 1},
        ),
        "detected": {
            "format": "CSV, comma separated, columns from header",
            "timestamp": "timestamp (milliseconds)",
        },
        "notes": (),
    }
    np.testing.assert_array_equal(store.read(KEY), rows)
    summary = store.summary(KEY)
    assert summary is not None
    assert summary.source == "file btc.csv"


async def test_importing_again_fills_gaps_and_says_so(service: CandleService, tmp_path: Path) -> None:
    changed = ROWS.copy()
    changed[7, 5] += 1
    await service.import_file(write(tmp_path / "a.csv", changed[:1_000]), "Binance Spot", "BTC-USDT")
    result = await service.import_file(write(tmp_path / "b.csv"), "Binance Spot", "BTC-USDT")
    assert (result.added, result.replaced, result.unchanged) == (3 * DAY - 1_000, 1, 999)


async def test_a_bad_file_changes_nothing(
    service: CandleService, store: ParquetCandleStore, tmp_path: Path
) -> None:
    await service.import_file(write(tmp_path / "a.csv", ROWS[:10]), "Binance Spot", "BTC-USDT")
    before = store.summary(KEY)
    rows = ROWS.copy()
    rows[4_000, 3] = 1.0
    error = await refused(
        service.import_file(write(tmp_path / "bad.csv", rows), "Binance Spot", "BTC-USDT"),
        ErrorCode.CANDLES_INVALID,
        "bad.csv: 1 bad row, the first is row 4002: high 1.0 is below the open",
    )
    assert error.details["problems"] == {"high_not_highest": 1}
    assert store.summary(KEY) == before


async def test_arguments_are_checked_before_the_file_is_read(service: CandleService, tmp_path: Path) -> None:
    path = str(tmp_path / "none.csv")
    for call, says in (
        (service.import_file(path, "Nowhere", "BTC-USDT"), "unknown exchange 'Nowhere'"),
        (service.import_file(path, "Binance Spot", "bitcoin"), "symbol is 'bitcoin'"),
        (service.import_file(" ", "Binance Spot", "BTC-USDT"), "path is empty"),
        (service.import_file(path, "Binance Spot", "BTC-USDT"), "none.csv': No such file or directory"),
        (service.import_file(path, "Binance Spot", "BTC-USDT", "m"), "timestamp_unit is 'm'"),
    ):
        await refused(call, ErrorCode.INVALID_ARGUMENT, says)


@pytest.fixture
def filled(service: CandleService, store: ParquetCandleStore) -> CandleService:
    store.write(KEY, np.delete(ROWS, slice(10, 20), axis=0), "test")
    store.write(SeriesKey(exchange="Binance Spot", symbol="ETH-USDT"), ROWS[:DAY], "test")
    store.write(SeriesKey(exchange="Bybit Spot", symbol="BTC-USDT"), ROWS[:DAY], "test")
    return service


async def test_what_is_available(filled: CandleService) -> None:
    found = (await filled.available()).series
    assert [(one.exchange, one.symbol) for one in found] == [
        ("Binance Spot", "BTC-USDT"),
        ("Binance Spot", "ETH-USDT"),
        ("Bybit Spot", "BTC-USDT"),
    ]
    assert (found[0].rows, found[0].missing, found[0].gap_count, found[0].coverage) == (4_310, 10, 1, None)


@pytest.mark.parametrize(
    ("exchange", "symbol", "count"),
    [("binance spot", None, 2), (None, "btc-usdt", 2), ("Bybit Spot", "ETH-USDT", 0), (None, None, 3)],
)
async def test_filters(filled: CandleService, exchange: str | None, symbol: str | None, count: int) -> None:
    assert len((await filled.available(exchange, symbol)).series) == count


async def test_coverage_of_a_range(filled: CandleService) -> None:
    found = (await filled.available("Binance Spot", None, "2023-01-01", "2023-01-03")).series
    measured = [
        (one.symbol, one.coverage.expected, one.coverage.present, one.coverage.gap_count)
        for one in found
        if one.coverage is not None
    ]
    assert measured == [("BTC-USDT", 2 * DAY, 2 * DAY - 10, 1), ("ETH-USDT", 2 * DAY, DAY, 1)]


async def test_nothing_is_available_at_first(service: CandleService) -> None:
    assert (await service.available()).series == ()


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        ("2023-01-01", None, "start_date is '2023-01-01' and end_date is None"),
        (None, "2023-01-01", "start_date is None"),
        ("2023-01-02", "2023-01-02", "end_date 2023-01-02 is not after start_date 2023-01-02"),
        ("yesterday", "2023-01-02", "start_date is 'yesterday', not a calendar date"),
    ],
)
async def test_ranges_must_make_sense(
    filled: CandleService, start: str | None, end: str | None, says: str
) -> None:
    await refused(filled.available(None, None, start, end), ErrorCode.INVALID_ARGUMENT, says)


async def test_checking(filled: CandleService) -> None:
    whole = await filled.check("Binance Spot", "BTC-USDT")
    assert (whole.start, whole.end) == ("2023-01-01T00:00Z", "2023-01-04T00:00Z")
    assert (whole.coverage.present, whole.coverage.gap_count) == (4_310, 1)
    part = await filled.check("Binance Spot", "BTC-USDT", "2023-01-03", "2023-01-05")
    assert (part.coverage.expected, part.coverage.present) == (2 * DAY, DAY)
    await refused(
        filled.check("Bybit Spot", "ETH-USDT"), ErrorCode.SERIES_NOT_FOUND, "no candles of ETH-USDT"
    )


@pytest.mark.parametrize(
    ("start", "end", "deleted", "remaining"),
    [
        (None, None, 4_310, 0),
        ("2023-01-02", "2023-01-03", DAY, 2 * DAY - 10),
        ("2023-01-02", None, 2 * DAY, DAY - 10),
        (None, "2023-01-02", DAY - 10, 2 * DAY),
        ("2024-01-01", None, 0, 4_310),
    ],
)
async def test_deleting(
    filled: CandleService, start: str | None, end: str | None, deleted: int, remaining: int
) -> None:
    result = await filled.delete("binance spot", "btc-usdt", start, end)
    assert result.model_dump() == {
        "exchange": "Binance Spot",
        "symbol": "BTC-USDT",
        "deleted": deleted,
        "remaining": remaining,
    }
    assert len((await filled.available()).series) == (2 if remaining == 0 else 3)


async def test_deleting_what_is_not_there(filled: CandleService) -> None:
    await refused(
        filled.delete("Bybit Spot", "ETH-USDT"), ErrorCode.SERIES_NOT_FOUND, "no candles of ETH-USDT"
    )
    assert len((await filled.available()).series) == 3


TRICKS: list[Callable[[CandleService, str], Awaitable[object]]] = [
    lambda service, trick: service.import_file("/dev/null", "Binance Spot", trick),
    lambda service, trick: service.delete("Binance Spot", trick),
    lambda service, trick: service.check(trick, "BTC-USDT"),
    lambda service, trick: service.available(None, trick),
]


@pytest.mark.parametrize("call", TRICKS)
@pytest.mark.parametrize("trick", ["../../etc/passwd", "BTC-USDT/../../x", "..", "", "\0"])
async def test_names_are_no_paths(
    service: CandleService, call: Callable[[CandleService, str], Awaitable[object]], trick: str
) -> None:
    with pytest.raises(ResearchError) as caught:
        await call(service, trick)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


async def test_what_is_suspicious_about_a_file_is_noted(service: CandleService, tmp_path: Path) -> None:
    rows = ROWS.copy()
    rows[500, HIGH] = 3 * rows[500, OPEN : CLOSE + 1].max()
    rows[900, LOW] = 0.2 * rows[900, OPEN : CLOSE + 1].min()
    rows[2_000:2_300, OPEN : LOW + 1] = rows[2_000, CLOSE]
    result = await service.import_file(write(tmp_path / "newest.csv", rows[::-1]), "Binance Spot", "BTC-USDT")
    turned, frozen, wicks = result.notes
    assert "newest first" in turned
    assert frozen.startswith("1 stretch of 30 minutes or more without a price change")
    assert wicks == "2 long wicks (largest +200.00% at 2023-01-01T08:20Z)"
