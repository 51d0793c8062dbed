"""Value at risk of real backtests through MCP: its numbers are those of Jesse's own daily balances."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import empyrical
import numpy as np
import pytest

from mcp_desk import EXCHANGE, SERIES, Desk, candle_file, environment, stdio_desk, strategy

DAYS = 130
METHODS = [
    "historical",
    "gaussian",
    "cornish_fisher",
    "monte_carlo_normal",
    "monte_carlo_t",
    "ewma",
    "garch_normal",
    "garch_t",
    "filtered_historical",
    "volatility_weighted",
]


@pytest.fixture(scope="module")
def desk(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    with stdio_desk(environment(folder, engine_python), folder / "log") as desk:
        for number, symbol in enumerate(("BTC-USDT", "ETH-USDT")):
            path = str(candle_file(folder / f"{symbol}.csv", seed=8 + number, days=DAYS))
            desk.call("candles_import", **{**SERIES, "symbol": symbol}, path=path)
        desk.call("strategy_write", name="Mine", code=strategy("Mine"))
        yield desk


def run_of(desk: Desk, **more: Any) -> str:
    asked = {**SERIES, "strategy": "Mine", "timeframe": "1h", "start_date": "2024-01-03", **more}
    found: str = desk.call("backtest", **asked, warm_up_candles=24, wait_seconds=120)["run"]["run_id"]
    return found


@pytest.mark.timeout(600)
def test_risks_of_a_run_are_those_of_its_balances(desk: Desk) -> None:
    run_id = run_of(desk)
    found = desk.call("var_calculation", run_id=run_id, wait_seconds=120)["result"]
    points = desk.call("run_get", run_id=run_id, include=["equity"], limit=1000)["equity"]
    balances = np.array([point["balance"] for point in points])
    returns = balances[1:] / balances[:-1] - 1
    assert found["periods"] == len(returns) > 100
    assert found["value"] == balances[-1]
    rows = {(row["method"], row["confidence"], row["horizon"]): row for row in found["risks"]}
    historical = rows["historical", 0.95, 1]
    assert historical["var"] == np.quantile(-returns, 0.95, method="inverted_cdf")
    size = len(returns) * 0.05
    worst = np.sort(returns)[: int(size) + 1]
    shortfall = -(worst[:-1].sum() + (size - int(size)) * worst[-1]) / size
    assert historical["es"] == pytest.approx(shortfall)
    assert historical["es"] == pytest.approx(
        -empyrical.conditional_value_at_risk(returns, cutoff=0.05), rel=0.1
    )
    assert historical["es_money"] == pytest.approx(shortfall * balances[-1])
    for row in rows.values():
        for name in ("var", "es"):
            assert (row[name] is None) == (name in row.get("undefined", {}))
    assert "250 are needed" in rows["garch_t", 0.99, 1]["undefined"]["var"]
    assert any("250 are needed" in finding for finding in found["findings"])


@pytest.mark.timeout(600)
def test_every_method_of_a_market_with_rolling_tests(desk: Desk) -> None:
    """Four-hour bars of 130 days are enough for GARCH."""
    market = {
        "exchange": EXCHANGE,
        "symbols": ["BTC-USDT", "ETH-USDT"],
        "weights": [0.7, 0.3],
        "timeframe": "4h",
        "start_date": "2024-01-01",
        "end_date": "2024-05-05",
    }
    asked: dict[str, Any] = {
        "market": market,
        "methods": METHODS,
        "confidence": [0.9, 0.99],
        "horizon": [1, 5],
        "backtest": True,
        "window": 300,
        "seed": 5,
        "value": 25_000,
        "wait_seconds": 300,
    }
    found = desk.call("var_calculation", **asked)["result"]
    assert found["value"] == 25_000
    assert len(found["risks"]) == len(METHODS) * 4
    assert [test["method"] for test in found["backtest"][::2]] == METHODS
    normal = next(test for test in found["backtest"] if test["method"] == "gaussian")
    assert normal["forecasts"] == found["periods"] - 300
    assert normal["traffic_light"] is None
    for part in found["contributions"]:
        total = sum(symbol["es"] for symbol in part["symbols"].values())
        assert total == pytest.approx(part["es"])
    assert desk.call("var_calculation", **asked)["result"] == found, "the same question, the same answer"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("days", [1, 2])
def test_a_run_of_a_day_or_two_says_what_it_cannot_tell(desk: Desk, days: int) -> None:
    run_id = run_of(desk, end_date=f"2024-01-0{3 + days}")
    found = desk.call("var_calculation", run_id=run_id, methods=METHODS, backtest=True)["result"]
    assert found["periods"] <= 2
    assert all("var" in row["undefined"] for row in found["risks"] if row["var"] is None)
    assert any(row["var"] is None for row in found["risks"])
    assert all(test["forecasts"] == 0 for test in found["backtest"])
