"""What docs/factors.md says of factors is what the code does."""

import re
from pathlib import Path

import numpy as np
import pytest

from jesse_mcp.analytics.crypto_factors import (
    LEGS,
    MIN_MARKET,
    MIN_RANKED,
    long_short,
    rebalancings,
    size_scores,
)
from jesse_mcp.services.factor_request import BUILT_IN, SORTED, FactorUniverse
from jesse_mcp.services.factor_universe import OLDEST_CLOSE_MS

TEXT = " ".join((Path(__file__).parents[2] / "docs" / "factors.md").read_text().split())
LINES = (Path(__file__).parents[2] / "docs" / "factors.md").read_text().splitlines()


def test_the_table_has_every_factor_and_how_many_symbols_it_needs() -> None:
    rows = [re.findall(r"\| `(\w+)` \|.*\| (\d+) \|", line) for line in LINES]
    needed = {name: int(least) for row in rows for name, least in row}
    least = {"market": MIN_MARKET, "btc": 1, "eth": 1, **dict.fromkeys(SORTED, MIN_RANKED)}
    assert needed == least
    assert set(needed) == set(BUILT_IN)


def test_the_defaults() -> None:
    default = FactorUniverse(exchange="Any", symbols=("BTC-USDT",))
    assert f"`formation_days` ({default.formation_days})" in TEXT
    assert f"`rebalance_days` ({default.rebalance_days})" in TEXT
    assert f"fewer than {MIN_RANKED} ranked symbols" in TEXT
    assert "A close more than an hour old" in TEXT
    assert OLDEST_CLOSE_MS == 3_600_000


@pytest.mark.parametrize(("symbols", "leg"), [(7, 2), (8, 2), (9, 3)])
def test_the_size_of_a_third(symbols: int, leg: int) -> None:
    """Only the chosen ones move: the return tells how many share it."""
    assert "A third of 7 or 8 symbols is 2, of 9 it is 3" in TEXT
    assert symbols // LEGS == leg
    prices = np.vstack((np.ones((1, symbols)), np.ones((1, symbols))))
    prices[1, -1] = 1.6
    scores = np.arange(float(symbols))[None, :]
    assert long_short(prices, scores, np.array([0])) == pytest.approx(0.6 / leg)


def test_equal_scores_are_taken_in_order() -> None:
    assert "same score are taken in alphabetical order" in TEXT
    assert FactorUniverse(exchange="Any", symbols=("ETH-USDT", "BTC-USDT")).normalised() == (
        "BTC-USDT",
        "ETH-USDT",
    )
    prices = np.ones((2, 6))
    prices[1, :2] = 0.9
    assert long_short(prices, np.zeros((1, 6)), np.array([0])) == pytest.approx(0.1)


def test_weeks_begin_on_monday() -> None:
    assert "counted from a Monday" in TEXT
    days = 86_400_000 * np.arange(19_723, 19_753, dtype=np.int64)  # from Monday, 2024-01-01
    assert ((days[rebalancings(days, 7 * 86_400_000)] // 86_400_000 - 19_723) % 7 == 0).all()


def test_the_unit_of_a_price_makes_size() -> None:
    assert "prices times ten with the same volume make a symbol ten times as big" in TEXT
    closes, volume = np.random.default_rng(1).uniform(1, 2, (2, 9, 6))
    at = np.array([8])
    plain = size_scores(closes * volume, at, 5)
    assert size_scores(10 * closes * volume, at, 5) == pytest.approx(10 * plain)
    assert size_scores(10 * closes * (volume / 10), at, 5) == pytest.approx(plain)
