"""Confidence intervals of performance numbers by the stationary bootstrap.

Percentile intervals of Efron ("Nonparametric standard errors and confidence intervals", Canadian Journal of
Statistics 9(2), 1981): the quantiles (type 7) of the statistic over resampled histories. Not bias corrected:
the acceleration of BCa intervals comes from leaving out single observations, which says nothing of dependent
ones. The histories are drawn in blocks of geometric length (Politis & Romano 1994), by default as long on
average as :func:`optimal_block_length` says.
"""

import math
from dataclasses import dataclass

import numpy as np

from jesse_mcp.analytics.block_length import optimal_block_length
from jesse_mcp.analytics.measures import (
    NO_SPREAD,
    NOT_FINITE,
    ROUNDING,
    Floats,
    dispersion,
    per_period,
)
from jesse_mcp.analytics.resamplers import stationary_blocks

FEWEST_RETURNS = 20
#: Values drawn in all; more would take longer than a call may.
MAX_DRAWS = 100_000_000
STATISTICS = (
    "annual_return",
    "annual_volatility",
    "sharpe_ratio",
    "sortino_ratio",
    "max_drawdown",
    "calmar_ratio",
)
_CHUNK = 1 << 18
#: A statistic that more of the histories lack than this has no interval.
_MOST_UNDEFINED = 0.01


@dataclass(frozen=True)
class Interval:
    """From ``low`` to ``high`` with the confidence asked for; ``median`` of the resampled histories."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Intervals:
    """``found`` by name; ``undefined`` says why others lack. ``block_length`` is ``None`` without draws."""

    found: dict[str, Interval]
    undefined: dict[str, str]
    draws: int
    block_length: float | None


def bootstrap_intervals(
    returns: Floats,
    periods_per_year: float,
    *,
    confidence: float = 0.95,
    draws: int = 2_000,
    seed: int = 0,
    block_length: float | None = None,
    risk_free_rate: float = 0.0,
    target_return: float = 0.0,
) -> Intervals:
    """Intervals of :data:`STATISTICS` as ``performance`` and ``drawdown_ratios`` define them.

    Args:
        returns: simple returns a period, oldest first, shape (n,).
        periods_per_year: positive.
        confidence: between 0 and 1.
        draws: resampled histories, at least 1.
        seed: a non-negative integer; the same seed gives the same intervals.
        block_length: mean length, at least 1.
        risk_free_rate: annual, more than -1.
        target_return: annual, of the Sortino ratio.
    """
    reason = _unusable(returns, draws)
    if reason is not None:
        return Intervals({}, dict.fromkeys(STATISTICS, reason), 0, None)
    mean_length = optimal_block_length(returns).stationary if block_length is None else block_length
    draw = stationary_blocks(returns, seed, mean_length)
    columns = np.empty((len(STATISTICS), draws))
    rows = max(1, _CHUNK // len(returns))
    free = per_period(risk_free_rate, periods_per_year)
    target = per_period(target_return, periods_per_year)
    for begin in range(0, draws, rows):
        end = min(begin + rows, draws)
        columns[:, begin:end] = _statistics(draw(end - begin), periods_per_year, free, target)
    found: dict[str, Interval] = {}
    undefined: dict[str, str] = {}
    tail = (1 - confidence) / 2
    for name, values in zip(STATISTICS, columns, strict=True):
        known = values[np.isfinite(values)]
        lacking = draws - len(known)
        if lacking > _MOST_UNDEFINED * draws:
            undefined[name] = f"undefined in {lacking} of {draws} resampled histories"
            continue
        low, median, high = np.quantile(known, [tail, 0.5, 1 - tail]).tolist()
        found[name] = Interval(low, median, high)
    return Intervals(found, undefined, draws, float(mean_length))


def _unusable(returns: Floats, draws: int) -> str | None:
    if len(returns) < FEWEST_RETURNS:
        return f"{len(returns)} returns are fewer than {FEWEST_RETURNS}"
    if not np.isfinite(returns).all():
        return NOT_FINITE
    if dispersion(returns) == 0:
        return NO_SPREAD
    if len(returns) * draws > MAX_DRAWS:
        return (
            f"{draws:,} histories of {len(returns):,} returns are more than {MAX_DRAWS:,} draws: "
            "use a longer timeframe"
        )
    return None


def _statistics(drawn: Floats, periods_per_year: float, free: float, target: float) -> Floats:
    """One row a statistic, one column a history; NaN where one is undefined."""
    n = drawn.shape[1]
    root = math.sqrt(periods_per_year)
    with np.errstate(all="ignore"):
        means = drawn.mean(axis=1)
        deviations = drawn.std(axis=1, ddof=1)
        deviations[deviations <= ROUNDING * np.maximum(1.0, np.abs(drawn).max(axis=1))] = 0.0
        downside = np.sqrt(np.mean(np.minimum(drawn - target, 0.0) ** 2, axis=1))
        # A return of -1 or less is ruin: what comes after it earns nothing.
        growth = np.cumsum(np.log1p(np.maximum(drawn, -1.0)), axis=1)
        annual = np.expm1(growth[:, -1] * periods_per_year / n)
        peaks = np.maximum(np.maximum.accumulate(growth, axis=1), 0.0)
        drawdown = -np.expm1((growth - peaks).min(axis=1))
        return np.array(
            [
                annual,
                deviations * root,
                np.where(deviations > 0, (means - free) / deviations * root, np.nan),
                np.where(downside > 0, (means - target) / downside * root, np.nan),
                drawdown,
                np.where(drawdown > 0, annual / drawdown, np.nan),
            ]
        )
