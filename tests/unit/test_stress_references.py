"""Stress formulas against other libraries, closed forms and published closes."""

import math
import statistics
from typing import Any

import empyrical
import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy import optimize, stats
from statsmodels.stats.correlation_tools import corr_nearest

from jesse_mcp.analytics.correlation_stress import (
    nearest_correlation,
    portfolio_risk,
    sample_correlation,
    smallest_eigenvalue,
    towards,
)
from jesse_mcp.analytics.crises import CRISES, Crisis
from jesse_mcp.analytics.liquidation import (
    cross_distance,
    isolated_distance,
    isolated_price,
    survivable_leverage,
)
from jesse_mcp.analytics.shocks import Regression, effect, largest_fall, regress
from jesse_mcp.analytics.volatility_stress import NORMAL_QUANTILES, scaled_about_mean, summarize

Floats = NDArray[np.float64]

#: Higham, IMA Journal of Numerical Analysis 22(3), 2002, section 4: ones beside the diagonal.
HIGHAM = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
DAY = 86_400_000

#: Daily closes in USD over whole windows, oldest first, as two public data sets list them.
CLOSES: dict[str, dict[str, list[float]]] = {
    "covid_2020": {
        "BTC": [8909.95, 8108.12, 7923.64, 7909.73, 7911.43, 4970.79, 5563.71, 5200.37, 5392.31, 5014.48],
        "ETH": [237.853, 200.689, 201.986, 200.767, 194.869, 112.347, 133.202, 123.306, 125.214, 110.606],
        "BNB": [20.180, 16.974, 16.571, 16.876, 16.525, 9.600, 10.833, 10.140, 10.436, 9.386],
        "XRP": [0.23707, 0.2069, 0.20918, 0.21224, 0.2081, 0.13963, 0.15935, 0.14729, 0.1539, 0.14106],
        "ADA": [0.04894, 0.04329, 0.04148, 0.04149, 0.03965, 0.02396, 0.02844, 0.02601, 0.02712, 0.02412],
        "LINK": [4.3446, 4.0897, 4.0639, 4.0849, 3.8175, 2.0648, 2.4211, 2.1435, 2.1092, 1.7799],
    },
    "china_ban_2021": {
        "BTC": [56704.57, 49150.54, 49716.19, 49880.54, 46760.19, 46456.06, 43537.51, 42909.40, 37002.44,
                40782.74, 37304.69, 37536.63, 34770.58],
        "ETH": [4168.70, 3785.85, 3715.15, 4079.06, 3638.12, 3587.51, 3282.40, 3380.07, 2460.68, 2784.29,
                2430.62, 2295.71, 2109.58],
        "BNB": [672.33, 588.19, 571.43, 603.13, 563.04, 562.83, 511.96, 508.02, 339.03, 393.61, 326.30,
                299.50, 262.95],
        "XRP": [1.47768, 1.24786, 1.35891, 1.40292, 1.48588, 1.45261, 1.4963, 1.59073, 1.07031, 1.18554,
                1.00698, 0.90632, 0.79702],
        "ADA": [1.76408, 1.55278, 1.93367, 2.0048, 2.17403, 2.30911, 2.03223, 2.00366, 1.48252, 1.81047,
                1.55228, 1.46362, 1.32544],
        "LINK": [48.7548, 41.0337, 43.0898, 46.5469, 41.4983, 40.7371, 37.1944, 42.5453, 26.7020, 30.7812,
                 25.5776, 23.2922, 20.0084],
    },
    "terra_2022": {
        "BTC": [39698.37, 36575.14, 36040.92, 35501.95, 34059.27, 30296.95, 31022.91, 28936.36, 29047.75],
        "ETH": [2940.64, 2749.21, 2694.98, 2636.09, 2517.46, 2245.43, 2343.51, 2072.11, 1961.70],
        "SOL": [92.771, 84.596, 81.764, 78.983, 75.220, 63.270, 66.766, 50.211, 44.684],
    },
    "celsius_2022": {
        "BTC": [31370.67, 31155.48, 30214.36, 30112.00, 29083.80, 28360.81, 26762.65, 22487.39, 22206.79,
                22572.84, 20381.65, 20471.48, 19017.64],
        "ETH": [1859.29, 1814.05, 1793.57, 1789.83, 1665.04, 1529.66, 1445.22, 1204.58, 1211.66, 1233.21,
                1067.73, 1086.52, 993.64],
        "SOL": [42.433, 39.438, 38.843, 39.973, 37.090, 33.821, 30.743, 28.192, 29.715, 34.488, 29.990,
                30.743, 31.808],
    },
    "ftx_2022": {
        "BTC": [21282.69, 20926.49, 20602.82, 18541.27, 15880.78, 17586.77, 17034.29, 16799.19, 16353.37,
                16618.20, 16884.61, 16669.44, 16687.52, 16697.78, 16711.55, 16291.83, 15787.28],
        "ETH": [1627.97, 1572.23, 1568.59, 1332.84, 1100.17, 1299.46, 1287.22, 1255.27, 1221.82, 1241.60,
                1251.74, 1215.60, 1200.81, 1212.30, 1218.43, 1142.47, 1108.35],
        "SOL": [36.766, 32.684, 29.601, 24.153, 13.941, 17.681, 16.327, 14.539, 13.165, 14.001, 14.301,
                14.286, 13.639, 13.247, 12.851, 12.253, 11.846],
    },
    "yen_carry_2024": {
        "BTC": [65357.50, 61415.07, 60680.09, 58116.98, 53991.46, 56034.32, 55027.46],
        "ETH": [3201.56, 2986.01, 2903.39, 2686.40, 2417.21, 2458.72, 2336.59],
        "SOL": [167.672, 152.638, 142.922, 138.055, 129.864, 144.090, 144.632],
    },
    "liquidations_2025": {
        "BTC": [121705.59, 113214.37, 110807.88],
        "ETH": [4369.14, 3843.01, 3750.61],
        "SOL": [220.991, 188.664, 178.054],
    },
}  # fmt: skip


