"""Performance, drawdown and shape statistics against other libraries and closed forms, number by number.

Each case has the name of its source. Tolerances are relative and at the level of rounding, so a divisor of n
for n - 1, 252 days for 365 or a quantile off by one place is found.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import empyrical
import numpy as np
import pandas as pd
import pytest
import quantstats.stats as quantstats
import scipy.optimize
import scipy.stats
import statsmodels.api as statsmodels
from numpy.typing import NDArray
from statsmodels.stats.diagnostic import acorr_ljungbox
from statsmodels.stats.stattools import jarque_bera
from statsmodels.tsa.stattools import acf

from jesse_mcp.analytics import benchmark_relative, distribution_shape, drawdown_ratios, performance
from jesse_mcp.analytics.drawdowns import conditional_drawdown_at_risk, depths_of, drawdown_summary
from jesse_mcp.analytics.measures import Measure, per_period, wealth
from jesse_mcp.analytics.sharpe_uncertainty import (
    annual_sharpe_error,
    autocorrelation_adjusted_sharpe,
    autocorrelations,
)

Floats = NDArray[np.float64]
YEAR = 365


def autoregressive(n: int, coefficient: float, seed: int) -> Floats:
    noise = np.random.default_rng(seed).normal(0.0005, 0.02, n)
    values = noise.copy()
    for place in range(1, n):
        values[place] += coefficient * values[place - 1]
    return values


SERIES: dict[str, Floats] = {
    "normal": np.random.default_rng(1).normal(0.001, 0.02, 730),
    "heavy": np.random.default_rng(2).standard_t(3, 500) * 0.015 - 0.001,
    "correlated": autoregressive(300, 0.4, 3),
    "short": np.array([0.03, -0.02, 0.05, -0.01, 0.02, -0.04, 0.01, 0.06, -0.03, 0.02, 0.0, 0.01]),
}
BENCHMARK = {
    name: values * 0.6 + np.random.default_rng(9).normal(0, 0.01, len(values))
    for name, values in SERIES.items()
}


def dated(values: Floats) -> "pd.Series[float]":
    return pd.Series(values, index=pd.date_range("2023-01-01", periods=len(values), freq="D"))


@dataclass(frozen=True)
class Reference:
    """``ours`` and ``theirs`` of the same returns."""

    name: str
    ours: Callable[[Floats], Measure]
    theirs: Callable[[Floats], float]


def of(function: Callable[..., Measure], *arguments: float, **named: float) -> Callable[[Floats], Measure]:
    return lambda returns: function(returns, *arguments, **named)


def with_benchmark(name: str) -> Callable[[Floats], Measure]:
    return lambda returns: benchmark_relative.relative_to_benchmark(returns, benchmark_of(returns), YEAR)[
        name
    ]


def benchmark_of(returns: Floats) -> Floats:
    (name,) = (name for name, values in SERIES.items() if values is returns)
    return BENCHMARK[name]


def regression(returns: Floats) -> "statsmodels.regression.linear_model.RegressionResults":
    return statsmodels.OLS(returns, statsmodels.add_constant(benchmark_of(returns))).fit()


def pandas_depths(returns: Floats) -> "pd.Series[float]":
    path = pd.concat([pd.Series([1.0]), (1 + pd.Series(returns)).cumprod()], ignore_index=True)
    return (1 - path / path.cummax()).iloc[1:]


def mertens_by_influence(returns: Floats) -> float:
    """Delta method: the Sharpe ratio's influence function, squared and averaged."""
    sharpe = returns.mean() / returns.std(ddof=1)
    standard = scipy.stats.zscore(returns)
    influence = standard - sharpe / 2 * (standard**2 - 1)
    return float(np.sqrt(np.mean(influence**2) / (len(returns) - 1) * YEAR))


def lo_by_acf(returns: Floats) -> float:
    lags = min(math.floor(4 * (len(returns) / 100) ** (2 / 9)), len(returns) - 1)
    rho = acf(returns, nlags=lags, fft=False)
    total = YEAR + 2 * sum((YEAR - k) * rho[k] for k in range(1, lags + 1))
    return float(returns.mean() / returns.std(ddof=1) * YEAR / np.sqrt(total))


RISK_FREE = 0.04
DAILY_FREE = 1.04 ** (1 / YEAR) - 1
DEPTHS = drawdown_ratios

