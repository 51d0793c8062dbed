"""Stress tests through MCP on real backtests, and liquidation prices of Jesse's own."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jesse_mcp.analytics.crises import CRISES
from jesse_mcp.analytics.liquidation import MAINTENANCE_MARGIN_RATE, isolated_price
from jesse_mcp.analytics.synthetic import synthetic_candles
from mcp_desk import EXCHANGE, environment, stdio_desk, strategy

SCRIPT = Path(__file__).with_name("direct_liquidations.py")
DAY = 86_400_000
(YEN,) = (crisis for crisis in CRISES if crisis.name == "yen_carry_2024")
FIRST = YEN.start_ms - 20 * DAY
FEE = 0.0004
HOLD = """
from jesse.strategies import Strategy


class Hold(Strategy):
    def should_long(self):
        return True

    def go_long(self):
        self.buy = self.balance * 1.5 / self.price, self.price
"""
RUN: dict[str, Any] = {
    "exchange": EXCHANGE,
    "symbol": "BTC-USDT",
    "timeframe": "1h",
    "start_date": "2024-07-14",
    "end_date": "2024-07-31",
    "warm_up_candles": 24,
    "fee": FEE,
}


def candle_file(path: Path) -> Path:
    rows = synthetic_candles(FIRST, 28 * 1_440, 5)[:, [0, 1, 3, 4, 2, 5]]
    header = "timestamp,open,high,low,close,volume"
    np.savetxt(path, rows, delimiter=",", header=header, comments="", fmt="%.10g")
    return path


def traded(desk: Any, run_id: str) -> float:
    """Value of all executed orders."""
    found = desk.call("run_get", run_id=run_id, include=["orders"], limit=200)
    orders = [order for trade in found["trades"] for order in trade["orders"]]
    assert all(order["status"] == "EXECUTED" for order in orders)
    return float(sum(abs(order["filled_qty"]) * order["price"] for order in orders))


@pytest.mark.timeout(900)
def test_a_run_is_stressed_and_made_again(engine_python: Path, tmp_path: Path) -> None:
    with stdio_desk(environment(tmp_path, engine_python), tmp_path / "log") as desk:
        desk.call(
            "candles_import",
            exchange=EXCHANGE,
            symbol="BTC-USDT",
            path=str(candle_file(tmp_path / "btc.csv")),
        )
        desk.call("strategy_write", name="Mine", code=strategy("Mine"))
        desk.call("strategy_write", name="Hold", code=HOLD)
        mine = desk.call("backtest", **RUN, strategy="Mine")["run"]
        hold = desk.call("backtest", **RUN, strategy="Hold", leverage=2)["run"]
        tried = desk.call("system_status")["trials"]

        found = desk.call(
            "stress_test",
            run_id=mine["run_id"],
            rerun=["crises", "fees", "slippage"],
            scenarios=["covid_2020", "yen_carry_2024"],
            fee_multipliers=[2, 3],
            slippage_bps=[10],
            wait_seconds=300,
        )
        assert found["state"] == "done"
        assert desk.call("system_status")["trials"] == tried, "nothing new was tried"
        result = found["result"]
        missing, crisis, double, triple, slipped = result["reruns"]
        assert missing["run_id"] is None
        assert "candles_import(" in result["undefined"]["reruns.covid_2020"]
        listed = desk.call("run_list", kind="scenario", limit=50)["runs"]
        scenarios = [line["run_id"] for line in listed]
        assert len(scenarios) == 4
        # What a direct call with that fee, or over those days, answers.
        for row, changes in (
            (double, {"fee": 2 * FEE}),
            (triple, {"fee": round(3 * FEE, 12)}),
            (slipped, {"fee": FEE + 0.001}),
            (crisis, {"start_date": YEN.start, "end_date": YEN.end}),
        ):
            own = desk.call("backtest", **{**RUN, **changes}, strategy="Mine")
            assert own["cached"] is True
            metrics = own["run"]["metrics"]
            view = desk.call("run_get", run_id=row["run_id"])
            assert view["metrics"] == metrics
            assert row["run_id"] in scenarios
            assert row["total_return"] == pytest.approx(metrics["net_profit_percentage"] / 100, abs=1e-12)
            assert row["trades"] == metrics["total"]
        # Orders of one coin each: what is added to the fee is that share of the value traded.
        value = traded(desk, mine["run_id"])
        lost = 10_000 * (mine["metrics"]["net_profit_percentage"] / 100 - slipped["total_return"])
        assert lost == pytest.approx(0.001 * value, rel=1e-9)

        exposed = desk.call("stress_test", run_id=hold["run_id"], shocks={"BTC-USDT": -0.5})["result"]
        beta = exposed["exposure"]["betas"]["BTC-USDT"]
        assert 1.2 < beta["beta"] < 1.8, "one and a half times the balance at the start"
        assert exposed["exposure"]["r_squared"] > 0.98
        assert exposed["shocks"][0]["profit"] == pytest.approx(-0.5 * beta["beta"])
        by_name = {row["name"]: row for row in exposed["crises"]}
        assert by_name["yen_carry_2024"]["market_falls"]["BTC-USDT"]["basis"] == "measured"
        assert by_name["covid_2020"]["total_return"] == pytest.approx(-0.44 * beta["beta"])
        worst = exposed["liquidation"]["worst_adverse_move"]
        assert (worst["side"], worst["basis"], worst["trades_known"]) == ("long", "measured", 1)
        assert exposed["liquidation"]["isolated_distance"] == pytest.approx(0.496)

        market = {
            "exchange": EXCHANGE,
            "symbols": ["BTC-USDT"],
            "start_date": "2024-07-14",
            "end_date": "2024-08-08",
        }
        held = desk.call("stress_test", market=market, scenarios=["yen_carry_2024"])["result"]
        assert held["crises"][0]["basis"] == "measured"
        assert "give market with two symbols" in held["undefined"]["correlation"]


def test_liquidation_prices_are_those_of_jesse(engine_python: Path, tmp_path: Path) -> None:
    cases = [
        (side, entry, leverage)
        for side in ("long", "short")
        for entry in (0.07, 100.0, 61_234.5)
        for leverage in (1, 2, 3, 10, 75, 125)
    ]
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    answer = subprocess.run(
        [str(engine_python), str(SCRIPT), str(tmp_path / "cases.json")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "TZ": "UTC"},
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    for (side, entry, leverage), (liquidation, bankruptcy) in zip(
        cases, json.loads(answer.stdout.splitlines()[-1]), strict=True
    ):
        ours = isolated_price(entry, leverage, side)  # type: ignore[arg-type]
        assert ours == pytest.approx(liquidation, rel=1e-12), (side, entry, leverage)
        margin = MAINTENANCE_MARGIN_RATE * entry * (1 if side == "long" else -1)
        assert bankruptcy == pytest.approx(ours - margin, rel=1e-9)
