"""The tables of a value-at-risk answer: rolling tests, and the parts of a portfolio."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jesse_mcp.analytics.risk_contributions import Contributions, contributions
from jesse_mcp.analytics.rolling_value_at_risk import Fits, RiskMethod, rolling_forecasts
from jesse_mcp.analytics.var_backtests import ForecastTest, LikelihoodRatio, forecast_test
from jesse_mcp.services.analysis_source import Components, Sample

Row = dict[str, Any]

#: A p-value below this rejects a method.
TEST_LEVEL = 0.05
_RATIOS = ("kupiec", "independence", "conditional_coverage", "first_failure")


def backtests(
    sample: Sample,
    methods: Sequence[RiskMethod],
    confidences: Sequence[float],
    window: int,
    told: Callable[[RiskMethod], None],
) -> list[Row]:
    """Out-of-sample tests, one row a method and confidence.

    Args:
        told: called before each method.
    """
    series, rows = sample.series, []
    fits: Fits = {}
    # The traffic light is for days, of which exchanges have 250 a year and markets that never close 365.
    daily = 250 <= series.periods_per_year <= 366
    for method in methods:
        told(method)
        found = rolling_forecasts(method, series.returns, confidences, window, fits)
        realised = series.returns[found.first :]
        for at, confidence in enumerate(confidences):
            row: Row = {"method": method, "confidence": confidence}
            reason = sample.reason or found.reasons[at]
            if reason is not None:
                rows.append({**row, "forecasts": 0, "undefined": {"all": reason}})
                continue
            test = forecast_test(realised, found.var[at], found.es[at], confidence, daily=daily)
            rows.append(row | _tested(test, len(realised), found.remark))
    return rows


def _tested(test: ForecastTest, possible: int, remark: str | None) -> Row:
    undefined: dict[str, str] = {}
    row: Row = {
        "forecasts": test.forecasts,
        "exceedances": test.exceedances,
        "expected": test.expected,
    }
    for name in _RATIOS:
        ratio: LikelihoodRatio = getattr(test, name)
        row[name] = {"statistic": ratio.statistic, "p_value": ratio.p_value}
        if ratio.reason is not None:
            undefined[name] = ratio.reason
    row["traffic_light"] = test.traffic_light.zone
    row["acerbi_szekely_z2"] = test.shortfall.z2
    if test.traffic_light.reason is not None:
        undefined["traffic_light"] = test.traffic_light.reason
    if test.shortfall.reason is not None:
        undefined["acerbi_szekely_z2"] = test.shortfall.reason
    if test.forecasts < possible:
        undefined["forecasts"] = f"{possible - test.forecasts} of {possible} periods have no forecast"
    row["rejected_by"] = [
        name for name in _RATIOS if row[name]["p_value"] is not None and row[name]["p_value"] < TEST_LEVEL
    ]
    return row | {"undefined": undefined, "remark": remark}


def parts(components: Components, periods: int, confidences: Sequence[float]) -> list[Row]:
    """What each symbol adds to the risk of one period, one row a basis and confidence.

    Args:
        periods: of the components, the first so many count.
    """
    rows: list[Row] = []
    for basis in ("historical", "gaussian"):
        for confidence in confidences:
            row: Row = {"basis": basis, "confidence": confidence}
            found = contributions(
                components.weights,
                components.returns[:periods],
                confidence,
                "historical" if basis == "historical" else "gaussian",
            )
            rows.append(
                row | {"undefined": {"all": found}}
                if isinstance(found, str)
                else row | _shown(components, found)
            )
    return rows


def _shown(components: Components, found: Contributions) -> Row:
    total, undefined = found.total, dict(found.total.undefined)
    share = None if not total.es else found.es / total.es
    if share is None:
        undefined["es_share"] = "the expected shortfall of the portfolio is zero or has no value"
    symbols = {}
    for at, symbol in enumerate(components.symbols):
        alone = found.alone[at]
        undefined |= {f"{symbol}.{name}_alone": reason for name, reason in alone.undefined.items()}
        symbols[symbol] = {
            "weight": float(components.weights[at]),
            "var": float(found.var[at]),
            "es": float(found.es[at]),
            "es_share": _finite(share, at),
            "marginal_var": float(found.marginal_var[at]),
            "marginal_es": float(found.marginal_es[at]),
            "var_alone": alone.var,
            "es_alone": alone.es,
        }
    return {"var": total.var, "es": total.es, "symbols": symbols, "undefined": undefined}


def _finite(values: Any, at: int) -> float | None:
    return None if values is None or not np.isfinite(values[at]) else float(values[at])
