"""A thousand jobs wait for two workers.

How long it took to recover is in the properties of the test and in its output (``pytest -rP``).
"""

from concurrent.futures import ThreadPoolExecutor
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
from mcp_desk import RUN, SERIES, candle_file, environment, strategy

JOBS = 1_000
#: Calls under way at a time, as of several agents.
AT_ONCE = 8
STILL = strategy("Still", "import time; time.sleep(600)")
#: MiB; a job that waits keeps its plan.
MOST_MEMORY = 200


def at_once(call: Any, arguments: Any) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(call, arguments))


def waiting(service: FaultyService, state: str = "queued") -> int:
    total: int = service.desk.call("job_list", state=state, limit=1)["total"]
    return total


@pytest.mark.timeout(900)
def test_a_thousand_waiting_jobs(engine_python: Path, tmp_path: Path, measured: Measured) -> None:
    limits = {"JESSE_MCP_MAX_QUEUED_JOBS": str(JOBS), "JESSE_MCP_MAX_JOBS_PER_CLIENT": str(2 * JOBS)}
    limits |= {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_REQUESTS_PER_MINUTE": "100000"}
    surroundings = environment(tmp_path, engine_python, **limits)
    with faulty_service(surroundings, tmp_path) as service:
        desk = service.desk
        desk.call("candles_import", **SERIES, path=str(candle_file(tmp_path / "btc.csv")))
        desk.call("strategy_write", name="Still", code=STILL)

        def submitted(number: int) -> dict[str, Any]:
            fee = 0.001 + number / 1_000_000
            return desk.call("backtest", **RUN, strategy="Still", fee=fee, wait_seconds=0)

        running = [submitted(JOBS + number)["job_id"] for number in range(2)]
        for job_id in running:
            service.wait_for(job_id, "running")
        memory = service.memory_mb
        with timed(measured, f"{JOBS} jobs accepted"):
            jobs = [answer["job_id"] for answer in at_once(submitted, range(JOBS))]
        assert len(set(jobs)) == JOBS == waiting(service)
        full = desk.refused("backtest", **RUN, strategy="Still", fee=0.05, wait_seconds=0)
        assert (full["code"], full["details"]["limit"]) == ("rate_limited", JOBS)
        print(f"they take {service.memory_mb - memory:.0f} MiB")
        assert service.memory_mb < memory + MOST_MEMORY
        with timed(measured, "status, a page of jobs and one of them meanwhile"):
            assert desk.call("system_status")["jobs"]["queued"] == JOBS
            assert len(desk.call("job_list", state="queued", limit=200, offset=800)["jobs"]) == 200
            assert service.state(jobs[JOBS // 2]) == "queued"
            assert service.ready()
        with timed(measured, "a quarter of them cancelled"):
            ended = at_once(lambda job_id: desk.call("job_cancel", job_id=job_id), jobs[: JOBS // 4])
        assert {job["state"] for job in ended} == {"cancelled"}
        left = JOBS - len(ended)
        assert (waiting(service), waiting(service, "running")) == (left, 2)
        measured(f"the end of the server with {left} jobs waiting", stopped(service))
    counts = dict(asked_of_records(tmp_path, "SELECT state, count(*) FROM jobs GROUP BY state"))
    assert counts == {"cancelled": len(ended), "lost": left + 2}, "what waited is known, and known as lost"
    with faulty_service(surroundings | {"JESSE_MCP_PREWARM": "false"}, tmp_path) as service:
        lost = service.desk.call("job_get", job_id=jobs[-1])
        assert (lost["state"], lost["request"]["strategy"]) == ("lost", "Still")
        assert "submit the same request again" in lost["error"]["hint"]
        assert (waiting(service, "lost"), waiting(service)) == (left + 2, 0)
        assert service.ready()
    records_are_whole(tmp_path)
