"""Futures of the next periods, drawn: independent returns, GARCH paths, filtered historical simulation."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.conditional_volatility import EWMA_LEAST, Garch, ewma_variances
from jesse_mcp.analytics.student_t import StudentT
from jesse_mcp.analytics.tail_risk import OVERFLOW, TailRisk, empirical_tail, measured, nothing, unusable
from jesse_mcp.analytics.value_at_risk import historical, too_short

SIMULATIONS = 100_000
_BATCHES = 20

#: Draws that many innovations of mean zero and variance one.
Draw = Callable[[int], NDArray[np.float64]]


def simulated_tail(outcomes: NDArray[np.float64], confidence: float) -> TailRisk:
    """The empirical tail of simulated returns, with the standard errors of the simulation.

    Args:
        outcomes: compounded returns over the horizon, independent, shape (simulations,).

    Source of the errors: batch means; Asmussen & Glynn, "Stochastic Simulation", 2007, chapter IV.
    """
    if not np.isfinite(outcomes).all():
        return nothing(OVERFLOW)
    reason = too_short(len(outcomes), confidence)
    if reason:
        return nothing(reason)
    tail = measured(*empirical_tail(outcomes, confidence))
    if len(outcomes) % _BATCHES or too_short(len(outcomes) // _BATCHES, confidence):
        return tail
    pairs = np.array([empirical_tail(batch, confidence) for batch in outcomes.reshape(_BATCHES, -1)])
    errors = pairs.std(axis=0, ddof=1) / math.sqrt(_BATCHES)
    return TailRisk(tail.var, tail.es, tail.undefined, float(errors[0]), float(errors[1]))


def normal_outcomes(
    mean: float, deviation: float, horizon: int, seed: int, simulations: int = SIMULATIONS
) -> NDArray[np.float64]:
    """Compounded returns of ``horizon`` independent normal periods, shape (simulations,).

    A return of -1 or less loses everything: the rest of the path does not matter.

    Source: Glasserman, "Monte Carlo Methods in Financial Engineering", 2003, chapter 9.
    """
    rng = np.random.default_rng(seed)
    return _compounded(lambda: mean + deviation * rng.standard_normal(simulations), horizon, simulations)


def t_outcomes(
    model: StudentT, horizon: int, seed: int, simulations: int = SIMULATIONS
) -> NDArray[np.float64]:
    """As :func:`normal_outcomes`, of independent returns with Student's t distribution."""
    rng = np.random.default_rng(seed)

    def period() -> NDArray[np.float64]:
        return model.location + model.scale * rng.standard_t(model.freedom, simulations)

    return _compounded(period, horizon, simulations)


def garch_outcomes(
    model: Garch, horizon: int, seed: int, simulations: int = SIMULATIONS
) -> NDArray[np.float64]:
    """Compounded returns of paths of the GARCH model with its own innovations, shape (simulations,).

    Source: as :func:`~jesse_mcp.analytics.conditional_volatility.fit_garch`; by simulation since sums of
    GARCH returns have no distribution in closed form.
    """
    rng = np.random.default_rng(seed)
    freedom = model.freedom
    if freedom is None:
        return garch_paths(model, horizon, rng.standard_normal, simulations)
    unit = math.sqrt((freedom - 2) / freedom)
    return garch_paths(model, horizon, lambda size: unit * rng.standard_t(freedom, size), simulations)


def filtered_outcomes(
    model: Garch, horizon: int, seed: int, simulations: int = SIMULATIONS
) -> NDArray[np.float64]:
    """Filtered historical simulation: GARCH paths driven by the residuals of the fit, drawn with replacement.

    Residuals are used as they are: neither centred nor brought to a variance of one.

    Source: Barone-Adesi, Giannopoulos & Vosper, "VaR without correlations for portfolios of derivative
    securities", Journal of Futures Markets 19(5), 1999.
    """
    rng = np.random.default_rng(seed)
    residuals = model.residuals
    return garch_paths(
        model, horizon, lambda size: residuals[rng.integers(len(residuals), size=size)], simulations
    )


def filtered_tail(model: Garch, confidence: float) -> TailRisk:
    """Filtered historical simulation of one period, exactly: all residuals times the next deviation.

    Source: as :func:`filtered_outcomes`.
    """
    return historical(model.mean + math.sqrt(model.next_variance) * model.residuals, confidence)


def volatility_weighted(returns: NDArray[np.float64]) -> NDArray[np.float64] | str:
    """Past returns brought to the volatility of the next period, or the reason why not.

    Each return is multiplied by the deviation forecast for the next period over the one that had been
    forecast for its own, both EWMA of what was known before.

    Args:
        returns: shape (n,).

    Returns:
        Shape (n - EWMA_LEAST,): the first returns serve the first forecast only.

    Source: Hull & White, "Incorporating volatility updating into the historical simulation method for
    value-at-risk", Journal of Risk 1(1), 1998.
    """
    reason = unusable(returns, EWMA_LEAST + 1)
    if reason:
        return reason
    variances = ewma_variances(returns)
    known = variances[EWMA_LEAST - 1 : -1]
    if not (np.isfinite(variances).all() and (known > 0).all()):
        return "a forecast variance is zero or not finite: there is nothing to weight by"
    with np.errstate(over="ignore", invalid="ignore"):
        weighted: NDArray[np.float64] = returns[EWMA_LEAST:] * np.sqrt(variances[-1] / known)
    return weighted if np.isfinite(weighted).all() else OVERFLOW


def garch_paths(model: Garch, horizon: int, draw: Draw, simulations: int) -> NDArray[np.float64]:
    """Compounded returns over ``horizon`` periods whose variances follow the model, shape (simulations,)."""
    variances = np.full(simulations, model.next_variance)

    def period() -> NDArray[np.float64]:
        nonlocal variances
        shocks = np.sqrt(variances) * draw(simulations)
        variances = model.omega + model.alpha * shocks * shocks + model.beta * variances
        moved: NDArray[np.float64] = model.mean + shocks
        return moved

    return _compounded(period, horizon, simulations)


def _compounded(
    period: Callable[[], NDArray[np.float64]], horizon: int, simulations: int
) -> NDArray[np.float64]:
    growth = np.ones(simulations)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(horizon):
            growth *= np.maximum(1.0 + period(), 0.0)
    return growth - 1.0
