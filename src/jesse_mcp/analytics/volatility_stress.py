"""The same returns, only wilder: deviations from their mean made larger."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Standard normal quantiles of 95 and 99 %.
NORMAL_QUANTILES = {"0.95": 1.6448536269514722, "0.99": 2.3263478740408408}


@dataclass(frozen=True)
class RiskSummary:
    """Fractions; ``normal_var`` of one period by level, positive for a loss.

    ``volatility`` is annual, of the sample (n - 1); ``max_drawdown`` 0 to 1; ``ruined`` when a return of -1
    or less lost everything.
    """

    volatility: float
    normal_var: dict[str, float]
    max_drawdown: float
    total_return: float
    ruined: bool


def scaled_about_mean(returns: Floats, multiplier: float) -> Floats:
    """Each return ``m + multiplier * (r - m)``, m being their mean, and never below -1.

    Args:
        returns: fractions, shape (n,).
        multiplier: 0 or more; 1 changes nothing.

    Returns:
        Shape (n,): same mean and order, standard deviation times ``multiplier``, but for returns that the
        limit of -1 cuts.

    Source: returns rescaled to another volatility, Hull & White, "Incorporating volatility updating into the
    historical simulation method for value-at-risk", Journal of Risk 1(1), 1998, here about the mean.
    """
    if len(returns) == 0:
        return returns
    mean = returns.mean()
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.maximum(mean + multiplier * (returns - mean), -1.0), dtype=np.float64)


def summarize(returns: Floats, periods_per_year: float) -> RiskSummary | str:
    """What the returns mean, or in words why that cannot be said.

    Args:
        returns: fractions, shape (n,).
        periods_per_year: 365 for days.

    Returns:
        VaR under normal returns is ``z * sd - mean``: J.P. Morgan/Reuters, "RiskMetrics Technical Document",
        4th ed. 1996, with the mean kept. The drawdown is that of compounded returns, the start included.
    """
    if len(returns) < 2:
        return f"{len(returns)} returns have no standard deviation"
    with np.errstate(all="ignore"):
        equity = np.concatenate(([1.0], np.multiply.accumulate(np.maximum(1 + returns, 0.0))))
        deviation, mean = float(returns.std(ddof=1)), float(returns.mean())
        drawdown = float((1 - equity / np.maximum.accumulate(equity)).max())
        volatility = deviation * math.sqrt(periods_per_year)
        total = float(equity[-1]) - 1
    if not (math.isfinite(volatility) and math.isfinite(total) and math.isfinite(drawdown)):
        return "a number leaves the range of a floating point number"
    return RiskSummary(
        volatility=volatility,
        normal_var={level: z * deviation - mean for level, z in NORMAL_QUANTILES.items()},
        max_drawdown=drawdown,
        total_return=total,
        ruined=bool((returns <= -1).any()),
    )
