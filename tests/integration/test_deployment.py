"""The server behind nginx and as in a container; its home folder saved at work, and brought back."""

import json
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from debian_programs import Program
from jesse_mcp.adapters.storage.token_file import TokenFile
from jesse_mcp.domain.access import Scope
from jesse_mcp.services.tokens import TokenService
from mcp_desk import RUN, SERIES, candle_file, environment, http_server, stdio_desk, strategy, wait_until
from nginx_site import NAME, proxied

DOCKERFILE = Path(__file__).parents[2] / "deploy" / "Dockerfile"
TOKEN = "sentinel-deployment-0123456789abcdefghij"  # noqa: S105
HEADERS = {
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
    "Authorization": f"Bearer {TOKEN}",
}


def command(surroundings: dict[str, str], *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "jesse_mcp", *words],
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def tokens(surroundings: dict[str, str]) -> TokenService:
    return TokenService(TokenFile(Path(surroundings["JESSE_MCP_HOME"]) / "tokens.json"))


def test_a_backup_at_work_gives_the_same_answers_elsewhere(engine_python: Path, tmp_path: Path) -> None:
    """Made while a job runs and its server writes; the server that gets it knows all but the job's end."""
    here = environment(tmp_path / "here", engine_python)
    there = environment(tmp_path / "there", engine_python)
    archive = str(tmp_path / "backup.tar")
    asked: dict[str, dict[str, Any]] = {
        "candles_available": {},
        "strategy_read": {"name": "Saved"},
        "run_list": {},
    }
    with stdio_desk(here, tmp_path / "log") as desk:
        desk.call("candles_import", path=str(candle_file(tmp_path / "candles.csv")), **SERIES)
        desk.call("strategy_write", name="Saved", code=strategy("Saved"))
        desk.call("strategy_write", name="Slow", code=strategy("Slow", "__import__('time').sleep(1)"))
        run = desk.call("backtest", strategy="Saved", **RUN)["run"]
        asked["run_get"] = {"run_id": run["run_id"], "include": ["trades"]}
        job = desk.call("backtest", strategy="Slow", wait_seconds=0, **RUN)["job_id"]
        wait_until(lambda: desk.call("job_get", job_id=job)["state"] == "running", "the job running")
        answers = {tool: desk.call(tool, **arguments) for tool, arguments in asked.items()}
        token, _ = tokens(here).create("bot", [Scope.READ])
        made = command(here, "backup", archive, "--json")
        assert desk.call("job_get", job_id=job)["state"] == "running", "the server goes on"
        desk.call("job_cancel", job_id=job)
    assert made["notes"] == []
    restored = command(there, "restore", archive, "--json")
    assert (restored["files"], restored["put_aside"]) == (made["files"], None)
    with stdio_desk(there, tmp_path / "log") as desk:
        assert {tool: desk.call(tool, **arguments) for tool, arguments in asked.items()} == answers
        assert desk.call("backtest", strategy="Saved", **RUN)["run"]["run_id"] == run["run_id"]
        assert (
            desk.call("backtest", strategy="Saved", use_cache=False, **RUN)["run"]["metrics"]
            == run["metrics"]
        )
        assert desk.call("job_get", job_id=job)["state"] == "lost"
    assert tokens(there).identify(token) is not None


@pytest.fixture(scope="module")
def address(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server as in a container: on every address, called by a name, with a token of the environment."""
    folder = tmp_path_factory.mktemp("service")
    surroundings = environment(
        folder,
        engine_python,
        JESSE_MCP_TOKENS=f"all:admin:{TOKEN}",
        JESSE_MCP_ALLOWED_HOSTS=NAME,
        JESSE_MCP_TRUSTED_PROXIES="127.0.0.1",
        JESSE_MCP_HOST="0.0.0.0",  # noqa: S104
        JESSE_MCP_PREWARM="false",
    )
    with http_server(surroundings, folder / "log") as (_, url):
        yield re.sub(r"http://[^:]+:", "127.0.0.1:", url).removesuffix("/mcp")


def test_a_container_and_a_pod_find_it_healthy(address: str) -> None:
    (found,) = re.findall(r"HEALTHCHECK.*?CMD (\[.*?\])\n", DOCKERFILE.read_text(), re.DOTALL)
    _, *words = json.loads(found)
    words = [word.replace("127.0.0.1:8765", address) for word in words]
    # A container is unhealthy when this fails three times in a row, as it does where a machine stands still.
    healthy = [sys.executable, *words]
    wait_until(lambda: subprocess.run(healthy, check=False).returncode == 0, "it being found healthy")
    closed = [word.replace(address, "127.0.0.1:1") for word in words]
    assert subprocess.run([sys.executable, *closed], stderr=subprocess.DEVNULL, check=False).returncode == 1
    probe = httpx2.get(f"http://{address}/health", headers={"Host": "localhost"}, timeout=60)
    assert probe.status_code == 200


def test_prometheus_gets_its_numbers(address: str) -> None:
    answer = httpx2.get(f"http://{address}/metrics", headers=HEADERS, timeout=60)
    assert answer.status_code == 200
    assert "jesse_mcp_status_known 1.0" in answer.text


def test_the_site_of_nginx_passes_what_it_should(address: str, nginx: Program, tmp_path: Path) -> None:
    with proxied(nginx, tmp_path, [address]) as (plain, secure):
        context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        here = f"https://127.0.0.1:{secure}"
        named = {**HEADERS, "Host": NAME}
        with httpx2.Client(verify=context, timeout=60) as client:
            more: dict[str, Any] = {"headers": named, "extensions": {"sni_hostname": NAME}}
            begin = {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            }
            body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": begin}
            answer = client.post(f"{here}/mcp", json=body, **more)
            assert answer.status_code == 200, answer.text
            assert '"serverInfo"' in answer.text
            assert answer.headers["strict-transport-security"]
            assert client.get(f"{here}/health", **more).status_code == 200
            for hidden in ("/metrics", "/ready", "/"):
                assert client.get(f"{here}{hidden}", **more).status_code == 404
            large = client.post(f"{here}/mcp", content=b"x" * (5 * 2**20), **more)
            assert large.status_code == 413
        moved = httpx2.get(f"http://127.0.0.1:{plain}/mcp", headers={"Host": NAME}, timeout=60)
        assert (moved.status_code, moved.headers["location"]) == (301, f"https://{NAME}/mcp")
