"""Hedge ratios against closed forms, scipy, statsmodels and a state space model written out."""

import math
import warnings
from typing import get_args

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.regression.rolling import RollingOLS
from statsmodels.tsa.statespace.mlemodel import MLEModel

from jesse_mcp.analytics.cointegration import johansen
from jesse_mcp.analytics.hedge_ratio import (
    HedgeMethod,
    hedge_path,
    johansen_hedge,
    kalman_hedge,
    ordinary_least_squares,
    rolling_least_squares,
    total_least_squares,
)

Floats = NDArray[np.float64]
FORMATION = 120
STATIC: tuple[HedgeMethod, ...] = ("ols", "total_least_squares", "johansen")


def pair(seed: int = 1, periods: int = 300) -> tuple[Floats, Floats]:
    noise = np.random.default_rng(seed)
    x = noise.normal(0, 0.02, periods).cumsum()
    return 0.3 + 0.8 * x + noise.normal(0, 0.01, periods), x


def test_ordinary_least_squares_of_scipy() -> None:
    y, x = pair()
    theirs = stats.linregress(x, y)
    found = ordinary_least_squares(y, x)
    assert (found.ratio, found.intercept) == pytest.approx((theirs.slope, theirs.intercept), rel=1e-12)


def test_a_line_by_hand() -> None:
    """x 1, 2, 3 and y 1, 3, 2: both moments are 2 and 1, so 0.5 by OLS and 1 by right angles."""
    y, x = np.array([1.0, 3.0, 2.0]), np.array([1.0, 2.0, 3.0])
    assert ordinary_least_squares(y, x).ratio == pytest.approx(0.5, rel=1e-15)
    assert total_least_squares(y, x).ratio == pytest.approx(1.0, rel=1e-15)
    assert ordinary_least_squares(y, x).intercept == pytest.approx(1.0, rel=1e-15)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_total_least_squares_is_orthogonal_regression(seed: int) -> None:
    """The first principal axis (Golub & Van Loan 1980), and scipy's orthogonal distance regression."""
    y, x = pair(seed)
    found = total_least_squares(y, x)
    axis = np.linalg.svd(np.column_stack((x - x.mean(), y - y.mean())))[2][0]
    assert found.ratio == pytest.approx(axis[1] / axis[0], rel=1e-10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from scipy import odr

        fit = odr.ODR(odr.Data(x, y), odr.unilinear, beta0=[1.0, 0.0]).run()
    assert (found.ratio, found.intercept) == pytest.approx(tuple(fit.beta), rel=1e-6)


def test_total_least_squares_is_the_inverse_of_itself_and_ols_is_not() -> None:
    y, x = pair()
    assert total_least_squares(x, y).ratio == pytest.approx(1 / total_least_squares(y, x).ratio, rel=1e-10)
    product = ordinary_least_squares(x, y).ratio * ordinary_least_squares(y, x).ratio
    assert product == pytest.approx(float(np.corrcoef(x, y)[0, 1]) ** 2, rel=1e-10)


def test_total_least_squares_of_a_falling_line() -> None:
    x = np.arange(10.0)
    found = total_least_squares(5 - 2 * x, x)
    assert (found.ratio, found.intercept) == pytest.approx((-2.0, 5.0), rel=1e-12)


def test_johansen_has_the_ratio_of_its_first_vector() -> None:
    y, x = pair(periods=1_000)
    vector = johansen(np.column_stack((y, x))).vectors[:, 0]
    found = johansen_hedge(y, x)
    assert found.ratio == pytest.approx(-vector[1] / vector[0], rel=1e-12)
    assert found.ratio == pytest.approx(0.8, abs=0.02)
    assert johansen_hedge(x, y).ratio == pytest.approx(1 / found.ratio, rel=1e-9)


def test_rolling_least_squares_is_that_of_each_window() -> None:
    y, x = pair()
    found = rolling_least_squares(y, x, 40)
    assert np.isnan(found.ratios[:39]).all()
    for at in (39, 40, 150, 299):
        own = ordinary_least_squares(y[at - 39 : at + 1], x[at - 39 : at + 1])
        assert found.ratios[at] == pytest.approx(own.ratio, rel=1e-9)
        assert found.intercepts[at] == pytest.approx(own.intercept, rel=1e-9)


def test_rolling_least_squares_is_the_same_in_one_piece() -> None:
    """Longer than what is done at once, against statsmodels over all of it; and it can be stopped."""
    y, x = pair(periods=4_100)
    found = rolling_least_squares(y, x, 30)
    whole = RollingOLS(y, sm.add_constant(x), window=30).fit(method="lstsq", params_only=True).params
    assert found.intercepts.tolist()[29:] == whole[29:, 0].tolist()
    assert found.ratios.tolist()[29:] == whole[29:, 1].tolist()
    pauses: list[int] = []
    rolling_least_squares(y, x, 30, lambda: pauses.append(1))
    assert len(pauses) == 3


def test_a_filter_that_never_forgets_is_recursive_least_squares_of_statsmodels() -> None:
    y, x = pair()
    found = kalman_hedge(y, x, FORMATION, math.inf)
    theirs = sm.RecursiveLS(y, sm.add_constant(x)).fit().recursive_coefficients.filtered
    assert found.intercepts[FORMATION:] == pytest.approx(theirs[0][FORMATION:], rel=1e-6)
    assert found.ratios[FORMATION:] == pytest.approx(theirs[1][FORMATION:], rel=1e-6)


@pytest.mark.parametrize("memory", [20.0, 200.0])
def test_a_filter_that_forgets_is_weighted_least_squares(memory: float) -> None:
    """West & Harrison 1997: weights fall by the discount a bar; the formation counts as one old block."""
    y, x = pair()
    found = kalman_hedge(y, x, FORMATION, memory)
    discount = 1 - 1 / memory
    for at in (FORMATION, FORMATION + 1, 299):
        ages = at - np.arange(at + 1)
        weights = discount ** np.where(np.arange(at + 1) < FORMATION, at - FORMATION + 1, ages)
        theirs = sm.WLS(y[: at + 1], sm.add_constant(x[: at + 1]), weights=weights).fit().params
        assert (found.intercepts[at], found.ratios[at]) == pytest.approx(tuple(theirs), rel=1e-8)


class RandomWalkCoefficients(MLEModel):  # type: ignore[misc]
    """The state space model of statsmodels with given covariances of the steps."""

    def __init__(self, y: Floats, x: Floats, start: Floats, spread: Floats, steps: Floats) -> None:
        super().__init__(y, k_states=2, k_posdef=2)
        self["design"] = np.vstack((np.ones(len(x)), x))[None]
        self["obs_cov"] = np.eye(1)
        self["transition"] = self["selection"] = np.eye(2)
        self["state_cov"] = np.moveaxis(steps, 0, 2)
        self.ssm.initialize_known(start, spread)

    @property
    def start_params(self) -> Floats:
        return np.array([])


def test_the_filter_is_that_of_a_state_space_model_of_statsmodels() -> None:
    """With the steps the discount implies: W = C (1 - d) / d, given to an independent Kalman filter."""
    y, x = pair()
    memory = 50.0
    discount = 1 - 1 / memory
    found = kalman_hedge(y, x, FORMATION, memory)
    before = np.column_stack((np.ones(FORMATION), x[:FORMATION]))
    first = ordinary_least_squares(y[:FORMATION], x[:FORMATION])
    covariance = np.linalg.inv(before.T @ before)
    start = np.asarray(covariance / discount, dtype=np.float64)
    steps = []
    for seen in x[FORMATION:]:
        widened = covariance / discount
        row = np.array([1.0, seen])
        covariance = widened - np.outer(widened @ row, row @ widened) / (row @ widened @ row + 1)
        # What is added on the way from this bar to the next.
        steps.append(covariance * (1 - discount) / discount)
    model = RandomWalkCoefficients(
        y[FORMATION:], x[FORMATION:], np.array([first.intercept, first.ratio]), start, np.array(steps)
    )
    theirs = model.ssm.filter().filtered_state
    assert found.intercepts[FORMATION:] == pytest.approx(theirs[0], rel=1e-7)
    assert found.ratios[FORMATION:] == pytest.approx(theirs[1], rel=1e-7)


def test_a_window_in_which_x_stands_still_has_no_ratio() -> None:
    """Any line through one place fits as well; the one of the least norm would be an invention."""
    y, x = pair()
    x[120:200] = x[120]
    found = rolling_least_squares(y, x, 40)
    for known in (found.ratios, found.intercepts):
        assert (np.isnan(known[39:]).nonzero()[0] + 39).tolist() == list(range(159, 200))
    flat = rolling_least_squares(y, np.full(300, 0.7), 40)
    assert np.isnan(flat.ratios).all()


@pytest.mark.parametrize("memory", [10, 20])
def test_a_filter_that_forgets_what_it_cannot_learn_anew_has_no_ratio(memory: int) -> None:
    y, x = pair(periods=5_000)
    x[300:] = x[300]
    found = kalman_hedge(y, x, FORMATION, memory)
    last = int(np.flatnonzero(np.isfinite(found.ratios))[-1])
    assert 300 + 10 * memory < last < 300 + 100 * memory
    assert np.isfinite(found.ratios[FORMATION : last + 1]).all()
    assert np.isnan(found.ratios[last + 1 :]).all()
    assert np.isnan(found.intercepts[last + 1 :]).all()
    cut = kalman_hedge(y[: last + 1], x[: last + 1], FORMATION, memory)
    assert cut.ratios[FORMATION:].tolist() == found.ratios[FORMATION : last + 1].tolist()


def test_the_filter_follows_a_ratio_that_changes() -> None:
    noise = np.random.default_rng(3)
    x = 1 + noise.normal(0, 0.05, 2_000).cumsum()
    ratio = np.where(np.arange(2_000) < 1_000, 0.8, 1.6)
    y = ratio * x + noise.normal(0, 0.01, 2_000)
    found = kalman_hedge(y, x, FORMATION, 50).ratios
    assert found[999] == pytest.approx(0.8, abs=0.05)
    assert found[1_999] == pytest.approx(1.6, abs=0.05)


@pytest.mark.parametrize("method", get_args(HedgeMethod))
def test_the_past_does_not_change_with_the_future(method: HedgeMethod) -> None:
    y, x = pair()
    whole = hedge_path(method, y, x, FORMATION, 60)
    for cut in (FORMATION + 1, 150, 222, 299):
        part = hedge_path(method, y[:cut], x[:cut], FORMATION, 60)
        assert part.ratios[FORMATION:].tolist() == whole.ratios[FORMATION:cut].tolist()
        assert part.intercepts[FORMATION:].tolist() == whole.intercepts[FORMATION:cut].tolist()


@pytest.mark.parametrize("method", STATIC)
def test_one_hedge_for_all_is_of_the_formation_alone(method: HedgeMethod) -> None:
    y, x = pair()
    found = hedge_path(method, y, x, FORMATION, 60)
    assert len(set(found.ratios[FORMATION:].tolist())) == 1
    assert np.isnan(found.ratios[:FORMATION]).all()
    other = hedge_path(method, np.append(y[:FORMATION], -50 * y[FORMATION:]), x, FORMATION, 60)
    assert other.ratios[FORMATION] == found.ratios[FORMATION]


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 500),
    scale=st.floats(0.01, 100),
    shift=st.floats(-5, 5),
    method=st.sampled_from(["ols", "rolling_ols", "kalman", "johansen"]),
)
def test_ratios_follow_the_units(seed: int, scale: float, shift: float, method: HedgeMethod) -> None:
    y, x = pair(seed, 200)
    plain = hedge_path(method, y, x, FORMATION, 60).ratios[FORMATION:]
    moved = hedge_path(method, y, scale * (x + shift), FORMATION, 60).ratios[FORMATION:]
    assert moved * scale == pytest.approx(plain, rel=1e-5, abs=1e-7)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 500), shift=st.floats(-5, 5))
