"""Value at risk of one series by each method, over each horizon."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.conditional_volatility import GARCH_ENOUGH, Garch, ewma, fit_garch
from jesse_mcp.analytics.filtered_simulation import (
    filtered_outcomes,
    filtered_tail,
    garch_outcomes,
    normal_outcomes,
    simulated_tail,
    t_outcomes,
    volatility_weighted,
)
from jesse_mcp.analytics.rolling_value_at_risk import RiskMethod
from jesse_mcp.analytics.student_t import StudentT, fit_student_t
from jesse_mcp.analytics.tail_risk import TailRisk, nothing, unusable
from jesse_mcp.analytics.value_at_risk import (
    Moments,
    cornish_fisher,
    gaussian,
    historical,
    moments,
    overlapping,
    scaled,
    too_short,
)

Floats = NDArray[np.float64]
#: How the horizon was reached.
HorizonBasis = Literal[
    "one_period",
    "overlapping",
    "square_root_of_time",
    "independent_sum",
    "simulated_independent",
    "simulated",
]


@dataclass(frozen=True)
class Estimate:
    """One method, confidence and horizon; ``modified_es`` is of ``cornish_fisher`` alone."""

    method: RiskMethod
    confidence: float
    horizon: int
    basis: HorizonBasis
    tail: TailRisk
    modified_es: float | None = None


class Estimates:
    """Of ``returns`` shape (n,); every model is fitted once."""

    def __init__(self, returns: Floats, seed: int) -> None:
        self._returns = returns
        self._seed = seed

    def of(self, method: RiskMethod, confidences: Sequence[float], horizon: int) -> Iterator[Estimate]:
        """By ``method`` over ``horizon`` periods, one for each confidence."""
        if method == "cornish_fisher":
            sample = self._moments
            sample = sample.over(horizon) if isinstance(sample, Moments) else sample
            for confidence in confidences:
                found = cornish_fisher(sample, confidence)
                basis: HorizonBasis = "one_period" if horizon == 1 else "independent_sum"
                yield Estimate(method, confidence, horizon, basis, found.tail, found.modified_es)
            return
        if method == "historical":
            yield from (self._historical(confidence, horizon) for confidence in confidences)
            return
        basis, tail = self._tail(method, horizon)
        for confidence in confidences:
            yield Estimate(method, confidence, horizon, basis, tail(confidence))

    def parameters(self, method: RiskMethod) -> dict[str, Any] | None:
        """What was fitted, ``None`` where nothing was."""
        if method == "monte_carlo_t" and isinstance(self._student, StudentT):
            model = self._student
            return {
                "degrees_of_freedom": model.freedom,
                "location": model.location,
                "scale": model.scale,
                "fitted_to_last": model.fitted,
            }
        garch = self._garch(method) if "garch" in method or method == "filtered_historical" else None
        if not isinstance(garch, Garch):
            return None
        found: dict[str, Any] = {
            "mean": garch.mean,
            "omega": garch.omega,
            "alpha": garch.alpha,
            "beta": garch.beta,
            "next_volatility": float(np.sqrt(garch.next_variance)),
            "fitted_to_last": garch.fitted,
        }
        if garch.freedom is not None:
            found["degrees_of_freedom"] = garch.freedom
        if garch.fitted < GARCH_ENOUGH:
            found["remark"] = f"below {GARCH_ENOUGH} returns the estimates are known to be biased"
        return found

    def _tail(self, method: RiskMethod, horizon: int) -> tuple[HorizonBasis, Callable[[float], TailRisk]]:
        returns = self._returns
        if method == "gaussian":
            basis: HorizonBasis = "one_period" if horizon == 1 else "independent_sum"
            return basis, lambda confidence: gaussian(returns, confidence, horizon)
        if method == "ewma":
            basis = "one_period" if horizon == 1 else "square_root_of_time"
            return basis, lambda confidence: ewma(returns, confidence, horizon)
        if method == "volatility_weighted":
            weighted = self._weighted
            basis = "one_period" if horizon == 1 else "square_root_of_time"
            return basis, (
                _refused(weighted)
                if isinstance(weighted, str)
                else lambda confidence: scaled(historical(weighted, confidence), horizon)
            )
        if method in {"monte_carlo_normal", "monte_carlo_t"}:
            return "simulated_independent", _simulated(self._independent(method, horizon))
        return self._ahead(method, horizon)

    def _historical(self, confidence: float, horizon: int) -> Estimate:
        returns = self._returns
        if horizon == 1:
            return Estimate("historical", confidence, 1, "one_period", historical(returns, confidence))
        # Windows that overlap hold no more than those that do not.
        if unusable(returns) is None and too_short(len(returns) // horizon, confidence) is None:
            tail = historical(overlapping(returns, horizon), confidence)
            return Estimate("historical", confidence, horizon, "overlapping", tail)
        tail = scaled(historical(returns, confidence), horizon)
        return Estimate("historical", confidence, horizon, "square_root_of_time", tail)

    def _independent(self, method: RiskMethod, horizon: int) -> Floats | str:
        if method == "monte_carlo_t":
            model = self._student
            return model if isinstance(model, str) else t_outcomes(model, horizon, self._seed)
        reason = unusable(self._returns, 2)
        if reason:
            return reason
        with np.errstate(over="ignore", invalid="ignore"):
            mean, deviation = float(self._returns.mean()), float(self._returns.std(ddof=1))
        return normal_outcomes(mean, deviation, horizon, self._seed)

    def _ahead(self, method: RiskMethod, horizon: int) -> tuple[HorizonBasis, Callable[[float], TailRisk]]:
        model = self._garch(method)
        basis: HorizonBasis = "one_period" if horizon == 1 else "simulated"
        if isinstance(model, str):
            return basis, _refused(model)
        if horizon == 1:
            if method == "filtered_historical":
                return basis, lambda confidence: filtered_tail(model, confidence)
            return basis, model.tail
        outcomes = filtered_outcomes if method == "filtered_historical" else garch_outcomes
        return basis, _simulated(outcomes(model, horizon, self._seed))

    def _garch(self, method: RiskMethod) -> Garch | str:
        return self._garch_t if method == "garch_t" else self._garch_normal

    @cached_property
    def _garch_normal(self) -> Garch | str:
        return fit_garch(self._returns, "normal")

    @cached_property
    def _garch_t(self) -> Garch | str:
        return fit_garch(self._returns, "t")

    @cached_property
    def _student(self) -> StudentT | str:
        return fit_student_t(self._returns)

    @cached_property
    def _weighted(self) -> Floats | str:
        return volatility_weighted(self._returns)

    @cached_property
    def _moments(self) -> Moments | str:
        return moments(self._returns)


def _simulated(outcomes: Floats | str) -> Callable[[float], TailRisk]:
    if isinstance(outcomes, str):
        return _refused(outcomes)
    return lambda confidence: simulated_tail(outcomes, confidence)


def _refused(reason: str) -> Callable[[float], TailRisk]:
    return lambda _: nothing(reason)
