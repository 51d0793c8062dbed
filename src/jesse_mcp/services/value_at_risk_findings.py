"""What values at risk say in plain words."""

from collections.abc import Sequence
from typing import Any

from jesse_mcp.analytics.tail_risk import tail_size
from jesse_mcp.services.analysis_source import Sample
from jesse_mcp.services.value_at_risk_estimates import Estimate
from jesse_mcp.services.value_at_risk_sections import Row

_ROUGH_TAIL = 5
_FAR_APART = 1.5
_MOSTLY_FLAT = 0.5
#: Of the loss, from which on the gain that is expected beside it has to be said.
_NOTABLE_DRIFT = 0.2


def findings_of(
    sample: Sample,
    found: Sequence[Estimate],
    value: float | None,
    models: dict[str, Any],
    tests: Sequence[Row],
    portfolio: Sequence[Row],
) -> list[str]:
    """Sentences tied to the numbers, the loss first."""
    if sample.reason is not None:
        return [f"there is no risk to measure: {sample.reason}"]
    return [
        *_on_the_loss(found, value),
        *_on_longer(sample, found),
        *_on_agreement(found),
        *_on_the_sample(sample, found),
        *_on_horizons(found),
        *_on_gaps(found),
        *_on_models(models, len(sample.series.returns)),
        *_on_tests(tests),
        *_on_parts(portfolio),
    ]


def _on_the_loss(found: Sequence[Estimate], value: float | None) -> list[str]:
    first = next((one for one in found if one.tail.var is not None and one.tail.es is not None), None)
    if first is None or first.tail.var is None or first.tail.es is None:
        return ["no method has an answer; undefined says why"]
    var, es = first.tail.var, first.tail.es
    span = "the next period" if first.horizon == 1 else f"the next {first.horizon} periods"
    if var <= 0:
        return [f"{first.method}: even at {first.confidence:.10g} confidence {span} has a gain of {-var:.2%}"]
    money = "" if value is None else f" ({var * value:,.2f})"
    lines = [
        f"{first.method}: with {first.confidence:.10g} confidence {span} loses no more than "
        f"{var:.2%}{money}, and {es:.2%} on average when it does"
    ]
    beyond = sorted({one.method for one in found if one.tail.var is not None and one.tail.var > 1})
    if beyond:
        lines.append(f"{', '.join(beyond)}: a loss above everything, since the formula has no floor at ruin")
    return lines


def _on_longer(sample: Sample, found: Sequence[Estimate]) -> list[str]:
    """The horizons after the first, which is in the first sentence."""
    confidence = found[0].confidence
    lines = []
    for horizon in sorted({one.horizon for one in found} - {found[0].horizon}):
        known = [
            (one.tail.var, one.method)
            for one in found
            if one.horizon == horizon and one.confidence == confidence and one.tail.var is not None
        ]
        if not known:
            continue
        (low, calm), (high, grim) = min(known), max(known)
        said = f"{high:.2%} ({grim})" if low == high else f"{low:.2%} ({calm}) to {high:.2%} ({grim})"
        drift = horizon * float(sample.series.returns.mean())
        lines.append(f"over {horizon} periods at {confidence:.10g}: a loss of {said}")
        if drift > _NOTABLE_DRIFT * high > 0:
            lines[-1] += (
                f"; the mean return of the sample makes {drift:+.2%} in that time, and lower estimates count "
                "on its going on"
            )
    return lines


def _on_agreement(found: Sequence[Estimate]) -> list[str]:
    horizon, confidence = min(one.horizon for one in found), max(one.confidence for one in found)
    known = [
        (one.tail.var, one.method)
        for one in found
        if one.horizon == horizon and one.confidence == confidence and one.tail.var is not None
    ]
    if len(known) < 2:
        return []
    (low, calm), (high, grim) = min(known), max(known)
    if low <= 0 or high < _FAR_APART * low:
        return []
    return [
        f"the methods are far apart at {confidence:.10g} over {horizon}: from {low:.2%} ({calm}) to "
        f"{high:.2%} ({grim}); a rolling test (backtest=true) tells which held"
    ]


def _on_the_sample(sample: Sample, found: Sequence[Estimate]) -> list[str]:
    returns, lines = sample.series.returns, []
    flat = float((returns == 0).mean()) if len(returns) else 0.0
    if flat > _MOSTLY_FLAT:
        lines.append(
            f"{flat:.0%} of the returns are zero: the quantiles are mostly of periods without a position"
        )
    confidence = max(one.confidence for one in found)
    beyond = tail_size(len(returns), confidence)
    if 1 <= beyond < _ROUGH_TAIL and any(one.method == "historical" for one in found):
        lines.append(
            f"{len(returns)} returns have {beyond:.3g} beyond {confidence:.10g}: quantiles of the sample are "
            "rough there"
        )
    return lines


