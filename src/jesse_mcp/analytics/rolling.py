"""Performance of every stretch of ``window`` successive periods.

Sums and extremes of a window are put together from the end of one block of ``window`` values and the
beginning of the next (van Herk, "A fast algorithm for local minimum and maximum filters on rectangular and
octagonal kernels", Pattern Recognition Letters 13(7), 1992): a few passes whatever the window, and nothing is
ever subtracted from a long sum.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jesse_mcp.analytics.measures import ROUNDING, Floats, wealth

Optional = tuple[float | None, ...]


@dataclass(frozen=True)
class Rolling:
    """Row ``i`` is of the returns ``i`` to ``i + window - 1``; ``None`` where a number is undefined.

    ``total_return`` is compounded, ``volatility`` (ddof=1) and ``sharpe_ratio`` (risk-free rate zero) are
    annual, ``max_drawdown`` is the deepest within the window.
    """

    total_return: Optional
    volatility: Optional
    sharpe_ratio: Optional
    max_drawdown: Optional


def rolling(returns: Floats, window: int, periods_per_year: float) -> Rolling:
    """Every window of the series; no row when the window is longer than the series.

    Args:
        returns: fractions, finite, shape (n,).
        window: periods, at least 2.
        periods_per_year: positive.

    Raises:
        ValueError: for a shorter window.
    """
    if window < 2:
        raise ValueError(f"a window of {window} has no dispersion")
    if len(returns) < window:
        return Rolling((), (), (), ())
    with np.errstate(all="ignore"):
        path = wealth(returns)
        totals = path[window:] / path[:-window] - 1
        deviations, means = _dispersion(returns, window)
        sharpe = np.where(deviations > 0, means / deviations, np.nan) * math.sqrt(periods_per_year)
        depths = _window_drawdowns(path, window + 1)
    return Rolling(
        _defined(totals),
        _defined(deviations * math.sqrt(periods_per_year)),
        _defined(sharpe),
        _defined(depths),
    )


def _dispersion(returns: Floats, window: int) -> tuple[Floats, Floats]:
    centre = float(returns.mean())
    means = _combined(returns - centre, window, np.add) / window
    squares = _combined((returns - centre) ** 2, window, np.add)
    variance = np.maximum(squares - window * means**2, 0.0) / (window - 1)
    largest = np.maximum(_combined(returns, window, np.maximum), -_combined(returns, window, np.minimum))
    spread = _combined(returns, window, np.maximum) - _combined(returns, window, np.minimum)
    deviations = np.sqrt(variance)
    # What rounding leaves of a window without spread is no dispersion.
    deviations[spread <= ROUNDING * np.maximum(1.0, largest)] = 0.0
    return deviations, means + centre


def _blocks(values: Floats, window: int, filling: float) -> Floats:
    rows = -(-len(values) // window) + 1
    padded = np.full(rows * window, filling)
    padded[: len(values)] = values
    return padded.reshape(rows, window)


def _from_here(blocks: Floats, ufunc: np.ufunc) -> Floats:
    """``ufunc`` over each value and the later ones of its block."""
    return np.asarray(ufunc.accumulate(blocks[:, ::-1], axis=1)[:, ::-1], dtype=np.float64)


def _up_to_here(blocks: Floats, ufunc: np.ufunc) -> Floats:
    """``ufunc`` over each value and the earlier ones of its block."""
    return np.asarray(ufunc.accumulate(blocks, axis=1), dtype=np.float64)


def _windows(
    heads: Floats, tails: Floats, window: int, count: int, join: Callable[[Floats, Floats], Floats]
) -> Floats:
    """What begins at ``i`` in one block joined with what ends at ``i + window - 1``."""
    first, last = heads.ravel()[:count], tails.ravel()[window - 1 : window - 1 + count]
    # A window that is a whole block is its head already; its tail would count everything twice.
    whole = np.arange(count) % window == 0
    return np.asarray(np.where(whole, first, join(first, last)), dtype=np.float64)


def _combined(values: Floats, window: int, ufunc: np.ufunc) -> Floats:
    blocks = _blocks(values, window, 0.0)
    count = len(values) - window + 1
    return _windows(_from_here(blocks, ufunc), _up_to_here(blocks, ufunc), window, count, ufunc)


def _window_drawdowns(path: Floats, window: int) -> Floats:
    """Deepest drawdown within each ``window`` balances; NaN where one begins with nothing."""
    blocks = _blocks(path, window, path[-1])
    count = len(path) - window + 1
    lowest_later = _from_here(blocks, np.minimum)
    heads = _from_here(1 - lowest_later / blocks, np.fmax)
    peaks = np.maximum.accumulate(blocks, axis=1)
    tails = _up_to_here(1 - blocks / peaks, np.fmax)
    highest_first = _from_here(blocks, np.maximum).ravel()[:count]
    lowest_last = _up_to_here(blocks, np.minimum).ravel()[window - 1 : window - 1 + count]
    across = 1 - lowest_last / highest_first

    def deepest(first: Floats, last: Floats) -> Floats:
        return np.asarray(np.fmax(np.fmax(first, last), across), dtype=np.float64)

    found = _windows(heads, tails, window, count, deepest)
    found[path[:count] <= 0] = np.nan
    return np.maximum(found, 0.0)


def _defined(values: Floats) -> Optional:
    finite = np.isfinite(values)
    return tuple(
        value if known else None for value, known in zip(values.tolist(), finite.tolist(), strict=True)
    )
