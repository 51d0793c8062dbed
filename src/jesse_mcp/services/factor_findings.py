"""What the numbers of a factor analysis say, in plain sentences."""

import numpy as np

from jesse_mcp.services.factor_alignment import AlignedFactors
from jesse_mcp.services.factor_evidence import FactorEvidence
from jesse_mcp.services.factor_request import SORTED, FactorArguments

#: Usual rules of thumb: Kutner et al., "Applied linear statistical models", 5th edition, 2005, for the
#: variance inflation; Belsley, Kuh & Welsch, 1980, for the condition number.
_HIGH_INFLATION = 10.0
_HIGH_CONDITION = 30.0
_FEW_A_COEFFICIENT = 10
_DEPENDENT = 0.5
#: Of the periods; with more lags t and its interval are far from their distribution: at this share the 5 %
#: point of t is 2.26 instead of 1.96, with as many lags as periods 4.8. Kiefer & Vogelsang, "A new
#: asymptotic theory for heteroskedasticity-autocorrelation robust tests", Econometric Theory 21(6), 2005.
_MANY_LAGS = 0.1
_MOST = 0.5
_LITTLE = 0.1


def findings_of(
    arguments: FactorArguments, data: AlignedFactors, found: FactorEvidence, per_year: float
) -> list[str]:
    """What matters most first: whether anything is left when the factors are taken out."""
    level = 1 - arguments.confidence
    return [
        _on_alpha(found, level, per_year),
        *_on_skill(data, found, level),
        _on_risk(data, found),
        *_on_rolling(data, found),
        *_on_likeness(data, found),
        *_on_sample(data, found),
        *_on_arguments(arguments, data),
    ]


def _on_alpha(found: FactorEvidence, level: float, per_year: float) -> str:
    alpha = found.regression.alpha
    if alpha.p is None or alpha.low is None or alpha.high is None:
        return f"the factors explain the returns exactly; alpha is {alpha.value * per_year:.3g} a year"
    numbers = (
        f"{alpha.value * per_year:.1%} a year ({100 * (1 - level):g} % interval {alpha.low * per_year:.1%} "
        f"to {alpha.high * per_year:.1%}, p = {alpha.p:.3f})"
    )
    if alpha.p >= level:
        return f"no alpha is shown: what is left when the factors are taken out is {numbers}"
    if alpha.value < 0:
        return f"alpha is negative: after the factors it lost {numbers}"
    return (
        f"alpha is {numbers}: these factors do not explain it; others might, and luck among many variants is "
        "not allowed for (significance_test does that)"
    )


def _on_skill(data: AlignedFactors, found: FactorEvidence, level: float) -> list[str]:
    parts, alpha = found.attribution, found.regression.alpha
    if parts.shares is None or parts.mean <= 0:
        return []
    if alpha.p is not None and alpha.p < level and alpha.value > 0:
        return []
    best = int(np.argmax(parts.contributions))
    beta = found.regression.betas[best]
    if parts.shares[best] < _MOST or (beta.p is not None and beta.p >= level):
        return []
    name = data.names[best]
    return [
        f"what looks like skill is {name} exposure: {parts.shares[best]:.0%} of the mean return is {name} "
        f"(beta {beta.value:.2f})"
    ]


def _on_risk(data: AlignedFactors, found: FactorEvidence) -> str:
    explained = found.regression.r_squared
    best = int(np.argmax(found.risk.shares))
    sentence = f"the factors explain {explained:.0%} of the variance"
    if explained < _LITTLE:
        return f"{sentence}: the risk is mostly its own, or of factors that are not here"
    return f"{sentence}, {data.names[best]} most of it ({found.risk.shares[best]:.0%})"


def _on_rolling(data: AlignedFactors, found: FactorEvidence) -> list[str]:
    if found.rolling is None:
        return []
    known = found.rolling.betas[np.isfinite(found.rolling.alphas)]
    sentences = []
    for name, column in zip(data.names, known.T, strict=True):
        if len(column) and column.min() < 0 < column.max():
            sentences.append(
                f"the beta on {name} changed sign: {column.min():.2f} to {column.max():.2f} in rolling "
                "windows"
            )
    return sentences


def _on_likeness(data: AlignedFactors, found: FactorEvidence) -> list[str]:
    one = found.regression
    alike = [
        f"{name} ({vif:.0f})" for name, vif in zip(data.names, one.vif, strict=True) if vif > _HIGH_INFLATION
    ]
    if alike:
        return [
            f"factors are hard to tell apart, by variance inflation: {', '.join(alike)}; their sum is better "
            "known than each"
        ]
    if one.condition_number > _HIGH_CONDITION:
        return [f"the condition number is {one.condition_number:.0f}: factors are nearly collinear"]
    return []


def _on_sample(data: AlignedFactors, found: FactorEvidence) -> list[str]:
    one, n = found.regression, len(data.returns)
    sentences = []
    if n < _FEW_A_COEFFICIENT * (len(data.names) + 1):
        sentences.append(
            f"{n} periods for {len(data.names)} factors are few: errors of Newey and West are too small then"
        )
    if one.durbin_watson is not None and abs(one.durbin_watson - 2) > _DEPENDENT:
        sentences.append(
            f"residuals depend on those before (Durbin-Watson {one.durbin_watson:.2f}); the errors allow for "
            f"{one.hac_lags} lags of it"
        )
    if data.dropped:
        inside = (
            f", {data.inside:,} of them inside, which the lags of the errors take for neighbours"
            if data.inside
            else ""
        )
        sentences.append(
            f"{data.dropped:,} periods of the source were left out, since a factor has no return in "
            f"them{inside}"
        )
    return sentences


def _on_arguments(arguments: FactorArguments, data: AlignedFactors) -> list[str]:
    sentences = []
    n, lags, universe = len(data.returns), arguments.hac_lags, arguments.universe
    if lags is not None and lags > _MANY_LAGS * n:
        sentences.append(
            f"hac_lags is {lags} of {n} periods: with so many, errors come out too small and p-values too low"
        )
    if universe is not None and not set(arguments.built_in()) & set(SORTED):
        unused = sorted({"formation_days", "rebalance_days"} & universe.model_fields_set)
        if unused:
            sentences.append(
                f"{' and '.join(unused)}: no use was made of it, as no factor here sorts symbols"
            )
    return sentences
