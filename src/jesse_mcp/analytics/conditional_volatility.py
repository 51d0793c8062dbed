"""Volatility that changes with time: EWMA and GARCH(1,1), and the tail of the next period."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.student_t import standard_t_tail
from jesse_mcp.analytics.tail_risk import (
    CONSTANT,
    OVERFLOW,
    TailRisk,
    is_constant,
    measured,
    normal_tail,
    nothing,
    unusable,
)

Innovations = Literal["normal", "t"]

#: Decay of RiskMetrics for daily returns.
EWMA_DECAY = 0.94
#: Returns that hold 99 % of the weight of all.
EWMA_LEAST = math.ceil(math.log(0.01) / math.log(EWMA_DECAY))
#: Below the first GARCH is refused, below the second its estimates are known to be biased.
GARCH_LEAST, GARCH_ENOUGH = 250, 500
#: Of a longer sample the last ones are fitted.
GARCH_MOST = 10_000
#: At one shocks never fade, and the variance has no mean to return to.
PERSISTENCE_LIMIT = 0.9999
#: Without a response the variance only decays from where the fit began.
_NO_RESPONSE = 1e-6
_FREEDOM_BOUND = 2.06
#: Logarithms of the likelihood that two searches may end apart.
_SAME_MAXIMUM = 0.1
#: Where further searches begin: omega, alpha, beta, degrees of freedom, of returns with a deviation of one.
_STARTS = ((0.05, 0.05, 0.9, 8.0), (0.1, 0.2, 0.7, 5.0))
_OPTIONS = {"maxiter": 500}


@dataclass(frozen=True)
class Garch:
    """GARCH(1,1) with a constant mean: ``variance = omega + alpha * shock**2 + beta * variance before``.

    Fractions; ``freedom`` of Student's t, ``None`` for normal innovations. ``next_variance`` is that of the
    period after the ``fitted`` returns, ``residuals`` shape (fitted,) are shocks over their deviations.
    """

    mean: float
    omega: float
    alpha: float
    beta: float
    freedom: float | None
    next_variance: float
    residuals: NDArray[np.float64]

    @property
    def fitted(self) -> int:
        return len(self.residuals)

    @property
    def persistence(self) -> float:
        return self.alpha + self.beta

    def tail(self, confidence: float, variance: float | None = None) -> TailRisk:
        """Value at risk and expected shortfall of a period of ``variance``, of the next one by default."""
        deviation = math.sqrt(self.next_variance if variance is None else variance)
        if self.freedom is None:
            return measured(*normal_tail(self.mean, deviation, confidence))
        # A standardised t: its variance is one.
        unit = deviation * math.sqrt((self.freedom - 2) / self.freedom)
        quantile, shortfall = standard_t_tail(self.freedom, confidence)
        return measured(-(self.mean + unit * quantile), -(self.mean - unit * shortfall))


def ewma_variances(returns: NDArray[np.float64], decay: float = EWMA_DECAY) -> NDArray[np.float64]:
    """Exponentially weighted mean of the squared returns up to each period: the variance of the next one.

    Args:
        returns: shape (n,), n >= 1; their mean is taken as zero.

    Returns:
        Shape (n,). Weights are divided by their sum, so no first variance has to be chosen.

    Source: J.P. Morgan/Reuters, "RiskMetrics - Technical Document", 4th edition, 1996.
    """
    from scipy.signal import lfilter

    with np.errstate(over="ignore", invalid="ignore"):
        weighted = lfilter([1 - decay], [1, -decay], returns * returns)
    weights = -np.expm1(np.arange(1, len(returns) + 1) * math.log(decay))
    return np.asarray(weighted / weights, dtype=np.float64)


def ewma(returns: NDArray[np.float64], confidence: float, horizon: int = 1) -> TailRisk:
    """Normal returns of mean zero and the EWMA variance, over ``horizon`` by the square root of time.

    Source: as :func:`ewma_variances`; its table of the returns needed asks for 99 % of the weight.
    """
    reason = unusable(returns, EWMA_LEAST)
    if reason:
        return nothing(reason)
    variance = float(ewma_variances(returns)[-1])
    if variance == 0 and returns.any():
        return nothing(OVERFLOW)
    return measured(*normal_tail(0.0, math.sqrt(variance * horizon), confidence))


def fit_garch(returns: NDArray[np.float64], innovations: Innovations) -> Garch | str:
    """GARCH(1,1) of the largest likelihood, or the reason why there is none.

    Args:
        returns: shape (n,); of more than :data:`GARCH_MOST` the last ones are used.

    Returns:
        Refused with fewer than :data:`GARCH_LEAST` returns, unless two searches from different starts end
        at the same highest likelihood, when ``alpha`` is zero, and when the persistence ``alpha + beta``
        reaches one.

    Source: Bollerslev, "Generalized autoregressive conditional heteroskedasticity", Journal of Econometrics
    31(3), 1986, and "A conditionally heteroskedastic time series model for speculative prices and rates of
    return", Review of Economics and Statistics 69(3), 1987 (t); Hwang & Valls Pereira, "Small sample
    properties of GARCH estimates and persistence", European Journal of Finance 12(6-7), 2006 (how many).
    """
    recent = returns[-GARCH_MOST:]
    reason = unusable(returns, GARCH_LEAST) or (CONSTANT if is_constant(recent) else None)
    if reason:
        return reason
    with np.errstate(over="ignore", invalid="ignore"):
        scale = float(recent.std())
        values = recent / scale if scale > 0 else np.full(1, np.inf)
    if not (math.isfinite(scale) and np.isfinite(values).all()):
        return OVERFLOW
    fitted = _fitted(values, innovations)
    if isinstance(fitted, str):
        return fitted
    (mean, omega, alpha, beta, *tail), variances = fitted
    shocks = values - mean
    last = omega + alpha * shocks[-1] ** 2 + beta * variances[-1]
    reason = _unstable(alpha, alpha + beta, tail) or _not_positive(np.append(variances, last), scale)
    return reason or Garch(
        mean=mean * scale,
        omega=omega * scale**2,
        alpha=alpha,
        beta=beta,
        freedom=tail[0] if tail else None,
        next_variance=float(last) * scale**2,
        residuals=shocks / np.sqrt(variances),
    )


def garch_variances(model: Garch, returns: NDArray[np.float64], first: float) -> NDArray[np.float64]:
    """Variances of the periods 1 to n after ``first``, that of period 0, by fixed parameters.

    Args:
        returns: of the periods 0 to n - 1, shape (n,).
        first: variance of period 0, positive.

    Returns:
        Shape (n,): entry ``i`` is the variance of period ``i + 1``, known at the end of period ``i``.
    """
    from scipy.signal import lfilter

    shocks = returns - model.mean
    driven = model.omega + model.alpha * shocks * shocks
    variances, _ = lfilter([1.0], [1.0, -model.beta], driven, zi=[model.beta * first])
    return np.asarray(variances, dtype=np.float64)


def _unstable(alpha: float, persistence: float, tail: list[float]) -> str | None:
    if alpha < _NO_RESPONSE:
        return (
            "the volatility does not respond to returns (alpha of GARCH(1,1) is zero): beta means nothing, "
            "and methods of constant volatility say as much"
        )
    if persistence >= PERSISTENCE_LIMIT:
        return (
            f"the persistence alpha + beta of GARCH(1,1) is {persistence:.5f}: shocks never fade, and the "
            "variance has no mean"
        )
    if tail and tail[0] < _FREEDOM_BOUND:
        return f"the t innovations of GARCH(1,1) have {tail[0]:.3f} degrees of freedom: no variance"
    return None


def _not_positive(variances: NDArray[np.float64], scale: float) -> str | None:
    if not (np.isfinite(variances).all() and (variances > 0).all()):
        return "GARCH(1,1) did not converge: a variance is not positive"
    # Squares of returns beyond 1e-154 or 1e154 are zero or infinite.
    return None if 0 < float(variances.min()) * scale * scale < math.inf else OVERFLOW


def _fitted(
    values: NDArray[np.float64], innovations: Innovations
) -> tuple[list[float], NDArray[np.float64]] | str:
    """Parameters and variances by ``arch``, of values with a deviation of one."""
    from arch.univariate import GARCH, ConstantMean, Normal, StudentsT

    model = ConstantMean(
        values,
        volatility=GARCH(p=1, o=0, q=1),
        distribution=Normal() if innovations == "normal" else StudentsT(),
        rescale=False,
    )
    results: list[Any] = []
    with np.errstate(all="ignore"):
        try:
            for start in (None, *_STARTS):
                given = (
                    None if start is None else np.array([values.mean(), *start[: 3 + (innovations == "t")]])
                )
                results.append(
                    model.fit(disp="off", show_warning=False, starting_values=given, options=_OPTIONS)
                )
                if _agree(results):
                    break
        except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            return f"GARCH(1,1) could not be fitted: {error}"
    best = max(results, key=lambda result: float(result.loglikelihood))
    parameters = [float(value) for value in best.params]
    if best.convergence_flag != 0 or not np.isfinite(parameters).all():
        return f"GARCH(1,1) did not converge (flag {best.convergence_flag} of the optimiser)"
    # The optimiser calls ends that are far below the maximum converged, too.
    if not _agree(results):
        return "GARCH(1,1) did not converge: from every start the search ended elsewhere"
    return parameters, np.asarray(best.conditional_volatility, dtype=np.float64) ** 2


def _agree(results: list[Any]) -> bool:
    """Whether two searches ended at the highest likelihood of all."""
    reached = sorted(float(result.loglikelihood) for result in results)
    return len(reached) > 1 and reached[-1] - reached[-2] <= _SAME_MAXIMUM
