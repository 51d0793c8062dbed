"""A factor analysis as an answer: numbers by name, and what they say in plain words."""

import math
from typing import Any

import numpy as np
from pydantic import Field

from jesse_mcp.analytics.factor_attribution import Attribution, RiskSplit, RollingBetas
from jesse_mcp.analytics.factor_regression import NO_RESIDUAL, Coefficient, FactorRegression
from jesse_mcp.domain.model import Value
from jesse_mcp.services.analysis_source import Sample
from jesse_mcp.services.factor_alignment import AlignedFactors
from jesse_mcp.services.factor_evidence import FactorEvidence
from jesse_mcp.services.factor_findings import findings_of
from jesse_mcp.services.factor_request import SORTED, FactorArguments

REGRESSION_CONVENTIONS = (
    "least squares with intercept on simple returns a period; no risk-free rate is subtracted. Errors: "
    "Newey-West (Bartlett, n / (n - k - 1)); hac_lags by default floor(4 (n / 100)^(2/9)); t and F with "
    "n - k - 1 degrees of freedom, p two-sided. alpha.annual: a period times periods_per_year, not "
    "compounded. contribution: beta times the factor's mean a period; with alpha and residual they add up to "
    "mean_return. share: of mean_return; risk_share: of the variance, adding up to r_squared. vif above 10 "
    "and condition_number (columns scaled, with intercept) above 30: factors hard to tell apart. Nothing "
    "is corrected for how many factors or variants were tried"
)
UNIVERSE_CONVENTIONS = (
    "built-in factors are made of the last closes known when each period of the source begins and ends (an "
    "hour old at most), without costs. market: equally weighted mean of the universe. btc, eth: return of "
    "that symbol. A universe chosen today has survived: its past returns are too good"
)
SORTED_CONVENTIONS = (
    "momentum, size, volatility: mean of the upper third less the lower third of the universe, sorted every "
    "rebalance_days by what was known then, equal weights in every period, 6 symbols at least; momentum: "
    "return over formation_days, high less low; volatility: standard deviation of returns, high less low; "
    "size: value traded (close times volume, not market capitalisation), little less much"
)

Section = dict[str, Any]


class FactorResult(Value):
    """Fractions, not percent; a period unless called annual."""

    source: str
    periods: int = Field(description="that every factor has a return in")
    periods_per_year: float
    dropped: Section = Field(description="periods left out, and those each factor lacks")
    alpha: Section
    factors: list[Section] = Field(description="beta, t, p, interval, vif, mean, contribution, shares")
    attribution: Section = Field(description="mean_return = alpha + factors + residual")
    fit: Section
    risk: Section = Field(description="annual standard deviations")
    rolling: Section = Field(description="betas in windows of rolling_window")
    undefined: dict[str, str] = Field(description="why one is null")
    conventions: str
    findings: tuple[str, ...]


def report(
    arguments: FactorArguments,
    sample: Sample,
    data: AlignedFactors,
    found: FactorEvidence,
    remarks: tuple[str, ...],
) -> FactorResult:
    """Describe the evidence; ``remarks`` are of how the factors were made."""
    undefined: dict[str, str] = {}
    per_year = sample.series.periods_per_year
    return FactorResult(
        source=sample.label,
        periods=len(data.returns),
        periods_per_year=per_year,
        dropped={"periods": data.dropped, "inside": data.inside, "missing": data.missing},
        alpha=_alpha(found.regression, per_year, undefined),
        factors=_factors(data, found),
        attribution=_attribution(found.attribution, undefined),
        fit=_fit(found.regression, undefined),
        risk=_risk(found.risk, found.regression, per_year),
        rolling=_rolling(arguments, data, found.rolling, undefined),
        undefined=undefined,
        conventions=_conventions(arguments),
        findings=(
            *findings_of(arguments, data, found, per_year),
            *(f"{sample.label}: {remark}" for remark in sample.remarks),
            *remarks,
        ),
    )


def _test(one: Coefficient) -> Section:
    return {
        "standard_error": one.standard_error,
        "t": one.t,
        "p": one.p,
        "low": one.low,
        "high": one.high,
    }


def _alpha(found: FactorRegression, per_year: float, undefined: dict[str, str]) -> Section:
    one = found.alpha
    if one.standard_error is None:
        undefined["standard_error"] = NO_RESIDUAL
    return {
        "per_period": one.value,
        **_test(one),
        "annual": one.value * per_year,
        "annual_low": None if one.low is None else one.low * per_year,
        "annual_high": None if one.high is None else one.high * per_year,
    }


def _factors(data: AlignedFactors, found: FactorEvidence) -> list[Section]:
    parts = found.attribution
    return [
        {
            "name": name,
            "beta": found.regression.betas[place].value,
            **_test(found.regression.betas[place]),
            "vif": found.regression.vif[place],
            "mean": parts.means[place],
            "contribution": parts.contributions[place],
            "share": None if parts.shares is None else parts.shares[place],
            "risk_share": found.risk.shares[place],
        }
        for place, name in enumerate(data.names)
    ]


def _attribution(parts: Attribution, undefined: dict[str, str]) -> Section:
    if parts.shares is None:
        undefined["share"] = undefined["alpha_share"] = "the mean return is zero"
    return {
        "mean_return": parts.mean,
        "factors": sum(parts.contributions),
        "alpha": parts.alpha,
        "residual": parts.residual,
        "alpha_share": parts.alpha_share,
    }


def _fit(found: FactorRegression, undefined: dict[str, str]) -> Section:
    if found.f is None:
        undefined["f"] = undefined["f_p"] = (
            NO_RESIDUAL if found.durbin_watson is None else "the covariance of the betas has no inverse"
        )
    if found.durbin_watson is None:
        undefined["durbin_watson"] = NO_RESIDUAL
    return {
        "r_squared": found.r_squared,
        "adjusted_r_squared": found.adjusted_r_squared,
        "f": found.f,
        "f_p": found.f_p,
        "durbin_watson": found.durbin_watson,
        "condition_number": found.condition_number,
        "hac_lags": found.hac_lags,
        "degrees_of_freedom": found.freedom,
    }


def _risk(split: RiskSplit, found: FactorRegression, per_year: float) -> Section:
    root = math.sqrt(per_year)
    return {
        "volatility": split.total * root,
        "systematic": split.systematic * root,
        "idiosyncratic": split.idiosyncratic * root,
        "systematic_share": found.r_squared,
    }


def _rolling(
    arguments: FactorArguments, data: AlignedFactors, found: RollingBetas | None, undefined: dict[str, str]
) -> Section:
    if found is None:
        return {}
    known = np.isfinite(found.alphas)
    if not known.all():
        undefined["rolling"] = f"{int((~known).sum())} windows have no regression: a series in them is flat"
    times = found.ends if data.ends is None else data.ends[found.ends]
    section: Section = {
        "window": arguments.rolling_window,
        "every": found.every,
        "ends": times.tolist(),
        "betas": {
            name: [float(value) if math.isfinite(value) else None for value in found.betas[:, place]]
            for place, name in enumerate(data.names)
        },
    }
    if known.any():
        section["range"] = {
            name: [float(column.min()), float(column.max())]
            for name, column in zip(data.names, found.betas[known].T, strict=True)
        }
    return section


def _conventions(arguments: FactorArguments) -> str:
    built_in = arguments.built_in()
    parts = [REGRESSION_CONVENTIONS]
    if built_in:
        parts.append(UNIVERSE_CONVENTIONS)
    if set(built_in) & set(SORTED):
        parts.append(SORTED_CONVENTIONS)
    return ". ".join(parts)
