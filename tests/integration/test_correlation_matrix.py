"""The correlation matrix through MCP, on imported candles and on real runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from jesse_mcp.analytics.synthetic import synthetic_candles
from mcp_desk import DAYS, EXCHANGE, RUN, START, Desk, environment, stdio_desk, strategy

Floats = NDArray[np.float64]
SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")
MARKET: dict[str, Any] = {
    "exchange": EXCHANGE,
    "symbols": list(SYMBOLS),
    "timeframe": "1h",
    "start_date": "2024-01-01",
    "end_date": "2024-01-09",
}
HOUR = 3_600_000


def rows_of(seed: int) -> Floats:
    """One-minute candles, timestamp, open, close, high, low, volume."""
    return synthetic_candles(START, DAYS * 1_440, seed)


def imported(desk: Desk, folder: Path) -> list[Floats]:
    """Candles of every symbol, those of the last without two hours, through the tool that imports them."""
    kept = []
    for seed, symbol in enumerate(SYMBOLS):
        rows = rows_of(seed)
        if seed == 2:
            rows = np.delete(rows, slice(600, 720), axis=0)
        path = folder / f"{symbol}.csv"
        header = "timestamp,open,high,low,close,volume"
        np.savetxt(path, rows[:, [0, 1, 3, 4, 2, 5]], delimiter=",", header=header, comments="", fmt="%.10g")
        desk.call("candles_import", exchange=EXCHANGE, symbol=symbol, path=str(path))
        kept.append(rows)
    return kept


def hourly(rows: Floats) -> dict[int, float]:
    """Last close of every hour by the end of the hour."""
    return {int(row[0]) // HOUR * HOUR + HOUR: float(f"{row[2]:.10g}") for row in rows}


@pytest.mark.timeout(600)
def test_symbols_numbers_and_runs(engine_python: Path, tmp_path: Path) -> None:
    with stdio_desk(environment(tmp_path, engine_python), tmp_path / "log") as desk:
        closes = [hourly(rows) for rows in imported(desk, tmp_path)]
        common = sorted(set(closes[0]) & set(closes[1]) & set(closes[2]))
        table = np.array([[one[time] for one in closes] for time in common])
        returns = table[1:] / table[:-1] - 1

        asked = {"cointegration": True, "rolling_window": 48, "wait_seconds": 300}
        answer = desk.call("correlation_matrix", market=MARKET, **asked)
        assert (answer["state"], answer["progress"]) == ("done", 1)
        found = answer["result"]
        np.testing.assert_allclose(found["matrix"]["values"], np.corrcoef(returns.T), atol=1e-10)
        assert found["returns"] == len(common) - 1 == DAYS * 24 - 3
        assert [row["left_out"] for row in found["series"]] == [2, 2, 0]
        assert found["gaps"] == 1
        for row in found["pairs"]:
            one, other = (SYMBOLS.index(name) for name in row["series"])
            assert row["p"] == pytest.approx(
                stats.pearsonr(returns[:, one], returns[:, other]).pvalue, rel=1e-6
            )
        assert found["cointegration"]["pairs_tested"] == 3
        assert len(found["rolling"]) == 3
        assert len(json.dumps(answer)) < 15_000

        # The same prices as numbers of the call, and in another unit, are the same series.
        numbers = {
            name: [[time, price * (10 if place == 0 else 1)] for time, price in one.items()]
            for place, (name, one) in enumerate(zip(SYMBOLS, closes, strict=True))
        }
        inline = desk.call("correlation_matrix", prices=numbers, **asked)["result"]
        np.testing.assert_allclose(inline["matrix"]["values"], found["matrix"]["values"], atol=1e-10)
        assert inline["summary"]["pairs"] == found["summary"]["pairs"]
        job = desk.call("job_get", job_id=answer["job_id"])
        assert (job["kind"], job["state"]) == ("correlation_matrix", "done")

        desk.call("strategy_write", name="Mine", code=strategy("Mine"))
        runs = [
            desk.call("backtest", **RUN, strategy="Mine", hyperparameters={"every": every}, wait_seconds=120)
            for every in (4, 6)
        ]
        ids = [run["run"]["run_id"] for run in runs]
        balances = [
            [point["balance"] for point in desk.call("run_get", run_id=run_id, include=["equity"])["equity"]]
            for run_id in ids
        ]
        daily = [np.array(one)[1:] / np.array(one)[:-1] - 1 for one in balances]
        of_runs = desk.call("correlation_matrix", run_ids=ids, method="spearman", wait_seconds=120)["result"]
        assert of_runs["pairs"][0]["series"] == ids
        expected = stats.spearmanr(daily[0], daily[1]).statistic
        assert of_runs["pairs"][0]["correlation"] == pytest.approx(expected, abs=1e-12)
        assert any("returns are few" in finding for finding in of_runs["findings"])

        for arguments, named in (
            ({}, "none of market, prices, run_ids"),
            ({"market": {**MARKET, "weights": [0.5, 0.3, 0.2]}}, "market.weights"),
            ({"market": {**MARKET, "symbols": ["BTC-USDT"]}}, "market.symbols"),
            ({"market": MARKET, "run_ids": ids}, "market and run_ids"),
            ({"prices": {"A": [[0, 1.0]], "B": [[0, -1.0]]}}, "prices.B[0] is -1"),
            ({"market": MARKET, "alpha": 2}, "alpha is 2"),
        ):
            error = desk.refused("correlation_matrix", **arguments)
            assert error["code"] == "invalid_argument"
            assert named in error["message"]
        missing = {**MARKET, "symbols": ["BTC-USDT", "XRP-USDT"]}
        assert desk.refused("correlation_matrix", market=missing)["code"] == "candles_missing"
        assert len(json.dumps(desk.tools["correlation_matrix"]["inputSchema"])) < 3_000
