"""Return against drawdown, and the drawdown measures these ratios divide by.

Drawdowns are positive fractions below the highest value so far, the starting value included, at the end of
each of the n periods. Arguments as in ``performance``.
"""

import math

import numpy as np

from jesse_mcp.analytics.measures import OVERFLOW, Floats, Measure, found_or_reason, measured, wealth
from jesse_mcp.analytics.performance import annual_return, total_return

NO_DRAWDOWN = "there is no drawdown"


@measured
def max_drawdown(returns: Floats) -> float | str:
    """The deepest drawdown, 0 to 1."""
    return float(depths_of_returns(returns).max())


@measured
def ulcer_index(returns: Floats) -> float | str:
    """Root mean square of the drawdowns of all n periods.

    Source: Martin & McCann, "The Investor's Guide to Fidelity Funds", 1989.
    """
    return math.sqrt(float(np.mean(depths_of_returns(returns) ** 2)))


@measured
def pain_index(returns: Floats) -> float | str:
    """Mean of the drawdowns of all n periods.

    Source: Bacon, "Practical Portfolio Performance Measurement and Attribution", 2nd edition, 2008.
    """
    return float(depths_of_returns(returns).mean())


def calmar_ratio(returns: Floats, periods_per_year: float) -> Measure:
    """Annual return over the deepest drawdown of the whole series.

    Source: Young, "Calmar ratio: a smoother tool", Futures 20(1), 1991, where it is of the last 36 months.
    """
    return _ratio(annual_return(returns, periods_per_year), 0.0, max_drawdown(returns))


def martin_ratio(returns: Floats, periods_per_year: float, risk_free_rate: float = 0.0) -> Measure:
    """Ulcer performance index: annual return above the risk-free rate over :func:`ulcer_index`."""
    return _ratio(annual_return(returns, periods_per_year), risk_free_rate, ulcer_index(returns))


def pain_ratio(returns: Floats, periods_per_year: float, risk_free_rate: float = 0.0) -> Measure:
    """Annual return above the risk-free rate over :func:`pain_index`."""
    return _ratio(annual_return(returns, periods_per_year), risk_free_rate, pain_index(returns))


def recovery_factor(returns: Floats) -> Measure:
    """Compounded total return over the deepest drawdown, both relative."""
    return _ratio(total_return(returns), 0.0, max_drawdown(returns))


def drawdown_ratios(
    returns: Floats, periods_per_year: float, risk_free_rate: float = 0.0
) -> dict[str, Measure]:
    """Everything of this module by its usual name."""
    return {
        "max_drawdown": max_drawdown(returns),
        "calmar_ratio": calmar_ratio(returns, periods_per_year),
        "recovery_factor": recovery_factor(returns),
        "ulcer_index": ulcer_index(returns),
        "martin_ratio": martin_ratio(returns, periods_per_year, risk_free_rate),
        "pain_index": pain_index(returns),
        "pain_ratio": pain_ratio(returns, periods_per_year, risk_free_rate),
    }


def depths_of_returns(returns: Floats) -> Floats:
    """Drawdown at the end of each period, shape (n,); NaN where wealth leaves the range of a float."""
    path = wealth(returns)
    peaks = np.maximum.accumulate(path)
    with np.errstate(all="ignore"):
        return np.asarray(np.maximum(1 - path[1:] / peaks[1:], 0.0), dtype=np.float64)


def _ratio(gain: Measure, threshold: float, risk: Measure) -> Measure:
    if gain.value is None or risk.value is None:
        return Measure(None, gain.reason or risk.reason)
    if risk.value == 0:
        return Measure(None, NO_DRAWDOWN)
    ratio = (gain.value - threshold) / risk.value
    return found_or_reason(ratio if math.isfinite(ratio) else OVERFLOW)
