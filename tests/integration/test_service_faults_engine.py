"""The engine's environment is taken away from a server that serves, and brought back.

How long it took to recover is in the properties of the test and in its output (``pytest -rP``).
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from faulty_service import FaultyService, Measured, asked_of_records, faulty_service, timed
from mcp_desk import RUN, SERIES, candle_file, environment, strategy, wait_until


class Borrowed:
    """A way to the engine's Python that can be taken away without harm to the environment others use."""

    def __init__(self, folder: Path, engine_python: Path) -> None:
        self._real = engine_python.parent.parent
        self._way = folder / "engine"
        self.python = self._way / "bin" / engine_python.name
        self.bring_back()

    def take_away(self) -> None:
        self._way.unlink()

    def bring_back(self) -> None:
        self._way.symlink_to(self._real, target_is_directory=True)


def experiment(number: int) -> dict[str, Any]:
    """A backtest that no other is the same as."""
    return {**RUN, "strategy": "Mine", "fee": 0.001 + number / 10_000}


@pytest.mark.parametrize("template", ["warm", "gone too"])
def test_an_engine_that_is_taken_away_is_missed_and_found_again(
    engine_python: Path, tmp_path: Path, measured: Measured, template: str
) -> None:
    engine = Borrowed(tmp_path, engine_python)
    with faulty_service(environment(tmp_path, engine.python), tmp_path) as service:
        desk = service.desk
        desk.call("candles_import", **SERIES, path=str(candle_file(tmp_path / "btc.csv")))
        desk.call("strategy_write", name="Mine", code=strategy("Mine"))
        before = desk.call("backtest", **experiment(0))["run"]
        engine.take_away()
        if template == "gone too":
            for process in service.below:
                # The worker of the run above may leave by itself meanwhile.
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        wait_until(lambda: service.problems() == ["engine: not usable"], "being not ready")
        error = desk.refused("backtest", **experiment(1))
        assert error["code"] == "engine_failed", error
        assert "JESSE_PYTHON" in error["message"] + error["hint"], error
        assert "jesse-mcp engine install" in error["hint"], error
        status = desk.call("system_status")["engine"]
        assert (status["installed"], bool(status["hint"])) == (False, True)
        assert desk.call("run_get", run_id=before["run_id"])["metrics"] == before["metrics"]
        engine.bring_back()
        with timed(measured, f"ready and running again after the engine was back (template {template})"):
            wait_until(service.ready, "being ready")
            after = desk.call("backtest", **experiment(1))
        assert after["cached"] is False
        same = {**experiment(0), "use_cache": False}
        assert desk.call("backtest", **same)["run"]["metrics"] == before["metrics"]
        assert_quiet(service)
    assert asked_of_records(tmp_path, "SELECT count(*) FROM trials") == [(2,)], "each counted once"


def assert_quiet(service: FaultyService) -> None:
    """No job is left active, and no worker but the one in waiting."""
    for state in ("queued", "running"):
        assert service.desk.call("job_list", state=state)["total"] == 0
    wait_until(lambda: len(service.below) == 2, "a template and one worker in waiting")