def _on_horizons(found: Sequence[Estimate]) -> list[str]:
    by_root: dict[str, set[int]] = {}
    for one in found:
        if one.basis == "square_root_of_time" and one.tail.var is not None:
            by_root.setdefault(one.method, set()).add(one.horizon)
    lines = [
        f"{method} over {', '.join(map(str, sorted(horizons)))} periods is one period by the square root of "
        "time: an assumption, not a measurement"
        for method, horizons in by_root.items()
        if method != "historical"
    ]
    if "historical" in by_root:
        spans = ", ".join(map(str, sorted(by_root["historical"])))
        lines.append(
            f"there are too few returns for windows of {spans} periods: historical is one period by the "
            "square root of time there, an assumption"
        )
    return lines


def _on_gaps(found: Sequence[Estimate]) -> list[str]:
    """The first reason of each method: the others are beside their numbers."""
    reasons: dict[str, str] = {}
    for one in found:
        if one.tail.var is None:
            reasons.setdefault(one.method, one.tail.undefined["var"])
    return [
        f"{', '.join(method for method in reasons if reasons[method] == reason)}: "
        f"{'no answer' if _silent(found, reason) else 'not every answer'}, {reason}"
        for reason in dict.fromkeys(reasons.values())
    ]


def _silent(found: Sequence[Estimate], reason: str) -> bool:
    """Whether every method that has this reason has no number at all."""
    methods = {one.method for one in found if one.tail.undefined.get("var") == reason}
    return all(one.tail.var is None for one in found if one.method in methods)


def _on_models(models: dict[str, Any], periods: int) -> list[str]:
    lines = []
    for method, fitted in models.items():
        if fitted["fitted_to_last"] < periods:
            lines.append(
                f"{method} is fitted to the last {fitted['fitted_to_last']:,} of {periods:,} returns"
            )
        if "remark" in fitted:
            lines.append(f"{method}: {fitted['remark']}")
    return lines


def _on_tests(tests: Sequence[Row]) -> list[str]:
    lines, held = [], []
    untested: dict[str, list[str]] = {}
    for row in tests:
        name = f"{row['method']} at {row['confidence']:.10g}"
        if not row["forecasts"]:
            reason = row["undefined"].get("all") or row["remark"] or "no forecast could be made"
            untested.setdefault(reason, []).append(name)
        elif row["rejected_by"]:
            lines.append(_on_rejection(name, row))
        else:
            held.append(name)
    if held:
        lines.append(f"not rejected out of sample: {', '.join(held)}")
    lines += [f"could not be tested: {', '.join(names)}: {reason}" for reason, names in untested.items()]
    gaps = dict.fromkeys(
        f"{row['method']}: {row['undefined']['forecasts']}, and its tests do not know of those"
        for row in tests
        if row["forecasts"] and "forecasts" in row["undefined"]
    )
    lines += gaps
    fewest = min((row["expected"] for row in tests if row["forecasts"]), default=_ROUGH_TAIL)
    if fewest < _ROUGH_TAIL:
        lines.append(f"some tests expect {fewest:.1f} exceedances: with so few, they rarely reject anything")
    return lines


def _on_rejection(name: str, row: Row) -> str:
    rate = row["exceedances"] / row["expected"]
    told = "too low" if rate > 1 else "too high, not too low,"
    tests = ", ".join(row["rejected_by"])
    side = f"it was {told} " if "kupiec" in row["rejected_by"] else ""
    return (
        f"{name} is rejected by {tests}: {side}with {row['exceedances']} losses beyond it in "
        f"{row['forecasts']} forecasts, {row['expected']:.1f} expected"
    )


def _on_parts(portfolio: Sequence[Row]) -> list[str]:
    row = next((row for row in portfolio if "symbols" in row), None)
    if row is None:
        return []
    shares = [(parts["es_share"], name, parts) for name, parts in row["symbols"].items()]
    known = [share for share in shares if share[0] is not None]
    if not known:
        return []
    share, name, parts = max(known, key=lambda one: one[0])
    return [
        f"{name} with weight {parts['weight']:.2f} makes {share:.0%} of the {row['basis']} expected "
        f"shortfall at {row['confidence']:.10g}"
    ]
