"""Hypothetical stresses of returns: prices shocked, volatility raised, correlations pushed together."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.correlation_stress import (
    PortfolioRisk,
    nearest_correlation,
    portfolio_risk,
    sample_correlation,
    smallest_eigenvalue,
    towards,
)
from jesse_mcp.analytics.shocks import Regression
from jesse_mcp.analytics.volatility_stress import scaled_about_mean, summarize
from jesse_mcp.services.analysis_source import Components
from jesse_mcp.services.stress_request import ADVERSE, ADVERSE_SHOCK, DEFAULT_SHOCKS, StressArguments
from jesse_mcp.services.stress_subject import NO_MARKET, Subject

#: A part of the answer, and why numbers of it are missing.
Section = tuple[dict[str, Any] | None, dict[str, str]]

_NO_PORTFOLIO = "it takes a portfolio: give market with two symbols or more"


def exposure_section(subject: Subject) -> Section:
    """What the equity hangs on: weights of a portfolio, betas of a run."""
    components = subject.sample.components
    if components is not None:
        weights = dict(zip(components.symbols, components.weights.tolist(), strict=True))
        return {"method": "weights", "weights": weights}, {}
    found = subject.betas
    if not isinstance(found, Regression):
        return None, {"exposure": found}
    section = {
        "method": "regression",
        "betas": {
            symbol: {"beta": beta, "standard_error": error}
            for symbol, beta, error in zip(
                subject.symbols, found.coefficients.tolist(), found.standard_errors.tolist(), strict=True
            )
        },
        "r_squared": found.r_squared,
        "observations": found.observations,
    }
    return section, {} if found.r_squared is not None else {"exposure.r_squared": "the returns never change"}


def shocks_section(
    subject: Subject, arguments: StressArguments
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Profit or loss of each shock, as a fraction of equity.

    Without shocks of the caller's: every market at once, up and down, and where long and short are held
    together the case in which nothing hedges, each market against the sign of its weight or beta.
    """
    if subject.exchange is None:
        return [], {"shocks": NO_MARKET}
    given = arguments.shocks_by_symbol
    wanted: list[tuple[dict[str, str], dict[str, float]]] = [({}, given)] if given is not None else []
    if given is None:
        wanted = [({}, dict.fromkeys(subject.symbols, shock)) for shock in DEFAULT_SHOCKS]
        against = _against(subject.exposures or {})
        wanted += [] if against is None else [({"name": ADVERSE}, against)]
    rows: list[dict[str, Any]] = []
    undefined: dict[str, str] = {}
    for name, shocks in wanted:
        found = subject.shocked(shocks)
        row: dict[str, Any] = {**name, "shocks": shocks, "profit": None, "basis": "hypothetical"}
        if isinstance(found, str):
            undefined["shocks.profit"] = found
        else:
            row["profit"] = found.value
            if found.regression is not None:
                fit = found.regression.r_squared
                row |= {"standard_error": found.standard_error, "r_squared": fit}
                row["observations"] = found.regression.observations
                undefined |= {"shocks.r_squared": "the returns never change"} if fit is None else {}
        rows.append(row)
    return rows, undefined


def _against(exposures: dict[str, float]) -> dict[str, float] | None:
    """Each symbol against the sign of what is held in it; ``None`` where all are held the same way."""
    if not (any(held > 0 for held in exposures.values()) and any(held < 0 for held in exposures.values())):
        return None
    return {
        symbol: -ADVERSE_SHOCK if held > 0 else ADVERSE_SHOCK if held < 0 else 0.0
        for symbol, held in exposures.items()
    }


def volatility_section(subject: Subject, arguments: StressArguments) -> Section:
    """The returns as they were, and with deviations from their mean multiplied."""
    sample = subject.sample
    if sample.reason is not None:
        return None, {"volatility": sample.reason}
    returns, year = sample.series.returns, sample.series.periods_per_year
    now = summarize(returns, year)
    wild = summarize(scaled_about_mean(returns, arguments.volatility_multiplier), year)
    if isinstance(now, str) or isinstance(wild, str):
        return None, {"volatility": now if isinstance(now, str) else str(wild)}
    section = {
        "multiplier": arguments.volatility_multiplier,
        "now": asdict(now),
        "stressed": asdict(wild),
        "basis": "hypothetical",
    }
    return section, {}


def correlation_section(subject: Subject, arguments: StressArguments) -> Section:
    """Risk of a portfolio with the correlations it had, with stressed ones, and with both stresses."""
    components = subject.sample.components
    if components is None or len(components.symbols) < 2:
        return None, {"correlation": _NO_PORTFOLIO}
    if len(components.returns) < 2 or not np.isfinite(components.returns).all():
        return None, {"correlation": "the returns of the symbols are fewer than two, or not all finite"}
    now = sample_correlation(components.returns)
    section: dict[str, Any] = {"symbols": list(components.symbols), "basis": "hypothetical"}
    if isinstance(arguments.correlation, float | int):
        stressed = towards(now, arguments.correlation)
        section["share_of_the_way_to_one"] = arguments.correlation
    else:
        wanted = np.array(arguments.correlation, dtype=np.float64)
        stressed = nearest_correlation(wanted)
        section["given_matrix_smallest_eigenvalue"] = smallest_eigenvalue(wanted)
        section["distance_to_nearest_valid"] = float(np.linalg.norm(stressed - wanted))
        section["matrix_used"] = stressed.tolist()
    section["average_correlation"] = {"now": _average(now), "stressed": _average(stressed)}
    year, times = subject.sample.series.periods_per_year, arguments.volatility_multiplier
    section["now"] = asdict(_risk(components, now, year, 1.0))
    section["stressed"] = asdict(_risk(components, stressed, year, 1.0))
    section["stressed_and_volatility"] = asdict(_risk(components, stressed, year, times))
    return section, {}


def _risk(
    components: Components, correlation: NDArray[np.float64], year: float, multiplier: float
) -> PortfolioRisk:
    deviations = multiplier * components.returns.std(axis=0, ddof=1)
    mean = float((components.returns @ components.weights).mean())
    return portfolio_risk(components.weights, deviations, correlation, mean, year)


def _average(matrix: NDArray[np.float64]) -> float:
    """Of the pairs."""
    return float(matrix[np.triu_indices(len(matrix), 1)].mean())
