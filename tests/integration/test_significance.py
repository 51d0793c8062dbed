"""The significance test through MCP on real runs: every number again from what run_get shows of them."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from mcp_desk import SERIES, Desk, candle_file, environment, stdio_desk, strategy

Floats = NDArray[np.float64]
DAYS = 45
ASKED: dict[str, Any] = {**SERIES, "timeframe": "1h", "start_date": "2024-01-03"}
SETTINGS = {"warm_up_candles": 24, "fast_mode": True}


def returns_of(desk: Desk, run_id: str) -> Floats:
    view = desk.call("run_get", run_id=run_id, include=["equity"], limit=200)
    balances = np.array([point["balance"] for point in view["equity"]])
    found: Floats = balances[1:] / balances[:-1] - 1
    return found


def sharpe(returns: Floats) -> float:
    return float(returns.mean() / returns.std(ddof=1))


def deflated(returns: Floats, tried: list[Floats], trials: int) -> tuple[float, float]:
    """Of Bailey & Lopez de Prado 2014, through scipy: the Sharpe ratio of luck, and the probability."""
    # At least that of trials without skill, Lo 2002.
    variance = max(float(np.var([sharpe(one) for one in tried], ddof=1)), 1 / (len(returns) - 1))
    g, e = float(np.euler_gamma), math.e
    expected = (1 - g) * stats.norm.isf(1 / trials) + g * stats.norm.isf(1 / (trials * e))
    luck, found = math.sqrt(variance) * float(expected), sharpe(returns)
    skewness, kurtosis = stats.skew(returns), stats.kurtosis(returns, fisher=False)
    error = math.sqrt((1 - skewness * found + (kurtosis - 1) / 4 * found**2) / (len(returns) - 1))
    return luck * math.sqrt(365), float(stats.norm.cdf((found - luck) / error))


def overfitting(tried: list[Floats], splits: int) -> float:
    """Of Bailey et al. 2017, combination by combination."""
    table = np.unique(np.column_stack(tried), axis=1)
    length = len(table) // splits
    blocks = np.split(table[len(table) - splits * length :], splits)
    below = []
    for members in itertools.combinations(range(splits), splits // 2):
        halves = [
            np.concatenate([block for n, block in enumerate(blocks) if (n in members) is inside])
            for inside in (True, False)
        ]
        inside, outside = (half.mean(axis=0) / half.std(axis=0, ddof=1) for half in halves)
        rank = float(stats.rankdata(outside)[int(np.argmax(inside))])
        below.append(rank / (table.shape[1] + 1) <= 0.5)
    return float(np.mean(below))


@pytest.mark.timeout(900)
def test_a_search_is_held_against_its_best_and_against_its_copies(
    engine_python: Path, tmp_path: Path
) -> None:
    surroundings = environment(tmp_path, engine_python)
    with stdio_desk(surroundings, tmp_path / "log") as desk:
        desk.call("candles_import", **SERIES, path=str(candle_file(tmp_path / "btc.csv", days=DAYS)))
        desk.call("strategy_write", name="Mine", code=strategy("Mine"))
        search = desk.call(
            "optimize",
            **ASKED,
            strategy="Mine",
            settings=SETTINGS,
            trials=11,
            sampler="grid",
            min_trades=0,
            test_fraction=0,
            wait_seconds=300,
        )
        assert search["state"] == "done"
        lines = desk.call("run_list", kind="trial", limit=50)["runs"]
        assert len(lines) == 11
        tried = {line["run_id"]: returns_of(desk, line["run_id"]) for line in lines}
        best = max(tried, key=lambda run_id: sharpe(tried[run_id]))
        found = desk.call("significance_test", run_id=best, splits=4, wait_seconds=120)["result"]
        luck, probability = deflated(tried[best], list(tried.values()), 11)
        assert found["periods"] == len(tried[best]) >= DAYS - 4
        assert found["selection"]["trials"] == 11
        assert found["selection"]["other_trials_on_these_days"] == 10
        assert found["sharpe"]["annual"] == pytest.approx(sharpe(tried[best]) * math.sqrt(365), rel=1e-9)
        assert found["selection"]["luck_sharpe"] == pytest.approx(luck, rel=1e-9)
        assert found["selection"]["deflated_sharpe_ratio"] == pytest.approx(probability, abs=1e-9)
        assert found["overfitting"]["pbo"] == pytest.approx(overfitting(list(tried.values()), 4))
        assert found["verdict"] != "undecided"
        error = desk.refused("significance_test", run_id=best, trials=10)
        assert error["code"] == "invalid_argument"
        assert "the ledger has 11" in error["message"]

        # The same code under another name, with another number in it: the count goes on.
        desk.call(
            "strategy_write", name="Fresh", code=strategy("Fresh").replace('"default": 6', '"default": 7')
        )
        fresh = desk.call("backtest", **ASKED, **SETTINGS, strategy="Fresh", wait_seconds=120)["run"]
        copied = desk.call("significance_test", run_id=fresh["run_id"], wait_seconds=120)["result"]
        assert copied["selection"]["families"] == ["Fresh", "Mine"]
        assert copied["selection"]["trials"] == 12

        compared = desk.call("significance_test", run_ids=list(tried)[:4], wait_seconds=120)["result"]
        assert [row["source"] for row in compared["comparison"]["runs"]] == [
            f"run {n}" for n in list(tried)[:4]
        ]
        assert compared["comparison"]["common_periods"] == found["periods"]
        assert 0 < compared["comparison"]["spa"] <= 1


@pytest.mark.timeout(900)
def test_a_failed_attempt_is_completed_when_the_run_succeeds(engine_python: Path, tmp_path: Path) -> None:
    """What fails is counted; when the very same experiment works, it is the same trial with its returns."""
    switch = tmp_path / "broken"
    before = f"import os; assert not os.path.exists({str(switch)!r})"
    surroundings = environment(tmp_path, engine_python)
    with stdio_desk(surroundings, tmp_path / "log") as desk:
        desk.call("candles_import", **SERIES, path=str(candle_file(tmp_path / "btc.csv")))
        desk.call("strategy_write", name="Mine", code=strategy("Mine", before))
        switch.touch()
        error = desk.refused("backtest", **ASKED, warm_up_candles=24, strategy="Mine")
        assert error["code"] == "strategy_raised"
        switch.unlink()
        run = desk.call("backtest", **ASKED, warm_up_candles=24, strategy="Mine", wait_seconds=120)["run"]
        again = desk.call(
            "backtest",
            **ASKED,
            warm_up_candles=24,
            strategy="Mine",
            hyperparameters={"every": 4},
            wait_seconds=120,
        )["run"]
        found = desk.call("significance_test", run_id=run["run_id"], splits=2, wait_seconds=120)["result"]
        assert found["selection"]["trials"] == 2
        assert found["overfitting"]["strategies"] == 2, "the first one has its returns"
        assert again["run_id"] != run["run_id"]
