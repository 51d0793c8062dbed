"""What is said of a Jesse that is not as it should be."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from jesse_mcp.adapters.dashboard import client as client_module
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.login import Credentials
from jesse_mcp.adapters.dashboard.paper import no_paper
from jesse_mcp.adapters.dashboard.status import look
from jesse_mcp.adapters.dashboard.versions import check_version
from jesse_mcp.cli.doctor import dashboard_checks
from jesse_mcp.domain.errors import ErrorCode, ResearchError

URL = "http://jesse.test:9000"
INFO = {"jesse_version": "3.5.3", "cpu_cores": 2, "cpu_usage_percent": 1.0, "strategy_count": 1}
LOCAL = {"has_live_plugin_installed": False, "strategies": ["A"], "system_info": {"python_version": "3.11"}}


def jesse(**answers: httpx2.Response | Exception) -> Callable[[httpx2.Request], httpx2.Response]:
    """A healthy one but for ``answers``, by the last word of the path; every session is unknown."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        word = "session" if "/sessions/" in path else path.rsplit("/", 1)[-1].replace("-", "_")
        usual: dict[str, httpx2.Response | Exception] = {
            "system_info": httpx2.Response(200, json=INFO),
            "local": httpx2.Response(200, json=LOCAL),
            "active_workers": httpx2.Response(200, json={"data": ["one"]}),
            "session": httpx2.Response(404, json={"error": "Session with ID x not found"}),
        }
        given = (usual | answers)[word]
        if isinstance(given, Exception):
            raise given
        return given

    return answer


def found(answer: Callable[[httpx2.Request], httpx2.Response]) -> dict[str, Any]:
    client = DashboardClient(
        URL, Credentials(token=SecretStr("token")), transport=httpx2.MockTransport(answer)
    )
    facts = look(client).facts(URL)
    json.dumps(facts)
    return facts


def test_a_jesse_that_is_ready() -> None:
    assert found(jesse()) == {
        "kind": "dashboard",
        "url": URL,
        "state": "ready",
        "jesse_version": "3.5.3",
        "python_version": "3.11",
        "live_plugin": False,
        "machine": {"cpu_cores": 2, "cpu_usage_percent": 1.0},
        "workers_at_jesse": 1,
    }


def test_a_doctor_finds_nothing_wrong_with_it() -> None:
    checks = dashboard_checks(found(jesse()))
    assert all(check.passed for check in checks)
    assert "not needed" in checks[-1].found


def test_the_live_plugin_is_a_fact_and_no_fault() -> None:
    facts = found(jesse(local=httpx2.Response(200, json={**LOCAL, "has_live_plugin_installed": True})))
    assert (facts["state"], facts["live_plugin"]) == ("ready", True)


REFUSED = httpx2.ConnectError("[Errno 111] Connection refused")
NOT_FOUND = httpx2.Response(404, json={"detail": "Not Found"})
DENIED = httpx2.Response(401, json={"message": "Invalid password"})
CRASH = httpx2.Response(500, text="Internal Server Error")


@pytest.mark.parametrize(
    ("answers", "state", "version"),
    [
        ({"system_info": REFUSED}, "unreachable", None),
        ({"system_info": httpx2.ConnectTimeout("timed out")}, "unreachable", None),
        ({"system_info": httpx2.ReadTimeout("timed out")}, "unreachable", None),
        ({"system_info": DENIED}, "unauthorized", None),
        ({"system_info": httpx2.Response(200, html="<html>")}, "not_jesse", None),
        ({"system_info": httpx2.Response(200, json={"hello": 1})}, "not_jesse", None),
        ({"system_info": NOT_FOUND}, "not_jesse", None),
        ({"system_info": httpx2.Response(200, json={"jesse_version": "3.6.0"})}, "unsupported", "3.6.0"),
        ({"system_info": httpx2.Response(200, json={"jesse_version": "2.9"})}, "unsupported", "2.9"),
        ({"local": NOT_FOUND}, "unsupported", "3.5.3"),
        ({"local": httpx2.Response(500, json={"error": "no such folder"})}, "failed", "3.5.3"),
        ({"session": CRASH}, "database", "3.5.3"),
        ({"session": httpx2.Response(500, json={"error": "OperationalError: x"})}, "database", "3.5.3"),
        ({"active_workers": REFUSED}, "unreachable", "3.5.3"),
    ],
)
def test_what_is_in_the_way(
    answers: dict[str, Any], state: str, version: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_PAUSES", (0.0, 0.0))
    facts = found(jesse(**answers))
    assert (facts["state"], facts["jesse_version"]) == (state, version)
    assert facts["problem"]
    assert facts["hint"]
    assert facts["code"].startswith("jesse_")
    *passed, failed = dashboard_checks(facts)
    assert all(check.passed for check in passed)
    assert (failed.passed, failed.found, failed.hint) == (False, facts["problem"], facts["hint"])


@pytest.mark.parametrize("version", ["3.5.0", "3.5.3", "3.5.12", "3.5"])
def test_every_release_of_the_supported_minor_version_is_accepted(version: str) -> None:
    check_version(version)


@pytest.mark.parametrize("version", ["3.4.9", "3.50.1", "4.0.0", "3", ""])
def test_other_versions_are_refused(version: str) -> None:
    with pytest.raises(ResearchError) as caught:
        check_version(version)
    assert caught.value.code is ErrorCode.JESSE_UNSUPPORTED
    assert "3.5.x" in caught.value.message


@pytest.mark.parametrize(
    ("answers", "code", "says"),
    [
        ({}, ErrorCode.CAPABILITY_MISSING, "no plugin for live trading"),
        (
            {"local": httpx2.Response(200, json={**LOCAL, "has_live_plugin_installed": True})},
            ErrorCode.CAPABILITY_MISSING,
            "not driven from here",
        ),
        ({"system_info": httpx2.ConnectError("refused")}, ErrorCode.JESSE_UNREACHABLE, URL),
    ],
)
def test_why_a_jesse_does_not_trade_on_paper(
    answers: dict[str, httpx2.Response | Exception], code: ErrorCode, says: str
) -> None:
    client = DashboardClient(
        URL, Credentials(token=SecretStr("token")), transport=httpx2.MockTransport(jesse(**answers))
    )
    error = no_paper(client)
    assert error.code is code
    assert says in error.message
    if code is ErrorCode.CAPABILITY_MISSING:
        assert "engine='embedded'" in str(error.hint)
