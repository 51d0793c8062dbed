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
