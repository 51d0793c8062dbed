"""Every tool of a real server: with what it needs, with everything it takes, and with what is wrong."""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from mcp_desk import (
    DAYS,
    EXCHANGE,
    RUN,
    SERIES,
    candle_file,
    environment,
    stdio_desk,
    strategy,
)
from tool_calls import (
    CHOICE,
    ELSEWHERE,
    ETH,
    EVERY,
    EXCHANGE_ASKED,
    ONE,
    REQUIRED,
    SHORT_WARM_UP,
    World,
    made,
)


@pytest.fixture(scope="module")
def world(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("desk")
    webhooks = {"JESSE_MCP_WEBHOOK_SECRET": "sentinel-9b3e" * 3, "JESSE_MCP_WEBHOOK_ALLOW_PRIVATE": "true"}
    surroundings = environment(folder, engine_python, PAPER_API_KEY="sentinel-7d1f", **webhooks)
    with stdio_desk(surroundings, folder / "log") as desk:
        for series, seed in ((SERIES, 5), (ETH, 6)):
            path = candle_file(folder / f"{series['symbol'][:3].lower()}.csv", seed)
            desk.call("candles_import", **series, path=str(path))
        desk.call("strategy_write", name="Mine", code=strategy("Mine"))
        first = desk.call("backtest", **RUN, strategy="Mine")
        second = desk.call("backtest", **RUN, strategy="Mine", hyperparameters={"every": 4})
        runs = [answer["run"]["run_id"] for answer in (first, second)]
        yield World(desk, folder, runs, first["job_id"], itertools.count(1))


@pytest.mark.parametrize("tool", REQUIRED)
def test_required_arguments_are_enough(world: World, tool: str) -> None:
    arguments = made(REQUIRED[tool], world)
    assert set(world.desk.tools[tool]["inputSchema"].get("required", ())) <= set(arguments)
    if tool in CHOICE:
        assert world.desk.refused(tool, **arguments)["code"] == "invalid_argument"
    elif tool in EXCHANGE_ASKED:
        assert world.desk.refused(tool, **arguments)["code"].startswith("exchange_")
    else:
        world.desk.call(tool, **arguments)


@pytest.mark.parametrize("tool", REQUIRED)
def test_every_argument_is_taken(world: World, tool: str) -> None:
    calls = [made(arguments, world) for arguments in EVERY[tool]]
    for arguments in calls:
        world.desk.call(tool, **arguments)
    given = {name for arguments in calls for name in arguments}
    given |= ELSEWHERE.get(tool, set())
    assert given == set(world.desk.tools[tool]["inputSchema"]["properties"])


@pytest.mark.parametrize("tool", REQUIRED)
def test_what_does_not_fit_the_schema_is_named(world: World, tool: str) -> None:
    desk, schema = world.desk, world.desk.tools[tool]["inputSchema"]
    # Something that ended: nothing here may succeed by accident.
    valid = {"job_id": world.job} if tool == "job_cancel" else made(EVERY[tool][0], world)
    unknown = desk.refused(tool, **valid, colour="red")
    assert (unknown["code"], "colour" in unknown["message"]) == ("invalid_argument", True)
    assert all(name in unknown["hint"] for name in schema["properties"])
    for name, part in schema["properties"].items():
        wrong = [1] if "object" in json.dumps(part) and "array" not in json.dumps(part) else {"not": "this"}
        error = desk.refused(tool, **{**valid, name: wrong})
        assert error["code"] == "invalid_argument"
        assert name in error["message"]
        assert error["details"]["problems"][0]["argument"].startswith(name)
    for name in schema.get("required", ()):
        error = desk.refused(tool, **{key: value for key, value in valid.items() if key != name})
        assert name in error["message"]


def run(**changes: Any) -> dict[str, Any]:
    return {**RUN, "strategy": "Mine", **changes}


def walk(**changes: Any) -> dict[str, Any]:
    chosen = {**ONE, "settings": SHORT_WARM_UP, "train_days": 2, "test_days": 1, **changes}
    return {name: value for name, value in chosen.items() if value is not None}


SHUFFLE = {"run_id": "run_none", "method": "trades_shuffle"}


def search(**changes: Any) -> dict[str, Any]:
    return {**ONE, "settings": SHORT_WARM_UP, **changes}


ROUTE = {"strategy": "Mine", "symbol": "BTC-USDT", "timeframe": "1h"}

#: Tool, arguments, code, and what the message or the hint must say.
WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    ("candles_import", {**SERIES, "path": "/nowhere/at/all.csv"}, "invalid_argument", "/nowhere/at/all.csv"),
    ("candles_import", {**SERIES, "path": "/dev/null"}, "invalid_argument", "/dev/null"),
    ("candles_import", {**SERIES, "path": ""}, "invalid_argument", "path"),
    ("candles_import", {**SERIES, "exchange": "Binanse", "path": "/x"}, "invalid_argument", "Binance Spot"),
    ("candles_import", {**SERIES, "symbol": "BTC", "path": "/x"}, "invalid_argument", "BASE-QUOTE"),
    (
        "candles_import",
        {**SERIES, "path": "/x", "start_date": "2024-01-01"},
        "invalid_argument",
        "start_date",
    ),
    ("candles_import", {**SERIES, "start_date": "2999-01-01"}, "invalid_argument", "2999-01-01"),
    ("candles_import", {**SERIES, "start_date": "01/02/2024"}, "invalid_argument", "YYYY-MM-DD"),
    (
        "candles_import",
        {**SERIES, "start_date": "2024-01-01", "wait_seconds": 601},
        "invalid_argument",
        "600",
    ),
    ("candles_available", {"exchange": "Nowhere"}, "invalid_argument", "Nowhere"),
    ("candles_available", {"start_date": "2024-01-01"}, "invalid_argument", "end_date"),
    ("candles_delete", {**SERIES, "symbol": "NONE-USDT"}, "series_not_found", "candles_available"),
    (
        "candles_delete",
        {**SERIES, "start_date": "2024-01-02", "end_date": "2024-01-02"},
        "invalid_argument",
        "exclusive",
    ),
    ("strategy_read", {"name": "TrendFolowing"}, "strategy_not_found", "TrendFollowing"),
    ("strategy_read", {"name": "../../etc/passwd"}, "invalid_argument", "class name"),
    ("strategy_validate", {"name": "Nobody"}, "strategy_not_found", "strategy_list"),
    ("strategy_write", {"name": "TrendFollowing", "code": ""}, "strategy_invalid", "TrendFollowing"),
    (
        "strategy_write",
        {"name": "TrendFollowing", "code": strategy("TrendFollowing")},
        "strategy_read_only",
        "TrendFollowing",
    ),
    ("strategy_write", {"name": "Mine", "code": strategy("Mine")}, "strategy_exists", "overwrite"),
    ("strategy_write", {"name": "Other", "code": "import os\n"}, "strategy_invalid", "Strategy"),
    ("strategy_delete", {"name": "MeanReversion"}, "strategy_read_only", "MeanReversion"),
    ("strategy_delete", {"name": "Nobody"}, "strategy_not_found", "Nobody"),
    ("indicator_list", {"name": "emaa"}, "invalid_argument", "ema"),
    ("indicator_list", {"limit": 0}, "invalid_argument", "limit"),
    ("indicator_list", {"limit": 201}, "invalid_argument", "200"),
    ("backtest", run(strategy="Nobody"), "strategy_not_found", "strategy_list"),
    ("backtest", run(start_date="2023-06-01"), "candles_missing", "candles_import("),
    ("backtest", run(symbol="NONE-USDT"), "candles_missing", "candles_import("),
    ("backtest", run(timeframe="7h"), "invalid_argument", "4h"),
    ("backtest", run(end_date="2024-01-03"), "invalid_argument", "exclusive"),
    ("backtest", run(start_date="0001-01-01"), "invalid_argument", "1970"),
    ("backtest", run(timeframe="1M", warm_up_candles=100_000), "invalid_argument", "warm_up_candles"),
    ("backtest", run(warm_up_candles=-1), "invalid_argument", "warm_up_candles"),
    ("backtest", run(leverage=0), "invalid_argument", "leverage"),
    ("backtest", run(leverage=10**30), "invalid_argument", "leverage"),
    ("backtest", run(leverage=2, exchange_type="spot"), "invalid_argument", "futures"),
    ("backtest", run(fee=0.5), "invalid_argument", "fee"),
    ("backtest", run(fee="NaN"), "invalid_argument", "finite"),
    ("backtest", run(starting_balance="Infinity"), "invalid_argument", "finite"),
    ("backtest", run(hyperparameters={"every": "often"}), "run_rejected", "int"),
    ("backtest", run(hyperparameters={"ever": 1}), "run_rejected", "'every'"),
    ("backtest", run(hyperparameters={"every": [1]}), "invalid_argument", "every"),
    ("backtest", run(wait_seconds=-1), "invalid_argument", "wait_seconds"),
    ("backtest", run(title="x" * 201), "invalid_argument", "200"),
    ("backtest", run(routes=[ROUTE]), "invalid_argument", "routes"),
    ("backtest", run(engine="ray"), "invalid_argument", "embedded"),
    (
        "backtest",
        {"exchange": EXCHANGE, "start_date": "2024-01-03", "routes": [ROUTE, ROUTE]},
        "invalid_argument",
        "BTC-USDT",
    ),
    (
        "backtest",
        {"exchange": EXCHANGE, "start_date": "2024-01-03", "routes": [{**ROUTE, "side": "long"}]},
        "invalid_argument",
        "side",
    ),
    ("backtest_batch", {**ONE, "settings": SHORT_WARM_UP}, "invalid_argument", "vary"),
    ("backtest_batch", {**ONE, "vary": {}}, "invalid_argument", "strategies"),
    ("backtest_batch", {**ONE, "vary": {"symbols": []}}, "invalid_argument", "symbols is empty"),
    ("backtest_batch", {**ONE, "vary": {"sybmols": ["BTC-USDT"]}}, "invalid_argument", "sybmols"),
    (
        "backtest_batch",
        {**ONE, "vary": {"symbols": ["BTC-USDT"] * 101, "timeframes": ["1h"] * 10}},
        "invalid_argument",
        "101 symbols x 10 timeframes makes 1010 cells",
    ),
    (
        "backtest_batch",
        {**ONE, "settings": SHORT_WARM_UP, "vary": {"symbols": ["NONE-USDT", "BTC-USDT", "NIL-USDT"]}},
        "candles_missing",
        "2 of 3 cells cannot run",
    ),
    (
        "backtest_batch",
        {**ONE, "settings": SHORT_WARM_UP, "vary": {"symbols": ["NONE-USDT", "BTC-USDT", "NIL-USDT"]}},
        "candles_missing",
        "without candles: NONE-USDT, NIL-USDT",
    ),
    (
        "backtest_batch",
        {**ONE, "settings": SHORT_WARM_UP, "cells": [{}, {"leverage": "many"}]},
        "invalid_argument",
        "cell 1: leverage",
    ),
    ("backtest_batch", {**ONE, "cells": [{"leverage": 0, **SHORT_WARM_UP}]}, "invalid_argument", "leverage"),
    ("backtest_batch", {**ONE, "cells": [{}], "vary": {}}, "invalid_argument", "both"),
    ("backtest_batch", {"resume": "job_none"}, "job_not_found", "job_list"),
    ("backtest_batch", {**ONE, "resume": "job_none"}, "invalid_argument", "resume alone"),
    ("optimize", search(settings={"warm_up": 24}), "invalid_argument", "warm_up_candles"),
    ("optimize", search(settings={"symbol": "BTC-USDT"}), "invalid_argument", "symbol was given"),
    ("optimize", search(symbol="NONE-USDT"), "candles_missing", "candles_import("),
    ("optimize", search(strategy="Nobody"), "strategy_not_found", "strategy_list"),
    ("optimize", search(metrics=["sharp_ratio"]), "invalid_argument", "'sharpe_ratio'"),
    ("optimize", search(metrics=["total"]), "invalid_argument", "total:max"),
    ("optimize", search(metrics=["fee:up"]), "invalid_argument", "fee:min"),
    ("optimize", search(metrics=[]), "invalid_argument", "0 metrics"),
    ("optimize", search(metrics=["fee", "fee:max"]), "invalid_argument", "twice"),
    ("optimize", search(space={}), "invalid_argument", "empty"),
    ("optimize", search(space={"evry": {"min": 1, "max": 2}}), "invalid_argument", "there are: every"),
    ("optimize", search(space={"every": {"min": 5, "max": 4}}), "invalid_argument", "every has min 5 above"),
    ("optimize", search(space={"every": {"step": 0}}), "invalid_argument", "every has a step of 0"),
    ("optimize", search(space={"every": {"step": 0.5}}), "invalid_argument", "whole numbers"),
    ("optimize", search(space={"every": {"options": []}}), "invalid_argument", "every has no options"),
    ("optimize", search(space={"every": {"options": [1], "min": 1}}), "invalid_argument", "one of them"),
    ("optimize", search(trials=0), "invalid_argument", "trials is 0"),
    ("optimize", search(seed=-1), "invalid_argument", "seed is -1"),
    ("optimize", search(early_stop=0), "invalid_argument", "early_stop is 0"),
    ("optimize", search(in_flight=0), "invalid_argument", "in_flight is 0"),
    ("optimize", search(min_trades=-1), "invalid_argument", "min_trades is -1"),
    ("optimize", search(sampler="annealing"), "invalid_argument", "cmaes"),
    ("optimize", search(sampler="cmaes"), "invalid_argument", "two hyperparameters"),
    ("optimize", search(pruning=True), "invalid_argument", "8 days"),
    ("optimize", search(pruning=True, metrics=["fee", "total:max"]), "invalid_argument", "one metric"),
    ("optimize", search(test_fraction=1), "invalid_argument", "below 1"),
    ("optimize", search(test_fraction=0.2, test_start="2024-01-05"), "invalid_argument", "one of them"),
    ("optimize", search(test_start="2024-01-03"), "invalid_argument", "inside the period"),
    (
        "optimize",
        search(space={"every": {}}, settings={**SHORT_WARM_UP, "hyperparameters": {"every": 3}}),
        "invalid_argument",
        "fixed",
    ),
    ("optimize", {"resume": "job_none"}, "job_not_found", "job_list"),
    ("optimize", {"resume": "job_none", "in_flight": 4}, "invalid_argument", "in_flight"),
    ("run_list", {"symbol": "?"}, "invalid_argument", "BASE-QUOTE"),
    ("run_list", {"limit": 201}, "invalid_argument", "200"),
    ("run_list", {"offset": 10**30}, "invalid_argument", "offset"),
    ("run_get", {"run_id": "run_none"}, "run_not_found", "run_list"),
    ("run_get", {"run_id": "run_none", "include": ["everything"]}, "invalid_argument", "provenance"),
    ("run_compare", {"run_ids": ["run_a"]}, "invalid_argument", "2 to 20"),
    ("run_compare", {"run_ids": ["run_a", "run_b"]}, "run_not_found", "run_"),
    ("walk_forward", walk(train_days=None), "invalid_argument", "train_days or test_days"),
    ("walk_forward", walk(train_days=6), "invalid_argument", "are 7 days; 2024-01-03 to 2024-01-09 has 6"),
    ("walk_forward", walk(train_days=0), "invalid_argument", "train_days is 0"),
    ("walk_forward", walk(purge_days=-1), "invalid_argument", "purge_days is -1"),
    ("walk_forward", walk(step_days=0), "invalid_argument", "step_days is 0"),
    ("walk_forward", walk(trials=-1), "invalid_argument", "trials"),
    ("walk_forward", walk(trials=20_000), "invalid_argument", "runs"),
    ("walk_forward", walk(trials=0, metric="fee"), "invalid_argument", "trials is 0"),
    ("walk_forward", walk(metric="sharp_ratio"), "invalid_argument", "'sharpe_ratio'"),
    ("walk_forward", walk(space={}), "invalid_argument", "empty"),
    ("walk_forward", walk(space={"ever": {"min": 2}}), "invalid_argument", "every"),
    ("walk_forward", walk(space={"every": {"min": 9, "max": 3}}), "invalid_argument", "above max"),
    ("walk_forward", walk(sampler="grid", seed=-1), "invalid_argument", "seed"),
    ("walk_forward", walk(symbol="NONE-USDT"), "candles_missing", "candles_import("),
    ("walk_forward", walk(start_date="2023-06-01"), "candles_missing", "candles_import("),
    ("walk_forward", {"resume": "job_none"}, "job_not_found", "job_list"),
    ("walk_forward", {"resume": "job_none", "trials": 7}, "invalid_argument", "trials"),
    ("monte_carlo", {"run_id": "run_none", "method": "trades_shuffle"}, "run_not_found", "run_list"),
    ("monte_carlo", {"run_id": "run_none", "method": "astrology"}, "invalid_argument", "returns_block"),
    ("monte_carlo", {**SHUFFLE, "simulations": 0}, "invalid_argument", "simulations is 0"),
    ("monte_carlo", {**SHUFFLE, "simulations": 1_000_001}, "invalid_argument", "1,000,000"),
    ("monte_carlo", {**SHUFFLE, "method": "candles", "simulations": 1001}, "invalid_argument", "1,000"),
    ("monte_carlo", {**SHUFFLE, "seed": -1}, "invalid_argument", "seed"),
    ("monte_carlo", {**SHUFFLE, "ruin_threshold": 1}, "invalid_argument", "ruin_threshold"),
    ("monte_carlo", {**SHUFFLE, "quantiles": [1.5]}, "invalid_argument", "quantiles"),
    ("monte_carlo", {**SHUFFLE, "quantiles": []}, "invalid_argument", "quantiles"),
    ("monte_carlo", {**SHUFFLE, "block_length": 3}, "invalid_argument", "block_length"),
    ("monte_carlo", {**SHUFFLE, "pipeline": "gaussian_noise"}, "invalid_argument", "pipeline"),
    ("monte_carlo", {**SHUFFLE, "engine": "embedded"}, "invalid_argument", "method='candles'"),
    ("analyze_results", {}, "invalid_argument", "exactly one"),
    ("analyze_results", {"run_id": "run_none"}, "run_not_found", "run_list"),
    ("analyze_results", {"run_id": "run_none", "returns": [0.1]}, "invalid_argument", "exactly one"),
    ("analyze_results", {"returns": [-2.0]}, "invalid_argument", "-2.0"),
    ("analyze_results", {"returns": [0.1], "include": ["trade"]}, "invalid_argument", "drawdowns"),
    ("analyze_results", {"returns": [0.1], "risk_free_rate": -1}, "invalid_argument", "risk_free_rate is -1"),
    ("analyze_results", {"returns": [0.1], "target_return": 50}, "invalid_argument", "target_return is 50"),
    ("analyze_results", {"returns": [0.1], "rolling_window": 9}, "invalid_argument", "'rolling'"),
    (
        "analyze_results",
        {"returns": [0.1], "rolling_window": 1, "include": ["rolling"]},
        "invalid_argument",
        "rolling_window is 1",
    ),
    ("analyze_results", {"returns": [0.1], "seed": 9}, "invalid_argument", "'intervals'"),
    (
        "analyze_results",
        {"returns": [0.1], "seed": -1, "include": ["intervals"]},
        "invalid_argument",
        "seed is -1",
    ),
    ("analyze_results", {"returns": [0.1], "benchmark_returns": [0.1]}, "invalid_argument", "'benchmark'"),
    ("var_calculation", {}, "invalid_argument", "exactly one"),
    ("var_calculation", {"run_id": "run_none"}, "run_not_found", "run_list"),
    ("var_calculation", {"returns": [0.1], "methods": ["delta"]}, "invalid_argument", "historical"),
    ("var_calculation", {"returns": [0.1], "methods": []}, "invalid_argument", "methods is []"),
    ("var_calculation", {"returns": [0.1], "confidence": [95]}, "invalid_argument", "confidence is [95"),
    ("var_calculation", {"returns": [0.1], "horizon": [0]}, "invalid_argument", "horizon is [0]"),
    ("var_calculation", {"returns": [0.1], "window": 60}, "invalid_argument", "backtest=true"),
    (
        "var_calculation",
        {"returns": [0.1], "window": 3, "backtest": True},
        "invalid_argument",
        "window is 3",
    ),
    ("var_calculation", {"returns": [0.1], "value": 0}, "invalid_argument", "value is 0"),
    (
        "var_calculation",
        {"returns": [0.1], "seed": 3, "methods": ["ewma"]},
        "invalid_argument",
        "simulated",
    ),
    ("risk_report", {}, "invalid_argument", "exactly one"),
    ("risk_report", {"run_id": "run_none"}, "run_not_found", "run_list"),
    ("risk_report", {"returns": [0.1], "limits": {"drawdown": 0.2}}, "invalid_argument", "max_drawdown"),
    ("risk_report", {"returns": [0.1], "limits": {"max_drawdown": 20}}, "invalid_argument", "20 %"),
    ("risk_report", {"returns": [0.1], "trials": 0}, "invalid_argument", "trials is 0"),
    ("risk_report", {"returns": [0.1], "format": "pdf"}, "invalid_argument", "markdown"),
    ("stress_test", {}, "invalid_argument", "exactly one"),
    ("stress_test", {"run_id": "run_none"}, "run_not_found", "run_list"),
    ("stress_test", {"returns": [0.1], "scenarios": ["flood"]}, "invalid_argument", "ftx_2022"),
    ("stress_test", {"returns": [0.1], "rerun": ["fees"]}, "invalid_argument", "run_id"),
    ("stress_test", {"returns": [0.1], "rerun": ["taxes"]}, "invalid_argument", "slippage"),
    ("stress_test", {"returns": [0.1], "shocks": {"BTC-USDT": -2}}, "invalid_argument", "market"),
    ("stress_test", {"run_id": "run_none", "leverage": 0}, "invalid_argument", "leverage is 0"),
    ("stress_test", {"run_id": "run_none", "slippage_bps": [1]}, "invalid_argument", "'slippage'"),
    ("stress_test", {"run_id": "run_none", "correlation": [[1]]}, "invalid_argument", "market"),
    ("significance_test", {}, "invalid_argument", "exactly one"),
    ("significance_test", {"run_id": "run_none"}, "run_not_found", "run_list"),
    ("significance_test", {"run_ids": ["run_a"]}, "invalid_argument", "2 to 100"),
    ("significance_test", {"run_ids": ["run_a", "run_b"]}, "run_not_found", "run_"),
    ("significance_test", {"run_ids": ["run_a", "run_b"], "returns": [0.1]}, "invalid_argument", "either"),
    ("significance_test", {"returns": [0.1], "trials": 0}, "invalid_argument", "trials is 0"),
    ("significance_test", {"returns": [0.1], "splits": 7}, "invalid_argument", "even number"),
    ("significance_test", {"returns": [0.1], "confidence": 95}, "invalid_argument", "confidence is 95"),
    ("significance_test", {"returns": [0.1], "benchmark_sharpe": 1e9}, "invalid_argument", "annual"),
    ("significance_test", {"returns": [0.1], "seed": -1}, "invalid_argument", "seed is -1"),
    ("job_list", {"state": "sleeping"}, "invalid_argument", "running"),
    ("job_list", {"offset": 10**30}, "invalid_argument", "offset"),
    ("job_get", {"job_id": "job_none"}, "job_not_found", "job_list"),
    ("job_cancel", {"job_id": "job_none"}, "job_not_found", "job_list"),
    ("no_such_tool", {}, "invalid_argument", "run_compare"),
]


