"""Signals and trades of a pair: by hand, against pandas, cut anywhere, in other units."""

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jesse_mcp.analytics.hedge_ratio import HedgeMethod, hedge_path
from jesse_mcp.analytics.pairs_daily import daily_balances
from jesse_mcp.analytics.pairs_signals import (
    Rules,
    comparable_prices,
    entry_direction,
    exit_reason,
    unit_quantities,
    z_scores,
)
from jesse_mcp.analytics.pairs_simulation import PairMarket, Simulation, Terms, simulate

Floats = NDArray[np.float64]
FORMATION, LOOKBACK = 150, 40
RULES = Rules(entry_z=1.5, exit_z=0.3, stop_z=3.5, max_holding_bars=25)
TERMS = Terms(starting_balance=10_000, fee=0.0004, slippage=0.0005, notional=10_000, leverage=3)
DAY = 86_400_000
START = 1_704_067_200_000


def prices(seed: int = 1, periods: int = 700) -> tuple[Floats, Floats]:
    """Opens and closes of a pair whose spread halves in 8 bars, each of shape (periods, 2)."""
    noise = np.random.default_rng(seed)
    x = noise.normal(0, 0.01, periods).cumsum()
    phi = 0.5 ** (1 / 8)
    spread = np.zeros(periods)
    for at in range(1, periods):
        spread[at] = phi * spread[at - 1] + noise.normal(0, 0.01)
    closes = np.exp(np.column_stack((4 + 0.8 * x + spread, 6 + x)))
    opens = np.vstack((closes[:1], closes[:-1])) * np.exp(noise.normal(0, 0.001, (periods, 2)))
    return opens, closes


def market(
    opens: Floats, closes: Floats, method: HedgeMethod = "ols", *, log_prices: bool = True
) -> PairMarket:
    y, x = (comparable_prices(closes[:, leg], FORMATION, log_prices=log_prices) for leg in (0, 1))
    ratios = hedge_path(method, y, x, FORMATION, 100).ratios
    return PairMarket(
        opens=opens,
        closes=closes,
        quantities=unit_quantities(closes, ratios, FORMATION, TERMS.notional, log_prices=log_prices),
        z=z_scores(y, x, ratios, LOOKBACK),
        ratios=ratios,
        first=FORMATION,
    )


def traded(seed: int = 1, method: HedgeMethod = "ols", *, log_prices: bool = True) -> Simulation:
    return simulate(market(*prices(seed), method, log_prices=log_prices), RULES, TERMS)


def scripted(z: list[float], closes: list[tuple[float, float]], **changes: float) -> PairMarket:
    """A market that is told its z-scores; quantities of 10 and -20, opens 1 % above the closes before."""
    table = np.array(closes, dtype=np.float64)
    opens = np.vstack((table[:1], table[:-1] * 1.01))
    n = len(z)
    return PairMarket(
        opens=opens,
        closes=table,
        quantities=np.tile([10.0, -20.0], (n, 1)),
        z=np.array(z),
        ratios=np.full(n, changes.get("ratio", 1.0)),
        first=0,
    )


PLAIN = Rules(entry_z=2.0, exit_z=0.5)
FLAT = [(100.0, 50.0)] * 12


def test_a_trade_with_fees_and_slippage_by_hand() -> None:
    """Bought 10 y and sold 20 x at the open of bar 2, left at the open of bar 4.

    Entry: opens 101 and 50.5, so y is bought at 101 * 1.001 = 101.101 and x sold at 50.5 * 0.999 = 50.4495.
    Exit: opens 110 * 1.01 = 111.1 and 52 * 1.01 = 52.52, so y goes at 110.9889, x comes back at 52.57252.
    Fees of 0.1 %: (10 * 101.101 + 20 * 50.4495 + 10 * 110.9889 + 20 * 52.57252) / 1000 = 4.1813394.
    Profit: 10 * 9.8879 - 20 * 2.12302 - 4.1813394 = 52.2372606.
    """
    closes = [(100.0, 50.0), (100.0, 50.0), (104.0, 50.0), (110.0, 52.0), (120.0, 40.0), (120.0, 40.0)]
    terms = Terms(starting_balance=1_000, fee=0.001, slippage=0.001, notional=2_000, leverage=2)
    found = simulate(scripted([0, -2.5, -1, 0.4, 0, 0], closes), PLAIN, terms)
    (trade,) = found.trades
    first, second = trade.legs
    assert (trade.direction, trade.decided, trade.opened, trade.closed) == (1, 1, 2, 4)
    assert (trade.reason, trade.at_close) == ("reverted", False)
    assert (trade.entry_z, trade.exit_z) == (-2.5, 0.4)
    assert (first.quantity, second.quantity) == (10.0, -20.0)
    assert (first.entry_price, second.entry_price) == pytest.approx((101.101, 50.4495), rel=1e-14)
    assert (first.exit_price, second.exit_price) == pytest.approx((110.9889, 52.57252), rel=1e-14)
    assert first.fee + second.fee == pytest.approx(4.1813394, rel=1e-12)
    assert first.slippage == pytest.approx(10 * (0.101 + 0.1111), rel=1e-10)
    assert second.slippage == pytest.approx(20 * (0.0505 + 0.05252), rel=1e-10)
    assert trade.pnl == pytest.approx(52.2372606, rel=1e-10)
    # Marked at the close of bar 2: 1000 - fees of the entry + 10 * (104 - 101.101) - 20 * (50 - 50.4495).
    assert found.balances.tolist() == pytest.approx(
        [
            1_000,
            1_000,
            1_000 - 2.02 + 28.99 + 8.99,
            1_000 - 2.02 + 88.99 - 31.01,
            1_052.2372606,
            1_052.2372606,
        ],
        rel=1e-10,
    )
    assert found.skipped == {"margin": 0, "hedge_ratio": 0}


