"""Every secret a server is given is looked for wherever others look: answers, logs, processes, files."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from mcp_desk import RUN, SERIES, candle_file, environment, http_server, strategy, strict_json, wait_until

GIVEN = "sentinel-given-0123456789abcdefghijklmnop"
HOOK_PATH = "sentinel-hook-path-51ac"
HOOK_KEY = "sentinel-hook-key-93de"
#: Settings that are secrets. None of them is used for what it is: nothing listens anywhere.
SETTINGS = {
    "JESSE_MCP_TOKENS": f"given:admin:{GIVEN}",
    "JESSE_PASSWORD": "sentinel-password-77e1",
    "JESSE_API_TOKEN": "sentinel-api-token-20b4",
    "JESSE_MCP_WEBHOOK_SECRET": "sentinel-webhook-secret-8f02",
}
SECRETS = [GIVEN, *list(SETTINGS.values())[1:]]
#: Kept with the session, to be delivered to; documented in docs/paper.md.
DELIVERED = [HOOK_PATH, HOOK_KEY]
#: An identity provider's, which this server does not know.
JWT = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzZW50aW5lbC1qd3QifQ.sentineljwtsignature"
JSON = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


@dataclass
class Service:
    folder: Path
    url: str
    process: psutil.Process
    heard: list[str] = field(default_factory=list)

    def ask(self, path: str, token: str | None = GIVEN, **options: Any) -> httpx2.Response:
        headers = JSON if token is None else {**JSON, "Authorization": f"Bearer {token}"}
        method = "POST" if options else "GET"
        answer = httpx2.request(
            method, self.url.removesuffix("/mcp") + path, headers=headers, timeout=120, **options
        )
        self.heard.append(f"{answer.headers} {answer.text}")
        return answer

    def call(self, tool: str, token: str = GIVEN, **arguments: Any) -> dict[str, Any]:
        message = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": arguments},
        }
        answer = self.ask("/mcp", token, json=message)
        data = next(line for line in answer.text.split("\n") if line.startswith("data: "))
        content: dict[str, Any] = strict_json(data.removeprefix("data: "))["result"]["structuredContent"]
        return content

    def kept(self) -> dict[str, bytes]:
        """Every file of the server."""
        found = {}
        for folder, _, names in os.walk(self.folder):
            for path in (Path(folder, name) for name in names):
                # What a run had written goes with the run.
                with suppress(FileNotFoundError):
                    found[str(path.relative_to(self.folder))] = path.read_bytes()
        return found


@pytest.fixture
def service(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("secrets")
    more = {
        **SETTINGS,
        "JESSE_MCP_LOG_LEVEL": "DEBUG",
        "JESSE_MCP_LOG_FILE": str(folder / "logs" / "messages"),
        "JESSE_MCP_STATELESS": "true",
        "JESSE_MCP_WEBHOOK_ALLOW_PRIVATE": "true",
        "RATE_LIMIT_ENABLED": "false",
    }
    surroundings = environment(folder, engine_python, **more)
    with http_server(surroundings, folder / "log") as (process, url):
        yield Service(folder, url, psutil.Process(process.pid))


def used(service: Service) -> None:
    """As a client does, and as one does who has misunderstood."""
    hook = f"http://127.0.0.1:9/{HOOK_PATH}?key={HOOK_KEY}"
    replay: dict[str, Any] = {
        "feed": "replay",
        "replay_start": "2024-01-03",
        "replay_end": "2024-01-05",
        "speed": 10_000,
    }
    watch = [{"kind": "drawdown", "limit": 1e-9}]
    service.call("candles_import", **SERIES, path=str(candle_file(service.folder / "btc.csv")))
    service.call("strategy_write", name="Mine", code=strategy("Mine"))
    session = service.call(
        "paper_start", strategy="Mine", **SERIES, **replay, warm_up_candles=24, watch=watch, webhook=hook
    )["session_id"]
    spy = "import os; print('SEEN', dict(os.environ), open('/proc/self/cmdline').read())"
    service.call("strategy_write", name="Spy", code=strategy("Spy", spy))
    run = service.call("backtest", **RUN, strategy="Spy")["run"]["run_id"]
    assert "SEEN" in service.call("run_get", run_id=run, include=["log"])["log"]
    service.call("strategy_write", name="Endless", code=strategy("Endless", "while True: pass"))
    job = service.call("backtest", **RUN, strategy="Endless", wait_seconds=0)["job_id"]
    wait_until(lambda: service.call("job_get", job_id=job)["state"] == "running", "a worker")
    wait_until(
        lambda: any(
            "webhook" in alert for alert in service.call("paper_status", session_id=session)["alerts"]
        ),
        "an alert that nobody takes",
    )
    wrongs: tuple[dict[str, Any], ...] = (
        {"webhook": [hook], "strategy": "Mine", **SERIES},
        {"webhook": hook, "strategy": "Nobody", **SERIES, **replay},
        {"webhook": f"{hook}#{' '}", "strategy": "Mine", **SERIES, **replay},
        {"webhook": hook.replace("http", "gopher"), "strategy": "Mine", **SERIES, **replay},
    )
    for wrong in wrongs:
        assert "error" in service.call("paper_start", **wrong)
    service.call("candles_import", source="dashboard", **SERIES)
    for tool in ("system_status", "paper_list_sessions", "job_list", "run_list"):
        assert "error" not in service.call(tool), tool
    for token in (None, "wrong", JWT, GIVEN[:-1]):
        assert service.ask("/mcp", token, content=b"{}").status_code == 401
    for path in ("/health", "/ready", "/metrics", "/", f"/{GIVEN}"):
        service.ask(path)
        service.ask(path, None)


def found_in(text: str | bytes, secrets: list[str]) -> list[str]:
    content = text.encode() if isinstance(text, str) else text
    return [secret for secret in secrets if secret.encode() in content]


def test_no_secret_is_anywhere(service: Service) -> None:
    used(service)
    for answer in service.heard:
        # A caller that sends what does not fit is shown it again.
        assert not found_in(answer, [*SECRETS, JWT] if "webhook" in answer else [*SECRETS, *DELIVERED, JWT])
    assert not found_in(" ".join(service.process.cmdline()), SECRETS)
    looked_at = 0
    for process in service.process.children(recursive=True):
        # The session may be over, and its process leave meanwhile.
        with suppress(psutil.NoSuchProcess):
            assert not found_in(" ".join(process.cmdline()), SECRETS)
            assert not found_in(str(process.environ()), SECRETS), process.cmdline()
            looked_at += 1
    assert looked_at >= 2, "a template and the worker of a run that does not end"
    files = service.kept()
    assert {"log", "logs/messages", "home/logs/audit.jsonl", "home/research.sqlite"} <= files.keys()
    for name, content in files.items():
        records = name.startswith("home/research.sqlite")
        assert not found_in(content, SECRETS if records else [*SECRETS, *DELIVERED, JWT]), name
    audit = [json.loads(line) for line in files["home/logs/audit.jsonl"].decode().splitlines()]
    hooks = {
        line["arguments"].get("webhook")
        for line in audit
        if isinstance(line["arguments"].get("webhook"), str)
    }
    assert "http://127.0.0.1/**********" in hooks
    only_the_owner_reads(service.folder)


def only_the_owner_reads(folder: Path) -> None:
    home = folder / "home"
    private = [
        home,
        home / "logs",
        folder / "logs" / "messages",
        *home.glob("logs/*"),
        *home.glob("research*"),
    ]
    loose = {one.name: oct(one.stat().st_mode & 0o777) for one in private if one.stat().st_mode & 0o077}
    assert set(loose) <= {"research.sqlite.lock"}, "empty"


@pytest.mark.parametrize("command", [["doctor"], ["jobs", "list"]])
def test_a_command_that_fails_shows_no_secret(command: list[str], tmp_path: Path) -> None:
    secrets = {
        **SETTINGS,
        "JESSE_URL": "http://127.0.0.1:9",
        "JESSE_MCP_DATABASE_URL": "postgresql+psycopg://desk:sentinel%2Ddatabase@127.0.0.1:9/desk",
        "JESSE_MCP_HOME": str(tmp_path / "home"),
        "JESSE_MCP_CACHE": str(tmp_path / "cache"),
        "JESSE_MCP_LOG_LEVEL": "DEBUG",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "jesse_mcp", *command],
        env={**os.environ, **secrets},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    shown = ended.stdout + ended.stderr
    assert not found_in(shown, [*SECRETS, "sentinel-database", "sentinel%2Ddatabase"]), shown
    assert "Traceback" not in shown
