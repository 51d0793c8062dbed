"""Tests of cointegration and half-lives against papers, statsmodels and closed forms."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import eigh
from statsmodels.datasets import danish_data
from statsmodels.tsa.adfvalues import mackinnonp
from statsmodels.tsa.ar_model import AutoReg
from statsmodels.tsa.stattools import coint
from statsmodels.tsa.vector_ar.vecm import coint_johansen

from jesse_mcp.analytics.cointegration import (
    MOST_SERIES,
    Trend,
    engle_granger,
    johansen,
    schwert_lags,
    why_no_cointegration_test,
)
from jesse_mcp.analytics.mean_reversion import half_life, why_no_half_life

Floats = NDArray[np.float64]


def walks(seed: int, periods: int = 300, series: int = 2) -> Floats:
    return np.random.default_rng(seed).normal(size=(periods, series)).cumsum(axis=0)


def ornstein_uhlenbeck(phi: float, seed: int, periods: int) -> Floats:
    shocks = np.random.default_rng(seed).normal(size=periods)
    values = np.empty(periods)
    values[0] = shocks[0] / math.sqrt(1 - phi**2)
    for at in range(1, periods):
        values[at] = phi * values[at - 1] + shocks[at]
    return values


@pytest.mark.parametrize("trend", ["c", "ct"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_engle_granger_is_that_of_statsmodels(trend: Trend, seed: int) -> None:
    table = walks(seed)
    found = engle_granger(table[:, 0], table[:, 1], trend=trend)
    theirs = coint(
        table[:, 0], table[:, 1], trend=trend, maxlag=found.lag, autolag=None, return_results=False
    )
    assert found.statistic == pytest.approx(theirs[0], rel=1e-10)
    assert found.p_value == pytest.approx(theirs[1], rel=1e-9)
    assert found.critical_values == pytest.approx(tuple(theirs[2]), rel=1e-12)
    line = found.intercept + found.hedge_ratio * table[:, 1] + found.slope * np.arange(len(table))
    assert table[:, 0] - line == pytest.approx(found.residuals, abs=1e-10)
    assert found.residuals @ table[:, 1] == pytest.approx(0, abs=1e-7)


# MacKinnon 2010, tables 2 and 3: beta_inf, beta_1, beta_2, beta_3 of two series at 1, 5 and 10 %.
MACKINNON_2010: dict[Trend, tuple[tuple[float, float, float, float], ...]] = {
    "c": ((-3.89644, -10.9519, -22.527, 0), (-3.33613, -6.1101, -6.823, 0), (-3.04445, -4.2412, -2.720, 0)),
    "ct": (
        (-4.32762, -15.4387, -35.679, 0),
        (-3.78057, -9.5106, -12.074, 0),
        (-3.49631, -7.0815, -7.538, 21.892),
    ),
}
#: statsmodels has a beta_2 of -33.527 at 1 %, where egranger of Stata has -22.527 as above.
APART = 11.0


@pytest.mark.parametrize("trend", ["c", "ct"])
@pytest.mark.parametrize("periods", [60, 500])
def test_critical_values_are_those_of_mackinnon_2010(trend: Trend, periods: int) -> None:
    table = walks(5, periods)
    found = engle_granger(table[:, 0], table[:, 1], trend=trend).critical_values
    size = periods - 1
    expected = [a + b / size + c / size**2 + d / size**3 for a, b, c, d in MACKINNON_2010[trend]]
    assert found[1:] == pytest.approx(expected[1:], abs=1e-9)
    assert found[0] == pytest.approx(expected[0], abs=1e-9 + (APART / size**2 if trend == "c" else 0))


@pytest.mark.parametrize(("place", "level"), [(0, 0.01), (1, 0.05), (2, 0.10)])
def test_p_values_and_critical_values_agree(place: int, level: float) -> None:
    """MacKinnon 1994 and 2010 are two approximations of one distribution."""
    assert mackinnonp(MACKINNON_2010["c"][place][0], regression="c", N=2) == pytest.approx(level, rel=0.03)


@pytest.mark.parametrize(
    ("n", "lags"), [(30, 2), (100, 4), (244, 4), (245, 5), (500, 5), (1_000, 7), (10_000, 12)]
)
def test_lags_are_those_of_schwert_1989(n: int, lags: int) -> None:
    assert schwert_lags(n) == lags


def canonical_correlations(table: Floats, *, restricted: bool, seasons: int) -> Floats:
    """Squared, as in Johansen & Juselius 1990, equation 7, for two lags in levels."""
    changes = np.diff(table, axis=0)
    now, before, levels = changes[1:], changes[:-1], table[1:-1]
    rows = len(now)
    quarter = (np.arange(2, rows + 2) % 4)[:, None] == np.arange(1, 4)
    fixed = [before] + ([quarter - 0.25] if seasons else [])
    if restricted:
        levels = np.column_stack((levels, np.ones(rows)))
    else:
        fixed.append(np.ones((rows, 1)))
    regressors = np.column_stack(fixed)

    def rest(values: Floats) -> Floats:
        return np.asarray(values - regressors @ np.linalg.lstsq(regressors, values, rcond=None)[0])

    first, second = rest(now), rest(levels)
    moments = second.T @ first @ np.linalg.solve(first.T @ first, first.T @ second)
    values = eigh(moments, second.T @ second, eigvals_only=True)
    return np.asarray(values[::-1][: table.shape[1]])


def danish() -> Floats:
    return np.asarray(danish_data.load_pandas().data[["lrm", "lry", "ibo", "ide"]].to_numpy())


def test_the_danish_money_demand_of_johansen_and_juselius_1990() -> None:
    """As printed there, with seasons and a constant in the relation; without these it is our test."""
    table = danish()
    rows = len(table) - 2
    printed = canonical_correlations(table, restricted=True, seasons=4)
    assert np.round(printed, 4).tolist() == [0.4332, 0.1776, 0.1128, 0.0434]
    trace = -rows * np.log(1 - printed)[::-1].cumsum()[::-1]
    assert np.round(trace, 2).tolist() == [49.14, 19.06, 8.69, 2.35]
    assert np.round(-rows * np.log(1 - printed), 2).tolist() == [30.09, 10.36, 6.34, 2.35]
    plain = canonical_correlations(table, restricted=False, seasons=0)
    found = johansen(table)
    assert found.eigenvalues == pytest.approx(plain, rel=1e-9)
    assert found.trace == pytest.approx(-rows * np.log(1 - plain)[::-1].cumsum()[::-1], rel=1e-9)
    assert found.maximum_eigenvalue == pytest.approx(-rows * np.log(1 - plain), rel=1e-9)


@pytest.mark.parametrize(("series", "lag"), [(2, 0), (2, 1), (3, 2), (5, 4)])
def test_johansen_is_that_of_statsmodels(series: int, lag: int) -> None:
    table = walks(7, 400, series) + 50
    found, theirs = johansen(table, lag=lag), coint_johansen(table, 0, lag)
    assert found.trace == pytest.approx(theirs.lr1, rel=1e-8)
    assert found.maximum_eigenvalue == pytest.approx(theirs.lr2, rel=1e-8)
    assert found.eigenvalues == pytest.approx(theirs.eig, rel=1e-8)
    assert found.vectors == pytest.approx(theirs.evec / theirs.evec[0], rel=1e-6)


# Osterwald-Lenum 1992, table 1, as every textbook has it: 1, 5, 10 %.
OSTERWALD_LENUM: list[tuple[int, tuple[float, float, float], tuple[float, float, float]]] = [
    (1, (11.65, 8.18, 6.50), (11.65, 8.18, 6.50)),
    (2, (23.52, 17.95, 15.66), (19.19, 14.90, 12.91)),
    (3, (37.22, 31.52, 28.71), (25.75, 21.07, 18.90)),
    (5, (78.87, 70.60, 66.49), (38.78, 33.32, 30.84)),
    (11, (292.65, 277.39, 269.53), (74.36, 68.27, 65.07)),
]


@pytest.mark.parametrize(("left", "trace", "maximum"), OSTERWALD_LENUM)
def test_critical_values_are_those_of_osterwald_lenum_1992(
    left: int, trace: tuple[float, float, float], maximum: tuple[float, float, float]
) -> None:
    found = johansen(walks(3, 400, MOST_SERIES))
    assert tuple(found.trace_critical_values[MOST_SERIES - left]) == trace
    assert tuple(found.maximum_eigenvalue_critical_values[MOST_SERIES - left]) == maximum


def test_tables_of_critical_values_only_grow() -> None:
    found = johansen(walks(3, 400, MOST_SERIES))
    for table in (found.trace_critical_values, found.maximum_eigenvalue_critical_values):
        assert (np.diff(table, axis=0) < 0).all()
        assert (np.diff(table, axis=1) < 0).all()


def test_rank_is_the_first_row_that_is_kept() -> None:
    noise = np.random.default_rng(2)
    walk = noise.normal(size=800).cumsum()
    one = np.column_stack((walk, 0.5 * walk + noise.normal(size=800)))
    assert johansen(one).rank == 1
    assert johansen(walks(3, 800)).rank == 0
    assert johansen(noise.normal(size=(800, 2))).rank == 2
    vector = johansen(one).vectors[:, 0]
    assert vector[0] == 1
    assert vector[1] == pytest.approx(-2.0, abs=0.02)


def test_size_of_both_tests_at_five_percent() -> None:
    """Of 200 pairs of walks 10 are expected; 2 to 20 are within 99.9 % of a test with that size."""
    tables = [walks(seed, 500) for seed in range(200)]
    rejected = sum(engle_granger(table[:, 0], table[:, 1]).p_value < 0.05 for table in tables)
    ranked = sum(johansen(table).rank > 0 for table in tables)
    assert 2 <= rejected <= 20
    assert 2 <= ranked <= 20


def test_power_for_a_planted_pair() -> None:
    for seed in range(20):
        walk = walks(seed, 500)[:, 0]
        y = 0.8 * walk + ornstein_uhlenbeck(0.5 ** (1 / 5), seed + 100, 500)
        assert engle_granger(y, walk).p_value < 0.05


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 1_000),
    scale_y=st.floats(1e-6, 1e6),
    scale_x=st.floats(1e-6, 1e6),
    shift=st.floats(-1e3, 1e3),
)
def test_units_do_not_matter(seed: int, scale_y: float, scale_x: float, shift: float) -> None:
    table = walks(seed, 120)
    moved = np.column_stack((scale_y * table[:, 0], scale_x * (table[:, 1] + shift)))
    plain, other = (engle_granger(one[:, 0], one[:, 1]) for one in (table, moved))
    assert other.statistic == pytest.approx(plain.statistic, rel=1e-6)
    assert other.hedge_ratio == pytest.approx(
        plain.hedge_ratio * scale_y / scale_x, rel=1e-6, abs=1e-9 * scale_y / scale_x
    )
    assert johansen(moved).trace == pytest.approx(johansen(table).trace, rel=1e-6, abs=1e-8)


WALK = walks(1, 100)
REFUSED: list[tuple[str, tuple[Floats, ...], str]] = [
    ("one series", (WALK[:, 0],), "two series"),
    ("lengths", (WALK[:, 0], WALK[:50, 1]), "length"),
    ("short", (WALK[:29, 0], WALK[:29, 1]), "29 observations"),
    ("empty", (np.empty(0), np.empty(0)), "0 observations"),
    ("nan", (WALK[:, 0], np.where(np.arange(100) == 3, np.nan, WALK[:, 1])), "finite"),
    ("infinite", (np.where(np.arange(100) == 3, np.inf, WALK[:, 0]), WALK[:, 1]), "finite"),
    ("constant", (WALK[:, 0], np.full(100, 0.1)), "series 2 is constant"),
    ("zeros", (np.zeros(100), WALK[:, 1]), "series 1 is constant"),
    ("multiple", (3 * WALK[:, 0] + 1, WALK[:, 0]), "times a constant"),
]


@pytest.mark.parametrize(("series", "reason"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED])
def test_what_cannot_be_tested_is_refused_with_the_reason(series: tuple[Floats, ...], reason: str) -> None:
    found = why_no_cointegration_test(*series)
    assert found is not None
    assert reason in found
    if len(series) == 2:
        with pytest.raises(ValueError, match=reason):
            engle_granger(*series)
    if len({len(one) for one in series}) == 1:
        with pytest.raises(ValueError, match=reason):
            johansen(np.column_stack(series))


def test_johansen_refuses_too_many_series_and_lags() -> None:
    with pytest.raises(ValueError, match="the tables have 11"):
        johansen(walks(1, 300, 12))
    with pytest.raises(ValueError, match="do not carry 30 lags"):
        johansen(walks(1, 60), lag=30)
    with pytest.raises(ValueError, match="do not carry -1 lags"):
        johansen(walks(1, 60), lag=-1)


@pytest.mark.parametrize(("phi", "expected"), [(0.5, 1.0), (0.25, 0.5), (0.5**0.1, 10.0), (0.9, 6.578813479)])
def test_half_life_of_a_spread_that_decays_is_exact(phi: float, expected: float) -> None:
    """ln 2 / -ln phi, from s[t] = phi * s[t - 1] without noise, whatever its mean."""
    spread = np.asarray(3.0 + phi ** np.arange(20), dtype=np.float64)
    assert half_life(spread) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_half_life_is_of_the_autoregression_of_statsmodels(seed: int) -> None:
    spread = ornstein_uhlenbeck(0.9, seed, 400)
    phi = float(AutoReg(spread, 1).fit().params[1])
    assert half_life(spread) == pytest.approx(math.log(2) / -math.log(phi), rel=1e-10)


def test_half_life_of_a_long_sample_is_that_of_the_process() -> None:
    phi = 0.5 ** (1 / 15)
    found = half_life(ornstein_uhlenbeck(phi, 8, 200_000))
    error = math.sqrt((1 - phi**2) / 200_000)
    low, high = (math.log(2) / -math.log(phi + sign * 5 * error) for sign in (-1, 1))
    assert found is not None
    assert low < found < high


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 1_000), scale=st.floats(1e-9, 1e9), shift=st.floats(-10, 10))
def test_half_life_is_free_of_units(seed: int, scale: float, shift: float) -> None:
    spread = ornstein_uhlenbeck(0.8, seed, 100)
    moved = np.asarray(scale * (spread + shift), dtype=np.float64)
    assert half_life(moved) == pytest.approx(half_life(spread), rel=1e-6)


NO_HALF_LIFE: list[tuple[str, list[float], str]] = [
    ("empty", [], "0 values"),
    ("two", [1.0, 0.5], "2 values"),
    ("constant", [0.1] * 10, "does not move"),
    ("zeros", [0.0] * 10, "does not move"),
    ("nan", [1.0, math.nan, 0.5], "finite"),
    ("growing", [1.0, 2.0, 4.0, 8.0], "does not return"),
    ("linear", [1.0, 2.0, 3.0, 4.0], "does not return"),
    ("swinging", [1.0, -1.0, 1.0, -1.0], "other side"),
]


@pytest.mark.parametrize(
    ("values", "reason"), [c[1:] for c in NO_HALF_LIFE], ids=[c[0] for c in NO_HALF_LIFE]
)
def test_without_reversion_there_is_no_half_life(values: list[float], reason: str) -> None:
    spread = np.array(values, dtype=np.float64)
    assert half_life(spread) is None
    found = why_no_half_life(spread)
    assert found is not None
    assert reason in found


def test_faster_reversion_has_a_shorter_half_life() -> None:
    lives = [half_life(ornstein_uhlenbeck(phi, 4, 5_000)) for phi in (0.3, 0.6, 0.9, 0.97)]
    assert all(one is not None and other is not None and one < other for one, other in pairwise(lives))
