"""Schedules computed by hand, and the arithmetic of a walk forward."""

import itertools
import math
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from jesse_mcp.analytics.walk_forward import (
    Dispersion,
    annual_return,
    daily_returns,
    dispersion,
    efficiency,
    profitable_share,
    stitched,
    undecided,
    verdict,
)
from jesse_mcp.analytics.walk_forward_schedule import Window, schedule


def days(*texts: str) -> tuple[date, ...]:
    return tuple(date.fromisoformat(text) for text in texts)


def shown(windows: tuple[Window, ...]) -> list[str]:
    return [
        f"{w.train_start} {w.train_end} {w.test_start} {w.test_end}{' partial' if w.partial else ''}"
        for w in windows
    ]


def test_rolling_by_hand() -> None:
    start, end = days("2023-01-01", "2023-03-02")  # 60 days
    assert shown(schedule(start, end, 30, 10)) == [
        "2023-01-01 2023-01-31 2023-01-31 2023-02-10",
        "2023-01-11 2023-02-10 2023-02-10 2023-02-20",
        "2023-01-21 2023-02-20 2023-02-20 2023-03-02",
    ]


def test_anchored_by_hand() -> None:
    start, end = days("2023-01-01", "2023-03-02")
    assert shown(schedule(start, end, 30, 10, anchored=True)) == [
        "2023-01-01 2023-01-31 2023-01-31 2023-02-10",
        "2023-01-01 2023-02-10 2023-02-10 2023-02-20",
        "2023-01-01 2023-02-20 2023-02-20 2023-03-02",
    ]


def test_purged_by_hand() -> None:
    start, end = days("2023-01-01", "2023-03-02")
    assert shown(schedule(start, end, 30, 10, purge_days=3, keep_partial=False)) == [
        "2023-01-01 2023-01-31 2023-02-03 2023-02-13",
        "2023-01-11 2023-02-10 2023-02-13 2023-02-23",
    ]


def test_a_partial_last_window_by_hand() -> None:
    start, end = days("2023-01-01", "2023-02-25")  # 55 days
    kept = schedule(start, end, 30, 10)
    assert shown(kept) == [
        "2023-01-01 2023-01-31 2023-01-31 2023-02-10",
        "2023-01-11 2023-02-10 2023-02-10 2023-02-20",
        "2023-01-21 2023-02-20 2023-02-20 2023-02-25 partial",
    ]
    assert (kept[-1].train_days, kept[-1].test_days) == (30, 5)
    assert schedule(start, end, 30, 10, keep_partial=False) == kept[:-1]


def test_a_longer_step_leaves_days_out() -> None:
    start, end = days("2023-01-01", "2023-03-02")
    assert shown(schedule(start, end, 20, 5, step_days=15)) == [
        "2023-01-01 2023-01-21 2023-01-21 2023-01-26",
        "2023-01-16 2023-02-05 2023-02-05 2023-02-10",
        "2023-01-31 2023-02-20 2023-02-20 2023-02-25",
    ]


def test_leap_years_by_hand() -> None:
    start, end = days("2024-01-31", "2024-03-06")
    assert shown(schedule(start, end, 29, 1, step_days=3)) == [
        "2024-01-31 2024-02-29 2024-02-29 2024-03-01",
        "2024-02-03 2024-03-03 2024-03-03 2024-03-04",
    ]
    (common,) = schedule(date(2023, 2, 1), date(2023, 3, 2), 28, 1)
    assert shown((common,)) == ["2023-02-01 2023-03-01 2023-03-01 2023-03-02"]


