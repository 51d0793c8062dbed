"""Properties and edges of every statistic of a return series, and tables worked out by hand."""

import math
from datetime import UTC, datetime, timedelta

import empyrical
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from jesse_mcp.analytics.benchmark_relative import relative_to_benchmark
from jesse_mcp.analytics.bootstrap_intervals import STATISTICS, bootstrap_intervals
from jesse_mcp.analytics.calendar_returns import (
    CalendarUnit,
    calendar_returns,
    hourly_trades,
    weekday_returns,
)
from jesse_mcp.analytics.distribution_shape import distribution_shape, hill_tail_index
from jesse_mcp.analytics.drawdown_ratios import drawdown_ratios
from jesse_mcp.analytics.drawdowns import (
    Drawdown,
    conditional_drawdown_at_risk,
    depths_of,
    drawdown_summary,
    largest_drawdowns,
)
from jesse_mcp.analytics.measures import Measure, dispersion, wealth
from jesse_mcp.analytics.performance import performance
from jesse_mcp.analytics.rolling import rolling
from jesse_mcp.analytics.sharpe_uncertainty import annual_sharpe_error, autocorrelation_adjusted_sharpe

Floats = NDArray[np.float64]
DAY = 86_400_000
YEAR = 365.0


def everything(returns: Floats) -> dict[str, Measure]:
    return {
        **performance(returns, YEAR, 0.03, 0.01),
        **drawdown_ratios(returns, YEAR, 0.03),
        **drawdown_summary(wealth(returns)),
        **distribution_shape(returns),
        **relative_to_benchmark(returns, returns[::-1], YEAR),
        "error": annual_sharpe_error(returns, YEAR),
        "adjusted": autocorrelation_adjusted_sharpe(returns, YEAR),
    }


def is_answer(found: dict[str, Measure]) -> None:
    for name, measure in found.items():
        assert (measure.value is None) == (measure.reason is not None), (name, measure)
        assert measure.value is None or math.isfinite(measure.value), (name, measure)


EXTREME = st.floats(-1, 10) | st.sampled_from([-1.0, 0.0, -2.0, 1e-300, 1e308, -1e308, math.nan, math.inf])


@given(arrays.arrays(np.float64, st.integers(0, 60), elements=EXTREME))
@settings(deadline=None)
def test_any_returns_end_in_numbers_or_reasons(returns: Floats) -> None:
    is_answer(everything(returns))


@given(arrays.arrays(np.float64, st.integers(0, 40), elements=EXTREME | st.floats(-1e300, 1e300)))
@settings(deadline=None)
def test_any_balances_end_in_numbers_or_reasons(balances: Floats) -> None:
    is_answer(drawdown_summary(balances))
    for found in largest_drawdowns(balances, 5):
        assert 0 < found.depth <= 1
        assert found.peak < found.trough <= found.peak + found.length


