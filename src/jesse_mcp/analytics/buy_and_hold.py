"""The benchmark every strategy has to beat: buying and doing nothing."""

import numpy as np
from numpy.typing import NDArray


def buy_and_hold(open_price: float, closes: NDArray[np.float64]) -> dict[str, float | None]:
    """Return and worst drawdown of holding from the first open to the last close, without fees.

    Args:
        open_price: price of entry.
        closes: closing prices, oldest first, shape (n,).

    Returns:
        ``return_percentage``: (last / entry - 1) * 100.
        ``max_drawdown_percentage``: the lowest value of (price / running peak - 1) * 100, at most 0; the
        entry counts as a peak. Both ``None`` when there is no price or a price is not positive and finite.

    Source of the drawdown: Magdon-Ismail & Atiya, "Maximum drawdown", Risk 17(10), 2004.
    """
    prices = np.concatenate(([open_price], closes))
    if len(closes) == 0 or not np.isfinite(prices).all() or (prices <= 0).any():
        return {"return_percentage": None, "max_drawdown_percentage": None}
    drawdowns = prices / np.maximum.accumulate(prices) - 1
    return {
        "return_percentage": float((prices[-1] / prices[0] - 1) * 100),
        "max_drawdown_percentage": float(drawdowns.min() * 100),
    }


def equal_shares(
    grown: list[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> NDArray[np.float64]:
    """Worth of one unit of money put into several series in equal parts at the start.

    Args:
        grown: for each series its ascending timestamps and its worth relative to the start, both (n,).

    Returns:
        The mean at every timestamp that any series has; a series keeps its last worth while it has none,
        and 1 before its first.
    """
    moments = np.unique(np.concatenate([timestamps for timestamps, _ in grown]))
    aligned = []
    for timestamps, worth in grown:
        position = np.searchsorted(timestamps, moments, side="right")
        aligned.append(np.concatenate(([1.0], worth))[position])
    return np.asarray(np.mean(aligned, axis=0), dtype=np.float64)
