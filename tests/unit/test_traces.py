"""Spans reach a collector, with what they belong to and never with what was sent."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client

from jesse_mcp.adapters.otlp_traces import CLOSE_SECONDS, OtlpTraces
from jesse_mcp.composition import Application, open_traces
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.ports.traces import NoTraces
from jesse_mcp.server.assembly import build_server
from jesse_mcp.server.calls import Origin, local_origin
from jesse_mcp.server.secret_masking import SecretMask, secrets_of
from jesse_mcp.settings import Settings, variable
from otlp_collector import Collector

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
WORK: dict[str, Any] = {
    "returns": [((index * 7919) % 101 - 50) / 1000 for index in range(300)],
    "methods": ["historical"],
}
SENT = "sentinel-5e0b"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVER = 2


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable(name), raising=False)
    # Nothing is sent before the end, unless a test wants it.
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def settings(folder: Path, **more: Any) -> Settings:
    return Settings(home=folder / "home", cache=folder / "cache", prewarm=False, **more)


async def traced(collector: Collector, folder: Path, *calls: tuple[str, dict[str, Any]], **meta: str) -> Any:
    """The answers of a server that has ended, and so has sent its spans."""
    given = settings(folder, otel_exporter_otlp_endpoint=collector.address)
    server = build_server(Application(given, open_traces(given)), origin=origin)
    async with Client(server) as client:
        return [
            await client.call_tool(tool, arguments, raise_on_error=False, meta=meta or None)
            for tool, arguments in calls
        ]


def origin() -> Origin:
    local = local_origin()
    return Origin(local.caller, local.address, "req_7")


async def test_a_call_is_a_span_with_what_it_belongs_to(collector: Collector, tmp_path: Path) -> None:
    await traced(collector, tmp_path, ("run_list", {}))
    span = collector.named("tools/call run_list")
    assert span.attributes == {
        "mcp.method.name": "tools/call",
        "gen_ai.tool.name": "run_list",
        "jesse_mcp.client": "local",
        "jesse_mcp.outcome": "ok",
        "jesse_mcp.request_id": "req_7",
    }
    assert (span.kind, span.parent_id, span.failed, span.links) == (SERVER, "", False, ())
    assert (span.resource["service.name"], collector.paths) == ("jesse-mcp", ["/v1/traces"])
    assert len(collector.spans) == 1, "the framework makes none of its own"


async def test_a_job_is_a_trace_linked_to_the_call_that_began_it(
    collector: Collector, tmp_path: Path
) -> None:
    (answer,) = await traced(collector, tmp_path, ("var_calculation", WORK))
    call, job = collector.named("tools/call var_calculation"), collector.named("job var_calculation")
    job_id = answer.structured_content["job_id"]
    assert call.attributes["jesse_mcp.job_id"] == job_id
    assert job.attributes == {
        "jesse_mcp.kind": "var_calculation",
        "jesse_mcp.job_id": job_id,
        "jesse_mcp.state": "done",
        "jesse_mcp.tool": "var_calculation",
        "jesse_mcp.client": "local",
        "jesse_mcp.request_id": "req_7",
    }
    assert (job.links, job.parent_id) == ((call.span_id,), "")
    assert job.trace_id != call.trace_id


async def test_the_document_names_every_attribute(collector: Collector, tmp_path: Path) -> None:
    await traced(collector, tmp_path, ("var_calculation", WORK))
    text = DOCUMENT.read_text()
    for prefix, shown in (("tools/call", "tools/call TOOL"), ("job", "job KIND")):
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{shown}` |")]
        named = set(re.findall(r"`([\w.]+)`", row.split("|")[2]))
        assert named == {*collector.named(f"{prefix} var_calculation").attributes, "jesse_mcp.run_id"}
    assert f"waits {CLOSE_SECONDS:g} seconds for the last ones" in " ".join(text.split())


async def test_errors_are_codes_and_nothing_that_was_sent(collector: Collector, tmp_path: Path) -> None:
    await traced(
        collector,
        tmp_path,
        ("run_get", {"run_id": SENT}),
        ("backtest", {"strategy": SENT, "leverage": SENT}),
        (f"invented_{SENT}", {}),
        ("var_calculation", {**WORK, "methods": [SENT]}),
    )
    assert [span.attributes["error.type"] for span in collector.spans] == [
        "run_not_found",
        "invalid_argument",
        "invalid_argument",
        "invalid_argument",
    ]
    assert all(span.failed and span.events == 0 for span in collector.spans)
    assert collector.spans[2].name == "tools/call unknown"
    assert all(SENT.encode() not in body for body in collector.bodies)


async def test_a_trace_of_the_caller_goes_on(collector: Collector, tmp_path: Path) -> None:
    await traced(collector, tmp_path, ("run_list", {}), traceparent=f"00-{TRACE}-{PARENT}-01")
    span = collector.named("tools/call run_list")
    assert (span.trace_id, span.parent_id) == (TRACE, PARENT)


async def test_what_the_environment_says_of_the_service_stands(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "desk-7")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=abc%20d")
    await traced(collector, tmp_path, ("run_list", {}))
    assert collector.named("tools/call run_list").resource["service.name"] == "desk-7"
    sent = {name.lower(): value for name, value in collector.headers[0].items()}
    assert sent["x-key"] == "abc d"


async def test_a_collector_that_hangs_does_not_hold_up_the_end(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
    collector.hold.clear()
    traces = OtlpTraces(f"{collector.address}/v1/traces", close_seconds=0.05)
    with traces.call("run_list") as span:
        span.tell(None)
    # Less than the half a minute that the SDK would wait.
    async with asyncio.timeout(20):
        await traces.close()
    assert "could not be sent" in caplog.text
    await traces.close()


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({}, None),
        ({"endpoint": "http://127.0.0.1:4318"}, "http://127.0.0.1:4318/v1/traces"),
        ({"endpoint": "https://otel.example.org/base/"}, "https://otel.example.org/base/v1/traces"),
        ({"traces_endpoint": "http://127.0.0.1:4318/own"}, "http://127.0.0.1:4318/own"),
        ({"endpoint": "http://a:1", "traces_endpoint": "http://b:2/x"}, "http://b:2/x"),
        ({"endpoint": "http://a:1", "protocol": "grpc", "traces_protocol": "http/protobuf"}, "http://a:1/v1/traces"),
        ({"protocol": "grpc"}, None),
    ],
)  # fmt: skip
def test_where_spans_go(variables: dict[str, str], address: str | None) -> None:
    given = {f"otel_exporter_otlp_{name}": value for name, value in variables.items()}
    assert Settings.model_validate(given).traces_address == address


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"endpoint": "localhost:4317"}, "OTEL_EXPORTER_OTLP_ENDPOINT is no address such as http://HOST:4318"),
        ({"endpoint": "http://:4318"}, "is no address"),
        ({"endpoint": "http://host:99999"}, "range"),
        ({"traces_endpoint": "unix:/x"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is no address"),
        ({"endpoint": f"http://me:{SENT}@host:4318"}, "OTEL_EXPORTER_OTLP_HEADERS"),
        ({"endpoint": "http://host:4317", "protocol": "grpc"}, "'grpc', and this server speaks http"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(variables: dict[str, str], words: str) -> None:
    given = {f"otel_exporter_otlp_{name}": value for name, value in variables.items()}
    with pytest.raises(ResearchError) as caught:
        open_traces(Settings.model_validate(given))
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert words in caught.value.message
    assert SENT not in str(caught.value.to_dict())


@pytest.mark.parametrize(
    "missing", ["opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter"]
)
def test_without_the_extra_it_is_said_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "jesse_mcp.adapters.otlp_traces")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ResearchError) as caught:
        open_traces(Settings(otel_exporter_otlp_endpoint="http://127.0.0.1:4318"))
    assert caught.value.code is ErrorCode.CAPABILITY_MISSING
    assert "pip install '.[traces]'" in str(caught.value.hint)
    # Who asks for nothing needs nothing.
    assert isinstance(open_traces(Settings()), NoTraces)


def test_headers_become_stars() -> None:
    given = Settings.model_validate({"otel_exporter_otlp_headers": f"a=1234567, b=Bearer%20{SENT}"})
    mask = SecretMask(secrets_of(given))
    for text in (f"b=Bearer%20{SENT}", f"Bearer {SENT}", f"Header format invalid: b=Bearer%20{SENT}"):
        assert SENT not in mask(text)
    short = Settings.model_validate({"otel_exporter_otlp_headers": "a=1,b=ok"})
    assert SecretMask(secrets_of(short))("1 is ok") == "1 is ok"


NOTHING_LOADED = """
import asyncio, sys
from pathlib import Path
from fastmcp import Client
from jesse_mcp.composition import Application, open_traces
from jesse_mcp.server.assembly import build_server
from jesse_mcp.server.http import application
from jesse_mcp.settings import Settings

async def main():
    settings = Settings(home=Path(sys.argv[1]), prewarm=False)
    async with Client(build_server(Application(settings, open_traces(settings)))) as client:
        await client.call_tool("run_list", {})
    unwanted = ("opentelemetry.sdk", "opentelemetry.exporter")
    print(sorted(name for name in sys.modules if name.startswith(unwanted)))

asyncio.run(main())
"""


def test_nothing_is_loaded_that_nobody_asked_for(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NOTHING_LOADED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
