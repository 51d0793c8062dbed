"""One-minute candles into longer bars, the way Jesse builds them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MINUTE_MS = 60_000


@dataclass(frozen=True)
class Resampled:
    """Bars of one timeframe.

    ``candles`` is (n, 6) float64: bar start in epoch ms, open, close, high, low, volume. ``incomplete``
    counts the bars built from fewer one-minute candles than the timeframe has, dropped ones included.
    """

    candles: NDArray[np.float64]
    incomplete: int


def resample(candles: NDArray[np.float64], minutes: int, *, drop_incomplete: bool = False) -> Resampled:
    """Aggregate one-minute candles into clock-aligned bars of ``minutes``.

    A bar starts where the epoch time is a multiple of its length: ``start = t - t % (minutes * 60_000)``.
    That is midnight UTC for ``1D``; a ``1W`` bar (10 080 minutes) starts on Thursday, the weekday of
    1970-01-01, and a ``1M`` bar (43 200 minutes) is 30 days and no calendar month. Open is the first open,
    close the last close, high and low the extremes, volume the sum. Minutes without any candle make no bar.
    Source: ``jesse.services.candle_service.generate_completed_candles_from_observed_minutes``, Jesse 3.5.
    Its volume can differ in the last bit, where the order of summation differs.

    Args:
        candles: (n, 6) float64 in Jesse order: epoch ms, open, close, high, low, volume; ascending.
        minutes: length of a bar, for example 240 for ``4h``.
        drop_incomplete: leave out bars in which a minute is missing, at the edges or inside.

    Raises:
        ValueError: ``minutes`` is not positive, the shape is not (n, 6), or time does not ascend.
    """
    if minutes < 1:
        raise ValueError(f"minutes is {minutes}; a bar has at least one")
    if candles.ndim != 2 or candles.shape[1] != 6:
        raise ValueError(f"candles have shape {candles.shape}, not (n, 6)")
    if not len(candles):
        return Resampled(np.empty((0, 6)), 0)
    moments = candles[:, 0].astype(np.int64)
    if (np.diff(moments) <= 0).any():
        raise ValueError("timestamps must be strictly ascending")
    length = minutes * MINUTE_MS
    starts = moments - moments % length
    first = np.concatenate(([0], np.flatnonzero(np.diff(starts)) + 1))
    last = np.concatenate((first[1:], [len(candles)])) - 1
    bars = np.column_stack(
        (
            starts[first].astype(np.float64),
            candles[first, 1],
            candles[last, 2],
            np.maximum.reduceat(candles[:, 3], first),
            np.minimum.reduceat(candles[:, 4], first),
            np.add.reduceat(candles[:, 5], first),
        )
    )
    complete = last - first + 1 == minutes
    return Resampled(bars[complete] if drop_incomplete else bars, int((~complete).sum()))
