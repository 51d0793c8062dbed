"""Thresholds of a session: told once when crossed, again only after a calm, and alike after a restart."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jesse_mcp.analytics.drift_band import drift_band
from jesse_mcp.domain.backtests import EngineOutcome, EquityPoint, Route, Trade
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper import PaperRequest
from jesse_mcp.domain.paper_records import PaperAlert
from jesse_mcp.domain.paper_watch import Threshold, Watcher
from jesse_mcp.services.paper_watch import MAX_THRESHOLDS, thresholds_of, watcher_of

START = 1_704_067_200_000
MINUTE = 60_000
DAY = 1440 * MINUTE


def trade(number: int, pnl: float) -> Trade:
    return Trade(
        strategy="S",
        exchange="Binance Spot",
        symbol="BTC-USDT",
        type="long",
        opened_at=START + number * MINUTE,
        closed_at=START + (number + 1) * MINUTE,
        entry_price=100.0,
        exit_price=100.0,
        qty=1.0,
        size=100.0,
        fee=0.0,
        pnl=pnl,
        pnl_percentage=pnl,
        holding_period=60.0,
    )


def watcher(kind: str, limit: float, *, stop: bool = False) -> Watcher:
    return Watcher((Threshold(kind=kind, limit=limit, stop=stop),), 1_000.0)


def minutes(*equity: float, start: int = START) -> list[tuple[int, float]]:
    return [(start + (at + 1) * MINUTE, value) for at, value in enumerate(equity)]


def places(alerts: tuple[PaperAlert, ...]) -> list[int]:
    return [(alert.timestamp - START) // MINUTE for alert in alerts]


def test_a_drawdown_is_told_when_it_is_reached_and_once() -> None:
    one = watcher("drawdown", 0.1, stop=True)
    (alert,) = one.observe(minutes(1_000, 1_200, 1_081, 1_080, 1_000, 1_079), (), ())
    assert alert.value == pytest.approx(0.1)
    assert alert.model_copy(update={"value": 0.1}) == PaperAlert(
        key=f"0:drawdown:{START + 4 * MINUTE}",
        timestamp=START + 4 * MINUTE,
        kind="drawdown",
        message="equity is 10.00% below its highest of 1,200.00; the limit is 0.1",
        value=0.1,
        limit=0.1,
        stop=True,
    )


def test_a_loss_from_the_start_is_a_drawdown_too() -> None:
    assert places(watcher("drawdown", 0.1).observe(minutes(899), (), ())) == [1]


def test_it_is_told_again_after_a_calm_and_not_while_it_hovers() -> None:
    one = watcher("drawdown", 0.1)
    path = (900, 909, 899, 909.9, 899, 910.1, 899)
    assert places(one.observe(minutes(*path), (), ())) == [1, 7]


def test_what_loses_everything_has_lost_everything() -> None:
    (alert,) = watcher("drawdown", 1.0).observe(minutes(-50), (), ())
    assert alert.value == 1.0


def test_a_daily_loss_is_of_the_day() -> None:
    one = watcher("daily_loss", 0.05)
    midnight = START + DAY
    day_one = [(midnight - MINUTE, 980.0), (midnight, 960.0)]
    assert one.observe(day_one, (), ()) == ()
    day_two = [(midnight + MINUTE, 920.0), (midnight + 2 * MINUTE, 912.0), (midnight + 3 * MINUTE, 900.0)]
    (alert,) = one.observe(day_two, (), ())
    assert alert.timestamp == midnight + 2 * MINUTE
    assert alert.value == pytest.approx(0.05)
    assert "5.00% below the 960.00 of the beginning of the day" in alert.message
    (next_day,) = one.observe([(midnight + DAY, 890.0), (midnight + DAY + MINUTE, 800.0)], (), ())
    assert next_day.timestamp == midnight + DAY + MINUTE, "a new day is a new crossing"


def test_a_streak_of_losses_ends_with_a_trade_that_does_not_lose() -> None:
    one = watcher("loss_streak", 3)
    profits = [-1, -1, 5, -1, -1, 0, -1, -1, -1, -1, 2, -1, -1, -1]
    alerts = one.observe((), [trade(number, pnl) for number, pnl in enumerate(profits)], ())
    assert places(alerts) == [9, 14]
    assert [alert.value for alert in alerts] == [3, 3]
    assert alerts[0].message == "3 trades in a row have lost; the limit is 3"


def test_silence_has_one_key_however_often_it_is_asked() -> None:
    one = Watcher((Threshold(kind="no_data", limit=5, stop=True), Threshold(kind="drawdown", limit=0.1)), 1.0)
    assert one.silence(START, START + 5 * MINUTE - 1) == ()
    (first,) = one.silence(START, START + 5 * MINUTE)
    (later,) = one.silence(START, START + 50 * MINUTE)
    assert first.key == later.key == f"0:no_data:{START}"
    assert first.timestamp == later.timestamp == START + 5 * MINUTE
    assert first.message == "no candle has come since 2024-01-01T00:00Z, for 5 minutes"
    assert first.stop
    (other,) = one.silence(START + MINUTE, START + 50 * MINUTE)
    assert other.key != first.key


def drifting(low: float, high: float) -> Watcher:
    threshold = Threshold(kind="drift", limit=0.95, run_id="run_1")
    return Watcher((threshold,), 1_000.0, {0: lambda days: (low * days, high * days)})


def days(*balances: float) -> list[tuple[int, float]]:
    return [(START + at * DAY, balance) for at, balance in enumerate(balances)]


def test_drift_is_a_return_outside_the_band_of_so_many_days() -> None:
    one = drifting(-0.01, 0.02)
    found = one.observe((), (), days(1_000, 991, 979, 950, 980, 1_101))
    assert [(alert.timestamp - START) // DAY for alert in found] == [2, 5]
    assert found[0].value == pytest.approx(-0.021)
    assert found[0].limit == 0.95
    assert found[0].band_edge == pytest.approx(-0.02)
    assert found[0].message == (
        "the return after 2 days is -2.10%, below the band of -2.00% to 4.00% that holds it with probability "
        "0.95 by run run_1"
    )
    assert found[1].band_edge == pytest.approx(0.1)
    assert "above" in found[1].message


def test_the_first_balance_alone_is_no_day() -> None:
    assert drifting(-1, -0.5).observe((), (), days(1_000)) == ()


_KINDS = (
    Threshold(kind="drawdown", limit=0.1),
    Threshold(kind="daily_loss", limit=0.03, stop=True),
    Threshold(kind="loss_streak", limit=2),
    Threshold(kind="drift", limit=0.9, run_id="r"),
    Threshold(kind="drawdown", limit=0.02),
)


@given(
    st.lists(st.floats(500, 1_500), min_size=1, max_size=40),
    st.lists(st.floats(-5, 5), max_size=20),
    st.lists(st.integers(0, 40), max_size=6),
)
def test_portions_do_not_matter(equity: list[float], profits: list[float], cuts: list[int]) -> None:
    points = [(START + (at + 1) * DAY // 4, value) for at, value in enumerate(equity)]
    trades = [trade(number, pnl) for number, pnl in enumerate(profits)]
    balances = days(1_000, *equity[::4])

    def fresh() -> Watcher:
        return Watcher(_KINDS, 1_000.0, {3: lambda count: (-0.01 * count, 0.01 * count)})

    whole = fresh().observe(points, trades, balances)
    one = fresh()
    parts: list[PaperAlert] = []
    for low, high in zip([0, *sorted(cuts)], [*sorted(cuts), 40], strict=True):
        parts += one.observe(points[low:high], trades[low:high], balances[low:high])
    assert sorted(parts, key=lambda a: (a.timestamp, a.key)) == list(whole)
    assert len({alert.key for alert in whole}) == len(whole)


def test_an_entry_is_checked_before_anything_runs() -> None:
    found = thresholds_of(
        [{"kind": "drawdown", "limit": 0.2}, {"kind": "no_data", "limit": 5, "stop": True}], "exchange"
    )
    assert found == (Threshold(kind="drawdown", limit=0.2), Threshold(kind="no_data", limit=5, stop=True))
    assert thresholds_of([], "replay") == ()


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"kind": "profit", "limit": 1}, r"watch\[0\]\.kind is profit"),
        ({"kind": "drawdown"}, r"watch\[0\] has no limit"),
        (
            {"kind": "drawdown", "threshold": 0.1},
            r"watch\[0\] has 'threshold', which is not known and no limit",
        ),
        ({"kind": "drawdown", "limit": "much"}, r"watch\[0\]\.limit is much"),
        ({"kind": "drawdown", "limit": 0}, "limit of drawdown is 0"),
        ({"kind": "drawdown", "limit": 10}, "limit of drawdown is 10"),
        ({"kind": "drawdown", "limit": float("nan")}, r"watch\[0\]\.limit is nan"),
        ({"kind": "daily_loss", "limit": -0.1}, "limit of daily_loss is -0.1"),
        ({"kind": "loss_streak", "limit": 2.5}, "limit of loss_streak is 2.5"),
        ({"kind": "loss_streak", "limit": 0}, "limit of loss_streak is 0"),
        ({"kind": "no_data", "limit": 0}, "limit of no_data is 0"),
        ({"kind": "drift", "limit": 0.95}, "is drift with run_id None"),
        ({"kind": "drift", "limit": 95, "run_id": "r"}, "limit of drift is 95"),
        ({"kind": "drift", "limit": 0.5, "run_id": "r"}, "limit of drift is 0.5"),
        ({"kind": "drawdown", "limit": 0.1, "run_id": "r"}, "is drawdown with run_id r"),
        ({"kind": "drawdown", "limit": 0.1, "colour": "red"}, r"watch\[0\] has 'colour', which is not known"),
        ({}, r"watch\[0\] has no kind and no limit"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(entry: dict[str, Any], says: str) -> None:
    with pytest.raises(ResearchError, match=says) as caught:
        thresholds_of([entry], "exchange")
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.hint


def test_a_replay_waits_for_nobody_and_too_many_are_refused() -> None:
    with pytest.raises(ResearchError, match="a replay waits for nobody"):
        thresholds_of([{"kind": "no_data", "limit": 5}], "replay")
    with pytest.raises(ResearchError, match="watch has 21 entries"):
        thresholds_of([{"kind": "drawdown", "limit": 0.1}] * (MAX_THRESHOLDS + 1), "replay")


REQUEST = PaperRequest(
    exchange="Binance Spot",
    exchange_type="spot",
    routes=(Route(strategy="Trend", symbol="BTC-USDT", timeframe="1h"),),
    start_ms=START,
    end_ms=None,
    starting_balance=1_000.0,
    fee=0.0,
    warm_up_candles=0,
    feed="exchange",
)


def run(returns: np.ndarray[Any, Any], *strategies: str) -> Any:
    balances = 1_000 * np.cumprod([1.0, *(1 + returns)])
    outcome = EngineOutcome(
        metrics={},
        undefined={},
        trades=(),
        equity=tuple(EquityPoint(timestamp=START + n * DAY, balance=b) for n, b in enumerate(balances)),
        hyperparameters={},
        engine={},
    )
    record = SimpleNamespace(run_id="run_1", strategies=strategies, outcome=outcome, warnings=())
    return SimpleNamespace(get=lambda _run_id: record)


def test_the_band_of_drift_is_that_of_the_runs_own_days() -> None:
    returns = np.random.default_rng(2).normal(0.001, 0.01, 200)
    threshold = Threshold(kind="drift", limit=0.9, run_id="run_1")
    one = watcher_of((threshold,), REQUEST, run(returns, "Trend"))
    band = drift_band(returns, 2, 0.9, 0)
    first = 1_000 * (1 + drift_band(returns, 1, 0.9, 0).low / 2)
    inside = one.observe((), (), days(1_000, first, 1_000 * (1 + band.low + 1e-6)))
    assert inside == ()
    again = watcher_of((threshold,), REQUEST, run(returns, "Trend"))
    (alert,) = again.observe((), (), days(1_000, first, 1_000 * (1 + band.low - 1e-6)))
    assert alert.band_edge == pytest.approx(band.low, abs=1e-12)


@pytest.mark.parametrize(
    ("returns", "strategies", "says"),
    [
        (np.zeros(100), ("Trend",), "the returns do not vary"),
        (np.full(10, 0.01), ("Trend",), "there are 10 daily returns"),
        (
            np.random.default_rng(1).normal(0, 0.01, 100),
            ("Other",),
            "is a run of Other, the session trades Trend",
        ),
    ],
)
def test_a_run_that_makes_no_band_is_refused(returns: Any, strategies: tuple[str, ...], says: str) -> None:
    threshold = Threshold(kind="drift", limit=0.9, run_id="run_1")
    with pytest.raises(ResearchError, match=says) as caught:
        watcher_of((threshold,), REQUEST, run(returns, *strategies))
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.hint
