"""Buy and hold: worked examples, an independent computation, properties, degenerate input."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jesse_mcp.analytics.buy_and_hold import buy_and_hold, equal_shares

prices = st.floats(min_value=1e-6, max_value=1e6)


def test_worked_example() -> None:
    # 100 -> 150 -> 75 -> 120: up 20 %, and 75 is half of the peak of 150.
    result = buy_and_hold(100.0, np.array([150.0, 75.0, 120.0]))
    assert result["return_percentage"] == pytest.approx(20.0, abs=1e-12)
    assert result["max_drawdown_percentage"] == -50.0


def test_the_entry_is_a_peak() -> None:
    assert buy_and_hold(100.0, np.array([80.0]))["max_drawdown_percentage"] == pytest.approx(-20.0)


def test_sp500_from_the_2007_high_to_the_2009_low() -> None:
    # Closes of 9 October 2007 and 9 March 2009; the widely published bear market is -56.8 %.
    result = buy_and_hold(1565.15, np.array([1468.36, 676.53]))
    assert result["max_drawdown_percentage"] is not None
    assert round(result["max_drawdown_percentage"], 1) == -56.8


@given(prices, st.lists(prices, min_size=1, max_size=50))
def test_equals_a_plain_loop(entry: float, closes: list[float]) -> None:
    peak, worst = entry, 0.0
    for price in closes:
        peak = max(peak, price)
        worst = min(worst, (price / peak - 1) * 100)
    result = buy_and_hold(entry, np.array(closes))
    assert result["max_drawdown_percentage"] == pytest.approx(worst, rel=1e-12, abs=1e-12)
    assert result["return_percentage"] == pytest.approx((closes[-1] / entry - 1) * 100, rel=1e-12)


@given(prices, st.lists(prices, min_size=1, max_size=50), st.floats(min_value=0.01, max_value=100))
def test_the_unit_of_price_does_not_matter(entry: float, closes: list[float], factor: float) -> None:
    plain = buy_and_hold(entry, np.array(closes))
    scaled = buy_and_hold(entry * factor, np.array(closes) * factor)
    for name, value in plain.items():
        assert scaled[name] == pytest.approx(value, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    "closes",
    [[], [math.nan], [1.0, math.inf], [0.0], [-1.0, 2.0]],
    ids=["empty", "nan", "inf", "zero", "negative"],
)
def test_what_has_no_answer_has_none(closes: list[float]) -> None:
    assert buy_and_hold(1.0, np.array(closes)) == {
        "return_percentage": None,
        "max_drawdown_percentage": None,
    }


def test_constant_prices() -> None:
    assert buy_and_hold(5.0, np.full(3, 5.0)) == {"return_percentage": 0.0, "max_drawdown_percentage": 0.0}


def test_equal_shares_of_series_with_other_minutes() -> None:
    first = (np.array([1.0, 2.0, 4.0]), np.array([1.1, 1.2, 1.4]))
    second = (np.array([2.0, 3.0]), np.array([0.8, 0.6]))
    # At 1: (1.1 + 1) / 2; at 2: (1.2 + 0.8) / 2; at 3: (1.2 + 0.6) / 2; at 4: (1.4 + 0.6) / 2.
    np.testing.assert_allclose(equal_shares([first, second]), [1.05, 1.0, 0.9, 1.0], rtol=1e-15)


def test_equal_shares_of_one_series_is_that_series() -> None:
    worth = np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(equal_shares([(np.arange(3.0), worth)]), worth)
