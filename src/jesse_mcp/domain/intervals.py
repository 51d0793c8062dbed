"""Sets of moments as ascending, disjoint, half-open intervals that do not touch, in epoch ms."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Interval = tuple[int, int]
Intervals = tuple[Interval, ...]


def union(intervals: Iterable[Interval]) -> Intervals:
    """Every moment that is in any of ``intervals``; empty ones add nothing."""
    merged: list[Interval] = []
    for start, end in sorted(interval for interval in intervals if interval[0] < interval[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def without(intervals: Intervals, start: int | None, end: int | None) -> Intervals:
    """``intervals`` less ``[start, end)``; ``None`` is no bound on that side."""
    left = () if start is None else ((a, min(b, start)) for a, b in intervals)
    right = () if end is None else ((max(a, end), b) for a, b in intervals)
    return union((*left, *right))


def split(
    intervals: tuple[NDArray[np.int64], NDArray[np.int64]], cuts: Intervals
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """``intervals`` (starts, ends) in pieces, each wholly inside ``cuts`` or wholly outside.

    Returns:
        Starts, ends, and whether a piece is inside. Pieces are as long as that allows.
    """
    starts, ends = intervals
    inner_starts, inner_ends = np.array(cuts, dtype=np.int64).reshape(-1, 2).T
    edges = np.unique(np.concatenate((starts, ends, inner_starts, inner_ends)))
    low, high = edges[:-1], edges[1:]
    wanted = _contained(low, starts, ends)
    low, high = low[wanted], high[wanted]
    return low, high, _contained(low, inner_starts, inner_ends)


def _contained(
    moments: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether each moment is in an interval: it is when more have started by then than have ended."""
    begun = np.searchsorted(starts, moments, side="right")
    over = np.searchsorted(ends, moments, side="right")
    return np.asarray(begun > over)
