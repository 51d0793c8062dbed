"""Return, risk and their ratios, each a pure function of simple returns a period.

Returns are fractions, oldest first, shape (n,). ``periods_per_year`` is positive: 365 for the days of a
market that never closes. Rates (``risk_free_rate``, ``target_return``) are annual fractions above -1 and
turned into the return of a period that compounds to them. No function raises: what cannot be computed is a
``Measure`` without value and with the reason.
"""

import math

import numpy as np

from jesse_mcp.analytics.measures import (
    NO_SPREAD,
    OVERFLOW,
    Floats,
    Measure,
    dispersion,
    log_growth,
    measured,
    per_period,
)

ONE_RETURN = "one return has no standard deviation"
_LARGEST_EXPONENT = 700.0


@measured
def total_return(returns: Floats) -> float | str:
    """Compounded over all periods; -1 after ruin."""
    growth = log_growth(returns)
    return OVERFLOW if growth > _LARGEST_EXPONENT else math.expm1(growth)


@measured
def annual_return(returns: Floats, periods_per_year: float) -> float | str:
    """Compound annual growth rate: the constant yearly return with the same end; -1 after ruin.

    The years are ``n / periods_per_year``. A short sample is extrapolated.

    Source: Bacon, "Practical Portfolio Performance Measurement and Attribution", 2nd edition, 2008.
    """
    growth = log_growth(returns) / len(returns) * periods_per_year
    return OVERFLOW if growth > _LARGEST_EXPONENT else math.expm1(growth)


@measured
def annual_volatility(returns: Floats, periods_per_year: float) -> float | str:
    """Standard deviation of the returns (ddof=1) times the root of ``periods_per_year``."""
    if len(returns) < 2:
        return ONE_RETURN
    return dispersion(returns) * math.sqrt(periods_per_year)


@measured
def sharpe_ratio(returns: Floats, periods_per_year: float, risk_free_rate: float = 0.0) -> float | str:
    """Mean excess return over its standard deviation (ddof=1), times the root of ``periods_per_year``.

    Source: Sharpe, "The Sharpe ratio", Journal of Portfolio Management 21(1), 1994.
    """
    if len(returns) < 2:
        return ONE_RETURN
    excess = returns - per_period(risk_free_rate, periods_per_year)
    deviation = dispersion(excess)
    return NO_SPREAD if deviation == 0 else float(excess.mean()) / deviation * math.sqrt(periods_per_year)


@measured
def downside_deviation(returns: Floats, periods_per_year: float, target_return: float = 0.0) -> float | str:
    """Root mean square of what returns lack to the target, over all n periods, annualised.

    Source: Sortino & Price, "Performance measurement in a downside risk framework", Journal of Investing
    3(3), 1994.
    """
    return _downside(returns, per_period(target_return, periods_per_year)) * math.sqrt(periods_per_year)


@measured
def sortino_ratio(returns: Floats, periods_per_year: float, target_return: float = 0.0) -> float | str:
    """Mean return above the target over :func:`downside_deviation`, annualised. Source as there."""
    target = per_period(target_return, periods_per_year)
    downside = _downside(returns, target)
    if downside == 0:
        return "no return is below the target"
    return float((returns - target).mean()) / downside * math.sqrt(periods_per_year)


@measured
def omega_ratio(returns: Floats, periods_per_year: float, target_return: float = 0.0) -> float | str:
    """Sum of what returns exceed the target by over the sum of what they lack.

    Source: Keating & Shadwick, "A universal performance measure", Journal of Performance Measurement 6(3),
    2002.
    """
    excess = returns - per_period(target_return, periods_per_year)
    lacking = -float(excess[excess < 0].sum())
    if lacking == 0:
        return "no return is below the target"
    return float(excess[excess > 0].sum()) / lacking


@measured
def gain_to_pain_ratio(returns: Floats) -> float | str:
    """Sum of all returns over the sum of the losses.

    Source: Schwager, "Hedge Fund Market Wizards", 2012, appendix A, where the returns are monthly.
    """
    pain = -float(returns[returns < 0].sum())
    return "no return is negative" if pain == 0 else float(returns.sum()) / pain


@measured
def best_period(returns: Floats) -> float | str:
    """The largest return of a period."""
    return float(returns.max())


@measured
def worst_period(returns: Floats) -> float | str:
    """The smallest return of a period."""
    return float(returns.min())


@measured
def positive_periods(returns: Floats) -> float | str:
    """Share of periods with a return above zero, of all periods."""
    return float(np.mean(returns > 0))


def performance(
    returns: Floats, periods_per_year: float, risk_free_rate: float = 0.0, target_return: float = 0.0
) -> dict[str, Measure]:
    """Everything of this module by its usual name."""
    year = periods_per_year
    return {
        "total_return": total_return(returns),
        "annual_return": annual_return(returns, year),
        "annual_volatility": annual_volatility(returns, year),
        "sharpe_ratio": sharpe_ratio(returns, year, risk_free_rate),
        "downside_deviation": downside_deviation(returns, year, target_return),
        "sortino_ratio": sortino_ratio(returns, year, target_return),
        "omega_ratio": omega_ratio(returns, year, target_return),
        "gain_to_pain_ratio": gain_to_pain_ratio(returns),
        "best_period": best_period(returns),
        "worst_period": worst_period(returns),
        "positive_periods": positive_periods(returns),
    }


def _downside(returns: Floats, target: float) -> float:
    lacking = np.minimum(returns - target, 0.0)
    deepest = -float(lacking.min())
    # Scaled, because squares of very small values leave the range of a float.
    return 0.0 if deepest <= 0 else deepest * math.sqrt(float(np.mean((lacking / deepest) ** 2)))
