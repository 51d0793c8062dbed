"""Balances over time and the returns between them: what every performance and risk number is made from."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.walk_forward import daily_returns

YEAR_MS = 365 * 86_400_000
#: A weekend with a holiday is no gap among days.
GAP = 5


@dataclass(frozen=True)
class ReturnSeries:
    """Balances, oldest first, up to and including the one that lost everything.

    Attributes:
        balances: shape (n + 1,), or empty; positive and finite, except for a last one of zero after ruin.
        timestamps: of the balances, epoch milliseconds, ascending; ``None`` when they are not known.
        periods_per_year: of the returns.
        returns: fractions, shape (n,); -1 for the loss of everything.
        return_timestamps: end of each return's period, shape (n,).
        ruined: whether everything was lost.
    """

    balances: NDArray[np.float64]
    periods_per_year: float
    timestamps: NDArray[np.int64] | None = None
    returns: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        returns = daily_returns(self.balances)
        kept = len(returns) + 1 if len(self.balances) else 0
        balances = np.maximum(self.balances[:kept], 0.0)
        object.__setattr__(self, "returns", returns)
        object.__setattr__(self, "balances", balances)
        if self.timestamps is not None:
            object.__setattr__(self, "timestamps", self.timestamps[:kept])

    @property
    def return_timestamps(self) -> NDArray[np.int64] | None:
        return None if self.timestamps is None else self.timestamps[1:]

    @property
    def ruined(self) -> bool:
        return bool(len(self.balances)) and float(self.balances[-1]) == 0.0


def empty_series() -> ReturnSeries:
    """A series without a balance."""
    return ReturnSeries(np.empty(0), 365.0)


def compounded(returns: NDArray[np.float64], starting_balance: float) -> NDArray[np.float64]:
    """Balances that have these returns, shape (n + 1,), zero from a return of -1 or less on.

    Args:
        returns: fractions, shape (n,).
        starting_balance: positive.

    Returns:
        Infinite where the product leaves the range of a float.
    """
    factors = np.maximum(1.0 + returns, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        balances = np.concatenate(([1.0], np.multiply.accumulate(factors))) * starting_balance
    gone = np.flatnonzero(factors == 0)
    if len(gone):
        balances[gone[0] + 1 :] = 0.0
    return balances


@dataclass(frozen=True)
class Spacing:
    """How points lie in time.

    Attributes:
        counted: periods in 365 days of the time from the first point to the last.
        usual: 365 days over the median distance.
        gap: where the longest distance begins and ends, epoch milliseconds, when it is more than
            :data:`GAP` medians.
    """

    counted: float
    usual: float
    gap: tuple[int, int] | None

    @property
    def periods_per_year(self) -> float:
        """Those counted, days without trading left out of the year; the usual ones when much is missing."""
        return self.counted if self.counted >= self.usual / 2 else self.usual

    def contradicts(self, periods_per_year: float) -> bool:
        """Whether such points cannot be so many a year, even with holidays or gaps taken into account."""
        low, high = sorted((self.counted, self.usual))
        return not low / 2 <= periods_per_year <= 2 * high


def spacing(timestamps: NDArray[np.int64]) -> Spacing | None:
    """``None`` for fewer than two timestamps.

    Args:
        timestamps: epoch milliseconds, ascending, shape (n,).
    """
    if len(timestamps) < 2:
        return None
    distances = np.diff(timestamps)
    median, longest = float(np.median(distances)), int(distances.argmax())
    return Spacing(
        counted=len(distances) * YEAR_MS / float(timestamps[-1] - timestamps[0]),
        usual=YEAR_MS / median,
        gap=(
            (int(timestamps[longest]), int(timestamps[longest + 1]))
            if distances[longest] > GAP * median
            else None
        ),
    )
