"""Thousands of histories that might as well have happened, from one that did."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.block_length import optimal_block_length
from jesse_mcp.analytics.equity_paths import (
    PathStatistics,
    additive_paths,
    compounded_paths,
    path_statistics,
)
from jesse_mcp.analytics.resamplers import (
    Resampler,
    bootstrapped,
    circular_blocks,
    shuffled,
    stationary_blocks,
)

ResamplingMethod = Literal["trades_shuffle", "trades_bootstrap", "returns_block", "returns_stationary"]

#: Values worked on at a time: a few arrays of this size stay in the cache of a core.
CHUNK_VALUES = 1 << 18


@dataclass(frozen=True)
class Simulations:
    """Paths in the order they were drawn, and the path that really was.

    ``block_length`` is ``None`` for trades.
    """

    paths: PathStatistics
    original: PathStatistics
    block_length: float | None


def simulate(
    method: ResamplingMethod,
    values: NDArray[np.float64],
    starting_balance: float,
    simulations: int,
    seed: int,
    *,
    block_length: float | None = None,
    chunk_values: int = CHUNK_VALUES,
    progress: Callable[[float], None] = lambda _fraction: None,
) -> Simulations:
    """Resample a run's trades or daily returns, and follow the balance along each resampled history.

    Profits of trades are added to the starting balance: sizes are those that were traded, whatever the
    balance by then. Daily returns are compounded. Whoever reaches zero stays there. One seed gives one
    answer, bit by bit, whatever ``chunk_values`` is.

    Args:
        values: profits of closed trades in money, or daily returns as fractions; in the order they
            happened, shape (n,), n >= 1, finite.
        starting_balance: positive and finite.
        simulations: paths, at least 1.
        seed: a non-negative integer.
        block_length: in days, for the two methods that resample returns; by default that of
            :func:`optimal_block_length`. A whole number for ``returns_block``.
        chunk_values: what bounds the memory; the paths themselves are never all there at once.
        progress: called after each chunk with the fraction done; what it raises ends the work.

    Raises:
        ValueError: for an argument outside of what is said above.
    """
    n = len(values)
    if n == 0 or not np.isfinite(values).all():
        raise ValueError("nothing can be resampled from no values, or from values that are not finite")
    if simulations < 1 or not 0 < starting_balance < math.inf:
        raise ValueError("simulations must be at least 1, and starting_balance positive and finite")
    resample, length = _resampler(method, values, seed, block_length)
    follow = additive_paths if method.startswith("trades") else compounded_paths
    found = PathStatistics(*(np.empty(simulations) for _ in PathStatistics._fields))
    rows = max(1, chunk_values // n)
    for begin in range(0, simulations, rows):
        end = min(begin + rows, simulations)
        part = path_statistics(follow(resample(end - begin), starting_balance), starting_balance)
        for whole, piece in zip(found, part, strict=True):
            whole[begin:end] = piece
        progress(end / simulations)
    original = path_statistics(follow(values[None, :].copy(), starting_balance), starting_balance)
    if method == "trades_shuffle":
        for statistics in (found, original):
            _same_total(statistics, starting_balance + math.fsum(values))
    return Simulations(found, original, length)


def _resampler(
    method: ResamplingMethod, values: NDArray[np.float64], seed: int, block_length: float | None
) -> tuple[Resampler, float | None]:
    if method in {"trades_shuffle", "trades_bootstrap"}:
        if block_length is not None:
            raise ValueError(f"{method} has no blocks")
        return (shuffled if method == "trades_shuffle" else bootstrapped)(values, seed), None
    if method == "returns_block":
        length = round(optimal_block_length(values).circular) if block_length is None else block_length
        if length != int(length):
            raise ValueError(f"blocks of {length} days are not whole")
        return circular_blocks(values, seed, int(length)), float(length)
    mean_length = optimal_block_length(values).stationary if block_length is None else block_length
    return stationary_blocks(values, seed, mean_length), float(mean_length)


def _same_total(statistics: PathStatistics, total: float) -> None:
    """Every order of the same profits ends at the same balance; only rounding says otherwise."""
    survived = statistics.lowest_balance > 0
    statistics.final_balance[survived] = total
    statistics.lowest_balance[survived] = np.minimum(statistics.lowest_balance[survived], total)
