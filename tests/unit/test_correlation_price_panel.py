"""Prices of several instruments at their common times, from candles, numbers and runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.services.analysis_source import AnalysisSources
from jesse_mcp.services.market_bars import MarketReader
from jesse_mcp.services.price_panel import (
    MAX_SERIES,
    PricePanel,
    PricePanels,
    aligned_panel,
    panel_arguments,
)

START = 1_704_067_200_000
HOUR = 3_600_000
DAY = 24 * HOUR
EXCHANGE = "Binance Perpetual Futures"


def points(*rows: tuple[int, float]) -> list[list[float]]:
    return [[START + at * DAY, price] for at, price in rows]


@pytest.fixture
def store(tmp_path: Path) -> ParquetCandleStore:
    return ParquetCandleStore(tmp_path)


@pytest.fixture
def panels(store: ParquetCandleStore) -> PricePanels:
    return PricePanels(AnalysisSources(None, MarketReader(store), lambda _: EXCHANGE))  # type: ignore[arg-type]


def load(panels: PricePanels, **given: Any) -> PricePanel:
    return panels.load(panel_arguments(*(given.get(name) for name in ("market", "prices", "run_ids"))))


def refused(**given: Any) -> ResearchError:
    """The error of arguments that are refused before anything is read."""
    with pytest.raises(ResearchError) as caught:
        panel_arguments(*(given.get(name) for name in ("market", "prices", "run_ids")))
    assert caught.value.hint
    return caught.value


def market(*symbols: str, **more: Any) -> dict[str, Any]:
    dates = {"start_date": "2024-01-01", "end_date": "2024-01-03"}
    return {"exchange": EXCHANGE, "symbols": list(symbols), "timeframe": "1h", **dates, **more}


def test_only_common_times_stay_and_what_was_left_out_is_counted(panels: PricePanels) -> None:
    found = load(
        panels,
        prices={
            "A": points((0, 10), (1, 11), (2, 12), (4, 14), (5, 15)),
            "B": points((1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)),
        },
    )
    assert found.names == ("A", "B")
    assert ((found.timestamps - START) // DAY).tolist() == [1, 2, 4, 5]
    assert found.prices.tolist() == [[11, 1], [12, 2], [14, 4], [15, 5]]
    assert [(one.points, one.left_out) for one in found.counts] == [(5, 1), (6, 2)]
    assert found.gaps == 1
    np.testing.assert_allclose(found.returns()[:, 1], [1, 1, 0.25])


def test_bars_of_stored_candles_end_where_they_end(store: ParquetCandleStore, panels: PricePanels) -> None:
    rows = {symbol: synthetic_candles(START, 2_880, seed) for seed, symbol in enumerate(("A-USDT", "B-USDT"))}
    gappy = np.delete(rows["B-USDT"], slice(600, 720), axis=0)
    store.write(SeriesKey(exchange=EXCHANGE, symbol="A-USDT"), rows["A-USDT"], "test")
    store.write(SeriesKey(exchange=EXCHANGE, symbol="B-USDT"), gappy, "test")
    found = load(panels, market=market("A-USDT", "B-USDT"))
    assert found.timestamps[0] == START + HOUR
    assert found.prices[0].tolist() == [rows["A-USDT"][59, 2], rows["B-USDT"][59, 2]]
    assert [(one.points, one.left_out) for one in found.counts] == [(48, 2), (46, 0)]
    assert (found.gaps, found.periods_per_year) == (1, 8_760)
    assert any("2 bars of A-USDT were left out" in remark for remark in found.remarks)


def test_one_common_time_is_a_panel_without_returns(panels: PricePanels) -> None:
    found = load(panels, prices={"A": points((0, 1), (1, 2)), "B": points((1, 3), (2, 4))})
    assert found.returns().shape == (0, 2)
    assert found.gaps == 0


def test_no_common_time_names_what_each_series_has(panels: PricePanels) -> None:
    apart = "no time in common: A 2024-01-01T00:00Z to 2024-01-02T00:00Z; B 2024-01-03"
    with pytest.raises(ResearchError, match=apart):
        load(panels, prices={"A": points((0, 1), (1, 2)), "B": points((2, 3), (3, 4))})


def test_nothing_is_filled_in_even_when_a_series_is_empty() -> None:
    empty = (np.empty(0, np.int64), np.empty(0))
    with pytest.raises(ResearchError, match="B none"):
        aligned_panel("prices", {"A": (np.array([START]), np.array([1.0])), "B": empty})


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "none of market, prices, run_ids"),
        ({"prices": {"A": points((0, 1))}, "run_ids": ["a", "b"]}, "prices and run_ids"),
        ({"market": market("A-USDT")}, "market.symbols"),
        ({"market": market("A-USDT", "B-USDT", weights=[0.5, 0.5])}, "market.weights"),
        ({"market": market("A-USDT", "B-USDT", start_date="yesterday")}, "market.start_date"),
        ({"market": market("A-USDT", "B-USDT", timeframe="7m")}, "7m"),
        (
            {"market": market(*[f"S{n}-USDT" for n in range(100)], timeframe="1m", start_date="2020-01-01")},
            "bars of 100 symbols",
        ),
        ({"prices": {"A": points((0, 1))}}, "prices has 1 series"),
        ({"prices": {f"S{n}": points((0, 1)) for n in range(MAX_SERIES + 1)}}, "prices has 101 series"),
        ({"prices": {"A": points((0, 1)), "B": []}}, "prices.B is empty"),
        ({"prices": {"A": points((0, 1)), "B": points((1, 2), (0, 1))}}, "prices.B[1]"),
        ({"prices": {"A": points((0, 1)), "B": points((1, 2), (1, 1))}}, "prices.B[1]"),
        ({"prices": {"A": points((0, 1), (1, -2)), "B": points((0, 1))}}, "prices.A[1] is -2"),
        ({"prices": {"A": points((0, 0)), "B": points((0, 1))}}, "prices.A[0] is 0"),
        ({"prices": {"A": points((0, float("nan"))), "B": points((0, 1))}}, "prices.A.0.1 is nan"),
        ({"prices": {"A": points((0, float("inf"))), "B": points((0, 1))}}, "prices.A.0.1 is inf"),
        ({"prices": {"A": [[-5, 1.0]], "B": points((0, 1))}}, "prices.A[0] is of -5"),
        ({"prices": {"A": [[1.5, 1.0]], "B": points((0, 1))}}, "prices.A.0.0 is 1.5"),
        (
            {"prices": {"A": [[1_704_067_200 + n, 1.0] for n in range(9)], "B": points((0, 1))}},
            "prices.A ends at 1704067208, which is 1970-01-20T17:21Z",
        ),
        ({"prices": {"A": [[n, 1.0] for n in range(9)], "B": points((0, 1))}}, "prices.A ends at 8"),
        ({"prices": {"A": [[0, 1.0]], "B": [[0, -1.0]]}}, "prices.B[0] is -1"),
        ({"prices": {"A\n": points((0, 1)), "B": points((0, 1))}}, "series named"),
        ({"prices": {"": points((0, 1)), "B": points((0, 1))}}, "series named"),
        ({"run_ids": ["run_a"]}, "run_ids has 1 runs"),
        ({"run_ids": ["run_a", "run_a"]}, "1 of them different"),
        ({"run_ids": [f"run_{n}" for n in range(51)]}, "run_ids has 51 runs"),
    ],
)
def test_nonsense_is_refused_by_name_before_anything_is_read(given: dict[str, Any], named: str) -> None:
    assert named in refused(**given).message


def test_a_symbol_named_twice_is_refused(panels: PricePanels) -> None:
    with pytest.raises(ResearchError, match="A-USDT"):
        load(panels, market=market("A-USDT", "A-USDT"))


def test_a_job_records_how_many_prices_not_which() -> None:
    found = panel_arguments(None, {"A": points((0, 1), (1, 2)), "B": points((0, 1))}, None)
    assert found.recorded() == {"prices": {"A": "2 values", "B": "1 values"}}
