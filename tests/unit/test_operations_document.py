"""What docs/operations.md shows is what there is: its commands parse, its names exist, its nginx fits."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from jesse_mcp.adapters.webhooks import SIGNATURE_HEADER, TIMEOUT, TIMESTAMP_HEADER
from jesse_mcp.cli.main import build_app
from jesse_mcp.domain.access import Scope
from jesse_mcp.domain.deliveries import JobNotice
from jesse_mcp.domain.errors import ErrorCode
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.server.http.metrics import Metrics
from jesse_mcp.server.http.token_refusal import MCP_PATH
from jesse_mcp.services.job_notices import CLAIM_MS, OLDEST_MS
from jesse_mcp.services.webhook_attempts import MAX_ATTEMPTS
from jesse_mcp.settings import Settings, variable

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
TEXT = (ROOT / "docs" / "operations.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()
]


def test_what_clients_are_given_names_the_place_of_the_server() -> None:
    (configuration,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    entry = json.loads(configuration)["mcpServers"]["jesse"]
    assert entry["url"].removeprefix("https://desk.example.org") == MCP_PATH
    assert entry["headers"] == {"Authorization": "Bearer TOKEN"}
    (bot,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    compile(bot, "bot", "exec")
    assert f'"{entry["url"]}"' in bot


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("jesse-mcp ")])
def test_a_command_parses(command: str) -> None:
    build_app().parse_args(shlex.split(command)[1:], print_error=False, exit_on_error=False)


def test_nothing_else_is_shown_that_nobody_runs() -> None:
    """gunicorn and uvicorn are run by tests/integration/test_http_service.py with the words shown."""
    assert {line.split()[0] for line in COMMANDS} == {"jesse-mcp", "gunicorn", "uvicorn", "export"}


def test_what_no_test_runs_says_so() -> None:
    """And what it says of jesse-mcp and of files is true."""
    parts = re.split(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL)
    for before, block in zip(parts[::2], parts[1::2], strict=False):
        assert "Not run by a test, because it needs" in " ".join(before.split("\n\n")[-2:]).replace("\n", " ")
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)
        for line in block.splitlines():
            found = re.search(r"(?:bin/jesse-mcp|run --rm server) (.*)", line)
            if found:
                build_app().parse_args(shlex.split(found[1]), print_error=False, exit_on_error=False)
    assert " ".join(TEXT.split()).count("Not run by a test") == TEXT.count("```sh\n")


def test_every_file_to_deploy_is_there_and_named() -> None:
    named = set(re.findall(r"deploy/([\w.-]+\w)", TEXT))
    there = {path.name for path in DEPLOY.iterdir()}
    assert named <= there
    # What the others are made with.
    assert there - named == {"Dockerfile", "Dockerfile.dockerignore", "postgres.sql"}


def test_secrets_of_the_containers_are_all_made() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for secret in compose["secrets"].values():
        assert f"> {secret['file'].removeprefix('../')}\n" in TEXT


def test_exported_values_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in COMMANDS:
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.allowed_hosts, settings.trusted_proxies) == (("desk.example.org",), ("127.0.0.1",))
    assert f"server_name {settings.allowed_hosts[0]};" in (DEPLOY / "nginx.conf").read_text()


def test_what_the_webhook_of_jobs_is_told_and_how_often() -> None:
    text = " ".join(TEXT[TEXT.index("## A webhook for jobs") : TEXT.index("## Logs")].split())
    times = dict.fromkeys(("created_at", "started_at", "finished_at"), "2026-01-01T00:00:00.000Z")
    ids = dict.fromkeys(("webhook", "job_id", "kind", "tool", "run_id", "error_code"), "x")
    notice = JobNotice.model_validate({**ids, **times, "state": "done", "noticed_at": 0})
    sentence = re.search(r"`POST` of JSON with (.*?)\. Arguments", text)
    assert sentence is not None
    assert set(re.findall(r"`(\w+)`", sentence[1])) - {*JobState, "job_get"} == set(notice.content())
    assert {state.value for state in JobState if not state.active} <= set(re.findall(r"`(\w+)`", sentence[1]))
    assert {SIGNATURE_HEADER, TIMESTAMP_HEADER, "Idempotency-Key"} <= set(re.findall(r"`([\w-]+)`", text))
    assert f"2xx within {TIMEOUT:g} seconds" in text
    assert f"{MAX_ATTEMPTS} times in all" in text
    assert f"within {OLDEST_MS // 86_400_000} days" in text
    assert "within a minute" in text
    assert CLAIM_MS == 60_000


def test_names_in_the_text_exist() -> None:
    variables = {variable(name) for name in Settings.model_fields}
    assert set(re.findall(r"\b(?:JESSE_MCP|RATE_LIMIT)_[A-Z_]+\b", TEXT)) <= variables
    scopes = re.search(r"\| scope \|.*?\n\n", TEXT, re.DOTALL)
    assert scopes is not None
    assert re.findall(r"^\| `(\w+)`", scopes[0], re.MULTILINE) == list(Scope)
    for code in (ErrorCode.FORBIDDEN, ErrorCode.RATE_LIMITED, ErrorCode.RESULT_TOO_LARGE):
        assert f"`{code}`" in TEXT
    exported = {family.name for family in Metrics()._registry.collect()}
    named = {name.removesuffix("_total") for name in re.findall(r"`(jesse_mcp_\w+)`", TEXT)}
    assert named == exported
