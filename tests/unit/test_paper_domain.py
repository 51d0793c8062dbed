"""In which order minutes are worked through, and the backtest of a session."""

import pytest

from jesse_mcp.domain.backtests import DataRoute, Route
from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.domain.paper import FeedName, MinuteOrder, PaperRequest, minute_order_of
from jesse_mcp.domain.timeframes import DAY_MS, MINUTE_MS, TIMEFRAME_MINUTES

#: A Sunday: no week and no 3 days of Jesse's clock begin here.
MIDNIGHT = 1_673_740_800_000
HOUR_MS = 60 * MINUTE_MS


@pytest.mark.parametrize(
    ("feed", "start_ms", "timeframes", "complete", "order"),
    [
        ("replay", MIDNIGHT, ["1h", "4h", "1D"], True, "dense"),
        ("replay", MIDNIGHT, ["1h"], False, "observed"),
        ("replay", MIDNIGHT, ["1W"], True, "dense"),
        ("replay", MIDNIGHT + HOUR_MS, ["1h"], True, "dense"),
        ("replay", MIDNIGHT + HOUR_MS, ["1h", "4h"], True, "observed"),
        ("exchange", MIDNIGHT, ["1h", "1D"], True, "dense"),
        ("exchange", MIDNIGHT, ["1W"], True, "observed"),
        ("exchange", MIDNIGHT + 37 * MINUTE_MS, ["1m"], True, "dense"),
        ("exchange", MIDNIGHT + 37 * MINUTE_MS, ["1m", "1h"], True, "observed"),
        ("exchange", MIDNIGHT + 45 * MINUTE_MS, ["45m"], True, "dense"),
    ],
)
def test_the_order_of_minutes(
    feed: FeedName, start_ms: int, timeframes: list[str], complete: bool, order: MinuteOrder
) -> None:
    assert minute_order_of(feed, start_ms, timeframes, complete=complete) == order


@pytest.mark.parametrize("timeframe", TIMEFRAME_MINUTES)
def test_a_live_session_never_counts_candles_past_the_clock(timeframe: str) -> None:
    length = TIMEFRAME_MINUTES[timeframe] * MINUTE_MS
    on_the_clock = MIDNIGHT // length * length
    assert minute_order_of("exchange", on_the_clock, [timeframe], complete=True) == "dense"
    if length > MINUTE_MS:
        later = on_the_clock + MINUTE_MS
        assert minute_order_of("exchange", later, [timeframe], complete=True) == "observed"


def test_a_timeframe_jesse_does_not_have_is_refused() -> None:
    with pytest.raises(ResearchError, match="7m"):
        minute_order_of("exchange", MIDNIGHT, ["7m"], complete=True)


def request(order: MinuteOrder) -> PaperRequest:
    return PaperRequest(
        exchange="Binance Spot",
        exchange_type="spot",
        routes=(
            Route(strategy="A", symbol="ETH-USDT", timeframe="1h"),
            Route(strategy="A", symbol="BTC-USDT", timeframe="1h"),
        ),
        data_routes=(
            DataRoute(symbol="BTC-USDT", timeframe="4h"),
            DataRoute(symbol="SOL-USDT", timeframe="1h", exchange="Bybit Spot"),
        ),
        start_ms=MIDNIGHT,
        end_ms=None,
        starting_balance=1_000.0,
        fee=0.001,
        warm_up_candles=10,
        feed="exchange",
        minute_order=order,
    )


def test_series_are_those_traded_then_those_read_each_once() -> None:
    assert [str(key) for key in request("dense").series] == [
        "ETH-USDT on Binance Spot",
        "BTC-USDT on Binance Spot",
        "SOL-USDT on Bybit Spot",
    ]


@pytest.mark.parametrize(("order", "gaps"), [("dense", "refuse"), ("observed", "observed")])
def test_the_backtest_of_a_session_is_in_step_mode(order: MinuteOrder, gaps: str) -> None:
    session = request(order)
    backtest = session.as_backtest(MIDNIGHT + DAY_MS)
    assert (backtest.fast_mode, backtest.gaps, backtest.end_ms) == (False, gaps, MIDNIGHT + DAY_MS)
    for name in ("exchange", "routes", "data_routes", "start_ms", "fee", "leverage", "warm_up_candles"):
        assert getattr(backtest, name) == getattr(session, name)
