"""Spans by OpenTelemetry's SDK, sent with OTLP over HTTP. Its libraries are an extra of this package."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, get_current_span
from opentelemetry.trace import Span as OpenSpan

from jesse_mcp import __version__

logger = logging.getLogger("jesse_mcp.traces")

#: Seconds for what is left when the server ends: more than a busy machine stands still for.
CLOSE_SECONDS = 5.0
#: Of attributes that no convention names.
PREFIX = "jesse_mcp."


class OtlpTraces:
    """Implements :class:`jesse_mcp.ports.traces.Traces`.

    The provider is this object's own and not the process's: the framework, whose spans would carry the text
    of errors, and with it what callers sent, makes none. Headers, timeouts, compression, certificates,
    sampling, batches and ``OTEL_SDK_DISABLED`` are read from the environment by the SDK.

    Args:
        endpoint: the whole address spans are sent to.
        close_seconds: how long :meth:`close` may take.

    Raises:
        ValueError, OSError: for a variable of the environment the SDK cannot use.
    """

    def __init__(self, endpoint: str, *, close_seconds: float = CLOSE_SECONDS) -> None:
        self._close_seconds = close_seconds
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
        self._tracer = self._provider.get_tracer("jesse_mcp", __version__)
        self._closed = False

    @contextmanager
    def call(self, tool: str) -> Iterator["_Span"]:
        """See the port. Named as the semantic conventions of MCP do."""
        # What the caller sent with the message is current: the framework has seen to that.
        with self._tracer.start_as_current_span(
            f"tools/call {tool}",
            kind=SpanKind.SERVER,
            attributes={"mcp.method.name": "tools/call", "gen_ai.tool.name": tool},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield _Span(span)

    @contextmanager
    def job(self, kind: str) -> Iterator["_Span"]:
        """See the port. A trace of its own, as it goes on when the call is long answered."""
        begun_in = get_current_span().get_span_context()
        with self._tracer.start_as_current_span(
            f"job {kind}",
            context=Context(),
            links=[Link(begun_in)] if begun_in.is_valid else [],
            attributes={f"{PREFIX}kind": kind},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield _Span(span)

    async def close(self) -> None:
        """See the port."""
        if self._closed:
            return
        self._closed = True
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            # Nobody waits any more when the loop is closed.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(done.set)

        # Not one of the threads that the end of the process waits for.
        threading.Thread(target=shut_down, name="end of traces", daemon=True).start()
        try:
            async with asyncio.timeout(self._close_seconds):
                await done.wait()
        except TimeoutError:
            logger.warning("spans are left that could not be sent within %g s", self._close_seconds)


class _Span:
    """Implements :class:`jesse_mcp.ports.traces.Span`."""

    def __init__(self, span: OpenSpan) -> None:
        self._span = span

    def tell(self, failure: str | None, **facts: str | None) -> None:
        """See the port."""
        for name, value in facts.items():
            if value is not None:
                self._span.set_attribute(f"{PREFIX}{name}", value)
        if failure is not None:
            self._span.set_attribute("error.type", failure)
            self._span.set_status(Status(StatusCode.ERROR))


def _resource() -> Resource:
    """What the environment says of the service, and a name and version when it does not."""
    told = OTELResourceDetector().detect().attributes
    own = {SERVICE_NAME: "jesse-mcp", SERVICE_VERSION: __version__}
    return Resource.create({name: value for name, value in own.items() if name not in told})
