"""SIGTERM in the middle of jobs: a batch is under way, and a backtest.

How long it took to recover is in the properties of the test and in its output (``pytest -rP``).
"""

from pathlib import Path
from typing import Any

from faulty_service import (
    FaultyService,
    Measured,
    asked_of_records,
    faulty_service,
    records_are_whole,
    stopped,
    timed,
)
from mcp_desk import RUN, SERIES, candle_file, environment, strategy, wait_until

CELLS = range(2, 10)
BATCH: dict[str, Any] = {
    **{name: value for name, value in RUN.items() if name != "warm_up_candles"},
    "settings": {"warm_up_candles": 24},
    "strategy": "Mine",
    "vary": {"hyperparameters": [{"every": every} for every in CELLS]},
}


def furnished(service: FaultyService) -> None:
    service.desk.call("candles_import", **SERIES, path=str(candle_file(service.folder / "btc.csv")))
    # 7 s a cell, so that even a machine that stands still for a while ends the server in the middle.
    slow = f"import os, time; os.path.exists({str(service.folder / 'hurry')!r}) or time.sleep(0.05)"
    mine = strategy("Mine", slow)
    for name, code in {"Mine": mine, "Endless": strategy("Endless", "while True: pass")}.items():
        service.desk.call("strategy_write", name=name, code=code)


def stored_runs(folder: Path) -> list[str]:
    return [row[0] for row in asked_of_records(folder, "SELECT fingerprint FROM runs ORDER BY seq")]


def test_what_a_polite_end_interrupts_is_finished_later_with_the_same_answer(
    engine_python: Path, tmp_path: Path, measured: Measured
) -> None:
    surroundings = environment(tmp_path, engine_python)
    with faulty_service(surroundings, tmp_path) as service:
        furnished(service)
        batch = service.desk.call("backtest_batch", **BATCH, wait_seconds=0)["job_id"]
        alone = service.desk.call("backtest", **RUN, strategy="Endless", wait_seconds=0)["job_id"]
        wait_until(lambda: len(stored_runs(tmp_path)) >= 2, "two cells")
        measured("the end of a server with a batch and a backtest under way", stopped(service))
        assert service.process.returncode == 0
    before = stored_runs(tmp_path)
    assert 2 <= len(before) < len(CELLS)
    assert list((tmp_path / "cache" / "scratch").iterdir()) == []
    (tmp_path / "hurry").touch()
    with faulty_service(surroundings, tmp_path) as service:
        for job_id in (batch, alone):
            job = service.desk.call("job_get", job_id=job_id)
            assert (job["state"], job["error"]["details"]["reason"]) == ("lost", "server_stopped")
            assert "resume" in job["error"]["hint"]
        with timed(measured, f"the other {len(CELLS) - len(before)} cells of the batch"):
            result = service.desk.call("backtest_batch", resume=batch, wait_seconds=100)["result"]
        assert (result["total"], result["failed"], result["cached"]) == (len(CELLS), 0, len(before))
        after = stored_runs(tmp_path)
        assert (after[: len(before)], len(after)) == (before, len(CELLS)), "nothing is run twice"
        records_are_whole(tmp_path)
        for row in (result["rows"][0], result["rows"][-1]):
            cell = dict(zip(result["columns"], row, strict=True))
            again = service.desk.call(
                "backtest", **RUN, strategy="Mine", hyperparameters=cell["hyperparameters"], use_cache=False
            )
            stored = service.desk.call("run_get", run_id=cell["run_id"])
            assert stored["metrics"] == again["run"]["metrics"], "as if nothing had happened"
    assert asked_of_records(tmp_path, "SELECT count(*) FROM trials") == [(len(CELLS),)]
