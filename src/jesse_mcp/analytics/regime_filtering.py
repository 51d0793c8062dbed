"""Probabilities of hidden regimes from their likelihoods: filter, smoother, and what a chain does by itself.

A transition matrix has shape (k, k): row the regime left, column the regime entered, rows sum to one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: The least probability of a transition; the logarithm of zero has no place in the recursions.
LEAST = 1e-20
#: A regime left less often is never left, as far as any sample can tell.
_NEVER = 1e-6


@dataclass(frozen=True)
class Filtered:
    """What the likelihoods up to each period say.

    Attributes:
        probabilities: of each regime given the periods up to it and no later one, shape (n, k).
        log_likelihood: of all periods together.
        joint: logarithms of the probabilities before and after each period, shape (k, n) both.
    """

    probabilities: Floats
    log_likelihood: float
    joint: tuple[Floats, Floats]


def filtered(initial: Floats, transition: Floats, log_likelihoods: Floats) -> Filtered:
    """The forward recursion.

    Args:
        initial: probabilities of the regimes at the first period, shape (k,).
        transition: shape (k, k).
        log_likelihoods: of each period in each regime, finite, shape (n, k), n >= 1.

    Source: Hamilton, "A New Approach to the Economic Analysis of Nonstationary Time Series and the Business
    Cycle", Econometrica 57, 1989, as compiled in statsmodels; the same numbers as the scaled forward
    variable of Rabiner, "A Tutorial on Hidden Markov Models", Proceedings of the IEEE 77, 1989.
    """
    from statsmodels.tsa.regime_switching.markov_switching import cy_hamilton_filter_log

    # The compiled filter makes one step of the chain before the first period, which is undone here: its
    # transitions may depend on time, and the first one goes to the initial probabilities from anywhere.
    n, k = log_likelihoods.shape
    steps = np.empty((k, k, n))
    steps[:, :, 0] = initial[:, None]
    steps[:, :, 1:] = transition.T[:, :, None]
    # What all regimes have in common says nothing of them; beside a very large one no difference is left.
    common = log_likelihoods.max(axis=1)
    apart = log_likelihoods - common[:, None]
    found = cy_hamilton_filter_log(
        np.full(k, 1.0 / k), steps, np.ascontiguousarray(apart.T, dtype=np.float64), 0
    )
    marginal, _, periods, _, before, after = found
    # Rounding leaves sums of one that differ in the last digits.
    probabilities = marginal.T / marginal.sum(axis=0)[:, None]
    return Filtered(np.asarray(probabilities), float(periods.sum() + common.sum()), (before, after))


def smoothed(transition: Floats, found: Filtered) -> tuple[Floats, Floats]:
    """Probabilities given all periods, and the expected number of each transition.

    Returns:
        Shapes (n, k) and (k, k). They look ahead: for fitting only.

    Source: Kim, "Dynamic Linear Models with Markov-Switching", Journal of Econometrics 60, 1994; the joint
    probabilities are those of Baum & Welch.
    """
    from statsmodels.tsa.regime_switching.markov_switching import cy_kim_smoother_log

    before, after = found.joint
    _, marginal = cy_kim_smoother_log(np.ascontiguousarray(transition.T)[:, :, None], before, after)
    later = np.exp(np.log(np.maximum(marginal[:, 1:], LEAST)) - before[:, 1:])
    counts = transition * np.einsum("in,jn->ij", np.exp(after[:, :-1]), later)
    return np.asarray(marginal.T), counts


def stationary(transition: Floats) -> Floats | None:
    """Share of time in each regime in the long run, shape (k,), or ``None`` when it is not one vector.

    Source: the left eigenvector of the eigenvalue one; Hamilton, "Time Series Analysis", 1994, eq. 22.2.26.
    """
    k = len(transition)
    equations = np.vstack([transition.T - np.eye(k), np.ones((1, k))])
    if not np.isfinite(transition).all() or np.linalg.matrix_rank(equations, tol=1e-9) < k:
        return None
    if np.linalg.matrix_rank(equations[:-1], tol=1e-9) < k - 1:
        return None
    found = np.linalg.lstsq(equations, np.append(np.zeros(k), 1.0))[0]
    found = np.maximum(found, 0.0)
    return np.asarray(found / found.sum())


def persistence(transition: Floats) -> float | None:
    """How much of a regime's probability is left after a period, 0 to 1; ``None`` of an unknown matrix.

    The second largest eigenvalue: zero when the next regime does not depend on the last one.

    Source: Hamilton, "Time Series Analysis", 1994, eq. 22.2.12.
    """
    if len(transition) < 2 or not np.isfinite(transition).all():
        return None
    return float(np.sort(np.abs(np.linalg.eigvals(transition)))[-2])


def forecast(probabilities: Floats, transition: Floats, horizon: int) -> Floats:
    """Probabilities of each regime 1 to ``horizon`` periods later, shape (horizon, k).

    Source: Chapman-Kolmogorov; Hamilton, "Time Series Analysis", 1994, eq. 22.2.24.
    """
    rows = np.empty((horizon, len(probabilities)))
    current = probabilities
    for step in range(horizon):
        current = current @ transition
        rows[step] = current
    return rows


def expected_durations(transition: Floats) -> list[float | None]:
    """Periods a regime lasts once entered, ``1 / (1 - p)``; ``None`` for one that is never left.

    Source: Hamilton 1989, section 4.
    """
    stays = np.diag(transition).tolist()
    return [1.0 / (1.0 - stay) if stay < 1 - _NEVER else None for stay in stays]
