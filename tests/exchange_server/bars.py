"""The candles of one market as an exchange has them at one moment."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from exchange_server.wire import CLOSE, HIGH, LOW, MINUTE_MS, OPEN, TIMESTAMP, VOLUME, Candles

#: Where the bar that each timestamp belongs to begins.
Starts = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]

_DAY = 1440
_MONDAY = 4 * _DAY * MINUTE_MS


def no_candles() -> Candles:
    return np.empty((0, 6))


def every(minutes: int, origin_ms: int = 0) -> Starts:
    width = minutes * MINUTE_MS
    return lambda stamps: (stamps - origin_ms) // width * width + origin_ms


def weekly() -> Starts:
    """Weeks from Monday on."""
    return every(7 * _DAY, _MONDAY)


def monthly(stamps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    months = stamps.astype("datetime64[ms]").astype("datetime64[M]")
    return months.astype("datetime64[ms]").astype(np.float64)


def so_far(candles: Candles, now_ms: int) -> Candles:
    """What has been traded until ``now_ms``; the minute that is still running has part of its volume."""
    known = candles[candles[:, TIMESTAMP] <= now_ms].copy()
    if len(known):
        last = known[-1]
        share = min(1.0, (now_ms - last[TIMESTAMP]) / MINUTE_MS)
        if share < 1.0:
            last[:] = forming(last, share)
    return known


def forming(candle: Candles, share: float) -> Candles:
    """A candle as it looked when only ``share`` of its minute had passed."""
    young = candle.copy()
    young[CLOSE] = candle[OPEN] + (candle[CLOSE] - candle[OPEN]) * share
    young[VOLUME] = candle[VOLUME] * share
    return young


def traded(candles: Candles) -> Candles:
    """Without the minutes nobody traded in, for exchanges that leave those out."""
    return candles[candles[:, VOLUME] > 0]


def resample(candles: Candles, starts: Starts) -> Candles:
    if not len(candles):
        return candles
    begins, first = np.unique(starts(candles[:, TIMESTAMP]), return_index=True)
    last = np.append(first[1:], len(candles)) - 1
    columns: list[npt.NDArray[np.float64]] = [begins] * 6
    columns[OPEN] = candles[first, OPEN]
    columns[CLOSE] = candles[last, CLOSE]
    columns[HIGH] = np.maximum.reduceat(candles[:, HIGH], first)
    columns[LOW] = np.minimum.reduceat(candles[:, LOW], first)
    columns[VOLUME] = np.add.reduceat(candles[:, VOLUME], first)
    return np.column_stack(columns)


def between(candles: Candles, first_ms: float, last_ms: float) -> Candles:
    """Candles that begin in the range, both ends included."""
    stamps = candles[:, TIMESTAMP]
    return candles[(stamps >= first_ms) & (stamps <= last_ms)]
