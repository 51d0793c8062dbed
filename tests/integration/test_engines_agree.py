"""The tools on a running Jesse and on the embedded engine: one study, asked of both, has one answer.

Both desks have the candles that Jesse's database has kept. Daily balances are rebuilt on a running Jesse, so
that what is computed from them agrees to rounding; everything else is equal. How jobs outlive servers and
workers is above the engine, and tested where a run is cheap: ``test_campaigns.py``, ``test_walk_forward.py``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jesse_host import PASSWORD, JesseHost
from mcp_desk import EXCHANGE, RUN, Desk, candle_file, environment, stdio_desk, strategy, wait_until

pytestmark = pytest.mark.timeout(600)

SERIES = {"exchange": EXCHANGE, "symbol": "AGREED-USDT"}
ONE: dict[str, Any] = {
    **SERIES,
    "timeframe": "1h",
    "start_date": "2024-01-03",
    "settings": {"warm_up_candles": 24},
    "wait_seconds": 100,
}
SEARCH: dict[str, Any] = {
    "space": {"every": {"min": 3, "max": 5}},
    "trials": 3,
    "min_trades": 0,
    "test_start": "2024-01-07",
}
WALK: dict[str, Any] = {
    "start_date": "2024-01-02",
    "train_days": 2,
    "test_days": 1,
    "step_days": 2,
    "trials": 2,
    "min_trades": 1,
}


@dataclass(frozen=True)
class Desks:
    """On a running Jesse, and on this machine."""

    there: Desk
    here: Desk
    surroundings: dict[str, str]

    def write(self, name: str, before: str = "pass") -> dict[str, str]:
        """A strategy on both; each test has its own."""
        for desk in (self.there, self.here):
            desk.call("strategy_write", name=name, code=strategy(name, before), overwrite=True)
        return {"strategy": name}

    def both(self, tool: str, **arguments: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return finished(self.there, tool, **arguments), finished(self.here, tool, **arguments)


def finished(desk: Desk, tool: str, **arguments: Any) -> dict[str, Any]:
    """The result of a job, however long it takes."""
    answer = desk.call(tool, **arguments)
    while answer["result"] is None:
        answer = desk.call(tool, resume=answer["job_id"], wait_seconds=100)
    result: dict[str, Any] = answer["result"]
    return result


@pytest.fixture(scope="module")
def desks(
    jesse_host: JesseHost, engine_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desks]:
    folder = tmp_path_factory.mktemp("agreed")
    address = {"JESSE_URL": jesse_host.url, "JESSE_PASSWORD": PASSWORD}
    there = environment(folder / "there", engine_python, **address)
    here = environment(folder / "here", engine_python, **address, JESSE_MCP_ENGINE="embedded")
    with stdio_desk(there, folder / "there.log") as one, stdio_desk(here, folder / "here.log") as other:
        one.call("candles_import", **SERIES, path=str(candle_file(folder / "agreed.csv")))
        other.call("candles_import", **SERIES, source="dashboard")
        yield Desks(one, other, there)
        for line in one.call("strategy_list", search="Agreed")["strategies"]:
            one.call("strategy_delete", name=line["name"])
        one.call("candles_delete", **SERIES)


#: Ids are drawn at random; the others say how an answer came about, or what else a desk had tried.
_NOT_COMPARED = {"run_id", "train_run_id", "test_run_id", "runs_new", "runs_cached", "extremes", "ledger"}


def assert_same(theirs: Any, ours: Any, where: str = "answer") -> None:
    """Numbers agree to rounding, everything else is equal."""
    assert type(theirs) is type(ours), where
    if isinstance(theirs, dict):
        assert theirs.keys() == ours.keys(), where
        for name in theirs.keys() - _NOT_COMPARED:
            assert_same(theirs[name], ours[name], f"{where}.{name}")
    elif isinstance(theirs, list):
        assert len(theirs) == len(ours), where
        for number, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            assert_same(one, other, f"{where}[{number}]")
    elif isinstance(theirs, float):
        assert theirs == pytest.approx(ours, rel=1e-9, abs=1e-9), where
    else:
        assert without_count(theirs) == without_count(ours), where


def without_count(value: Any) -> Any:
    return re.sub(r"\d+ distinct experiments", "experiments", value) if isinstance(value, str) else value


def table(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(result["columns"], row, strict=True)) for row in result["rows"]]


def sessions_of(desk: Desk, name: str) -> list[str]:
    """Of the runs of a strategy those that were made in Jesse."""
    found = desk.call("run_list", kind="any", strategy=name, limit=200)["runs"]
    assert found
    views = [desk.call("run_get", run_id=line["run_id"]) for line in found]
    return [view["run_id"] for view in views if view["engine"].get("kind") == "dashboard"]


def test_a_batch(desks: Desks) -> None:
    mine = desks.write("AgreedBatch", "if self.hp['every'] == 4: raise ValueError('four')")
    cells = [{"hyperparameters": {"every": every}} for every in (3, 4, 8)] + [
        {"hyperparameters": {"evry": 1}},
        {"start_date": "2024-01-05"},
    ]
    theirs, ours = desks.both("backtest_batch", **ONE, **mine, cells=cells, sort_by="sharpe_ratio")
    for result in (theirs, ours):
        assert (result["total"], result["failed"]) == (5, 2)
        assert [row["cell"] for row in table(result)][3:] == [1, 3]
    assert_same(table(theirs), table(ours))
    assert_same(theirs["warnings"], ours["warnings"])


def test_a_search_that_was_interrupted(desks: Desks) -> None:
    asked = {**ONE, **SEARCH, **desks.write("AgreedSearch")}
    job = desks.there.call("optimize", **{**asked, "wait_seconds": 0})["job_id"]
    wait_until(lambda: desks.there.call("job_get", job_id=job)["state"] == "running", "the search running")
    desks.there.call("job_cancel", job_id=job)
    theirs = finished(desks.there, "optimize", resume=job, wait_seconds=100)
    ours = finished(desks.here, "optimize", **asked)
    assert_same(theirs, ours)
    assert ours["counts"]["trials"] == 3
    assert ours["best"][0]["test"]["sharpe_ratio"] is not None


def test_a_walk_forward(desks: Desks) -> None:
    theirs, ours = desks.both("walk_forward", **{**ONE, **WALK}, **desks.write("AgreedWalk"))
    assert_same(theirs, ours)
    assert (theirs["counts"]["windows"], theirs["counts"]["tested"]) == (3, 3)
    assert theirs["out_of_sample"]["final_balance"] is not None
    for line in theirs["windows"]:
        run = desks.there.call("run_get", run_id=line["test_run_id"])
        assert run["engine"]["kind"] == "dashboard"
        assert run["request"]["hyperparameters"] == line["parameters"]
        assert f"{run['request']['start_date']} to {run['request']['end_date']}" == line["test"]


@pytest.mark.parametrize(
    "method", ["trades_shuffle", "trades_bootstrap", "returns_block", "returns_stationary"]
)
def test_what_luck_did_to_a_run(desks: Desks, method: str) -> None:
    mine = {**RUN, **SERIES, **desks.write("AgreedLuck")}
    results = []
    for desk in (desks.there, desks.here):
        run_id = desk.call("backtest", **mine, wait_seconds=100)["run"]["run_id"]
        asked = {"run_id": run_id, "method": method, "seed": 5, "wait_seconds": 100}
        results.append({**finished(desk, "monte_carlo", **asked), "request": None})
    assert_same(results[0], results[1])
    assert results[0]["simulations"] == 1000


def test_a_run_asked_for_on_the_embedded_engine(desks: Desks) -> None:
    """Such as Jesse's dashboard would refuse."""
    mine = {**RUN, **SERIES, **desks.write("AgreedHere"), "warm_up_candles": 0, "wait_seconds": 100}
    error = desks.there.refused("backtest", **mine)
    assert (error["code"], "engine='embedded'" in error["hint"]) == ("capability_missing", True)
    asked = desks.there.call("backtest", **mine, engine="embedded")["run"]
    plain = desks.here.call("backtest", **mine)["run"]
    assert asked["metrics"] == plain["metrics"]
    assert asked["engine"] == plain["engine"]
    (remark,) = set(asked["warnings"]) - set(plain["warnings"])
    assert remark.startswith("engine='embedded': run on the machine of this server, not in Jesse at http://")
    views = [
        desk.call("run_get", run_id=run["run_id"], include=["provenance", "orders", "equity"])
        for desk, run in ((desks.there, asked), (desks.here, plain))
    ]
    assert views[0]["provenance"]["fingerprint"] == views[1]["provenance"]["fingerprint"]
    assert (views[0]["trades"], views[0]["equity"]) == (views[1]["trades"], views[1]["equity"])
    # Where the embedded engine is what the settings name, it changes nothing.
    again = desks.here.call("backtest", **mine, engine="embedded")
    assert (again["cached"], again["run"]) == (True, plain)


