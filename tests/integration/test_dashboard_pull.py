"""Candles of a real Jesse copied to this machine, and seen through the tools where they are."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from jesse_host import PASSWORD, JesseHost
from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.dashboard.candle_upload import delete_series, upload_candles
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.login import Credentials
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.services.candle_pull import CandlePullService
from jesse_mcp.services.jobs import JobService
from mcp_desk import environment, stdio_desk

START = 1_704_067_200_000
EXCHANGE = "Binance Spot"


@pytest.fixture
def key(jesse_host: JesseHost, request: pytest.FixtureRequest) -> Iterator[SeriesKey]:
    """Three days in Jesse, under a symbol of the test's own."""
    letters = "".join(c for c in request.node.name.upper() if c.isalnum())
    series = SeriesKey(exchange=EXCHANGE, symbol=f"{letters[4:20]}-USDT")
    client = DashboardClient(jesse_host.url, Credentials(password=SecretStr(PASSWORD)))
    upload_candles(client, series, three_days())
    yield series
    delete_series(client, series)
    client.close()


def three_days() -> CandleArray:
    return synthetic_candles(START, 3 * 1440, 1)


def surroundings(host: JesseHost, folder: Path, engine_python: Path, engine: str) -> dict[str, str]:
    address = {"JESSE_URL": host.url, "JESSE_PASSWORD": PASSWORD, "JESSE_MCP_ENGINE": engine}
    return {**environment(folder, engine_python), **address, "JESSE_MCP_PREWARM": "false"}


@pytest.mark.parametrize("engine", ["auto", "embedded"])
def test_the_command_line_copies_into_the_store_of_this_machine(
    jesse_host: JesseHost, key: SeriesKey, engine_python: Path, tmp_path: Path, engine: str
) -> None:
    command = [sys.executable, "-m", "jesse_mcp", "candles", "pull", EXCHANGE, key.symbol]
    variables = surroundings(jesse_host, tmp_path, engine_python, engine)
    for added in (4320, 0):
        done = subprocess.run(
            [*command, "--json"], env=variables, capture_output=True, text=True, check=True, timeout=120
        )
        said = json.loads(done.stdout)
        assert (said["rows"], said["added"], said["unchanged"]) == (4320, added, 4320 - added)
        assert said["source"] == f"Jesse at {jesse_host.url}"
    plain = subprocess.run(command, env=variables, capture_output=True, text=True, check=True, timeout=120)
    assert "4,320 unchanged" in plain.stdout
    rows = ParquetCandleStore(tmp_path / "home" / "candles").read(key)
    np.testing.assert_array_equal(rows.astype("f4"), three_days().astype("f4"))


def test_agents_copy_with_candles_import(
    jesse_host: JesseHost, key: SeriesKey, engine_python: Path, tmp_path: Path
) -> None:
    variables = surroundings(jesse_host, tmp_path, engine_python, "embedded")
    series = key.model_dump()
    with stdio_desk(variables, tmp_path / "log") as desk:
        assert desk.call("candles_available")["series"] == []
        pulled = desk.call("candles_import", **series, source="dashboard")["pulled"]
        assert (pulled["state"], pulled["rows"], pulled["added"]) == ("done", 4320, 4320)
        (found,) = desk.call("candles_available")["series"]
        assert (found["rows"], found["source"]) == (4320, f"Jesse at {jesse_host.url}")
        absent = desk.refused("candles_import", exchange=EXCHANGE, symbol="NOWHERE-USDT", source="dashboard")
        assert absent["code"] == "series_not_found"
        for beside in ({"start_date": "2024-01-01"}, {"path": "/x.csv"}, {"timestamp_unit": "ms"}):
            refused = desk.refused("candles_import", **series, source="dashboard", **beside)
            assert refused["code"] == "invalid_argument"


def test_there_must_be_another_jesse(engine_python: Path, tmp_path: Path) -> None:
    with stdio_desk(environment(tmp_path, engine_python), tmp_path / "log") as desk:
        error = desk.refused("candles_import", exchange=EXCHANGE, symbol="BTC-USDT", source="dashboard")
    assert error["code"] == "capability_missing"
    assert "JESSE_URL" in error["hint"]


def test_the_tools_on_a_running_jesse(
    jesse_host: JesseHost, key: SeriesKey, engine_python: Path, tmp_path: Path
) -> None:
    variables = surroundings(jesse_host, tmp_path, engine_python, "dashboard")
    series = key.model_dump()
    with stdio_desk(variables, tmp_path / "log") as desk:

        def listed() -> dict[str, object]:
            answer = desk.call("candles_available")["series"]
            (found,) = [one for one in answer if one["symbol"] == key.symbol]
            return dict(found)

        before = listed()
        assert (before["rows"], before["content_hash"], before["first"]) == (None, None, "2024-01-01")
        assert before["unread"]
        (named,) = desk.call("candles_available", **series)["series"]
        assert (named["rows"], named["missing"], named["unread"]) == (4320, 0, None)
        assert listed() == named
        range_ = {"start_date": "2024-01-03", "end_date": "2024-01-05"}
        (covered,) = desk.call("candles_available", **series, **range_)["series"]
        assert (covered["coverage"]["present"], covered["coverage"]["expected"]) == (1440, 2880)
        for call, more in (("candles_delete", range_), ("candles_import", range_)):
            error = desk.refused(call, **series, **more)
            assert error["code"] == "capability_missing"
            assert "leave out" in error["hint"]
        error = desk.refused("candles_import", **series, source="dashboard")
        assert error["code"] == "capability_missing"
        assert desk.call("candles_delete", **series) == {**series, "deleted": 4320, "remaining": 0}
        assert desk.call("candles_available", **series)["series"] == []


class Endless:
    """Another store, whose series has no end."""

    name = "endless"

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended = threading.Event()

    def whole(self, _key: SeriesKey, arrived: object) -> CandleArray:
        try:
            while True:
                assert callable(arrived)
                arrived(1)
                self.begun.set()
        finally:
            self.ended.set()


@pytest.fixture
async def jobs(tmp_path: Path) -> AsyncIterator[JobService]:
    database = Database.at(tmp_path / "research.sqlite")
    service = JobService(SqlJobStore(database), "here", lambda _owner: False)
    await service.start()
    yield service
    await service.close()
    database.close()


async def test_a_cancelled_copy_stops_reading_and_stores_nothing(jobs: JobService, tmp_path: Path) -> None:
    store, origin = ParquetCandleStore(tmp_path / "candles"), Endless()
    service = CandlePullService(store, origin, "", jobs, lambda name: name)
    answer = await service.pull(EXCHANGE, "BTC-USDT", wait_seconds=0)
    assert answer.rows is None
    await asyncio.to_thread(origin.begun.wait, 60)
    job = await jobs.cancel(answer.job_id)
    assert job.state is JobState.CANCELLED
    assert await asyncio.to_thread(origin.ended.wait, 60)
    assert store.summaries() == []


async def test_where_there_is_nothing_to_copy_from(jobs: JobService, tmp_path: Path) -> None:
    store = ParquetCandleStore(tmp_path / "candles")
    service = CandlePullService(store, None, "set JESSE_URL", jobs, lambda name: name)
    with pytest.raises(ResearchError) as caught:
        await service.pull(EXCHANGE, "BTC-USDT", wait_seconds=0)
    assert (caught.value.code, caught.value.hint) == (ErrorCode.CAPABILITY_MISSING, "set JESSE_URL")
