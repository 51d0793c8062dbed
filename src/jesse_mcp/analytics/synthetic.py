"""Made-up candles for demonstrations and tests. They say nothing about any market."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MINUTE_MS = 60_000
MINUTES_A_YEAR = 525_600
DAY = 1_440


def synthetic_source(seed: int) -> str:
    """The ``source`` under which synthetic candles are stored, so that they are never taken for real."""
    return f"synthetic seed={seed}"


def synthetic_candles(
    start_ms: int,
    minutes: int,
    seed: int,
    *,
    start_price: float = 100.0,
    annual_volatility: float = 0.6,
    trend_strength: float = 2.0,
    mean_volume: float = 10.0,
) -> NDArray[np.float64]:
    """Gapless one-minute candles of a market that trends and ranges by turns.

    The price follows regimes of two to ten days. A trend is geometric Brownian motion with a drift of
    ``trend_strength`` standard deviations of the noise over the regime, up or down, more often back to the
    starting price than away from it. A range is a Brownian bridge around a slow wave. Each candle opens at
    the close before it. ``annual_volatility`` is that of the noise alone; trends and waves come on top.

    The same arguments give the same candles, and more minutes continue the same series. The random numbers
    are ``standard_normal`` and ``random`` of a PCG64 generator; NumPy promises their stream only within a
    version (it rarely changes), and exp and sin may differ in the last bit between processors, which
    rounding to a tick of about 0.00001 of the starting price hides nearly always.

    Args:
        start_ms: epoch ms of the first candle, a multiple of 60 000.
        minutes: number of candles.
        seed: any non-negative integer.
        start_price: open of the first candle.
        annual_volatility: standard deviation of the log return over 365 days, as a fraction.
        trend_strength: drift of a trend in standard deviations; 0 leaves a random walk with ranges.
        mean_volume: typical volume of a minute in the base currency.

    Returns:
        (minutes, 6) float64: epoch ms, open, close, high, low, volume.

    Raises:
        ValueError: for an argument outside its range.
    """
    _check_grid(start_ms, minutes)
    _check_shape(
        start_price=(start_price, 1e-6, 1e9),
        annual_volatility=(annual_volatility, 1e-3, 5.0),
        trend_strength=(trend_strength, 0.0, 10.0),
        mean_volume=(mean_volume, 0.01, 1e12),
    )
    sigma = annual_volatility / np.sqrt(MINUTES_A_YEAR)
    generator = np.random.Generator(np.random.PCG64(seed))
    regimes = list(_regimes(generator, minutes, sigma, trend_strength))
    path = np.concatenate([regime.path for regime in regimes])[:minutes]
    wicks = np.concatenate([regime.wicks for regime in regimes])[:minutes]
    activity = np.concatenate([regime.activity for regime in regimes])[:minutes]

    decimals = int(5 - np.floor(np.log10(start_price)))
    tick = 10.0**-decimals

    def rounded(prices: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(np.round(prices, decimals), tick)

    close = rounded(start_price * np.exp(path))
    opened = np.concatenate((rounded(np.array([start_price])), close[:-1]))
    moments = start_ms + MINUTE_MS * np.arange(minutes, dtype=np.float64)
    hour = (moments // (60 * MINUTE_MS)) % 24
    busy = 1.0 + 0.4 * np.sin(2 * np.pi * (hour - 8) / 24)
    return np.column_stack(
        (
            moments,
            opened,
            close,
            rounded(np.maximum(opened, close) * np.exp(wicks[:, 0])),
            rounded(np.minimum(opened, close) * np.exp(-wicks[:, 1])),
            np.maximum(np.round(mean_volume * busy * activity, 4), 0.0001),
        )
    )


@dataclass(frozen=True)
class _Regime:
    """``path``: log price relative to the start of the series; ``wicks``: (n, 2) log lengths above and
    below the body; ``activity``: volume relative to the mean."""

    path: NDArray[np.float64]
    wicks: NDArray[np.float64]
    activity: NDArray[np.float64]


def _regimes(
    generator: np.random.Generator, minutes: int, sigma: float, trend_strength: float
) -> Iterator[_Regime]:
    """Regimes until ``minutes`` are covered. Each is drawn whole, so that longer series only add to it."""
    level = 0.0
    done = 0
    while done < minutes:
        length = int(DAY * (2 + 8 * generator.random()))
        kind, direction = generator.random(), generator.random()
        normals = generator.standard_normal((length, 4))
        steps = sigma * normals[:, 0]
        clock = np.arange(1, length + 1) / length
        if kind < 0.6:
            upward = direction < 1 / (1 + np.exp(2 * level))
            total = trend_strength * sigma * np.sqrt(length)
            shape = (total if upward else -total) * clock
        else:
            steps = steps - steps.mean()
            waves = 1 + int(direction * 3) + length // DAY
            shape = 1.5 * sigma * np.sqrt(DAY) * np.sin(2 * np.pi * waves * clock)
        path = level + np.cumsum(steps) + shape
        yield _Regime(
            path=path,
            wicks=0.5 * sigma * np.abs(normals[:, 1:3]),
            activity=np.exp(0.5 * normals[:, 3]) * (0.7 + 0.4 * np.abs(normals[:, 0])),
        )
        level = float(path[-1])
        done += length


def _check_grid(start_ms: int, minutes: int) -> None:
    if start_ms < 0 or start_ms % MINUTE_MS:
        raise ValueError(f"start_ms is {start_ms}; it must be a multiple of 60000, not negative")
    if minutes < 1:
        raise ValueError(f"minutes is {minutes}; at least one candle is needed")


def _check_shape(**arguments: tuple[float, float, float]) -> None:
    """Each argument by name: its value, the least and the greatest allowed (NaN is neither)."""
    for name, (value, least, greatest) in arguments.items():
        if not least <= value <= greatest:
            raise ValueError(f"{name} is {value}; it must be from {least:g} to {greatest:g}")
