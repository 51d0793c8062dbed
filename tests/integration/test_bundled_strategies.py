"""The bundled strategies, really run by Jesse on synthetic candles."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jesse_mcp.adapters.strategies.folder_store import FolderStrategyStore

RUNNER = '''
"""Run one strategy in every setting; print what came out."""
import json, sys, warnings
import numpy as np
import jesse.research
from importlib import import_module

warnings.simplefilter("error")
name, WARM_UP = sys.argv[1], 240
sys.path.insert(0, ".")
strategy = getattr(import_module(f"strategies.{name}"), name)


def candles(days, minutes, seed=1):
    rows = days * 1440 + WARM_UP * minutes
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.0008, rows)))
    open_ = np.r_[100, close[:-1]]
    high = np.maximum(open_, close) * (1 + rng.uniform(0, 0.0004, rows))
    low = np.minimum(open_, close) * (1 - rng.uniform(0, 0.0004, rows))
    time = 1704067200000 - WARM_UP * minutes * 60000 + np.arange(rows) * 60000.0
    return np.column_stack([time, open_, close, high, low, rng.uniform(1, 9, rows)])


def run(kind, leverage, timeframe, minutes, days, fast, warm_up=WARM_UP):
    exchange = "Binance Spot" if kind == "spot" else "Binance Perpetual Futures"
    every = candles(days, minutes)
    series = lambda part: {
        f"{exchange}-BTC-USDT": {"exchange": exchange, "symbol": "BTC-USDT", "candles": part.copy()}
    }
    config = {
        "starting_balance": 10000, "fee": 0.0004, "type": kind, "futures_leverage": leverage,
        "futures_leverage_mode": "cross", "exchange": exchange, "warm_up_candles": warm_up,
    }
    route = {"exchange": exchange, "strategy": strategy, "symbol": "BTC-USDT", "timeframe": timeframe}
    before = series(every[: WARM_UP * minutes]) if warm_up else None
    result = jesse.research.backtest(
        config, [route], [], series(every[WARM_UP * minutes :]), before, fast_mode=fast
    )
    facts = ("type", "entry_price", "exit_price", "qty", "closed_at")
    return [[trade[fact] for fact in facts] for trade in result["trades"]]


answers = {}
for kind, leverage in (("spot", 1), ("futures", 1), ("futures", 3)):
    for timeframe, minutes, days in (("1h", 60, 365), ("4h", 240, 365), ("15m", 15, 30)):
        answer = {"trades": run(kind, leverage, timeframe, minutes, days, True)}
        if timeframe == "15m":
            answer["slow"] = run(kind, leverage, timeframe, minutes, days, False)
        answers[f"{kind} {leverage} {timeframe}"] = answer
answers["no warm-up"] = {"trades": run("futures", 1, "1h", 60, 60, True, warm_up=0)}
print(json.dumps(answers))
'''


@pytest.mark.parametrize("name", ["DonchianBreakout", "MeanReversion", "TrendFollowing"])
def test_it_trades_on_spot_and_futures_alike_in_both_modes(
    name: str, engine_python: Path, tmp_path: Path
) -> None:
    for path, code in FolderStrategyStore(tmp_path).source(frozenset({name})).files.items():
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(code)
    (tmp_path / "runner.py").write_text(RUNNER)
    finished = subprocess.run(
        [engine_python, "runner.py", name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    answers: dict[str, dict[str, Any]] = json.loads(finished.stdout)
    for setting, answer in answers.items():
        sides = {trade[0] for trade in answer["trades"]}
        assert sides == ({"long"} if setting.startswith("spot") else {"long", "short"}), setting
        assert all(trade[3] > 0 for trade in answer["trades"]), setting
        if setting.endswith("1h"):
            assert len(answer["trades"]) > 20, setting
        if "slow" in answer:
            assert answer["slow"] == answer["trades"], setting
