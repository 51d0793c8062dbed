"""Jesse's drivers against the imitated exchanges: what arrives is what the exchange has."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exchange_server import MINUTE_MS, Candles, ExchangeServer, faults
from exchange_server.drivers import DriverError, Drivers, running_drivers

DAY_MS = 1440 * MINUTE_MS
START = 1_735_689_600_000
#: More than one page of every driver of the first kind, and no whole number of pages.
COUNT = 2500
#: Minutes the exchanges have nothing of, and minutes without trades.
OUTAGE = slice(700, 760)
QUIET = 13


@dataclass(frozen=True)
class Venue:
    """An exchange, a symbol of it, and whether it sends minutes without trades."""

    exchange: str
    symbol: str
    sends_quiet_minutes: bool = True


VENUES = [
    Venue("Binance Spot", "BTC-USDT"),
    Venue("Binance US Spot", "ETH-USDT"),
    Venue("Binance Perpetual Futures", "SOL-USDT"),
    Venue("Binance Perpetual Futures Testnet", "BTC-USDT"),
    Venue("Bybit Spot", "BTC-USDT"),
    Venue("Bybit USDT Perpetual", "ETH-USDT"),
    Venue("Bybit USDC Perpetual", "BTC-PERP"),
    Venue("Bybit Spot Testnet", "BTC-USDT"),
    Venue("Bybit USDT Perpetual Testnet", "ETH-USDT"),
    Venue("Bybit USDC Perpetual Testnet", "BTC-PERP"),
    Venue("Bitfinex Spot", "BTC-USD", sends_quiet_minutes=False),
]


def candles_of(seed: int) -> Candles:
    chance = np.random.default_rng(seed)
    opened = (100 + np.cumsum(chance.normal(0, 0.1, COUNT))).round(6)
    closed = np.append(opened[1:], opened[-1])
    high = (np.maximum(opened, closed) + chance.uniform(0, 0.1, COUNT)).round(6)
    low = (np.minimum(opened, closed) - chance.uniform(0, 0.1, COUNT)).round(6)
    volume = chance.uniform(0.0001, 50, COUNT).round(8)
    volume[::QUIET] = 0
    rows = np.column_stack([START + np.arange(COUNT) * MINUTE_MS, opened, closed, high, low, volume])
    return np.delete(rows, np.arange(COUNT)[OUTAGE], axis=0)


@pytest.fixture(scope="module")
def source() -> dict[tuple[str, str], Candles]:
    return {(venue.exchange, venue.symbol): candles_of(seed) for seed, venue in enumerate(VENUES)}


@pytest.fixture(scope="module")
def server(source: dict[tuple[str, str], Candles]) -> Iterator[ExchangeServer]:
    with ExchangeServer(source) as server:
        yield server


@pytest.fixture(scope="module")
def drivers(
    server: ExchangeServer, engine_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Drivers]:
    directory = tmp_path_factory.mktemp("drivers")
    with running_drivers(engine_python, server.environment, directory) as drivers:
        yield drivers


def expected(venue: Venue, source: dict[tuple[str, str], Candles]) -> Any:
    rows = source[venue.exchange, venue.symbol]
    return (rows if venue.sends_quiet_minutes else rows[rows[:, 5] > 0]).tolist()


by_venue = pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.exchange)


@by_venue
def test_what_arrives_is_what_the_exchange_has(
    venue: Venue, drivers: Drivers, source: dict[tuple[str, str], Candles]
) -> None:
    end = START + COUNT * MINUTE_MS
    arrived = drivers.ask(venue.exchange, "walk", venue.symbol, START - DAY_MS, end + DAY_MS)
    assert arrived == expected(venue, source)


@by_venue
def test_the_first_minute_is_found(
    venue: Venue, drivers: Drivers, source: dict[tuple[str, str], Candles]
) -> None:
    found = drivers.ask(venue.exchange, "starting_time", venue.symbol)
    assert found == expected(venue, source)[0][0]


@by_venue
def test_the_symbol_is_listed(venue: Venue, drivers: Drivers) -> None:
    assert venue.symbol in drivers.ask(venue.exchange, "symbols")


@pytest.mark.parametrize(
    ("exchange", "kind"),
    [("Binance Spot", "ValueError"), ("Bybit USDT Perpetual", "SymbolNotFound")],
)
def test_an_unknown_symbol(exchange: str, kind: str, drivers: Drivers) -> None:
    with pytest.raises(DriverError) as caught:
        drivers.ask(exchange, "fetch", "NOPE-USDT", START)
    assert caught.value.kind == kind


def test_a_wait_that_the_exchange_asks_for_is_slept_by_the_driver(
    drivers: Drivers, server: ExchangeServer
) -> None:
    """Binance's driver obeys Retry-After on its own, five times, without a word."""
    before = len(server.asked())
    server.faults.add(faults.refused(429, 1), times=2, of_exchange="api.binance.com")
    assert drivers.ask("Binance Spot", "fetch", "BTC-USDT", START)
    waits = np.diff([line.at for line in server.asked()[before:]])
    assert len(waits) == 2
    assert min(waits) >= 1