DEGENERATE: dict[str, Floats] = {
    "empty": np.empty(0),
    "one": np.array([0.02]),
    "zeros": np.zeros(50),
    "constant": np.full(50, 0.01),
    "constant-but-for-rounding": (100 * 1.01 ** np.arange(1, 51)) / (100 * 1.01 ** np.arange(50)) - 1,
    "nan": np.array([0.1, math.nan, 0.2]),
    "infinite": np.array([0.1, math.inf, 0.2]),
    "only-winners": np.linspace(0.001, 0.02, 40),
    "only-losers": -np.linspace(0.001, 0.02, 40),
    "ruin": np.array([0.1, -0.2, -1.0]),
    "ruin-first": np.array([-1.0]),
    "below-ruin": np.array([0.1, -3.0, 0.5, 0.2]),
    "overflow": np.full(400, 1e300),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_returns(name: str) -> None:
    is_answer(everything(DEGENERATE[name]))
    found = bootstrap_intervals(DEGENERATE[name], YEAR, draws=50)
    assert set(found.found) | set(found.undefined) == set(STATISTICS)
    for interval in found.found.values():
        assert all(map(math.isfinite, (interval.low, interval.median, interval.high)))


@pytest.mark.parametrize("name", ["constant", "constant-but-for-rounding"])
def test_what_does_not_vary_has_no_sharpe_ratio(name: str) -> None:
    found = everything(DEGENERATE[name])
    for measure in ("sharpe_ratio", "skewness", "adjusted", "error", "autocorrelation", "beta"):
        assert found[measure].value is None, measure
    assert found["annual_volatility"].value == 0
    assert found["sharpe_ratio"].reason == "the returns do not vary"


def test_ruin_is_a_return_of_minus_one() -> None:
    for name in ("ruin", "ruin-first", "below-ruin"):
        found = everything(DEGENERATE[name])
        assert found["total_return"].value == found["annual_return"].value == -1
        assert found["max_drawdown"].value == 1
        assert found["current_drawdown"].value == 1
    assert wealth(np.array([1e308, 10.0, -1.0, 5.0])).tolist()[-2:] == [0, 0]


def test_only_winners_and_only_losers_say_what_lacks() -> None:
    winners, losers = everything(DEGENERATE["only-winners"]), everything(DEGENERATE["only-losers"])
    assert winners["sortino_ratio"].reason == "no return is below the target"
    assert winners["gain_to_pain_ratio"].reason == "no return is negative"
    assert winners["calmar_ratio"].reason == "there is no drawdown"
    assert winners["average_drawdown"].reason == "there is no drawdown"
    assert winners["longest"].value == 0
    assert losers["omega_ratio"].value == 0
    assert losers["positive_periods"].value == 0


def test_a_million_points() -> None:
    returns = np.random.default_rng(1).normal(0, 0.001, 1_000_000)
    is_answer(everything(returns))
    found = rolling(returns, 1_000, YEAR)
    assert len(found.sharpe_ratio) == 999_001
    intervals = bootstrap_intervals(returns, YEAR)
    assert all("use a longer timeframe" in reason for reason in intervals.undefined.values())


RETURNS = arrays.arrays(np.float64, st.integers(3, 60), elements=st.floats(-0.5, 0.5))


@given(RETURNS, st.floats(0.1, 3))
@settings(deadline=None)
def test_ratios_do_not_depend_on_the_size_of_the_bet(returns: Floats, size: float) -> None:
    # What is next to nothing may become nothing when it is scaled.
    returns = returns.round(6)
    assume(np.ptp(returns) > 1e-6)
    one, other = performance(returns, YEAR), performance(returns * size, YEAR)
    for name in ("sharpe_ratio", "sortino_ratio", "omega_ratio", "gain_to_pain_ratio", "positive_periods"):
        assert (one[name].value is None) == (other[name].value is None)
        if one[name].value is not None:
            assert other[name].value == pytest.approx(one[name].value, rel=1e-6, abs=1e-9), name


@given(RETURNS)
@settings(deadline=None)
def test_drawdowns_of_a_series_and_of_its_returns_agree(returns: Floats) -> None:
    balances = 1_000 * wealth(returns)
    found, summary = drawdown_ratios(returns, YEAR), drawdown_summary(balances)
    table = largest_drawdowns(balances, 100)
    depths = [row.depth for row in table]
    assert depths == sorted(depths, reverse=True)
    assert found["max_drawdown"].value == pytest.approx(max(depths, default=0.0), abs=1e-12)
    assert summary["drawdowns"].value == len(table)
    cdar, deepest = summary["cdar"].value, found["max_drawdown"].value
    assert cdar is not None
    assert deepest is not None
    assert depths_of(balances)[1:].mean() - 1e-12 <= cdar <= deepest + 1e-12
    assert found["pain_index"].value <= found["ulcer_index"].value + 1e-12  # type: ignore[operator]


@given(RETURNS, st.integers(2, 20))
@settings(deadline=None)
def test_rolling_windows_are_those_of_slices(returns: Floats, window: int) -> None:
    found = rolling(returns, window, YEAR)
    assert len(found.total_return) == max(0, len(returns) - window + 1)
    for at in range(len(found.total_return)):
        part = returns[at : at + window]
        expected = performance(part, YEAR) | drawdown_ratios(part, YEAR)
        volatility, sharpe = found.volatility[at], found.sharpe_ratio[at]
        assert found.total_return[at] == pytest.approx(expected["total_return"].value, rel=1e-9, abs=1e-9)
        assert found.max_drawdown[at] == pytest.approx(expected["max_drawdown"].value, abs=1e-9)
        assert volatility == pytest.approx(expected["annual_volatility"].value, rel=1e-6, abs=1e-7)
        if volatility is not None and volatility > 1e-3:
            assert sharpe == pytest.approx(expected["sharpe_ratio"].value, rel=1e-6, abs=1e-6)


def test_rolling_volatility_and_sharpe_are_those_of_pandas() -> None:
    returns = np.random.default_rng(2).normal(0.001, 0.02, 300)
    found, series = rolling(returns, 30, YEAR), pd.Series(returns).rolling(30)
    deviation = series.std().dropna().to_numpy()
    assert found.volatility == pytest.approx(deviation * math.sqrt(YEAR))
    assert found.sharpe_ratio == pytest.approx(
        series.mean().dropna().to_numpy() / deviation * math.sqrt(YEAR)
    )


def test_rolling_at_the_edges() -> None:
    assert len(rolling(np.array([0.1]), 2, YEAR).total_return) == 0
    ruined = rolling(np.array([0.1, -1.0, 0.0, 0.0, 0.0]), 2, YEAR)
    assert list(ruined.total_return) == [-1, -1, None, None]
    assert list(ruined.max_drawdown) == [1, 1, None, None]
    assert rolling(np.full(5, 0.01), 3, YEAR).sharpe_ratio.count(None) == 3
    with pytest.raises(ValueError, match="a window of 1"):
        rolling(np.zeros(5), 1, YEAR)


def test_a_table_of_drawdowns_by_hand() -> None:
    balances = np.array([100.0, 120, 90, 110, 120, 60, 130, 125, 117])
    assert largest_drawdowns(balances, 2) == [
        Drawdown(peak=4, trough=5, recovery=6, depth=0.5, length=2),
        Drawdown(peak=1, trough=2, recovery=4, depth=0.25, length=3),
    ]
    (last,) = largest_drawdowns(balances, 9)[2:]
    assert (last.peak, last.trough, last.recovery, last.length) == (6, 8, None, 2)
    assert last.depth == pytest.approx(0.1)
    summary = {name: measure.value for name, measure in drawdown_summary(balances).items()}
    assert summary == pytest.approx(
        {
            "drawdowns": 3,
            "average_drawdown": 0.85 / 3,
            "average_length": 7 / 3,
            "longest": 3,
            # Balances 2, 3, 5, 7 and 8 of the eight after the first.
            "time_under_water": 5 / 8,
            "current_drawdown": 0.1,
            # 5 % of eight is less than one balance: the deepest.
            "cdar": 0.5,
        }
    )


def test_cdar_by_hand() -> None:
    """60 % of five is three: 0.5, 0.3 and 0.2; 50 % is two and a half."""
    depths = np.array([0.1, 0.5, 0.0, 0.3, 0.2])
    assert conditional_drawdown_at_risk(depths, 0.4) == pytest.approx(1 / 3)
    assert conditional_drawdown_at_risk(depths, 0.5) == pytest.approx((0.5 + 0.3 + 0.1) / 2.5)
    assert conditional_drawdown_at_risk(depths, 0.0) == pytest.approx(0.22)


def moments(first: str, count: int, minutes: int = 0) -> NDArray[np.int64]:
    start = datetime.fromisoformat(first).replace(tzinfo=UTC) + timedelta(minutes=minutes)
    return np.array([int(start.timestamp() * 1000) + day * DAY for day in range(count + 1)])


@pytest.mark.parametrize("minutes", [0, 1, -1])
@pytest.mark.parametrize("unit", ["month", "year"])
def test_calendar_returns_are_those_of_empyrical(unit: CalendarUnit, minutes: int) -> None:
    returns = np.random.default_rng(3).normal(0, 0.02, 800)
    theirs = empyrical.aggregate_returns(
        pd.Series(returns, index=pd.date_range("2022-11-15", periods=800)),
        {"month": "monthly", "year": "yearly"}[unit],
    )
    found = calendar_returns(returns, moments("2022-11-15", 800, minutes), unit)
    assert [row.compounded for row in found] == pytest.approx(theirs.tolist())
    assert sum(row.periods for row in found) == 800
    assert found[0].label == {"month": "2022-11", "year": "2022"}[unit]
    assert found[-1].label == {"month": "2025-01", "year": "2025"}[unit]


def test_quarters_are_those_of_pandas() -> None:
    returns = np.random.default_rng(4).normal(0, 0.02, 500)
    series = pd.Series(1 + returns, index=pd.date_range("2023-02-03", periods=500))
    theirs = series.groupby(series.index.to_period("Q")).prod() - 1
    found = calendar_returns(returns, moments("2023-02-03", 500), "quarter")
    assert [row.compounded for row in found] == pytest.approx(theirs.tolist())
    assert [row.label for row in found] == [str(label).replace("Q", "-Q") for label in theirs.index]


def test_weekdays_are_those_of_pandas() -> None:
    returns = np.random.default_rng(5).normal(0, 0.02, 100)
    series = pd.Series(returns, index=pd.date_range("2024-01-01", periods=100))
    grouped = series.groupby(series.index.day_name())
    for row in weekday_returns(returns, moments("2024-01-01", 100)):
        assert row.mean == pytest.approx(grouped.mean()[row.weekday])
        assert row.periods == grouped.size()[row.weekday]
    short = weekday_returns(returns[:2], moments("2024-01-01", 2))
    assert [row.mean is None for row in short] == [False, False, True, True, True, True, True]
    assert [row.periods for row in weekday_returns(np.empty(0), np.array([0]))] == [0] * 7


def test_hours_of_trades() -> None:
    opened = moments("2024-01-01", 2)[:3] + np.array([0, 3_599_999, 3_600_000])
    rows = hourly_trades(np.array([5.0, -2.0, 1.0]), opened)
    assert [(row.trades, row.profit, row.win_rate) for row in rows[:3]] == [
        (2, 3.0, 0.5),
        (1, 1.0, 1.0),
        (0, None, None),
    ]
    assert calendar_returns(np.empty(0), np.array([0]), "month") == []


def test_the_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    """80 % intervals of 300 samples; the count is binomial."""
    hits, samples, true_ratio = 0, 300, 0.1
    generator = np.random.default_rng(7)
    for seed in range(samples):
        returns = generator.normal(true_ratio, 1, 250) / 100
        found = bootstrap_intervals(returns, 1.0, confidence=0.8, draws=200, seed=seed, block_length=1)
        interval = found.found["sharpe_ratio"]
        hits += interval.low <= true_ratio <= interval.high
    assert hits / samples == pytest.approx(0.8, abs=5 * math.sqrt(0.16 / samples))


def test_the_bootstrap_statistics_are_those_of_the_single_functions() -> None:
    """Blocks longer than the series make every history a rotation of it, which has the same moments."""
    returns = np.random.default_rng(8).normal(0.002, 0.03, 40)
    whole = bootstrap_intervals(returns, YEAR, draws=400, seed=1, block_length=1e9)
    for name in ("annual_return", "annual_volatility", "sharpe_ratio", "sortino_ratio"):
        expected = performance(returns, YEAR)[name].value
        interval = whole.found[name]
        assert (interval.low, interval.median, interval.high) == pytest.approx((expected,) * 3, rel=1e-9)
    rotated = (drawdown_ratios(np.roll(returns, shift), YEAR) for shift in range(40))
    depths = [found["max_drawdown"].value or 0.0 for found in rotated]
    interval = whole.found["max_drawdown"]
    assert min(depths) - 1e-12 <= interval.low < interval.high <= max(depths) + 1e-12


def test_resampled_drawdowns_count_from_the_start() -> None:
    """One loss of 30 %, first in one rotation of twenty-five."""
    returns = np.append(np.zeros(24), -0.3)
    found = bootstrap_intervals(returns, YEAR, draws=500, block_length=1e9, confidence=0.999)
    interval = found.found["max_drawdown"]
    assert (interval.low, interval.high) == pytest.approx((0.3, 0.3))


def test_a_risk_free_rate_is_taken_off_every_return() -> None:
    returns, daily = np.random.default_rng(10).normal(0.002, 0.02, 200), 1.05 ** (1 / 365) - 1
    for function in (annual_sharpe_error, autocorrelation_adjusted_sharpe):
        found = function(returns, YEAR, 0.05).value
        assert found == pytest.approx(function(returns - daily, YEAR).value, rel=1e-9)
        assert found != pytest.approx(function(returns, YEAR).value, rel=1e-6)


def test_a_seed_gives_one_answer_and_confidence_widens() -> None:
    returns = np.random.default_rng(9).normal(0.001, 0.02, 200)
    one = bootstrap_intervals(returns, YEAR, draws=300, seed=5)
    assert bootstrap_intervals(returns, YEAR, draws=300, seed=5) == one
    assert bootstrap_intervals(returns, YEAR, draws=300, seed=6) != one
    wide = bootstrap_intervals(returns, YEAR, draws=300, seed=5, confidence=0.99)
    for name in STATISTICS:
        assert wide.found[name].low <= one.found[name].low <= one.found[name].high <= wide.found[name].high


def test_a_statistic_most_histories_lack_has_no_interval() -> None:
    rising = np.append(np.full(30, 0.01), 0.02)
    found = bootstrap_intervals(rising, YEAR, draws=100)
    assert "undefined in 100 of 100" in found.undefined["sortino_ratio"]
    assert "undefined in 100 of 100" in found.undefined["calmar_ratio"]


def test_series_of_other_lengths_are_not_cut_to_fit() -> None:
    found = relative_to_benchmark(np.zeros(5), np.zeros(4), YEAR)
    assert found["beta"].reason == "5 returns cannot be compared with 4 of the benchmark"
    still = relative_to_benchmark(np.array([0.1, 0.2, -0.1]), np.zeros(3), YEAR)
    assert still["beta"].reason == "the returns of the benchmark do not vary"
    itself = relative_to_benchmark(np.array([0.1, 0.2, -0.1]), np.array([0.1, 0.2, -0.1]), YEAR)
    assert itself["beta"].value == pytest.approx(1)
    assert itself["alpha"].value == pytest.approx(0, abs=1e-12)
    assert itself["correlation"].value == pytest.approx(1)
    assert (
        itself["information_ratio"].reason == "the returns differ from those of the benchmark by a constant"
    )


def test_too_few_losses_have_no_tail() -> None:
    assert "fewer than 10" in (hill_tail_index(np.linspace(-0.1, 0.1, 100)).reason or "")
    assert hill_tail_index(np.full(200, -0.1)).reason == "the largest losses are equal"


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e150])
def test_dispersion_does_not_depend_on_the_scale(scale: float) -> None:
    values = np.array([1.0, 2.0, 4.0])
    assert dispersion(values * scale) == pytest.approx(np.std(values, ddof=1) * scale, rel=1e-12)


def test_the_global_random_state_is_left_alone() -> None:
    before = np.random.get_state(legacy=False)["state"]["key"].tolist()
    bootstrap_intervals(np.random.default_rng(1).normal(0, 0.02, 100), YEAR, draws=50)
    assert np.random.get_state(legacy=False)["state"]["key"].tolist() == before