def crisis(name: str) -> Crisis:
    (found,) = (one for one in CRISES if one.name == name)
    return found


def market(seed: int, periods: int = 300, factors: int = 2) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    moves = (
        rng.normal(0.001, 0.03, (periods, factors)) @ np.array([[1.0, 0.6], [0.0, 0.8]])[:factors, :factors]
    )
    returns = 0.0005 + moves @ np.array([0.7, -0.2])[:factors] + rng.normal(0, 0.01, periods)
    return returns, moves


def ols(returns: Floats, moves: Floats) -> Any:
    return sm.OLS(returns, sm.add_constant(moves)).fit()


# 1-6. statsmodels OLS: coefficients, errors, covariance, R squared, intercept; numpy's own for one factor.
@pytest.mark.parametrize(("seed", "factors"), [(1, 1), (2, 2), (3, 2)])
def test_betas_are_those_of_ordinary_least_squares(seed: int, factors: int) -> None:
    returns, moves = market(seed, factors=factors)
    found, wanted = regress(returns, moves), ols(returns, moves)
    assert isinstance(found, Regression)
    np.testing.assert_allclose(found.coefficients, wanted.params[1:], rtol=1e-10)
    np.testing.assert_allclose(found.standard_errors, wanted.bse[1:], rtol=1e-10)
    np.testing.assert_allclose(found.covariance, wanted.cov_params()[1:, 1:], rtol=1e-9)
    assert found.r_squared == pytest.approx(wanted.rsquared, rel=1e-10)
    assert found.intercept == pytest.approx(wanted.params[0], rel=1e-9)
    assert found.observations == 300


def test_a_beta_to_one_market_is_covariance_over_variance() -> None:
    returns, moves = market(4, periods=40, factors=1)
    found = regress(returns, moves)
    assert isinstance(found, Regression)
    assert found.coefficients[0] == pytest.approx(np.cov(returns, moves[:, 0])[0, 1] / moves.var(ddof=1))
    line = stats.linregress(moves[:, 0], returns)
    assert found.standard_errors[0] == pytest.approx(line.stderr, rel=1e-10)