REFERENCES = [
    # empyrical-reloaded, on arrays of daily returns.
    Reference("total_return-empyrical", of(performance.total_return), empyrical.cum_returns_final),
    Reference(
        "annual_return-empyrical",
        of(performance.annual_return, YEAR),
        lambda r: empyrical.annual_return(r, annualization=YEAR),
    ),
    Reference(
        "annual_volatility-empyrical",
        of(performance.annual_volatility, YEAR),
        lambda r: empyrical.annual_volatility(r, annualization=YEAR),
    ),
    Reference(
        "sharpe_ratio-empyrical",
        of(performance.sharpe_ratio, YEAR),
        lambda r: empyrical.sharpe_ratio(r, annualization=YEAR),
    ),
    Reference(
        "sharpe_ratio-with-a-risk-free-rate-empyrical",
        of(performance.sharpe_ratio, YEAR, RISK_FREE),
        lambda r: empyrical.sharpe_ratio(r, risk_free=DAILY_FREE, annualization=YEAR),
    ),
    Reference(
        "sortino_ratio-empyrical",
        of(performance.sortino_ratio, YEAR),
        lambda r: empyrical.sortino_ratio(r, annualization=YEAR),
    ),
    Reference(
        "sortino_ratio-with-a-target-empyrical",
        of(performance.sortino_ratio, YEAR, RISK_FREE),
        lambda r: empyrical.sortino_ratio(r, required_return=DAILY_FREE, annualization=YEAR),
    ),
    Reference(
        "downside_deviation-empyrical",
        of(performance.downside_deviation, YEAR),
        lambda r: empyrical.downside_risk(r, annualization=YEAR),
    ),
    Reference(
        "omega_ratio-empyrical",
        of(performance.omega_ratio, YEAR),
        lambda r: empyrical.omega_ratio(r, annualization=YEAR),
    ),
    Reference(
        "omega_ratio-with-a-target-empyrical",
        of(performance.omega_ratio, YEAR, RISK_FREE),
        lambda r: empyrical.omega_ratio(r, required_return=RISK_FREE, annualization=YEAR),
    ),
    Reference("max_drawdown-empyrical", of(DEPTHS.max_drawdown), lambda r: -empyrical.max_drawdown(r)),
    Reference(
        "calmar_ratio-empyrical",
        of(DEPTHS.calmar_ratio, YEAR),
        lambda r: empyrical.calmar_ratio(r, annualization=YEAR),
    ),
    Reference("tail_ratio-empyrical", of(distribution_shape.tail_ratio), empyrical.tail_ratio),
    Reference("beta-empyrical", with_benchmark("beta"), lambda r: empyrical.beta(r, benchmark_of(r))),
    Reference(
        "information_ratio-empyrical",
        with_benchmark("information_ratio"),
        lambda r: empyrical.excess_sharpe(r, benchmark_of(r)) * math.sqrt(YEAR),
    ),
    # quantstats, on dated series.
    Reference(
        "sharpe_ratio-quantstats",
        of(performance.sharpe_ratio, YEAR),
        lambda r: quantstats.sharpe(dated(r), periods=YEAR),
    ),
    Reference(
        "sortino_ratio-quantstats",
        of(performance.sortino_ratio, YEAR),
        lambda r: quantstats.sortino(dated(r), periods=YEAR),
    ),
    Reference(
        "gain_to_pain_ratio-quantstats",
        of(performance.gain_to_pain_ratio),
        lambda r: quantstats.gain_to_pain_ratio(dated(r)),  # type: ignore[no-untyped-call]
    ),
    # Its root mean square divides by n - 1, ours by n.
    Reference(
        "ulcer_index-quantstats",
        of(DEPTHS.ulcer_index),
        lambda r: quantstats.ulcer_index(dated(r)) * math.sqrt((len(r) - 1) / len(r)),  # type: ignore[no-untyped-call]
    ),
    Reference("best_period-quantstats", of(performance.best_period), lambda r: quantstats.best(dated(r))),
    Reference("worst_period-quantstats", of(performance.worst_period), lambda r: quantstats.worst(dated(r))),
    # scipy.
    Reference("skewness-scipy", of(distribution_shape.skewness), scipy.stats.skew),
    Reference("excess_kurtosis-scipy", of(distribution_shape.excess_kurtosis), scipy.stats.kurtosis),
    Reference(
        "standard_deviation-scipy",
        of(distribution_shape.standard_deviation),
        scipy.stats.tstd,
    ),
    Reference(
        "correlation-scipy",
        with_benchmark("correlation"),
        lambda r: scipy.stats.pearsonr(r, benchmark_of(r)).statistic,
    ),
    Reference(
        "quantile_0.05-scipy",
        of(distribution_shape.quantile, 0.05),
        lambda r: scipy.stats.mstats.mquantiles(r, 0.05, alphap=1, betap=1)[0],
    ),
    Reference(
        "quantile_0.99-scipy",
        of(distribution_shape.quantile, 0.99),
        lambda r: scipy.stats.mstats.mquantiles(r, 0.99, alphap=1, betap=1)[0],
    ),
    Reference(
        "annual_return-scipy-geometric-mean",
        of(performance.annual_return, YEAR),
        lambda r: scipy.stats.gmean(1 + r) ** YEAR - 1,
    ),
    # statsmodels.
    Reference(
        "alpha-statsmodels",
        with_benchmark("alpha"),
        lambda r: regression(r).params[0] * YEAR,
    ),
    Reference("beta-statsmodels", with_benchmark("beta"), lambda r: regression(r).params[1]),
    Reference(
        "first_autocorrelation-statsmodels",
        of(distribution_shape.first_autocorrelation),
        lambda r: acf(r, nlags=1, fft=False)[1],
    ),
    Reference(
        "autocorrelation_adjusted_sharpe-statsmodels-acf",
        of(autocorrelation_adjusted_sharpe, YEAR),
        lo_by_acf,
    ),
    # pandas.
    Reference(
        "ulcer_index-pandas",
        of(DEPTHS.ulcer_index),
        lambda r: math.sqrt((pandas_depths(r) ** 2).mean()),
    ),
    Reference("pain_index-pandas", of(DEPTHS.pain_index), lambda r: pandas_depths(r).mean()),
    Reference(
        "martin_ratio-pandas",
        of(DEPTHS.martin_ratio, YEAR, RISK_FREE),
        lambda r: (
            (empyrical.annual_return(r, annualization=YEAR) - RISK_FREE)
            / math.sqrt((pandas_depths(r) ** 2).mean())
        ),
    ),
    Reference(
        "pain_ratio-pandas",
        of(DEPTHS.pain_ratio, YEAR),
        lambda r: empyrical.annual_return(r, annualization=YEAR) / pandas_depths(r).mean(),
    ),
    Reference(
        "recovery_factor-pandas",
        of(DEPTHS.recovery_factor),
        lambda r: empyrical.cum_returns_final(r) / pandas_depths(r).max(),
    ),
    Reference(
        "tracking_error-pandas",
        with_benchmark("tracking_error"),
        lambda r: (pd.Series(r) - benchmark_of(r)).std() * math.sqrt(YEAR),
    ),
    Reference(
        "positive_periods-pandas", of(performance.positive_periods), lambda r: (pd.Series(r) > 0).mean()
    ),
    # Closed forms.
    Reference(
        "gain_to_pain_ratio-is-omega-less-one",
        of(performance.gain_to_pain_ratio),
        lambda r: empyrical.omega_ratio(r, annualization=YEAR) - 1,
    ),
    Reference("sharpe_error-mertens-by-influence", of(annual_sharpe_error, YEAR), mertens_by_influence),
]


