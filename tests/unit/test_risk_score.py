"""The rules of the risk score: monotone, bounded, never better for what is missing, never good after ruin."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jesse_mcp.analytics.leverage_used import gross_leverage
from jesse_mcp.analytics.measures import Measure
from jesse_mcp.analytics.profit_concentration import best_trades_share
from jesse_mcp.analytics.risk_criteria import CRITERIA, Criterion
from jesse_mcp.analytics.risk_score import (
    LEAST_COMPUTED,
    RATINGS,
    Circumstances,
    RiskScore,
    rating_of,
    risk_score,
)
from jesse_mcp.analytics.thinning import thinned

BY_NAME = {criterion.name: criterion for criterion in CRITERIA}
ORDER = [name for name, _ in RATINGS]
ENOUGH = Circumstances(ruined=False, periods=1_500, trades=500, total_return=0.5)
PERFECT = {criterion.name: Measure(criterion.full) for criterion in CRITERIA}
WORST = {criterion.name: Measure(criterion.none) for criterion in CRITERIA}

values = st.floats(allow_nan=True, allow_infinity=True) | st.none()
circumstances = st.builds(
    Circumstances,
    ruined=st.booleans(),
    periods=st.integers(0, 5_000),
    trades=st.none() | st.integers(0, 5_000),
    total_return=st.none() | st.floats(-1, 10),
)


@st.composite
def measured(draw: st.DrawFn) -> dict[str, Measure]:
    """Values around the thresholds, some of them missing."""
    found = {}
    for criterion in CRITERIA:
        low, high = sorted((criterion.none, criterion.full))
        value = draw(st.none() | st.floats(low - 1, high + 1))
        found[criterion.name] = Measure(value, None if value is not None else "missing")
    return found


def comparable(score: RiskScore) -> float:
    """What is not rated is not better than anything that is."""
    return -1.0 if score.score is None else score.score


def test_points_are_a_hundred_and_scales_have_a_direction() -> None:
    assert sum(criterion.points for criterion in CRITERIA) == 100
    assert len(BY_NAME) == len(CRITERIA)
    for one in CRITERIA:
        assert (one.none < one.half < one.full) or (one.none > one.half > one.full), one.name
        assert [one.score(value) for value in (one.none, one.half, one.full)] == [0, 50, 100]


def test_the_scale_is_linear_between_its_thresholds() -> None:
    assert BY_NAME["max_drawdown"].score(0.35) == pytest.approx(25)
    assert BY_NAME["max_drawdown"].score(0.125) == pytest.approx(75)
    assert BY_NAME["deflated_sharpe_moved"].score(0.85) == pytest.approx(75)
    assert BY_NAME["years_moved"].score(2) == pytest.approx(75)
    assert BY_NAME["years_moved"].scale == "0 at 0, 50 at 1, 100 at 3"
    assert BY_NAME["max_drawdown"].scale == "0 at 50%, 50 at 20%, 100 at 5.0%"
    with pytest.raises(ValueError, match="max_drawdown is nan"):
        BY_NAME["max_drawdown"].score(math.nan)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("max_drawdown", 0.0512, "5.1%"),
        ("volatility_moved", 3.21, "321%"),
        ("volatility_moved", 1e307, "1.00e+309%"),
        ("volatility_moved", -1.5e20, "-1.50e+22%"),
        ("years_moved", 1.234, "1.23"),
        ("years_moved", 12_345.6, "12,346"),
        ("years_moved", 6e300, "6e+300"),
    ],
)
def test_a_value_is_written_so_that_it_can_be_read(name: str, value: float, shown: str) -> None:
    assert BY_NAME[name].shown(value) == shown


@settings(deadline=None)
@given(st.sampled_from(CRITERIA), st.floats(allow_nan=False, allow_infinity=False))
def test_no_value_is_a_page_of_digits(criterion: Criterion, value: float) -> None:
    assert len(criterion.shown(value)) <= 15


def test_the_best_and_the_worst_there_is() -> None:
    best, worst = risk_score(PERFECT, ENOUGH), risk_score(WORST, ENOUGH)
    assert (best.score, best.rating, best.caps, best.computed) == (100, "low", (), 1)
    assert (worst.score, worst.rating) == (0, "extreme")


def test_an_average_record_adds_up() -> None:
    halves = {criterion.name: Measure(criterion.half) for criterion in CRITERIA}
    found = risk_score(halves, ENOUGH)
    assert found.score == found.uncapped == pytest.approx(50)
    assert found.rating == "elevated"
    assert [part.earned for part in found.parts] == [criterion.points / 2 for criterion in CRITERIA]


@pytest.mark.parametrize(
    ("score", "rating"),
    [(100, "low"), (80, "low"), (79.9, "moderate"), (60, "moderate"), (40, "elevated"), (19.9, "extreme")],
)
def test_classes(score: float, rating: str) -> None:
    assert rating_of(score) == rating


@pytest.mark.parametrize(
    ("changed", "bounds", "rating", "words"),
    [
        ({}, {"ruined": True}, "extreme", "everything was lost"),
        ({"max_drawdown": 0.9}, {}, "extreme", "counts as a total loss"),
        ({}, {"periods": 29}, "high", "29 returns other than zero are fewer than 30"),
        ({}, {"periods": 1}, "high", "1 return other than zero is fewer than 30"),
        ({}, {"trades": 1}, "high", "1 closed trade is fewer than 30"),
        ({}, {"trades": 29}, "high", "29 closed trades are fewer than 30"),
        ({}, {"total_return": -0.2}, "high", "a loss of 20.0%"),
        ({}, {"total_return": -0.001}, "elevated", "a loss of 0.1%"),
        ({}, {"total_return": None}, "high", "nobody knows"),
        ({}, {"trades": None}, "high", "does not know of trades"),
        ({"years_moved": 0.2}, {}, "elevated", "0.20 years that moved is shorter than 0.25"),
        ({"years_moved": 0.9}, {}, "moderate", "shorter than a year"),
        ({"years_moved": None}, {}, "elevated", "of unknown length"),
        ({"deflated_sharpe_moved": 0.49}, {}, "elevated", "a coin toss"),
        ({"deflated_sharpe_moved": 0.94}, {}, "moderate", "below 0.95"),
        ({"deflated_sharpe_moved": None}, {}, "elevated", "is unknown"),
    ],
)
def test_caps(changed: dict[str, float | None], bounds: dict[str, object], rating: str, words: str) -> None:
    measures = PERFECT | {name: Measure(value, "missing") for name, value in changed.items()}
    found = risk_score(measures, replace(ENOUGH, **bounds))  # type: ignore[arg-type]
    assert found.rating == rating
    assert [cap.rating for cap in found.caps] == [rating]
    assert words in found.caps[0].reason
    assert found.uncapped is not None
    assert found.score is not None
    assert found.score < found.uncapped or changed


@pytest.mark.parametrize("bounds", [{"periods": 30}, {"trades": 30}, {"total_return": 0}])
def test_just_enough_is_no_cap(bounds: dict[str, float]) -> None:
    assert risk_score(PERFECT, replace(ENOUGH, **bounds)).caps == ()  # type: ignore[arg-type]


def test_several_caps_the_most_severe_first() -> None:
    found = risk_score(PERFECT, Circumstances(ruined=False, periods=10, trades=None, total_return=0))
    assert [cap.rating for cap in found.caps] == ["high", "high"]
    assert found.score == pytest.approx(39.9)


def test_too_little_is_not_rated() -> None:
    known = {"max_drawdown": Measure(0.0), "volatility_moved": Measure(0.1), "years_moved": Measure(3.0)}
    found = risk_score(known, ENOUGH)
    assert (found.score, found.rating, found.uncapped) == (None, "not rated", None)
    assert found.reason is not None
    assert "45 of 100 points could be computed, 60% are needed" in found.reason
    assert found.most_possible == 100
    enough = known | {"daily_expected_shortfall": Measure(0.01)}
    assert sum(BY_NAME[name].points for name in enough) == 100 * LEAST_COMPUTED
    assert risk_score(enough, ENOUGH).score == pytest.approx(59.9)


@settings(deadline=None)
@given(
    measured(), st.sets(st.sampled_from(sorted(BY_NAME))), circumstances | st.just(ENOUGH), st.integers(0, 60)
)
def test_unknown_trades_are_never_better_than_known_ones(
    drawn: dict[str, Measure], changed: set[str], bounds: Circumstances, trades: int
) -> None:
    """However few, and whatever is known of them."""
    measures = PERFECT | {name: drawn[name] for name in changed}
    known = risk_score(measures, replace(bounds, trades=trades))
    without = {"liquidation_distance", "best_trades_share"}
    left = {name: measure for name, measure in measures.items() if name not in without}
    unknown = risk_score(left, replace(bounds, trades=None))
    assert comparable(unknown) <= comparable(known)


@settings(deadline=None)
@given(measured(), st.sets(st.sampled_from(sorted(BY_NAME))), circumstances | st.just(ENOUGH))
def test_nothing_unknown_is_better_than_the_worst(
    drawn: dict[str, Measure], changed: set[str], bounds: Circumstances
) -> None:
    measures = PERFECT | {name: drawn[name] for name in changed}
    worst = replace(bounds, trades=0, total_return=-1.0)
    unknown = replace(bounds, trades=None, total_return=None)
    assert comparable(risk_score(measures, unknown)) <= comparable(risk_score(measures, worst))


def test_without_a_drawdown_there_is_no_score() -> None:
    found = risk_score(PERFECT | {"max_drawdown": Measure(None, "no balances")}, ENOUGH)
    assert found.score is None
    assert found.reason == "without a maximum drawdown nothing can be said of the risk: no balances"


def test_ruin_is_zero_even_where_nothing_else_is_known() -> None:
    found = risk_score({}, Circumstances(ruined=True, periods=1, trades=None, total_return=None))
    assert (found.score, found.rating, found.reason) == (0, "extreme", None)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(sorted(BY_NAME)), st.builds(Measure, values, st.none())), circumstances
)
def test_anything_ends_in_numbers_or_reasons(measures: dict[str, Measure], bounds: Circumstances) -> None:
    found = risk_score(measures, bounds)
    assert 0 <= found.most_possible <= 100
    assert 0 <= found.computed <= 1
    assert (found.score is None) == (found.reason is not None) == (found.rating == "not rated")
    if found.score is not None:
        assert 0 <= found.score <= (100 if found.uncapped is None else found.uncapped)
        assert found.rating == rating_of(found.score)
        assert all(ORDER.index(found.rating) >= ORDER.index(cap.rating) for cap in found.caps)
    for part in found.parts:
        assert (part.score is None) == (part.reason is not None) == (part.value is None)
        assert 0 <= part.earned <= part.criterion.points
        assert part.value is None or math.isfinite(part.value)


@settings(deadline=None)
@given(measured(), circumstances, st.sampled_from(CRITERIA), st.floats(-2, 3_000), st.floats(-2, 3_000))
def test_worse_is_never_better(
    measures: dict[str, Measure], bounds: Circumstances, criterion: Criterion, one: float, other: float
) -> None:
    better, worse = sorted((one, other), reverse=not criterion.better_is_less)
    scores = [
        comparable(risk_score(measures | {criterion.name: Measure(value)}, bounds))
        for value in (better, worse)
    ]
    assert scores[0] >= scores[1]


@settings(deadline=None)
@given(measured(), circumstances, st.sampled_from(CRITERIA), st.floats(-2, 3_000))
def test_missing_is_never_better_than_measured(
    measures: dict[str, Measure], bounds: Circumstances, criterion: Criterion, value: float
) -> None:
    known = risk_score(measures | {criterion.name: Measure(value)}, bounds)
    unknown = risk_score(measures | {criterion.name: Measure(None, "missing")}, bounds)
    assert comparable(known) >= comparable(unknown)
    assert unknown.most_possible >= known.most_possible - 1e-9


@settings(deadline=None)
@given(measured(), circumstances)
def test_ruin_never_leaves_the_lowest_class(measures: dict[str, Measure], bounds: Circumstances) -> None:
    found = risk_score(measures, replace(bounds, ruined=True))
    assert (found.score, found.rating) == (0, "extreme")


@settings(deadline=None)
@given(measured(), st.integers(0, 29), st.none() | st.integers(0, 29))
def test_a_short_sample_is_never_rated_well(
    measures: dict[str, Measure], periods: int, trades: int | None
) -> None:
    found = risk_score(measures, Circumstances(ruined=False, periods=periods, trades=trades, total_return=5))
    assert found.rating in {"high", "extreme", "not rated"}


@settings(deadline=None)
@given(st.lists(st.floats(-1e308, 1e308), max_size=40))
def test_concentration_is_a_share(profits: list[float]) -> None:
    found = best_trades_share(np.array(profits))
    assert (found.value is None) == (found.reason is not None) == (not any(p > 0 for p in profits))
    assert found.value is None or 0 < found.value <= 1


def test_concentration() -> None:
    assert best_trades_share(np.ones(100)).value == pytest.approx(0.1)
    assert best_trades_share(np.array([5.0, -9.0])).value == 1
    assert best_trades_share(np.array([6.0, 1.0, 1.0, 1.0, 1.0, -3.0])).value == pytest.approx(0.6)
    # The best two of eleven wins: a tenth, rounded up.
    assert best_trades_share(np.array([30.0, 20.0] + [10.0] * 9)).value == pytest.approx(50 / 140)
    assert best_trades_share(np.empty(0)).reason == "no trade was closed"
    assert best_trades_share(np.array([-1.0])).reason == "no trade won"
    assert best_trades_share(np.array([math.nan])).reason == "a return is not a finite number"


def leverage(*trades: tuple[float, int, int], profits: list[float] | None = None) -> list[float]:
    sizes, opened, closed = (np.array(column) for column in zip(*trades, strict=True))
    times, balances = np.array([0, 100, 200]), np.array([1_000.0, 500.0, 0.0])
    earned = np.array(profits or [0.0] * len(trades))
    return list(gross_leverage(sizes.astype(float), opened, closed, earned, times, balances).tolist())


def test_leverage_is_of_what_is_open_at_the_same_time() -> None:
    assert leverage((500, 10, 50), (1_500, 20, 60), (300, 50, 70)) == [0.5, 2, 1.8]
    assert leverage((500, 10, 150), (500, 100, 150)) == [0.5, 2], "the smaller balance, of that very moment"
    assert leverage((700, -5, 5)) == [0.7], "before the first balance is known, it is that one"
    assert leverage((700, 30, 30)) == [0.7], "a trade without length counts at its opening"
    assert math.isnan(leverage((1, 1, 2), (1, 5, 6), profits=[-1_000, 0])[1]), "nothing over nothing"
    assert math.isnan(leverage((1, 1, 2), (1, 5, 6), profits=[math.inf, 0])[1])


def test_leverage_is_of_the_balance_that_was_there_at_the_opening() -> None:
    gained = leverage((900, 10, 20), (990, 20, 30), (891, 35, 35), (891, 36, 40), profits=[100, -110, 55, 0])
    assert gained == pytest.approx([0.9, 0.9, 0.9, 891 / 1_045])
    beside = leverage((300, 10, 20), (300, 30, 300), (300, 150, 160), profits=[200, 0, 0])
    assert beside == pytest.approx([0.3, 300 / 1_200, 600 / 500]), "the smaller one, while another is open"


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-0.5, 1), st.integers(1, 40)), min_size=1, max_size=30))
def test_a_constant_share_of_the_balance_is_that_leverage(trades: list[tuple[float, int]]) -> None:
    """However often it trades between two balances, and across them."""
    balance, clock, rows, marks = 1_000.0, 0, [], [1_000.0]
    for gain, length in trades:
        rows.append((0.9 * balance, clock, clock + length, balance * gain))
        clock += length
        marks += [balance * (1 + gain / 2)] * (clock // 24 + 1 - len(marks))
        balance *= 1 + gain
    sizes, opened, closed, profits = (np.array(column) for column in zip(*rows, strict=True))
    times = np.arange(len(marks)) * 24
    found = gross_leverage(sizes, opened, closed, profits, times, np.array(marks))
    assert found == pytest.approx(np.full(len(rows), 0.9), rel=1e-9)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 50), st.integers(0, 20)), min_size=1, max_size=30)
)
def test_leverage_is_the_sum_over_open_trades(trades: list[tuple[float, int, int]]) -> None:
    sizes = np.array([size for size, _, _ in trades])
    opened = np.array([start for _, start, _ in trades])
    closed = np.array([start + length for _, start, length in trades])
    found = gross_leverage(sizes, opened, closed, np.zeros(len(sizes)), np.array([0]), np.array([100.0]))
    for number, start in enumerate(opened):
        running = (opened <= start) & (closed > start)
        expected = max(float(sizes[running].sum()), float(sizes[number])) / 100
        assert found[number] == pytest.approx(expected, rel=1e-9, abs=1e-7)


@settings(deadline=None)
@given(st.lists(st.floats(-10, 10) | st.just(math.nan), max_size=300), st.integers(4, 40))
def test_a_thinned_series_keeps_its_extremes(drawn: list[float], most: int) -> None:
    series = np.array(drawn, dtype=np.float64)
    kept = thinned(series, most)
    assert len(kept) <= max(most, 0) or len(kept) == len(series) <= most
    assert (np.diff(kept) > 0).all()
    if len(series):
        assert (kept[0], kept[-1]) == (0, len(series) - 1)
    if np.isfinite(series).any():
        assert np.nanmax(series[kept]) == np.nanmax(series)
        assert np.nanmin(series[kept]) == np.nanmin(series)
