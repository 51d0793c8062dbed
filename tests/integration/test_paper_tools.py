"""The eight tools of paper sessions through MCP: a replay is the backtest, a live session lives."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from exchange_server import ExchangeServer
from jesse_mcp.analytics.synthetic import synthetic_candles
from mcp_desk import EXCHANGE, RUN, SERIES, Desk, candle_file, environment, stdio_desk, strategy, wait_until

pytestmark = pytest.mark.timeout(300)

MINUTE = 60_000
ETH = {"exchange": EXCHANGE, "symbol": "ETH-USDT"}
REPLAY: dict[str, Any] = {
    "strategy": "Mine",
    "symbol": "BTC-USDT",
    "exchange": EXCHANGE,
    "feed": "replay",
    "replay_start": "2024-01-03",
    "warm_up_candles": 24,
}
#: A minute a second: it is still running whenever it is looked at.
SLOW = {**REPLAY, "speed": 60}


@dataclass
class World:
    """Two servers over one home, with candles, a strategy, and exchanges that answer."""

    desk: Desk
    other: Desk
    folder: Path
    numbers: "itertools.count[int]"

    def fresh(self) -> str:
        return f"session-{next(self.numbers)}"

    def running(self, **more: Any) -> str:
        name = self.fresh()
        started = self.desk.call("paper_start", **{**SLOW, **more}, session_id=name)
        assert (started["session_id"], started["status"]) == (name, "running")
        return name

    def finished(self, **more: Any) -> dict[str, Any]:
        name = self.fresh()
        self.desk.call("paper_start", **{**REPLAY, **more}, session_id=name)
        return self.ended(name)

    def ended(self, name: str) -> dict[str, Any]:
        def over() -> dict[str, Any] | None:
            status = self.desk.call("paper_status", session_id=name)
            return None if status["status"] == "running" else status

        found: dict[str, Any] = wait_until(over, f"the end of {name}")
        return found

    def traded(self, name: str) -> None:
        wait_until(
            lambda: self.desk.call("paper_status", session_id=name)["traded_through"], f"a minute of {name}"
        )


@pytest.fixture(scope="module")
def world(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("paper")
    now = int(time.time() * 1000) // MINUTE * MINUTE
    length = 12 * 1440
    markets = {("Binance Spot", "BTC-USDT"): synthetic_candles(now - (length - 30) * MINUTE, length, 3)}
    with ExchangeServer(markets) as exchanges:
        surroundings = environment(
            folder,
            engine_python,
            JESSE_MCP_WEBHOOK_SECRET="a secret of sixteen or more characters",  # noqa: S106
            JESSE_MCP_WEBHOOK_ALLOW_PRIVATE="true",
            **exchanges.environment,
        )
        cold = {**surroundings, "JESSE_MCP_PREWARM": "false"}
        with stdio_desk(surroundings, folder / "log") as desk, stdio_desk(cold, folder / "two") as two:
            for series, seed in ((SERIES, 5), (ETH, 6)):
                path = candle_file(folder / f"{series['symbol'][:3].lower()}.csv", seed)
                desk.call("candles_import", **series, path=str(path))
            desk.call("strategy_write", name="Mine", code=strategy("Mine"))
            yield World(desk, two, folder, itertools.count(1))


def test_a_replay_is_the_backtest_over_the_same_candles(world: World) -> None:
    status = world.finished(fee=0.0007, leverage=2, hyperparameters={"every": 5})
    assert (status["status"], status["error"], status["positions"]) == ("finished", None, [])
    name = status["session_id"]
    arguments = {**RUN, "strategy": "Mine", "fee": 0.0007, "leverage": 2, "hyperparameters": {"every": 5}}
    run = world.desk.call("backtest", **arguments)["run"]
    compared = world.desk.call("run_compare", run_ids=[run["run_id"], status["run_id"]])
    assert (compared["same_code"], compared["same_candles"], compared["differences"]) == (True, True, {})
    assert [metric for metric, pair in compared["metrics"].items() if pair[0] != pair[1]] == []
    both = [
        world.desk.call("run_get", run_id=one, include=["orders", "equity"], limit=1000)
        for one in (run["run_id"], status["run_id"])
    ]
    assert both[0]["trades"] == both[1]["trades"]
    assert both[0]["equity"] == both[1]["equity"]
    assert len(both[0]["trades"]) == status["metrics"]["total_trades"] > 10

    trades = world.desk.call("paper_get_trades", session_id=name)
    assert trades["total_trades"] == len(trades["trades"])
    for shown, trade in zip(trades["trades"], both[0]["trades"], strict=True):
        assert (shown["entry_price"], shown["exit_price"]) == (trade["entry_price"], trade["exit_price"])
        assert (shown["pnl"], shown["fees"], shown["size"]) == (trade["pnl"], trade["fee"], trade["qty"])
        assert shown["pnl_pct"] == trade["pnl_percentage"] / 100
    page = world.desk.call("paper_get_trades", session_id=name, limit=2, offset=3)
    assert page["trades"] == trades["trades"][3:5]

    day = world.desk.call("paper_get_equity", session_id=name, resolution="1d")["equity_curve"]
    assert [point["timestamp"] for point in day] == [f"2024-01-0{k}T00:00:00Z" for k in range(4, 10)]
    assert day[-1]["equity"] == both[0]["equity"][-1]["balance"] == status["current_equity"]
    whole = world.desk.call("paper_get_equity", session_id=name, resolution="1m", limit=2000)
    assert (len(whole["equity_curve"]), whole["total_points"]) == (2000, 6 * 1440)
    assert whole["equity_curve"][1439] == day[0]

    metrics = world.desk.call("paper_get_metrics", session_id=name)
    assert metrics["metrics"]["total_trades"] == compared["metrics"]["total"][0]
    assert metrics["metrics"]["win_rate"] == compared["metrics"]["win_rate"][0]
    assert metrics["metrics"]["total_return"] == pytest.approx(
        compared["metrics"]["net_profit_percentage"][0] / 100, abs=1e-12
    )
    assert {name for name, value in metrics["metrics"].items() if value is None} == set(metrics["undefined"])

    stopped = world.desk.call("paper_stop", session_id=name)
    assert (stopped["status"], stopped["run_id"]) == ("finished", status["run_id"])
    assert stopped["final_metrics"]["final_equity"] == status["current_equity"]
    listed = world.desk.call("run_list", kind="paper")
    assert status["run_id"] in [line["run_id"] for line in listed["runs"]]
    report = world.desk.call("risk_report", run_id=status["run_id"])
    assert report["score"] is not None


def test_every_argument_is_taken(world: World) -> None:
    name = world.fresh()
    started = world.desk.call(
        "paper_start",
        routes=[
            {"strategy": "Mine", "symbol": symbol, "timeframe": "1h"} for symbol in ("BTC-USDT", "ETH-USDT")
        ],
        data_routes=[{"symbol": "BTC-USDT", "timeframe": "4h", "exchange": EXCHANGE}],
        timeframe="1h",
        exchange="Binance",
        starting_balance=5_000,
        leverage=3,
        session_id=name,
        fee=None,
        exchange_type="futures",
        leverage_mode="isolated",
        hyperparameters={"every": 4},
        warm_up_candles=10,
        feed="replay",
        speed=100_000,
        replay_start="2024-01-04",
        replay_end="2024-01-05T12:00Z",
        notes="all of it",
        watch=[{"kind": "drawdown", "limit": 0.0001}, {"kind": "loss_streak", "limit": 2}],
        webhook="http://127.0.0.1:9/alerts",
        engine="embedded",
    )
    expected = {
        "exchange": EXCHANGE,
        "exchange_type": "futures",
        "symbol": "BTC-USDT, ETH-USDT",
        "leverage": 3,
        "trading_from": "2024-01-04T00:00:00Z",
        "trading_until": "2024-01-05T12:00:00Z",
        "starting_balance": 5_000,
        "timeframe": "1h",
    }
    assert {key: started[key] for key in expected} == expected
    status = world.ended(name)
    assert (status["status"], status["notes"], status["leverage"]) == ("finished", "all of it", 3)
    assert {"drawdown", "loss_streak"} == {alert["kind"] for alert in status["alerts"]}
    wait_until(
        lambda: all(
            alert["webhook"]["failure"]
            for alert in world.desk.call("paper_status", session_id=name)["alerts"]
        ),
        "an attempt to send the alerts",
    )
    for resolution in ("1m", "5m", "15m", "1h", "4h", "1d"):
        curve = world.desk.call("paper_get_equity", session_id=name, resolution=resolution, limit=3, offset=1)
        minutes = {"m": 1, "h": 60, "d": 1440}[resolution[-1]] * int(resolution[:-1])
        assert curve["total_points"] == -(-2160 // minutes)
    request = world.desk.call("run_get", run_id=status["run_id"])["request"]
    assert (request["fee"], request["leverage_mode"]) == (0.0004, "isolated")
    assert world.desk.call("paper_list_sessions", include_ended=True, limit=1, offset=0)["total"] >= 1


def test_a_live_session_needs_a_strategy_and_a_symbol_only(world: World) -> None:
    # An hour may close while it is looked at, and must not bring a trade.
    code = strategy("Idle").replace("return self.index %", "return False and self.index %")
    world.desk.call("strategy_write", name="Idle", code=code)
    started = world.desk.call("paper_start", strategy="Idle", symbol="BTC-USDT")
    assert (started["exchange"], started["exchange_type"], started["feed"]) == (
        "Binance Spot",
        "spot",
        "exchange",
    )
    assert (started["starting_balance"], started["timeframe"], started["trading_until"]) == (
        10_000,
        "1h",
        None,
    )
    name = started["session_id"]
    assert name.startswith("paper_")
    listed = world.desk.call("paper_list_sessions")
    assert name in [line["session_id"] for line in listed["sessions"]]
    status = world.desk.call("paper_status", session_id=name)
    assert (status["status"], status["feed"]["kind"], status["error"]) == ("running", "exchange", None)
    assert world.desk.call("paper_get_trades", session_id=name) == {
        "session_id": name,
        "total_trades": 0,
        "trades": [],
    }
    assert set(world.desk.call("paper_get_metrics", session_id=name)["undefined"]) >= {
        "sharpe_ratio",
        "var_95",
    }
    updated = world.desk.call("paper_update_session", session_id=name, updates={"notes": "live"})
    assert (updated["status"], updated["updated_fields"]) == ("updated", ["notes"])
    error = world.desk.refused("paper_update_session", session_id=name, updates={"leverage": 2})
    assert error["code"] == "invalid_argument"
    stopped = world.desk.call("paper_stop", session_id=name)
    assert stopped["status"] == "stopped"
    assert stopped["final_metrics"]["final_equity"] == 10_000
    candles = world.desk.call("candles_available", exchange="Binance Spot")["series"]
    assert candles[0]["rows"] >= 240 * 60


def test_a_stop_leaves_no_process(world: World) -> None:
    name = world.running()
    world.traded(name)
    # The session's own among them; nothing else of the engine begins or ends meanwhile.
    during = [process for process in psutil.Process().children(recursive=True) if _lives(process)]
    stopped = world.desk.call("paper_stop", session_id=name)
    assert (stopped["status"], stopped["error"]) == ("stopped", None)
    assert stopped["duration_hours"] > 0
    assert world.desk.call("paper_stop", session_id=name) == stopped
    wait_until(lambda: not all(map(_lives, during)), "the end of the session's process")


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_another_server_stops_it_and_changes_it(world: World) -> None:
    name = world.running(leverage=2)
    world.traded(name)
    seen = world.other.call("paper_status", session_id=name)
    assert (seen["status"], seen["leverage"]) == ("running", 2)
    updated = world.other.call(
        "paper_update_session", session_id=name, updates={"leverage": 4, "notes": "from the other"}
    )
    # Otherwise the owner had not decided while it was waited for.
    assert updated["updated_fields"] == ["leverage", "notes"]
    status = world.desk.call("paper_status", session_id=name)
    assert (status["pending"].get("leverage", status["leverage"]), status["notes"]) == (4, "from the other")
    assert "leverage" in [event["kind"] for event in status["events"]]
    stopped = world.other.call("paper_stop", session_id=name)
    assert stopped["status"] == "stopped"
    error = world.other.refused("paper_update_session", session_id=name, updates={"leverage": 3})
    assert (error["code"], error["details"]["status"]) == ("session_not_active", "stopped")


def test_an_id_is_given_once(world: World) -> None:
    name = world.running()
    assert world.desk.refused("paper_start", **SLOW, session_id=name)["code"] == "session_exists"
    assert world.other.refused("paper_start", **SLOW, session_id=name)["code"] == "session_exists"
    assert world.desk.call("paper_stop", session_id=name)["status"] == "stopped"
    assert world.desk.refused("paper_start", **SLOW, session_id=name)["code"] == "session_exists"


def test_a_strategy_that_raises_fails_with_its_traceback_and_keeps_its_data(world: World) -> None:
    code = strategy("Breaks", "if self.index > 50: raise ValueError('broken here')")
    world.desk.call("strategy_write", name="Breaks", code=code)
    status = world.finished(strategy="Breaks")
    name = status["session_id"]
    assert (status["status"], status["error"]["code"]) == ("failed", "strategy_raised")
    assert "broken here" in str(status["error"])
    assert "strategies/Breaks" in str(status["error"]["details"])
    assert status["metrics"]["total_trades"] > 3
    assert (status["positions"], status["open_orders"]) == ([], [])
    left = status["left_open"]["positions"]
    assert sum(one["unrealized_pnl"] for one in left) == pytest.approx(status["unrealized_pnl"])
    points = world.desk.call("paper_get_equity", session_id=name, resolution="1d")
    assert points["equity_curve"][-1]["timestamp"] == status["traded_through"]
    assert world.desk.call("paper_get_trades", session_id=name)["trades"]
    stopped = world.desk.call("paper_stop", session_id=name)
    assert (stopped["status"], stopped["error"]["code"]) == ("failed", "strategy_raised")
    assert world.desk.call("paper_get_equity", session_id=name)["equity_curve"]


def test_a_strategy_that_cannot_be_loaded_leaves_no_session(world: World) -> None:
    world.desk.call("strategy_write", name="Unloadable", code=strategy("Unloadable") + "\n1 / 0\n")
    name = world.fresh()
    error = world.desk.refused("paper_start", **{**REPLAY, "strategy": "Unloadable"}, session_id=name)
    assert error["code"] == "strategy_raised"
    assert world.desk.refused("paper_status", session_id=name)["code"] == "session_not_found"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"strategy": None}, "invalid_argument"),
        ({"strategy": "Nobody"}, "strategy_not_found"),
        ({"strategy": "../x"}, "invalid_argument"),
        ({"symbol": "BTC"}, "invalid_argument"),
        ({"timeframe": "7m"}, "invalid_argument"),
        ({"exchange": "Nowhere"}, "invalid_argument"),
        ({"exchange": "Binance Spot", "leverage": 2}, "invalid_argument"),
        ({"exchange_type": "margin"}, "invalid_argument"),
        ({"starting_balance": 0}, "invalid_argument"),
        ({"starting_balance": "much"}, "invalid_argument"),
        ({"leverage": 0}, "invalid_argument"),
        ({"fee": 0.5}, "invalid_argument"),
        ({"session_id": "../etc"}, "invalid_argument"),
        ({"session_id": ""}, "invalid_argument"),
        ({"warm_up_candles": -1}, "invalid_argument"),
        ({"feed": "dream"}, "invalid_argument"),
        ({"speed": 0}, "invalid_argument"),
        ({"speed": -1}, "invalid_argument"),
        ({"replay_start": None}, "invalid_argument"),
        ({"replay_start": "yesterday"}, "invalid_argument"),
        ({"replay_start": "2024-01-03T10:61Z"}, "invalid_argument"),
        ({"replay_end": "2024-01-02"}, "invalid_argument"),
        ({"replay_end": "2024-03-01"}, "candles_missing"),
        ({"warm_up_candles": 2000}, "candles_missing"),
        ({"symbol": "XYZ-USDT"}, "candles_missing"),
        ({"watch": [{"kind": "moon", "limit": 1}]}, "invalid_argument"),
        ({"watch": [{"kind": "drift", "limit": 0.95, "run_id": "run_no"}]}, "run_not_found"),
        ({"webhook": "ftp://example.org"}, "invalid_argument"),
        ({"engine": "other"}, "invalid_argument"),
        ({"feed": "exchange"}, "invalid_argument"),
        ({"routes": [{"strategy": "Mine", "symbol": "BTC-USDT", "timeframe": "4h"}]}, "invalid_argument"),
        ({"surprise": 1}, "invalid_argument"),
    ],
    ids=str,
)
def test_a_start_that_cannot_be_is_refused_and_leaves_nothing(
    world: World, changes: dict[str, Any], code: str
) -> None:
    before = world.desk.call("paper_list_sessions", include_ended=True)["total"]
    error = world.desk.refused("paper_start", **{**REPLAY, **changes})
    assert error["code"] == code, error
    assert world.desk.call("paper_list_sessions", include_ended=True)["total"] == before


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("paper_stop", {}),
        ("paper_status", {}),
        ("paper_get_trades", {}),
        ("paper_get_equity", {}),
        ("paper_get_metrics", {}),
        ("paper_update_session", {"updates": {"notes": "x"}}),
    ],
)
def test_an_unknown_session_is_named(world: World, tool: str, arguments: dict[str, Any]) -> None:
    assert world.desk.refused(tool, session_id="nobody", **arguments)["code"] == "session_not_found"
    assert world.desk.refused(tool, **arguments)["code"] == "invalid_argument"


def test_what_cannot_be_asked_is_refused(world: World) -> None:
    name = world.running()
    for tool, arguments in (
        ("paper_get_trades", {"limit": 0}),
        ("paper_get_trades", {"offset": -1}),
        ("paper_get_equity", {"resolution": "2h"}),
        ("paper_get_equity", {"limit": 10**6}),
        ("paper_update_session", {"updates": {}}),
        ("paper_update_session", {"updates": {"symbol": "ETH-USDT"}}),
        ("paper_update_session", {"updates": {"leverage": 2.5}}),
        ("paper_update_session", {"updates": {"leverage": True}}),
        ("paper_update_session", {"updates": {"notes": 5}}),
    ):
        error = world.desk.refused(tool, session_id=name, **arguments)
        assert error["code"] == "invalid_argument", (tool, arguments)
    assert (
        "symbol"
        in world.desk.refused("paper_update_session", session_id=name, updates={"symbol": "ETH-USDT"})[
            "message"
        ]
    )
    world.desk.call("paper_stop", session_id=name)
