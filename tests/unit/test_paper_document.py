"""What docs/paper.md says is what there is: tools, arguments, thresholds, settings, webhooks."""

import asyncio
import hashlib
import hmac
import json
import re
import time
from pathlib import Path
from typing import Any, get_args

import pytest
from fastmcp.tools import Tool

from jesse_mcp.adapters.webhooks import (
    SIGNATURE_HEADER,
    TIMEOUT,
    TIMESTAMP_HEADER,
    HttpWebhooks,
    signature,
)
from jesse_mcp.composition import Application
from jesse_mcp.domain.access import Scope
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper import FeedName, PaperStatus
from jesse_mcp.domain.paper_records import AlertDelivery, PaperAlert
from jesse_mcp.domain.paper_watch import RE_ARM, Threshold, WatchKind
from jesse_mcp.ports.webhooks import WebhookAttempt
from jesse_mcp.server.assembly import build_server
from jesse_mcp.services import webhook_attempts
from jesse_mcp.services.paper_exchange_feed import FeedTiming
from jesse_mcp.services.paper_parts import PaperHealth, PaperParts
from jesse_mcp.services.paper_request import PaperArguments
from jesse_mcp.services.paper_sessions import UPDATABLE
from jesse_mcp.services.paper_supervision import CRASHES
from jesse_mcp.services.paper_views import PaperStatusView, PaperStopped
from jesse_mcp.services.paper_watch import MAX_THRESHOLDS, thresholds_of
from jesse_mcp.settings import Settings, variable

RAW = (Path(__file__).parents[2] / "docs" / "paper.md").read_text()
TEXT = " ".join(RAW.split())
#: What is shown in code marks of other programs, or of HTTP.
ELSEWHERE = {"POST", "https", "http", "null", "observed", "embedded", "Binance", "gaps"}


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tool]:
    folder = tmp_path_factory.mktemp("desk")

    async def listed() -> dict[str, Tool]:
        application = Application(Settings(home=folder / "home", cache=folder / "cache", prewarm=False))
        try:
            return {tool.name: tool for tool in await build_server(application).list_tools()}
        finally:
            await application.close()

    return asyncio.run(listed())


def arguments_of(tool: Tool) -> set[str]:
    return set(tool.parameters["properties"])


def examples() -> list[dict[str, Any]]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", RAW, re.DOTALL)]


def section(title: str) -> str:
    return RAW.split(f"## {title}\n")[1].split("\n## ")[0]


def test_every_example_can_be_called(tools: dict[str, Tool]) -> None:
    assert len(examples()) == 3
    for example in examples():
        tool, given = tools[example["tool"]], example["arguments"]
        assert set(given) <= arguments_of(tool)
        assert set(tool.parameters.get("required", ())) <= set(given)
        thresholds_of(given.get("watch", ()), given.get("feed", "exchange"))
        assert set(given.get("updates", ())) <= set(UPDATABLE)
        if example["tool"] == "paper_start":
            PaperArguments.model_validate(given)


def test_every_name_exists(tools: dict[str, Tool]) -> None:
    paper = {name for name in tools if name.startswith("paper_")}
    known = ELSEWHERE | set(tools) | set(PaperStatus) | set(Scope) | set(ErrorCode)
    known |= set(get_args(FeedName)) | set(get_args(WatchKind)) | set(Threshold.model_fields)
    known |= set(PaperStatusView.model_fields) | set(PaperStopped.model_fields) | set(PaperHealth().facts(0))
    known |= {variable(name) for name in Settings.model_fields} | set(body_of_an_alert())
    known |= {name for tool in paper for name in arguments_of(tools[tool])}
    named = set(re.findall(r"`([A-Za-z_]+)`", TEXT))
    assert named - known == set()
    assert paper <= named | {example["tool"] for example in examples()}
    assert "gaps" in arguments_of(tools["backtest"])