def test_selling_the_spread_is_its_mirror_without_costs() -> None:
    terms = Terms(starting_balance=10_000, fee=0, slippage=0, notional=2_000, leverage=2)
    closes = [(100.0, 50.0), (100.0, 50.0), (104.0, 50.0), (110.0, 52.0), (120.0, 40.0), (120.0, 40.0)]
    z = [0, -2.5, -1, 0.4, 0, 0]
    bought = simulate(scripted(z, closes), PLAIN, terms)
    sold = simulate(scripted([-one for one in z], closes), PLAIN, terms)
    assert sold.trades[0].direction == -1
    assert sold.trades[0].pnl == pytest.approx(-bought.trades[0].pnl, rel=1e-12)


def test_profits_and_balances_add_up() -> None:
    found = traded()
    assert len(found.trades) > 10
    total = TERMS.starting_balance + sum(trade.pnl for trade in found.trades)
    assert found.balances[-1] == pytest.approx(total, rel=1e-12)
    assert np.isnan(found.balances[:FORMATION]).all()
    assert np.isfinite(found.balances[FORMATION:]).all()


def test_costs_are_the_difference_to_trading_for_nothing() -> None:
    free = replace(TERMS, fee=0, slippage=0)
    built = market(*prices())
    dear, cheap = simulate(built, RULES, TERMS), simulate(built, RULES, free)
    assert [trade.opened for trade in dear.trades] == [trade.opened for trade in cheap.trades]
    for one, other in zip(dear.trades, cheap.trades, strict=True):
        costs = sum(leg.fee + leg.slippage for leg in one.legs)
        assert other.pnl - one.pnl == pytest.approx(costs, rel=1e-9)


@pytest.mark.parametrize("log_prices", [True, False])
@pytest.mark.parametrize("method", get_args(HedgeMethod))
def test_nothing_changes_when_the_future_is_cut_off(method: HedgeMethod, log_prices: bool) -> None:
    """At 50 places: ratios, z-scores, quantities, balances and trades up to there are the same bits."""
    opens, closes = prices(2, 420)
    whole = market(opens, closes, method, log_prices=log_prices)
    full = simulate(whole, RULES, TERMS)
    assert len(full.trades) > 3
    for cut in np.linspace(FORMATION + 2, 419, 50).astype(int).tolist():
        part = market(opens[:cut], closes[:cut], method, log_prices=log_prices)
        for name in ("ratios", "z", "quantities"):
            now, then = getattr(part, name)[FORMATION:], getattr(whole, name)[FORMATION:cut]
            assert np.array_equal(now, then, equal_nan=True), (name, cut)
        found = simulate(part, RULES, TERMS)
        before = [trade for trade in full.trades if trade.closed < cut and not trade.at_close]
        assert [trade for trade in found.trades if trade.reason != "end"] == before
        assert found.balances[FORMATION : cut - 1].tolist() == full.balances[FORMATION : cut - 1].tolist()


