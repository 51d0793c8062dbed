"""Statistical jump model: periods near the centre of their regime, with a price on every change of regime.

The library of it, jumpmodels, goes on with a centre of NaN when a regime is empty and runs every start
through a loop of its own. Tests hold the assignments against every possible one.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.regime_fit import (
    LEAST_PERIODS,
    UNKNOWN,
    VOLATILITY_WINDOW,
    Classified,
    Floats,
    Labels,
    Pause,
    moments_by_label,
    rolling_log_volatility,
    transitions_of,
    unusable,
)

#: Price of a change, in halves of squared standard deviations of a feature.
JUMP_PENALTY = 3.0
STARTS = 10
_MOST_STEPS = 200


@dataclass(frozen=True)
class JumpModel:
    """A fitted model; ``centre`` and ``spread`` (d,) standardise the features, ``centres`` is (k, d)."""

    centres: Floats
    centre: Floats
    spread: Floats
    penalty: float
    transition: Floats
    means: Floats
    volatilities: Floats
    objective: float
    log_likelihood: None = None

    @property
    def free_parameters(self) -> int:
        return int(self.centres.size)

    def classify(self, returns: Floats) -> Classified:
        """The last regime of the cheapest path up to each period; a method without probabilities."""
        table = jump_features(returns)
        gone = len(returns) - len(table)
        values = forward_values(losses((table - self.centre) / self.spread, self.centres), self.penalty)
        labels = np.full(len(returns), UNKNOWN, dtype=np.int64)
        labels[gone:] = values.argmin(axis=1)
        return Classified(labels, None)


def jump_features(returns: Floats) -> Floats:
    """Return and logarithm of the rolling volatility, shape (m, 2), from the first whole window on."""
    return np.column_stack([returns, rolling_log_volatility(returns)])[VOLATILITY_WINDOW - 1 :]


def losses(standard: Floats, centres: Floats) -> Floats:
    """Half the squared distance of each period from each centre, shape (n, ..., k)."""
    found = np.zeros((len(standard), *centres.shape[:-1]))
    for column in range(standard.shape[1]):
        apart = standard[:, column].reshape(-1, *[1] * (centres.ndim - 1)) - centres[..., column]
        found += 0.5 * apart * apart
    return found


def forward_values(cost: Floats, penalty: float) -> Floats:
    """Cost of the cheapest path that is in each regime at each period, by what was known then.

    Args:
        cost: of each period in each regime, shape (n, ..., k).

    Source: Bemporad, Breschi, Piga & Boyd, "Fitting Jump Models", Automatica 96, 2018, algorithm 2.
    """
    values = np.empty_like(cost)
    values[0] = cost[0]
    for at in range(1, len(cost)):
        last = values[at - 1]
        values[at] = cost[at] + np.minimum(last, last.min(axis=-1, keepdims=True) + penalty)
    return values


def cheapest_paths(cost: Floats, penalty: float, pause: Pause = lambda: None) -> tuple[Labels, Floats]:
    """Regimes of the cheapest path of each start, shape (n, starts), and what it costs, shape (starts,).

    Args:
        cost: shape (n, starts, k).

    Source: as :func:`forward_values`.
    """
    values = forward_values(cost, penalty)
    pause()
    n, starts, _ = cost.shape
    each = np.arange(starts)
    paths = np.empty((n, starts), dtype=np.int64)
    paths[-1] = values[-1].argmin(axis=-1)
    cheapest = values.argmin(axis=-1)
    for at in range(n - 1, 0, -1):
        stay = values[at - 1, each, paths[at]]
        change = values[at - 1, each, cheapest[at - 1]] + penalty
        paths[at - 1] = np.where(change < stay, cheapest[at - 1], paths[at])
    return paths, np.asarray(values[-1].min(axis=-1))


def fit_jump(
    returns: Floats,
    k: int,
    *,
    penalty: float = JUMP_PENALTY,
    seed: int = 0,
    before: JumpModel | None = None,
    pause: Pause = lambda: None,
) -> JumpModel | str:
    """The cheapest model found, or the reason why there is none.

    Args:
        returns: fractions of a period, shape (n,).
        k: regimes, 2 or more.
        penalty: of a change, in the unit of :func:`losses`, zero or more.
        before: an earlier fit, from which the search begins too.

    Source: Bemporad et al. 2018, algorithm 1; Nystrup, Lindstrom & Madsen, "Learning Hidden Markov Models
    with Persistent States by Penalizing Jumps", Expert Systems with Applications 150, 2020.
    """
    table = jump_features(returns)
    reason = unusable(returns)
    if reason is None and not np.isfinite(table).all():
        reason = f"the volatility of {VOLATILITY_WINDOW} periods is zero somewhere: it has no logarithm"
    if reason is None and len(table) < k * LEAST_PERIODS:
        reason = f"{len(table)} periods are too few for {k} regimes"
    if reason is not None:
        return reason
    centre, spread = table.mean(axis=0), table.std(axis=0)
    if not (spread > 0).all():
        return "the volatility does not vary"
    standard = (table - centre) / spread
    begin = _starts(standard, k, seed)
    if before is not None and before.centres.shape[0] == k:
        begin.append((before.centres * before.spread + before.centre - centre) / spread)
    found = _descended(standard, np.stack(begin), penalty, pause)
    if found is None:
        return f"from {len(begin)} starts one of {k} regimes is left with fewer than {LEAST_PERIODS} periods"
    centres, path, objective = found
    known = np.concatenate([np.full(VOLATILITY_WINDOW - 1, UNKNOWN), path])
    _, deviations = moments_by_label(returns, known, k)
    order = np.argsort(deviations, kind="stable")
    ranks = np.argsort(order)
    ordered = np.where(known == UNKNOWN, UNKNOWN, ranks[known])
    means, deviations = moments_by_label(returns, ordered, k)
    return JumpModel(
        centres[order], centre, spread, penalty, transitions_of(ordered, k), means, deviations, objective
    )


def _starts(standard: Floats, k: int, seed: int) -> list[Floats]:
    """Centres of groups by volatility, then periods drawn at random."""
    order = np.argsort(standard[:, 1], kind="stable")
    starts = [np.stack([standard[part].mean(axis=0) for part in np.array_split(order, k)])]
    random = np.random.default_rng((seed, k))
    while len(starts) < STARTS:
        starts.append(standard[random.choice(len(standard), size=k, replace=False)])
    return starts


def _descended(
    standard: Floats, centres: Floats, penalty: float, pause: Pause
) -> tuple[Floats, NDArray[np.int64], float] | None:
    """Paths and centres by turns until no path changes: centres, path and cost of the cheapest start."""
    best: tuple[Floats, NDArray[np.int64], float] | None = None
    last: Labels | None = None
    for _ in range(_MOST_STEPS):
        pause()
        paths, costs = cheapest_paths(losses(standard, centres), penalty, pause)
        ended = np.zeros(len(centres), dtype=bool) if last is None else (paths == last).all(axis=0)
        for start in np.flatnonzero(ended).tolist():
            if best is None or costs[start] < best[2]:
                best = centres[start], paths[:, start], float(costs[start])
        k = centres.shape[1]
        counts = np.stack([(paths == regime).sum(axis=0) for regime in range(k)], axis=1)
        alive = ~ended & (counts.min(axis=1) >= LEAST_PERIODS)
        if not alive.any():
            break
        paths, centres = paths[:, alive], centres[alive]
        members = [paths == regime for regime in range(k)]
        centres = np.stack([(m.T @ standard) / m.sum(axis=0)[:, None] for m in members], axis=1)
        last = paths
    return best if best is not None and math.isfinite(best[2]) else None
