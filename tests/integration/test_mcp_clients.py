"""Both generations of the official SDK list and call every tool, over stdio and HTTP, and hear the same."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jesse_mcp.analytics.synthetic import synthetic_candles
from market_tool_calls import PRICES, RETURNS
from mcp_desk import http_server

START = 1_704_067_200_000
SERIES = {"exchange": "Binance Perpetual Futures", "symbol": "BTC-USDT"}
CLIENT = Path(__file__).with_name("mcp_client.py")
RUN = {**SERIES, "strategy": "Mine", "timeframe": "1h", "start_date": "2024-01-03", "warm_up_candles": 24}
CODE = '''
from jesse.strategies import Strategy


class Mine(Strategy):
    """Long at every sixth candle."""

    def should_long(self):
        return self.index % 6 == 0

    def go_long(self):
        self.buy = 1, self.price

    def update_position(self):
        if self.index % 6 == 3:
            self.liquidate()
'''
ENDLESS = CODE.replace("Mine", "Endless").replace(
    "return self.index % 6 == 0", "while True:\n            pass"
)


def step(
    label: str, tool: str, remember: dict[str, str] | None = None, /, **arguments: Any
) -> dict[str, Any]:
    return {"name": label, "tool": tool, "arguments": arguments, "remember": remember or {}}


PAPER = ("paper_status", "paper_get_trades", "paper_get_equity", "paper_get_metrics", "paper_stop")
MINE = {**SERIES, "strategy": "Mine"}


def story(candles: Path) -> list[dict[str, Any]]:
    return [
        step("status", "system_status"),
        step("no file", "candles_import", **SERIES, path="/nowhere/candles.csv"),
        step("import", "candles_import", **SERIES, path=str(candles)),
        step("available", "candles_available"),
        step("covered", "candles_available", **SERIES, start_date="2024-01-01", end_date="2024-01-09"),
        step("indicators", "indicator_list", search="moving average", limit=5),
        step("indicator", "indicator_list", name="ema"),
        step("strategies", "strategy_list"),
        step("bundled", "strategy_read", name="TrendFollowing"),
        step("validate", "strategy_validate", code=CODE.replace("self.price", "self.prise")),
        step("refused", "strategy_write", name="Mine", code="class Mine: pass"),
        step("write", "strategy_write", name="Mine", code=CODE),
        step("exists", "strategy_write", name="Mine", code=CODE),
        step("backtest", "backtest", {"first": "run.run_id", "job": "job_id"}, **RUN),
        step("again", "backtest", **RUN),
        step(
            "everything",
            "backtest",
            {"second": "run.run_id"},
            exchange=SERIES["exchange"],
            routes=[{"strategy": "Mine", "symbol": "BTC-USDT", "timeframe": "1h"}],
            data_routes=[{"symbol": "BTC-USDT", "timeframe": "4h"}],
            start_date="2024-01-05",
            end_date="2024-01-07",
            exchange_type="futures",
            starting_balance=5000,
            fee=0.001,
            leverage=2,
            leverage_mode="isolated",
            hyperparameters={},
            warm_up_candles=10,
            fast_mode=True,
            benchmark=True,
            gaps="refuse",
            title="every argument",
            use_cache=False,
            wait_seconds=60,
        ),
        step("unknown argument", "backtest", **RUN, colour="red"),
        step("wrong type", "backtest", **{**RUN, "leverage": "many"}),
        step("missing candles", "backtest", **{**RUN, "start_date": "2023-06-01"}),
        step("runs", "run_list", limit=10),
        step(
            "run",
            "run_get",
            run_id="$first",
            include=["trades", "orders", "equity", "log", "provenance"],
            limit=3,
            offset=1,
        ),
        step("no run", "run_get", run_id="run_none"),
        step("compare", "run_compare", run_ids=["$first", "$second"], metrics=["total", "fee"]),
        step(
            "monte carlo",
            "monte_carlo",
            run_id="$first",
            method="returns_stationary",
            simulations=200,
            seed=1,
            block_length=2.5,
            ruin_threshold=0.9,
            quantiles=[0.05, 0.5, 0.95],
            wait_seconds=60,
        ),
        step("no blocks", "monte_carlo", run_id="$first", method="trades_shuffle", block_length=3),
        step("significance", "significance_test", run_ids=["$first", "$second"], wait_seconds=60),
        step("analysis", "analyze_results", run_id="$first", include=["trades", "drawdowns", "jesse"]),
        step("losses", "var_calculation", run_id="$first", wait_seconds=60),
        step("stress", "stress_test", run_id="$first", leverage=3, wait_seconds=60),
        step("report", "risk_report", run_id="$first", limits={"max_drawdown": 0.1}),
        step(
            "batch",
            "backtest_batch",
            **SERIES,
            strategy="Mine",
            timeframe="1h",
            settings={"warm_up_candles": 24},
            cells=[{"start_date": "2024-01-03"}, {"start_date": "2024-01-04", "fee": 0.001}],
        ),
        step(
            "search",
            "optimize",
            **SERIES,
            strategy="TrendFollowing",
            timeframe="1h",
            start_date="2024-01-03",
            settings={"warm_up_candles": 24},
            metrics=["net_profit_percentage"],
            trials=2,
            min_trades=0,
        ),
        step(
            "walk",
            "walk_forward",
            **SERIES,
            strategy="Mine",
            timeframe="1h",
            start_date="2024-01-03",
            settings={"warm_up_candles": 24},
            train_days=2,
            test_days=1,
            trials=0,
        ),
        step(
            "no window",
            "walk_forward",
            **SERIES,
            strategy="Mine",
            timeframe="1h",
            start_date="2024-01-03",
            settings={"warm_up_candles": 24},
            train_days=200,
            test_days=1,
            trials=0,
        ),
        step(
            "no space",
            "optimize",
            **SERIES,
            strategy="Mine",
            timeframe="1h",
            start_date="2024-01-03",
            settings={"warm_up_candles": 24},
        ),
        step("correlations", "correlation_matrix", prices=PRICES, cointegration=True, wait_seconds=60),
        step(
            "pair",
            "pairs_backtest",
            symbol_y="A",
            symbol_x="B",
            prices=PRICES,
            fee=0.001,
            formation_bars=100,
            lookback=20,
            wait_seconds=60,
        ),
        step("factors", "factor_analysis", returns=RETURNS, factor_returns={"half": RETURNS[::-1]}),
        step("regimes", "regime_detector", returns=RETURNS, method="volatility", training_periods=100),
        step("on paper", "paper_start", **MINE, feed="replay", replay_start="2023-01-01"),
        step("sessions", "paper_list_sessions", include_ended=True),
        *(step(tool, tool, session_id="none") for tool in PAPER),
        step("no update", "paper_update_session", session_id="none", updates={"notes": "mine"}),
        step("write endless", "strategy_write", name="Endless", code=ENDLESS),
        step(
            "endless",
            "backtest",
            {"looping": "job_id"},
            **{**RUN, "strategy": "Endless"},
            wait_seconds=0,
        ),
        step("looping", "job_get", job_id="$looping", wait_seconds=0),
        step("cancel", "job_cancel", job_id="$looping"),
        step("cancel again", "job_cancel", job_id="$looping"),
        step("jobs", "job_list", limit=10),
        step("job", "job_get", job_id="$job"),
        step("no job", "job_get", job_id="job_none"),
        step("delete strategy", "strategy_delete", name="Endless"),
        step("read only", "strategy_delete", name="TrendFollowing"),
        step("delete candles", "candles_delete", **SERIES),
        step("none left", "candles_delete", **SERIES),
    ]


EXPECTED_ERRORS = {
    "on paper": "candles_missing",
    **dict.fromkeys((*PAPER, "no update"), "session_not_found"),
    "no file": "invalid_argument",
    "refused": "strategy_invalid",
    "exists": "strategy_exists",
    "unknown argument": "invalid_argument",
    "wrong type": "invalid_argument",
    "missing candles": "candles_missing",
    "no run": "run_not_found",
    "no window": "invalid_argument",
    "no blocks": "invalid_argument",
    "no space": "invalid_argument",
    "cancel again": "job_not_active",
    "no job": "job_not_found",
    "read only": "strategy_read_only",
    "none left": "series_not_found",
}


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("candles") / "btc.csv"
    rows = synthetic_candles(START, 8 * 1440, 5)[:, [0, 1, 3, 4, 2, 5]]
    header = "timestamp,open,high,low,close,volume"
    np.savetxt(path, rows, delimiter=",", header=header, comments="", fmt="%.10g")
    return path


def environment(home: Path, engine_python: Path) -> dict[str, str]:
    return {
        **os.environ,
        "JESSE_MCP_HOME": str(home),
        "JESSE_PYTHON": str(engine_python),
        "JESSE_MCP_LOG_LEVEL": "ERROR",
        "JESSE_MCP_WORKERS": "1",
        "JESSE_MCP_IMPORT_FOLDERS": "/",
    }


async def told(python: Path, script: dict[str, Any], folder: Path) -> dict[str, Any]:
    path = folder / f"story-{python.parent.parent.name}-{'url' in script}.json"
    path.write_text(json.dumps(script))
    process = await asyncio.create_subprocess_exec(
        str(python), str(CLIENT), str(path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()[-4000:]
    answer: dict[str, Any] = json.loads(output)
    return answer


_VOLATILE = re.compile(r"(run|job|trial)_[a-z2-7]{12}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")
_VARYING = {
    *("owner", "home", "free_disk_mb", "timings_seconds"),
    # How far a job has come.
    *("progress", "message", "state", "log_tail", "started_at"),
    # Whether Jesse is loaded yet.
    "strategies_confined",
}


def comparable(value: Any) -> Any:
    """An answer without what differs between two servers that do the same."""
    if isinstance(value, dict):
        return {name: comparable(item) for name, item in value.items() if name not in _VARYING}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    return _VOLATILE.sub("*", value) if isinstance(value, str) else value


@pytest.mark.timeout(1800)
async def test_both_generations_and_both_transports_hear_the_same(
    engine_python: Path, candles: Path, tmp_path: Path
) -> None:
    stdio = {"command": [sys.executable, "-m", "jesse_mcp", "serve"], "steps": story(candles)}
    heard: dict[tuple[str, str], dict[str, Any]] = {}

    async def listen(generation: str, python: Path) -> None:
        surroundings = environment(tmp_path / f"stdio-{generation}", engine_python)
        heard[generation, "stdio"] = await told(python, {**stdio, "environment": surroundings}, tmp_path)
        surroundings = environment(tmp_path / f"http-{generation}", engine_python)
        with http_server(surroundings, tmp_path / f"log-{generation}") as (_, url):
            heard[generation, "http"] = await told(python, {"url": url, "steps": story(candles)}, tmp_path)

    await asyncio.gather(listen("1", engine_python), listen("2", Path(sys.executable)))
    assert heard["1", "stdio"]["sdk"].startswith("1.28.")
    assert heard["2", "stdio"]["sdk"].startswith("2.")
    reference = heard["2", "stdio"]
    check_answers(reference, candles)
    for who, other in heard.items():
        assert other["tools"] == reference["tools"], who
        for name, answer in reference["answers"].items():
            assert comparable(other["answers"][name]["content"]) == comparable(answer["content"]), (who, name)


def check_answers(heard: dict[str, Any], candles: Path) -> None:
    answers = heard["answers"]
    called = {step["tool"] for step in story(candles)}
    assert called == {tool["name"] for tool in heard["tools"]}
    for name, answer in answers.items():
        code = EXPECTED_ERRORS.get(name)
        assert answer["isError"] is (code is not None), (name, answer["text"])
        if code is not None:
            error = answer["content"]["error"]
            assert (error["code"], bool(error["message"]), bool(error["hint"])) == (code, True, True), name
            assert json.loads(answer["text"]) == answer["content"], name
        json.dumps(answer, allow_nan=False)
    assert answers["import"]["content"]["file"]["added"] == 8 * 1440
    assert "prise" in json.dumps(answers["validate"]["content"]["findings"])
    assert answers["backtest"]["content"]["cached"] is False
    assert answers["again"]["content"]["cached"] is True
    assert answers["backtest"]["content"]["run"]["trade_count"] > 5
    every = answers["everything"]["content"]["run"]
    assert (every["title"], every["request"]["leverage_mode"], every["request"]["fee"]) == (
        "every argument",
        "isolated",
        0.001,
    )
    assert every["benchmark"]["return_percentage"] is not None
    run = answers["run"]["content"]
    assert (len(run["trades"]), len(run["equity"])) == (3, 3)
    assert run["trades"][0]["orders"]
    assert run["provenance"]["fingerprint"]
    assert [row[-1] for row in answers["batch"]["content"]["result"]["rows"]] == [None, None]
    assert answers["search"]["content"]["result"]["counts"]["complete"] == 2
    assert answers["cancel"]["content"]["state"] == "cancelled"
    assert "colour" in answers["unknown argument"]["text"]
    assert "candles_import(" in answers["missing candles"]["content"]["error"]["hint"]