def test_one_window_that_just_fits() -> None:
    start, end = days("2023-01-01", "2023-01-11")
    assert shown(schedule(start, end, 7, 3)) == ["2023-01-01 2023-01-08 2023-01-08 2023-01-11"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"train_days": 9, "test_days": 3, "purge_days": 1},
            "9 days of training, 1 of purge and at least 1 of test are 11 days; 2023-01-01 to 2023-01-11 "
            "has 10",
        ),
        ({"train_days": 9, "test_days": 3, "keep_partial": False}, "at least 3 of test are 12 days"),
        ({"train_days": 0, "test_days": 3}, "train_days is 0"),
        ({"train_days": 3, "test_days": 0}, "test_days 0"),
        ({"train_days": 3, "test_days": 3, "purge_days": -1}, "purge_days -1"),
        ({"train_days": 3, "test_days": 3, "step_days": 2}, "tested twice"),
        ({"train_days": 3, "test_days": 3, "step_days": 0}, "step_days is 0"),
    ],
)
def test_schedules_that_cannot_be_say_why(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        schedule(date(2023, 1, 1), date(2023, 1, 11), **options)


def test_an_end_before_the_start_has_no_window() -> None:
    with pytest.raises(ValueError, match="has -10"):
        schedule(date(2023, 1, 11), date(2023, 1, 1), 1, 1)


@given(
    length=st.integers(1, 1500),
    train=st.integers(1, 400),
    test=st.integers(1, 200),
    extra=st.integers(0, 100),
    purge=st.integers(0, 30),
    anchored=st.booleans(),
    keep=st.booleans(),
)
def test_what_is_true_of_every_schedule(
    length: int, train: int, test: int, extra: int, purge: int, anchored: bool, keep: bool
) -> None:
    start = date(2019, 12, 1)
    end = start + timedelta(days=length)
    assume(length >= train + purge + (1 if keep else test))
    windows = schedule(
        start,
        end,
        train,
        test,
        step_days=test + extra,
        anchored=anchored,
        purge_days=purge,
        keep_partial=keep,
    )
    for number, window in enumerate(windows):
        assert start <= window.train_start < window.train_end <= window.test_start < window.test_end <= end
        assert (window.test_start - window.train_end).days == purge
        assert window.train_days == (train + number * (test + extra) if anchored else train)
        assert window.partial == (window.test_days < test)
    assert not any(window.partial for window in windows[:-1])
    for one, other in itertools.pairwise(windows):
        assert (other.test_start - one.test_start).days == test + extra
        assert one.test_end <= other.test_start
    # Not one window more would fit.
    following = windows[-1].test_start + timedelta(days=test + extra)
    assert following >= end if keep else following + timedelta(days=test) > end


def test_tests_are_stitched_end_to_end() -> None:
    tests = [np.array([0.1, -0.5]), np.array([]), np.array([1.0])]
    assert stitched(tests, 100.0).tolist() == pytest.approx([100, 110, 55, 110])
    assert stitched([], 100.0).tolist() == [100]
    ruined = stitched([np.array([0.5, -1.5]), np.array([3.0])], 100.0)
    assert ruined.tolist() == [100, 150, 0, 0]


@given(
    st.lists(
        st.lists(st.floats(-0.9, 2.0), max_size=5).map(lambda values: np.array(values, dtype=float)),
        min_size=1,
        max_size=6,
    )
)
def test_stitching_multiplies_the_windows(tests: list[NDArray[np.float64]]) -> None:
    whole = stitched(tests, 1.0)
    separate = math.prod(float(stitched([test], 1.0)[-1]) for test in tests)
    assert whole[-1] == pytest.approx(separate, rel=1e-9)
    assert len(whole) == 1 + sum(len(test) for test in tests)


@pytest.mark.parametrize(
    ("growths", "length", "expected"),
    [
        ([1.21], 730, 0.1),
        ([1.1, 1.1], 730, 0.1),
        ([2.0, 0.5], 400, 0.0),
        ([1.1], 365, 0.1),
        ([0.81], 730, -0.1),
        ([], 0, None),
        ([1.1], 0, None),
        ([1.1, 0.0], 100, None),
        ([1e300, 1e300], 1, None),
    ],
)
def test_annual_returns_by_hand(growths: list[float], length: int, expected: float | None) -> None:
    found = annual_return(growths, length)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-12))


@pytest.mark.parametrize(
    ("balances", "returns"),
    [
        ([100.0, 110.0, 99.0], [0.1, -0.1]),
        ([100.0], []),
        ([], []),
        ([100.0, 50.0, 0.0, 70.0], [-0.5, -1.0]),
        ([100.0, -20.0], [-1.0]),
    ],
)
def test_daily_returns_by_hand(balances: list[float], returns: list[float]) -> None:
    assert daily_returns(np.array(balances)).tolist() == pytest.approx(returns)


