"""Fewer points of a long series that look the same in a chart."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.measures import Floats


def thinned(values: Floats, most: int) -> NDArray[np.int64]:
    """Positions, ascending: the first, the last, and the lowest and the highest of even stretches.

    Args:
        values: shape (n,); NaN is never an extreme while there is a number in its stretch.
        most: how many at most, 4 or more.

    Returns:
        All positions when there are no more than ``most``.
    """
    n = len(values)
    if n <= most:
        return np.arange(n, dtype=np.int64)
    parts = (most - 2) // 2
    edges = np.linspace(0, n, parts + 1).astype(np.int64)
    chosen = [0, n - 1]
    lows, highs = np.where(np.isnan(values), np.inf, values), np.where(np.isnan(values), -np.inf, values)
    for start, end in pairwise(edges.tolist()):
        chosen += [int(start + np.argmin(lows[start:end])), int(start + np.argmax(highs[start:end]))]
    return np.unique(np.array(chosen, dtype=np.int64))
