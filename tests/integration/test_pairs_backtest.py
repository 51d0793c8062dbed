"""Backtests of a pair through MCP: beside two routes of the real Jesse, and read by the other tools."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp_desk import EXCHANGE, Desk, environment, stdio_desk
from pair_cases import SYMBOL_X, SYMBOL_Y, pair_candles, pair_files

DAYS = 20
PAIR: dict[str, Any] = {
    "symbol_y": SYMBOL_Y,
    "symbol_x": SYMBOL_X,
    "exchange": EXCHANGE,
    "timeframe": "1h",
    "start_date": "2024-01-11",
    "formation_bars": 240,
    "lookback": 40,
    "entry_z": 1.5,
    "wait_seconds": 300,
}
#: Made of daily balances.
OF_DAYS = (
    "max_drawdown",
    "max_underwater_period",
    "annual_return",
    "sharpe_ratio",
    "calmar_ratio",
    "sortino_ratio",
    "smart_sharpe",
    "smart_sortino",
    "omega_ratio",
)


@pytest.fixture(scope="module")
def desk(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("pairs")
    with stdio_desk(environment(folder, engine_python), folder / "log") as opened:
        for symbol, path in pair_files(folder, pair_candles(DAYS)).items():
            opened.call("candles_import", exchange=EXCHANGE, symbol=symbol, path=str(path))
        yield opened


@pytest.fixture(scope="module")
def free(desk: Desk) -> dict[str, Any]:
    """Without slippage, which Jesse does not have, on candles that open where the last one closed."""
    answer = desk.call("pairs_backtest", **PAIR, slippage=0, jesse=True, trades_shown=200)
    assert answer["state"] == "done"
    result: dict[str, Any] = answer["result"]
    return result


def equity_of(desk: Desk, run_id: str) -> list[tuple[int, float]]:
    view = desk.call("run_get", run_id=run_id, include=["equity"], limit=200)
    return [(point["timestamp"], point["balance"]) for point in view["equity"]]


def trades_of(desk: Desk, run_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = desk.call("run_get", run_id=run_id, include=["trades"], limit=500)["trades"]
    return sorted(found, key=lambda trade: (trade["opened_at"], trade["symbol"]))


@pytest.mark.timeout(900)
def test_without_slippage_jesse_trades_the_same_to_the_last_digits(desk: Desk, free: dict[str, Any]) -> None:
    """Next opens are last closes here, so every trade and metric of trades has to be Jesse's.

    Jesse takes the balance of a day a minute behind midnight, the simulation at midnight: where nothing is
    open between the two, they are the same.
    """
    compared = free["jesse"]
    ours, theirs = trades_of(desk, free["run_id"]), trades_of(desk, compared["run_id"])
    assert len(ours) == len(theirs) == 2 * free["performance"]["pairs_traded"] >= 10
    for one, other in zip(ours, theirs, strict=True):
        for name in ("symbol", "type", "opened_at", "closed_at"):
            assert one[name] == other[name], name
        numbers = ("entry_price", "exit_price", "qty", "size", "fee", "pnl", "pnl_percentage")
        for name in (*numbers, "holding_period"):
            assert one[name] == pytest.approx(other[name], rel=1e-9, abs=1e-9), name
    days, same = equity_of(desk, free["run_id"]), equity_of(desk, compared["run_id"])
    quiet = 0
    for (moment, balance), (later, theirs_then) in zip(days, same, strict=True):
        assert 0 <= later - moment <= 60_000
        if not any(trade["opened_at"] <= later and trade["closed_at"] >= moment for trade in ours):
            quiet += 1
            assert balance == pytest.approx(theirs_then, rel=1e-10)
    assert quiet > 3
    assert days[-1][1] == pytest.approx(same[-1][1], rel=1e-10)
    metrics, jesse = (
        desk.call("run_get", run_id=run_id)["metrics"] for run_id in (free["run_id"], compared["run_id"])
    )
    known = {name: value for name, value in metrics.items() if value is not None and name not in OF_DAYS}
    assert len(known) > 25
    for name, value in known.items():
        assert jesse[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name
    assert compared["legs_matched"] == len(ours)
    assert compared["legs_only_simulated"] == compared["legs_only_jesse"] == 0
    for name, value in compared["difference"].items():
        assert value == pytest.approx(0, abs=1e-6), name


@pytest.mark.timeout(900)
def test_slippage_is_the_difference_when_there_is_some(desk: Desk, free: dict[str, Any]) -> None:
    dear = desk.call("pairs_backtest", **PAIR, slippage=0.001, jesse=True, trades_shown=1)["result"]
    compared = dear["jesse"]
    # The decisions are the same, so it is the run that Jesse has made already.
    assert compared["run_id"] == free["jesse"]["run_id"]
    assert compared["difference"]["slippage"] == pytest.approx(dear["performance"]["slippage"])
    assert compared["difference"]["prices"] == pytest.approx(0, abs=1e-6)
    total = compared["jesse"]["final_balance"] - compared["simulated"]["final_balance"]
    assert compared["difference"]["pnl"] == pytest.approx(total, rel=1e-9)
    assert total > 0
    assert len(compared["legs"]) == 2


@pytest.mark.timeout(900)
def test_every_risk_tool_takes_the_run(desk: Desk, free: dict[str, Any]) -> None:
    for run_id in (free["run_id"], free["jesse"]["run_id"]):
        analysis = desk.call("analyze_results", run_id=run_id)
        assert analysis["performance"]["total_return"] == pytest.approx(
            free["performance"]["total_return"], rel=1e-6
        )
        assert (analysis["jesse"] is None) == (run_id == free["run_id"])
        assert desk.call("var_calculation", run_id=run_id)["state"] == "done"
        assert desk.call("stress_test", run_id=run_id)["state"] == "done"
        significance = desk.call("significance_test", run_id=run_id)["result"]
        assert significance["selection"]["trials"] >= 1
        assert "risk" in str(desk.call("risk_report", run_id=run_id)).lower()
        drawn = desk.call("monte_carlo", run_id=run_id, method="trades_shuffle", simulations=100)["result"]
        assert drawn["sample_size"] == free["performance"]["pairs_traded"]
        for tool, asked in (
            ("stress_test", {"rerun": ["fees"]}),
            ("monte_carlo", {"method": "candles", "simulations": 2}),
        ):
            error = desk.refused(tool, run_id=run_id, **asked)
            assert "pairs_backtest" in error["message"]
    listed = desk.call("run_list", kind="pairs")
    assert {run["run_id"] for run in listed["runs"]} >= {free["run_id"], free["jesse"]["run_id"]}
    assert desk.call("run_list", kind="backtest")["total"] == 0


def test_thresholds_that_were_tried_are_counted(desk: Desk, free: dict[str, Any]) -> None:
    before = desk.call("significance_test", run_id=free["run_id"])["result"]["selection"]["trials"]
    for method in ("rolling_ols", "kalman", "total_least_squares", "johansen"):
        found = desk.call("pairs_backtest", **PAIR, hedge_ratio=method)["result"]
        assert found["hedge_ratio"]["method"] == method
    after = desk.call("significance_test", run_id=free["run_id"])["result"]["selection"]["trials"]
    assert after == before + 4


def test_an_equal_call_is_answered_by_the_stored_run(desk: Desk, free: dict[str, Any]) -> None:
    again = desk.call("pairs_backtest", **PAIR, slippage=0, trades_shown=200)["result"]
    assert (again["run_id"], again["cached"]) == (free["run_id"], True)
    assert again["performance"] == free["performance"]
    assert again["trades"] == free["trades"]


def test_bad_input_teaches(desk: Desk) -> None:
    spot = desk.refused("pairs_backtest", **{**PAIR, "exchange": "Binance Spot"})
    assert "futures" in spot["hint"]
    early = desk.refused("pairs_backtest", **{**PAIR, "start_date": "2024-01-05"})
    assert early["code"] == "candles_missing"
    assert "candles_import" in early["hint"] or "formation" in early["hint"] or "start later" in early["hint"]
    inline = desk.refused("pairs_backtest", symbol_y="A", symbol_x="B", prices={"A": [], "B": []})
    assert "fee is not given" in inline["message"]
