"""Risk reports of real backtests through MCP: a gain, a loss, no trade, and ruin."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp_desk import SERIES, START, Desk, candle_file, environment, stdio_desk

DAYS = 45
MINUTE = 60_000

_CODE = '''
from jesse.strategies import Strategy


class {name}(Strategy):
    """{meaning}"""

    def should_long(self):
        return {long}

    def should_short(self):
        return {short}

    def go_long(self):
        self.buy = {share} * self.balance / self.price, self.price

    def go_short(self):
        self.sell = {share} * self.balance / self.price, self.price

    def update_position(self):
        if self.index % 6 == 5:
            self.liquidate()
'''
#: Knows the future by the candles that the test made: the one way to be sure of a gain.
_FORESIGHT = '''
from jesse.strategies import Strategy

RISES = {rises}


class Foresight(Strategy):
    """Long before a rise, short before a fall."""

    @property
    def rises(self):
        return RISES.get(int(self.current_candle[0]))

    def should_long(self):
        return self.rises is True

    def should_short(self):
        return self.rises is False

    def go_long(self):
        self.buy = 0.3 * self.balance / self.price, self.price

    def go_short(self):
        self.sell = 0.3 * self.balance / self.price, self.price

    def update_position(self):
        if self.index % 6 == 5:
            self.liquidate()
'''


def code(name: str, meaning: str, *, long: str = "False", short: str = "False", share: float = 0.5) -> str:
    return _CODE.format(name=name, meaning=meaning, long=long, short=short, share=share)


def foresight(path: Path) -> str:
    """For every hour at which a trade may begin, whether the price is higher six hours on."""
    closes = {}
    for line in path.read_text().splitlines()[1:]:
        time, _, _, _, close, _ = line.split(",")
        closes[int(float(time))] = float(close)
    hour = 60 * MINUTE
    rises = {
        time: bool(closes[time + 6 * hour - MINUTE] > closes[time + hour - MINUTE])
        for time in range(START, START + (DAYS - 1) * 1_440 * MINUTE, hour)
    }
    return _FORESIGHT.format(rises=rises)


@pytest.fixture(scope="module")
def desk(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, Path]]:
    folder = tmp_path_factory.mktemp("desk")
    with stdio_desk(environment(folder, engine_python), folder / "log") as desk:
        path = candle_file(folder / "btc.csv", seed=8, days=DAYS)
        desk.call("candles_import", **SERIES, path=str(path))
        codes = {
            "Foresight": foresight(path),
            "Loser": code("Loser", "Pays fees", long="self.index % 6 == 0"),
            "Nothing": code("Nothing", "Never trades"),
            "Ruin": code("Ruin", "Everything, forty times", long="self.balance > 1", share=38),
        }
        for name, text in codes.items():
            desk.call("strategy_write", name=name, code=text)
        yield desk, folder


def backtest(desk: Desk, strategy: str, **more: Any) -> dict[str, Any]:
    asked = {**SERIES, "strategy": strategy, "timeframe": "1h", "start_date": "2024-01-05", **more}
    run: dict[str, Any] = desk.call("backtest", **asked, warm_up_candles=24, wait_seconds=120)["run"]
    return run


def parts(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {part["part"]: part for part in answer["report"]["parts"]}


def test_a_gain(desk: tuple[Desk, Path]) -> None:
    run = backtest(desk[0], "Foresight", fee=0.0001)
    assert run["metrics"]["net_profit"] > 0
    answer = desk[0].call("risk_report", run_id=run["run_id"])
    assert answer["report"]["computed"] == 1
    measures = answer["report"]["measures"]
    assert measures["trades"] == run["trade_count"] > 30
    assert measures["deflated_sharpe_ratio"] > 0.9
    # It always uses three tenths of what it has, however much it gained since the last day's end.
    assert measures["leverage_used"] == pytest.approx(0.3, rel=1e-3)
    # However good it looks, six weeks are no record.
    assert answer["rating"] == "elevated"
    assert "years that moved is shorter than 0.25" in answer["report"]["caps"][0]["why"]
    assert answer["report"]["uncapped"] > 60
    analysed = desk[0].call("analyze_results", run_id=run["run_id"])["performance"]
    assert {name: measures[name] for name in analysed} == analysed
    tested = desk[0].call("significance_test", run_id=run["run_id"])["result"]
    assert measures["deflated_sharpe_ratio"] == tested["selection"]["deflated_sharpe_ratio"]


def test_a_loss_is_rated_worse_than_a_gain(desk: tuple[Desk, Path]) -> None:
    gain = desk[0].call("risk_report", run_id=backtest(desk[0], "Foresight", fee=0.0001)["run_id"])
    run = backtest(desk[0], "Loser", fee=0.003)
    loss = desk[0].call("risk_report", run_id=run["run_id"], limits={"max_drawdown": 0.1, "min_trades": 5})
    assert loss["score"] < gain["score"]
    assert loss["rating"] in {"high", "extreme"}
    (breach,) = loss["breaches"]
    assert breach["limit"] == "max_drawdown"
    assert breach["since"].startswith("2024-01-")
    assert breach["at_the_end"]
    assert parts(loss)["deflated_sharpe_moved"]["score"] == 0


def test_without_a_trade_there_is_no_score(desk: tuple[Desk, Path]) -> None:
    run = backtest(desk[0], "Nothing")
    answer = desk[0].call("risk_report", run_id=run["run_id"], limits={"leverage": 3})
    assert (answer["score"], answer["rating"]) == (None, "not rated")
    assert "nothing was at risk" in answer["findings"][0]
    assert answer["not_checked"][0]["reason"] == "no trade was closed"
    assert all(part["earned"] == 0 for part in answer["report"]["parts"])


def test_ruin_scores_nothing(desk: tuple[Desk, Path]) -> None:
    run = backtest(desk[0], "Ruin", leverage=40, timeframe="4h")
    assert run["metrics"]["finishing_balance"] <= 0
    answer = desk[0].call("risk_report", run_id=run["run_id"])
    assert (answer["score"], answer["rating"]) == (0, "extreme")
    assert answer["findings"][0].startswith("everything was lost")
    assert parts(answer)["liquidation_distance"]["score"] == 0


@pytest.mark.parametrize("strategy", ["Foresight", "Nothing", "Ruin"])
def test_for_people(desk: tuple[Desk, Path], strategy: str) -> None:
    more = {"leverage": 40, "timeframe": "4h"} if strategy == "Ruin" else {}
    run = backtest(desk[0], strategy, **more)
    answer = desk[0].call("risk_report", run_id=run["run_id"], format="html")
    assert answer["report"] is None
    page = Path(answer["html"]["path"])
    assert page.parent == desk[1] / "home" / "reports"
    assert page.stat().st_mode & 0o777 == 0o600
    text = page.read_text()
    assert len(text.encode()) == answer["html"]["bytes"]
    assert "<script" not in text
    assert text.count("<svg") == text.count("</svg>") == (1 if strategy == "Nothing" else 3)
    assert run["run_id"] in text
    again = desk[0].call("risk_report", run_id=run["run_id"], format="html")
    assert again["html"] == answer["html"]
    markdown = desk[0].call("risk_report", run_id=run["run_id"], format="markdown")["markdown"]
    assert markdown.startswith(f"# Risk report: {strategy} on BTC-USDT\n")
