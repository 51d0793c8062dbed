"""What the desk says about the candles it stores."""

import threading
from pathlib import Path

import numpy as np
import pytest

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.analytics.candle_quality import candle_quality
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import CLOSE, HIGH, LOW, OPEN, VOLUME, CandleArray, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.services import candle_quality as module
from jesse_mcp.services.candle_quality import CandleQualityService

START = 1_672_531_200_000
MINUTE = 60_000
DAY = 1_440
KEY = SeriesKey(exchange="Bitfinex Spot", symbol="BTC-USD")


def at(minute: int) -> int:
    return START + minute * MINUTE


def market() -> CandleArray:
    return synthetic_candles(START, 3 * DAY, 1)


@pytest.fixture
def store(tmp_path: Path) -> ParquetCandleStore:
    return ParquetCandleStore(tmp_path / "candles")


@pytest.fixture
def service(store: ParquetCandleStore) -> CandleQualityService:
    return CandleQualityService(store)


def suspicious() -> CandleArray:
    """One of each: a frozen stretch, a spike, a jump across a gap, a quiet hour."""
    rows = market()
    rows[100:140, OPEN : LOW + 1] = rows[100, CLOSE]
    rows[1_000, OPEN : LOW + 1] *= 1.1
    rows[2_000:2_300, VOLUME] = 0
    rows[3_010:, OPEN : LOW + 1] *= 0.8
    return np.delete(rows, slice(3_000, 3_010), axis=0)


async def test_a_check_has_gaps_with_reasons_and_suspicious_candles(
    service: CandleQualityService, store: ParquetCandleStore
) -> None:
    rows = suspicious()
    store.write(KEY, rows[:2_000], "file")
    store.append(KEY, rows[2_000:], "exchange", (at(2_000), at(3 * DAY + 5)))
    result = await service.check(KEY)
    assert (result.start, result.end) == ("2023-01-01T00:00Z", "2023-01-04T00:00Z")
    assert result.coverage.missing_by_kind == {"no_trades": 10}
    assert result.coverage.gaps[0].kind == "no_trades"
    quality = result.quality.model_dump()
    assert quality["rows"] == 3 * DAY - 10
    assert {name: found["count"] for name, found in quality.items() if isinstance(found, dict)} == {
        "invalid": 0,
        "duplicates": 0,
        "out_of_order": 0,
        "frozen": 1,
        "zero_volume": 300,
        "outliers": 2,
        "spikes": 1,
        "wicks": 0,
        "jumps": 1,
    }
    assert quality["frozen"]["first"] == ({"start": "2023-01-01T01:40Z", "minutes": 40, "traded": True},)
    assert quality["zero_volume"]["longest_start"] == "2023-01-02T09:20Z"
    assert quality["spikes"]["first"][0]["at"] == "2023-01-01T16:40Z"
    jump = quality["jumps"]["first"][0]
    assert (jump["at"], jump["minutes"], round(jump["percent"])) == ("2023-01-03T02:10Z", 11, -20)


async def test_a_check_looks_at_the_range_only(
    service: CandleQualityService, store: ParquetCandleStore
) -> None:
    store.write(KEY, suspicious(), "file")
    part = await service.check(KEY, at(DAY), at(2 * DAY))
    assert (part.coverage.expected, part.quality.rows) == (DAY, DAY)
    assert (part.quality.frozen.count, part.quality.spikes.count) == (0, 0)
    assert part.quality.zero_volume.share == 300 / DAY
    beyond = await service.check(KEY, at(2 * DAY), at(4 * DAY))
    assert beyond.coverage.missing_by_kind == {"not_asked": DAY + 10}
    assert beyond.quality.gaps == 1


async def test_checking_what_is_not_there(service: CandleQualityService, store: ParquetCandleStore) -> None:
    store.append(KEY, np.empty((0, 6)), "exchange", (at(0), at(10)))
    for _ in range(2):
        with pytest.raises(ResearchError) as caught:
            await service.check(KEY)
        assert caught.value.code is ErrorCode.SERIES_NOT_FOUND
        assert caught.value.hint
    with pytest.raises(ResearchError) as caught:
        service.warnings_for(KEY, at(0), at(10))
    assert caught.value.code is ErrorCode.SERIES_NOT_FOUND


def test_warnings_say_what_and_how_much(service: CandleQualityService, store: ParquetCandleStore) -> None:
    store.write(KEY, suspicious(), "file")
    spike = candle_quality(suspicious())["spikes"]["examples"][0]["percent"]
    jump = candle_quality(suspicious())["jumps"]["examples"][0]["percent"]
    assert service.warnings_for(KEY, at(0), at(3 * DAY)) == [
        "BTC-USD on Bitfinex Spot: 1 stretch of 30 minutes or more without a price change, 1 of them with "
        "volume (40 candles, at most 40 in a row, first at 2023-01-01T01:40Z)",
        "BTC-USD on Bitfinex Spot: 7.0% of the minutes have no volume, at most 300 in a row: "
        "orders filled there would not have been",
        "BTC-USD on Bitfinex Spot: 2 price outliers, 1 of them a spike that the next minute takes back "
        f"(largest {spike:+.2f}% at 2023-01-01T16:40Z)",
        f"BTC-USD on Bitfinex Spot: 1 price jump across a gap ({jump:+.2f}% at 2023-01-03T02:10Z)",
    ]


