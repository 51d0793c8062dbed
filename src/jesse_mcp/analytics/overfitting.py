"""Probability of backtest overfitting: does choosing the best in one half of the time help in the other?"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DEFAULT_SPLITS = 16
#: More make millions of combinations: C(20, 10) is 184,756.
MAX_SPLITS = 20
#: Numbers held at a time for each quantity.
_CHUNK = 200_000
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Overfitting:
    """What combinatorially symmetric cross-validation found.

    ``pbo``: share of the combinations in which the best of one half is at or below the median of the other.
    ``logits``: ln(w / (1 - w)) of its relative rank w there, shape (combinations,), as are ``chosen_inside``
    and ``chosen_outside``, its Sharpe ratios of one period in either half. ``degradation_slope`` is that of
    the least squares line of outside on inside, ``None`` when inside does not vary.
    ``probability_of_loss``: share of the combinations in which it has a negative Sharpe ratio outside.
    """

    pbo: float
    strategies: int
    periods: int
    splits: int
    combinations: int
    logits: NDArray[np.float64]
    chosen_inside: NDArray[np.float64]
    chosen_outside: NDArray[np.float64]
    degradation_slope: float | None
    probability_of_loss: float


def why_no_pbo(returns: NDArray[np.float64], splits: int = DEFAULT_SPLITS) -> str | None:
    """Why nothing can be said of overfitting, or ``None`` when it can."""
    if splits < 2 or splits % 2 or splits > MAX_SPLITS:
        return f"{splits} splits: they must be even, 2 to {MAX_SPLITS}"
    if returns.ndim != 2:
        return "there is no table of returns"
    if not np.isfinite(returns).all():
        return "not every return is a finite number"
    if len(returns) < 2 * splits:
        return f"{len(returns)} periods are too few for {splits} splits of at least two"
    distinct = _distinct(returns).shape[1]
    if distinct < 2:
        return f"{distinct} strategies that differ: two are needed"
    return None


def probability_of_overfitting(
    returns: NDArray[np.float64],
    splits: int = DEFAULT_SPLITS,
    pause: Callable[[], None] = lambda: None,
) -> Overfitting | None:
    """Combinatorially symmetric cross-validation with the Sharpe ratio as the measure of performance.

    The periods are cut into ``splits`` blocks of equal length, the oldest that do not fit left out. Each
    choice of half the blocks is the inside, the rest the outside. Strategies that equal another count once;
    what does not vary in a half has a Sharpe ratio of zero there; equal values share their middle rank, and
    a middle rank of exactly the median counts as overfit.

    Args:
        returns: one column a strategy over the same periods, oldest first, shape (t, n).
        splits: even, 2 to 20.
        pause: called now and then; may raise to end the work.

    Returns:
        ``None`` exactly when :func:`why_no_pbo` gives a reason. Memory does not grow with the combinations
        beyond three numbers for each.

    Source: Bailey, Borwein, Lopez de Prado & Zhu, "The probability of backtest overfitting", Journal of
    Computational Finance 20(4), 2017.
    """
    if why_no_pbo(returns, splits) is not None:
        return None
    scaled = _distinct(returns)
    length = len(scaled) // splits
    scaled = scaled[len(scaled) - length * splits :]
    # Less their mean, so that squares do not swallow the variance.
    level = scaled.mean(axis=0)
    blocks = (scaled - level).reshape(splits, length, -1)
    sums, squares = blocks.sum(axis=1), (blocks**2).sum(axis=1)
    relative, won, kept = _selected(sums, squares, level, length * splits // 2, pause)
    logits = np.log(relative / (1 - relative))
    return Overfitting(
        pbo=float((logits <= _ROUNDING).mean()),
        strategies=sums.shape[1],
        periods=length * splits,
        splits=splits,
        combinations=len(logits),
        logits=logits,
        chosen_inside=won,
        chosen_outside=kept,
        degradation_slope=_slope(won, kept),
        probability_of_loss=float((kept < 0).mean()),
    )


def _distinct(returns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each column once, scaled to at most one: squares must stay in the range of a float."""
    largest = np.abs(returns).max(axis=0, initial=0.0)
    scaled = returns / np.where(largest > 0, largest, 1.0)
    # The first of equals stays where it was, so that the order of strategies decides nothing else.
    first: dict[bytes, int] = {}
    for column in range(scaled.shape[1]):
        first.setdefault((scaled[:, column] + 0.0).tobytes(), column)
    return scaled[:, sorted(first.values())]


def _selected(
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
    level: NDArray[np.float64],
    n: int,
    pause: Callable[[], None],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Relative rank outside of the best inside, and its Sharpe ratios inside and outside.

    Args:
        sums: of the values less ``level`` in each block, shape (splits, strategies); ``squares`` likewise.
        n: values in half the blocks.
    """
    splits, strategies = sums.shape
    halves = np.array(list(itertools.combinations(range(splits), splits // 2)))
    total = len(halves)
    relative, won, kept = np.empty(total), np.empty(total), np.empty(total)
    rows = max(1, _CHUNK // strategies)
    # In lexicographic order the outside of the first combination is the last one, and so on inward.
    for start in range(0, total // 2, rows):
        pause()
        first = slice(start, min(start + rows, total // 2))
        last = slice(total - first.stop, total - first.start)
        one, other = (
            _sharpes(_marks(halves[part], splits), sums, squares, level, n) for part in (first, last)
        )
        for part, inside, outside in ((first, one, other[::-1]), (last, other, one[::-1])):
            relative[part], won[part], kept[part] = _ranked(inside, outside)
    return relative, won, kept


def _ranked(
    inside: NDArray[np.float64], outside: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    rows = np.arange(len(inside))
    best = inside.argmax(axis=1)
    shown = outside[rows, best]
    slack = _ROUNDING * np.maximum(np.abs(shown), 1.0)
    below = np.count_nonzero(outside < (shown - slack)[:, None], axis=1)
    reached = np.count_nonzero(outside <= (shown + slack)[:, None], axis=1)
    rank = (below + reached + 1) / 2
    return rank / (inside.shape[1] + 1), inside[rows, best], shown


def _marks(members: NDArray[np.int64], splits: int) -> NDArray[np.float64]:
    marks = np.zeros((len(members), splits))
    np.put_along_axis(marks, members, 1.0, axis=1)
    return marks


def _sharpes(
    marks: NDArray[np.float64],
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
    level: NDArray[np.float64],
    n: int,
) -> NDArray[np.float64]:
    """Mean over standard deviation (ddof 1) of the ``n`` values in the blocks that are marked."""
    means = marks @ sums
    means /= n
    second = marks @ squares
    second /= n
    # Values are at most one in size: below this a variance is rounding.
    least = 1e-14 * second
    least += _ROUNDING**2
    second -= means * means
    still = second <= least
    np.sqrt(second, out=second, where=~still)
    second[still] = np.inf
    means += level
    means /= second
    means *= math.sqrt((n - 1) / n)
    return means


def _slope(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float | None:
    centred = inside - inside.mean()
    spread = float(centred @ centred)
    if spread <= _ROUNDING * len(inside) * max(1.0, float(np.abs(inside).max())) ** 2:
        return None
    slope = float(centred @ (outside - outside.mean())) / spread
    return slope if math.isfinite(slope) else None
