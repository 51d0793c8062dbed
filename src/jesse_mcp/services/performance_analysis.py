"""How a run, or any series of returns, performed: ours, Jesse's beside it, and what both say."""

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from jesse_mcp.analytics.drawdown_ratios import drawdown_ratios
from jesse_mcp.analytics.drawdowns import drawdown_summary
from jesse_mcp.analytics.measures import Measure, separated
from jesse_mcp.analytics.performance import performance
from jesse_mcp.analytics.return_series import ReturnSeries
from jesse_mcp.analytics.sharpe_uncertainty import (
    annual_sharpe_error,
    autocorrelation_adjusted_sharpe,
    normal_interval,
)
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.domain.timeframes import iso_minute
from jesse_mcp.ports.candle_store import CandleStore
from jesse_mcp.services.analysis_source import AnalysisSources, Sample
from jesse_mcp.services.jesse_comparison import disagreements, jesse_section
from jesse_mcp.services.pair_legs import SIMULATED, made_by_jesse
from jesse_mcp.services.performance_findings import findings_of
from jesse_mcp.services.performance_request import PerformanceArguments, PerformanceSection, check
from jesse_mcp.services.performance_sections import (
    Section,
    benchmark_section,
    calendar_section,
    distribution_section,
    drawdowns_section,
    intervals_section,
    rolling_section,
)
from jesse_mcp.services.performance_trades import (
    excursions_section,
    hours_of,
    trade_measures,
    trade_table,
    trades_section,
)
from jesse_mcp.services.run_candles import RunCandles, TradedCandles

CONVENTIONS = (
    "fractions, not percent; money in the quote currency; simple returns of successive balances. Annual: "
    "times periods_per_year, annual_return compounded. Standard deviations have ddof=1, "
    "downside_deviation is over all n; risk_free_rate (a year) is taken off in Sharpe, Martin and pain "
    "ratio, target_return (a year) in Sortino and omega. sharpe_standard_error: Mertens 2002, independent"
    " returns; interval normal. autocorrelation_adjusted_sharpe: Lo 2002, lags of Newey-West. Drawdowns "
    "are positive, from the highest balance so far, the first included; lengths in periods; cdar at 95 %."
    " Trades: profit after fees; win_rate of all trades, Wilson interval; holding in seconds. Quantiles "
    "type 7; moments divided by n. intervals: stationary bootstrap, percentile, [low, median, high]. "
    "Excursions are fractions of the entry price"
)
#: Beside returns and ratios these say what they are of.
_DRAWDOWN_NAMES = {
    "drawdowns": "drawdown_count",
    "average_length": "average_drawdown_length",
    "longest": "longest_drawdown",
}
_OF_TRADES = frozenset({"trades", "excursions"})
_UNKNOWN_TRADES = "the source does not know of trades"


class PerformanceResult(Value):
    """Times UTC."""

    source: str
    periods: int
    periods_per_year: float
    span: str | None
    performance: dict[str, float | None]
    jesse: dict[str, Any] | None = Field(description="verbatim")
    sections: dict[str, dict[str, Any]]
    disagreements: tuple[dict[str, Any], ...] = Field(description="of the two, and why")
    undefined: dict[str, str] = Field(description="why one is null")
    conventions: str
    findings: tuple[str, ...]