@pytest.mark.parametrize(("tool", "arguments", "code", "says"), WRONG)
def test_what_is_wrong_is_explained(
    world: World, tool: str, arguments: dict[str, Any], code: str, says: str
) -> None:
    error = world.desk.refused(tool, **arguments)
    assert error["code"] == code, error
    assert says in f"{error['message']} {error['hint']}", error


HOSTILE = [
    "",
    "\0",
    "a\0b",
    "../../../tmp/sentinel",
    "%s{0}${x}",
    "[/bold]",
    "ä✓𝄞\u202e",
    "x" * 5000,
    "NaN",
    "-1",
]


@pytest.mark.parametrize("tool", REQUIRED)
def test_hostile_text_is_never_a_fault_of_the_server(world: World, tool: str) -> None:
    desk = world.desk
    valid = {"job_id": "job_none"} if tool == "job_cancel" else made(EVERY[tool][0], world)
    valid |= {"candles_delete": {"symbol": "NONE-USDT"}, "strategy_delete": {"name": "Nobody"}}.get(tool, {})
    for name, text in itertools.product(desk.tools[tool]["inputSchema"]["properties"], HOSTILE):
        result = desk.result(tool, {**valid, name: text})
        body = json.dumps(result.structured_content)
        assert "internal_error" not in body, (name, text, body)
        assert "storage_failed" not in body, (name, text, body)
        if result.is_error:
            desk.refused(tool, **{**valid, name: text})
            assert len(body) < 10_000, (name, body)