def test_efficiency_by_hand() -> None:
    # In sample 20 % a year over two years, out of sample 10 % in one.
    found = efficiency([1.2, 1.2], 730, [1.1], 365)
    assert found.value == pytest.approx(0.5)
    assert found.in_sample_annual == pytest.approx(0.2)
    assert found.out_of_sample_annual == pytest.approx(0.1)
    lost = efficiency([1.2], 365, [0.9], 365)
    assert lost.value == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("inside", "outside", "reason"),
    [
        ([0.9], [1.1], "-10.00% a year"),
        ([1.0], [1.1], "nothing to keep"),
        ([0.0], [1.1], "a training period lost everything"),
        ([1.1], [0.0], "a test period lost everything"),
        ([1.1], [], "a test period"),
    ],
)
def test_efficiency_is_null_with_the_reason(inside: list[float], outside: list[float], reason: str) -> None:
    found = efficiency(inside, 365, outside, 365)
    assert found.value is None
    assert reason in str(found.reason)


@given(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9), st.integers(1, 4000), st.integers(1, 4000))
def test_efficiency_is_finite_or_explained(inside: float, outside: float, one: int, other: int) -> None:
    found = efficiency([inside], one, [outside], other)
    assert (found.value is None) == (found.reason is not None)
    assert found.value is None or math.isfinite(found.value)


def test_the_spread_of_choices_by_hand() -> None:
    found = dispersion(
        [
            {"period": 10, "side": "long", "exit": True, "same": 0.1},
            {"period": 20, "side": "long", "exit": 1, "same": 0.1},
            {"period": 30, "side": "short", "exit": True, "same": 0.1},
        ]
    )
    spread = math.sqrt(200 / 3)
    period = found["period"]
    assert (period.distinct, period.share_of_most_common) == (3, 1 / 3)
    assert (period.standard_deviation, period.coefficient_of_variation) == pytest.approx(
        (spread, spread / 20)
    )
    assert found["side"] == Dispersion(2, 2 / 3, None, None)
    assert (found["exit"].distinct, found["exit"].standard_deviation) == (2, None)
    assert found["same"] == Dispersion(1, 1.0, 0.0, 0.0)
    assert dispersion([]) == {}
    assert dispersion([{"a": -1}, {"a": 1}])["a"] == Dispersion(2, 0.5, 1.0, None)


@pytest.mark.parametrize(
    ("windows", "trades", "growth", "share", "wfe", "expected"),
    [
        (2, 300, 2.0, 1.0, 1.0, "undecided"),
        (3, 29, 1.1, 1.0, 1.0, "undecided"),
        (4, 10, 0.9, 0.0, None, "undecided"),
        (3, 30, 1.0, 1.0, 1.0, "failed"),
        (3, 30, 0.9, 0.0, None, "failed"),
        (3, 30, 1.1, 0.6, 0.5, "robust"),
        (3, 30, 1.1, 0.59, 0.5, "weak"),
        (3, 30, 1.1, 0.6, 0.49, "weak"),
        (3, 30, 1.1, 1.0, None, "weak"),
        (0, 0, 1.0, None, None, "undecided"),
    ],
)
def test_verdicts_at_their_thresholds(
    windows: int, trades: int, growth: float, share: float | None, wfe: float | None, expected: str
) -> None:
    assert verdict(windows, trades, growth, share, wfe) == expected
    assert (undecided(windows, trades) is not None) == (expected == "undecided")


@pytest.mark.parametrize(
    ("windows", "missing", "share", "expected"),
    [
        (4, 9, 1.0, "undecided"),
        (4, 1, 1.0, "robust"),
        (7, 2, 1.0, "undecided"),
        # 3 of 4 tests, 3 of 5 windows.
        (4, 1, 0.75, "robust"),
        (8, 2, 0.7, "weak"),
    ],
)
def test_a_window_without_a_test_is_no_profitable_one(
    windows: int, missing: int, share: float, expected: str
) -> None:
    assert verdict(windows, 100, 1.5, share, 1.0, missing) == expected
    assert (undecided(windows, 100, missing) is not None) == (expected == "undecided")


def test_the_share_of_profitable_windows() -> None:
    assert profitable_share([1.1, 1.0, 0.9, 1.2]) == 0.5
    assert profitable_share([]) is None
