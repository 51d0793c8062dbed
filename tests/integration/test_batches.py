"""Batches, and what searches and batches share, on the real engine."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp_desk import (
    EXCHANGE,
    SERIES,
    Desk,
    candle_file,
    environment,
    stdio_desk,
    strategy,
    wait_until,
)

pytestmark = pytest.mark.timeout(600)

ONE: dict[str, Any] = {
    "exchange": EXCHANGE,
    "symbol": "BTC-USDT",
    "timeframe": "1h",
    "start_date": "2024-01-03",
    "settings": {"warm_up_candles": 24},
    "wait_seconds": 100,
}
#: Ends its own process when it is told to, and says in a file that it was started.
DEADLY = """
        if self.index == 0:
            open({started!r}, "a").write("x")
        if self.hp["every"] == 3:
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)
        if self.hp["every"] == 4:
            raise ZeroDivisionError("by hand")
"""


@pytest.fixture(scope="module")
def desk(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("batches")
    # One of the strategies writes a file to say that it was started.
    surroundings = environment(folder, engine_python, JESSE_MCP_CONFINEMENT="off")
    with stdio_desk(surroundings, folder / "log") as desk:
        for symbol, seed in (("BTC-USDT", 5), ("ETH-USDT", 6)):
            path = candle_file(folder / f"{symbol[:3]}.csv", seed)
            desk.call("candles_import", exchange=EXCHANGE, symbol=symbol, path=str(path))
        for name in ("Mine", "Second"):
            desk.call("strategy_write", name=name, code=strategy(name))
        yield desk


def ended(desk: Desk, answer: dict[str, Any], tool: str = "backtest_batch") -> dict[str, Any]:
    while answer["result"] is None:
        answer = desk.call(tool, resume=answer["job_id"], wait_seconds=100)
    return answer


def rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    result = answer["result"]
    return [dict(zip(result["columns"], row, strict=True)) for row in result["rows"]]


def test_a_product_is_every_combination_and_each_cell_is_a_run(desk: Desk) -> None:
    vary = {
        "strategies": ["Mine", "Second"],
        "symbols": ["BTC-USDT", "ETH-USDT"],
        "periods": [{"start_date": "2024-01-03", "end_date": "2024-01-05"}, {"start_date": "2024-01-04"}],
        "hyperparameters": [{"every": 3}, {"every": 8}],
    }
    base = {name: value for name, value in ONE.items() if name not in ("symbol", "start_date")}
    answer = ended(desk, desk.call("backtest_batch", **base, vary=vary))
    table = rows(answer)
    told = ("strategy", "symbol", "start_date", "hyperparameters")
    assert [tuple(str(row[name]) for name in told) for row in table] == [
        (name, symbol, start, str({"every": every}))
        for name in ("Mine", "Second")
        for symbol in ("BTC-USDT", "ETH-USDT")
        for start in ("2024-01-03", "2024-01-04")
        for every in (3, 8)
    ]
    assert (answer["result"]["total"], answer["result"]["failed"]) == (16, 0)
    assert any("different periods" in warning for warning in answer["result"]["warnings"])
    for row in (table[0], table[13]):
        alone = desk.call(
            "backtest",
            **{name: value for name, value in base.items() if name != "settings"},
            warm_up_candles=24,
            strategy=row["strategy"],
            symbol=row["symbol"],
            start_date=row["start_date"],
            end_date=row["end_date"],
            hyperparameters=row["hyperparameters"],
            use_cache=False,
        )["run"]
        stored = desk.call("run_get", run_id=row["run_id"])
        assert stored["metrics"] == alone["metrics"]
        assert all(row[name] == alone["metrics"].get(name) for name in ("total", "fee", "sharpe_ratio"))
    listed = desk.call("run_list", kind="batch", limit=200)
    assert {row["run_id"] for row in table} <= {line["run_id"] for line in listed["runs"]}
    assert not {row["run_id"] for row in table} & {
        line["run_id"] for line in desk.call("run_list", limit=200)["runs"]
    }


def test_pages_and_order_of_a_table(desk: Desk) -> None:
    vary = {"hyperparameters": [{"every": every} for every in range(2, 9)]}
    whole = ended(desk, desk.call("backtest_batch", **ONE, strategy="Mine", vary=vary))
    job = whole["job_id"]
    page = desk.call("backtest_batch", resume=job, limit=3, offset=2, sort_by="net_profit_percentage")
    ranked = sorted(rows(whole), key=lambda row: -row["net_profit_percentage"])
    assert rows(page) == ranked[2:5]
    assert page["result"]["total"] == 7
    assert desk.refused("backtest_batch", resume=job, sort_by="serenity_index")["code"] == "invalid_argument"
    again = ended(desk, desk.call("backtest_batch", **ONE, strategy="Mine", vary=vary))
    assert again["result"]["cached"] == 7
    assert rows(again) == rows(whole)


def test_a_cell_that_fails_does_not_stop_the_others(desk: Desk, tmp_path: Path) -> None:
    started = tmp_path / "started"
    code = strategy("Deadly").replace("        pass\n", DEADLY.format(started=str(started)).lstrip("\n"))
    desk.call("strategy_write", name="Deadly", code=code)
    cells = [{"hyperparameters": {"every": every}} for every in (2, 3, 4, 5)] + [
        {"hyperparameters": {"evry": 1}}
    ]
    answer = ended(desk, desk.call("backtest_batch", **ONE, strategy="Deadly", cells=cells))
    errors = [row["error"] for row in rows(answer)]
    assert [error and error.partition(":")[0] for error in errors] == [
        None,
        "worker_crashed",
        "strategy_raised",
        None,
        "run_rejected",
    ]
    assert "by hand" in errors[2]
    assert answer["result"]["failed"] == 3
    assert len(started.read_text()) == 5, "one more try for what killed its worker, and no third"


def test_progress_is_seen(desk: Desk) -> None:
    heard: list[float] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    vary = {"hyperparameters": [{"every": every} for every in range(2, 12)]}
    arguments = {**ONE, "strategy": "Second", "settings": {"warm_up_candles": 20}, "vary": vary}
    ended(desk, desk.call("backtest_batch", listen, **arguments))
    assert heard == sorted(heard)
    assert len(set(heard)) >= 5
    assert heard[-1] == 1


@pytest.mark.parametrize("tool", ["backtest_batch", "optimize"])
def test_cancelling_ends_every_run_within_a_second(desk: Desk, tool: str) -> None:
    name = f"Endless{tool.title().replace('_', '')}"
    desk.call("strategy_write", name=name, code=strategy(name, "while True: pass"))
    asked = {**ONE, "strategy": name, "wait_seconds": 0}
    if tool == "backtest_batch":
        asked["vary"] = {"hyperparameters": [{"every": every} for every in range(2, 12)]}
    took: list[float] = []
    # A machine that stands still for a moment spoils one of them, a fault all.
    while not took or took[-1] >= 1:
        assert len(took) < 3, took
        job = desk.call(tool, **asked)["job_id"]
        wait_until(lambda: desk.call("system_status")["engine"]["workers"]["busy"] == 2, "two runs under way")
        started = time.monotonic()
        cancelled = desk.call("job_cancel", job_id=job)
        took.append(time.monotonic() - started)
        assert cancelled["state"] == "cancelled"
        assert desk.call("system_status")["engine"]["workers"]["busy"] == 0


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid", "nsga2"])
def test_a_small_space_is_searched_as_well_as_by_trying_everything(desk: Desk, sampler: str) -> None:
    every = list(range(2, 13))
    table = rows(
        ended(
            desk,
            desk.call(
                "backtest_batch",
                **{**ONE, "limit": 50},
                strategy="Mine",
                end_date="2024-01-07",
                vary={"hyperparameters": [{"every": value} for value in every]},
            ),
        )
    )
    best = max(table, key=lambda row: row["sharpe_ratio"])
    found = ended(
        desk,
        desk.call(
            "optimize",
            **ONE,
            strategy="Mine",
            end_date="2024-01-09",
            test_start="2024-01-07",
            sampler=sampler,
            trials=len(every) + 5,
            min_trades=0,
        ),
        "optimize",
    )["result"]
    assert found["counts"]["trials"] == len(every)
    assert found["stopped"] == "all 11 points of the space were tried"
    assert found["best"][0]["parameters"] == best["hyperparameters"]
    assert found["best"][0]["train"]["sharpe_ratio"] == best["sharpe_ratio"]
    assert found["counts"]["runs_cached"] == len(every), "the batch had run them"


def test_a_backtest_that_a_search_had_run_is_listed_as_asked_for(desk: Desk) -> None:
    found = ended(
        desk,
        desk.call("optimize", **ONE, strategy="Mine", space={"every": {"min": 7, "max": 7}}, min_trades=0),
        "optimize",
    )["result"]
    trial = found["best"][0]
    period = found["periods"]["train"].split(" to ")
    answer = desk.call(
        "backtest",
        **SERIES,
        strategy="Mine",
        timeframe="1h",
        start_date=period[0],
        end_date=period[1],
        warm_up_candles=24,
        hyperparameters=trial["parameters"],
    )
    assert answer["cached"] is True
    assert answer["run"]["metrics"]["sharpe_ratio"] == trial["train"]["sharpe_ratio"]
    listed = [line["run_id"] for line in desk.call("run_list", strategy="Mine", limit=200)["runs"]]
    assert answer["run"]["run_id"] in listed
    assert trial["train_run_id"] not in listed


def test_what_changed_since_is_named_when_a_job_is_resumed(desk: Desk) -> None:
    desk.call("strategy_write", name="Changing", code=strategy("Changing", "while True: pass"))
    asked = {**ONE, "strategy": "Changing", "wait_seconds": 0}
    jobs = {
        "optimize": desk.call("optimize", **asked)["job_id"],
        "backtest_batch": desk.call("backtest_batch", **asked, cells=[{}])["job_id"],
    }
    for job in jobs.values():
        desk.call("job_cancel", job_id=job)
    desk.call("strategy_write", name="Changing", code=strategy("Changing"), overwrite=True)
    for tool, job in jobs.items():
        refused = desk.refused(tool, resume=job)
        assert refused["code"] == "invalid_argument"
        assert "changed" in refused["message"]
        other = next(name for name in jobs if name != tool)
        assert other in desk.refused(tool, resume=jobs[other])["message"]
