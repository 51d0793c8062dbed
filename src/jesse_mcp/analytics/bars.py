"""One-minute candles put together to bars of a longer timeframe."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MINUTE_MS = 60_000


@dataclass(frozen=True)
class Bars:
    """One array a column, shape (n,); ``timestamps`` are those of the first minute, epoch milliseconds.

    ``minutes`` says how many candles a bar was made of.
    """

    timestamps: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    minutes: NDArray[np.int64]


def bars(candles: NDArray[np.float64], minutes: int, start_ms: int) -> Bars:
    """Bars of ``minutes`` counted from ``start_ms``; where no candle is, there is no bar.

    Args:
        candles: rows of ``timestamp_ms, open, close, high, low, volume``, ascending, none before
            ``start_ms``, shape (n, 6).
        minutes: of a bar, at least 1.
        start_ms: where the first bar begins.

    Returns:
        First open, highest high, lowest low, last close and summed volume of the candles that are there.
    """
    step = minutes * MINUTE_MS
    buckets = (candles[:, 0].astype(np.int64) - start_ms) // step
    firsts = np.flatnonzero(np.diff(buckets, prepend=-1)) if len(buckets) else np.empty(0, np.int64)
    lasts = np.append(firsts[1:], len(buckets)) - 1 if len(firsts) else firsts

    def each(ufunc: np.ufunc, column: int) -> NDArray[np.float64]:
        if not len(firsts):
            return np.empty(0)
        return np.asarray(ufunc.reduceat(candles[:, column], firsts), dtype=np.float64)

    return Bars(
        timestamps=start_ms + buckets[firsts] * step,
        open=np.array(candles[firsts, 1]),
        high=each(np.maximum, 3),
        low=each(np.minimum, 4),
        close=np.array(candles[lasts, 2]),
        volume=each(np.add, 5),
        minutes=(lasts - firsts + 1).astype(np.int64),
    )
