"""How few trades the profit is made of."""

import math

import numpy as np

from jesse_mcp.analytics.measures import NOT_FINITE, Floats, Measure, found_or_reason
from jesse_mcp.analytics.trade_statistics import NO_TRADE, NO_WIN


def best_trades_share(profits: Floats, share: float = 0.1) -> Measure:
    """Part of the gross profit that the best ``share`` of the winning trades made, at least one of them.

    ``share`` itself when all wins are alike; 1 when there is one.

    Args:
        profits: after fees, shape (n,).
        share: above 0, at most 1.
    """
    if not len(profits):
        return Measure(None, NO_TRADE)
    if not np.isfinite(profits).all():
        return Measure(None, NOT_FINITE)
    wins = np.sort(profits[profits > 0])[::-1]
    if not len(wins):
        return Measure(None, NO_WIN)
    # Scaled, because the sum of very large profits leaves the range of a float.
    scaled = wins / wins[0]
    best = max(1, math.ceil(share * len(wins) - 1e-9))
    return found_or_reason(min(float(scaled[:best].sum() / scaled.sum()), 1.0))
