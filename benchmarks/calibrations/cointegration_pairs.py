"""Pairs that seem cointegrated where none is, and planted ones that are found, with 435 pairs tested."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from jesse_mcp.analytics.multiple_testing import Correction, adjusted_p_values
from jesse_mcp.analytics.pair_screening import screened_pairs

QUESTION = "30 walks make 435 pairs: how often is one called cointegrated?"

Floats = NDArray[np.float64]

SERIES = 30
PAIRS = SERIES * (SERIES - 1) // 2
PERIODS = 500
REPEATS = 200
PLANTED = 150
PLANTED_PERIODS = 1_000
HALF_LIVES = (5, 10, 20, 40)
ALPHA = 0.05
STEP = 0.02
CORRECTIONS: tuple[Correction, ...] = ("holm", "benjamini_hochberg", "benjamini_yekutieli")


def walks(seed: int, periods: int, series: int, common: float = 0.0) -> Floats:
    """Log prices whose steps correlate by ``common``; no two are cointegrated, shape (periods, series)."""
    drawn = np.random.default_rng(seed)
    own = drawn.normal(0, STEP, (periods, series))
    shared = drawn.normal(0, STEP, (periods, 1))
    steps = np.sqrt(common) * shared + np.sqrt(1 - common) * own
    return np.asarray(steps.cumsum(axis=0), dtype=np.float64)


def planted(seed: int, periods: int, half_life: float) -> Floats:
    """A walk, and the same plus a spread that halves in ``half_life``, its shocks as large as the steps."""
    drawn = np.random.default_rng(seed)
    phi = 0.5 ** (1 / half_life)
    walk = drawn.normal(0, STEP, periods).cumsum()
    shocks = drawn.normal(0, STEP, periods)
    spread = np.empty(periods)
    spread[0] = shocks[0] / np.sqrt(1 - phi**2)
    for at in range(1, periods):
        spread[at] = phi * spread[at - 1] + shocks[at]
    return np.column_stack([walk + spread, walk])


def false_discoveries(
    repeats: int, periods: int, series: int, common: float, advance: Callable[[float], None]
) -> dict[str, int]:
    """In how many of the repeats at least one pair is below ``ALPHA``, by correction."""
    hits = dict.fromkeys(("none", *CORRECTIONS), 0)
    for seed in range(repeats):
        p_values = [test.p_value for test in screened_pairs(walks(seed, periods, series, common))]
        hits["none"] += min(p for p in p_values if p is not None) <= ALPHA
        for name in CORRECTIONS:
            hits[name] += min(p for p in adjusted_p_values(p_values, name) if p is not None) <= ALPHA
        advance((seed + 1) / repeats)
    return hits


def found(half_life: float, repeats: int, periods: int, pairs: int, advance: Callable[[float], None]) -> int:
    """How many planted pairs are significant as the only one of ``pairs``: Holm begins with p times pairs."""
    hits = 0
    for seed in range(repeats):
        (test,) = screened_pairs(planted(seed, periods, half_life))
        hits += test.p_value is not None and test.p_value * pairs <= ALPHA
        advance((seed + 1) / repeats)
    return hits


def run(advance: Callable[[float], None]) -> list[tuple[str, str]]:
    """False discoveries of independent and of correlated walks, then the power."""
    rows = []
    for at, common in enumerate((0.0, 0.5)):
        hits = false_discoveries(
            REPEATS,
            PERIODS,
            SERIES,
            common,
            lambda share, at=at: advance(0.45 * (at + share)),  # type: ignore[misc]
        )
        rows += [
            (
                f"{REPEATS} times {PAIRS} pairs of {PERIODS} steps that correlate by {common:g}: "
                f"any pair below {ALPHA:g}, correction {name}",
                _share(count, REPEATS),
            )
            for name, count in hits.items()
        ]
    for at, half_life in enumerate(HALF_LIVES):
        count = found(
            half_life,
            PLANTED,
            PLANTED_PERIODS,
            PAIRS,
            lambda share, at=at: advance(0.9 + 0.1 * (at + share) / len(HALF_LIVES)),  # type: ignore[misc]
        )
        rows.append(
            (
                f"found among {PAIRS} after Holm: a pair of {PLANTED_PERIODS} periods, half-life {half_life}",
                _share(count, PLANTED),
            )
        )
    return rows


def _share(count: int, total: int) -> str:
    """With the exact interval of Clopper & Pearson, Biometrika 26(4), 1934."""
    interval = binomtest(count, total).proportion_ci(0.95, method="exact")
    return f"{count / total:.1%} ({interval.low:.1%} to {interval.high:.1%})"
