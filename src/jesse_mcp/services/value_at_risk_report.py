"""Value at risk as an answer: one row a method, confidence and horizon, and what they say in plain words."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from jesse_mcp.analytics.filtered_simulation import SIMULATIONS
from jesse_mcp.domain.model import Value
from jesse_mcp.services.analysis_source import Sample
from jesse_mcp.services.value_at_risk_estimates import Estimate
from jesse_mcp.services.value_at_risk_findings import findings_of
from jesse_mcp.services.value_at_risk_request import VarArguments
from jesse_mcp.services.value_at_risk_sections import TEST_LEVEL, Row

CONVENTIONS = (
    "var: loss that is not exceeded with this confidence; es: mean loss of the tail beyond it (Acerbi & "
    "Tasche 2002), never below var; losses are positive. historical: order statistic, not interpolated; "
    "needs one return beyond the confidence. gaussian: ddof=1. cornish_fisher: moments of the sample (g1, "
    "g2), within the domain of Maillard 2012; modified_es: Boudt, Peterson & Croux 2008. ewma: RiskMetrics, "
    "decay 0.94, mean zero. garch_*: GARCH(1,1), constant mean. filtered_historical: residuals of "
    "garch_normal (Barone-Adesi 1999). volatility_weighted: Hull & White 1998, EWMA. monte_carlo_*: "
    f"independent returns of the fitted distribution. Simulations: {SIMULATIONS:,} paths, compounded, "
    "var_error and es_error their standard errors. horizon_by: overlapping windows compounded; "
    "independent_sum adds means and variances (and cumulants) of independent periods; square_root_of_time "
    "assumes independent normal periods of mean zero. backtest: forecasts of one period out of sample; "
    "kupiec and first_failure 1995, independence and conditional_coverage Christoffersen 1998, rejected_by "
    f"at p < {TEST_LEVEL:g}; traffic_light Basel 1996; acerbi_szekely_z2 2014 is 0 for right forecasts, "
    "negative when losses beyond var are larger than es. contributions: Euler, sum to var and es of the "
    "portfolio"
)


class VarResult(Value):
    """Fractions of the value at risk, not percent."""

    source: str
    periods: int
    periods_per_year: float
    value: float | None
    risks: tuple[Row, ...]
    models: dict[str, Any]
    backtest: tuple[Row, ...]
    contributions: tuple[Row, ...]
    undefined: dict[str, str]
    conventions: str
    findings: tuple[str, ...] = Field(description="plain sentences")


def report(
    arguments: VarArguments,
    sample: Sample,
    found: Sequence[Estimate],
    models: dict[str, Any],
    tests: list[Row],
    portfolio: list[Row],
) -> VarResult:
    """Describe what was computed."""
    value, no_value = money_at_risk(arguments, sample)
    undefined: dict[str, str] = {}
    if no_value is not None:
        undefined["value"] = no_value
    if not arguments.backtest:
        undefined["backtest"] = "not asked for: backtest=true"
    if not portfolio:
        undefined["contributions"] = "of a market with several symbols only"
    return VarResult(
        source=sample.label,
        periods=len(sample.series.returns),
        periods_per_year=sample.series.periods_per_year,
        value=value,
        risks=tuple(_row(estimate, sample.reason, value) for estimate in found),
        models=models,
        backtest=tuple(tests),
        contributions=tuple(portfolio),
        undefined=undefined,
        conventions=CONVENTIONS,
        findings=(*findings_of(sample, found, value, models, tests, portfolio), *sample.remarks),
    )


def money_at_risk(arguments: VarArguments, sample: Sample) -> tuple[float | None, str | None]:
    """In the quote currency, or why there is none."""
    if arguments.value is not None:
        return arguments.value, None
    if sample.request is None and arguments.source.balances is None:
        return None, "returns and prices have no money: give value"
    if not len(sample.series.balances):
        return None, sample.reason or "there is no balance"
    last = float(sample.series.balances[-1])
    return (last, None) if last > 0 else (None, "nothing is left to lose: the last balance is zero")


def _row(estimate: Estimate, reason: str | None, value: float | None) -> Row:
    tail = estimate.tail
    row: Row = {
        "method": estimate.method,
        "confidence": estimate.confidence,
        "horizon": estimate.horizon,
        "horizon_by": estimate.basis,
        "var": tail.var,
        "es": tail.es,
        "var_money": _money(tail.var, value),
        "es_money": _money(tail.es, value),
    }
    if estimate.method == "cornish_fisher":
        row["modified_es"] = estimate.modified_es
    if tail.var_error is not None:
        row |= {"var_error": tail.var_error, "es_error": tail.es_error}
    if tail.undefined:
        row["undefined"] = {name: reason or why for name, why in tail.undefined.items()}
    return row


def _money(fraction: float | None, value: float | None) -> float | None:
    return None if fraction is None or value is None else fraction * value
