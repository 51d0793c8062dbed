"""Candles with wicks, jumps and frozen minutes, and what every tool that uses them says of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import CLOSE, HIGH, LOW, OPEN, CandleArray
from mcp_desk import DAYS, EXCHANGE, START, Desk, environment, stdio_desk, strategy

pytestmark = pytest.mark.timeout(600)

BASE: dict[str, Any] = {"exchange": EXCHANGE, "strategy": "Mine", "timeframe": "1h", "wait_seconds": 100}
#: Rows counted from 2024-01-01; runs trade from the 3rd.
FIRST, SECOND, FROZEN = 4_000, 6_000, 8_000


def wicks(rows: CandleArray) -> None:
    rows[FIRST, HIGH] = 3 * rows[FIRST, OPEN : CLOSE + 1].max()
    rows[SECOND, LOW] = 0.2 * rows[SECOND, OPEN : CLOSE + 1].min()
    after = FROZEN + 300
    rows[after:, OPEN : LOW + 1] *= rows[FROZEN, CLOSE] / rows[after - 1, CLOSE]
    rows[FROZEN:after, OPEN : LOW + 1] = rows[FROZEN, CLOSE]


def jumps(rows: CandleArray) -> None:
    rows[FIRST:, OPEN : LOW + 1] *= 1.538
    rows[SECOND:, OPEN : LOW + 1] *= 0.646


DAMAGE: dict[str, tuple[Callable[[CandleArray], None], list[str]]] = {
    "WICK-USDT": (
        wicks,
        [
            "1 stretch of 30 minutes or more without a price change, 1 of them with volume (300 candles",
            "2 long wicks (largest +200.0",
        ],
    ),
    "JUMP-USDT": (jumps, ["2 price outliers (largest +5"]),
}


@pytest.fixture(scope="module")
def desk(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("suspicious")
    with stdio_desk(environment(folder, engine_python), folder / "log") as desk:
        desk.call("strategy_write", name="Mine", code=strategy("Mine"))
        yield desk


def assert_told(found: list[str], wanted: list[str], before: str = "") -> None:
    said = [text for text in found if "price" in text or "wick" in text]
    assert len(said) == len(wanted), found
    for text, start in zip(said, wanted, strict=True):
        assert text.startswith(before + start)
    assert "2024-01-03T18:40Z" in said[-1]


@pytest.mark.parametrize("symbol", DAMAGE)
def test_imports_runs_batches_and_simulations_name_it(desk: Desk, tmp_path: Path, symbol: str) -> None:
    damage, wanted = DAMAGE[symbol]
    rows = synthetic_candles(START, DAYS * 1440, 5)
    damage(rows)
    path = tmp_path / "candles.csv"
    header = "timestamp,open,close,high,low,volume"
    np.savetxt(path, rows, delimiter=",", header=header, comments="", fmt="%.10g")
    imported = desk.call("candles_import", exchange=EXCHANGE, symbol=symbol, path=str(path))["file"]
    assert_told(imported["notes"], wanted)

    before = f"{symbol} on {EXCHANGE}: "
    run = {**BASE, "symbol": symbol, "start_date": "2024-01-03"}
    alone = desk.call("backtest", **run, warm_up_candles=24, end_date="2024-01-20", gaps="observed")["run"]
    assert_told(alone["warnings"], wanted, before)
    lacking = f"{11 * 1440} minutes of {symbol} on {EXCHANGE} have no candle (the candles end on 2024-01-08T"
    assert any(text.startswith(lacking) for text in alone["warnings"])

    vary = {"hyperparameters": [{"every": 3}, {"every": 8}]}
    for _ in ("run", "found again"):
        batch = desk.call("backtest_batch", **run, settings={"warm_up_candles": 24}, vary=vary)
        assert_told(batch["result"]["warnings"], wanted, before)

    for method in ("trades_shuffle", "candles"):
        simulated = desk.call(
            "monte_carlo",
            run_id=alone["run_id"],
            method=method,
            wait_seconds=100,
            **({"simulations": 20} if method == "candles" else {}),
        )
        said = [text for text in simulated["result"]["findings"] if text.startswith(before)]
        assert_told(said, wanted, before)
