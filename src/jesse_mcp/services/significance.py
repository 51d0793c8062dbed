"""Whether a result is more than luck and selection: the ``significance_test`` use case."""

import asyncio
from dataclasses import replace
from typing import Any

from pydantic import Field

from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.model import Value
from jesse_mcp.ports.records import TrialLedger
from jesse_mcp.services.analysis_source import AnalysisSources, Sample, SourceArguments
from jesse_mcp.services.jobs import JobReporter, JobService, ProgressListener
from jesse_mcp.services.resumption import awaited
from jesse_mcp.services.significance_evidence import gathered
from jesse_mcp.services.significance_report import SignificanceResult, report
from jesse_mcp.services.significance_request import SignificanceArguments, check, invalid
from jesse_mcp.services.stoppable import Checkpoint, stoppable
from jesse_mcp.services.trial_history import TrialHistory, history_of, trials_alike

KIND = "significance_test"
#: Each holds a thread and its table of returns.
_AT_ONCE = 2


class SignificanceAnswer(Value):
    """The test, or the job that is still working on it."""

    state: JobState
    job_id: str
    progress: float | None
    message: str | None
    result: dict[str, Any] | None = Field(
        description="null until done: verdict, thresholds, sharpe, selection (trials, luck, deflated Sharpe "
        "ratio), mean_return, overfitting, comparison, undefined, conventions, findings"
    )


class SignificanceService:
    """Tests against the ledger of everything that was tried."""

    def __init__(self, sources: AnalysisSources, ledger: TrialLedger, jobs: JobService) -> None:
        self._sources = sources
        self._ledger = ledger
        self._jobs = jobs
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def test(
        self,
        arguments: SignificanceArguments,
        *,
        wait_seconds: float,
        on_progress: ProgressListener | None = None,
    ) -> SignificanceAnswer:
        """Test as a job.

        Args:
            wait_seconds: how long to wait for the answer; the job goes on after that.

        Raises:
            ResearchError: ``invalid_argument`` naming the argument; what loading a source raises.
        """
        check(arguments)
        samples, history = await asyncio.to_thread(self._read, arguments)

        async def work(reporter: JobReporter) -> None:
            async with self._slots:
                reporter.started()
                result = await _tested(arguments, samples, history)
            reporter.result(result.model_dump(mode="json"))

        job = await self._jobs.submit(KIND, arguments.recorded(), work)
        job = await awaited(self._jobs, job.job_id, wait_seconds, on_progress)
        return SignificanceAnswer(
            state=job.state,
            job_id=job.job_id,
            progress=job.progress,
            message=job.message,
            result=job.result,
        )

    def _read(self, arguments: SignificanceArguments) -> tuple[list[Sample], TrialHistory | None]:
        if arguments.run_ids is not None:
            sources = [SourceArguments(run_id=run_id) for run_id in arguments.run_ids]
        elif arguments.source is not None:
            sources = [arguments.source]
        else:
            raise invalid(
                "no source is given", "give run_id, run_ids, session_id, returns, balances or market"
            )
        samples = [self._sources.load(source) for source in sources]
        records = [sample.record for sample in samples if sample.record is not None]
        if not records:
            return [self._recognised(arguments, sample) for sample in samples], None
        history = history_of(self._ledger, records, max(len(record.outcome.equity) for record in records) - 1)
        if arguments.trials is not None and arguments.trials < history.count:
            raise invalid(
                f"trials is {arguments.trials:,}, the ledger has {history.count:,} distinct experiments with "
                f"{', '.join(history.families)}",
                f"give at least {history.count:,}, adding what was tried elsewhere, or leave trials out",
            )
        return samples, history

    def _recognised(self, arguments: SignificanceArguments, sample: Sample) -> Sample:
        """The returns of a trial that are handed in as numbers are still those of a trial."""
        source = arguments.source
        if source is None or source.market is not None:
            return sample
        families, count = trials_alike(self._ledger, sample.series.returns)
        if not families:
            return sample
        known = f"the ledger has nearly these returns, of {', '.join(families)}: {count:,} experiments"
        if arguments.trials is not None and arguments.trials < count:
            raise invalid(
                f"trials is {arguments.trials:,}, but {known}",
                f"give the run_id of the run, or at least {count:,}",
            )
        return replace(sample, remarks=(*sample.remarks, known))


async def _tested(
    arguments: SignificanceArguments, samples: list[Sample], history: TrialHistory | None
) -> SignificanceResult:
    """In a thread, which is told to stop when the job is."""

    def work(checkpoint: Checkpoint) -> SignificanceResult:
        return report(arguments, samples, gathered(arguments, samples, history, checkpoint))

    return await stoppable(work)
