"""The band of returns to come: against closed forms, another library, and itself."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from jesse_mcp.analytics.drift_band import FEWEST_RETURNS, drift_band, why_no_band


def returns(n: int, seed: int = 1, mean: float = 0.001, deviation: float = 0.02) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, deviation, n)


def test_one_day_has_the_quantiles_of_the_sample() -> None:
    sample = returns(500)
    band = drift_band(sample, 1, 0.9, 0, draws=30_000)
    low, high = np.quantile(sample, [0.05, 0.95])
    assert band.low == pytest.approx(low, abs=1e-3)
    assert band.high == pytest.approx(high, abs=1e-3)


def test_many_independent_days_are_lognormal() -> None:
    sample = returns(1_000)
    days = 60
    band = drift_band(sample, days, 0.95, 0, draws=10_000)
    logs = np.log1p(sample)
    spread = math.sqrt(days) * logs.std()
    for found, quantile in zip(band, norm.ppf([0.025, 0.975]), strict=True):
        assert math.log1p(found) == pytest.approx(days * logs.mean() + quantile * spread, abs=0.06 * spread)


def test_every_future_of_two_values_is_counted() -> None:
    # Alternating days have blocks of some length; the extremes are the two compounded constants at most.
    sample = np.array([0.01, -0.01] * 20)
    ends = {round(math.prod(1 + one for one in days) - 1, 12) for days in product([0.01, -0.01], repeat=3)}
    band = drift_band(sample, 3, 0.9999, 0, draws=50_000)
    assert {round(band.low, 12), round(band.high, 12)} <= ends


def test_days_in_a_row_that_resemble_each_other_widen_the_band() -> None:
    generator = np.random.default_rng(5)
    noise = generator.normal(0, 0.02, 3_000)
    trending = np.empty(3_000)
    trending[0] = noise[0]
    for at in range(1, 3_000):
        trending[at] = 0.7 * trending[at - 1] + noise[at] * math.sqrt(1 - 0.7**2)
    along = drift_band(trending, 30, 0.95, 0)
    apart = drift_band(generator.permutation(trending), 30, 0.95, 0)
    # Of an AR(1) process the variance of long sums is (1 + phi) / (1 - phi) times that of independent ones.
    ratio = (along.high - along.low) / (apart.high - apart.low)
    assert 1.6 < ratio < math.sqrt(1.7 / 0.3) + 0.2


def test_more_days_than_there_are_returns() -> None:
    sample = returns(40)
    band = drift_band(sample, 100, 0.95, 0, draws=20_000)
    logs = np.log1p(sample)
    middle = math.expm1(100 * logs.mean())
    assert band.low < middle < band.high


def test_of_those_that_go_on_as_before_so_many_stay_inside() -> None:
    inside = 0
    for seed in range(200):
        whole = returns(280, seed)
        band = drift_band(whole[:250], 30, 0.9, 0, draws=300)
        inside += band.low <= np.prod(1 + whole[250:]) - 1 <= band.high
    # The band knows the mean of the past alone, so it holds a little less often than it says.
    assert 0.80 <= inside / 200 <= 0.94


def test_draws_in_portions_are_the_same() -> None:
    sample = returns(300)
    whole = drift_band(sample, 20, 0.95, 3, draws=10_000)
    again = drift_band(sample, 20, 0.95, 3, draws=10_000)
    assert whole == again
    assert whole != drift_band(sample, 20, 0.95, 4, draws=10_000)


def test_ruin_is_the_end_of_a_future() -> None:
    sample = returns(100)
    sample[::10] = -1.0
    assert drift_band(sample, 50, 0.5, 0).low == -1.0


@given(
    st.lists(st.floats(-0.5, 0.5), min_size=FEWEST_RETURNS, max_size=60).filter(lambda v: np.ptp(v) > 1e-6),
    st.integers(1, 120),
    st.sampled_from([0.6, 0.9, 0.99]),
)
def test_a_wider_confidence_is_a_wider_band(values: list[float], days: int, confidence: float) -> None:
    sample = np.array(values)
    narrow = drift_band(sample, days, confidence, 1, draws=200)
    wide = drift_band(sample, days, (1 + confidence) / 2, 1, draws=200)
    assert wide.low <= narrow.low <= narrow.high <= wide.high
    assert wide.low >= (1 + min(values)) ** days - 1 - 1e-9
    assert wide.high <= (1 + max(values)) ** days - 1 + 1e-9 * (1 + max(values)) ** days


def test_why_there_is_no_band() -> None:
    assert why_no_band(np.zeros(0)) == "there are 0 daily returns, at least 30 are needed"
    assert why_no_band(returns(29)) == "there are 29 daily returns, at least 30 are needed"
    assert why_no_band(np.zeros(30)) == "the returns do not vary"
    assert why_no_band(np.array([*returns(30), math.nan])) == "a return is not a finite number"
    assert why_no_band(returns(30)) is None
