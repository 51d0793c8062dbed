"""How much of its balance a record of trades had at work at a time."""

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.measures import Floats


def gross_leverage(
    sizes: Floats,
    opened_at: NDArray[np.int64],
    closed_at: NDArray[np.int64],
    profits: Floats,
    times: NDArray[np.int64],
    balances: Floats,
) -> Floats:
    """Value of all open trades over the balance, at the moment each trade was opened, shape (n,).

    Values are those at entry, long and short added up; a trade counts from its opening up to, not including,
    its end. The balance is the first one with the profits of all trades closed by then, exact while nothing
    else is open: since the last balance known, up to a day before, trades may have gained what is used now.
    What other open trades have gained or lost by then nobody knows: beside them it is the smaller of that and
    the last balance known, the first one before any is. NaN where it is not positive.

    Args:
        sizes: value at entry, zero or more, in the currency of the balance, shape (n,).
        opened_at: epoch milliseconds, shape (n,).
        closed_at: not before ``opened_at``, shape (n,).
        profits: after fees, in the currency of the balance, shape (n,).
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
    last = balances[np.maximum(np.searchsorted(times, opened_at, side="right") - 1, 0)]
    with np.errstate(all="ignore"):
        earned = np.concatenate(([0.0], np.cumsum(profits[closing])))
        before = earned[np.searchsorted(closed_at[closing], opened_at, side="right")]
        # A trade without length is closed by then too, and did not have its own profit to trade with.
        realised = balances[0] + before - np.where(closed_at == opened_at, profits, 0.0)
        known = np.where(_alone(opened_at, closed_at), realised, np.minimum(realised, last))
        return np.asarray(np.where((known > 0) & np.isfinite(known), gross / known, np.nan), dtype=np.float64)


def _alone(opened_at: NDArray[np.int64], closed_at: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether no other trade is open at the moment each was opened, shape (n,)."""
    begun = np.searchsorted(np.sort(opened_at), opened_at, side="right")
    ended = np.searchsorted(np.sort(closed_at), opened_at, side="right")
    # One without length has ended already.
    return np.asarray(begun - ended <= np.where(closed_at == opened_at, 0, 1), dtype=np.bool_)
