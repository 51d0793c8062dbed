"""What each part of a portfolio adds to its value at risk and expected shortfall; the parts sum to it."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.tail_risk import (
    CONSTANT,
    OVERFLOW,
    TailRisk,
    is_constant,
    measured,
    standard_normal_tail,
    tail_size,
    unusable,
)
from jesse_mcp.analytics.value_at_risk import gaussian, historical, too_short

Floats = NDArray[np.float64]
#: Losses closer than this, relatively, are one scenario of the quantile.
_TIE = 1e-12


@dataclass(frozen=True)
class Contributions:
    """Of each part, shape (k,).

    ``var`` and ``es`` are the components, which sum to those of the ``total``; ``marginal_var`` and
    ``marginal_es`` are what one more unit of weight adds; ``alone`` is the risk of each part by itself.
    """

    total: TailRisk
    var: Floats
    es: Floats
    marginal_var: Floats
    marginal_es: Floats
    alone: tuple[TailRisk, ...]


def contributions(
    weights: Floats, returns: Floats, confidence: float, basis: Literal["historical", "gaussian"]
) -> Contributions | str:
    """Euler allocation of one period's value at risk and expected shortfall, or the reason why not.

    Args:
        weights: shape (k,), of a portfolio that keeps them; its return is ``returns @ weights``.
        returns: of the parts, shape (n, k).
        basis: ``gaussian`` takes derivatives of the normal formula; ``historical`` takes what each part
            lost in the scenario of the quantile (one day, so rough), and in the scenarios of the tail.

    Source: Tasche, "Risk contributions and performance measurement", working paper, TU Munich, 1999;
    McNeil, Frey & Embrechts, "Quantitative Risk Management", 2nd edition, 2015, section 8.5.
    """
    if not (np.isfinite(weights).all() and np.isfinite(returns).all()):
        return "a weight or a return is not a finite number"
    with np.errstate(over="ignore", invalid="ignore"):
        portfolio = returns @ weights
        reason = unusable(portfolio, 2)
        if reason:
            return reason
        found = (_gaussian if basis == "gaussian" else _historical)(returns, portfolio, confidence)
    if isinstance(found, str):
        return found
    marginal_var, marginal_es = found
    var, es = weights * marginal_var, weights * marginal_es
    if not (np.isfinite(var).all() and np.isfinite(es).all()):
        return OVERFLOW
    single = historical if basis == "historical" else gaussian
    return Contributions(
        total=measured(float(var.sum()), float(es.sum())),
        var=var,
        es=es,
        marginal_var=marginal_var,
        marginal_es=marginal_es,
        alone=tuple(
            single(weight * column, confidence) for weight, column in zip(weights, returns.T, strict=True)
        ),
    )


def _gaussian(returns: Floats, portfolio: Floats, confidence: float) -> tuple[Floats, Floats] | str:
    """Derivatives by the weights: ``-mean + z * covariance with the portfolio / its deviation``."""
    if is_constant(portfolio):
        return CONSTANT
    means = returns.mean(axis=0)
    centred = portfolio - portfolio.mean()
    covariances = (returns - means).T @ centred / (len(portfolio) - 1)
    deviation = math.sqrt(float(centred @ centred) / (len(portfolio) - 1))
    if deviation == 0:  # changes so small that their squares are none
        return CONSTANT
    quantile, shortfall = standard_normal_tail(confidence)
    return -(means + quantile * covariances / deviation), -(means - shortfall * covariances / deviation)


def _historical(returns: Floats, portfolio: Floats, confidence: float) -> tuple[Floats, Floats] | str:
    """Mean losses of the parts where the portfolio loses its quantile, and where it loses that or more."""
    reason = too_short(len(portfolio), confidence)
    if reason:
        return reason
    size = tail_size(len(portfolio), confidence)
    threshold = float(np.partition(portfolio, int(size))[int(size)])
    tied = np.abs(portfolio - threshold) <= _TIE * abs(threshold)
    beyond = (portfolio < threshold) & ~tied
    at_quantile = -returns[tied].mean(axis=0)
    # Scenarios that are equal share what the tail still lacks, whatever their order.
    rest = size - int(beyond.sum())
    in_tail = (-returns[beyond].sum(axis=0) + rest * at_quantile) / size
    return at_quantile, in_tail
