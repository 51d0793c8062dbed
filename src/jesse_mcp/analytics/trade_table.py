"""Closed trades as columns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.measures import Floats


@dataclass(frozen=True)
class TradeTable:
    """One array a column, shape (n,), in the order the trades were closed.

    Attributes:
        profits: after fees, in money.
        fees: in money, positive.
        opened_at: epoch milliseconds.
        closed_at: epoch milliseconds.
        long: whether a trade was long; the others were short.
    """

    profits: Floats
    fees: Floats
    opened_at: NDArray[np.int64]
    closed_at: NDArray[np.int64]
    long: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.profits)

    @property
    def holding_seconds(self) -> Floats:
        return (self.closed_at - self.opened_at) / 1000.0

    def where(self, chosen: NDArray[np.bool_]) -> "TradeTable":
        """The trades marked in ``chosen``, shape (n,)."""
        return TradeTable(
            self.profits[chosen],
            self.fees[chosen],
            self.opened_at[chosen],
            self.closed_at[chosen],
            self.long[chosen],
        )
