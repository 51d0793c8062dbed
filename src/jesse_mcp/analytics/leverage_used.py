"""How much of its balance a record of trades had at work at a time."""

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.measures import Floats


def gross_leverage(
    sizes: Floats,
    opened_at: NDArray[np.int64],
    closed_at: NDArray[np.int64],
    times: NDArray[np.int64],
    balances: Floats,
) -> Floats:
    """Value of all open trades over the balance, at the moment each trade was opened, shape (n,).

    Values are those at entry, long and short added up; a trade counts from its opening up to, not including,
    its end. The balance is the last one known at that moment, the first one before any is known; NaN where it
    is not positive.

    Args:
        sizes: value at entry, zero or more, in the currency of the balance, shape (n,).
        opened_at: epoch milliseconds, shape (n,).
        closed_at: not before ``opened_at``, shape (n,).
        times: of the balances, ascending, shape (m,), m >= 1.
        balances: shape (m,).
    """
    opening, closing = np.argsort(opened_at, kind="stable"), np.argsort(closed_at, kind="stable")
    opened = np.concatenate(([0.0], np.cumsum(sizes[opening])))
    closed = np.concatenate(([0.0], np.cumsum(sizes[closing])))
    begun = opened[np.searchsorted(opened_at[opening], opened_at, side="right")]
    ended = closed[np.searchsorted(closed_at[closing], opened_at, side="right")]
    # Of a trade that has no length nothing would be left.
    gross = np.maximum(begun - ended, sizes)
    known = balances[np.maximum(np.searchsorted(times, opened_at, side="right") - 1, 0)]
    with np.errstate(all="ignore"):
        return np.asarray(np.where(known > 0, gross / known, np.nan), dtype=np.float64)
