"""Servers in processes of their own send their spans to a collector, the last ones when they end."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mcp_desk import environment_without_engine, http_server, stdio_desk
from otlp_collector import Collector

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TOKEN = "sentinel-otlp-93bd"  # noqa: S105  (a value to look for)
WORK: dict[str, Any] = {
    "returns": [((index * 7919) % 101 - 50) / 1000 for index in range(300)],
    "methods": ["historical"],
}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def environment(folder: Path, endpoint: str, **more: str) -> dict[str, str]:
    """Nothing is sent before the end."""
    own = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-token={TOKEN}",
        "OTEL_BSP_SCHEDULE_DELAY": "600000",
    }
    return environment_without_engine(folder, **(own | more))


def test_over_http_a_callers_trace_goes_on_and_the_rest_is_sent_at_the_end(
    collector: Collector, tmp_path: Path
) -> None:
    body: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "var_calculation",
            "arguments": WORK,
            "_meta": {"traceparent": f"00-{TRACE}-{PARENT}-01"},
        },
    }
    headers = {"Accept": "application/json, text/event-stream", "X-Request-ID": "mine-1"}
    surroundings = environment(tmp_path, collector.address, JESSE_MCP_STATELESS="true")
    with http_server(surroundings, tmp_path / "log") as (process, url):
        assert httpx2.post(url, json=body, headers=headers, timeout=60).status_code == 200
        assert collector.bodies == []
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    call, job = collector.named("tools/call var_calculation"), collector.named("job var_calculation")
    assert (call.trace_id, call.parent_id) == (TRACE, PARENT)
    assert call.attributes["jesse_mcp.client"] == "address:127.0.0.1"
    assert call.attributes["jesse_mcp.request_id"] == job.attributes["jesse_mcp.request_id"] == "mine-1"
    assert call.attributes["jesse_mcp.job_id"] == job.attributes["jesse_mcp.job_id"]
    assert job.links == (call.span_id,)
    assert {name.lower(): value for name, value in collector.headers[0].items()}["x-token"] == TOKEN
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert TOKEN.encode() not in path.read_bytes(), path


def test_on_stdio_too(collector: Collector, tmp_path: Path) -> None:
    with stdio_desk(environment(tmp_path, collector.address), tmp_path / "log") as desk:
        desk.refused("run_get", run_id="run_nope")
        job_id = desk.call("var_calculation", **WORK)["job_id"]
    assert collector.named("tools/call run_get").attributes["jesse_mcp.outcome"] == "run_not_found"
    assert collector.named("job var_calculation").attributes["jesse_mcp.job_id"] == job_id


def test_an_address_that_cannot_be_used_is_no_silent_server(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "jesse_mcp", "serve"],
        env=environment(tmp_path, "localhost:4317"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1
    assert "OTEL_EXPORTER_OTLP_ENDPOINT is no address such as http://HOST:4318" in ended.stderr