def test_the_bar_of_the_fill_does_not_decide() -> None:
    """Closes at and behind the fill are others: entry and quantities stay."""
    opens, closes = prices()
    first = simulate(market(opens, closes), RULES, TERMS).trades[0]
    other = closes.copy()
    other[first.opened :] *= [1.5, 0.7]
    changed = simulate(market(opens, other), RULES, TERMS).trades[0]
    assert (changed.decided, changed.opened) == (first.decided, first.opened)
    assert [leg.quantity for leg in changed.legs] == [leg.quantity for leg in first.legs]
    assert [leg.entry_price for leg in changed.legs] == [leg.entry_price for leg in first.legs]


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(1, 50),
    times=st.floats(0.01, 100),
    leg=st.sampled_from([0, 1]),
    method=st.sampled_from(get_args(HedgeMethod)),
    log_prices=st.booleans(),
)
def test_a_price_in_other_units_changes_quantities_alone(
    seed: int, times: float, leg: int, method: HedgeMethod, log_prices: bool
) -> None:
    factor = np.where(np.arange(2) == leg, times, 1.0)
    opens, closes = prices(seed, 400)
    plain = simulate(market(opens, closes, method, log_prices=log_prices), RULES, TERMS)
    moved = simulate(market(opens * factor, closes * factor, method, log_prices=log_prices), RULES, TERMS)
    assert [trade.opened for trade in moved.trades] == [trade.opened for trade in plain.trades]
    assert moved.balances[FORMATION:] == pytest.approx(plain.balances[FORMATION:], rel=1e-8)
    for one, other in zip(plain.trades, moved.trades, strict=True):
        assert other.legs[leg].quantity * times == pytest.approx(one.legs[leg].quantity, rel=1e-6)


def test_ten_times_the_price_changes_no_return() -> None:
    opens, closes = prices()
    plain = simulate(market(opens, closes), RULES, TERMS)
    moved = simulate(market(opens * [10, 1], closes * [10, 1]), RULES, TERMS)
    assert moved.balances[FORMATION:] == pytest.approx(plain.balances[FORMATION:], rel=1e-11)


def test_z_scores_are_those_of_pandas() -> None:
    _, closes = prices()
    y, x = (comparable_prices(closes[:, leg], FORMATION, log_prices=True) for leg in (0, 1))
    spread = pd.Series(y - 0.8 * x)
    rolling = spread.rolling(LOOKBACK)
    theirs = ((spread - rolling.mean()) / rolling.std()).to_numpy()
    found = z_scores(y, x, np.full(len(y), 0.8), LOOKBACK)
    assert found == pytest.approx(theirs, rel=1e-8, nan_ok=True)
    assert np.isnan(found[: LOOKBACK - 1]).all()


def test_z_score_by_hand() -> None:
    """Of 1, 2, 3: mean 2, deviation 1; with a ratio of 2 on an x of 0, 1, 0 the spread is 1, 0, 3."""
    y, x = np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 0.0])
    assert z_scores(y, x, np.zeros(3), 3)[2] == pytest.approx(1.0, rel=1e-15)
    deviation = math.sqrt((1 / 9 + 16 / 9 + 25 / 9) / 2)
    assert z_scores(y, x, np.full(3, 2.0), 3)[2] == pytest.approx((3 - 4 / 3) / deviation, rel=1e-14)


def test_a_window_has_the_ratio_of_its_last_bar() -> None:
    y, x = np.array([1.0, 2.0, 3.0, 5.0]), np.array([0.0, 1.0, 0.0, 2.0])
    ratios = np.array([9.0, 9.0, 0.0, 2.0])
    found = z_scores(y, x, ratios, 3)
    assert found[2] == pytest.approx(1.0, rel=1e-15)
    assert found[3] == pytest.approx((1 - 4 / 3) / math.sqrt((16 / 9 + 25 / 9 + 1 / 9) / 2), rel=1e-14)


def test_a_spread_that_stands_still_has_no_z_score() -> None:
    x = np.linspace(0, 1, 10)
    assert np.isnan(z_scores(0.3 + 2 * x, x, np.full(10, 2.0), 5)).all()
    assert np.isnan(z_scores(np.empty(0), np.empty(0), np.empty(0), 5)).all()
    assert np.isnan(z_scores(x, x**2, np.full(10, np.nan), 5)).all()
    with pytest.raises(ValueError, match="lookback is 1"):
        z_scores(x, x, x, 1)