def test_total_least_squares_does_not_depend_on_the_origin(seed: int, shift: float) -> None:
    y, x = pair(seed, 100)
    moved = total_least_squares(y + shift, x - shift).ratio
    assert moved == pytest.approx(total_least_squares(y, x).ratio, rel=1e-8)


def test_what_gives_no_ratio_is_refused() -> None:
    y, x = pair()
    flat = np.full(300, 0.7)
    for method in STATIC[:2]:
        with pytest.raises(ValueError, match="does not move"):
            hedge_path(method, y, flat, FORMATION, 60)
    with pytest.raises(ValueError, match="constant"):
        hedge_path("johansen", y, flat, FORMATION, 60)
    with pytest.raises(ValueError, match="does not move"):
        kalman_hedge(y, flat, FORMATION, 60)
    with pytest.raises(ValueError, match="do not covary"):
        total_least_squares(np.array([1.0, 0.0, 1.0]), np.array([1.0, 2.0, 3.0]))
    with pytest.raises(ValueError, match="1 points"):
        ordinary_least_squares(y[:1], x[:1])
    with pytest.raises(ValueError, match="0 points"):
        ordinary_least_squares(y[:0], x[:0])
    with pytest.raises(ValueError, match="window is 301"):
        rolling_least_squares(y, x, 301)
    with pytest.raises(ValueError, match="memory is 1"):
        kalman_hedge(y, x, FORMATION, 1)
