"""Student's t distribution: its tail in closed form, and its parameters from a sample."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.tail_risk import CONSTANT, OVERFLOW, TailRisk, is_constant, measured, unusable

#: A maximum of the likelihood with five parts in a hundred of noise needs about so many.
LEAST_FIT = 30
#: Of a longer sample the last ones are fitted.
MOST_FITTED = 10_000
_LEAST_FREEDOM, _MOST_FREEDOM = 1.0, 1e3
_NEAR_BOUND = 1e-3
_STARTS = (3.0, 8.0, 30.0)


@dataclass(frozen=True)
class StudentT:
    """``location`` and ``scale`` of a t distribution with ``freedom`` degrees of freedom.

    ``fitted`` is how many returns it was fitted to.
    """

    freedom: float
    location: float
    scale: float
    fitted: int

    def tail(self, confidence: float) -> TailRisk:
        """Value at risk and expected shortfall in closed form.

        Source: McNeil, Frey & Embrechts, "Quantitative Risk Management", 2nd edition, 2015, chapter 2.
        """
        quantile, shortfall = standard_t_tail(self.freedom, confidence)
        return measured(-(self.location + self.scale * quantile), -(self.location - self.scale * shortfall))


def standard_t_tail(freedom: float, confidence: float) -> tuple[float, float]:
    """The quantile at ``1 - confidence`` and minus the mean below it, of location 0 and scale 1.

    Args:
        freedom: degrees of freedom; the mean is infinite up to 1.
    """
    from scipy import special

    quantile = -float(special.stdtrit(freedom, confidence))
    if freedom <= 1:
        return quantile, math.inf
    log_density = (
        special.gammaln((freedom + 1) / 2)
        - special.gammaln(freedom / 2)
        - math.log(freedom * math.pi) / 2
        - (freedom + 1) / 2 * math.log1p(quantile**2 / freedom)
    )
    mean = math.exp(log_density) / (1 - confidence) * (freedom + quantile**2) / (freedom - 1)
    return quantile, float(mean)


def fit_student_t(returns: NDArray[np.float64]) -> StudentT | str:
    """Degrees of freedom, location and scale of the largest likelihood, or the reason why there is none.

    Args:
        returns: shape (n,); of more than :data:`MOST_FITTED` the last ones are used.

    Returns:
        Degrees of freedom above 1, so that the expected shortfall is finite, and at most 1,000, where the
        distribution is as good as normal.

    Source: Lange, Little & Taylor, "Robust statistical modeling using the t distribution", Journal of the
    American Statistical Association 84(408), 1989; Fernandez & Steel, "Multivariate Student-t regression
    models: pitfalls and inference", Biometrika 86(1), 1999 (likelihoods without a maximum when values
    repeat).
    """
    recent = returns[-MOST_FITTED:]
    reason = unusable(returns, LEAST_FIT) or (CONSTANT if is_constant(recent) else None)
    if reason:
        return reason
    with np.errstate(all="ignore"):
        centre, spread = float(np.median(recent)), _spread(recent)
        values = (recent - centre) / spread
    if not np.isfinite(values).all():
        return OVERFLOW
    if 2 * int(np.unique(values, return_counts=True)[1].max()) > len(values):
        return "more than half of the returns are equal: the likelihood of Student's t has no maximum"
    found = _largest_likelihood(values)
    if found is None:
        return "the likelihood of Student's t did not converge"
    location, scale, freedom = found
    if freedom < _LEAST_FREEDOM + _NEAR_BOUND:
        return "the tails are too heavy: the fitted distribution has no expected shortfall"
    return StudentT(freedom, centre + location * spread, scale * spread, len(recent))


def _largest_likelihood(values: NDArray[np.float64]) -> tuple[float, float, float] | None:
    """Location, scale and degrees of freedom, the best of three starts; ``None`` when none converged."""
    from scipy.optimize import minimize

    bounds = ((None, None), (math.log(1e-8), None), (math.log(_LEAST_FREEDOM), math.log(_MOST_FREEDOM)))
    with np.errstate(all="ignore"):
        found = [
            minimize(
                _negative_log_likelihood,
                (0.0, 0.0, math.log(start)),
                args=(values,),
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-9},
            )
            for start in _STARTS
        ]
    converged = [result for result in found if result.success and math.isfinite(result.fun)]
    if not converged:
        return None
    location, log_scale, log_freedom = min(converged, key=lambda result: float(result.fun)).x
    return float(location), math.exp(log_scale), math.exp(log_freedom)


def _spread(values: NDArray[np.float64]) -> float:
    """Half the distance of the middle 80 %, or the deviation when most values are equal."""
    low, high = np.quantile(values, (0.1, 0.9))
    with np.errstate(over="ignore"):
        return float((high - low) / 2) or float(values.std())


def _negative_log_likelihood(
    parameters: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Per value, with its gradient, of (location, log scale, log degrees of freedom)."""
    from scipy.special import digamma, gammaln

    location, log_scale, log_freedom = parameters
    freedom, scale = math.exp(log_freedom), math.exp(log_scale)
    standard = (values - location) / scale
    ratio = standard**2 / freedom
    logs = np.log1p(ratio)
    weight = (freedom + 1) / (freedom * (1 + ratio))
    likelihood = (
        gammaln((freedom + 1) / 2)
        - gammaln(freedom / 2)
        - math.log(freedom * math.pi) / 2
        - log_scale
        - (freedom + 1) / 2 * float(logs.mean())
    )
    by_freedom = (
        float(digamma((freedom + 1) / 2) - digamma(freedom / 2)) / 2
        - 1 / (2 * freedom)
        - float(logs.mean()) / 2
        + float((weight * standard**2).mean()) / (2 * freedom)
    )
    gradient = np.array(
        [
            float((weight * standard).mean()) / scale,
            -1 + float((weight * standard**2).mean()),
            by_freedom * freedom,
        ]
    )
    return -float(likelihood), -gradient
