"""What a factor analysis computes, before it is put into words."""

from dataclasses import dataclass

from jesse_mcp.analytics.factor_attribution import (
    Attribution,
    RiskSplit,
    RollingBetas,
    attribution,
    risk_split,
    rolling_betas,
)
from jesse_mcp.analytics.factor_regression import FactorRegression, factor_regression, why_no_regression
from jesse_mcp.services.factor_alignment import AlignedFactors
from jesse_mcp.services.factor_request import FactorArguments, invalid
from jesse_mcp.services.stoppable import Checkpoint

MOST_WINDOWS = 100


@dataclass(frozen=True)
class FactorEvidence:
    """Everything found, before it is put into words."""

    regression: FactorRegression
    attribution: Attribution
    risk: RiskSplit
    rolling: RollingBetas | None


def gathered(arguments: FactorArguments, data: AlignedFactors, checkpoint: Checkpoint) -> FactorEvidence:
    """Compute.

    Raises:
        ResearchError: ``invalid_argument`` when the data have no regression, or ``rolling_window`` or
            ``hac_lags`` does not fit into them.
    """
    n, k = data.factors.shape
    why = why_no_regression(data.returns, data.factors, data.names)
    if why is not None:
        raise invalid(why, _what_to_do(data))
    window, lags = arguments.rolling_window, arguments.hac_lags
    if window is not None and not k + 2 <= window <= n:
        raise invalid(f"rolling_window is {window}", f"give {k + 2} to {n} periods")
    if lags is not None and lags >= n:
        raise invalid(f"hac_lags is {lags} with {n} periods", f"give less than {n}")
    found = factor_regression(data.returns, data.factors, hac_lags=lags, confidence=arguments.confidence)
    checkpoint()
    return FactorEvidence(
        regression=found,
        attribution=attribution(data.returns, data.factors, found),
        risk=risk_split(data.returns, data.factors, found),
        rolling=None
        if window is None
        else rolling_betas(data.returns, data.factors, window, MOST_WINDOWS, checkpoint),
    )


def _what_to_do(data: AlignedFactors) -> str:
    if data.dropped:
        lacking = ", ".join(f"{name} {count:,}" for name, count in data.missing.items() if count)
        return (
            f"{data.dropped:,} periods of the source were left out, since a factor has no return in them "
            f"({lacking}): see candles_available, or give other factors"
        )
    return "give fewer or other factors, or a longer source"
