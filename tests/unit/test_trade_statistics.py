"""Trade statistics, runs, exposure and excursions: by hand, against other libraries, at the edges."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import quantstats.stats as quantstats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from statsmodels.sandbox.stats.runs import runstest_1samp
from statsmodels.stats.proportion import proportion_confint

from jesse_mcp.analytics.excursions import OpenTrade, excursion, excursion_summary
from jesse_mcp.analytics.trade_statistics import (
    exposure,
    longest_streak,
    runs_test,
    trade_statistics,
    win_rate_interval,
)
from jesse_mcp.analytics.trade_table import TradeTable

Floats = NDArray[np.float64]
HOUR = 3_600_000
START = 1_704_067_200_000


def table(
    profits: list[float] | Floats, opened: list[int] | None = None, closed: list[int] | None = None
) -> TradeTable:
    n = len(profits)
    first = opened if opened is not None else [START + place * HOUR for place in range(n)]
    last = closed if closed is not None else [moment + HOUR for moment in first]
    return TradeTable(
        profits=np.asarray(profits, dtype=np.float64),
        fees=np.full(n, 0.5),
        opened_at=np.array(first, dtype=np.int64),
        closed_at=np.array(last, dtype=np.int64),
        long=np.arange(n) % 2 == 0,
    )


def values(trades: TradeTable) -> dict[str, float | None]:
    return {name: measure.value for name, measure in trade_statistics(trades).items()}


def test_eight_trades_by_hand() -> None:
    found = values(table([120.0, -80.0, 45.0, 0.0, -150.0, 200.0, 60.0, -60.0]))
    expected = {
        "trades": 8,
        "wins": 4,
        "losses": 3,
        "win_rate": 0.5,
        "net_profit": 135,
        "gross_profit": 425,
        "gross_loss": 290,
        "fees": 4,
        "profit_factor": 425 / 290,
        "expectancy": 135 / 8,
        "average_win": 106.25,
        "average_loss": 290 / 3,
        "payoff_ratio": 106.25 * 3 / 290,
        # Half of them win, three of eight lose.
        "kelly_fraction": 0.5 - 0.375 / (106.25 * 3 / 290),
        "largest_win": 200,
        "largest_loss": 150,
        "largest_win_share": 200 / 425,
        "profit_without_largest": -65,
        "longest_winning_streak": 2,
        "longest_losing_streak": 1,
        "average_holding": 3600,
        "average_holding_of_wins": 3600,
        "average_holding_of_losses": 3600,
    }
    deviation = math.sqrt(sum((p - 135 / 8) ** 2 for p in (120, -80, 45, 0, -150, 200, 60, -60)) / 7)
    expected["system_quality_number"] = 135 / 8 / deviation * math.sqrt(8)
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_ratios_are_those_of_quantstats(seed: int) -> None:
    """Of profits as returns, without break-evens: there the definitions are the same."""
    profits = np.random.default_rng(seed).normal(0.002, 0.02, 120)
    series = pd.Series(profits, index=pd.date_range("2024-01-01", periods=120))
    found = values(table(profits))
    assert found["win_rate"] == pytest.approx(quantstats.win_rate(series))
    assert found["payoff_ratio"] == pytest.approx(
        quantstats.payoff_ratio(series)  # type: ignore[no-untyped-call]
    )
    assert found["profit_factor"] == pytest.approx(
        quantstats.profit_factor(series)  # type: ignore[no-untyped-call]
    )
    assert found["kelly_fraction"] == pytest.approx(
        quantstats.kelly_criterion(series)  # type: ignore[no-untyped-call]
    )
    assert found["average_win"] == pytest.approx(quantstats.avg_win(series))
    assert found["average_loss"] == pytest.approx(-quantstats.avg_loss(series))
    assert found["longest_winning_streak"] == quantstats.consecutive_wins(series)
    assert found["longest_losing_streak"] == quantstats.consecutive_losses(series)


def test_kelly_maximises_the_growth_of_a_bet() -> None:
    """The fraction that maximises ``p log(1 + b f) + q log(1 - f)``, searched for on a grid."""
    found = values(table([30.0] * 6 + [-20.0] * 4))["kelly_fraction"]
    grid = np.linspace(0, 0.99, 99_001)
    growth = 0.6 * np.log(1 + 1.5 * grid) + 0.4 * np.log(1 - grid)
    assert found == pytest.approx(grid[growth.argmax()], abs=2e-5)


@pytest.mark.parametrize(("wins", "trades"), [(0, 5), (5, 5), (7, 20), (450, 1000)])
def test_the_interval_of_the_win_rate_is_that_of_statsmodels(wins: int, trades: int) -> None:
    found = win_rate_interval(table([1.0] * wins + [-1.0] * (trades - wins)))
    assert found is not None
    low, high = proportion_confint(wins, trades, method="wilson")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_runs_are_those_of_statsmodels(seed: int) -> None:
    profits = np.random.default_rng(seed).normal(0.3, 1, 80)
    found = runs_test(profits)
    z, p_value = runstest_1samp(profits, cutoff=0, correction=False)
    assert found["z"].value == pytest.approx(z, rel=1e-9)
    assert found["p_value"].value == pytest.approx(p_value, rel=1e-9)
    # Trades of zero neither make nor break a run.
    assert runs_test(np.insert(profits, 40, 0.0)) == found


def test_the_expected_runs_are_the_mean_over_all_orders() -> None:
    """All 35 orders of four wins and three losses."""
    counts = []
    for losses in itertools.combinations(range(7), 3):
        signs = [-1 if place in losses else 1 for place in range(7)]
        counts.append(1 + sum(one != other for one, other in itertools.pairwise(signs)))
    assert np.mean(counts) == pytest.approx(2 * 4 * 3 / 7 + 1)
    profits = np.array([1.0] * 40 + [-1.0] * 30)
    found = runs_test(profits)
    assert (found["runs"].value, found["expected_runs"].value) == pytest.approx((2, 2 * 40 * 30 / 70 + 1))
    assert found["z"].value is not None
    assert found["z"].value < -5
    assert (
        runs_test(np.array([1.0, -1.0]))["p_value"].reason
        == "1 wins and 1 losses: the runs test needs 10 of each"
    )


def test_exposure_by_hand() -> None:
    """Four hours of ten: 1 to 3 and 2 to 4 overlap, 5 to 5 is nothing, 9 to 12 ends at 10."""
    opened = [START + hour * HOUR for hour in (1, 2, 5, 9)]
    closed = [START + hour * HOUR for hour in (3, 4, 5, 12)]
    found = exposure(table([1.0] * 4, opened, closed), START, START + 10 * HOUR)
    assert found["time_in_market"].value == pytest.approx(0.4)
    assert found["most_at_once"].value == 2
    touching = table([1.0, 1.0], [START, START + HOUR], [START + HOUR, START + 2 * HOUR])
    assert exposure(touching, START, START + 4 * HOUR)["most_at_once"].value == 1
    assert exposure(table([]), START, START + HOUR)["time_in_market"].value == 0
    assert exposure(table([]), START, START)["time_in_market"].value is None


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=12))
@settings(deadline=None)
def test_exposure_is_that_of_counted_minutes(spans: list[tuple[int, int]]) -> None:
    trades = table([1.0] * len(spans), [a for a, _ in spans], [a + b for a, b in spans])
    found = exposure(trades, 0, 60)
    counts = [sum(a <= minute < a + b for a, b in spans) for minute in range(60)]
    assert found["time_in_market"].value == pytest.approx(sum(count > 0 for count in counts) / 60)
    assert found["most_at_once"].value == max(counts)


@given(st.lists(st.booleans(), max_size=60))
@settings(deadline=None)
def test_streaks_are_those_of_groupby(hits: list[bool]) -> None:
    expected = max((len(list(run)) for hit, run in itertools.groupby(hits) if hit), default=0)
    assert longest_streak(np.array(hits, dtype=np.bool_)) == expected


NUMBERS = st.floats(-1e12, 1e12) | st.sampled_from([0.0, 1e-300, -1e-300, 1e300, -1e300, math.nan, math.inf])


@given(arrays.arrays(np.float64, st.integers(0, 30), elements=NUMBERS))
@settings(deadline=None)
def test_any_profits_end_in_numbers_or_reasons(profits: Floats) -> None:
    trades = table(profits)
    for found in (trade_statistics(trades), runs_test(profits), exposure(trades, START, START + 99 * HOUR)):
        for name, measure in found.items():
            assert (measure.value is None) == (measure.reason is not None), name
            assert measure.value is None or math.isfinite(measure.value), name


@given(st.lists(st.floats(-1e6, 1e6).filter(lambda p: p == 0 or abs(p) > 1e-3), min_size=1, max_size=40))
@settings(deadline=None)
def test_the_parts_add_up(profits: list[float]) -> None:
    found = values(table(profits))
    gross_profit, gross_loss, net = found["gross_profit"], found["gross_loss"], found["net_profit"]
    assert gross_profit is not None
    assert gross_loss is not None
    assert net == pytest.approx(gross_profit - gross_loss, rel=1e-9, abs=1e-6)
    assert found["expectancy"] == pytest.approx(np.mean(profits), rel=1e-9, abs=1e-9)
    assert found["longest_winning_streak"] <= found["wins"] <= found["trades"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("profits", "undefined"),
    [
        ([5.0, 7.0], {"profit_factor", "payoff_ratio", "kelly_fraction", "average_loss", "largest_loss"}),
        ([-5.0, -7.0], {"payoff_ratio", "kelly_fraction", "average_win", "largest_win_share"}),
        ([3.0], {"profit_factor", "system_quality_number", "payoff_ratio"}),
        ([0.0, 0.0], {"profit_factor", "payoff_ratio", "system_quality_number"}),
    ],
)
def test_what_is_undefined_says_why(profits: list[float], undefined: set[str]) -> None:
    found = trade_statistics(table(profits))
    lacking = {name for name, measure in found.items() if measure.value is None}
    assert undefined <= lacking
    assert all(found[name].reason for name in lacking)


def test_a_million_trades() -> None:
    n = 1_000_000
    profits = np.random.default_rng(1).normal(0.1, 10, n)
    moments = START + np.arange(n, dtype=np.int64) * 60_000
    trades = TradeTable(profits, np.zeros(n), moments, moments + 90_000, profits > 0)
    assert values(trades)["trades"] == n
    assert exposure(trades, START, START + n * 60_000)["most_at_once"].value == 2


def candles(*rows: tuple[float, float]) -> Floats:
    """(high, low) a minute."""
    return np.array([[START + at * 60_000, 100, 100, high, low, 1] for at, (high, low) in enumerate(rows)])


FIVE = candles((150, 50), (103, 98), (106, 99), (102, 95), (190, 10))


def opened(minute: float, closed: float, *, long: bool = True, whole: bool = False) -> OpenTrade:
    return OpenTrade(START + int(minute * 60_000), START + int(closed * 60_000), 100.0, 101.0, long, whole)


def shown(trade: OpenTrade) -> tuple[float, float]:
    found = excursion(trade, FIVE)
    assert found is not None
    return found.adverse, found.favourable


def test_excursions_by_hand() -> None:
    # Open from minute 1; the minute of the exit does not count unless the position was open to its end.
    assert shown(opened(1, 4)) == pytest.approx((0.02, 0.06))
    assert shown(opened(1, 4, whole=True)) == pytest.approx((0.05, 0.06))
    assert shown(opened(1, 4, long=False)) == pytest.approx((0.06, 0.02))
    # Within one minute only the exit is known.
    assert shown(opened(2, 2)) == pytest.approx((0.0, 0.01))
    assert shown(opened(2, 2, long=False)) == pytest.approx((0.01, 0.0))
    # An entry within minute 0 does not have that minute's high and low.
    assert shown(opened(0.5, 3)) == pytest.approx((0.02, 0.03))


def test_excursions_need_every_minute_and_a_price() -> None:
    gappy = np.delete(FIVE, 2, axis=0)
    assert excursion(opened(1, 5), gappy) is None
    assert excursion(opened(4, 9, whole=True), FIVE) is None
    assert excursion(OpenTrade(START, START, 0.0, 1.0, True, False), FIVE) is None
    assert excursion(OpenTrade(START, START, math.nan, 1.0, True, False), FIVE) is None
    assert excursion(opened(1, 4), np.empty((0, 6))) is None


def test_the_summary_of_excursions_by_hand() -> None:
    adverse, favourable = np.array([0.01, 0.02, 0.03]), np.array([0.06, 0.02, 0.01])
    found = excursion_summary(adverse, favourable, np.array([5.0, 1.0, -4.0]))
    assert {name: measure.value for name, measure in found.items()} == pytest.approx(
        {
            "average_adverse": 0.02,
            "average_favourable": 0.03,
            "largest_adverse": 0.03,
            "largest_favourable": 0.06,
            "edge_ratio": 1.5,
            "adverse_of_wins": 0.0195,
        }
    )
    none = excursion_summary(np.empty(0), np.empty(0), np.empty(0))
    assert all(measure.value is None and measure.reason for measure in none.values())
    still = excursion_summary(np.zeros(2), np.ones(2), -np.ones(2))
    assert still["edge_ratio"].reason == "no trade had the price against it"
    assert still["adverse_of_wins"].reason == "no trade won"
