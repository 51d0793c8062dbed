"""How far a spread is from its mean, and what that makes a trader do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

ExitReason = Literal["reverted", "stop", "time"]

#: Numbers held at a time.
_CHUNK = 2_000_000
#: Comparable prices are around 1: a deviation of less, or of that share of larger ones, is rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Rules:
    """When a pair is entered and left; z-scores are in standard deviations.

    Attributes:
        entry_z: the spread is sold at or above it, bought at or below its negative.
        exit_z: left once the deviation is no larger than that, on the side of the entry or past the mean.
        stop_z: left once the deviation is as large as that; nothing is entered there.
        max_holding_bars: left after that many bars.
    """

    entry_z: float
    exit_z: float
    stop_z: float | None = None
    max_holding_bars: int | None = None


def comparable_prices(
    prices: NDArray[np.float64], formation: int, *, log_prices: bool
) -> NDArray[np.float64]:
    """Prices without their units: logarithms less, or prices over, their mean of the formation bars.

    Args:
        prices: positive, shape (n,).
        formation: bars at the beginning, at least 1.
    """
    if log_prices:
        logarithms = np.log(prices)
        return np.asarray(logarithms - logarithms[:formation].mean(), dtype=np.float64)
    return np.asarray(prices / prices[:formation].mean() - 1, dtype=np.float64)


def z_scores(
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    ratios: NDArray[np.float64],
    lookback: int,
    pause: Callable[[], None] = lambda: None,
) -> NDArray[np.float64]:
    """Deviation of the spread from its mean over the last ``lookback`` bars, in their standard deviations.

    The spread of a bar and of all bars of its window is ``y - ratio * x`` with the ratio of that bar, so that
    a ratio that changes does not look like a spread that moves. The window ends with the bar and includes it;
    the standard deviation has ddof 1. An intercept would cancel.

    Args:
        y, x: comparable prices, shape (n,).
        ratios: hedge ratio of each bar, shape (n,), NaN where there is none.
        lookback: at least 2.
        pause: called now and then; may raise to end the work.

    Returns:
        Shape (n,), NaN where the window is not whole, there is no ratio, or the spread does not move but
        for rounding.
    """
    if lookback < 2:
        raise ValueError(f"lookback is {lookback}: a standard deviation needs 2")
    scores = np.full(len(y), np.nan)
    if len(y) < lookback:
        return scores
    windows_y, windows_x = sliding_window_view(y, lookback), sliding_window_view(x, lookback)
    rows = max(1, _CHUNK // lookback)
    for first in range(0, len(windows_y), rows):
        pause()
        part = slice(first, first + rows)
        ends = slice(first + lookback - 1, min(first + rows, len(windows_y)) + lookback - 1)
        # Row by row in memory, so that a sum is the same in whatever chunk its row is.
        spreads = np.ascontiguousarray(windows_y[part] - ratios[ends, None] * windows_x[part])
        means, deviations = spreads.mean(axis=1), spreads.std(axis=1, ddof=1)
        # Where one is a multiple of the other the spread itself is rounding, whose size says nothing.
        sizes = np.maximum(np.abs(spreads).max(axis=1), np.maximum(np.abs(ratios[ends]), 1.0))
        moves = deviations > _ROUNDING * sizes
        safe = np.where(moves, deviations, 1.0)
        scores[ends] = np.where(moves, (spreads[:, -1] - means) / safe, np.nan)
    return scores


def entry_direction(z: float, rules: Rules) -> int:
    """1 to buy the spread, -1 to sell it, 0 to do nothing; NaN is no reason for anything."""
    size = abs(z)
    if not size >= rules.entry_z or (rules.stop_z is not None and size >= rules.stop_z):
        return 0
    return -1 if z > 0 else 1


def exit_reason(direction: int, z: float, bars_held: int, rules: Rules) -> ExitReason | None:
    """Why a position is left now, ``None`` to keep it.

    Args:
        direction: 1 when the spread was bought, -1 when it was sold.
        z: of the bar; NaN when there is none, which only the time stop overrules.
        bars_held: closes seen since the position was opened.
    """
    against = -direction * z
    if rules.stop_z is not None and against >= rules.stop_z:
        return "stop"
    if against <= rules.exit_z:
        return "reverted"
    if rules.max_holding_bars is not None and bars_held >= rules.max_holding_bars:
        return "time"
    return None


def unit_quantities(
    prices: NDArray[np.float64],
    ratios: NDArray[np.float64],
    formation: int,
    notional: float,
    *,
    log_prices: bool,
) -> NDArray[np.float64]:
    """What is held of y and x for one spread bought at a bar's close, of that gross value at its prices.

    With logarithms ``ratio`` is money of x against one of y; with prices it is their relative prices that are
    held in that ratio. A positive ratio makes the two legs opposite.

    Args:
        prices: closes, columns y and x, shape (n, 2).
        ratios: shape (n,).
        notional: of both legs together, in the quote currency.

    Returns:
        Signed quantities, shape (n, 2); NaN where there is no ratio.
    """
    values = np.column_stack((np.ones(len(ratios)), -ratios))
    if not log_prices:
        values = values * (prices / prices[:formation].mean(axis=0))
    gross = np.abs(values).sum(axis=1, keepdims=True)
    return np.asarray(values / gross * notional / prices, dtype=np.float64)