def test_the_risk_tools_are_all_that_take_a_session(tools: dict[str, Tool]) -> None:
    taking = {name for name, tool in tools.items() if "session_id" in arguments_of(tool)}
    named = set(re.findall(r"`(\w+)`", section("The risk tools"))) - {"session_id", "run_id"}
    assert named == {name for name in taking if not name.startswith("paper_")}


def test_the_table_of_thresholds() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([\d.]+) \| ([\d.]+) \|$", section("Thresholds"), re.MULTILINE)
    assert [kind for kind, _, _ in rows] == list(get_args(WatchKind))
    for kind, above, most in rows:
        run = {"run_id": "run_1"} if kind == "drift" else {}
        thresholds_of([{"kind": kind, "limit": float(most), **run}], "exchange")
        for outside in (float(above), float(most) + 1):
            with pytest.raises(ResearchError, match="limit"):
                thresholds_of([{"kind": kind, "limit": outside, **run}], "exchange")
    with pytest.raises(ResearchError, match="replay"):
        thresholds_of([{"kind": "no_data", "limit": 1}], "replay")
    assert f"up to {MAX_THRESHOLDS} of" in TEXT
    assert "below nine tenths" in TEXT
    assert RE_ARM == 0.9


def test_the_receiver_shown_tells_genuine_from_forged() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", RAW, re.DOTALL)
    shown: dict[str, Any] = {}
    exec(code, shown)  # noqa: S102 - the document is ours
    secret, body, now = b"s" * 16, b'{"kind": "drawdown"}', str(int(time.time()))
    headers = {TIMESTAMP_HEADER: now, SIGNATURE_HEADER: f"sha256={signature(secret, now, body)}"}
    assert shown["genuine"](secret, headers, body)
    assert not shown["genuine"](secret, headers, body + b" ")
    assert not shown["genuine"](b"t" * 16, headers, body)
    old = str(int(now) - 3_600)
    mac = hmac.new(secret, old.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert not shown["genuine"](secret, {TIMESTAMP_HEADER: old, SIGNATURE_HEADER: f"sha256={mac}"}, body)


def body_of_an_alert() -> dict[str, Any]:
    alert = PaperAlert(key="0:drawdown:1", timestamp=1, kind="drawdown", message="it fell")
    return AlertDelivery(session_id="mine", alert=alert, webhook="https://example.org").content()


def test_what_is_sent_and_how_often() -> None:
    sentence = re.search(r"`POST` of JSON with (.*?)\.", TEXT)
    assert sentence is not None
    assert set(re.findall(r"`(\w+)`", sentence[1])) - {"drift"} == set(body_of_an_alert())
    assert f"{webhook_attempts.MAX_ATTEMPTS} times in all" in TEXT
    assert f"Any 2xx within {TIMEOUT:g} seconds" in TEXT
    alert = PaperAlert(key="k", timestamp=1, kind="drawdown", message="it fell")
    first = AlertDelivery(session_id="mine", alert=alert, webhook="https://example.org")
    tried = webhook_attempts.attempted(first, WebhookAttempt("busy"), 0)
    again = webhook_attempts.attempted(tried, WebhookAttempt("busy"), 0)
    assert (tried.next_attempt_at, again.next_attempt_at) == (10_000, 20_000)
    assert "again after 10 seconds, then twice as long" in TEXT


async def test_without_a_secret_a_webhook_is_refused() -> None:
    assert "without one `paper_start` is refused" in TEXT
    with pytest.raises(ResearchError) as caught:
        await HttpWebhooks(None, allow_private=False, now=time.time).check("https://example.org")
    assert caught.value.code is ErrorCode.CAPABILITY_MISSING


def test_the_numbers() -> None:
    assert f"`fee` of `paper_start` is {PaperArguments().fee} unless" in TEXT
    assert f"{FeedTiming().patience:g} seconds after its close" in TEXT
    assert f"does not answer for {PaperParts.stop_patience:g} seconds when it is to stop" in TEXT
    assert "At the third crash" in TEXT
    assert CRASHES == 3
