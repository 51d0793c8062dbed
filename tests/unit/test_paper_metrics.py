"""Metrics of a session are those that the other analyses and other libraries have of the same numbers."""

import math
from typing import Any

import empyrical
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jesse_mcp.domain.backtests import Trade
from jesse_mcp.services.paper_metrics import HEADLINE, NO_MINUTE, PaperFigures, paper_metrics

START = 1_704_067_200_000
DAY = 86_400_000
NAMES = (
    "total_return", "sharpe_ratio", "sortino_ratio", "max_drawdown", "win_rate", "total_trades",
    "profit_factor", "avg_trade", "avg_winning_trade", "avg_losing_trade", "var_95", "volatility",
    "current_equity", "unrealized_pnl",
)  # fmt: skip


def trade(pnl: float) -> Trade:
    return Trade(
        strategy="S",
        exchange="Binance Spot",
        symbol="BTC-USDT",
        type="long",
        opened_at=START,
        closed_at=START + 60_000,
        entry_price=100.0,
        exit_price=100.0,
        qty=1.0,
        size=100.0,
        fee=0.0,
        pnl=pnl,
        pnl_percentage=pnl,
        holding_period=60.0,
    )


def figures(
    *,
    balances: Any = (1_000.0,),
    profits: tuple[float, ...] = (),
    equity: float | None = 1_000.0,
    max_drawdown: float | None = 0.0,
    unrealized: float = 0.0,
) -> PaperFigures:
    daily = tuple((START + day * DAY, float(balance)) for day, balance in enumerate(balances))
    return PaperFigures(1_000.0, tuple(map(trade, profits)), daily, equity, unrealized, max_drawdown)


RETURNS = np.random.default_rng(7).normal(0.002, 0.02, 120)
BALANCES = 1_000 * np.cumprod([1.0, *(1 + RETURNS)])


def test_ratios_of_days_are_those_of_another_library() -> None:
    found = paper_metrics(figures(balances=BALANCES)).metrics
    assert found["sharpe_ratio"] == pytest.approx(
        empyrical.sharpe_ratio(RETURNS, annualization=365), rel=1e-12
    )
    assert found["sortino_ratio"] == pytest.approx(
        empyrical.sortino_ratio(RETURNS, annualization=365), rel=1e-12
    )
    assert found["volatility"] == pytest.approx(
        empyrical.annual_volatility(RETURNS, annualization=365), rel=1e-12
    )


def test_value_at_risk_is_the_day_that_five_percent_are_worse_than_positive() -> None:
    found = paper_metrics(figures(balances=BALANCES)).metrics["var_95"]
    # 5 % of 120 days are six: the seventh worst is the smallest loss that 95 % do not exceed.
    assert found == pytest.approx(-float(np.sort(RETURNS)[6]), rel=1e-12)
    assert found == pytest.approx(-float(np.quantile(RETURNS, 0.05, method="inverted_cdf")), rel=0.2), (
        "another definition of a quantile is near"
    )


def test_trades_by_hand() -> None:
    found = paper_metrics(figures(profits=(10.0, -4.0, 0.0, 20.0, -6.0)))
    assert found.metrics["total_trades"] == 5
    assert found.metrics["win_rate"] == pytest.approx(0.4)
    assert found.metrics["profit_factor"] == pytest.approx(3.0)
    assert found.metrics["avg_trade"] == pytest.approx(4.0)
    assert found.metrics["avg_winning_trade"] == pytest.approx(15.0)
    assert found.metrics["avg_losing_trade"] == pytest.approx(-5.0)


def test_equity_counts_what_is_open() -> None:
    found = paper_metrics(figures(equity=1_234.5, unrealized=30.0, max_drawdown=0.07))
    assert found.metrics["total_return"] == pytest.approx(0.2345)
    assert found.metrics["current_equity"] == 1_234.5
    assert found.metrics["unrealized_pnl"] == 30.0
    assert found.metrics["max_drawdown"] == 0.07


def test_before_the_first_minute_there_is_the_starting_balance() -> None:
    found = paper_metrics(figures(balances=(), equity=None, max_drawdown=None))
    assert tuple(found.metrics) == NAMES
    assert {name: value for name, value in found.metrics.items() if value is not None} == {
        "total_return": 0.0,
        "total_trades": 0,
        "current_equity": 1_000.0,
        "unrealized_pnl": 0.0,
    }
    assert found.undefined["max_drawdown"] == NO_MINUTE
    assert found.undefined["win_rate"] == "no trade was closed"
    assert found.undefined["sharpe_ratio"] == (
        "there are 0 balances: a return needs two, and balances are taken once a day"
    )


def test_few_days_say_how_many_there_are() -> None:
    found = paper_metrics(figures(balances=(1_000.0, 1_010.0)))
    assert found.undefined["sharpe_ratio"] == ("one return has no standard deviation (1 daily return so far)")
    assert found.undefined["sortino_ratio"] == "no return is below the target (1 daily return so far)"
    assert "at least 20 are needed" in found.undefined["var_95"]


@pytest.mark.parametrize(("days", "known"), [(19, False), (20, True)])
def test_a_tail_takes_twenty_days(days: int, known: bool) -> None:
    found = paper_metrics(figures(balances=BALANCES[: days + 1]))
    assert (found.metrics["var_95"] is not None) is known


def test_ruin_and_days_that_do_not_vary() -> None:
    ruined = paper_metrics(figures(balances=(1_000.0, 500.0, -20.0, 0.0), equity=-20.0, max_drawdown=1.0))
    assert ruined.metrics["total_return"] == pytest.approx(-1.02)
    assert ruined.metrics["sharpe_ratio"] is not None
    still = paper_metrics(figures(balances=(1_000.0,) * 30))
    assert still.undefined["sharpe_ratio"].startswith("the returns do not vary")
    assert still.metrics["volatility"] == 0.0


@given(
    st.lists(st.floats(0.01, 1e6), max_size=40),
    st.lists(st.floats(-1e6, 1e6), max_size=20),
    st.floats(-1e9, 1e9),
)
def test_everything_is_a_number_or_has_a_reason(
    balances: list[float], profits: list[float], equity: float
) -> None:
    found = paper_metrics(figures(balances=balances, profits=tuple(profits), equity=equity))
    assert tuple(found.metrics) == NAMES
    for name, value in found.metrics.items():
        assert (value is None) == (name in found.undefined)
        assert value is None or math.isfinite(value)
    assert list(found.only(HEADLINE)) == list(HEADLINE)
