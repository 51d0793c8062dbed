"""How often planted regimes are labelled right by what was known, and how often noise has regimes."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from jesse_mcp.analytics.regime_fit import RegimeFit
from jesse_mcp.analytics.regime_hmm import fit_hmm
from jesse_mcp.analytics.regime_jump import fit_jump
from jesse_mcp.analytics.regime_schedule import walk
from jesse_mcp.analytics.regime_selection import choose
from jesse_mcp.analytics.regime_switching import fit_switching

QUESTION = "are planted regimes found by filtering, and none in noise?"

Floats = NDArray[np.float64]
Fit = Callable[..., RegimeFit | str]

PERIODS, TRAINING, EVERY = 2_000, 500, 500
SERIES, NOISES = 20, 100
#: Volatility of the second regime over that of the first, and periods a regime lasts.
SEPARATIONS = ((2.0, 100), (3.0, 100), (3.0, 25))
METHODS: dict[str, Fit] = {"hmm": fit_hmm, "markov_switching": fit_switching, "jump_model": fit_jump}


def planted(seed: int, periods: int, ratio: float, lasting: float) -> tuple[Floats, NDArray[np.int64]]:
    """Normal returns without a mean in two regimes, and which it was."""
    drawn = np.random.default_rng(seed)
    states = np.cumsum(drawn.random(periods) < 1 / lasting) % 2
    return drawn.normal(0, 0.01 * np.where(states == 1, ratio, 1.0)), states.astype(np.int64)


def accuracy(fit: Fit, seed: int, ratio: float, lasting: float, periods: int = PERIODS) -> float | None:
    """Share of right labels after the first training; ``None`` when nothing could be fitted."""
    returns, states = planted(seed, periods, ratio, lasting)
    found = walk(returns, TRAINING, EVERY, lambda past, before: fit(past, 2, before=before))
    if isinstance(found, str):
        return None
    return float((found.labels[TRAINING:] == states[TRAINING:]).mean())


def noise(seed: int, freedom: float | None) -> Floats:
    """Independent returns, normal or of Student's t."""
    drawn = np.random.default_rng(seed)
    return 0.01 * (drawn.normal(size=TRAINING) if freedom is None else drawn.standard_t(freedom, TRAINING))


def chosen(returns: Floats) -> int | None:
    """Number of regimes by BIC."""
    return choose(lambda k: fit_hmm(returns, k), len(returns)).regimes


def run(advance: Callable[[float], None]) -> list[tuple[str, str]]:
    """Rows of what and how much."""
    rows: list[tuple[str, str]] = []
    done, steps = 0, len(METHODS) * len(SEPARATIONS) * SERIES + 2 * NOISES

    def step() -> None:
        nonlocal done
        done += 1
        advance(done / steps)

    for ratio, lasting in SEPARATIONS:
        for name, fit in METHODS.items():
            shares = []
            for seed in range(SERIES):
                shares.append(accuracy(fit, seed, ratio, lasting))
                step()
            known = [share for share in shares if share is not None]
            low, middle = np.quantile(known, [0.1, 0.5])
            rows.append(
                (
                    f"{name}, volatility times {ratio:g}, {lasting:g} periods each: right labels",
                    f"median {middle:.1%}, lowest tenth {low:.1%}; "
                    f"{SERIES - len(known)} of {SERIES} not fitted",
                )
            )
    for what, freedom in (("normal", None), ("Student t with 4 degrees", 4.0)):
        hits = 0
        for seed in range(NOISES):
            hits += chosen(noise(seed, freedom)) != 1
            step()
        found = binomtest(hits, NOISES).proportion_ci(0.95, "wilson")
        rows.append(
            (
                f"hmm, {TRAINING} independent {what} returns: more than one regime",
                f"{hits / NOISES:.1%} ({found.low:.1%} to {found.high:.1%})",
            )
        )
    return rows
