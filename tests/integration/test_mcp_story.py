"""One study after another, as an agent would make it, against a real server."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp_desk import RUN, SERIES, Desk, candle_file, environment, stdio_desk, strategy, wait_until

SECRET = "sentinel-7d1f"  # noqa: S105 - a value to look for, not one to use


@pytest.fixture(scope="module")
def desk(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("story")
    surroundings = environment(folder, engine_python, PAPER_API_KEY=SECRET)
    with stdio_desk(surroundings, folder / "log") as opened:
        yield opened


def test_a_study_from_the_first_candle_to_the_last_deletion(desk: Desk, tmp_path: Path) -> None:
    series = {**SERIES, "symbol": "STORY-USDT"}
    imported = desk.call("candles_import", **series, path=str(candle_file(tmp_path / "story.csv")))["file"]
    assert (imported["added"], imported["missing"]) == (8 * 1440, 0)
    (stored,) = desk.call("candles_available", symbol="STORY-USDT")["series"]
    assert (stored["first"], stored["rows"]) == ("2024-01-01T00:00Z", 8 * 1440)

    misspelt = strategy("Story").replace("self.price", "self.prise")
    findings = desk.call("strategy_validate", code=misspelt)["findings"]
    assert any("prise" in finding["message"] for finding in findings)
    desk.call("strategy_write", name="Story", code=strategy("Story"))
    assert desk.call("strategy_read", name="Story")["code"] == strategy("Story")

    seen: list[float] = []

    async def progress(fraction: float, total: float | None, message: str | None) -> None:
        assert total == 1.0
        seen.append(fraction)

    run = {**RUN, **series, "strategy": "Story"}
    answer = desk.call("backtest", progress, **run, benchmark=True, title="first")
    assert seen, "progress was asked for"
    assert seen == sorted(set(seen)), "the protocol wants each value to be greater than the one before"
    assert (answer["state"], answer["cached"], answer["run"]["title"]) == ("done", False, "first")
    first = answer["run"]
    assert first["trade_count"] == first["metrics"]["total"] > 10
    assert first["benchmark"]["return_percentage"] is not None
    check_sections(desk, first["run_id"])

    again = desk.call("backtest", **run, benchmark=True, title="first")
    assert (again["cached"], again["job_id"]) == (True, None)
    assert again["run"] == first
    second = desk.call("backtest", **run, hyperparameters={"every": 4})["run"]
    assert second["hyperparameters"] == {"every": 4}

    compared = desk.call("run_compare", run_ids=[first["run_id"], second["run_id"]])
    assert compared["metrics"]["total"] == [first["metrics"]["total"], second["metrics"]["total"]]
    assert compared["differences"]["hyperparameters"] == [{"every": 6}, {"every": 4}]
    assert (compared["same_code"], compared["same_candles"]) == (True, True)
    runs = desk.call("run_list", strategy="Story")
    assert [line["run_id"] for line in runs["runs"]] == [second["run_id"], first["run_id"]]

    job = desk.call("job_get", job_id=answer["job_id"])
    assert (job["state"], job["run_id"], job["progress"]) == ("done", first["run_id"], 1.0)
    assert answer["job_id"] in [line["job_id"] for line in desk.call("job_list", limit=200)["jobs"]]

    desk.call("candles_delete", **series)
    assert desk.refused("backtest", **run, use_cache=False)["code"] == "candles_missing"
    desk.call("strategy_delete", name="Story")
    assert desk.call("run_get", run_id=first["run_id"]) == {**first, "trades": None}


def check_sections(desk: Desk, run_id: str) -> None:
    """Each section alone, then every page of the long ones, which together are the whole."""
    sections = {"trades": "trades", "orders": "trades", "equity": "equity", "log": "log"}
    sections["provenance"] = "provenance"
    for section, field in sections.items():
        view = desk.call("run_get", run_id=run_id, include=[section])
        filled = {name for name in set(sections.values()) if view[name] is not None}
        assert filled == {field}, section
    whole = desk.call("run_get", run_id=run_id, include=["orders", "equity"], limit=1000)
    assert len(whole["trades"]) == whole["trade_count"]
    assert all(trade["orders"] for trade in whole["trades"])
    assert "orders" not in desk.call("run_get", run_id=run_id, include=["trades"])["trades"][0]
    for field, size in {"trades": 7, "equity": 2}.items():
        section = "orders" if field == "trades" else field
        pages = (
            desk.call("run_get", run_id=run_id, include=[section], limit=size, offset=offset)[field]
            for offset in itertools.count(0, size)
        )
        assert list(itertools.chain(*itertools.takewhile(bool, pages))) == whole[field]


@pytest.fixture
def candles(desk: Desk, tmp_path: Path) -> None:
    desk.call("candles_import", **SERIES, path=str(candle_file(tmp_path / "btc.csv")))


def looping(desk: Desk, name: str, **more: Any) -> str:
    desk.call("strategy_write", name=name, code=strategy(name, "while True: pass"), overwrite=True)
    job_id: str = desk.call("backtest", **RUN, strategy=name, wait_seconds=0, **more)["job_id"]

    def listed() -> bool:
        # Of the records, which all others read too; job_get knows of its start a moment earlier.
        running = desk.call("job_list", state="running", limit=200)["jobs"]
        return job_id in {job["job_id"] for job in running}

    wait_until(listed, f"{job_id} running")
    return job_id


@pytest.mark.usefixtures("candles")
def test_a_strategy_that_loops_is_followed_and_cancelled(desk: Desk) -> None:
    job_id = looping(desk, "Looping")
    waited = desk.call("job_get", job_id=job_id, wait_seconds=0.2)
    assert (waited["state"], waited["run_id"]) == ("running", None)
    assert job_id in [job["job_id"] for job in desk.call("job_list", state="running")["jobs"]]
    cancelled = desk.call("job_cancel", job_id=job_id)
    assert (cancelled["state"], cancelled["error"]["code"]) == ("cancelled", "job_cancelled")
    error = desk.refused("job_cancel", job_id=job_id)
    assert (error["code"], error["details"]) == ("job_not_active", {"state": "cancelled"})
    assert desk.call("backtest", **RUN, strategy="TrendFollowing")["state"] == "done", "the worker is free"


@pytest.mark.usefixtures("candles")
def test_the_desk_answers_while_every_worker_is_busy(desk: Desk) -> None:
    jobs = [looping(desk, f"Busy{number}") for number in range(2)]
    try:
        status = desk.call("system_status")
        assert status["engine"]["workers"] == {"capacity": 2, "busy": 2}
        assert status["jobs"]["running"] == 2
        queued = desk.call("backtest", **RUN, strategy="Busy0", fee=0.002, wait_seconds=0)["job_id"]
        assert desk.call("job_get", job_id=queued)["state"] == "queued"
        assert desk.call("strategy_list")["total"] >= 5
        assert desk.call("job_cancel", job_id=queued)["state"] == "cancelled", "it had not begun"
    finally:
        for job_id in jobs:
            desk.call("job_cancel", job_id=job_id)


@pytest.mark.usefixtures("candles")
def test_a_strategy_that_fails_is_explained_by_its_own_line(desk: Desk) -> None:
    before = "print('half way'); raise ValueError('nothing \\x00 [/bold] \\udcff 𝄞')"
    desk.call("strategy_write", name="Raising", code=strategy("Raising", before), overwrite=True)
    error = desk.refused("backtest", **RUN, strategy="Raising", use_cache=False)
    assert error["code"] == "strategy_raised"
    assert "ValueError" in error["message"]
    assert "strategies/Raising/__init__.py" in error["details"]["traceback"]
    assert "half way" in error["details"]["log_tail"]
    job = desk.call("job_get", job_id=error["details"]["job_id"])
    assert (job["state"], job["error"]["code"]) == ("failed", "strategy_raised")
    (listed,) = (j for j in desk.call("job_list", limit=200)["jobs"] if j["job_id"] == job["job_id"])
    assert (listed["error"]["message"], listed["error"]["details"]) == (job["error"]["message"], {})


@pytest.mark.usefixtures("candles")
def test_no_secret_of_the_server_reaches_a_strategy_or_an_answer(desk: Desk) -> None:
    before = "import os; self.index == 0 and print(dict(os.environ))"
    desk.call("strategy_write", name="Curious", code=strategy("Curious", before), overwrite=True)
    run_id = desk.call("backtest", **RUN, strategy="Curious", use_cache=False)["run"]["run_id"]
    log = desk.call("run_get", run_id=run_id, include=["log"])["log"]
    assert "'PATH'" in log
    assert SECRET not in log
    assert SECRET not in str(desk.call("system_status"))


@pytest.mark.usefixtures("candles")
def test_a_run_without_a_trade_has_reasons_instead_of_numbers(desk: Desk) -> None:
    """Nor NaN: every answer here is read as strict JSON."""
    desk.call("strategy_write", name="Idle", code=strategy("Idle", "return False"), overwrite=True)
    run = desk.call("backtest", **RUN, strategy="Idle", benchmark=True)["run"]
    assert run["trade_count"] == 0
    assert any("no trade" in warning for warning in run["warnings"])
    nulls = {name for name, value in run["metrics"].items() if value is None}
    assert nulls <= set(run["undefined"])
    view = desk.call("run_get", run_id=run["run_id"], include=["trades", "equity"])
    assert view["trades"] == []


@pytest.mark.usefixtures("candles")
def test_a_title_may_hold_any_text(desk: Desk) -> None:
    title = "tab\there, NUL \0 there, [/bold], 𝄞, \u202e"
    run_id = desk.call("backtest", **RUN, strategy="MeanReversion", title=title)["run"]["run_id"]
    assert desk.call("run_get", run_id=run_id)["title"] == title