def test_the_list_of_tools_is_complete_and_short(world: World) -> None:
    """An agent reads all of it, at the start of every conversation."""
    tools = world.desk.tools
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    table = [line.split("|")[1] for line in readme.splitlines() if line.startswith("| `")]
    in_readme = {name for cell in table for name in re.findall(r"`([a-z_]+)`", cell)}
    assert set(tools) == in_readme == set(REQUIRED)
    assert len(json.dumps({"tools": list(tools.values())})) <= 116_000
    for name, tool in tools.items():
        assert len(json.dumps(tool)) <= 7_000, name
        assert tool["title"], name
        assert len(tool["description"]) > 40, name
        hints = {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"}
        assert all(isinstance(tool["annotations"][hint], bool) for hint in hints), name
        assert not (tool["annotations"]["readOnlyHint"] and tool["annotations"]["destructiveHint"]), name
        assert tool["inputSchema"]["additionalProperties"] is False, name
        assert tool["outputSchema"]["type"] == "object", name


def test_an_error_fits_the_output_schema_and_rubbish_does_not(world: World) -> None:
    """Clients of the TypeScript SDK check the data of an error against the schema of the result."""
    error: dict[str, Any] = {"code": "invalid_argument", "message": "m", "hint": "h", "details": {}}
    for name, tool in world.desk.tools.items():
        schema = Draft202012Validator(tool["outputSchema"])
        assert schema.is_valid({"error": error}), name
        assert not schema.is_valid({"rubbish": 1}), name
        if name != "candles_import":
            assert not schema.is_valid({}), name


def test_everything_imported_is_what_was_in_the_file(world: World) -> None:
    answer = world.desk.call("candles_import", **SERIES, path=str(world.folder / "btc.csv"))
    assert answer["fetched"] is None
    assert (answer["file"]["rows_in_file"], answer["file"]["unchanged"]) == (DAYS * 1440, DAYS * 1440)