class PerformanceService:
    """The ``analyze_results`` use case."""

    def __init__(self, sources: AnalysisSources, candles: CandleStore) -> None:
        self._sources = sources
        self._candles = RunCandles(candles)

    async def analyse(self, arguments: PerformanceArguments) -> PerformanceResult:
        """Measure a source.

        Raises:
            ResearchError: ``invalid_argument`` naming the argument; what loading the source raises.
        """
        check(arguments)
        return await asyncio.to_thread(self._analysed, arguments)

    def _analysed(self, arguments: PerformanceArguments) -> PerformanceResult:
        sample = self._sources.load(arguments.source)
        series = sample.series
        measures = performance_measures(series, arguments)
        if sample.reason is not None:
            measures = dict.fromkeys(measures, Measure(None, sample.reason))
        trades = _trade_measures(sample)
        values, undefined = separated(measures)
        sections: dict[str, dict[str, Any]] = {}
        for name in arguments.sections:
            section, lacking = self._section(name, sample, arguments)
            if section:
                sections[name] = section
            # Trades are a section nobody has to ask for.
            if section or arguments.include is not None:
                undefined |= lacking
        findings = findings_of(series, measures, trades)
        if sample.reason is not None:
            findings.insert(0, f"the returns could not be analysed: {sample.reason}")
        record = sample.record
        if record is not None and not made_by_jesse(record):
            record, undefined["jesse"] = None, SIMULATED
        return PerformanceResult(
            source=sample.label,
            periods=len(series.returns),
            periods_per_year=series.periods_per_year,
            span=_span(series),
            performance=values,
            jesse=None if record is None else dict(record.outcome.metrics),
            sections=sections,
            disagreements=(
                ()
                if record is None
                else disagreements({**measures, **(trades or {})}, record, arguments, ruined=series.ruined)
            ),
            undefined=undefined,
            conventions=CONVENTIONS,
            findings=(*findings, *sample.remarks),
        )

    def _section(self, name: PerformanceSection, sample: Sample, arguments: PerformanceArguments) -> Section:
        if name in _OF_TRADES:
            return self._of_trades(name, sample)
        if name == "jesse":
            return _of_jesse(sample.record)
        if sample.reason is not None:
            return {}, {name: sample.reason}
        return self._of_returns(name, sample, arguments)

    def _of_trades(self, name: PerformanceSection, sample: Sample) -> Section:
        request = sample.request
        if sample.trades is None or request is None:
            return {}, {name: _UNKNOWN_TRADES}
        if name == "trades":
            return _prefixed(name, trades_section(trade_table(sample.trades), request))
        if sample.record is None:
            return {}, {name: "the session has no run yet: its run has them when it has ended"}
        return excursions_section(sample.trades, self._candles.of(sample.record))

    def _of_returns(
        self, name: PerformanceSection, sample: Sample, arguments: PerformanceArguments
    ) -> Section:
        series = sample.series
        if name == "drawdowns":
            return drawdowns_section(series)
        if name == "rolling":
            return rolling_section(series, arguments.rolling_window)
        if name == "distribution":
            return distribution_section(series)
        if name == "intervals":
            return intervals_section(series, arguments)
        if name == "benchmark":
            return benchmark_section(series, arguments, self._traded(sample, arguments))
        section, lacking = calendar_section(series)
        if sample.trades:
            section["hours"] = hours_of(trade_table(sample.trades))
        return section, lacking

    def _traded(self, sample: Sample, arguments: PerformanceArguments) -> TradedCandles | None:
        if sample.record is None or arguments.benchmark_returns is not None:
            return None
        return self._candles.of(sample.record)


def performance_measures(series: ReturnSeries, arguments: PerformanceArguments) -> dict[str, Measure]:
    """The headline of any series: return, risk, ratios, the certainty of the Sharpe ratio, drawdowns."""
    returns, year, free = series.returns, series.periods_per_year, arguments.risk_free_rate
    found = performance(returns, year, free, arguments.target_return)
    error = annual_sharpe_error(returns, year, free)
    interval = normal_interval(found["sharpe_ratio"], error)
    why = error.reason or found["sharpe_ratio"].reason
    low, high = (None, None) if interval is None else interval
    return {
        **found,
        "sharpe_standard_error": error,
        "sharpe_low_95": Measure(low, why),
        "sharpe_high_95": Measure(high, why),
        "autocorrelation_adjusted_sharpe": autocorrelation_adjusted_sharpe(returns, year, free),
        **drawdown_ratios(returns, year, free),
        **{
            _DRAWDOWN_NAMES.get(name, name): value
            for name, value in drawdown_summary(series.balances).items()
        },
    }


def _trade_measures(sample: Sample) -> Mapping[str, Measure] | None:
    request = sample.request
    if sample.trades is None or request is None:
        return None
    return trade_measures(trade_table(sample.trades), request)


def _of_jesse(record: RunRecord | None) -> Section:
    if record is None:
        return {}, {"jesse": "the source is no run"}
    return jesse_section(record) if made_by_jesse(record) else ({}, {"jesse": SIMULATED})


def _prefixed(name: str, section: Section) -> Section:
    values, undefined = section
    return values, {f"{name}.{key}": reason for key, reason in undefined.items()}


def _span(series: ReturnSeries) -> str | None:
    """From the first to the last balance, UTC."""
    if series.timestamps is None or not len(series.timestamps):
        return None
    first, last = (iso_minute(int(moment)) for moment in series.timestamps[[0, -1]])
    return f"{first} to {last}"