def test_the_rounding_of_a_multiple_is_no_spread() -> None:
    """Logarithms of five times a price are those of the price, but for their last digits."""
    x = 100 * np.exp(np.random.default_rng(4).normal(0, 0.01, 400).cumsum())
    for scale in (5.0, 1e-9, 1e9):
        for log in (True, False):
            one, other = (comparable_prices(p, FORMATION, log_prices=log) for p in (scale * x, x))
            for ratio in (1.0, 1 + 2e-14):
                assert np.isnan(z_scores(one, other, np.full(400, ratio), LOOKBACK)).all()
    one, other = (comparable_prices(p, FORMATION, log_prices=True) for p in (x * (1 + 1e-9 * (x > 100)), x))
    assert np.isfinite(z_scores(one, other, np.ones(400), LOOKBACK)).any()


@pytest.mark.parametrize(
    ("z", "direction"),
    [(0.0, 0), (1.99, 0), (2.0, -1), (-2.0, 1), (-3.9, 1), (4.0, 0), (-4.0, 0), (math.nan, 0)],
)
def test_when_a_pair_is_entered(z: float, direction: int) -> None:
    assert entry_direction(z, Rules(2.0, 0.5, stop_z=4.0)) == direction


@pytest.mark.parametrize(
    ("direction", "z", "held", "reason"),
    [
        (1, -1.0, 1, None),
        (1, -0.5, 1, "reverted"),
        (1, 3.0, 1, "reverted"),
        (1, -4.0, 1, "stop"),
        (1, -1.0, 9, None),
        (1, -1.0, 10, "time"),
        (-1, 1.0, 1, None),
        (-1, 0.5, 1, "reverted"),
        (-1, -3.0, 1, "reverted"),
        (-1, 4.0, 99, "stop"),
        (1, math.nan, 9, None),
        (1, math.nan, 10, "time"),
    ],
)
def test_when_a_pair_is_left(direction: int, z: float, held: int, reason: str | None) -> None:
    assert exit_reason(direction, z, held, Rules(2.0, 0.5, stop_z=4.0, max_holding_bars=10)) == reason


def test_behind_a_stop_the_spread_has_to_calm_down_first() -> None:
    rules = Rules(2.0, 0.5, stop_z=4.0)
    z = [0, 2.5, 4.5, 3.0, 2.5, 1.0, 2.5, 0.0, 0, 0, 0, 0]
    found = simulate(scripted(z, FLAT), rules, TERMS)
    assert [(trade.decided, trade.closed, trade.reason) for trade in found.trades] == [
        (1, 3, "stop"),
        (6, 8, "reverted"),
    ]


def test_a_time_stop_holds_that_many_bars() -> None:
    z = [0, -2.5] + [-1.5] * 10
    found = simulate(scripted(z, FLAT), Rules(2.0, 0.5, max_holding_bars=3), TERMS)
    (trade,) = found.trades
    assert (trade.opened, trade.closed, trade.reason) == (2, 5, "time")


def test_no_entry_at_the_open_of_an_exit() -> None:
    z = [0, -2.5, 2.5, 2.5, 2.5, 0, 0, 0, 0, 0, 0, 0]
    found = simulate(scripted(z, FLAT), PLAIN, TERMS)
    assert [(trade.direction, trade.opened, trade.closed) for trade in found.trades] == [
        (1, 2, 3),
        (-1, 4, 6),
    ]


def test_what_is_open_at_the_end_is_closed_at_the_last_close() -> None:
    z = [0.0] * 9 + [-2.5, -2.5, -2.5]
    found = simulate(scripted(z, [*FLAT[:-1], (130.0, 50.0)]), PLAIN, TERMS)
    (trade,) = found.trades
    assert (trade.opened, trade.closed, trade.at_close, trade.reason) == (10, 11, True, "end")
    assert trade.legs[0].exit_price == pytest.approx(130 * (1 - TERMS.slippage))
    assert found.balances[-1] == pytest.approx(TERMS.starting_balance + trade.pnl)


def test_a_signal_at_the_last_close_is_not_traded() -> None:
    assert simulate(scripted([0.0] * 11 + [-2.5], FLAT), PLAIN, TERMS).trades == ()


def test_ruin_ends_the_run_at_the_close_that_finds_it() -> None:
    closes = [*FLAT[:4], (100.0, 200.0), *FLAT[5:]]
    terms = Terms(starting_balance=1_500, fee=0, slippage=0, notional=2_000, leverage=2)
    found = simulate(scripted([0, -2.5] + [-1.0] * 10, closes), PLAIN, terms)
    (trade,) = found.trades
    assert (trade.reason, trade.closed, trade.at_close) == ("ruin", 4, True)
    # Bought at 101, sold at 50.5: 10 * (100 - 101) - 20 * (200 - 50.5) = -3000.
    assert found.balances[4] == pytest.approx(1_500 - 3_000)
    assert found.ruined == 4
    assert np.isnan(found.balances[5:]).all()