@pytest.mark.parametrize("name", SERIES)
@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.name)
def test_reference(reference: Reference, name: str) -> None:
    returns = SERIES[name]
    ours = reference.ours(returns)
    assert ours.reason is None
    assert ours.value == pytest.approx(float(reference.theirs(returns)), rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("name", ["normal", "heavy", "correlated"])
def test_jarque_bera_and_ljung_box_are_those_of_statsmodels(name: str) -> None:
    returns = SERIES[name]
    statistic, p_value = distribution_shape.jarque_bera_test(returns)
    theirs = jarque_bera(returns)
    assert (statistic.value, p_value.value) == pytest.approx((theirs[0], theirs[1]), rel=1e-9)
    shown = distribution_shape.distribution_shape(returns)
    box = acorr_ljungbox(returns, lags=[10])
    assert shown["ljung_box"].value == pytest.approx(float(box.lb_stat.iloc[0]), rel=1e-9)
    assert shown["ljung_box_p_value"].value == pytest.approx(float(box.lb_pvalue.iloc[0]), rel=1e-9)
    assert autocorrelations(returns, 20) == pytest.approx(acf(returns, nlags=20, fft=False)[1:], rel=1e-9)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_cdar_solves_the_minimisation_of_rockafellar_and_uryasev(confidence: float) -> None:
    """CVaR is the minimum over z of ``z + mean(max(d - z, 0)) / (1 - confidence)``, at an observation."""
    for returns in SERIES.values():
        depths = depths_of(wealth(returns))[1:]

        def objective(z: float, depths: Floats = depths) -> float:
            return z + float(np.mean(np.maximum(depths - z, 0))) / (1 - confidence)

        expected = min(objective(float(depth)) for depth in depths)
        assert conditional_drawdown_at_risk(depths, confidence) == pytest.approx(expected, rel=1e-9)
        found = scipy.optimize.minimize_scalar(objective, bounds=(0, 1), method="bounded")
        assert expected <= found.fun + 1e-9


def test_hill_finds_the_index_of_a_pareto_tail() -> None:
    """The estimate is asymptotically normal with standard error ``alpha / sqrt(k)`` (Hall 1982)."""
    for index in (1.5, 3.0):
        losses = scipy.stats.pareto(index).rvs(50_000, random_state=np.random.default_rng(5))
        found = distribution_shape.hill_tail_index(-losses).value
        assert found == pytest.approx(index, abs=5 * index / math.sqrt(5_000))


def test_hill_by_hand() -> None:
    """100 losses: the largest ten are e times the eleventh, so the index is 1."""
    losses = np.concatenate((np.full(10, 0.1 * math.e), np.full(90, 0.1)))
    losses[:10] *= 1 + 1e-15
    assert distribution_shape.hill_tail_index(-losses).value == pytest.approx(1.0, rel=1e-12)


def test_lo_of_a_first_order_process_in_closed_form() -> None:
    """Lo 2002: with rho_k = rho^k the lags sum to a closed form; twelve months a year as in the paper."""
    q, rho = 12, 0.3
    closed = math.sqrt(q) / math.sqrt(1 + 2 * rho / (1 - rho) * (1 - (1 - rho**q) / (q * (1 - rho))))
    summed = q / math.sqrt(q + 2 * sum((q - k) * rho**k for k in range(1, q)))
    assert closed == pytest.approx(summed, rel=1e-12)
    returns = autoregressive(200_000, rho, 4)
    adjusted = autocorrelation_adjusted_sharpe(returns, q, lags=q - 1).value
    assert adjusted is not None
    per_month = returns.mean() / returns.std(ddof=1)
    assert adjusted / per_month == pytest.approx(closed, rel=0.01)


def test_the_standard_error_is_what_repeated_samples_show() -> None:
    """Skewed, fat-tailed returns, where the formula for normal ones is off by a third."""
    generator = np.random.default_rng(6)
    returns = scipy.stats.gamma(1.0).rvs((4_000, 400), random_state=generator) - 0.6
    ratios = returns.mean(axis=1) / returns.std(axis=1, ddof=1)
    errors = [annual_sharpe_error(row, 1.0).value or 0.0 for row in returns[:400]]
    normal = math.sqrt((1 + ratios.mean() ** 2 / 2) / 400)
    assert np.median(errors) == pytest.approx(ratios.std(), rel=0.05)
    assert abs(normal / ratios.std() - 1) > 0.15


def test_performance_by_hand() -> None:
    """+10 %, -50 %, +20 %: 1, 1.1, 0.55, 0.66."""
    returns = np.array([0.1, -0.5, 0.2])
    found = performance.performance(returns, 3) | drawdown_ratios.drawdown_ratios(returns, 3)
    mean, deviation = -0.2 / 3, math.sqrt((0.01 + 0.25 + 0.04 - 0.04 / 3) / 2)
    expected = {
        "total_return": -0.34,
        "annual_return": -0.34,
        "annual_volatility": deviation * math.sqrt(3),
        "sharpe_ratio": mean / deviation * math.sqrt(3),
        "downside_deviation": 0.5,
        "sortino_ratio": -0.4,
        "omega_ratio": 0.6,
        "gain_to_pain_ratio": -0.4,
        "best_period": 0.2,
        "worst_period": -0.5,
        "positive_periods": 2 / 3,
        "max_drawdown": 0.5,
        "calmar_ratio": -0.68,
        "recovery_factor": -0.68,
        "ulcer_index": math.sqrt((0.25 + 0.16) / 3),
        "martin_ratio": -0.34 / math.sqrt(0.41 / 3),
        "pain_index": 0.3,
        "pain_ratio": -0.34 / 0.3,
    }
    assert {name: measure.value for name, measure in found.items()} == pytest.approx(expected, rel=1e-12)


def test_a_drawdown_from_the_starting_balance_counts() -> None:
    """The first period loses 30 %, which a peak looked for from the first return on would not see."""
    assert drawdown_ratios.max_drawdown(np.array([-0.3, 0.1, 0.5])).value == pytest.approx(0.3)
    summary = drawdown_summary(np.array([100.0, 70.0, 77.0, 115.5]))
    assert summary["time_under_water"].value == pytest.approx(2 / 3)


def test_the_rate_of_a_period_compounds_to_the_annual_one() -> None:
    assert (1 + per_period(0.05, 365)) ** 365 - 1 == pytest.approx(0.05, rel=1e-12)
    assert per_period(0.0, 365) == 0
