"""What becomes of a balance along many simulated paths at once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class PathStatistics(NamedTuple):
    """One value for each path, shape (rows,)."""

    final_balance: NDArray[np.float64]
    max_drawdown: NDArray[np.float64]
    lowest_balance: NDArray[np.float64]


def additive_paths(profits: NDArray[np.float64], starting_balance: float) -> NDArray[np.float64]:
    """Balances after each profit or loss is added; a balance of zero or less is the end and stays zero.

    Args:
        profits: money, shape (rows, n), in order; overwritten by the answer.
        starting_balance: positive.

    Returns:
        The balance after each of them, shape (rows, n).
    """
    balances = np.add.accumulate(profits, axis=1, out=profits)
    balances += starting_balance
    ruined = np.flatnonzero(balances.min(axis=1, initial=np.inf) <= 0)
    if len(ruined):
        part = balances[ruined]
        part[np.minimum.accumulate(part, axis=1) <= 0] = 0.0
        balances[ruined] = part
    return balances


def compounded_paths(returns: NDArray[np.float64], starting_balance: float) -> NDArray[np.float64]:
    """Balances after each return is compounded; a return of -1 or less is the end: the balance stays zero.

    Args:
        returns: fractions, shape (rows, n), in order; overwritten by the answer.
        starting_balance: positive.

    Returns:
        The balance after each of them, shape (rows, n); infinite where the product leaves the range of a
        float.
    """
    factors = np.maximum(np.add(returns, 1.0, out=returns), 0.0, out=returns)
    with np.errstate(over="ignore", invalid="ignore"):
        balances = np.multiply.accumulate(factors, axis=1, out=factors)
        balances *= starting_balance
    # Infinity times zero: the path had overflowed before it was ruined.
    balances[np.isnan(balances)] = 0.0
    return balances


def path_statistics(balances: NDArray[np.float64], starting_balance: float) -> PathStatistics:
    """Where each path ends, how deep it fell, and its lowest point; the start counts as a point.

    Args:
        balances: shape (rows, n), none negative; paths without a point stay at the start.
        starting_balance: positive.

    Returns:
        Balances in money; the drawdown as a fraction of the running peak, 0 to 1.

    Source of the drawdown: Magdon-Ismail & Atiya, "Maximum drawdown", Risk 17(10), 2004.
    """
    rows, n = balances.shape
    if n == 0:
        start = np.full(rows, starting_balance)
        return PathStatistics(start, np.zeros(rows), start.copy())
    peaks = np.maximum.accumulate(balances, axis=1)
    np.maximum(peaks, starting_balance, out=peaks)
    # Of infinities nothing can be said; the rest of the path still counts.
    with np.errstate(invalid="ignore"):
        falls = np.subtract(peaks, balances)
        np.divide(falls, peaks, out=falls)
    deepest = np.fmax(np.fmax.reduce(falls, axis=1), 0.0)
    lowest = np.minimum(balances.min(axis=1), starting_balance)
    deepest[lowest == 0] = 1.0
    return PathStatistics(balances[:, -1].copy(), deepest, lowest)
