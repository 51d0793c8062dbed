"""Numbers for Prometheus. The names and labels are documented in docs/operations.md."""

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.server.calls import FinishedCall
from jesse_mcp.services.job_notices import JobNotifier
from jesse_mcp.services.paper_sessions import PaperService
from jesse_mcp.services.system import SystemService

#: Seconds; tools answer from the store in milliseconds and wait for long work up to ten minutes.
_BUCKETS = (0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300, 600)


class _Experiments(Collector):
    """What is counted elsewhere."""

    def __init__(self, answers: Callable[[], Mapping[str, int]]) -> None:
        self._answers = answers

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily("jesse_mcp_experiments", "Answered experiments", labels=["answer"])
        for answer, count in self._answers().items():
            family.add_metric([answer], count)
        yield family


class Metrics:
    """Counts calls as they happen, and looks at the rest when it is asked.

    Calls of tools that do not exist count together: a caller may invent any number of names, and each would
    be kept for ever.

    Args:
        answers: how many experiments were answered in which way since the start.
    """

    def __init__(self, answers: Callable[[], Mapping[str, int]] = dict) -> None:
        self._registry = registry = CollectorRegistry()
        registry.register(_Experiments(answers))
        self._calls = Counter("jesse_mcp_tool_calls", "Finished calls", ["tool"], registry=registry)
        self._errors = Counter("jesse_mcp_tool_errors", "Failed calls", ["tool", "code"], registry=registry)
        self._seconds = Histogram(
            "jesse_mcp_tool_seconds", "Duration of calls", ["tool"], buckets=_BUCKETS, registry=registry
        )
        self._running = Gauge("jesse_mcp_tool_calls_in_flight", "Calls being answered", registry=registry)
        self._jobs = Gauge("jesse_mcp_jobs", "Jobs by state", ["state"], registry=registry)
        self._workers = Gauge("jesse_mcp_workers", "Workers of the engine", ["state"], registry=registry)
        self._series = Gauge("jesse_mcp_candle_series", "Stored series of candles", registry=registry)
        self._runs = Gauge("jesse_mcp_runs", "Stored runs", registry=registry)
        self._free = Gauge("jesse_mcp_free_disk_bytes", "Free space where records are", registry=registry)
        self._sessions = Gauge("jesse_mcp_paper_sessions", "Paper sessions", ["status"], registry=registry)
        self._behind = Gauge(
            "jesse_mcp_paper_seconds_behind",
            "Since the last minute of the live paper session furthest behind",
            registry=registry,
        )
        self._alerts = Gauge("jesse_mcp_paper_alerts", "Stored alerts", ["delivery"], registry=registry)
        self._notices = Gauge("jesse_mcp_job_webhooks", "Ends of jobs", ["delivery"], registry=registry)
        self._known = Gauge("jesse_mcp_status_known", "1 when the store could be asked", registry=registry)

    def began(self, tool: str) -> None:  # noqa: ARG002
        self._running.inc()

    def ended(self, call: FinishedCall) -> None:
        self._running.dec()
        tool = call.tool if call.known_tool else "unknown"
        self._calls.labels(tool).inc()
        self._seconds.labels(tool).observe(call.seconds)
        if call.outcome != "ok":
            self._errors.labels(tool, call.outcome).inc()

    async def exposition(self, system: SystemService, paper: PaperService, notifier: JobNotifier) -> bytes:
        """Everything in Prometheus' text format."""
        try:
            await self._look(system)
            await self._look_at_paper(paper)
            for delivery, count in (await notifier.counts()).items():
                self._notices.labels(delivery).set(count)
            self._known.set(1)
        except ResearchError:
            # What was counted here is true without the store too.
            self._known.set(0)
        return await asyncio.to_thread(generate_latest, self._registry)

    async def _look(self, system: SystemService) -> None:
        status = await system.status()
        for state, count in status.jobs.items():
            self._jobs.labels(state).set(count)
        workers = status.engine.get("workers")
        if isinstance(workers, dict):
            for state, number in workers.items():
                if isinstance(number, int):
                    self._workers.labels(state).set(number)
        series = status.store["candle_series"]
        self._series.set(math.nan if series is None else series)
        self._runs.set(status.store["runs"])
        self._free.set(status.store["free_disk_mb"] * 2**20)

    async def _look_at_paper(self, paper: PaperService) -> None:
        load = await paper.load()
        for status, count in load.counts.sessions.items():
            self._sessions.labels(status.value).set(count)
        for delivery, count in load.counts.alerts.items():
            self._alerts.labels(delivery).set(count)
        self._behind.set(math.nan if load.seconds_behind is None else load.seconds_behind)