def test_an_entry_above_the_margin_is_not_made_and_counted_once() -> None:
    terms = replace(TERMS, starting_balance=1_000, notional=2_001, leverage=2)
    found = simulate(scripted([0, -2.5, -2.5, -2.5, 0, -2.5, 0, 0, 0, 0, 0, 0], FLAT), PLAIN, terms)
    assert found.trades == ()
    assert found.skipped == {"margin": 2, "hedge_ratio": 0}


@pytest.mark.parametrize("ratio", [0.0, -0.4, math.nan])
def test_legs_that_do_not_offset_each_other_are_not_traded(ratio: float) -> None:
    found = simulate(scripted([0, -2.5] + [0.0] * 10, FLAT, ratio=ratio), PLAIN, TERMS)
    assert found.trades == ()
    assert found.skipped == {"margin": 0, "hedge_ratio": 1}


def test_a_position_is_worth_its_notional_when_it_is_decided() -> None:
    opens, closes = prices()
    for log_prices in (True, False):
        built = market(opens, closes, log_prices=log_prices)
        held = np.abs(built.quantities * closes).sum(axis=1)[FORMATION:]
        assert held == pytest.approx(np.full(len(held), TERMS.notional), rel=1e-12)
    built = market(opens, closes)
    money = built.quantities * closes
    assert -money[FORMATION:, 1] / money[FORMATION:, 0] == pytest.approx(built.ratios[FORMATION:], rel=1e-10)


def test_units_held_are_the_hedge_ratio_of_plain_prices() -> None:
    opens, closes = prices()
    built = market(opens, closes, log_prices=False)
    slope = float(np.polyfit(closes[:FORMATION, 1], closes[:FORMATION, 0], 1)[0])
    held = -built.quantities[FORMATION:, 1] / built.quantities[FORMATION:, 0]
    assert held == pytest.approx(np.full(len(held), slope), rel=1e-8)


def test_comparable_prices_have_no_units_and_no_mean() -> None:
    values = np.array([2.0, 8.0, 32.0])
    logs = comparable_prices(values, 3, log_prices=True)
    assert logs == pytest.approx([-math.log(4), 0, math.log(4)], abs=1e-15)
    assert comparable_prices(values, 2, log_prices=False) == pytest.approx([-0.6, 0.6, 5.4], rel=1e-12)


def test_a_market_without_a_bar_to_trade_gives_nothing() -> None:
    empty = replace(scripted([0.0] * 12, FLAT), first=12)
    found = simulate(empty, PLAIN, TERMS)
    assert (found.trades, found.ruined) == ((), None)


def test_a_single_bar_trades_nothing() -> None:
    found = simulate(scripted([-5.0], [(100.0, 50.0)]), PLAIN, TERMS)
    assert (found.trades, found.balances.tolist()) == ((), [10_000.0])


def test_work_can_be_stopped() -> None:
    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        simulate(scripted([0.0] * 12, FLAT), PLAIN, TERMS, stop)


def test_days_have_the_last_balance_known_at_midnight() -> None:
    ends = START + np.array([1, 20, 24, 30, 50], dtype=np.int64) * 3_600_000
    balances = np.array([10.0, 11.0, 12.0, 13.0, 14.0])
    assert daily_balances(ends, balances, START, START + 3 * DAY, 9.0) == [
        (START, 9.0),
        (START + DAY, 12.0),
        (START + 2 * DAY, 13.0),
        (START + 3 * DAY, 14.0),
    ]


def test_days_end_with_the_loss_of_everything() -> None:
    ends = START + np.arange(1, 5, dtype=np.int64) * DAY
    balances = np.array([10.0, -2.0, np.nan, np.nan])
    assert daily_balances(ends, balances, START, START + 4 * DAY, 9.0) == [
        (START, 9.0),
        (START + DAY, 10.0),
        (START + 2 * DAY, -2.0),
    ]


def test_a_period_that_ends_within_a_day_has_its_end() -> None:
    ends = START + np.array([5, 10], dtype=np.int64) * 3_600_000
    found = daily_balances(ends, np.array([1.0, 2.0]), START + 3_600_000, START + 36_000_000, 9.0)
    assert found == [(START + 3_600_000, 9.0), (START + 36_000_000, 2.0)]


def test_nothing_known_yet_is_the_starting_balance() -> None:
    none = np.empty(0)
    found = daily_balances(none.astype(np.int64), none, START, START + DAY, 9.0)
    assert found == [(START, 9.0), (START + DAY, 9.0)]
