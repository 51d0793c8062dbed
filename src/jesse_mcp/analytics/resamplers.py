"""Endless sources of resampled series, each seeded and independent of how much is drawn at a time."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

#: Called with a number of rows; the next so many resampled series, shape (rows, n).
Resampler = Callable[[int], NDArray[np.float64]]


def shuffled(values: NDArray[np.float64], seed: int) -> Resampler:
    """Every order equally likely (Fisher-Yates); each row has every value once.

    Args:
        values: shape (n,).
        seed: a non-negative integer; the global random state is neither read nor changed.
    """
    (generator,) = _generators(seed, 1)

    def draw(rows: int) -> NDArray[np.float64]:
        whole = np.tile(values, (rows, 1))
        return generator.permuted(whole, axis=1, out=whole)

    return draw


def bootstrapped(values: NDArray[np.float64], seed: int) -> Resampler:
    """Independent draws with replacement.

    Source: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7(1), 1979.
    Arguments as of :func:`shuffled`.
    """
    (generator,) = _generators(seed, 1)
    n = len(values)

    def draw(rows: int) -> NDArray[np.float64]:
        return values[generator.integers(0, n, size=(rows, n))]

    return draw


def circular_blocks(values: NDArray[np.float64], seed: int, length: int) -> Resampler:
    """Blocks of ``length`` successive values, the series closed to a circle; the last block is cut.

    The circle gives every value the same chance, which blocks of an open series (Kunsch, "The jackknife
    and the bootstrap for general stationary observations", Annals of Statistics 17(3), 1989) do not.
    Source: Politis & Romano, "A circular block-resampling procedure for stationary data", in: Exploring
    the Limits of Bootstrap, Wiley 1992. Arguments as of :func:`shuffled`.

    Raises:
        ValueError: when ``length`` is not within 1 and n.
    """
    n = len(values)
    if not 1 <= length <= n:
        raise ValueError(f"blocks of {length} do not fit a series of {n}")
    (generator,) = _generators(seed, 1)
    blocks = -(-n // length)
    within = np.arange(length)

    def draw(rows: int) -> NDArray[np.float64]:
        starts = generator.integers(0, n, size=(rows, blocks, 1))
        positions = (starts + within).reshape(rows, blocks * length)[:, :n]
        return np.take(values, positions % n)

    return draw


def stationary_blocks(values: NDArray[np.float64], seed: int, mean_length: float) -> Resampler:
    """Blocks of geometric length with the mean ``mean_length``, the series closed to a circle.

    Source: Politis & Romano, "The stationary bootstrap", Journal of the American Statistical Association
    89(428), 1994. Arguments as of :func:`shuffled`.

    Raises:
        ValueError: when ``mean_length`` is less than 1 or not finite.
    """
    if not 1 <= mean_length < np.inf:
        raise ValueError(f"the mean block length is {mean_length}, less than 1 or not finite")
    # One stream for each purpose, so that the size of a draw changes neither.
    places, ends = _generators(seed, 2)
    n = len(values)
    steps = np.arange(n)

    def draw(rows: int) -> NDArray[np.float64]:
        starts = places.integers(0, n, size=(rows, n))
        begins = ends.random((rows, n)) < 1 / mean_length
        begins[:, 0] = True
        begun = np.maximum.accumulate(np.where(begins, steps, 0), axis=1)
        positions = np.take_along_axis(starts, begun, axis=1) + steps - begun
        return np.take(values, positions % n)

    return draw


def _generators(seed: int, count: int) -> list[np.random.Generator]:
    return [np.random.Generator(np.random.PCG64(part)) for part in np.random.SeedSequence(seed).spawn(count)]
