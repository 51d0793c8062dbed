"""Factors of a universe of instruments, made of their prices and traded values at common moments.

Prices are shape (m, s): the last close known at each of m moments for each of s symbols, NaN where none is
known. Traded values, shape (m, s), are of the time between a moment and the one before. A factor has a
return for each time between two moments, shape (m - 1,), NaN where it cannot be made. What is decided at a
moment uses nothing after it, and is held from there on.

Sources: sorting into portfolios: Fama & French, "Common risk factors in the returns on stocks and bonds",
Journal of Financial Economics 33(1), 1993; market, size and momentum of three weeks, rebalanced weekly, for
cryptocurrencies: Liu, Tsyvinski & Wu, "Common risk factors in cryptocurrency", Journal of Finance 77(2),
2022; volatility: Ang, Hodrick, Xing & Zhang, "The cross-section of volatility and expected returns",
Journal of Finance 61(1), 2006.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.measures import Floats

Positions = NDArray[np.int64]

#: In each leg of a long-short factor there are two symbols at least.
MIN_RANKED = 6
LEGS = 3
MIN_MARKET = 2
#: Weeks begin on Monday: 1970-01-05 was the first.
_MONDAY_MS = 4 * 86_400_000


def period_returns(prices: Floats) -> Floats:
    """Simple returns between successive moments, shape (m - 1, s)."""
    with np.errstate(all="ignore"):
        found = prices[1:] / prices[:-1] - 1.0
    return np.where(np.isfinite(found), found, np.nan)


def market_factor(prices: Floats) -> Floats:
    """Equally weighted mean of the symbols that have a return, shape (m - 1,).

    NaN unless they are at least two and half of the universe.
    """
    returns = period_returns(prices)
    known = np.isfinite(returns)
    counts = known.sum(axis=1)
    enough = counts >= max(MIN_MARKET, prices.shape[1] / 2)
    sums = np.where(known, returns, 0.0).sum(axis=1)
    return np.where(enough, sums / np.maximum(counts, 1), np.nan)


def momentum_scores(prices: Floats, positions: Positions, formation: int) -> Floats:
    """Return over the ``formation`` periods before each of ``positions``, shape (r, s)."""

    def score(start: int, end: int) -> Floats:
        with np.errstate(all="ignore"):
            return np.asarray(prices[end] / prices[start] - 1.0, dtype=np.float64)

    return _scores(score, positions, formation, prices.shape[1])


def volatility_scores(prices: Floats, positions: Positions, formation: int) -> Floats:
    """Standard deviation (ddof=1) of the ``formation`` (2 or more) returns before each, shape (r, s)."""

    def score(start: int, end: int) -> Floats:
        return np.asarray(period_returns(prices[start : end + 1]).std(axis=0, ddof=1), dtype=np.float64)

    return _scores(score, positions, formation, prices.shape[1])


def size_scores(traded: Floats, positions: Positions, formation: int) -> Floats:
    """Mean value traded in the ``formation`` periods before each, shape (r, s): large is large."""

    def score(start: int, end: int) -> Floats:
        return np.asarray(traded[start + 1 : end + 1].mean(axis=0), dtype=np.float64)

    return _scores(score, positions, formation, traded.shape[1])


def _scores(
    score: Callable[[int, int], Floats], positions: Positions, formation: int, symbols: int
) -> Floats:
    """Row by row; NaN where there is less history than asked for, or a part of it is not known."""
    found = np.full((len(positions), symbols), np.nan)
    for row, end in enumerate(positions.tolist()):
        if end >= formation:
            found[row] = score(end - formation, end)
    return np.where(np.isfinite(found), found, np.nan)


def rebalancings(moments: NDArray[np.int64], every_ms: int) -> Positions:
    """Positions of the first moment in each stretch of ``every_ms``, counted from a Monday, shape (r,).

    By the calendar, not by where the moments begin: longer history makes the same factor. The very first
    moment is none, since nobody knows whether it is the first of its stretch.
    """
    stretches = (moments - _MONDAY_MS) // every_ms
    return np.flatnonzero(np.diff(stretches) > 0) + 1


def long_short(prices: Floats, scores: Floats, positions: Positions) -> Floats:
    """Mean return of the third with the highest scores less that of the third with the lowest, (m - 1,).

    Args:
        scores: known at each of ``positions``, shape (r, s); NaN is not ranked. Equal scores keep the order
            of the symbols.
        positions: moments at which the symbols are sorted anew, ascending, shape (r,); a choice is held
            until the next.

    Weights within a third are equal in every period. A period has no return when fewer than
    :data:`MIN_RANKED` symbols were ranked, or a chosen one has no price at either end of it.
    """
    returns = period_returns(prices)
    found = np.full(len(returns), np.nan)
    ends = np.append(positions, len(returns))[1:].tolist()
    for row, (start, end) in enumerate(zip(positions.tolist(), ends, strict=True)):
        ranked = np.flatnonzero(np.isfinite(scores[row]))
        if len(ranked) < MIN_RANKED:
            continue
        order = ranked[np.argsort(scores[row, ranked], kind="stable")]
        leg = math.floor(len(order) / LEGS)
        held = returns[start:end]
        found[start:end] = held[:, order[-leg:]].mean(axis=1) - held[:, order[:leg]].mean(axis=1)
    return found
