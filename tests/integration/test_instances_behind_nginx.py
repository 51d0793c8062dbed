"""Two servers behind nginx with TLS, asked by clients, watched by Prometheus; and one of them is killed."""

import asyncio
import json
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from mcp import MCPError

from debian_programs import Program
from faulty_service import Measured, timed
from mcp_desk import RUN, SERIES, candle_file, http_server, strategy, wait_until
from nginx_site import NAME, proxied
from postgres_host import Place
from several_instances import STRATEGIES, nothing_twice, rows, surroundings

pytestmark = pytest.mark.timeout(600)

DEPLOY = Path(__file__).parents[2] / "deploy"
TOKEN = "sentinel-instances-0123456789abcdefghij"  # noqa: S105
CLIENTS = 3
#: What the SDK makes of a call whose server dies: before its answer began (502 of nginx), and after that.
BROKEN_OFF = {"Server returned an error response", "SSE stream ended without a response"}


@dataclass
class Site:
    """Servers by their addresses, and nginx in front of them."""

    servers: "dict[str, subprocess.Popen[bytes]]"
    port: int
    folder: Path

    def client(self) -> Client[Any]:
        """As it would be on another machine, except that the name leads here."""

        def made(
            headers: dict[str, str] | None = None,
            timeout: httpx2.Timeout | None = None,
            auth: httpx2.Auth | None = None,
            **more: Any,
        ) -> httpx2.AsyncClient:
            transport = _Here(self.port, verify=ssl.create_default_context(cafile=self.folder / "ca.pem"))
            return httpx2.AsyncClient(
                transport=transport, headers=headers, timeout=timeout, auth=auth, **more
            )

        return Client(
            StreamableHttpTransport(f"https://{NAME}/mcp", auth=TOKEN, httpx_client_factory=made), timeout=120
        )


class _Here(httpx2.AsyncHTTPTransport):
    """Connects to a port of this machine, whatever the name; the certificate has to be that of the name."""

    def __init__(self, port: int, **options: Any) -> None:
        super().__init__(**options)
        self._port = port

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.extensions = {**request.extensions, "sni_hostname": request.url.host}
        request.url = request.url.copy_with(host="127.0.0.1", port=self._port)
        return await super().handle_async_request(request)


@pytest.fixture
def site(engine_python: Path, tmp_path: Path, postgresql: Place, nginx: Program) -> Iterator[Site]:
    given = surroundings(
        tmp_path,
        engine_python,
        postgresql.address,
        JESSE_MCP_TOKENS=f"all:admin:{TOKEN}",
        JESSE_MCP_ALLOWED_HOSTS=NAME,
        JESSE_MCP_TRUSTED_PROXIES="127.0.0.1",
        RATE_LIMIT_ENABLED="false",
    )
    with ExitStack() as stack:
        servers = {}
        for number in range(2):
            process, url = stack.enter_context(http_server(given, tmp_path / f"log{number}"))
            servers[url.removeprefix("http://").removesuffix("/mcp")] = process
        _, secure = stack.enter_context(proxied(nginx, tmp_path, list(servers)))
        yield Site(servers, secure, tmp_path)


@contextmanager
def watched(prometheus: Program, folder: Path, targets: list[str]) -> Iterator[Callable[[str], Any]]:
    """Prometheus with the job of deploy/prometheus.yml; what answers its queries."""
    (folder / "token").write_text(TOKEN)
    jobs = (DEPLOY / "prometheus.yml").read_text()
    for shipped, here in {
        "/etc/prometheus/jesse-mcp.token": str(folder / "token"),
        '["127.0.0.1:8765"]': json.dumps(targets),
        "scrape_interval: 30s": "scrape_interval: 1s",
    }.items():
        assert shipped in jobs
        jobs = jobs.replace(shipped, here)
    (folder / "prometheus.yml").write_text(jobs)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        str(prometheus.path),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, env=prometheus.environment, stdout=log, stderr=log, cwd=folder)

    def value(query: str) -> dict[str, float]:
        """By instance."""
        assert process.poll() is None, (folder / "prometheus.log").read_text()[-2000:]
        try:
            answer = httpx2.get(f"http://{address}/api/v1/query", params={"query": query}, timeout=30)
        except httpx2.TransportError:
            return {}
        if answer.status_code != 200:
            return {}
        found = answer.json()["data"]["result"]
        return {one["metric"].get("instance", ""): float(one["value"][1]) for one in found}

    try:
        yield value
    finally:
        process.terminate()
        process.wait()


class Load:
    """Experiments that differ, each asked until it is answered."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._number = 0
        self.over = False
        self.answered: dict[float, str] = {}
        self.failures: list[str] = []

    async def work(self) -> None:
        async with self._site.client() as client:
            while not self.over:
                self._number += 1
                await self._ask(client, 10_000.0 + self._number)

    async def _ask(self, client: Client[Any], balance: float) -> None:
        while True:
            try:
                answer = await client.call_tool(
                    "backtest", {**RUN, "strategy": "Fast", "starting_balance": balance}
                )
            except MCPError as error:
                self.failures.append(error.message)
                continue
            assert answer.structured_content is not None
            self.answered[balance] = answer.structured_content["run"]["run_id"]
            return


async def until(condition: Callable[[], Any], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what)


async def test_one_of_two_is_killed_and_the_other_serves_on(
    site: Site, prometheus: Program, postgresql: Place, measured: Measured, tmp_path: Path
) -> None:
    first, second = site.servers
    async with site.client() as client:
        path = str(candle_file(tmp_path / "btc.csv"))
        await client.call_tool("candles_import", {**SERIES, "path": path})
        code = strategy("Fast", STRATEGIES["Fast"])
        await client.call_tool("strategy_write", {"name": "Fast", "code": code})
    with watched(prometheus, tmp_path, list(site.servers)) as value:
        load = Load(site)
        clients = [asyncio.create_task(load.work()) for _ in range(CLIENTS)]
        try:
            await until(lambda: value("up") == {first: 1.0, second: 1.0}, "both being up")
            calls = 'jesse_mcp_tool_calls_total{tool="backtest"}'
            await until(
                lambda: value(f"sum by (instance) ({calls})").keys() == {first, second}, "both working"
            )
            # Numbers that come too late for Prometheus are missing until it asks again.
            known_by = "jesse_mcp_status_known == 1"
            await until(lambda: value(known_by).keys() == {first, second}, "both knowing their records")
            assert load.failures == []
            known = len(load.answered)
            with timed(measured, "seconds until every client was answered after one was killed"):
                site.servers[first].kill()
                # More than were under way at that moment.
                await until(lambda: len(load.answered) > known + 2 * CLIENTS, "answers of the other")
            await until(lambda: value("up") == {first: 0.0, second: 1.0}, "it being missed")
        finally:
            load.over = True
        await asyncio.gather(*clients)
    assert set(load.failures) <= BROKEN_OFF
    assert len(load.failures) <= 2 * CLIENTS, "those under way alone, or sent into a connection that broke"
    database = postgresql.open()
    nothing_twice(database)
    assert rows(database, "SELECT count(*) FROM trials") == [(len(load.answered),)]
