"""The ``stress_test`` use case: what a source makes of days worse than those it is made of."""

import asyncio
from collections.abc import Callable
from typing import Any

from pydantic import Field

from jesse_mcp.analytics.crises import TABLE_CONVENTION
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.model import Value
from jesse_mcp.ports.candle_store import CandleStore
from jesse_mcp.ports.records import RunStore
from jesse_mcp.services.analysis_source import AnalysisSources, MarketSource, Sample
from jesse_mcp.services.campaign import CampaignService
from jesse_mcp.services.jobs import JobReporter, JobService, ProgressListener
from jesse_mcp.services.market_bars import MarketReader
from jesse_mcp.services.resumption import awaited, job_of_kind
from jesse_mcp.services.run_candles import RunCandles
from jesse_mcp.services.stress_crises import CrisisImpact, CrisisReplay
from jesse_mcp.services.stress_findings import findings_of
from jesse_mcp.services.stress_leverage import leverage_section
from jesse_mcp.services.stress_market import StressMarket
from jesse_mcp.services.stress_request import RISE, StressArguments, check
from jesse_mcp.services.stress_reruns import StressReruns, outcome_row
from jesse_mcp.services.stress_sections import (
    correlation_section,
    exposure_section,
    shocks_section,
    volatility_section,
)
from jesse_mcp.services.stress_subject import Subject

KIND = "stress_test"

CONVENTIONS = (
    "fractions, not percent; falls and drawdowns are positive. basis: measured (stored candles, or "
    "balances nowhere in the window farther apart than twice their median distance, nor than 1.5 days or a "
    f"twentieth of the window, whichever is longer), {TABLE_CONVENTION}"
    "; hypothetical (what follows from exposure: the sum of weight or beta times shock, in a crisis all "
    "markets at their worst together; without shocks given all markets alike, and where long and short are "
    "held together each against its position). Betas: least squares with an intercept over the whole source "
    "(Greene 2012), so of its average positions; standard_error is theirs alone, r_squared of a shock that "
    "of the regression on the markets it names. market_falls measured: of closes of minutes. "
    "volatility: deviations from the mean multiplied (Hull & White 1998), standard deviation ddof=1, annual; "
    "normal_var of one period, z * sd - mean (RiskMetrics 1996). correlation: convex combination with all "
    "ones, or the nearest correlation matrix (Higham 2002). liquidation: 1/leverage - maintenance_margin_rate"
    " isolated (Bybit, and Jesse), over 1 -/+ that rate cross (Binance), long/short; the rate is 0.004, "
    "Jesse's; other coins and large positions have more. reruns: total_return and max_drawdown of Jesse's "
    "daily balances; slippage is added to the fee of each side, since Jesse fills market orders at the price:"
    " the same cost on the value traded but for slippage times fee, and limit orders pay it too. They count "
    "as no trial"
)


class StressResult(Value):
    """``basis`` of each number: measured, table or hypothetical; see ``conventions``."""

    request: dict[str, Any]
    source: str
    exposure: dict[str, Any] | None
    crises: tuple[dict[str, Any], ...]
    shocks: tuple[dict[str, Any], ...]
    volatility: dict[str, Any] | None
    correlation: dict[str, Any] | None
    liquidation: dict[str, Any] | None
    reruns: tuple[dict[str, Any], ...]
    undefined: dict[str, str] = Field(description="why one is null, and the call that helps")
    conventions: str
    findings: tuple[str, ...]


class StressAnswer(Value):
    """The analysis, or the job that is still working on it."""

    state: JobState
    job_id: str
    progress: float | None
    message: str | None
    # Its schema would cost every agent that lists the tools more than it tells the one that asks.
    result: dict[str, Any] | None = Field(
        description="exposure, crises, shocks, volatility, correlation, liquidation, reruns; undefined, "
        "conventions, findings"
    )


