"""The ``risk_report`` use case: a score with its parts, limits, findings; for programs and for people."""

import asyncio
from typing import Any

from pydantic import Field

from jesse_mcp.analytics.measures import separated
from jesse_mcp.analytics.return_series import ReturnSeries
from jesse_mcp.analytics.risk_score import RULES
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.domain.timeframes import iso_minute
from jesse_mcp.ports.records import TrialLedger
from jesse_mcp.ports.reports import ReportRenderer, ReportStore
from jesse_mcp.services.analysis_source import AnalysisSources, Sample
from jesse_mcp.services.risk_document import document
from jesse_mcp.services.risk_findings import findings_of
from jesse_mcp.services.risk_limits import LimitRow, checked
from jesse_mcp.services.risk_measures import RiskFacts, measured
from jesse_mcp.services.risk_request import RiskArguments, check, invalid
from jesse_mcp.services.trial_history import TrialHistory, history_of

CONVENTIONS = (
    f"{RULES}. Fractions, not percent; losses, falls and drawdowns are positive; balances are those at the "
    "end of each period, lows within one are not seen. Ratios and rates as in analyze_results; var and es: "
    "historical, of one period, order statistic and mean of the tail (Acerbi & Tasche 2002); "
    "deflated_sharpe_ratio as in significance_test, against zero. leverage_used: value of all open trades at "
    "entry over the balance, the highest at any opening; that balance: the first one with the profits of "
    "trades closed by then, beside other open trades the smaller of it and the last balance. "
    "liquidation_distance: isolated 1/leverage - 0.004, cross by leverage_used as one position, spot 1. "
    "Limits: a value equal to the bound keeps it"
)
#: Each holds a thread, and a million points several hundred megabytes.
_AT_ONCE = 2


class RiskReportResult(Value):
    """Fractions, not percent; times UTC."""

    source: str
    score: float | None = Field(description="0 to 100, more is safer")
    rating: str = Field(description="of the risk: low to extreme")
    findings: tuple[str, ...] = Field(description="most important first")
    breaches: tuple[dict[str, Any], ...] = Field(description="broken limits")
    not_checked: tuple[dict[str, Any], ...] = Field(description="limits without a value")
    report: dict[str, Any] | None = Field(
        description="json: span, parts, caps, limits, measures, trials, undefined, conventions"
    )
    markdown: str | None
    # The schema of a file in full would cost every agent more than it tells one.
    html: dict[str, Any] | None = Field(description="file: path, bytes, sha256")


class RiskReportService:
    """Scores, checks limits, and renders."""

    def __init__(
        self,
        sources: AnalysisSources,
        ledger: TrialLedger,
        renderer: ReportRenderer,
        reports: ReportStore,
    ) -> None:
        self._sources = sources
        self._ledger = ledger
        self._renderer = renderer
        self._reports = reports
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def report(self, arguments: RiskArguments) -> RiskReportResult:
        """Report on a source.

        Raises:
            ResearchError: ``invalid_argument`` naming the argument; ``storage_failed``; what loading the
                source raises.
        """
        check(arguments)
        async with self._slots:
            return await asyncio.to_thread(self._reported, arguments)

    def _reported(self, arguments: RiskArguments) -> RiskReportResult:
        sample = self._sources.load(arguments.source)
        history = self._history(sample.record, arguments.trials)
        facts = measured(sample, history, arguments.trials)
        limits = checked(facts, arguments.limits)
        findings = findings_of(facts, limits)
        span = _span(facts.series)
        markdown, html = None, None
        if arguments.format != "json":
            made = document(facts, limits, findings, span, CONVENTIONS)
            if arguments.format == "markdown":
                markdown = self._renderer.markdown(made)
            else:
                html = self._reports.write(_label(sample), self._renderer.html(made))
        return RiskReportResult(
            source=sample.label,
            score=facts.score.score,
            rating=facts.score.rating,
            findings=findings,
            breaches=tuple(row for row in limits if row["status"] == "breached"),
            not_checked=tuple(row for row in limits if row["status"] == "not checked"),
            report=_numbers(facts, limits, span) if arguments.format == "json" else None,
            markdown=markdown,
            html=None if html is None else html.model_dump(),
        )

    def _history(self, record: RunRecord | None, trials: int | None) -> TrialHistory | None:
        if record is None:
            return None
        history = history_of(self._ledger, [record], len(record.outcome.equity) - 1)
        if trials is not None and trials < history.count:
            raise invalid(
                f"trials is {trials:,}, the ledger has {history.count:,} distinct experiments with "
                f"{', '.join(history.families)}",
                f"give at least {history.count:,}, adding what was tried elsewhere, or leave trials out",
            )
        return history


def _label(sample: Sample) -> str:
    if sample.record is not None:
        return sample.record.run_id
    return "returns" if sample.asked is None else "session"


def _span(series: ReturnSeries) -> str | None:
    if series.timestamps is None or not len(series.timestamps):
        return None
    return f"{iso_minute(int(series.timestamps[0]))} to {iso_minute(int(series.timestamps[-1]))}"


def _numbers(facts: RiskFacts, limits: list[LimitRow], span: str | None) -> dict[str, Any]:
    values, undefined = separated(facts.measures)
    score = facts.score
    if score.reason is not None:
        undefined = {"score": score.reason, **undefined}
    return {
        "span": span,
        "periods": len(facts.series.returns),
        "periods_per_year": facts.series.periods_per_year,
        "parts": [
            {
                "part": part.criterion.name,
                "value": part.value,
                "score": part.score,
                "earned": part.earned,
                "points": part.criterion.points,
                "why": part.reason or f"{part.criterion.meaning}: {part.criterion.scale}",
            }
            for part in score.parts
        ],
        "caps": [{"rating": cap.rating, "why": cap.reason} for cap in score.caps],
        "uncapped": score.uncapped,
        "most_possible": score.most_possible,
        "computed": score.computed,
        "limits": limits,
        "measures": values,
        "trials": facts.trials,
        "undefined": undefined,
        "conventions": CONVENTIONS,
    }
