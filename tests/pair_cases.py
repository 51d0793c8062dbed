"""Synthetic one-minute candles of two symbols whose spread returns to its mean, for tests of pairs."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from jesse_mcp.analytics.synthetic import synthetic_candles

START = 1_704_067_200_000  # 2024-01-01
SYMBOL_Y, SYMBOL_X = "ETH-USDT", "BTC-USDT"


def pair_candles(
    days: int, *, seed: int = 5, half_life_minutes: float = 720.0, steps: float = 0.0
) -> dict[str, NDArray[np.float64]]:
    """Rows ``timestamp, open, close, high, low, volume`` by symbol: log y is 0.8 log x plus a spread.

    Args:
        steps: deviation of the step between a close and the next open of y; x has none.
    """
    minutes = days * 1440
    x = synthetic_candles(START, minutes, seed)
    drawn = np.random.default_rng(seed + 1)
    phi = 0.5 ** (1 / half_life_minutes)
    spread = lfilter([1.0], [1.0, -phi], drawn.normal(0, 0.0008, minutes))
    close = 0.5 * np.exp(0.8 * np.log(x[:, 2]) + spread)
    opened = np.concatenate((close[:1], close[:-1] * np.exp(steps * drawn.normal(size=minutes - 1))))
    high, low = np.maximum(opened, close) * 1.0001, np.minimum(opened, close) * 0.9999
    y = np.column_stack((x[:, 0], opened, close, high, low, x[:, 5]))
    return {SYMBOL_Y: y, SYMBOL_X: x}


def pair_files(folder: Path, candles: dict[str, NDArray[np.float64]]) -> dict[str, Path]:
    """The candles as CSV files, exact to the last bit."""
    found = {}
    for symbol, rows in candles.items():
        found[symbol] = folder / f"{symbol}.csv"
        header = "timestamp,open,high,low,close,volume"
        np.savetxt(
            found[symbol], rows[:, [0, 1, 3, 4, 2, 5]], delimiter=",", header=header, comments="", fmt="%.17g"
        )
    return found