# 7. The error of a linear function of coefficients, as statsmodels' t_test has it.
def test_the_error_of_a_shock_is_that_of_a_linear_contrast() -> None:
    returns, moves = market(5)
    found = regress(returns, moves)
    assert isinstance(found, Regression)
    shocks = np.array([-0.3, -0.45])
    contrast = ols(returns, moves).t_test(np.concatenate(([0.0], shocks)))
    shown = effect(found, shocks)
    assert shown.value == pytest.approx(float(np.squeeze(contrast.effect)), rel=1e-10)
    assert shown.standard_error == pytest.approx(float(np.squeeze(contrast.sd)), rel=1e-10)


# 8. The regression of a portfolio is the portfolio of the regressions.
def test_the_beta_of_a_portfolio_is_the_weighted_sum_of_betas() -> None:
    first, moves = market(6)
    second, _ = market(7)
    both, one, two = regress(0.4 * first - 0.2 * second, moves), regress(first, moves), regress(second, moves)
    assert isinstance(both, Regression)
    assert isinstance(one, Regression)
    assert isinstance(two, Regression)
    np.testing.assert_allclose(both.coefficients, 0.4 * one.coefficients - 0.2 * two.coefficients, rtol=1e-9)


# 9-11. Higham's example: statsmodels, an independent optimisation, and the conditions of optimality.
@pytest.mark.filterwarnings("ignore::statsmodels.tools.sm_exceptions.IterationLimitWarning")
def test_the_example_of_higham() -> None:
    found = nearest_correlation(HIGHAM)
    np.testing.assert_allclose(found, corr_nearest(HIGHAM, threshold=0.0), atol=1e-12)
    # By symmetry the answer is [[1, a, b], [a, 1, a], [b, a, 1]], singular: det = (1 - b)(1 + b - 2 a^2) = 0.
    best = optimize.minimize_scalar(
        lambda a: 4 * (1 - a) ** 2 + 2 * (2 * a**2 - 1) ** 2, bounds=(0.5, 1.0), method="bounded",
        options={"xatol": 1e-12},
    )  # fmt: skip
    assert found[0, 1] == pytest.approx(best.x, abs=1e-8)
    assert found[0, 2] == pytest.approx(2 * best.x**2 - 1, abs=1e-8)
    assert np.linalg.norm(found - HIGHAM) ** 2 == pytest.approx(best.fun, abs=1e-10)
    assert (round(found[0, 1], 4), round(found[0, 2], 4)) == (0.7607, 0.1573)


@pytest.mark.filterwarnings("ignore::statsmodels.tools.sm_exceptions.IterationLimitWarning")
@pytest.mark.parametrize(("size", "seed"), [(4, 4), (6, 2), (10, 3), (25, 4)])
def test_nearest_correlations_are_those_of_statsmodels_and_are_valid(size: int, seed: int) -> None:
    noise = np.random.default_rng(seed).uniform(-1, 1, (size, size))
    wild = (noise + noise.T) / 2
    np.fill_diagonal(wild, 1.0)
    assert smallest_eigenvalue(wild) < -1e-3
    found = nearest_correlation(wild)
    np.testing.assert_allclose(found, corr_nearest(wild, threshold=0.0, n_fact=1000), atol=1e-9)
    assert np.linalg.eigvalsh(found)[0] > -1e-10
    assert (np.diag(found) == 1).all()


def test_nothing_nearer_is_a_correlation_matrix() -> None:
    """Projection on a convex set: ``<A - X, Z - X> <= 0`` for every correlation matrix Z (Hilbert)."""
    found, rng = nearest_correlation(HIGHAM), np.random.default_rng(8)
    for _ in range(200):
        other = np.corrcoef(rng.normal(size=(3, 3)) + rng.normal(size=(1, 3)))
        assert ((HIGHAM - found) * (other - found)).sum() <= 1e-9


