"""One study on a running Jesse, as an agent makes it over stdio, then the same Jesse from a terminal."""

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr

from jesse_host import PASSWORD, JesseHost
from jesse_host.faulty_proxy import FaultyProxy
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.login import Credentials
from mcp_desk import RUN, SERIES, Desk, candle_file, environment, stdio_desk, strategy, wait_until

TOKEN = sha256(PASSWORD.encode()).hexdigest()
ON = {**SERIES, "symbol": "BOARD-USDT"}
BACKTEST = {**RUN, **ON, "strategy": "BoardStory"}


@pytest.fixture(scope="module")
def surroundings(
    jesse_host: JesseHost, engine_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("board")
    secret = folder / "password"
    secret.write_text(f"{PASSWORD}\n")
    return environment(
        folder,
        engine_python,
        JESSE_URL=f"{jesse_host.url}/",
        JESSE_PASSWORD_FILE=str(secret),
        JESSE_MCP_LOG_LEVEL="DEBUG",
    )


@pytest.fixture(scope="module")
def desk(surroundings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    log = tmp_path_factory.mktemp("log") / "log"
    with stdio_desk(surroundings, log) as opened:
        opened.call(
            "candles_import", **ON, path=str(candle_file(tmp_path_factory.mktemp("candles") / "board.csv"))
        )
        opened.call("strategy_write", name="BoardStory", code=strategy("BoardStory"))
        yield opened
        opened.call("strategy_delete", name="BoardStory")
        opened.call("candles_delete", **ON)
    text = log.read_text()
    assert "HTTP Request: POST" in text, "the log tells what was asked"
    assert TOKEN not in text
    assert PASSWORD not in text


def test_a_study(desk: Desk, jesse_host: JesseHost) -> None:
    engine = desk.call("system_status")["engine"]
    assert (engine["kind"], engine["state"], engine["url"]) == ("dashboard", "ready", jesse_host.url)
    assert (engine["jesse_version"], engine["live_plugin"]) == ("3.5.3", False)
    assert engine["machine"]["cpu_cores"] >= 1

    assert (jesse_host.project / "strategies" / "BoardStory" / "__init__.py").exists()
    assert desk.call("strategy_read", name="BoardStory")["code"] == strategy("BoardStory")
    origins = {line["name"]: line["origin"] for line in desk.call("strategy_list")["strategies"]}
    assert (origins["BoardStory"], origins["TrendFollowing"]) == ("user", "bundled")
    (series,) = desk.call("candles_available", **ON, start_date="2024-01-01", end_date="2024-01-09")["series"]
    assert (series["rows"], series["coverage"]["present"]) == (8 * 1440, 8 * 1440)

    seen: list[float] = []

    async def progress(fraction: float, total: float | None, message: str | None) -> None:
        seen.append(fraction)

    first = desk.call("backtest", progress, **BACKTEST, benchmark=True, title="first")["run"]
    assert seen == sorted(set(seen))
    assert first["trade_count"] == first["metrics"]["total"] > 10
    assert first["engine"]["kind"] == "dashboard"
    again = desk.call("backtest", **BACKTEST, benchmark=True, title="first")
    assert (again["cached"], again["run"]) == (True, first)

    second = desk.call("backtest", **BACKTEST, hyperparameters={"every": 4})["run"]
    assert second["hyperparameters"] == {"every": 4}
    assert second["metrics"]["total"] != first["metrics"]["total"]
    view = desk.call("run_get", run_id=second["run_id"], include=["orders", "equity", "log"], limit=5)
    assert len(view["trades"]) == len(view["equity"]) == 5
    assert all(trade["orders"] for trade in view["trades"])
    listed = desk.call("run_list", strategy="BoardStory")["runs"]
    assert [line["run_id"] for line in listed[:2]] == [second["run_id"], first["run_id"]]

    client = DashboardClient(jesse_host.url, Credentials(password=SecretStr(PASSWORD)))
    sessions = client.read("/backtest/sessions", {"limit": 10})["sessions"]
    client.close()
    titles = {session["id"]: session["title"] for session in sessions}
    assert titles[first["engine"]["session_id"]].startswith("BoardStory | BOARD-USDT 1h | 2024-01-03 to")
    assert "every=4" in titles[second["engine"]["session_id"]]
    assert first["engine"]["session_url"].startswith(f"{jesse_host.url}/#/backtest/")


def test_a_run_is_cancelled(desk: Desk) -> None:
    slow = strategy("BoardSlow", "import time; time.sleep(0.5)")
    desk.call("strategy_write", name="BoardSlow", code=slow)
    try:
        job_id = desk.call("backtest", **{**BACKTEST, "strategy": "BoardSlow"}, wait_seconds=0)["job_id"]
        wait_until(lambda: desk.call("job_get", job_id=job_id)["progress"], "the run advancing")
        assert desk.call("job_cancel", job_id=job_id)["state"] == "cancelled"
        assert "cancelled_but_running" not in desk.call("system_status")["engine"]
    finally:
        desk.call("strategy_delete", name="BoardSlow")


def test_what_jesse_cannot_do_comes_with_a_way_out(desk: Desk) -> None:
    part = {**ON, "start_date": "2024-01-01", "end_date": "2024-01-02"}
    for tool, arguments in (
        ("candles_delete", part),
        ("backtest", {**BACKTEST, "warm_up_candles": 0}),
    ):
        error = desk.refused(tool, **arguments)
        assert error["code"] == "capability_missing", tool
        assert error["hint"]


def test_the_command_line(desk: Desk, surroundings: dict[str, str]) -> None:
    def said(*arguments: str) -> str:
        command = [sys.executable, "-m", "jesse_mcp", *arguments]
        done = subprocess.run(
            command, check=False, env=surroundings, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        assert PASSWORD not in done.stdout + done.stderr
        assert TOKEN not in done.stdout + done.stderr
        return done.stdout

    stored = json.loads(said("candles", "list", "--symbol", "BOARD-USDT", "--json"))["series"]
    assert [one["symbol"] for one in stored] == ["BOARD-USDT"]
    assert "match their hash" in said(
        "candles", "check", "--exchange", ON["exchange"], "--symbol", "BOARD-USDT"
    )
    options = ("--exchange", ON["exchange"], "--symbol", "BOARD-USDT", "--timeframe", "1h", "--json")
    period = ("--start", "2024-01-03", "--warm-up-candles", "24", "--hp", "every=3")
    run = json.loads(said("backtest", "BoardStory", *options, *period))
    assert (run["engine"]["kind"], run["hyperparameters"]) == ("dashboard", {"every": 3})
    assert run["run_id"] in [line["run_id"] for line in desk.call("run_list")["runs"]]
    doctor = said("doctor")
    for words in ("Jesse answers", "login", "Jesse 3.5.3", "database", "live plugin", "**********"):
        assert words in doctor
    assert "problem" not in doctor


def test_a_doctor_of_a_jesse_that_is_not_there(surroundings: dict[str, str], tmp_path: Path) -> None:
    away = {
        **surroundings,
        "JESSE_URL": "http://127.0.0.1:9",
        "JESSE_MCP_HOME": str(tmp_path),
        "COLUMNS": "200",
    }
    command = [sys.executable, "-m", "jesse_mcp", "doctor"]
    done = subprocess.run(command, check=False, env=away, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Jesse at http://127.0.0.1:9 does not answer" in done.stdout
    assert "jesse run" in done.stdout


def test_behind_a_proxy_with_a_prefix_and_a_certificate_of_an_own_authority(
    desk: Desk, jesse_host: JesseHost, surroundings: dict[str, str], tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FaultyProxy(jesse_host.url, "/jesse", context) as proxy:
        remote = {
            **surroundings,
            "JESSE_URL": proxy.url,
            "JESSE_MCP_HOME": str(tmp_path / "home"),
            "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
        }
        with stdio_desk(remote, tmp_path / "log") as far:
            assert far.call("system_status")["engine"]["state"] == "ready"
            run = far.call("backtest", **BACKTEST, hyperparameters={"every": 5})["run"]
        assert run["metrics"]["total"] > 10
        assert run["engine"]["session_url"].startswith(f"{proxy.url}/#/backtest/")
        assert "GET /ws" in proxy.seen
        del remote["SSL_CERT_FILE"]
        with stdio_desk(remote, tmp_path / "log") as far:
            engine = far.call("system_status")["engine"]
            assert engine["state"] == "unreachable"
            assert "SSL_CERT_FILE" in engine["hint"]


def test_a_batch_and_a_search_are_as_many_backtests(desk: Desk) -> None:
    asked = {name: value for name, value in BACKTEST.items() if name != "warm_up_candles"}
    asked |= {"end_date": "2024-01-09", "settings": {"warm_up_candles": 24}, "wait_seconds": 100}
    batch = desk.call("backtest_batch", **asked, vary={"hyperparameters": [{"every": 8}, {"every": 9}]})
    assert batch["state"] == "done", batch
    column = batch["result"]["columns"].index("run_id")
    runs = [desk.call("run_get", run_id=row[column]) for row in batch["result"]["rows"]]
    assert sorted(run["hyperparameters"]["every"] for run in runs) == [8, 9]
    assert {run["engine"]["kind"] for run in runs} == {"dashboard"}
    found = desk.call(
        "optimize",
        **asked,
        space={"every": {"min": 8, "max": 9}},
        trials=2,
        min_trades=0,
        test_start="2024-01-07",
    )
    assert found["state"] == "done", found
    assert found["result"]["counts"]["trials"] == 2
    drawn = desk.call("monte_carlo", run_id=runs[0]["run_id"], method="trades_shuffle", wait_seconds=120)
    assert drawn["state"] == "done"
    error = desk.refused("monte_carlo", run_id=runs[0]["run_id"], method="candles", simulations=10)
    assert error["code"] == "capability_missing", error
    assert "embedded" in error["hint"]
