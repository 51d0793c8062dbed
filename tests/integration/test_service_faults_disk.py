"""A disk that is full: of the records and candles, and of the engine.

How long it took to recover is in the properties of each test and in its output (``pytest -rP``).
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from faulty_service import (
    FaultyService,
    Measured,
    asked_of_records,
    faulty_service,
    records_are_whole,
    stopped,
    timed,
)
from mcp_desk import RUN, SERIES, candle_file, environment, held, strategy, wait_until

OTHER = {"exchange": "Binance Spot", "symbol": "ETH-USDT"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB of its own."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small file system can be mounted here, which takes root: {error}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Not a byte is left on ``disk`` meanwhile."""
    filler = disk / "filler"
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        for size in (2**20, 4096):
            try:
                while os.write(descriptor, b"x" * size):
                    pass
            except OSError:
                continue
        yield
    finally:
        os.close(descriptor)
        filler.unlink()


def furnished(service: FaultyService) -> dict[str, Any]:
    """Candles, two strategies and a run; the answer with the run. ``Held`` goes on when :func:`let_go`."""
    csv = candle_file(service.folder / "btc.csv")
    service.desk.call("candles_import", **SERIES, path=str(csv))
    for name, act in {"Mine": "pass", "Held": held(service.folder / "gate")}.items():
        service.desk.call("strategy_write", name=name, code=strategy(name, act))
    return service.desk.call("backtest", **RUN, strategy="Mine")


def let_go(service: FaultyService) -> None:
    (service.folder / "gate").touch()


def written(home: Path, job_id: str) -> str:
    """The state of a job as another process sees it."""
    ((state,),) = asked_of_records(home, f"SELECT state FROM jobs WHERE job_id = '{job_id}'")  # noqa: S608
    return str(state)


def test_a_full_disk_is_said_and_nothing_stored_is_lost(
    engine_python: Path, small_disk: Path, tmp_path: Path, measured: Measured
) -> None:
    surroundings = environment(small_disk, engine_python, JESSE_MCP_MIN_FREE_DISK_MB="2")
    surroundings["JESSE_MCP_CACHE"] = str(tmp_path / "cache")
    with faulty_service(surroundings, tmp_path) as service:
        desk = service.desk
        run = furnished(service)["run"]
        before = {tool: desk.call(tool) for tool in ("candles_available", "strategy_list", "run_list")}
        under_way = desk.call("backtest", **RUN, strategy="Held", wait_seconds=0)["job_id"]
        service.wait_for(under_way, "running")
        csv = str(tmp_path / "btc.csv")
        writes: list[tuple[str, dict[str, Any]]] = [
            ("backtest", {**RUN, "strategy": "Mine", "fee": 0.0021}),
            ("strategy_write", {"name": "Other", "code": strategy("Other")}),
            ("candles_import", {**OTHER, "path": csv}),
        ]
        with full(small_disk):
            assert service.problems() == ["disk: less than 2 MiB free"]
            for tool, arguments in writes:
                error = desk.refused(tool, **arguments)
                assert error["code"] == "storage_failed", (tool, error)
                assert "space" in error["hint"] or "disk is" in error["hint"], (tool, error)
            assert {tool: desk.call(tool) for tool in before} == before
            assert desk.call("run_get", run_id=run["run_id"])["metrics"] == run["metrics"]
            assert desk.call("backtest", **RUN, strategy="Mine")["cached"] is True
            assert service.state(under_way) == "running", "work is not given up for want of a place for notes"
        with timed(measured, "ready and writing again after the disk had been full"):
            wait_until(service.ready, "being ready")
            answers = [desk.call(tool, **arguments) for tool, arguments in writes]
        assert answers[0]["state"] == "done"
        let_go(service)
        service.wait_for(under_way, "done")
        records_are_whole(small_disk)
        assert desk.call("run_list")["total"] == before["run_list"]["total"] + 2
        stopped(service)
    left = [path.name for path in small_disk.rglob("*") if path.name.endswith((".tmp", ".partial"))]
    assert left == [], "nothing half-written"


def test_a_disk_that_fills_while_a_run_ends(
    engine_python: Path, small_disk: Path, tmp_path: Path, measured: Measured
) -> None:
    """What cannot be stored is an error of its job, which is written down when there is space again."""
    surroundings = environment(small_disk, engine_python, JESSE_MCP_MIN_FREE_DISK_MB="2")
    surroundings["JESSE_MCP_CACHE"] = str(tmp_path / "cache")
    with faulty_service(surroundings, tmp_path) as service:
        furnished(service)
        held_up = {**RUN, "strategy": "Held"}
        job_id = service.desk.call("backtest", **held_up, wait_seconds=0)["job_id"]
        service.wait_for(job_id, "running")
        with full(small_disk):
            let_go(service)
            service.wait_for(job_id, "failed")
            error = service.desk.call("job_get", job_id=job_id)["error"]
            assert error["code"] == "storage_failed"
        with timed(measured, "the end of the job written down"):
            wait_until(lambda: written(small_disk, job_id) == "failed", "the end written down")
        assert service.desk.call("backtest", **held_up)["state"] == "done"
        records_are_whole(small_disk)


def test_a_full_disk_of_the_engine(
    engine_python: Path, small_disk: Path, tmp_path: Path, measured: Measured
) -> None:
    surroundings = environment(tmp_path, engine_python, JESSE_MCP_MIN_FREE_DISK_MB="2")
    surroundings["JESSE_MCP_CACHE"] = str(small_disk)
    with faulty_service(surroundings, tmp_path) as service:
        furnished(service)
        with full(small_disk):
            assert service.problems() == ["disk of the engine: less than 2 MiB free"]
            error = service.desk.refused("backtest", **RUN, strategy="Mine", fee=0.0021)
            assert (error["code"], "JESSE_MCP_CACHE" in error["hint"]) == ("storage_failed", True), error
        with timed(measured, "ready and running again after the disk of the engine had been full"):
            wait_until(service.ready, "being ready")
            assert service.desk.call("backtest", **RUN, strategy="Mine", fee=0.0021)["state"] == "done"
        records_are_whole(tmp_path)
