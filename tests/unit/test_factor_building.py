"""Factors made of prices: by hand, from prefixes, in other units, and with holes."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jesse_mcp.analytics.crypto_factors import (
    long_short,
    market_factor,
    momentum_scores,
    period_returns,
    rebalancings,
    size_scores,
    volatility_scores,
)

Floats = NDArray[np.float64]
DAY = 86_400_000
MONDAY = 1_704_067_200_000  # 2024-01-01
FORMATION, REBALANCE = 5, 3
M, S = 90, 9


def universe(seed: int = 1) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Prices, traded values and moments."""
    generator = np.random.default_rng(seed)
    spread = np.linspace(0.01, 0.05, S)
    prices = 100 * np.exp(np.cumsum(generator.normal(0, spread, (M, S)), axis=0))
    traded = np.exp(generator.normal(10, 1.5, (M, S)) + generator.normal(0, 1, S))
    return prices, traded, MONDAY + DAY * np.arange(M, dtype=np.int64)


Universe = tuple[Floats, Floats, NDArray[np.int64]]


def beginning(data: Universe, length: int) -> Universe:
    prices, traded, moments = data
    return prices[:length], traded[:length], moments[:length]


def built(prices: Floats, traded: Floats, moments: NDArray[np.int64]) -> dict[str, Floats]:
    positions = rebalancings(moments, REBALANCE * DAY)
    return {
        "market": market_factor(prices),
        "momentum": long_short(prices, momentum_scores(prices, positions, FORMATION), positions),
        "volatility": long_short(prices, volatility_scores(prices, positions, FORMATION), positions),
        "size": long_short(prices, -size_scores(traded, positions, FORMATION), positions),
    }


