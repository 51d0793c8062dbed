"""A risk report as a document for people."""

from collections.abc import Callable

from jesse_mcp.analytics.risk_criteria import percentage
from jesse_mcp.analytics.risk_score import Part
from jesse_mcp.domain.backtests import BacktestRequest
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.domain.timeframes import iso_date
from jesse_mcp.ports.reports import Block, Report, ReportSection, TextTable, Tone
from jesse_mcp.services.analysis_source import Sample
from jesse_mcp.services.risk_charts import (
    equity_chart,
    months_table,
    returns_chart,
    rolling_chart,
    trades_chart,
)
from jesse_mcp.services.risk_findings import headline
from jesse_mcp.services.risk_limits import LIMITS, LimitRow
from jesse_mcp.services.risk_measures import RiskFacts

_TONES: dict[str, Tone] = {
    "low": "good",
    "moderate": "good",
    "elevated": "fair",
    "high": "bad",
    "extreme": "bad",
    "not rated": "none",
}
#: Measures that are not fractions.
_PLAIN = frozenset(
    {
        "sharpe_ratio",
        "sharpe_standard_error",
        "sharpe_low_95",
        "sharpe_high_95",
        "autocorrelation_adjusted_sharpe",
        "sortino_ratio",
        "omega_ratio",
        "gain_to_pain_ratio",
        "calmar_ratio",
        "recovery_factor",
        "martin_ratio",
        "pain_ratio",
        "drawdown_count",
        "average_drawdown_length",
        "longest_drawdown",
        "longest_drawdown_days",
        "years",
        "years_moved",
        "probabilistic_sharpe_ratio",
        "deflated_sharpe_ratio",
        "deflated_sharpe_moved",
    }
)
_FRACTIONS_OF_TRADES = frozenset(
    {
        "win_rate",
        "win_rate_low_95",
        "win_rate_high_95",
        "largest_win_share",
        "best_trades_share",
        "time_in_market",
        "liquidation_distance",
        "kelly_fraction",
    }
)


def document(
    facts: RiskFacts, limits: list[LimitRow], findings: tuple[str, ...], span: str | None, conventions: str
) -> Report:
    """The report of what was found."""
    sections = [
        ReportSection("Findings", sentences=findings),
        ReportSection("Score", blocks=(_parts(facts),)),
    ]
    if limits:
        sections.append(ReportSection("Limits", blocks=(_limits(limits),)))
    sections += [
        _section("Equity", facts, equity_chart),
        _section("Returns", facts, months_table, returns_chart, rolling_chart),
        _section("Trades", facts, trades_chart),
        ReportSection("Numbers", blocks=_numbers(facts)),
        ReportSection("What this is made of", conventions_of(conventions), _provenance(facts.sample.record)),
    ]
    said = f"{facts.sample.label}, {len(facts.series.returns):,} periods"
    return Report(
        title=f"Risk report: {_name(facts.sample)}",
        subtitle=said if span is None else f"{said}, {span}",
        headline=_capital(headline(facts)),
        tone=_TONES[facts.score.rating],
        sections=tuple(sections),
    )


def conventions_of(text: str) -> tuple[str, ...]:
    """Conventions as sentences."""
    return tuple(f"{part.rstrip('.')}." for part in text.split(". ") if part)


def _section(title: str, facts: RiskFacts, *makers: Callable[[RiskFacts], Block | str]) -> ReportSection:
    blocks: list[Block] = []
    reasons: list[str] = []
    for maker in makers:
        made = maker(facts)
        if isinstance(made, str):
            reasons.append(f"{_WHAT[maker.__name__]} cannot be shown: {made}")
        else:
            blocks.append(made)
    return ReportSection(title, tuple(reasons), tuple(blocks))


_WHAT = {
    "equity_chart": "Equity and drawdown",
    "months_table": "Monthly returns",
    "returns_chart": "The distribution of the returns",
    "rolling_chart": "Rolling Sharpe ratio and volatility",
    "trades_chart": "The profit of the trades",
}


