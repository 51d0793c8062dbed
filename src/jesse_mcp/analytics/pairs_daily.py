"""Balances of every bar as balances of every day."""

import numpy as np
from numpy.typing import NDArray

DAY_MS = 86_400_000


def daily_balances(
    ends: NDArray[np.int64],
    balances: NDArray[np.float64],
    start_ms: int,
    end_ms: int,
    starting_balance: float,
) -> list[tuple[int, float]]:
    """The balance at the start, and at each midnight (UTC) behind it the last one known by then.

    Args:
        ends: when each balance was taken, epoch milliseconds, ascending, shape (n,).
        balances: shape (n,); NaN ones are left out, so that nothing follows the loss of everything.
        start_ms: of the first point.
        end_ms: of the last one, which is added when it is no midnight.

    Returns:
        Pairs of epoch milliseconds and balance. After a balance of zero or less there is no further day.
    """
    known = np.isfinite(balances)
    times, values = ends[known], balances[known]
    midnights = list(range(start_ms // DAY_MS * DAY_MS + DAY_MS, end_ms + 1, DAY_MS))
    if end_ms > start_ms and (not midnights or midnights[-1] != end_ms):
        midnights.append(end_ms)
    points = [(start_ms, starting_balance)]
    places = np.searchsorted(times, midnights, side="right") - 1
    for midnight, place in zip(midnights, places.tolist(), strict=True):
        balance = starting_balance if place < 0 else float(values[place])
        points.append((midnight, balance))
        if balance <= 0:
            break
    return points
