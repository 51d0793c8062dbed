"""Dates at which mean or variance of returns changed, found with all of them: labels move as data arrives."""

import math
from dataclasses import dataclass

import numpy as np

from jesse_mcp.analytics.regime_fit import Floats, Pause, unusable

#: Shorter segments are not looked for.
LEAST_SEGMENT = 20
#: A mean, a variance and a date for each further segment.
PARAMETERS = 3
#: Candidates for a change, about; the search takes the square of it in steps.
_CANDIDATES = 600
#: Of the variance of all returns, added to that of a segment: one of equal returns has no logarithm.
_SMALL = 1e-6


@dataclass(frozen=True)
class Segments:
    """``starts`` are positions of the first return of each segment, the first is 0.

    ``resolution`` is in periods: only every so many was a candidate.
    """

    starts: tuple[int, ...]
    resolution: int
    penalty: float


def change_points(
    returns: Floats,
    *,
    least: int = LEAST_SEGMENT,
    resolution: int | None = None,
    pause: Pause = lambda: None,
) -> Segments | str:
    """The segmentation of the largest penalised normal likelihood, or the reason why there is none.

    Args:
        returns: shape (n,).
        least: periods of a segment, 2 or more.
        resolution: default: 1 up to some hundreds of periods, then more.
        pause: called for each candidate; may raise to end the search.

    Source: PELT, Killick, Fearnhead & Eckley, "Optimal Detection of Changepoints with a Linear Computational
    Cost", Journal of the American Statistical Association 107, 2012, of ruptures; the penalty is that of
    BIC for a mean, a variance and a date.
    """
    reason = unusable(returns)
    if reason is None and len(returns) < 2 * least:
        reason = f"{len(returns)} periods are fewer than two segments of {least}"
    if reason is not None:
        return reason
    from ruptures import Pelt
    from ruptures.base import BaseCost

    standard = (returns - returns.mean()) / returns.std()
    sums = np.concatenate(([0.0], np.cumsum(standard))).tolist()
    squares = np.concatenate(([0.0], np.cumsum(standard * standard))).tolist()

    class NormalCost(BaseCost):  # type: ignore[misc]
        """Twice the negative log-likelihood of a segment but for constants; sums make it cheap."""

        model = "normal of sums"
        min_size = least

        def fit(self, signal: Floats) -> "NormalCost":
            self.signal = signal
            return self

        def error(self, start: int, end: int) -> float:
            if start == 0:
                pause()
            length = end - start
            mean = (sums[end] - sums[start]) / length
            variance = max((squares[end] - squares[start]) / length - mean * mean, 0.0)
            return length * math.log(variance + _SMALL)

    step = resolution or max(1, -(-len(returns) // _CANDIDATES))
    penalty = PARAMETERS * math.log(len(returns))
    search = Pelt(custom_cost=NormalCost(), min_size=least, jump=step)
    ends = search.fit(standard[:, None]).predict(pen=penalty)
    return Segments((0, *[int(end) for end in ends[:-1]]), step, penalty)
