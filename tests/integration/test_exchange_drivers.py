"""Jesse's drivers against the imitated exchanges: what arrives is what the exchange has."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from exchange_server import MINUTE_MS, Candles, ExchangeServer, faults, host_of
from exchange_server.drivers import DriverError, Drivers, running_drivers
from exchange_server.gate import quote_volume

DAY_MS = 1440 * MINUTE_MS
WEEK_MS = 7 * DAY_MS
#: More than one page of nearly every driver, and a whole number of pages of none.
COUNT = 2501
#: Minutes the exchanges have nothing of, and minutes without trades.
OUTAGE = slice(700, 760)
QUIET = 13

Arrival = Callable[[Candles], Candles]


def everything(rows: Candles) -> Candles:
    return rows


def without_quiet_minutes(rows: Candles) -> Candles:
    return rows[rows[:, 5] > 0]


def with_quote_volume(rows: Candles) -> Candles:
    worth = [quote_volume(row) for row in rows]
    return np.column_stack([rows[:, :5], worth])


def newest(count: int) -> Arrival:
    return lambda rows: rows[-count:]


@dataclass(frozen=True)
class Venue:
    """An exchange and a symbol of it, with what is peculiar about it.

    ``arrives`` is what Jesse's importer ends up with; ``listed`` rounds the first minute the way the driver's
    search for it does, ``None`` when the driver does not find it; ``margin_ms`` is how far beyond the
    candles, on both sides, one may ask.
    """

    exchange: str
    symbol: str
    arrives: Arrival = everything
    listed: int | None = MINUTE_MS
    margin_ms: int = DAY_MS


VENUES = [
    Venue("Binance Spot", "BTC-USDT"),
    Venue("Binance US Spot", "ETH-USDT"),
    Venue("Binance Perpetual Futures", "SOL-USDT"),
    Venue("Binance Perpetual Futures Testnet", "BTC-USDT"),
    Venue("Bitfinex Spot", "BTC-USD", arrives=without_quiet_minutes),
    Venue("Bybit Spot", "BTC-USDT"),
    Venue("Bybit USDT Perpetual", "ETH-USDT"),
    Venue("Bybit USDC Perpetual", "BTC-PERP"),
    Venue("Bybit Spot Testnet", "BTC-USDT"),
    Venue("Bybit USDT Perpetual Testnet", "ETH-USDT"),
    Venue("Bybit USDC Perpetual Testnet", "BTC-PERP"),
    Venue("Coinbase Spot", "SOL-USD", arrives=without_quiet_minutes, listed=None),
    Venue("Gate Spot", "BTC-USDT", arrives=with_quote_volume, listed=None, margin_ms=0),
    Venue("Gate USDT Perpetual", "BTC-USDT", listed=None, margin_ms=0),
    Venue("Hyperliquid Perpetual", "BTC-USD"),
    Venue("Hyperliquid Perpetual Testnet", "ETH-USD"),
    Venue("Apex Omni Perpetual", "BTC-USDT", arrives=newest(200)),
    Venue("Apex Omni Perpetual Testnet", "ETH-USDT", arrives=newest(200)),
    Venue("KuCoin Spot", "BTC-USDT", arrives=without_quiet_minutes, listed=WEEK_MS),
    Venue("KuCoin USDT Perpetual", "BTC-USDT", arrives=without_quiet_minutes, listed=DAY_MS),
    # The first of the 720 is lost to the exclusive start.
    Venue("Kraken Pro Spot", "BTC-USD", arrives=newest(719)),
    Venue("Kraken Pro Futures", "BTC-USD", listed=DAY_MS),
    Venue("Kraken Pro Futures Testnet", "ETH-USD", listed=DAY_MS),
    Venue("Lighter Perpetual", "BTC-USD"),
    Venue("Lighter Perpetual Testnet", "ETH-USD"),
]
by_venue = pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.exchange)


def candles_of(start: int, seed: int) -> Candles:
    chance = np.random.default_rng(seed)
    opened = (100 + np.cumsum(chance.normal(0, 0.1, COUNT))).round(6)
    closed = np.append(opened[1:], opened[-1])
    high = (np.maximum(opened, closed) + chance.uniform(0, 0.1, COUNT)).round(6)
    low = (np.minimum(opened, closed) - chance.uniform(0, 0.1, COUNT)).round(6)
    volume = chance.uniform(0.0001, 50, COUNT).round(8)
    volume[QUIET - 1 :: QUIET] = 0
    rows = np.column_stack([start + np.arange(COUNT) * MINUTE_MS, opened, closed, high, low, volume])
    return np.delete(rows, np.arange(COUNT)[OUTAGE], axis=0)


@dataclass(frozen=True)
class World:
    """The drivers, the exchanges they ask, and what those have."""

    drivers: Drivers
    server: ExchangeServer
    start: int
    markets: dict[tuple[str, str], Candles]

    @property
    def end(self) -> int:
        return self.start + COUNT * MINUTE_MS

    def source(self, venue: Venue) -> Candles:
        return self.markets[venue.exchange, venue.symbol]

    def fault(self, fault: faults.Fault, exchange: str, times: int = 1) -> None:
        self.server.faults.add(fault, times=times, host=host_of(exchange), when=faults.for_candles)


@pytest.fixture(scope="module")
def world(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    # Some exchanges keep only the last days, and their drivers take the time from the clock.
    start = (int(time.time() * 1000) // DAY_MS - 3) * DAY_MS + 317 * MINUTE_MS
    markets = {(venue.exchange, venue.symbol): candles_of(start, seed) for seed, venue in enumerate(VENUES)}
    some = next(iter(markets.values()))
    markets |= {("Coinbase Spot", symbol): some for symbol in ("BTC-USD", "BTC-USDC")}
    markets[("Hyperliquid Perpetual", "TSLA-USD")] = some
    now = start + COUNT * MINUTE_MS + MINUTE_MS // 2
    with (
        ExchangeServer(markets, now) as server,
        running_drivers(engine_python, server.environment, tmp_path_factory.mktemp("drivers")) as drivers,
    ):
        yield World(drivers, server, start, markets)


@pytest.fixture(autouse=True)
def no_fault_is_left(world: World) -> Iterator[None]:
    yield
    left = world.server.faults.pending
    world.server.faults.clear()
    assert left == []


def test_every_driver_of_jesse_is_here(world: World) -> None:
    assert world.drivers.names == sorted(venue.exchange for venue in VENUES)


@by_venue
def test_what_arrives_is_what_the_exchange_has(venue: Venue, world: World) -> None:
    arrived = world.drivers.ask(
        venue.exchange, "walk", venue.symbol, world.start - venue.margin_ms, world.end + venue.margin_ms
    )
    assert arrived == venue.arrives(world.source(venue)).tolist()


@pytest.mark.parametrize(
    "venue", [venue for venue in VENUES if venue.listed], ids=lambda venue: venue.exchange
)
def test_what_the_driver_says_of_the_listing(venue: Venue, world: World) -> None:
    assert venue.listed
    found = world.drivers.ask(venue.exchange, "starting_time", venue.symbol)
    first = {"Kraken Pro Spot": -720}.get(venue.exchange, 0)
    assert found == int(world.source(venue)[first, 0]) // venue.listed * venue.listed


@by_venue
def test_the_symbol_is_listed(venue: Venue, world: World) -> None:
    assert venue.symbol in world.drivers.ask(venue.exchange, "symbols")


@pytest.mark.parametrize(
    ("exchange", "kind", "message"),
    [
        ("Apex Omni Perpetual", None, ""),
        ("Binance Spot", "ValueError", "-1121"),
        ("Bitfinex Spot", None, ""),
        ("Bybit USDT Perpetual", "SymbolNotFound", "retCode=10001"),
        ("Coinbase Spot", "ValueError", "404"),
        ("Gate Spot", "ValueError", "INVALID_CURRENCY_PAIR"),
        ("Gate USDT Perpetual", "ValueError", "CONTRACT_NOT_FOUND"),
        ("Hyperliquid Perpetual", "KeyError", "NOPE-USD"),
        ("KuCoin Spot", "SymbolNotFound", "400100"),
        ("KuCoin USDT Perpetual", "SymbolNotFound", "404000"),
        ("Kraken Pro Spot", "SymbolNotFound", "EQuery"),
        ("Kraken Pro Futures", "ValueError", "404"),
        ("Lighter Perpetual", "ValueError", "not listed"),
    ],
)
def test_an_unknown_symbol(exchange: str, kind: str | None, message: str, world: World) -> None:
    """``None`` where the driver takes it for a market without candles."""
    symbol = "NOPE-USD" if "Hyper" in exchange or "Lighter" in exchange else "NOPE-USDT"
    if kind is None:
        assert world.drivers.ask(exchange, "fetch", symbol, world.start) == []
        return
    with pytest.raises(DriverError, match=message) as caught:
        world.drivers.ask(exchange, "fetch", symbol, world.start)
    assert caught.value.kind == kind


# What drivers do that one would not expect of them.


@pytest.mark.parametrize("exchange", ["Gate Spot", "Gate USDT Perpetual"])
def test_gate_takes_an_empty_page_for_an_unknown_symbol(exchange: str, world: World) -> None:
    with pytest.raises(DriverError) as caught:
        world.drivers.ask(exchange, "fetch", "BTC-USDT", world.start - 2 * DAY_MS)
    assert caught.value.kind == "InvalidSymbol"


@pytest.mark.parametrize("exchange", ["Gate Spot", "Gate USDT Perpetual"])
def test_gate_has_only_the_last_week_and_no_listing(exchange: str, world: World) -> None:
    with pytest.raises(DriverError, match="too long ago"):
        world.drivers.ask(exchange, "fetch", "BTC-USDT", world.end - 10_001 * MINUTE_MS)
    with pytest.raises(DriverError, match=r"INVALID_PARAM_VALUE|MISSING_REQUIRED_PARAM"):
        world.drivers.ask(exchange, "starting_time", "BTC-USDT")


def test_coinbase_knows_three_listings_and_hides_aliased_products(world: World) -> None:
    assert world.drivers.ask("Coinbase Spot", "starting_time", "BTC-USD") == 1438387200000
    assert world.drivers.ask("Coinbase Spot", "starting_time", "SOL-USD") is None
    listed = world.drivers.ask("Coinbase Spot", "symbols")
    assert "BTC-USDC" in listed
    assert "BTC-USD" not in listed


def test_apex_answers_any_old_start_with_the_newest_candles(world: World) -> None:
    rows = world.drivers.ask("Apex Omni Perpetual", "fetch", "BTC-USDT", world.start)
    assert rows == world.markets["Apex Omni Perpetual", "BTC-USDT"][-200:].tolist()
    _, ahead = world.drivers.ask(
        "Apex Omni Perpetual", "page", "BTC-USDT", world.start, world.start + 200 * MINUTE_MS
    )
    assert ahead == rows[0][0], "Jesse's importer goes on from there"


def test_kraken_leaves_out_the_minute_it_is_asked_from(world: World) -> None:
    rows = world.drivers.ask("Kraken Pro Spot", "fetch", "BTC-USD", world.end - 10 * MINUTE_MS)
    assert [row[0] for row in rows] == [world.end - minute * MINUTE_MS for minute in range(9, 0, -1)]


def test_hyperliquid_does_not_find_when_a_stock_was_listed(world: World) -> None:
    assert world.drivers.ask("Hyperliquid Perpetual", "fetch", "TSLA-USD", world.start)
    assert world.drivers.ask("Hyperliquid Perpetual", "starting_time", "TSLA-USD") is None


def test_bybit_lists_both_settlements_as_either(world: World) -> None:
    assert {"ETH-USDT", "BTC-PERP"} <= set(world.drivers.ask("Bybit USDC Perpetual", "symbols"))


# What goes wrong on the way.

SINGLE = [
    ("Coinbase Spot", faults.refused(429, 9), "ConnectionError", "asks to wait 9 seconds"),
    ("Coinbase Spot", faults.refused(429), "ConnectionError", "ERROR 429"),
    ("Coinbase Spot", faults.refused(502), "ExchangeInMaintenance", "502"),
    ("Coinbase Spot", faults.refused(503), "ConnectionError", "503"),
    ("Coinbase Spot", faults.html(), "JSONDecodeError", "Expecting value"),
    ("Coinbase Spot", faults.cut(), "ChunkedEncodingError", "Connection broken"),
    # Behind a proxy, urllib3 puts a connection that was dropped before the answer down to the proxy.
    ("Coinbase Spot", faults.reset(), "ProxyError", "Unable to connect to proxy"),
    ("Binance Spot", faults.refused(418, 120), "ConnectionError", "temporarily banned"),
    ("Binance Spot", faults.refused(403), "ConnectionError", "403"),
    ("Binance Spot", faults.refused(451), "ConnectionError", "ERROR 451"),
    ("Binance Spot", faults.refused(429), "ConnectionError", "ERROR 429"),
    ("Binance Spot", faults.body({"code": -1}, 400), "ValueError", "code"),
    ("Hyperliquid Perpetual", faults.body(None), "TypeError", "not iterable"),
    ("Apex Omni Perpetual", faults.apex_maintenance(), "ExchangeInMaintenance", "maintenance"),
    ("Apex Omni Perpetual", faults.refused(429), "ExchangeInMaintenance", "too many requests"),
    ("Apex Omni Perpetual", faults.refused(502), "JSONDecodeError", "Expecting value"),
    # It means to try again, but for the pause it calls a helper that Jesse does not have.
    ("Bitfinex Spot", faults.reset(), "AttributeError", "random_uniform"),
    ("Bitfinex Spot", faults.bitfinex_maintenance(), "ConnectionError", "503"),
    # Any other trouble is taken for an unknown symbol.
    ("Kraken Pro Spot", faults.body({"error": ["EGeneral:Internal error"]}), "SymbolNotFound", "EGeneral"),
    ("KuCoin Spot", faults.body({"code": "500000", "msg": "busy"}), "SymbolNotFound", "500000"),
    ("Kraken Pro Spot", faults.kraken_limited(), "ConnectionError", "rate limit"),
    ("Kraken Pro Spot", faults.kraken_maintenance(), "ConnectionError", "unavailable"),
]


@pytest.mark.parametrize(
    ("exchange", "fault", "kind", "message"),
    SINGLE,
    ids=[f"{exchange}-{fault.name}-{kind}" for exchange, fault, kind, _ in SINGLE],
)
def test_one_fault_that_the_driver_passes_on(
    exchange: str, fault: faults.Fault, kind: str, message: str, world: World
) -> None:
    symbol = next(venue.symbol for venue in VENUES if venue.exchange == exchange)
    world.fault(fault, exchange)
    with pytest.raises(DriverError, match=message) as caught:
        world.drivers.ask(exchange, "fetch", symbol, world.start)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("exchange", "fault"),
    [
        ("Binance Spot", faults.refused(500)),
        ("Binance Spot", faults.refused(429, 1)),
        ("Bybit Spot", faults.refused(429)),
        ("Bybit Spot", faults.bybit_limited()),
        ("Bybit Spot", faults.bybit_maintenance()),
        ("KuCoin Spot", faults.refused(503, 1)),
        ("KuCoin Spot", faults.kucoin_limited()),
        ("Gate USDT Perpetual", faults.refused(500)),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_one_fault_that_the_driver_gets_over_alone(exchange: str, fault: faults.Fault, world: World) -> None:
    symbol = next(venue.symbol for venue in VENUES if venue.exchange == exchange)
    before = len(world.server.asked())
    world.fault(fault, exchange)
    assert world.drivers.ask(exchange, "fetch", symbol, world.start)
    assert [line.fault for line in world.server.asked()[before:]] == [fault.name, None]


def test_binance_sleeps_as_long_as_it_is_told_without_a_word(world: World) -> None:
    before = len(world.server.asked())
    world.fault(faults.refused(429, 1), "Binance Spot", times=2)
    assert world.drivers.ask("Binance Spot", "fetch", "BTC-USDT", world.start)
    waits = np.diff([line.at for line in world.server.asked()[before:]])
    assert len(waits) == 2
    assert min(waits) >= 1


def test_a_burst_ends_in_an_error_that_the_contract_does_not_know(world: World) -> None:
    world.fault(faults.refused(503, 1), "Bybit Spot", times=4)
    with pytest.raises(DriverError, match="too many 503 error responses") as caught:
        world.drivers.ask("Bybit Spot", "page", "BTC-USDT", world.start, world.start + 200 * MINUTE_MS)
    assert caught.value.kind == "RetryError"


@pytest.mark.parametrize("exchange", ["Lighter Perpetual", "Kraken Pro Futures"])
def test_an_error_with_status_200_is_taken_for_an_empty_page(exchange: str, world: World) -> None:
    world.fault(faults.body({"code": 23000, "message": "Too Many Requests!"}), exchange)
    assert world.drivers.ask(exchange, "fetch", "BTC-USD", world.start) == []


def test_bybit_gives_up_at_once_when_the_limit_ends_late(world: World) -> None:
    late = int(time.time() * 1000) + 3_600_000
    world.fault(faults.bybit_limited(late), "Bybit Spot")
    with pytest.raises(DriverError, match="after its limit resets") as caught:
        world.drivers.ask("Bybit Spot", "fetch", "BTC-USDT", world.start)
    assert caught.value.kind == "ProviderRateLimitError"


@pytest.mark.parametrize(
    "fault",
    [faults.duplicate_rows(), faults.out_of_order(), faults.unfinished_last(), faults.empty_page()],
    ids=lambda fault: fault.name,
)
def test_spoiled_rows_arrive_as_they_are(fault: faults.Fault, world: World) -> None:
    good = world.drivers.ask("Binance Spot", "fetch", "BTC-USDT", world.start)
    world.fault(fault, "Binance Spot")
    bad = world.drivers.ask("Binance Spot", "fetch", "BTC-USDT", world.start)
    assert bad != good
    assert {row[0] for row in bad} <= {row[0] for row in good}


@pytest.mark.parametrize("fault", [faults.high_below_low(), faults.not_a_number()], ids=lambda f: f.name)
def test_candles_that_cannot_be_are_refused_only_by_the_contract(fault: faults.Fault, world: World) -> None:
    page = world.start + 1000 * MINUTE_MS
    world.fault(fault, "Binance Spot", times=2)
    assert world.drivers.ask("Binance Spot", "fetch", "BTC-USDT", world.start)
    with pytest.raises(DriverError) as caught:
        world.drivers.ask("Binance Spot", "page", "BTC-USDT", world.start, page)
    assert caught.value.kind == "HistoricalCandleValidationError"