# 12. numpy's correlations.
def test_sample_correlations_are_those_of_numpy() -> None:
    _, moves = market(9)
    np.testing.assert_allclose(sample_correlation(moves), np.corrcoef(moves, rowvar=False), atol=1e-14)


# 13-16. Variances of portfolios in closed form, and against the sample itself.
def test_the_variance_of_a_portfolio_is_that_of_its_returns() -> None:
    _, moves = market(10)
    weights = np.array([0.7, -0.4])
    held = moves @ weights
    found = portfolio_risk(
        weights, moves.std(axis=0, ddof=1), sample_correlation(moves), float(held.mean()), 365
    )
    assert found.volatility == pytest.approx(held.std(ddof=1) * math.sqrt(365), rel=1e-12)
    assert found.normal_var["0.95"] == pytest.approx(
        -stats.norm.ppf(0.05, held.mean(), held.std(ddof=1)), rel=1e-12
    )


@pytest.mark.parametrize("rho", [-0.25, 0.0, 0.3, 1.0])
def test_equal_shares_of_equally_correlated_assets(rho: float) -> None:
    """Variance ``s^2 (1 + (k - 1) rho) / k``."""
    k, deviation = 5, 0.04
    matrix = np.full((k, k), rho) + (1 - rho) * np.eye(k)
    found = portfolio_risk(np.full(k, 1 / k), np.full(k, deviation), matrix, 0.0, 1)
    assert found.volatility**2 == pytest.approx(deviation**2 * (1 + (k - 1) * rho) / k, abs=1e-15)


def test_when_all_move_together_deviations_add_up() -> None:
    weights, deviations = np.array([0.5, 0.3, 0.2]), np.array([0.02, 0.05, 0.07])
    found = portfolio_risk(weights, deviations, towards(np.eye(3), 1.0), 0.0, 1)
    assert found.volatility == pytest.approx(float(weights @ deviations), rel=1e-14)
    hedged = portfolio_risk(np.array([0.5, -0.5]), np.array([0.03, 0.03]), towards(np.eye(2), 1.0), 0.0, 1)
    assert hedged.volatility == pytest.approx(0, abs=1e-9)


def test_two_assets_in_closed_form() -> None:
    matrix = towards(np.array([[1.0, 0.2], [0.2, 1.0]]), 0.5)
    assert matrix[0, 1] == pytest.approx(0.6)
    found = portfolio_risk(np.array([0.6, 0.4]), np.array([0.02, 0.03]), matrix, 0.001, 252)
    variance = 0.012**2 + 0.012**2 + 2 * 0.012 * 0.012 * 0.6
    assert found.volatility == pytest.approx(math.sqrt(252 * variance))
    assert found.normal_var["0.99"] == pytest.approx(2.3263478740408408 * math.sqrt(variance) - 0.001)


# 17. Eigenvalues of a matrix of equal correlations: 1 - rho, and 1 + (k - 1) rho once.
def test_eigenvalues_of_equal_correlations() -> None:
    for share in (0.0, 0.35, 0.9, 1.0):
        found = np.linalg.eigvalsh(towards(np.eye(4), share))
        np.testing.assert_allclose(found, [1 - share] * 3 + [1 + 3 * share], atol=1e-14)


# 18. scipy's quantiles.
def test_normal_quantiles() -> None:
    for level, value in NORMAL_QUANTILES.items():
        assert value == pytest.approx(stats.norm.ppf(float(level)), rel=1e-14)


# 19-21. The standard library's statistics, and a drawdown done by hand.
def test_the_summary_of_returns() -> None:
    returns = [0.1, -0.2, 0.05, -0.1, 0.3]
    found = summarize(np.array(returns), 365)
    assert not isinstance(found, str)
    deviation, mean = statistics.stdev(returns), statistics.fmean(returns)
    assert found.volatility == pytest.approx(deviation * math.sqrt(365), rel=1e-12)
    assert found.normal_var["0.95"] == pytest.approx(1.6448536269514722 * deviation - mean, rel=1e-12)
    # 1, 1.1, 0.88, 0.924, 0.8316, 1.08108: from 1.1 down to 0.8316.
    assert found.max_drawdown == pytest.approx(1 - 0.8316 / 1.1, rel=1e-12)
    assert found.total_return == pytest.approx(0.08108, rel=1e-12)
    assert not found.ruined


