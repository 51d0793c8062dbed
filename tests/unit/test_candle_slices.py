"""Which rows a run reads, and what it is told when some are missing."""

from pathlib import Path

import numpy as np
import pytest

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.backtests import BacktestRequest, GapPolicy, Route
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.services.candle_slices import CandleSlicer

DAY = 86_400_000
START = 1_704_067_200_000
KEY = SeriesKey(exchange="Binance Spot", symbol="BTC-USDT")


def request(start_day: int, end_day: int, warm_up: int = 24) -> BacktestRequest:
    return BacktestRequest(
        exchange=KEY.exchange,
        exchange_type="spot",
        routes=(Route(strategy="S", symbol=KEY.symbol, timeframe="1h"),),
        start_ms=START + start_day * DAY,
        end_ms=START + end_day * DAY,
        starting_balance=1000,
        fee=0,
        warm_up_candles=warm_up,
        fast_mode=True,
    )


def stored(path: Path, missing: slice | None = None) -> ParquetCandleStore:
    store = ParquetCandleStore(path)
    candles = synthetic_candles(START, 4 * 1440, seed=1)
    if missing is not None:
        candles = np.delete(candles, missing, axis=0)
    store.write(KEY, candles, "test")
    return store


def test_the_slice_is_warm_up_then_period(tmp_path: Path) -> None:
    (part,) = CandleSlicer(stored(tmp_path)).cut(request(2, 3))
    assert (part.start_row, part.trading_row, part.end_row) == (1440, 2880, 4320)
    rows = np.fromfile(part.path).reshape(-1, 6)
    assert rows[part.trading_row, 0] == START + 2 * DAY
    assert rows[part.end_row - 1, 0] == START + 3 * DAY - 60_000


def test_the_hash_is_of_the_rows_read_only(tmp_path: Path) -> None:
    store = stored(tmp_path)
    before = CandleSlicer(store).cut(request(2, 3))[0].content_hash
    more = synthetic_candles(START + 4 * DAY, 1440, seed=2)
    store.write(KEY, more, "later")
    assert CandleSlicer(store).cut(request(2, 3))[0].content_hash == before
    changed = store.read(KEY, START + 2 * DAY, START + 2 * DAY + 60_000)
    changed[0, 5] += 1
    store.write(KEY, changed, "correction")
    assert CandleSlicer(store).cut(request(2, 3))[0].content_hash != before


def test_the_error_names_the_first_missing_range_and_the_call(tmp_path: Path) -> None:
    # Minutes 10 and 11 of day 2, and a longer hole on day 3.
    store = stored(tmp_path, missing=slice(2890, 2892))
    with pytest.raises(ResearchError) as caught:
        CandleSlicer(store).cut(request(2, 3))
    error = caught.value
    assert error.code is ErrorCode.CANDLES_MISSING
    assert "from 2024-01-03T00:10Z to 2024-01-03T00:11Z" in error.message
    assert "2878 of 2880 minutes" in error.message
    assert error.hint is not None
    assert "candles_import(" in error.hint


def test_missing_warm_up_is_said_to_be_warm_up(tmp_path: Path) -> None:
    with pytest.raises(ResearchError) as caught:
        CandleSlicer(stored(tmp_path)).cut(request(0, 2))
    assert "from 2023-12-31T00:00Z to 2023-12-31T23:59Z" in caught.value.message
    assert "24 warm-up candles start at 2023-12-31T00:00Z" in caught.value.message


def test_nothing_stored(tmp_path: Path) -> None:
    slicer = CandleSlicer(ParquetCandleStore(tmp_path))
    for attempt in (lambda: slicer.cut(request(1, 2)), lambda: slicer.last_full_day([KEY])):
        with pytest.raises(ResearchError, match="no candles of BTC-USDT on Binance Spot"):
            attempt()


def test_last_full_day_is_that_of_the_shortest_series(tmp_path: Path) -> None:
    store = stored(tmp_path)
    other = SeriesKey(exchange=KEY.exchange, symbol="ETH-USDT")
    store.write(other, synthetic_candles(START, 2 * 1440 + 700, seed=3), "test")
    assert CandleSlicer(store).last_full_day([KEY]) == START + 4 * DAY
    assert CandleSlicer(store).last_full_day([KEY, other]) == START + 2 * DAY


def gappy(path: Path, answered: bool, missing: slice = slice(2890, 2892)) -> ParquetCandleStore:
    store = ParquetCandleStore(path)
    candles = np.delete(synthetic_candles(START, 4 * 1440, seed=1), missing, axis=0)
    if answered:
        store.append(KEY, candles, "exchange", (START, START + 4 * DAY))
    else:
        store.write(KEY, candles, "a file")
    return store


def test_small_gaps_of_the_exchange_itself_are_accepted_and_counted(tmp_path: Path) -> None:
    (part,) = CandleSlicer(gappy(tmp_path, answered=True)).cut(request(2, 3))
    assert (part.missing, part.end_row - part.start_row) == (2, 2878)


@pytest.mark.parametrize(("answered", "policy"), [(True, "refuse"), (False, None), (False, "refuse")])
def test_other_gaps_are_refused_unless_asked_for(
    tmp_path: Path, answered: bool, policy: GapPolicy | None
) -> None:
    slicer = CandleSlicer(gappy(tmp_path, answered))
    with pytest.raises(ResearchError) as caught:
        slicer.cut(request(2, 3), policy)
    assert caught.value.hint is not None
    assert "gaps='observed'" in caught.value.hint
    assert ("candles_import(" in caught.value.hint) is not answered
    (part,) = slicer.cut(request(2, 3), "observed")
    assert part.missing == 2


def test_too_many_gaps_are_refused_even_if_the_exchange_has_them(tmp_path: Path) -> None:
    slicer = CandleSlicer(gappy(tmp_path, answered=True, missing=slice(2890, 2930)))
    with pytest.raises(ResearchError, match="2840 of 2880 minutes"):
        slicer.cut(request(2, 3))
    assert slicer.cut(request(2, 3), "observed")[0].missing == 40


def test_no_policy_runs_without_a_candle_to_trade(tmp_path: Path) -> None:
    store = gappy(tmp_path, answered=True)
    with pytest.raises(ResearchError, match="are missing"):
        CandleSlicer(store).cut(request(6, 7), "observed")


class OnlyAround(ParquetCandleStore):
    """A store whose imports look for minutes before and after the stored ones only."""

    @property
    def fills_gaps(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("missing", "start_day", "words"),
    [
        (
            slice(0, 0),
            0,
            "candles_import(exchange='Binance Spot', symbol='BTC-USDT', start_date='2023-12-31')",
        ),
        (slice(3000, 3010), 2, None),
    ],
)
def test_no_import_is_proposed_that_would_not_bring_the_minutes(
    tmp_path: Path, missing: slice, start_day: int, words: str | None
) -> None:
    stored(tmp_path, missing)
    with pytest.raises(ResearchError) as caught:
        CandleSlicer(OnlyAround(tmp_path)).cut(request(start_day, 3))
    assert caught.value.code is ErrorCode.CANDLES_MISSING
    hint = str(caught.value.hint)
    assert "end_date" not in hint
    assert (words in hint) if words else ("candles_import" not in hint)
    assert "gaps='observed'" in hint


def test_the_proposed_import_of_a_new_series_has_no_end(tmp_path: Path) -> None:
    with pytest.raises(ResearchError) as caught:
        CandleSlicer(OnlyAround(tmp_path)).cut(request(2, 3))
    assert "start_date='2024-01-02'" in str(caught.value.hint)
    assert "end_date" not in str(caught.value.hint)