def test_long_wicks_beside_a_frozen_stretch(service: CandleQualityService, store: ParquetCandleStore) -> None:
    rows = market()
    rows[500, HIGH] = 3 * rows[500, OPEN : CLOSE + 1].max()
    rows[900, LOW] = 0.2 * rows[900, OPEN : CLOSE + 1].min()
    rows[2_000:2_300, OPEN : LOW + 1] = rows[2_000, CLOSE]
    store.write(KEY, rows, "file")
    frozen, wicks = service.warnings_for(KEY, at(0), at(3 * DAY))
    assert "(300 candles, at most 300 in a row" in frozen
    assert wicks == "BTC-USD on Bitfinex Spot: 2 long wicks (largest +200.00% at 2023-01-01T08:20Z)"
    (alone,) = service.warnings_for(KEY, at(600), at(1_000))
    assert alone == "BTC-USD on Bitfinex Spot: 1 long wick (-80.00% at 2023-01-01T15:00Z)"


def test_jumps_between_minutes_that_stay(service: CandleQualityService, store: ParquetCandleStore) -> None:
    rows = market()
    rows[1_000:, OPEN : LOW + 1] *= 1.538
    rows[2_000:, OPEN : LOW + 1] *= 0.646
    store.write(KEY, rows, "file")
    up = 100 * (rows[1_000, CLOSE] / rows[999, CLOSE] - 1)
    assert round(up) == 54
    assert service.warnings_for(KEY, at(0), at(3 * DAY)) == [
        f"BTC-USD on Bitfinex Spot: 2 price outliers (largest {up:+.2f}% at 2023-01-01T16:40Z)"
    ]


def test_nothing_noteworthy_is_no_warning(service: CandleQualityService, store: ParquetCandleStore) -> None:
    rows = market()
    rows[10:20, VOLUME] = 0
    store.write(KEY, np.delete(rows, slice(700, 720), axis=0), "file")
    assert service.warnings_for(KEY, at(0), at(3 * DAY)) == []
    assert service.warnings_for(KEY, at(10 * DAY), at(11 * DAY)) == []


def test_several_are_counted_in_the_plural(service: CandleQualityService, store: ParquetCandleStore) -> None:
    rows = market()
    for row in (100, 500):
        rows[row, OPEN : LOW + 1] *= 1.2
        rows[row + 100 : row + 150, OPEN : LOW + 1] = rows[row + 100, CLOSE]
        rows[row + 100 : row + 150, VOLUME] = 0
    store.write(KEY, rows, "file")
    frozen, spikes = service.warnings_for(KEY, at(0), at(3 * DAY))
    assert "2 stretches of 30 minutes or more without a price change (100 candles, at most 50" in frozen
    assert "4 price outliers, 2 of them spikes that the next minute takes back (largest +" in spikes


class Counted:
    """Counts how often candles are really looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        monkeypatch.setattr(module, "candle_quality", self._look)

    def _look(self, candles: CandleArray, *, max_examples: int) -> object:
        self.calls += 1
        return candle_quality(candles, max_examples=max_examples)


def test_the_same_rows_are_looked_at_once(
    service: CandleQualityService, store: ParquetCandleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch)
    store.write(KEY, suspicious(), "file")
    first = service.warnings_for(KEY, at(0), at(DAY))
    assert service.warnings_for(KEY, at(0), at(DAY)) == first
    assert counted.calls == 1
    twin = SeriesKey(exchange="Binance Spot", symbol="BTC-USDT")
    store.write(twin, suspicious(), "file")
    assert service.warnings_for(twin, at(0), at(DAY))[0].startswith("BTC-USDT on Binance Spot: ")
    assert counted.calls == 1
    service.warnings_for(KEY, at(0), at(2 * DAY))
    assert counted.calls == 2


def test_other_candles_are_looked_at_again(service: CandleQualityService, store: ParquetCandleStore) -> None:
    store.write(KEY, suspicious(), "file")
    assert len(service.warnings_for(KEY, at(0), at(DAY))) == 2
    store.append(KEY, market()[:DAY], "exchange", (at(0), at(DAY)))
    assert service.warnings_for(KEY, at(0), at(DAY)) == []


def test_memory_is_bounded(
    service: CandleQualityService, store: ParquetCandleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch)
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    store.write(KEY, market(), "file")
    for end in (10, 20, 30, 10, 40):
        service.warnings_for(KEY, at(0), at(end))
    assert counted.calls == 4
    service.warnings_for(KEY, at(0), at(10))  # used of late, so it is still known
    assert counted.calls == 4
    service.warnings_for(KEY, at(0), at(20))
    assert counted.calls == 5


def test_threads_get_the_same_answer(service: CandleQualityService, store: ParquetCandleStore) -> None:
    store.write(KEY, suspicious(), "file")
    expected = service.warnings_for(KEY, at(0), at(3 * DAY))
    answers: list[list[str]] = []

    def ask(last: int) -> None:
        for end in range(1, last):
            service.warnings_for(KEY, at(0), at(end))
        answers.append(service.warnings_for(KEY, at(0), at(3 * DAY)))

    threads = [threading.Thread(target=ask, args=(10,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [expected] * 4
