"""What an analysis is made of: runs, numbers in the call, stored candles."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.analytics.bars import bars
from jesse_mcp.analytics.return_series import ReturnSeries, compounded, spacing
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.domain.timeframes import DAY_MS, MINUTE_MS
from jesse_mcp.services.analysis_source import AnalysisSources, Sample, source_arguments
from jesse_mcp.services.market_bars import MarketReader

START = 1_704_067_200_000
EXCHANGE = "Binance Perpetual Futures"


def candles(days: int, slope: float = 0.01, start_ms: int = START) -> np.ndarray[Any, Any]:
    n = days * 1_440
    close = 100 + slope * np.arange(1, n + 1)
    times = start_ms + MINUTE_MS * np.arange(n)
    return np.column_stack([times, close - slope, close, close + 1, close - 1 - slope, np.ones(n)]).astype(
        float
    )


@pytest.fixture
def store(tmp_path: Path) -> ParquetCandleStore:
    return ParquetCandleStore(tmp_path)


@pytest.fixture
def sources(store: ParquetCandleStore) -> AnalysisSources:
    return AnalysisSources(None, MarketReader(store), lambda _: EXCHANGE)  # type: ignore[arg-type]


def load(sources: AnalysisSources, **arguments: Any) -> Sample:
    names = ("run_id", "returns", "balances", "market", "periods_per_year")
    return sources.load(source_arguments(*(arguments.get(name) for name in names)))


def fill(store: ParquetCandleStore, symbol: str, rows: Any) -> None:
    store.write(SeriesKey(exchange=EXCHANGE, symbol=symbol), rows, "test")


def market(*symbols: str, **more: Any) -> dict[str, Any]:
    dates = {"start_date": "2024-01-01", "end_date": "2024-01-05"}
    return {"exchange": EXCHANGE, "symbols": list(symbols), **dates, **more}


class TestReturnSeries:
    def test_ruin_ends_it(self) -> None:
        series = ReturnSeries(np.array([100.0, 50.0, -10.0, 40.0]), 365, np.arange(4))
        assert series.returns.tolist() == [-0.5, -1.0]
        assert series.balances.tolist() == [100.0, 50.0, 0.0]
        assert series.return_timestamps is not None
        assert series.return_timestamps.tolist() == [1, 2]
        assert series.ruined

    @pytest.mark.parametrize("balances", [[], [100.0], [0.0], [-1.0, 2.0]])
    def test_too_little_for_a_return(self, balances: list[float]) -> None:
        series = ReturnSeries(np.array(balances), 365, np.arange(len(balances)))
        assert len(series.returns) == 0
        assert len(series.balances) == min(len(balances), 1)

    @given(st.lists(st.floats(-0.9, 2), min_size=1, max_size=50))
    def test_compounding_and_returns_are_inverse(self, returns: list[float]) -> None:
        series = ReturnSeries(compounded(np.array(returns), 7.0), 365)
        np.testing.assert_allclose(series.returns, returns, rtol=0, atol=1e-12)

    def test_nothing_comes_back_from_zero(self) -> None:
        assert compounded(np.array([0.5, -1.0, 9.0]), 2.0).tolist() == [2.0, 3.0, 0.0, 0.0]

    def test_days_without_trading_are_not_in_the_year(self) -> None:
        weekdays = np.array([day for day in range(7 * 52 + 1) if day % 7 < 5]) * DAY_MS
        found = spacing(weekdays)
        assert found is not None
        assert found.periods_per_year == pytest.approx(5 / 7 * 365, rel=1e-3)
        assert found.gap is None
        assert not found.contradicts(252)
        assert not found.contradicts(365)
        assert found.contradicts(52)

    def test_a_gap_is_not_taken_for_the_usual_distance(self) -> None:
        found = spacing(np.array([0, 1, 2, 3, 400, 401, 402, 403]) * DAY_MS)
        assert found is not None
        assert found.periods_per_year == 365
        assert found.gap == (3 * DAY_MS, 400 * DAY_MS)
        assert spacing(np.array([5])) is None


class TestBars:
    def test_they_are_made_as_a_person_would(self) -> None:
        rows = candles(1)[:7]
        made = bars(rows[[0, 1, 2, 5, 6]], 3, START)
        assert made.timestamps.tolist() == [START, START + 3 * MINUTE_MS, START + 6 * MINUTE_MS]
        assert made.open.tolist() == [rows[0, 1], rows[5, 1], rows[6, 1]]
        assert made.close.tolist() == [rows[2, 2], rows[5, 2], rows[6, 2]]
        assert made.high.tolist() == [rows[2, 3], rows[5, 3], rows[6, 3]]
        assert made.low.tolist() == [rows[0, 4], rows[5, 4], rows[6, 4]]
        assert made.volume.tolist() == [3, 1, 1]
        assert made.minutes.tolist() == [3, 1, 1]

    def test_of_nothing_there_are_none(self) -> None:
        assert len(bars(np.empty((0, 6)), 60, START).close) == 0

    @given(st.integers(1, 2_000), st.integers(1, 200))
    def test_volume_and_extremes_are_kept(self, rows: int, minutes: int) -> None:
        some = candles(2)[:rows]
        made = bars(some, minutes, START)
        assert made.volume.sum() == rows
        assert made.high.max() == some[:, 3].max()
        assert made.low.min() == some[:, 4].min()
        np.testing.assert_allclose(made.open[1:], made.close[:-1], rtol=1e-14)


class TestMarket:
    def test_closes_of_a_day(self, sources: AnalysisSources, store: ParquetCandleStore) -> None:
        fill(store, "BTC-USDT", candles(4))
        sample = load(sources, market=market("btc-usdt"))
        closes = 100 + 14.4 * np.arange(1, 5)
        np.testing.assert_allclose(sample.series.returns, closes[1:] / closes[:-1] - 1, atol=1e-15)
        assert sample.series.return_timestamps is not None
        assert sample.series.return_timestamps.tolist() == [START + day * DAY_MS for day in (2, 3, 4)]
        assert sample.series.periods_per_year == 365
        assert sample.remarks == ()

    def test_a_portfolio_keeps_its_weights(self, sources: AnalysisSources, store: ParquetCandleStore) -> None:
        fill(store, "BTC-USDT", candles(4))
        fill(store, "ETH-USDT", candles(4, slope=0.03))
        sample = load(sources, market=market("BTC-USDT", "ETH-USDT", weights=[1.5, -0.5], timeframe="1h"))
        parts = sample.components
        assert parts is not None
        assert parts.returns.shape == (95, 2)
        expected = 1.5 * parts.returns[:, 0] - 0.5 * parts.returns[:, 1]
        np.testing.assert_allclose(sample.series.returns, expected, atol=1e-14)
        assert sample.series.periods_per_year == 8_760

    def test_what_one_symbol_lacks_is_left_out_of_all_and_said(
        self, sources: AnalysisSources, store: ParquetCandleStore
    ) -> None:
        fill(store, "BTC-USDT", candles(4))
        fill(store, "ETH-USDT", candles(2, start_ms=START + DAY_MS))
        sample = load(sources, market=market("BTC-USDT", "ETH-USDT"))
        assert len(sample.series.returns) == 1
        assert any("ETH-USDT has 2 of 4 bars" in remark for remark in sample.remarks)
        assert any("2 bars of BTC-USDT were left out" in remark for remark in sample.remarks)

    def test_candles_that_lack_are_named_with_the_call_that_brings_them(
        self, sources: AnalysisSources, store: ParquetCandleStore
    ) -> None:
        fill(store, "BTC-USDT", candles(4))
        with pytest.raises(ResearchError, match="no candles of SOL-USDT") as caught:
            load(sources, market=market("BTC-USDT", "SOL-USDT"))
        assert "candles_import" in (caught.value.hint or "")

    @pytest.mark.parametrize(
        ("more", "named"),
        [
            ({"weights": [1.0]}, "market.weights"),
            ({"weights": [0.0, 0.0]}, "market.weights"),
            ({"weights": [float("nan"), 1.0]}, "market.weights"),
            ({"end_date": "2024-01-01"}, "end_date"),
            ({"start_date": "yesterday"}, "market.start_date"),
            ({"timeframe": "7m"}, "timeframe"),
            ({"timeframe": "1W"}, "no whole 1W bar"),
            ({"symbols": ["BTC-USDT", "btc/usdt"]}, "market.symbols"),
            ({"symbols": []}, "market.symbols"),
            ({"colour": "red"}, "market.colour"),
        ],
    )
    def test_nonsense_is_refused_by_name(
        self, sources: AnalysisSources, store: ParquetCandleStore, more: dict[str, Any], named: str
    ) -> None:
        fill(store, "BTC-USDT", candles(4))
        with pytest.raises(ResearchError) as caught:
            load(sources, market={**market("BTC-USDT", "ETH-USDT"), **more})
        assert caught.value.code == "invalid_argument"
        assert named in caught.value.message


class TestInline:
    def test_returns(self, sources: AnalysisSources) -> None:
        sample = load(sources, returns=[0.1, -0.2], periods_per_year=252)
        np.testing.assert_allclose(sample.series.returns, [0.1, -0.2])
        assert sample.series.periods_per_year == 252
        assert sample.trades is None

    def test_the_default_year_is_said(self, sources: AnalysisSources) -> None:
        assert "365" in load(sources, returns=[0.1]).remarks[0]

    def test_balances_bring_their_own_year(self, sources: AnalysisSources) -> None:
        hours = [(START + hour * 3_600_000, 100.0 + hour) for hour in range(5)]
        sample = load(sources, balances=hours)
        assert sample.series.periods_per_year == 8_760
        assert sample.series.returns[0] == pytest.approx(0.01)

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            ({"returns": []}, "a return needs two"),
            ({"balances": []}, "a return needs two"),
            ({"balances": [(0, 5.0)]}, "a return needs two"),
            ({"balances": [(0, 0.0), (1, 5.0)]}, "no return on nothing"),
            ({"balances": [(0, 5e-324), (1, 1e308)]}, "range of a floating point"),
            ({"returns": [1e300, 1e300]}, "range of a floating point"),
        ],
    )
    def test_what_has_no_returns_says_why(
        self, sources: AnalysisSources, arguments: dict[str, Any], reason: str
    ) -> None:
        sample = load(sources, **arguments)
        assert reason in (sample.reason or "")
        assert len(sample.series.returns) == 0

    def test_a_gap_is_said(self, sources: AnalysisSources) -> None:
        days = [*range(30), *range(1_000, 1_030)]
        sample = load(sources, balances=[(START + day * DAY_MS, 100.0 + day) for day in days])
        assert sample.series.periods_per_year == 365
        assert any("no balance between 2024-01-30T00:00Z and 2026-09-27" in said for said in sample.remarks)

    def test_a_total_loss_is_said(self, sources: AnalysisSources) -> None:
        sample = load(sources, balances=[(0, 5.0), (1, 0.0), (2, 7.0)])
        assert sample.series.ruined
        assert any("everything was lost after 1 periods; 1 later" in remark for remark in sample.remarks)

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            ({}, "none of run_id"),
            ({"returns": [0.1], "run_id": "run_x"}, "run_id and returns"),
            ({"run_id": "run_x", "periods_per_year": 365}, "periods_per_year"),
            ({"returns": [0.1], "periods_per_year": 0}, "periods_per_year"),
            ({"returns": [-1.5]}, "returns"),
            ({"returns": [float("nan")]}, "returns"),
            ({"balances": [(1, 5.0), (1, 6.0)]}, "balances[1]"),
            ({"balances": [(2, 5.0), (1, 6.0)]}, "balances[1]"),
            ({"balances": [(1, float("inf"))]}, "balances"),
            ({"balances": [(1, 5.0), (10**30, 6.0)]}, "balances[1]"),
            ({"balances": [(-1, 5.0)]}, "balances[0]"),
            (
                {"balances": [(day * DAY_MS, 5.0) for day in range(9)], "periods_per_year": 1},
                "periods_per_year",
            ),
        ],
    )
    def test_nonsense_is_refused_by_name(
        self, sources: AnalysisSources, arguments: dict[str, Any], named: str
    ) -> None:
        with pytest.raises(ResearchError) as caught:
            load(sources, **arguments)
        assert caught.value.code == "invalid_argument"
        assert named in caught.value.message