class StressService:
    """Loads a source, stresses its numbers, and makes a run again where that was asked for."""

    def __init__(
        self,
        sources: AnalysisSources,
        candles: CandleStore,
        runs: RunStore,
        campaigns: CampaignService,
        jobs: JobService,
        exchange_name: Callable[[str], str],
    ) -> None:
        self._sources = sources
        self._market = StressMarket(MarketReader(candles))
        self._candles = RunCandles(candles)
        self._reruns = StressReruns(campaigns, runs)
        self._jobs = jobs
        self._exchange_name = exchange_name

    async def test(
        self,
        arguments: StressArguments,
        *,
        wait_seconds: float,
        on_progress: ProgressListener | None = None,
    ) -> StressAnswer:
        """Stress as a job; a job of the same request on a run that is active is joined.

        Reruns that were finished before are not run again, so the same request also goes on with what was
        interrupted.

        Args:
            wait_seconds: how long to wait for the answer; the job goes on after that.

        Raises:
            ResearchError: ``invalid_argument`` naming the argument; what loading the source and planning a
                backtest raise; or the error of the job when it fails in that time.
        """
        check(arguments)
        sample = await asyncio.to_thread(self._sources.load, arguments.source)
        reruns = None
        if arguments.rerun and sample.record is not None:
            reruns = await asyncio.to_thread(self._reruns.prepare, arguments, sample.record)

        async def work(reporter: JobReporter) -> None:
            reporter.started()
            rows: list[dict[str, Any]] = []
            missing: dict[str, str] = {}
            if reruns is not None:
                rows, missing = await self._reruns.run(reruns, reporter)
            result = await asyncio.to_thread(self._result, arguments, sample, rows, missing)
            reporter.result(result.model_dump(mode="json"))

        # Of numbers of the call the request says only how many there are: two of them are not the same.
        join = arguments.source.run_id is not None
        job = await self._jobs.submit(KIND, arguments.to_request(), work, join=join)
        job = await awaited(self._jobs, job.job_id, wait_seconds, on_progress)
        return StressAnswer(
            state=job.state,
            job_id=job.job_id,
            progress=job.progress,
            message=job.message,
            result=job.result,
        )

    async def resume(
        self, job_id: str, *, wait_seconds: float, on_progress: ProgressListener | None = None
    ) -> StressAnswer:
        """The request of a job made again.

        Raises:
            ResearchError: ``job_not_found``; ``invalid_argument`` when it is a job of another kind, or of
                numbers of a call, which are not kept; and as :meth:`test`.
        """
        job = await job_of_kind(self._jobs, job_id, KIND)
        if job.request["source"].keys() & {"returns", "balances"}:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"{job_id} was of numbers of its call, which are not kept",
                hint="call stress_test with them again",
            )
        arguments = StressArguments.model_validate(job.request)
        return await self.test(arguments, wait_seconds=wait_seconds, on_progress=on_progress)

    def _result(
        self,
        arguments: StressArguments,
        sample: Sample,
        reruns: list[dict[str, Any]],
        missing: dict[str, str],
    ) -> StressResult:
        subject = self._subject(sample, arguments.source.market)
        replay = CrisisReplay(subject)
        impacts = [replay.impact(crisis) for crisis in arguments.crises]
        exposure, no_exposure = exposure_section(subject)
        shocks, no_shocks = shocks_section(subject, arguments)
        volatility, no_volatility = volatility_section(subject, arguments)
        correlation, no_correlation = correlation_section(subject, arguments)
        liquidation, no_liquidation = leverage_section(subject, arguments.leverage, impacts, self._candles)
        undefined = {
            **no_exposure,
            **no_shocks,
            **no_volatility,
            **no_correlation,
            **no_liquidation,
            **missing,
        }
        for impact in impacts:
            undefined |= impact.undefined()
        sections: dict[str, Any] = {
            "exposure": exposure,
            "shocks": shocks,
            "volatility": volatility,
            "correlation": correlation,
            "liquidation": liquidation,
            "reruns": reruns,
        }
        rise = subject.shocked(dict.fromkeys(subject.symbols, RISE))
        original = None if sample.record is None else outcome_row(sample.record)
        return StressResult(
            request=arguments.to_request(),
            source=sample.label,
            crises=tuple(impact.shown() for impact in impacts),
            undefined=undefined,
            conventions=CONVENTIONS,
            findings=(
                *findings_of(sample, impacts, sections, original, None if isinstance(rise, str) else rise),
                *_advice(arguments, impacts, sample),
            ),
            **sections,
        )

    def _subject(self, sample: Sample, market: MarketSource | None) -> Subject:
        request = sample.request
        if request is not None:
            symbols = tuple(route.symbol for route in request.routes)
            return Subject(sample, self._market, request.exchange, symbols)
        if market is not None:
            symbols = market.symbols if sample.components is None else sample.components.symbols
            return Subject(sample, self._market, self._exchange_name(market.exchange), symbols)
        return Subject(sample, self._market, None, ())


def _advice(arguments: StressArguments, impacts: list[CrisisImpact], sample: Sample) -> tuple[str, ...]:
    replayed = any(impact.basis != "measured" for impact in impacts)
    repeatable = sample.record is not None and sample.record.kind != "pairs"
    if repeatable and replayed and "crises" not in arguments.rerun:
        said = "rerun=['crises'] runs the strategy through the crises whose candles are stored"
        return (said, *sample.remarks)
    return sample.remarks