def by_hand(kind: str, prices: Floats, traded: Floats, moments: NDArray[np.int64]) -> list[float]:
    """Period by period, with loops and no array arithmetic."""
    found = []
    legs: tuple[list[int], list[int]] | None = None
    for now in range(len(prices) - 1):
        stretch, before = ((int(moments[at]) - 4 * DAY) // (REBALANCE * DAY) for at in (now, max(now - 1, 0)))
        if stretch != before:
            legs = None
            scores = {}
            for one in range(S):
                history = [float(prices[at, one]) for at in range(max(now - FORMATION, 0), now + 1)]
                if now < FORMATION:
                    continue
                moves = [b / a - 1 for a, b in itertools.pairwise(history)]
                mean = sum(moves) / len(moves)
                scores[one] = {
                    "momentum": history[-1] / history[0],
                    "volatility": math.sqrt(sum((move - mean) ** 2 for move in moves)),
                    "size": -sum(float(traded[at, one]) for at in range(now - FORMATION + 1, now + 1)),
                }[kind]
            order = sorted(scores, key=lambda one: scores[one])
            third = len(order) // 3
            legs = (order[-third:], order[:third]) if len(order) >= 6 else None
        if legs is None:
            found.append(math.nan)
            continue
        sides = [sum(prices[now + 1, one] / prices[now, one] - 1 for one in leg) / len(leg) for leg in legs]
        found.append(float(sides[0] - sides[1]))
    return found


@pytest.mark.parametrize("kind", ["momentum", "volatility", "size"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_factor_is_what_a_person_would_make(kind: str, seed: int) -> None:
    data = universe(seed)
    np.testing.assert_allclose(built(*data)[kind], by_hand(kind, *data), rtol=1e-10, atol=1e-15)
    assert np.isfinite(built(*data)[kind][FORMATION + REBALANCE :]).all()


def test_the_market_is_the_mean_of_its_symbols() -> None:
    prices, _, _ = universe()
    expected = [np.mean(prices[at + 1] / prices[at] - 1) for at in range(M - 1)]
    np.testing.assert_allclose(market_factor(prices), expected, rtol=1e-12)


@pytest.mark.parametrize("cut", range(FORMATION + 2, M, (M - FORMATION - 2) // 50))
def test_nothing_is_known_before_it_happens(cut: int) -> None:
    """The factors of a prefix are a prefix of the factors, to the last bit: at more than 50 places."""
    data = universe()
    whole, part = built(*data), built(*beginning(data, cut))
    for name, values in part.items():
        np.testing.assert_array_equal(values, whole[name][: cut - 1])


def test_the_future_can_be_anything() -> None:
    prices, traded, moments = universe()
    generator = np.random.default_rng(9)
    for cut in range(FORMATION + 2, M - 1):
        other, others = prices.copy(), traded.copy()
        other[cut:] *= np.exp(generator.normal(0, 1, (M - cut, S)))
        others[cut:] *= np.exp(generator.normal(0, 3, (M - cut, S)))
        changed = built(other, others, moments)
        for name, values in built(prices, traded, moments).items():
            np.testing.assert_array_equal(changed[name][: cut - 1], values[: cut - 1])


def test_what_is_chosen_earns_only_afterwards() -> None:
    """A jump at the moment of a choice decides it, and is not in its return."""
    prices = np.full((20, 6), 100.0) * np.linspace(1, 1.5, 6)
    moments = MONDAY + DAY * np.arange(20, dtype=np.int64)
    (chosen, *_) = [at for at in rebalancings(moments, REBALANCE * DAY).tolist() if at >= FORMATION]
    prices[chosen:, 5] *= 2
    momentum = built(prices, prices, moments)["momentum"]
    assert momentum[chosen - 1] != momentum[chosen]
    assert momentum[chosen] == pytest.approx(0, abs=1e-15)
    prices[chosen + 1 :, 5] *= 1.1
    assert built(prices, prices, moments)["momentum"][chosen] == pytest.approx(0.05, rel=1e-12)


@settings(max_examples=30)
@given(st.integers(0, 1_000), st.integers(0, S - 1), st.sampled_from([10.0, 1e-3, 1e6]))
def test_the_unit_of_a_price_does_not_matter(seed: int, which: int, unit: float) -> None:
    """But for size, when the volume stays: what is traded is then worth as much more."""
    prices, traded, moments = universe(seed)
    other, others = prices.copy(), traded.copy()
    other[:, which] *= unit
    plain = built(prices, traded, moments)
    for name, values in built(other, others, moments).items():
        np.testing.assert_allclose(values, plain[name], rtol=1e-9, atol=1e-13)
    others[:, which] *= unit
    scaled = built(other, others, moments)
    for name in ("market", "momentum", "volatility"):
        np.testing.assert_allclose(scaled[name], plain[name], rtol=1e-9, atol=1e-13)
    everything = built(prices * unit, traded * unit, moments)
    np.testing.assert_allclose(everything["size"], plain["size"], rtol=1e-9, atol=1e-13)


def test_size_changes_when_what_is_traded_is_worth_more() -> None:
    prices, traded, moments = universe()
    most = int(traded.mean(axis=0).argmin())
    traded_more = traded.copy()
    traded_more[:, most] *= 1e6
    assert not np.allclose(
        built(prices, traded_more, moments)["size"], built(prices, traded, moments)["size"], equal_nan=True
    )


@settings(max_examples=30)
@given(st.integers(0, 1_000), st.permutations(range(S)))
def test_the_order_of_symbols_does_not_matter(seed: int, order: list[int]) -> None:
    prices, traded, moments = universe(seed)
    turned = built(prices[:, order], traded[:, order], moments)
    for name, values in built(prices, traded, moments).items():
        np.testing.assert_allclose(turned[name], values, rtol=1e-9, atol=1e-14)


def test_a_symbol_is_ranked_when_all_of_its_history_is_known() -> None:
    prices, traded, moments = universe()
    holes = prices.copy()
    holes[20, 0] = np.nan
    positions = rebalancings(moments, REBALANCE * DAY)
    late = [row for row, at in enumerate(positions.tolist()) if 20 <= at <= 20 + FORMATION]
    ranked = np.isfinite(volatility_scores(holes, positions, FORMATION)[:, 0])
    assert not ranked[late].any()
    assert ranked[[row for row, at in enumerate(positions.tolist()) if at > 20 + FORMATION]].all()
    traded[20, 1] = np.nan
    assert not np.isfinite(size_scores(traded, positions, FORMATION)[late[0], 1])


def test_a_leg_without_a_price_has_no_return() -> None:
    prices, traded, moments = universe()
    whole = built(prices, traded, moments)["momentum"]
    for one in range(S):
        holes = prices.copy()
        at = int(rebalancings(moments, REBALANCE * DAY)[8]) + 1
        holes[at, one] = np.nan
        found = built(holes, traded, moments)["momentum"]
        held = np.isnan(found[at - 1])
        assert np.isnan(found[at]) == held
        if not held:
            assert found[at] == whole[at]


def test_too_few_ranked_symbols_have_no_factor() -> None:
    prices, traded, moments = universe()
    prices[:, 5:] = np.nan
    found = built(prices, traded, moments)
    assert np.isnan(found["momentum"]).all()
    assert np.isnan(found["volatility"]).all()
    assert np.isfinite(found["market"]).all(), "five of nine are more than half"
    prices[:, 4] = np.nan
    assert np.isnan(built(prices, traded, moments)["market"]).all()


def test_a_market_of_one_is_none() -> None:
    assert np.isnan(market_factor(universe()[0][:, :1])).all()


@pytest.mark.parametrize("length", [0, 1, 2, FORMATION])
def test_short_history_has_no_sorted_factor(length: int) -> None:
    found = built(*beginning(universe(), length))
    for values in found.values():
        assert len(values) == max(length - 1, 0)
    assert not np.isfinite(found["momentum"]).any()


def test_constant_prices_have_returns_of_zero() -> None:
    _, traded, moments = universe()
    for name, values in built(np.full((M, S), 7.0), traded, moments).items():
        assert values[FORMATION + REBALANCE :] == pytest.approx(0), name


def test_a_price_of_nothing_is_no_return() -> None:
    assert np.isnan(period_returns(np.array([[0.0], [1.0], [np.nan], [2.0]]))).all()


class TestRebalancings:
    def test_a_week_begins_on_monday(self) -> None:
        moments = MONDAY - 3 * DAY + DAY * np.arange(30, dtype=np.int64)
        found = moments[rebalancings(moments, 7 * DAY)]
        assert found.tolist() == [MONDAY, MONDAY + 7 * DAY, MONDAY + 14 * DAY, MONDAY + 21 * DAY]

    def test_the_first_moment_is_none(self) -> None:
        moments = MONDAY + DAY * np.arange(8, dtype=np.int64)
        assert rebalancings(moments, 7 * DAY).tolist() == [7]

    @given(st.integers(0, 40), st.integers(1, 30))
    def test_they_do_not_depend_on_where_the_history_begins(self, cut: int, days: int) -> None:
        moments = MONDAY + 3_600_000 * np.arange(24 * 80, dtype=np.int64)
        whole = moments[rebalancings(moments, days * DAY)]
        part = moments[cut:][rebalancings(moments[cut:], days * DAY)]
        assert part.tolist() == [moment for moment in whole.tolist() if moment > moments[cut]]

    def test_periods_longer_than_the_stretch_are_each_one(self) -> None:
        moments = MONDAY + 30 * DAY * np.arange(5, dtype=np.int64)
        assert rebalancings(moments, 7 * DAY).tolist() == [1, 2, 3, 4]


def test_a_rebalancing_with_just_enough_history_counts() -> None:
    """The first moment at which symbols can be ranked is the one that has ``formation`` periods before it."""
    prices = np.array([[1.0, 1.0], [2.0, 1.0], [3.0, 1.5], [3.0, 3.0]])
    scores = momentum_scores(prices, np.array([1, 2, 3]), 2)
    np.testing.assert_array_equal(scores, [[np.nan, np.nan], [2.0, 0.5], [0.5, 2.0]])