def _parts(facts: RiskFacts) -> TextTable:
    rows = [_part(part) for part in facts.score.parts]
    score = facts.score
    total = "none" if score.score is None else f"{score.score:.1f}"
    why = score.reason or "; ".join(f"at most {cap.rating}: {cap.reason}" for cap in score.caps)
    earned = f"{sum(part.earned for part in score.parts):.1f} of 100"
    rows.append(("Total", "", total, earned, why))
    return TextTable(
        "Parts of the score", ("Part", "Value", "Score", "Points", "Scale, or why there is none"), tuple(rows)
    )


def _part(part: Part) -> tuple[str, ...]:
    criterion = part.criterion
    name = f"{criterion.name}: {criterion.meaning}"
    points = f"{part.earned:.1f} of {criterion.points:g}"
    if part.value is None or part.score is None:
        return name, "not computed", "none", points, part.reason or ""
    return name, criterion.shown(part.value), f"{part.score:.0f}", points, criterion.scale


def _limits(limits: list[LimitRow]) -> TextTable:
    rows = []
    for row in limits:
        bound = f"{'at least' if LIMITS[row['limit']].least else 'at most'} {row['bound']:.6g}"
        value = "not computed" if row["value"] is None else f"{row['value']:.6g}"
        since = row.get("reason") or " ".join(
            str(part) for part in (row.get("since"), row.get("where")) if part
        )
        rows.append((row["limit"], bound, value, row["status"], since))
    return TextTable(
        "Limits", ("Limit", "Allowed", "Measured", "Result", "Since when, or why not"), tuple(rows)
    )


def _numbers(facts: RiskFacts) -> tuple[TextTable, ...]:
    tables = [_measures("Returns and risk", facts, of_trades=False)]
    if facts.table is not None:
        tables.append(_measures("Trades", facts, of_trades=True))
    return tuple(tables)


def _measures(title: str, facts: RiskFacts, *, of_trades: bool) -> TextTable:
    rows = []
    for name, measure in (facts.trades if of_trades else facts.returns).items():
        fraction = name in _FRACTIONS_OF_TRADES if of_trades else name not in _PLAIN
        value = measure.reason or "not computed"
        if measure.value is not None:
            value = percentage(measure.value, 2) if fraction else f"{measure.value:,.6g}"
        rows.append((name, value))
    return TextTable(title, ("Measure", "Value, or why there is none"), tuple(rows))


def _provenance(record: RunRecord | None) -> tuple[Block, ...]:
    if record is None:
        return ()
    request = BacktestRequest.model_validate(record.request)
    routes = ", ".join(f"{route.strategy} on {route.symbol} {route.timeframe}" for route in request.routes)
    rows = [
        ("run", record.run_id),
        ("title", record.title or "none"),
        ("created", record.created_at),
        ("routes", routes),
        ("exchange", f"{request.exchange} ({request.exchange_type})"),
        ("period", f"{iso_date(request.start_ms)} to {iso_date(request.end_ms)}, the end excluded"),
        ("starting balance", f"{request.starting_balance:,.6g}"),
        ("fee", f"{request.fee:.4%}"),
        ("leverage", f"{request.leverage}, {request.leverage_mode}"),
        (
            "hyperparameters",
            ", ".join(f"{k}={v}" for k, v in record.outcome.hyperparameters.items()) or "none",
        ),
        ("code", record.code_hash),
        *(("candles", f"{name}: {digest}") for name, digest in sorted(record.candle_hashes.items())),
        ("engine", ", ".join(f"{k} {v}" for k, v in record.outcome.engine.items())),
    ]
    return (TextTable("Provenance", ("What", "Value"), tuple(rows)),)


def _name(sample: Sample) -> str:
    record = sample.record
    if record is None:
        return sample.label
    return record.title or f"{', '.join(record.strategies)} on {', '.join(record.symbols)}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
