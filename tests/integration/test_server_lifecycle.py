"""The server as a process: what it refuses, how it ends, and what a death leaves behind."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
import pytest
from fastmcp import Client
from fastmcp.client.transports import StdioTransport

from jesse_mcp.analytics.synthetic import synthetic_candles
from mcp_desk import DEADLINE

START = 1_704_067_200_000
SERIES = {"exchange": "Binance Perpetual Futures", "symbol": "BTC-USDT"}
RUN = {**SERIES, "timeframe": "1h", "start_date": "2024-01-03", "warm_up_candles": 24}
STRATEGY = """
from jesse.strategies import Strategy


class {name}(Strategy):
    def should_long(self):
        {condition}

    def go_long(self):
        self.buy = 1, self.price

    def update_position(self):
        self.liquidate()
"""
MINE = STRATEGY.format(name="Mine", condition="return self.index % 6 == 0")
ENDLESS = STRATEGY.format(name="Endless", condition="while True: pass")


def environment(home: Path, cache: Path, engine_python: Path, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "JESSE_MCP_HOME": str(home),
        "JESSE_MCP_CACHE": str(cache),
        "JESSE_PYTHON": str(engine_python),
        "JESSE_MCP_LOG_LEVEL": "ERROR",
        "JESSE_MCP_WORKERS": "2",
        "JESSE_MCP_IMPORT_FOLDERS": str(home.parent),
        **more,
    }


def candle_file(folder: Path) -> Path:
    path = folder / "btc.csv"
    rows = synthetic_candles(START, 8 * 1440, 5)[:, [0, 1, 3, 4, 2, 5]]
    np.savetxt(
        path, rows, delimiter=",", header="timestamp,open,high,low,close,volume", comments="", fmt="%.10g"
    )
    return path


@contextlib.asynccontextmanager
async def served(surroundings: dict[str, str], log: Path) -> AsyncIterator[tuple[psutil.Process, int]]:
    """An HTTP server on a port of its own choosing."""
    with log.open("w") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "jesse_mcp", "serve", "--transport", "http", "--port", "0"),
            env={**surroundings, "JESSE_MCP_LOG_LEVEL": "INFO"},
            stderr=output,
        )
    try:
        seen = psutil.Process(process.pid)
        async with asyncio.timeout(DEADLINE):
            while not (ports := [c.laddr.port for c in seen.net_connections("tcp") if c.status == "LISTEN"]):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        yield seen, ports[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def until(condition: Callable[[], bool], seconds: float = DEADLINE) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


async def prepared(client: "Client[Any]", candles: Path) -> str:
    """Candles, two strategies, one finished run; its id."""
    await client.call_tool("candles_import", {**SERIES, "path": str(candles)})
    for name, code in {"Mine": MINE, "Endless": ENDLESS}.items():
        await client.call_tool("strategy_write", {"name": name, "code": code})
    answer = await client.call_tool("backtest", {**RUN, "strategy": "Mine"})
    return str((answer.structured_content or {})["run"]["run_id"])


async def state_of(client: "Client[Any]", job_id: str) -> str:
    answer = await client.call_tool("job_get", {"job_id": job_id})
    return str((answer.structured_content or {})["state"])


async def test_kill_nine_leaves_no_orphan_and_loses_nothing_finished(
    engine_python: Path, tmp_path: Path
) -> None:
    home, cache = tmp_path / "home", tmp_path / "cache"
    surroundings = environment(home, cache, engine_python)
    async with served(surroundings, tmp_path / "log") as (server, port):  # noqa: SIM117 - one outlives the other
        async with Client(f"http://127.0.0.1:{port}/mcp") as client:
            run_id = await prepared(client, candle_file(tmp_path))
            answer = await client.call_tool("backtest", {**RUN, "strategy": "Endless", "wait_seconds": 0})
            job_id = (answer.structured_content or {})["job_id"]
            async with asyncio.timeout(DEADLINE):
                while await state_of(client, job_id) != "running":
                    await asyncio.sleep(0.02)
            below = server.children(recursive=True)
            assert len(below) >= 2, "a template and a worker"
            server.send_signal(signal.SIGKILL)
            await until(lambda: gone([server, *below]))
    assert list((cache / "scratch").iterdir()) == []
    transport = StdioTransport(
        sys.executable, ["-m", "jesse_mcp", "serve"], env=surroundings, keep_alive=False
    )
    async with Client(transport) as client:
        job = (await client.call_tool("job_get", {"job_id": job_id})).structured_content or {}
        run = (await client.call_tool("run_get", {"run_id": run_id})).structured_content or {}
        assert (job["state"], job["error"]["code"]) == ("lost", "job_lost")
        assert job["error"]["message"]
        assert run["trade_count"] > 5
        again = await client.call_tool("backtest", {**RUN, "strategy": "Mine"})
        assert (again.structured_content or {})["cached"] is True


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
async def test_a_polite_end_is_clean(engine_python: Path, tmp_path: Path, ending: signal.Signals) -> None:
    cache = tmp_path / "cache"
    surroundings = environment(tmp_path / "home", cache, engine_python)
    async with served(surroundings, tmp_path / "log") as (server, port):
        async with Client(f"http://127.0.0.1:{port}/mcp") as client:
            await prepared(client, candle_file(tmp_path))
            await client.call_tool("backtest", {**RUN, "strategy": "Endless", "wait_seconds": 0})
        below = server.children(recursive=True)
        server.send_signal(ending)
        await until(lambda: gone([server, *below]))
    assert list((cache / "scratch").iterdir()) == []


async def test_the_end_of_standard_input_ends_the_server(engine_python: Path, tmp_path: Path) -> None:
    surroundings = environment(tmp_path / "home", tmp_path / "cache", engine_python)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jesse_mcp", "serve"),
        env=surroundings,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    server = psutil.Process(process.pid)
    await until(lambda: bool(server.children(recursive=True)))
    below = server.children(recursive=True)
    output, _ = await process.communicate(b"")
    assert process.returncode == 0
    assert output == b"", "standard output belongs to the protocol"
    await until(lambda: gone(below))


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "https://evil.example"}],
    ids=["host", "origin"],
)
async def test_a_web_page_cannot_reach_it(
    engine_python: Path, tmp_path: Path, headers: dict[str, str]
) -> None:
    surroundings = environment(
        tmp_path / "home", tmp_path / "cache", engine_python, JESSE_MCP_PREWARM="false"
    )
    hello = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    accepts = {"Accept": "application/json, text/event-stream"}
    async with served(surroundings, tmp_path / "log") as (_, port), httpx2.AsyncClient(timeout=60) as client:
        url = f"http://127.0.0.1:{port}/mcp"
        refused = await client.post(url, json=hello, headers={**accepts, **headers})
        assert refused.status_code in (403, 421), refused.text
        assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 404


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])  # noqa: S104
async def test_it_listens_on_loopback_only(tmp_path: Path, host: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jesse_mcp", "serve", "--transport", "http", "--host", host),
        env={**os.environ, "JESSE_MCP_HOME": str(tmp_path)},
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode().startswith(f"invalid_argument: refusing to listen on {host}")


async def test_without_an_engine_everything_else_works(tmp_path: Path) -> None:
    surroundings = {
        **os.environ,
        "JESSE_MCP_HOME": str(tmp_path / "home"),
        "JESSE_MCP_CACHE": str(tmp_path / "cache"),
        "JESSE_MCP_LOG_LEVEL": "ERROR",
        "JESSE_PYTHON": "",
    }
    transport = StdioTransport(
        sys.executable, ["-m", "jesse_mcp", "serve"], env=surroundings, keep_alive=False
    )
    async with Client(transport) as client:
        assert len(await client.list_tools()) == 38
        status = (await client.call_tool("system_status", {})).structured_content or {}
        assert status["engine"]["installed"] is False
        assert "jesse-mcp engine install" in status["engine"]["hint"]
        await client.call_tool("candles_import", {**SERIES, "path": str(candle_file(tmp_path))})
        arguments = {**RUN, "strategy": "TrendFollowing"}
        refused = await client.call_tool("backtest", arguments, raise_on_error=False)
        error = (refused.structured_content or {})["error"]
        assert error["code"] == "engine_not_installed"
        assert "jesse-mcp engine install" in error["hint"]


async def test_status_answers_while_every_worker_is_busy(engine_python: Path, tmp_path: Path) -> None:
    surroundings = environment(tmp_path / "home", tmp_path / "cache", engine_python)
    transport = StdioTransport(
        sys.executable, ["-m", "jesse_mcp", "serve"], env=surroundings, keep_alive=False
    )
    async with Client(transport) as client:
        await prepared(client, candle_file(tmp_path))
        for fee in (0.001, 0.002):
            await client.call_tool("backtest", {**RUN, "strategy": "Endless", "fee": fee, "wait_seconds": 0})
        async with asyncio.timeout(DEADLINE):
            while True:
                status = (await client.call_tool("system_status", {})).structured_content or {}
                if status["engine"]["workers"]["busy"] == 2 and status["jobs"]["running"] == 2:
                    break
