"""Analyses of a paper session through MCP: while it runs, and afterwards as the run it became."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp_desk import EXCHANGE, SERIES, Desk, candle_file, environment, stdio_desk, strategy, wait_until

#: As fast as it goes: six days of :data:`SERIES`.
REPLAY: dict[str, Any] = {
    "strategy": "Mine",
    "symbol": "BTC-USDT",
    "exchange": EXCHANGE,
    "feed": "replay",
    "replay_start": "2024-01-03",
    "warm_up_candles": 24,
}
#: A series so long that a session over it does not end while it is looked at.
LONG_SERIES = {"exchange": EXCHANGE, "symbol": "ETH-USDT"}
#: A thousand minutes a second: its hundred and fifty days take more than three minutes.
RUNNING = {**REPLAY, "symbol": "ETH-USDT", "speed": 60_000}
#: By the name of the session's metric, that of the analysis.
SAME = {
    "sharpe_ratio": "sharpe_ratio",
    "sortino_ratio": "sortino_ratio",
    "volatility": "annual_volatility",
    "total_return": "total_return",
}
OF_TRADES = {
    "win_rate": "win_rate",
    "profit_factor": "profit_factor",
    "avg_trade": "expectancy",
    "avg_winning_trade": "average_win",
    "total_trades": "trades",
}


@pytest.fixture(scope="module")
def desk(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("analyses")
    with stdio_desk(environment(folder, engine_python), folder / "log") as ready:
        ready.call("candles_import", **SERIES, path=str(candle_file(folder / "candles.csv")))
        long = candle_file(folder / "long.csv", days=150)
        ready.call("candles_import", **LONG_SERIES, path=str(long))
        ready.call("strategy_write", name="Mine", code=strategy("Mine"))
        yield ready


def status(desk: Desk, name: str) -> dict[str, Any]:
    return desk.call("paper_status", session_id=name)


def test_a_session_is_analysed_while_it_runs(desk: Desk) -> None:
    name = desk.call("paper_start", **RUNNING)["session_id"]
    wait_until(lambda: (status(desk, name)["traded_through"] or "") > "2024-01-05T01", "two days of trading")
    running = desk.call("analyze_results", session_id=name)
    assert running["source"].startswith(f"paper session {name} up to 2024-0")
    assert running["sections"]["trades"]["trades"] > 0
    assert running["jesse"] is None
    assert any("the session is running" in finding for finding in running["findings"])
    for tool in ("risk_report", "var_calculation", "significance_test", "stress_test"):
        assert desk.call(tool, session_id=name)
    assert desk.call("paper_stop", session_id=name)["status"] == "stopped", "it was running all the time"


def test_a_session_that_is_over_is_analysed_as_the_run_it_became(desk: Desk) -> None:
    name = desk.call("paper_start", **REPLAY)["session_id"]
    wait_until(lambda: status(desk, name)["status"] == "finished", "the end of the replay")
    run_id = status(desk, name)["run_id"]
    by_session = desk.call("analyze_results", session_id=name)
    assert by_session == desk.call("analyze_results", run_id=run_id)
    assert by_session["source"] == f"run {run_id}"

    metrics = desk.call("paper_get_metrics", session_id=name)
    found = metrics["metrics"]
    for ours, theirs in SAME.items():
        assert found[ours] == pytest.approx(by_session["performance"][theirs], rel=1e-9), ours
    for ours, theirs in OF_TRADES.items():
        assert found[ours] == pytest.approx(by_session["sections"]["trades"][theirs], rel=1e-9), ours
    assert found["avg_losing_trade"] == pytest.approx(-by_session["sections"]["trades"]["average_loss"])
    # Every minute is looked at, not only the last one of each day.
    assert found["max_drawdown"] >= by_session["performance"]["max_drawdown"]
    assert "at least 20" in metrics["undefined"]["var_95"]


def test_a_source_that_cannot_be_is_refused(desk: Desk) -> None:
    for tool in ("analyze_results", "risk_report", "var_calculation", "significance_test", "stress_test"):
        assert desk.refused(tool, session_id="nobody")["code"] == "session_not_found"
        both = desk.refused(tool, session_id="nobody", returns=[0.1, 0.2])
        assert both["code"] == "invalid_argument"
        assert "returns and session_id" in both["message"]
    comparing = desk.refused("significance_test", session_id="nobody", run_ids=["a", "b"])
    assert "run_ids is given with another source" in comparing["message"]