def test_scaled_returns_keep_their_mean_and_multiply_their_deviation() -> None:
    returns, _ = market(11)
    wild = scaled_about_mean(returns, 2.5)
    assert statistics.fmean(wild) == pytest.approx(statistics.fmean(returns), rel=1e-9)
    assert statistics.stdev(wild) == pytest.approx(2.5 * statistics.stdev(returns), rel=1e-12)
    assert stats.skew(wild) == pytest.approx(stats.skew(returns), rel=1e-9), "the shape is the same"


# 22-23. Positions whose equity is added up at the price of liquidation.
@pytest.mark.parametrize("leverage", [1.5, 3.0, 10.0, 50.0])
def test_at_the_cross_price_equity_is_the_maintenance_margin(leverage: float) -> None:
    rate = 0.0065
    for side, sign in (("long", 1.0), ("short", -1.0)):
        quantity, entry = 2.0, 100.0
        equity = quantity * entry / leverage
        price = entry * (1 - sign * cross_distance(leverage, side, rate))  # type: ignore[arg-type]
        left = equity + sign * quantity * (price - entry)
        assert left == pytest.approx(rate * quantity * price, rel=1e-9)


@pytest.mark.parametrize("leverage", [2.0, 5.0, 20.0, 125.0])
def test_at_the_isolated_price_the_margin_left_is_that_rate_of_the_entry(leverage: float) -> None:
    entry, rate = 250.0, 0.004
    for side, sign in (("long", 1.0), ("short", -1.0)):
        price = isolated_price(entry, leverage, side, rate)  # type: ignore[arg-type]
        assert entry / leverage + sign * (price - entry) == pytest.approx(rate * entry, rel=1e-9)
        bankruptcy = entry * (1 - sign / leverage)
        assert (price - bankruptcy) * sign == pytest.approx(rate * entry, rel=1e-9)


# 24. The two directions of one equation.
def test_the_leverage_that_survives_a_move_is_liquidated_by_exactly_that_move() -> None:
    for move in (0.01, 0.2, 0.63):
        most = survivable_leverage(move)
        assert most is not None
        assert isolated_distance(most) == pytest.approx(move, rel=1e-12)


# 25. The same path, in the words of another module.
def test_falls_are_drawdowns_of_prices() -> None:
    returns, _ = market(12)
    prices: Floats = 50 * np.multiply.accumulate(1 + returns)
    found = summarize(np.concatenate(([0.0], prices[1:] / prices[:-1] - 1)), 365)
    assert not isinstance(found, str)
    assert largest_fall(prices) == pytest.approx(found.max_drawdown, rel=1e-12)
    assert largest_fall(prices) == pytest.approx(-empyrical.max_drawdown(prices[1:] / prices[:-1] - 1))


# 26. The table is what daily closes of two public data sets say.
@pytest.mark.parametrize("name", list(CLOSES))
def test_the_table_is_that_of_daily_closes(name: str) -> None:
    window = crisis(name)
    assert set(CLOSES[name]) == set(window.falls)
    for base, closes in CLOSES[name].items():
        assert len(closes) * DAY == window.end_ms - window.start_ms
        entry = window.falls[base]
        found = largest_fall(np.array(closes))
        assert found is not None
        assert entry.fall == round(found, 2), base
        for date, price in ((entry.peak_date, entry.peak), (entry.trough_date, entry.trough)):
            day = int((np.datetime64(date) - np.datetime64(window.start)).astype(int))
            assert closes[day] == pytest.approx(price, rel=3e-4), (base, date)


# 27. The fall of Bitcoin of 2018 that is quoted everywhere, and Ether's.
def test_the_bear_market_of_2018() -> None:
    falls = crisis("bear_2018").falls
    assert (falls["BTC"].fall, falls["ETH"].fall) == (0.83, 0.94)
