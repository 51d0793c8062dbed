"""Gaussian hidden Markov model: expectation maximisation from several starts, regimes by filtering.

The recursions over time are compiled ones of statsmodels. hmmlearn is in limited maintenance, its priors
depend on the scale of the data, and its probabilities look ahead; tests hold the estimates against its own.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from jesse_mcp.analytics.regime_filtering import filtered, smoothed
from jesse_mcp.analytics.regime_fit import (
    LEAST_PERIODS,
    UNKNOWN,
    VOLATILITY_WINDOW,
    Classified,
    Floats,
    Pause,
    rolling_log_volatility,
    unusable,
)

Features = Literal["return", "return_and_volatility"]

STARTS = 8
_FRESH_STARTS = 2
#: Every start gets so many steps, the best few go on to convergence.
_SHORT, _KEPT, _LONG = 40, 2, 2_000
#: Change of the log-likelihood in a step that counts as none.
_TOLERANCE = 1e-5
#: Of the variance of all periods: less is no regime but a few equal values.
_LEAST_VARIANCE = 1e-6
_PERSISTENCE = 0.9


@dataclass(frozen=True)
class GaussianHmm:
    """A fitted model; ``centre`` and ``spread`` standardise the features, the moments are of those.

    Shapes: ``initial`` (k,), ``transition`` (k, k), ``locations`` (k, d), ``covariances`` (k, d, d),
    ``centre`` and ``spread`` (d,).
    """

    features: Features
    initial: Floats
    transition: Floats
    locations: Floats
    covariances: Floats
    centre: Floats
    spread: Floats
    log_likelihood: float

    @property
    def means(self) -> Floats:
        return np.asarray(self.centre[0] + self.spread[0] * self.locations[:, 0])

    @property
    def volatilities(self) -> Floats:
        return np.asarray(self.spread[0] * np.sqrt(self.covariances[:, 0, 0]))

    @property
    def free_parameters(self) -> int:
        k, d = (int(size) for size in self.locations.shape)
        return (k - 1) + k * (k - 1) + k * d + k * d * (d + 1) // 2

    def classify(self, returns: Floats) -> Classified:
        """Filtered; see :class:`~jesse_mcp.analytics.regime_fit.RegimeFit`."""
        table = feature_table(returns, self.features)
        gone = len(returns) - len(table)
        standard = (table - self.centre) / self.spread
        found = filtered(self.initial, self.transition, _log_densities(self, standard)).probabilities
        labels = np.full(len(returns), UNKNOWN, dtype=np.int64)
        probabilities = np.full((len(returns), len(self.initial)), np.nan)
        labels[gone:], probabilities[gone:] = found.argmax(axis=1), found
        return Classified(labels, probabilities)


def feature_table(returns: Floats, features: Features) -> Floats:
    """Shape (m, d): from the first period on that has all of them."""
    if features == "return":
        return returns[:, None]
    volatility = rolling_log_volatility(returns)
    return np.column_stack([returns, volatility])[VOLATILITY_WINDOW - 1 :]


def fit_hmm(
    returns: Floats,
    k: int,
    *,
    features: Features = "return",
    seed: int = 0,
    before: GaussianHmm | None = None,
    pause: Pause = lambda: None,
) -> GaussianHmm | str:
    """The model of the largest likelihood found, or the reason why there is none.

    Args:
        returns: fractions of a period, shape (n,).
        k: regimes, 1 or more; one has a closed form.
        before: parameters of an earlier fit, from which the search begins too.
        pause: called after each step; may raise to end the search.

    Source: Baum, Petrie, Soules & Weiss, Annals of Mathematical Statistics 41, 1970; Rabiner 1989, section
    III.C. Short runs from several starts, of which the best go on: Biernacki, Celeux & Govaert, Computational
    Statistics & Data Analysis 41, 2003.
    """
    table = feature_table(returns, features)
    reason = unusable(returns)
    if reason is None and not np.isfinite(table).all():
        reason = f"the volatility of {VOLATILITY_WINDOW} periods is zero somewhere: it has no logarithm"
    if reason is None and len(table) < k * LEAST_PERIODS:
        reason = f"{len(table)} periods are too few for {k} regimes"
    if reason is not None:
        return reason
    centre, spread = table.mean(axis=0), table.std(axis=0)
    standard = (table - centre) / spread
    empty = GaussianHmm(
        features, np.empty(0), np.empty((0, 0)), np.empty(0), np.empty(0), centre, spread, -math.inf
    )
    if k == 1:
        model = _maximised(empty, np.ones((len(standard), 1)), np.ones((1, 1)), standard)
        return _in_units(replace(model, log_likelihood=float(_log_densities(model, standard).sum())), table)
    starts = _starts(empty, standard, k, seed, STARTS if before is None else _FRESH_STARTS)
    if before is not None and len(before.initial) == k:
        starts.append(_moved(before, centre, spread))
    short = [run for start in starts if (run := _climbed(start, standard, _SHORT, pause)) is not None]
    short.sort(key=lambda run: -run.log_likelihood)
    ended = [run for one in short[:_KEPT] if (run := _climbed(one, standard, _LONG, pause)) is not None]
    if not ended:
        return (
            f"from {len(starts)} starts the search for {k} regimes ends with one of fewer than "
            f"{LEAST_PERIODS} periods or without variance, or does not converge"
        )
    best = max(ended, key=lambda run: run.log_likelihood)
    return _in_units(_ordered(best), table)


def _in_units(model: GaussianHmm, table: Floats) -> GaussianHmm:
    """With the log-likelihood of the features as they came, not standardised."""
    shift = len(table) * float(np.log(model.spread).sum())
    return replace(model, log_likelihood=model.log_likelihood - shift)


def _ordered(model: GaussianHmm) -> GaussianHmm:
    order = np.lexsort((model.locations[:, 0], model.covariances[:, 0, 0]))
    return replace(
        model,
        initial=model.initial[order],
        transition=np.ascontiguousarray(model.transition[np.ix_(order, order)]),
        locations=model.locations[order],
        covariances=model.covariances[order],
    )


def _moved(model: GaussianHmm, centre: Floats, spread: Floats) -> GaussianHmm:
    """The same parameters about another centre, in another unit."""
    ratio = model.spread / spread
    return replace(
        model,
        locations=(model.locations * model.spread + model.centre - centre) / spread,
        covariances=model.covariances * ratio[:, None] * ratio[None, :],
        centre=centre,
        spread=spread,
        log_likelihood=-math.inf,
    )


def _log_densities(model: GaussianHmm, standard: Floats) -> Floats:
    """Shape (n, k). Element by element, so that a row does not depend on how many there are."""
    n, d = standard.shape
    found = np.empty((n, len(model.locations)))
    for regime, covariance in enumerate(model.covariances):
        root = np.linalg.cholesky(covariance)
        distances = np.full(n, d * math.log(2 * math.pi) + 2 * float(np.log(np.diag(root)).sum()))
        solved: list[Floats] = []
        for row in range(d):
            rest = standard[:, row] - model.locations[regime, row]
            for column, earlier in enumerate(solved):
                rest = rest - root[row, column] * earlier
            solved.append(rest / root[row, row])
            distances = distances + solved[-1] * solved[-1]
        found[:, regime] = -0.5 * distances
    return found


def _climbed(model: GaussianHmm, standard: Floats, most: int, pause: Pause) -> GaussianHmm | None:
    """After at most ``most`` steps; ``None`` when a regime is lost, or no end is reached in a long run."""
    last = -math.inf
    for _ in range(most):
        pause()
        found = filtered(model.initial, model.transition, _log_densities(model, standard))
        if abs(found.log_likelihood - last) < _TOLERANCE:
            return replace(model, log_likelihood=found.log_likelihood)
        last = found.log_likelihood
        weights, counts = smoothed(model.transition, found)
        if weights.sum(axis=0).min() < LEAST_PERIODS:
            return None
        model = _maximised(model, weights, counts, standard)
        if np.linalg.eigvalsh(model.covariances).min() < _LEAST_VARIANCE:
            return None
    return replace(model, log_likelihood=last) if most == _SHORT else None


def _maximised(model: GaussianHmm, weights: Floats, counts: Floats, standard: Floats) -> GaussianHmm:
    """Parameters of the largest expected likelihood, given the probabilities of the regimes."""
    mass = weights.sum(axis=0)
    locations = (weights.T @ standard) / mass[:, None]
    apart = standard[None, :, :] - locations[:, None, :]
    covariances = np.einsum("nk,kni,knj->kij", weights, apart, apart) / mass[:, None, None]
    left = counts.sum(axis=1, keepdims=True)
    return replace(
        model,
        initial=weights[0] / weights[0].sum(),
        transition=counts / left,
        locations=locations,
        covariances=covariances,
    )


def _starts(empty: GaussianHmm, standard: Floats, k: int, seed: int, count: int) -> list[GaussianHmm]:
    """By size of the returns, by the returns themselves, then stretches of time dealt out at random."""
    random = np.random.default_rng((seed, k))
    first, n = standard[:, 0], len(standard)
    groups = [_quantile_groups(np.abs(first), k), _quantile_groups(first, k)]
    while len(groups) < count:
        pieces = int(random.integers(2 * k, 8 * k))
        edges = np.sort(random.choice(np.arange(1, n), size=min(pieces, n - 1), replace=False))
        dealt = random.integers(0, k, size=len(edges) + 1)
        groups.append(dealt[np.searchsorted(edges, np.arange(n), side="right")])
    sticky = np.full((k, k), (1 - _PERSISTENCE) / (k - 1))
    np.fill_diagonal(sticky, _PERSISTENCE)
    starts = []
    for group in groups[:count]:
        # A little of every regime everywhere: a group may be empty or of equal values.
        weights = np.eye(k)[group] * 0.9 + 0.1 / k
        starts.append(_maximised(empty, weights, sticky, standard))
    return starts


def _quantile_groups(values: Floats, k: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return np.asarray(ranks * k // len(values), dtype=np.int64)
