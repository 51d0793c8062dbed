"""The clock of the machine is set while two servers serve: a day ahead, then back to an hour before.

How long it took to recover is in the properties of the test and in its output (``pytest -rP``).
"""

import os
from pathlib import Path
from typing import Any

from faulty_service import (
    Measured,
    asked_of_records,
    faulty_service,
    records_are_whole,
    timed,
)
from mcp_desk import RUN, SERIES, candle_file, environment, held, strategy, wait_until

HOUR = 3600.0
#: Loaded by Python itself before the server: its time is that of the machine and what a file says.
SEAM = """
import os, pathlib, time

_real, _file = time.time, pathlib.Path(os.environ["OFFSET_OF_CLOCK"])
time.time = lambda: _real() + float(_file.read_text())
time.time_ns = lambda: int(time.time() * 1e9)
"""
BATCH: dict[str, Any] = {
    **{name: value for name, value in RUN.items() if name != "warm_up_candles"},
    "settings": {"warm_up_candles": 24},
    "strategy": "Held",
    "vary": {"hyperparameters": [{"every": every} for every in range(2, 8)]},
}


class SetClock:
    """A clock that the servers have in common."""

    def __init__(self, folder: Path) -> None:
        seam = folder / "seam"
        seam.mkdir()
        (seam / "sitecustomize.py").write_text(SEAM)
        self._file = folder / "offset"
        self.set(0)
        path = os.pathsep.join([str(seam), os.environ.get("PYTHONPATH", "")])
        self.variables = {"PYTHONPATH": path, "OFFSET_OF_CLOCK": str(self._file)}

    def set(self, seconds: float) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._file)


def lease(folder: Path, job_id: str) -> float:
    ((found,),) = asked_of_records(folder, f"SELECT lease_until FROM jobs WHERE job_id = '{job_id}'")  # noqa: S608
    return float(found)


def beat(folder: Path, job_id: str) -> None:
    """Wait until the owner has renewed its lease."""
    before = lease(folder, job_id)
    wait_until(lambda: lease(folder, job_id) != before, "a renewal")


def test_a_clock_that_is_set_takes_no_job_from_its_server(
    engine_python: Path, tmp_path: Path, measured: Measured
) -> None:
    clock = SetClock(tmp_path)
    surroundings = environment(tmp_path, engine_python, JESSE_MCP_RUN_TIMEOUT="600", **clock.variables)
    surroundings["JESSE_MCP_WORKERS"] = "3"
    with (
        faulty_service(surroundings, tmp_path) as owner,
        faulty_service(surroundings | {"JESSE_MCP_PREWARM": "false"}, tmp_path) as other,
    ):
        owner.desk.call("candles_import", **SERIES, path=str(candle_file(tmp_path / "btc.csv")))
        gate = tmp_path / "gate"
        for name, act in {"Held": held(gate), "Still": "import time; time.sleep(600)"}.items():
            owner.desk.call("strategy_write", name=name, code=strategy(name, act))
        still = owner.desk.call("backtest", **RUN, strategy="Still", wait_seconds=0)["job_id"]
        batch = owner.desk.call("backtest_batch", **BATCH, wait_seconds=0)["job_id"]
        for job_id in (still, batch):
            owner.wait_for(job_id, "running")
        for hours in (24, -1):
            clock.set(hours * HOUR)
            # Joining looks for abandoned jobs at once, before anybody has renewed.
            joined = other.desk.call("backtest_batch", resume=batch, wait_seconds=0)
            assert joined["job_id"] == batch, "a job that goes on is not begun again"
            with timed(measured, f"two beats after the clock was set by {hours} h"):
                beat(tmp_path, still)
                beat(tmp_path, still)
            for service in (owner, other):
                assert service.state(still) == "running"
                assert service.ready()
        gate.touch()
        answer = owner.desk.call("backtest_batch", resume=batch, wait_seconds=100)
        assert (answer["job_id"], answer["result"]["failed"]) == (batch, 0)
        assert answer["result"]["cached"] == 0, "nothing is run twice"
        assert owner.desk.call("job_cancel", job_id=still)["state"] == "cancelled"
        assert other.state(still) == "cancelled"
        states = {job["state"] for job in other.desk.call("job_list")["jobs"]}
        assert states == {"done", "cancelled"}
    records_are_whole(tmp_path)
