"""How often the Engle-Granger test finds cointegration where none is, and where it is planted."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from jesse_mcp.analytics.cointegration import engle_granger, johansen
from jesse_mcp.analytics.mean_reversion import half_life

QUESTION = "does a 5 % test of Engle-Granger reject 5 % of independent walks, and find planted pairs?"

Floats = NDArray[np.float64]

PAIRS = 500
ALPHA = 0.05
LENGTHS = (500, 1_000)
HALF_LIVES = (5, 20, 50)
#: Of increments: prices that bounce between bid and ask have a negative one.
MOVING_AVERAGES = (-0.3, 0.0, 0.3)


def walks(seed: int, periods: int, moving_average: float = 0.0) -> tuple[Floats, Floats]:
    """Two walks that have nothing to do with each other, each of shape (periods,)."""
    shocks = np.random.default_rng(seed).normal(size=(periods + 1, 2))
    paths = (shocks[1:] + moving_average * shocks[:-1]).cumsum(axis=0)
    return paths[:, 0], paths[:, 1]


def planted(seed: int, periods: int, periods_to_halve: float) -> tuple[Floats, Floats]:
    """``0.8 * x`` plus a stationary spread with shocks as large as the steps of ``x``, and ``x``."""
    drawn = np.random.default_rng(seed)
    phi = 0.5 ** (1 / periods_to_halve)
    x = drawn.normal(size=periods).cumsum()
    shocks = drawn.normal(size=periods)
    spread = np.empty(periods)
    spread[0] = shocks[0] / np.sqrt(1 - phi**2)
    for at in range(1, periods):
        spread[at] = phi * spread[at - 1] + shocks[at]
    return 0.8 * x + spread, x


def rejections(pairs: int, make: Callable[[int], tuple[Floats, Floats]]) -> int:
    """How many of the pairs made of the seeds 0 to ``pairs - 1`` are called cointegrated."""
    return sum(engle_granger(*make(seed)).p_value < ALPHA for seed in range(pairs))


def run(advance: Callable[[float], None]) -> list[tuple[str, str]]:
    """Rows of what and how much."""
    rows: list[tuple[str, str]] = []
    steps = len(LENGTHS) * (len(MOVING_AVERAGES) + len(HALF_LIVES) + 1)

    def add(what: str, hits: int, more: str = "") -> None:
        found = binomtest(hits, PAIRS).proportion_ci(0.95, "wilson")
        rows.append((what, f"{hits / PAIRS:.1%} ({found.low:.1%} to {found.high:.1%}){more}"))
        advance(len(rows) / steps)

    for length in LENGTHS:
        for average in MOVING_AVERAGES:
            hits = rejections(PAIRS, lambda seed, n=length, ma=average: walks(seed, n, ma))  # type: ignore[misc]
            add(f"independent, {length} points, moving average {average:g}", hits)
        ranks = [johansen(np.column_stack(walks(seed, length))).rank for seed in range(PAIRS)]
        add(f"independent, {length} points, Johansen's trace test", sum(rank > 0 for rank in ranks))
        for halved in HALF_LIVES:
            hits = rejections(PAIRS, lambda seed, n=length, h=halved: planted(seed, n, h))  # type: ignore[misc]
            add(f"planted, half-life {halved}, {length} points", hits, _estimated(length, halved))
    return rows


def _estimated(length: int, halved: float) -> str:
    found = [half_life(engle_granger(*planted(seed, length, halved)).residuals) for seed in range(100)]
    known = [value for value in found if value is not None]
    return f"; half-life estimated at {np.median(known):.1f} (median)"