def test_jobs_asked_for_on_the_embedded_engine(desks: Desks) -> None:
    """A search, a walk and a batch on copies of Jesse's candles and code, without a session in Jesse."""
    mine = desks.write("AgreedJobs")
    embedded = {**ONE, **mine, "settings": {"warm_up_candles": 24, "engine": "embedded"}}
    batch = {"cells": [{"hyperparameters": {"every": every}} for every in (3, 8)]}
    for tool, more in (("optimize", SEARCH), ("walk_forward", WALK), ("backtest_batch", batch)):
        theirs = finished(desks.there, tool, **{**embedded, **more})
        ours = finished(desks.here, tool, **{**ONE, **mine, **more})
        said = next(warning for warning in theirs["warnings"] if warning.startswith("engine='embedded'"))
        theirs["warnings"].remove(said)
        if tool == "backtest_batch":
            theirs["rows"], ours["rows"] = table(theirs), table(ours)
        assert_same(theirs, ours, tool)
    assert sessions_of(desks.there, "AgreedJobs") == []


def test_scenarios_of_a_run_of_jesse_on_the_embedded_engine(desks: Desks) -> None:
    mine = {**RUN, **SERIES, **desks.write("AgreedScenarios"), "wait_seconds": 100}
    runs = [desk.call("backtest", **mine)["run"]["run_id"] for desk in (desks.there, desks.here)]
    asked = {"method": "candles", "simulations": 3, "wait_seconds": 100}
    asked["pipeline_parameters"] = {"batch_size": 1440}
    error = desks.there.refused("monte_carlo", run_id=runs[0], **asked)
    assert (error["code"], "engine='embedded'" in error["hint"]) == ("capability_missing", True)
    tried = desks.there.call("system_status")["trials"]
    theirs = finished(desks.there, "monte_carlo", run_id=runs[0], **asked, engine="embedded")
    assert desks.there.call("system_status")["trials"] == tried, "a repeated run is no new experiment"
    ours = finished(desks.here, "monte_carlo", run_id=runs[1], **asked)
    (remark,) = [said for said in theirs["findings"] if said not in ours["findings"]]
    assert runs[0] in remark
    repeat = remark.split("the original is ")[1].split(",")[0]
    here = desks.here.call("run_get", run_id=runs[1], include=["provenance"])
    there = desks.there.call("run_get", run_id=repeat, include=["provenance"])
    assert there["provenance"]["fingerprint"] == here["provenance"]["fingerprint"]
    told = {"findings": None, "request": None}
    assert_same({**theirs, **told}, {**ours, **told})
    # Such a run is one of the embedded engine, and is repeated there alone.
    refused = desks.there.refused("monte_carlo", run_id=repeat, **asked)
    assert (refused["code"], "engine='embedded'" in refused["hint"]) == ("invalid_argument", True)
    again = finished(desks.there, "monte_carlo", run_id=repeat, **asked, engine="embedded")
    assert_same({**again, **told}, {**ours, **told})
    assert "the original is" not in str(again["findings"])


def test_the_embedded_engine_has_to_be_installed(desks: Desks, tmp_path: Path) -> None:
    without = {**desks.surroundings, "JESSE_PYTHON": "", "JESSE_MCP_CACHE": str(tmp_path / "cache")}
    mine = {**RUN, **SERIES, "strategy": "TrendFollowing"}
    with stdio_desk({**without, "JESSE_MCP_HOME": str(tmp_path / "home")}, tmp_path / "log") as desk:
        error = desk.refused("backtest", **mine, engine="embedded")
    assert error["code"] == "engine_not_installed"
    assert "jesse-mcp engine install" in error["hint"]
