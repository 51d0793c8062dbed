"""Markov switching model of returns: mean and variance switch, estimated by maximum likelihood."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from jesse_mcp.analytics.regime_filtering import filtered, stationary
from jesse_mcp.analytics.regime_fit import LEAST_PERIODS, Classified, Floats, Pause
from jesse_mcp.analytics.regime_hmm import GaussianHmm, fit_hmm

_MOST_STEPS = 300
#: Of the gradient of the mean log-likelihood at the end of a search.
_FLAT = 1e-4
_NAME = re.compile(r"p\[(\d+)->(\d+)\]|(const|sigma2)\[(\d+)\]")


@dataclass(frozen=True)
class MarkovSwitching:
    """Shapes (k, k), (k,), (k,) and (k,); the chain begins in its ``initial``, long-run, probabilities."""

    transition: Floats
    means: Floats
    volatilities: Floats
    initial: Floats
    log_likelihood: float

    @property
    def free_parameters(self) -> int:
        k = len(self.means)
        return k * (k - 1) + 2 * k

    def classify(self, returns: Floats) -> Classified:
        """Filtered; see :class:`~jesse_mcp.analytics.regime_fit.RegimeFit`."""
        found = filtered(self.initial, self.transition, self._log_densities(returns)).probabilities
        return Classified(found.argmax(axis=1), found)

    def _log_densities(self, returns: Floats) -> Floats:
        apart = (returns[:, None] - self.means) / self.volatilities
        return np.asarray(-0.5 * (np.log(2 * np.pi) + apart * apart) - np.log(self.volatilities))


def fit_switching(
    returns: Floats,
    k: int,
    *,
    seed: int = 0,
    before: MarkovSwitching | None = None,
    pause: Pause = lambda: None,
) -> MarkovSwitching | str:
    """The model of the largest likelihood, or the reason why there is none.

    Args:
        returns: fractions of a period, shape (n,).
        k: regimes, 1 or more.
        before: an earlier fit, from which the search may begin.

    The likelihood, its gradient and the bounds of the parameters are statsmodels' ``MarkovRegression`` of a
    switching constant and variance. Its own random search for a start is replaced by expectation
    maximisation from several starts.

    Source: Hamilton, Econometrica 57, 1989; Kim & Nelson, "State-Space Models with Regime Switching", 1999.
    """
    start = fit_hmm(returns, k, seed=seed, before=None if before is None else _as_hmm(before), pause=pause)
    if isinstance(start, str):
        return start
    if k == 1:
        one = np.ones(1)
        return MarkovSwitching(np.ones((1, 1)), start.means, start.volatilities, one, start.log_likelihood)
    return _polished(returns, start, pause)


def _as_hmm(model: MarkovSwitching) -> GaussianHmm:
    return GaussianHmm(
        features="return",
        initial=model.initial,
        transition=model.transition,
        locations=model.means[:, None],
        covariances=(model.volatilities**2)[:, None, None],
        centre=np.zeros(1),
        spread=np.ones(1),
        log_likelihood=model.log_likelihood,
    )


def _polished(returns: Floats, start: GaussianHmm, pause: Pause) -> MarkovSwitching | str:
    """From a maximum of nearly the same likelihood to the one of this model."""
    from scipy.optimize import minimize
    from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression

    k, n = len(start.initial), len(returns)
    centre, spread = float(start.centre[0]), float(start.spread[0])
    model = MarkovRegression((returns - centre) / spread, k_regimes=k, switching_variance=True)
    names = [_NAME.fullmatch(name) for name in model.param_names]
    # On the border of the parameters their transformation is infinite.
    inner = np.clip(start.transition, 1e-5, 1 - 1e-5)
    begin = model.untransform_params(
        np.array([_value(name, start, inner / inner.sum(axis=1, keepdims=True)) for name in names])
    )

    def told(_: Any) -> None:
        pause()

    with np.errstate(all="ignore"):
        found = minimize(
            lambda params: -model.loglike(params, transformed=False) / n,
            begin,
            jac=lambda params: -np.real(model.score(params, transformed=False)) / n,
            method="BFGS",
            callback=told,
            options={"maxiter": _MOST_STEPS, "gtol": 2e-5},
        )
        params = np.real(model.transform_params(found.x))
    if not (np.isfinite(params).all() and np.abs(found.jac).max() < _FLAT):
        return f"the search for the largest likelihood of {k} regimes does not converge"
    transition, means, variances = np.zeros((k, k)), np.zeros(k), np.zeros(k)
    for name, value in zip(names, params.tolist(), strict=True):
        _place(name, value, transition, means, variances)
    transition[:, -1] = 1 - transition[:, :-1].sum(axis=1)
    order = np.lexsort((means, variances))
    transition = np.ascontiguousarray(np.maximum(transition, 0.0)[np.ix_(order, order)])
    initial = stationary(transition)
    if initial is None or initial.min() * n < LEAST_PERIODS:
        return f"one of {k} regimes has fewer than {LEAST_PERIODS} periods"
    return MarkovSwitching(
        transition,
        centre + spread * means[order],
        spread * np.sqrt(variances[order]),
        initial,
        -float(found.fun) * n - n * float(np.log(spread)),
    )


def _value(name: re.Match[str] | None, start: GaussianHmm, transition: Floats) -> float:
    if name is None:
        raise ValueError("the model has a parameter of another name")
    if name[1] is not None:
        return float(transition[int(name[1]), int(name[2])])
    at = int(name[4])
    return float(start.locations[at, 0] if name[3] == "const" else start.covariances[at, 0, 0])


def _place(
    name: re.Match[str] | None, value: float, transition: Floats, means: Floats, variances: Floats
) -> None:
    if name is not None and name[1] is not None:
        transition[int(name[1]), int(name[2])] = value
    elif name is not None:
        (means if name[3] == "const" else variances)[int(name[4])] = value
