"""The regime detector through MCP on stored candles and a real run: every number again from the candles."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcp_desk import SERIES, START, Desk, candle_file, environment, stdio_desk, strategy

DAYS = 24
HOUR = 3_600_000
MARKET: dict[str, Any] = {
    "exchange": SERIES["exchange"],
    "symbols": [SERIES["symbol"]],
    "timeframe": "1h",
    "start_date": "2024-01-01",
    "end_date": "2024-01-25",
}
QUICK: dict[str, Any] = {"market": MARKET, "training_periods": 300, "refit_every": 150, "wait_seconds": 120}


def spells_of(desk: Desk, **more: Any) -> list[dict[str, Any]]:
    found = desk.call("regime_detector", **(QUICK | more), limit=500)["result"]
    spells: list[dict[str, Any]] = found["spells"]
    return spells


@pytest.mark.timeout(600)
def test_regimes_of_candles_and_of_a_run(engine_python: Path, tmp_path: Path) -> None:
    surroundings = environment(tmp_path, engine_python)
    with stdio_desk(surroundings, tmp_path / "log") as desk:
        path = candle_file(tmp_path / "btc.csv", days=DAYS)
        desk.call("candles_import", **SERIES, path=str(path))
        found = desk.call("regime_detector", **QUICK, regimes=2, forecast_periods=3)
        assert found["state"] == "done"
        result = found["result"]
        assert result["periods"] == DAYS * 24 - 1
        assert result["causal"] is True
        assert result["periods_per_year"] == 8_760
        assert sum(row["periods"] for row in result["table"]) == DAYS * 24 - 1 - 300
        assert result["schedule"]["first_label"] == START + 302 * HOUR
        assert result["schedule"]["fits"] == 2
        assert [sum(row) for row in result["transition_matrix"]] == pytest.approx([1, 1])
        now = np.array(result["current"]["probabilities"])
        ahead = now @ np.linalg.matrix_power(np.array(result["transition_matrix"]), 3)
        assert result["forecast"][-1]["probabilities"] == pytest.approx(ahead.tolist())

        # Labels up to a day are those of the candles up to that day.
        whole = spells_of(desk, method="volatility", regimes=2)
        part = spells_of(desk, method="volatility", regimes=2, market=MARKET | {"end_date": "2024-01-20"})
        end = part[0]["to"]
        assert [s for s in whole if s["to"] < end] == part[1:]

        desk.call("strategy_write", name="Mine", code=strategy("Mine"))
        run = desk.call(
            "backtest",
            **SERIES,
            strategy="Mine",
            timeframe="1h",
            start_date="2024-01-03",
            warm_up_candles=24,
            fast_mode=True,
            wait_seconds=120,
        )["run"]
        seen = desk.call(
            "regime_detector", **QUICK, method="volatility", regimes=2, performance_of=run["run_id"]
        )["result"]["performance"]
        equity = desk.call("run_get", run_id=run["run_id"], include=["equity"], limit=200)["equity"]
        times = [point["timestamp"] for point in equity]
        balances = np.array([point["balance"] for point in equity])
        returns = balances[1:] / balances[:-1] - 1
        for row in seen["regimes"]:
            own = [
                float(value)
                for value, begun in zip(returns, times, strict=False)
                if any(s["from"] <= begun <= s["to"] and s["regime"] == row["regime"] for s in whole)
            ]
            assert row["days"] == len(own)
            if own:
                assert row["total_return"] == pytest.approx(np.prod(1 + np.array(own)) - 1, abs=1e-12)

        error = desk.refused("regime_detector", **QUICK, method="change_points")
        assert error["code"] == "invalid_argument"
        assert "change_points makes no use of" in error["message"]
        error = desk.refused("regime_detector", market=MARKET | {"end_date": "2024-01-05"})
        assert "none would have a regime" in error["message"]
        offline = desk.call("regime_detector", market=MARKET, method="change_points")["result"]
        assert offline["causal"] is False
