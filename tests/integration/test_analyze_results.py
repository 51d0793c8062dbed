"""Performance analyses of real backtests through MCP; Jesse's metrics come out of its trades and balances."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.domain.candles import HIGH, LOW, TIMESTAMP, SeriesKey
from mcp_desk import SERIES, Desk, candle_file, environment, stdio_desk

DAYS = 45
SPOT = {"exchange": "Binance Spot", "symbol": "BTC-USDT"}
SECTIONS = [
    "trades",
    "drawdowns",
    "calendar",
    "rolling",
    "excursions",
    "distribution",
    "intervals",
    "benchmark",
    "jesse",
]
MINUTE = 60_000

_SIDES = '''
from jesse.strategies import Strategy


class {name}(Strategy):
    """Enters at every sixth candle, leaves by a stop, a target, or after three candles."""

    def should_long(self):
        return {long} and self.index % 6 == 0

    def should_short(self):
        return {short} and self.index % 6 == 3

    def size(self):
        return {size} * self.balance / self.price

    def go_long(self):
        self.buy = self.size(), self.price * {limit}

    def go_short(self):
        self.sell = self.size(), self.price / {limit}

    def on_open_position(self, order):
        way = 1 if self.is_long else -1
        self.stop_loss = self.position.qty, self.position.entry_price * (1 - way * 0.012)
        self.take_profit = self.position.qty, self.position.entry_price * (1 + way * 0.015)

    def update_position(self):
        if self.index % 6 in (2, 5):
            self.liquidate()

    def should_cancel_entry(self):
        return True
'''


def sides(name: str, *, long: bool, short: bool, size: float = 0.9, limit: float = 1.0) -> str:
    return _SIDES.format(name=name, long=long, short=short, size=size, limit=limit)


_RUIN = '''
from jesse.strategies import Strategy


class Ruin(Strategy):
    """All of the balance, forty times over, long at every chance."""

    def should_long(self):
        return self.balance > 1

    def go_long(self):
        self.buy = 38 * self.balance / self.price, self.price

    def update_position(self):
        if self.index % 7 == 0:
            self.liquidate()
'''

CODES = {
    "Longs": sides("Longs", long=True, short=False),
    "Shorts": sides("Shorts", long=False, short=True),
    "Both": sides("Both", long=True, short=True, limit=0.998),
    "Nothing": sides("Nothing", long=False, short=False),
    "Ruin": _RUIN,
}

CASES: dict[str, dict[str, Any]] = {
    "long": {"strategy": "Longs"},
    "short": {"strategy": "Shorts"},
    "both": {"strategy": "Both"},
    "both-fast-leverage": {"strategy": "Both", "leverage": 3, "fast_mode": True},
    "both-step": {"strategy": "Both", "fast_mode": False},
    "spot": {**SPOT, "strategy": "Longs"},
    "losing": {"strategy": "Both", "fee": 0.01},
    "ruin": {"strategy": "Ruin", "leverage": 40, "timeframe": "4h"},
    "one-day": {"strategy": "Both", "end_date": "2024-01-06"},
    "bundled": {"strategy": "MeanReversion", "timeframe": "15m", "settings": {"warm_up_candles": 300}},
}


@pytest.fixture(scope="module")
def desk(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, Path]]:
    folder = tmp_path_factory.mktemp("desk")
    with stdio_desk(environment(folder, engine_python), folder / "log") as desk:
        path = str(candle_file(folder / "btc.csv", seed=8, days=DAYS))
        for series in (SERIES, SPOT):
            desk.call("candles_import", **series, path=path)
        for name, code in CODES.items():
            desk.call("strategy_write", name=name, code=code)
        yield desk, folder


def backtest(desk: Desk, case: dict[str, Any]) -> dict[str, Any]:
    asked = {**SERIES, "timeframe": "1h", "start_date": "2024-01-05", "warm_up_candles": 24, **case}
    if "settings" in asked:
        asked.update(asked.pop("settings"))
    run: dict[str, Any] = desk.call("backtest", **asked, wait_seconds=120)["run"]
    return run


@pytest.mark.parametrize("name", CASES)
def test_jesses_metrics_are_reproduced(desk: tuple[Desk, Path], name: str) -> None:
    run = backtest(desk[0], CASES[name])
    assert run["trade_count"] > 0
    found = desk[0].call("analyze_results", run_id=run["run_id"], include=["jesse"])
    section = found["sections"]["jesse"]
    assert found["jesse"] == run["metrics"]
    assert section["not_reproduced"] == {}
    unexplained = [line for line in found["disagreements"] if "no convention" in line["why"]]
    assert unexplained == []
    for metric, value in found["performance"].items():
        assert (value is None) == (metric in found["undefined"]), metric


def test_no_trade_at_all(desk: tuple[Desk, Path]) -> None:
    run = backtest(desk[0], {"strategy": "Nothing"})
    found = desk[0].call("analyze_results", run_id=run["run_id"], include=SECTIONS, rolling_window=10)
    assert found["sections"]["jesse"]["not_reproduced"] == {}
    assert found["sections"]["trades"]["trades"] == 0
    assert found["performance"]["total_return"] == 0
    assert found["undefined"]["sharpe_ratio"] == "the returns do not vary"
    assert found["undefined"]["trades.win_rate"] == "no trade was closed"
    assert "no trade was closed" in found["findings"]


def test_ruin_ends_the_series(desk: tuple[Desk, Path]) -> None:
    run = backtest(desk[0], CASES["ruin"])
    assert run["metrics"]["finishing_balance"] < 0
    found = desk[0].call("analyze_results", run_id=run["run_id"], include=SECTIONS, rolling_window=2)
    assert found["performance"]["total_return"] == found["performance"]["annual_return"] == -1
    assert found["performance"]["max_drawdown"] == 1
    assert found["findings"][0].startswith("everything was lost within")
    by_name = {line["metric"]: line for line in found["disagreements"]}
    assert by_name["max_drawdown"]["jesse"] > 1
    assert "goes on with balances below zero" in by_name["max_drawdown"]["why"]


def test_the_cases_are_what_they_are_called(desk: tuple[Desk, Path]) -> None:
    runs = {name: backtest(desk[0], case)["metrics"] for name, case in CASES.items()}
    assert runs["long"]["shorts_count"] == 0 < runs["long"]["longs_count"]
    assert runs["short"]["longs_count"] == 0 < runs["short"]["shorts_count"]
    assert min(runs["both"]["longs_count"], runs["both"]["shorts_count"]) > 50
    assert runs["losing"]["finishing_balance"] < 0.05 * runs["losing"]["starting_balance"]


@pytest.mark.parametrize("name", ["both", "both-fast-leverage"])
def test_excursions_are_those_of_the_candles(desk: tuple[Desk, Path], name: str) -> None:
    run = backtest(desk[0], CASES[name])
    found = desk[0].call("analyze_results", run_id=run["run_id"], include=["excursions"])
    section = found["sections"]["excursions"]
    assert section["trades_known"] == run["trade_count"] > 200
    assert found["undefined"]["excursions.rows"].startswith("the first 200 of")
    shown = desk[0].call("run_get", run_id=run["run_id"], include=["orders"], limit=200)["trades"]
    rows = ParquetCandleStore(desk[1] / "home" / "candles").read(SeriesKey(**SERIES))
    kinds = set()
    for trade, (number, adverse, favourable) in zip(shown, section["rows"], strict=True):
        exit_order = max(trade["orders"], key=lambda order: int(order["executed_at"] or 0))
        kinds.add(exit_order["type"])
        last = trade["closed_at"] if exit_order["type"] == "MARKET" else trade["closed_at"] - MINUTE
        inside = rows[(rows[:, TIMESTAMP] >= trade["opened_at"]) & (rows[:, TIMESTAMP] < last)]
        ends = [trade["entry_price"], trade["exit_price"]]
        high, low = max(*ends, *inside[:, HIGH]), min(*ends, *inside[:, LOW])
        up, down = high / trade["entry_price"] - 1, 1 - low / trade["entry_price"]
        wanted = (down, up) if trade["type"] == "long" else (up, down)
        assert (adverse, favourable) == pytest.approx(wanted, rel=1e-9, abs=1e-12), number
        # Stop and target bound both, up to the minute in which one of them was hit.
        assert adverse <= 0.0121
        assert favourable <= 0.0151
    assert kinds == {"MARKET", "STOP", "LIMIT"}


def test_every_section_of_one_run(desk: tuple[Desk, Path]) -> None:
    run = backtest(desk[0], CASES["long"])
    asked = {"run_id": run["run_id"], "include": SECTIONS, "rolling_window": 10}
    found = desk[0].call("analyze_results", **asked)
    assert set(found["sections"]) == set(SECTIONS)
    assert desk[0].call("analyze_results", **asked) == found, "the same question, the same answer"
    sections = found["sections"]
    growth = np.prod([1 + value for _, value, _ in sections["calendar"]["months"]])
    assert growth - 1 == pytest.approx(found["performance"]["total_return"])
    assert sum(count for _, _, count in sections["calendar"]["months"]) == found["periods"]
    assert sum(row["trades"] for row in sections["calendar"]["hours"]) == run["trade_count"]
    low, _, high = sections["intervals"]["sharpe_ratio"]
    assert low < found["performance"]["sharpe_ratio"] < high
    rows = ParquetCandleStore(desk[1] / "home" / "candles").read(SeriesKey(**SERIES))
    traded = rows[rows[:, TIMESTAMP] >= 1_704_412_800_000]
    bought = float(traded[-1, 2] / traded[0, 1] - 1)
    assert sections["benchmark"]["benchmark_total_return"] == pytest.approx(bought)
    assert sections["drawdowns"]["deepest"][0]["depth"] == pytest.approx(found["performance"]["max_drawdown"])
    assert sections["trades"]["long"]["trades"] == run["trade_count"]
    assert sections["trades"]["short"]["trades"] == 0


def test_candles_that_changed_or_are_gone_are_named(engine_python: Path, tmp_path: Path) -> None:
    with stdio_desk(environment(tmp_path, engine_python), tmp_path / "log") as desk:
        desk.call("candles_import", **SERIES, path=str(candle_file(tmp_path / "btc.csv")))
        desk.call("strategy_write", name="Longs", code=CODES["Longs"])
        run = backtest(desk, {"strategy": "Longs"})
        asked = {"run_id": run["run_id"], "include": ["excursions", "benchmark"]}
        known = desk.call("analyze_results", **asked)
        assert known["sections"]["excursions"]["trades_known"] == run["trade_count"]
        desk.call("candles_import", **SERIES, path=str(candle_file(tmp_path / "other.csv", seed=6)))
        changed = desk.call("analyze_results", **asked)
        desk.call("candles_delete", **SERIES)
        gone = desk.call("analyze_results", **asked)
    for answer, words in ((changed, "have changed since the run"), (gone, "are gone")):
        assert answer["sections"] == {}
        for section in ("excursions", "benchmark"):
            assert words in answer["undefined"][section]
        assert answer["performance"] == known["performance"]
